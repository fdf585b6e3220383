//! The lists of the policy in force: what is used of each, and why not what is on disk. Reading takes a while and happens in a
//! [`Question`], apart from the instance; the [`Answer`] is taken over in an instant.

use std::{path::PathBuf, sync::Arc};

use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::{
    files::{self, Mark, Opened},
    guard::{self, Before, Limit, Protected, Refused},
    reader::{LIMITS, Parsed, Reader},
    set::ThreatSet,
    store::{self, Good, Meta, Store},
};
use crate::{
    policy::{members::touches, model::ThreatList, prefixes::PrefixSet},
    record::room::hex,
};

/// Prefixes of all lists together: what the data plane has room for.
const MAX_TOGETHER: usize = 4 << 20;

/// One list as it is.
#[derive(Debug, Clone)]
pub struct Held {
    /// What the policy says of it.
    pub list: ThreatList,
    /// What is used.
    pub good: Option<Good>,
    /// Why it is not what is on disk, and since when (seconds since 1970).
    pub refused: Option<(Refused, i64)>,
    /// Deliveries refused since the agent started.
    pub refusals: u64,
    /// Why the last good one is not on disk.
    pub unkept: Option<String>,
    /// The files as they were when they were last looked at.
    looked: Option<Vec<Mark>>,
}

/// How a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// What is on disk is used.
    Used,
    /// What is on disk was refused; the last good delivery is used.
    Kept,
    /// Nothing is.
    None,
}

impl Held {
    /// How it is.
    pub fn state(&self) -> State {
        match (&self.good, &self.refused) {
            (None, _) => State::None,
            (Some(_), Some(_)) => State::Kept,
            (Some(_), None) => State::Used,
        }
    }

    /// When what is used ceases to be fresh: seconds since 1970.
    pub fn expires_at(&self) -> Option<i64> {
        Some(self.good.as_ref()?.meta.written.saturating_add_unsigned(self.list.expires))
    }

    /// Whether it has ceased to be.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|at| at <= now.as_second())
    }
}

/// All of them.
#[derive(Debug, Clone, Default)]
pub struct Lists {
    held: Vec<Held>,
    set: Arc<ThreatSet>,
}

/// What is to be done about lists; the default is to look whether files changed.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Read them although nothing changed.
    pub anew: bool,
    /// Take them although little is left of them.
    pub accept_shrunk: bool,
    /// Only these; all if none is named.
    pub only: Vec<String>,
}

/// What has to be read, and against what it is held.
#[derive(Debug)]
pub struct Question {
    /// Revision of the policy that names them.
    pub revision: u64,
    /// In its order, as far as they are known.
    lists: Vec<Held>,
    folder: PathBuf,
    protected: Protected,
    store: Store,
    wish: Wish,
}

/// What came of it.
#[derive(Debug)]
pub struct Answer {
    /// Revision of the policy that names them.
    pub revision: u64,
    lists: Vec<Held>,
    events: Vec<Event>,
}

/// What happened to one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub list: String,
    /// Why it was refused, or what was taken.
    pub what: Result<Taken, Refused>,
}

/// A delivery that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Prefixes now in use.
    pub prefixes: usize,
    /// SHA-256 over its files, hex.
    pub sha256: String,
    /// Nothing was used before, or the delivery before was refused.
    pub news: bool,
}

impl Lists {
    /// What is to be asked for the lists of a policy, whose paths begin in `folder`.
    pub fn question(
        &self,
        revision: u64,
        lists: &[ThreatList],
        folder: PathBuf,
        protected: Protected,
        store: Store,
        wish: Wish,
    ) -> Question {
        let lists = lists
            .iter()
            .map(|list| match self.held.iter().find(|held| held.list.name == list.name) {
                Some(held) if held.list == *list => held.clone(),
                Some(held) => Held { list: list.clone(), looked: None, ..held.clone() },
                None => {
                    let list = list.clone();
                    Held { list, good: None, refused: None, refusals: 0, unkept: None, looked: None }
                }
            })
            .collect();
        Question { revision, lists, folder, protected, store, wish }
    }

    /// Takes an answer over; what happened to which list.
    pub fn take(&mut self, answer: Answer) -> Vec<Event> {
        self.held = answer.lists;
        let used = self.held.iter().filter_map(|held| {
            let good = held.good.as_ref()?;
            Some((held.list.name.clone(), Arc::clone(&good.prefixes)))
        });
        let used: Vec<_> = used.collect();
        if !self.set.is(&used) {
            self.set = Arc::new(ThreatSet::new(self.set.version() + 1, used));
        }
        answer.events
    }

    /// What is used of them.
    pub fn set(&self) -> Arc<ThreatSet> {
        Arc::clone(&self.set)
    }

    /// Each of them.
    pub fn held(&self) -> &[Held] {
        &self.held
    }
}

impl Question {
    /// Reads what has to be read, and keeps what is taken on disk.
    pub fn answer(mut self) -> Answer {
        let mut events = Vec::new();
        for at in 0..self.lists.len() {
            let name = self.lists[at].list.name.clone();
            self.recall(at);
            if !self.wish.only.is_empty() && !self.wish.only.contains(&name) {
                continue;
            }
            let others = self.lists.iter().enumerate().filter(|(other, _)| *other != at);
            let others: usize = others.filter_map(|(_, held)| Some(held.good.as_ref()?.prefixes.len())).sum();
            let before = self.lists[at].looked.clone();
            match self.look(at, others) {
                Ok(None) => {}
                Ok(Some(good)) => {
                    let held = &mut self.lists[at];
                    let (prefixes, sha256) = (good.prefixes.len(), good.meta.sha256.clone());
                    let news = held.state() != State::Used;
                    held.unkept = self.store.save(&good).err().map(|error| error.to_string());
                    (held.good, held.refused) = (Some(good), None);
                    events.push(Event { list: name, what: Ok(Taken { prefixes, sha256, news }) });
                }
                Err(refused) => {
                    let held = &mut self.lists[at];
                    let known = held.refused.as_ref().is_some_and(|(known, _)| *known == refused);
                    if !known || held.looked != before || self.wish.anew {
                        held.refusals += 1;
                        held.refused = Some((refused.clone(), Timestamp::now().as_second()));
                        events.push(Event { list: name, what: Err(refused) });
                    }
                }
            }
        }
        Answer { revision: self.revision, lists: self.lists, events }
    }

    /// Finds the last good delivery, unless this policy forbids what was good before.
    fn recall(&mut self, at: usize) {
        let held = &mut self.lists[at];
        if held.good.is_none() && held.looked.is_none() {
            match self.store.load(&held.list.name) {
                Ok(good) => held.good = good,
                Err(error) => held.unkept = Some(error.to_string()),
            }
        }
        let Some(mut good) = held.good.take() else { return };
        if good.meta.declared != declared(&held.list) && except_touches(&held.list.except, &good.prefixes) {
            good.prefixes = Arc::new(guard::subtract(&good.prefixes, &held.list.except));
        }
        let forbidden = self.protected.without(&held.list.except).iter().any(|prefix| touches(&good.prefixes, &prefix));
        held.good = (!forbidden).then_some(good);
    }

    /// What is on disk, if it is to be read and is good.
    fn look(&mut self, at: usize, others: usize) -> Result<Option<Good>, Refused> {
        let held = &mut self.lists[at];
        let list = &held.list;
        let opened = files::beneath(&self.folder, &list.path).inspect_err(|_| held.looked = Some(Vec::new()))?;
        let marks: Vec<Mark> = opened.iter().map(|file| file.mark.clone()).collect();
        if held.looked.as_ref() == Some(&marks) && !self.wish.anew {
            return match &held.refused {
                Some((refused, _)) => Err(refused.clone()),
                None => Ok(None),
            };
        }
        held.looked = Some(marks);
        let declared = declared(list);
        let comparable = held.good.as_ref().filter(|good| good.meta.declared == declared && !self.wish.accept_shrunk);
        let before = comparable.map(|good| Before { prefixes: good.prefixes.len() });
        let watched = self.protected.without(&list.except);
        let parsed = read(&opened, list, &watched)?;
        if let Some(changed) = opened.iter().find(|file| !file.same()) {
            // Looked at again soon: it is another by then.
            held.looked = None;
            return Err(Refused::Changing { file: changed.path.clone() });
        }
        let prefixes = guard::judge(&parsed, &list.except, &self.protected, before)?;
        if prefixes.len() + others > MAX_TOGETHER {
            let file = self.folder.join(&list.path);
            return Err(Refused::TooLarge { file, limit: Limit::Together(MAX_TOGETHER) });
        }
        let taken = Timestamp::now().as_second();
        // A clock that was wrong when it was written must not keep it fresh for ever.
        let written = opened.iter().map(Opened::written).max().unwrap_or(taken).min(taken);
        let meta = Meta {
            version: store::version(),
            list: list.name.clone(),
            declared,
            formats: parsed.formats,
            entries: parsed.tally.entries,
            names: parsed.tally.names,
            bad: parsed.tally.bad,
            written,
            taken,
            sha256: hex(&parsed.sha256),
            body: store::body_hash(&prefixes),
        };
        Ok(Some(Good { meta, prefixes: Arc::new(prefixes) }))
    }
}

/// Reads the files of a list.
pub(super) fn read(files: &[Opened], list: &ThreatList, protected: &PrefixSet) -> Result<Parsed, Refused> {
    let mut reader = Reader::new(LIMITS, protected);
    for opened in files {
        reader.file(&opened.path, &opened.file, list.format)?;
    }
    Ok(reader.finish())
}

fn except_touches(except: &PrefixSet, set: &PrefixSet) -> bool {
    except.iter().any(|prefix| touches(set, &prefix))
}

/// What the policy says that makes two deliveries comparable.
fn declared(list: &ThreatList) -> String {
    hex(&Sha256::digest(format!("{}\n{}\n{:?}", list.path.display(), list.format.word(), list.except)))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{fs, path::Path, time::Duration};

    use ipnet::IpNet;

    use super::*;
    use crate::threat::format::Format;

    struct Scene {
        dir: tempfile::TempDir,
        lists: Lists,
        list: ThreatList,
        protected: Protected,
    }

    impl Scene {
        fn new() -> Self {
            let list = ThreatList {
                name: "drop".into(),
                path: "l.txt".into(),
                format: Format::Auto,
                source: "s".into(),
                expires: 3_600,
                except: PrefixSet::default(),
                purpose: "p".into(),
            };
            let dir = tempfile::tempdir().unwrap();
            Self { dir, lists: Lists::default(), list, protected: Protected::default() }
        }

        fn write(&self, text: &str) {
            // Beside and renamed, so that the inode is another even within one tick of the clock.
            let beside = self.dir.path().join("l.txt.new");
            fs::write(&beside, text).unwrap();
            fs::rename(beside, self.dir.path().join("l.txt")).unwrap();
        }

        fn look(&mut self, wish: Wish) -> Vec<String> {
            let folder = self.dir.path().to_path_buf();
            let store = Store::new(&self.dir.path().join("state"));
            let lists = std::slice::from_ref(&self.list);
            let question = self.lists.question(1, lists, folder, self.protected.clone(), store, wish);
            let events = self.lists.take(question.answer());
            let said = |event: Event| match event.what {
                Ok(taken) => format!("taken {}{}", taken.prefixes, if taken.news { " news" } else { "" }),
                Err(refused) => refused.code().to_owned(),
            };
            events.into_iter().map(said).collect()
        }

        fn used(&self) -> String {
            format!("{:?} {:?}", self.lists.held()[0].state(), self.lists.set().merged())
        }
    }

    #[test]
    fn a_good_one_is_taken_and_a_bad_one_leaves_it() {
        let mut scene = Scene::new();
        assert_eq!(scene.look(Wish::default()), ["unreadable"]);
        assert_eq!(scene.used(), "None []");
        assert_eq!(scene.look(Wish::default()), [] as [&str; 0], "said once");
        scene.write("192.0.2.1\n192.0.2.9\n192.0.2.77\n");
        assert_eq!(scene.look(Wish::default()), ["taken 3 news"]);
        let version = scene.lists.set().version();
        let good = "[192.0.2.1/32, 192.0.2.9/32, 192.0.2.77/32]";
        assert_eq!(scene.used(), format!("Used {good}"));
        assert_eq!(scene.look(Wish::default()), [] as [&str; 0], "nothing changed");
        for (text, code) in [("", "empty"), ("192.0.2.1\n", "shrunk"), ("0.0.0.0/0\n", "everything")] {
            scene.write(text);
            assert_eq!(scene.look(Wish::default()), [code]);
            assert_eq!(scene.look(Wish::default()), [] as [&str; 0], "said once");
            assert_eq!(scene.used(), format!("Kept {good}"));
        }
        assert_eq!(scene.lists.set().version(), version);
        assert_eq!(scene.lists.held()[0].refusals, 4);
        scene.write("192.0.2.1\n192.0.2.9\n192.0.2.200\n");
        assert_eq!(scene.look(Wish::default()), ["taken 3 news"]);
        assert_eq!(scene.lists.set().version(), version + 1);
        scene.write("192.0.2.1\n192.0.2.9\n192.0.2.200\n192.0.2.222\n");
        assert_eq!(scene.look(Wish::default()), ["taken 4"]);
    }

    #[test]
    fn the_last_good_one_is_found_again_and_a_person_may_accept_less() {
        let mut scene = Scene::new();
        scene.write("192.0.2.1\n192.0.2.9\n192.0.2.77\n");
        scene.look(Wish::default());
        scene.write("<html>");
        scene.lists = Lists::default();
        assert_eq!(scene.look(Wish::default()), ["foreign"]);
        assert!(scene.used().starts_with("Kept [192.0.2.1/32"), "{}", scene.used());
        scene.write("192.0.2.1\n");
        assert_eq!(scene.look(Wish::default()), ["shrunk"]);
        let other = Wish { accept_shrunk: true, anew: true, only: vec!["other".into()] };
        assert_eq!(scene.look(other), [] as [&str; 0]);
        let accept = Wish { accept_shrunk: true, anew: true, only: vec!["drop".into()] };
        assert_eq!(scene.look(accept), ["taken 1 news"]);
        assert_eq!(scene.used(), "Used [192.0.2.1/32]");
        // Another file in the policy is another list: nothing to compare.
        scene.write("192.0.2.1\n192.0.2.9\n192.0.2.77\n");
        scene.look(Wish::default());
        fs::write(scene.dir.path().join("other.txt"), "192.0.2.200\n").unwrap();
        scene.list.path = "other.txt".into();
        assert_eq!(scene.look(Wish::default()), ["taken 1"]);
    }

    #[test]
    fn what_was_good_is_not_if_the_policy_forbids_it() {
        let mut scene = Scene::new();
        scene.write("192.0.2.1\n198.51.100.0/24\n");
        assert_eq!(scene.look(Wish::default()), ["taken 2 news"]);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/minimal.yaml");
        let mut policy = crate::policy::load(&path).policy.unwrap();
        policy.nets[0].prefixes.push("198.51.100.128/25".parse().unwrap());
        scene.protected = Protected::of(&policy, &[]);
        assert_eq!(scene.look(Wish { anew: true, ..Wish::default() }), ["inside"]);
        assert_eq!(scene.used(), "None []");
        scene.list.except = ["198.51.100.128/25".parse::<IpNet>().unwrap()].into_iter().collect();
        assert_eq!(scene.look(Wish::default()), ["taken 2 news"]);
        assert_eq!(scene.used(), "Used [192.0.2.1/32, 198.51.100.0/25]");
    }

    #[test]
    fn age_counts_from_when_the_file_was_written() {
        let mut scene = Scene::new();
        scene.write("192.0.2.1\n");
        let file = fs::File::options().append(true).open(scene.dir.path().join("l.txt")).unwrap();
        let now = std::time::SystemTime::now();
        file.set_modified(now - Duration::from_secs(7_200)).unwrap();
        scene.look(Wish::default());
        assert!(scene.lists.held()[0].expired(Timestamp::now()));
        assert!(scene.used().starts_with("Used [192"), "it is used all the same");
        // One from the future ages from the day it was taken.
        file.set_modified(now + Duration::from_secs(86_400)).unwrap();
        assert_eq!(scene.look(Wish::default()), ["taken 1"]);
        let held = &scene.lists.held()[0];
        assert!(!held.expired(Timestamp::now()));
        assert!(held.expires_at().unwrap() <= Timestamp::now().as_second() + 3_600);
    }
}
