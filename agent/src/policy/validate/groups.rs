//! Groups: addresses, other groups and list files, resolved to merged prefixes.

use std::{collections::HashMap, path::Path, sync::Arc};

use super::{
    super::{
        addresses::Group,
        diagnostic::{Sink, Span},
        document::{File, Member},
        lists::{self, Folder, List, Refused},
        load::Sources,
        prefixes::{Builder, PrefixSet},
        problem::Problem,
        spans::Declared,
    },
    names,
};

/// Groups that may refer to one another in a chain; bounds the recursion.
const MAX_CHAIN: usize = 64;

/// Resolved groups.
pub(super) struct Groups {
    declared: Vec<Declared>,
    index: HashMap<String, usize>,
    resolved: Vec<State>,
}

enum State {
    Untouched,
    Active,
    Done(Arc<Group>),
}

struct Resolver<'a> {
    document: &'a File,
    groups: Groups,
    folder: &'a Folder,
    sources: &'a mut Sources,
    lists: HashMap<String, Arc<PrefixSet>>,
    budget: &'a mut usize,
    sink: &'a mut Sink,
}

pub(super) fn groups(
    document: &File,
    folder: &Folder,
    sources: &mut Sources,
    budget: &mut usize,
    sink: &mut Sink,
) -> Groups {
    let mut groups = Groups { declared: Vec::new(), index: HashMap::new(), resolved: Vec::new() };
    for (name, _) in &document.groups.0 {
        groups.index.insert(name.value.0.clone(), groups.declared.len());
        groups.declared.push(Declared { name: name.value.0.clone(), at: name.at, used: false });
        groups.resolved.push(State::Untouched);
    }
    let mut resolver = Resolver { document, groups, folder, sources, lists: HashMap::new(), budget, sink };
    for index in 0..document.groups.0.len() {
        resolver.resolve(index, &mut Vec::new());
    }
    resolver.groups
}

impl Resolver<'_> {
    fn resolve(&mut self, index: usize, path: &mut Vec<usize>) -> Arc<PrefixSet> {
        if let State::Done(group) = &self.groups.resolved[index] {
            return group.prefixes.clone();
        }
        self.groups.resolved[index] = State::Active;
        path.push(index);
        let document = self.document;
        let mut found = Builder::default();
        // A group of nothing but one list is that list.
        let mut whole: Option<Arc<PrefixSet>> = None;
        for member in document.groups.0[index].1.iter().flatten() {
            let set = match member {
                Member::Addresses(addresses) => {
                    addresses.value.prefixes.iter().for_each(|prefix| found.add(prefix));
                    None
                }
                Member::File(file) => Some(self.list(&file.value.0, file.at)),
                Member::Group(name) => Some(self.other(&name.value.0, name.at, path)),
            };
            if let Some(before) = whole.take() {
                found.add_all(&before);
            }
            match set {
                Some(set) if found.is_empty() => whole = Some(set),
                Some(set) => found.add_all(&set),
                None => {}
            }
            let held = found.len() + whole.as_ref().map_or(0, |set| set.len());
            if !spend(self.budget, 0, held, member_at(member), self.sink) {
                found.clear();
                whole = None;
            }
        }
        path.pop();
        let merged = whole.unwrap_or_else(|| Arc::new(found.finish()));
        let (name, members) = &document.groups.0[index];
        if members.as_ref().is_some_and(Vec::is_empty) {
            self.sink.report(name.at, &Problem::EmptyList).text(&name.value.0);
        }
        spend(self.budget, merged.len(), 0, name.at, self.sink);
        let group = Group { name: name.value.0.clone(), prefixes: merged.clone() };
        self.groups.resolved[index] = State::Done(Arc::new(group));
        merged
    }

    fn other(&mut self, name: &str, at: Span, path: &mut Vec<usize>) -> Arc<PrefixSet> {
        let Some(index) = self.groups.index.get(name).copied() else {
            unknown(&self.groups, name, at, self.sink);
            return Arc::default();
        };
        self.groups.declared[index].used = true;
        if matches!(self.groups.resolved[index], State::Active) {
            let from = path.iter().position(|step| *step == index).unwrap_or(0);
            let mut steps: Vec<&str> = path[from..].iter().map(|i| self.groups.declared[*i].name.as_str()).collect();
            steps.push(name);
            self.sink.report(at, &Problem::Cycle { path: steps.join(" → ") }).text(name);
            return Arc::default();
        }
        if path.len() >= MAX_CHAIN {
            self.sink.report(at, &Problem::TooDeep { limit: MAX_CHAIN.to_string() }).text(name);
            return Arc::default();
        }
        self.resolve(index, path)
    }

    fn list(&mut self, name: &str, at: Span) -> Arc<PrefixSet> {
        if let Some(known) = self.lists.get(name) {
            return known.clone();
        }
        let prefixes = Arc::new(self.read(name, at).unwrap_or_default());
        self.lists.insert(name.to_owned(), prefixes.clone());
        prefixes
    }

    fn read(&mut self, name: &str, at: Span) -> Option<PrefixSet> {
        let file = match self.folder.file(Path::new(name)) {
            Ok(file) => file,
            Err(Refused::Outside) => {
                self.sink.report(at, &Problem::OutsideFolder { file: name.to_owned() }).text(name);
                return None;
            }
            Err(Refused::Io(error)) => {
                self.sink.report(at, &Problem::Unreadable { why: error.to_string() }).text(name);
                return None;
            }
        };
        let path = self.folder.path.join(name);
        let number = self.sink.add_file(path.clone());
        let List { prefixes, digest } = lists::read(file, number, name, self.sink)?;
        self.sources.add(name, path, digest);
        Some(prefixes)
    }
}

fn member_at(member: &Member) -> Span {
    match member {
        Member::Addresses(addresses) => addresses.at,
        Member::Group(name) => name.at,
        Member::File(file) => file.at,
    }
}

/// Takes `cost` from the budget and asks whether `held` more would fit; reports if not.
pub(super) fn spend(budget: &mut usize, cost: usize, held: usize, at: Span, sink: &mut Sink) -> bool {
    if cost + held > *budget {
        let limit = super::BUDGET.to_string();
        sink.report(at, &Problem::TooMany { what: "addresses and services after resolving".into(), limit });
        return false;
    }
    *budget -= cost;
    true
}

fn unknown(groups: &Groups, name: &str, at: Span, sink: &mut Sink) {
    names::unknown(sink, at, "group", name, groups.declared.iter().map(|group| group.name.as_str()));
}

impl Groups {
    /// The group a rule names.
    pub(super) fn find(&mut self, name: &str, at: Span, sink: &mut Sink) -> Option<Arc<Group>> {
        let Some(index) = self.index.get(name).copied() else {
            unknown(self, name, at, sink);
            return None;
        };
        self.declared[index].used = true;
        match &self.resolved[index] {
            State::Done(group) => Some(group.clone()),
            State::Untouched | State::Active => None,
        }
    }

    /// Whether a group has this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.index.contains_key(name)
    }

    /// Names of groups.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.declared.iter().map(|group| group.name.as_str())
    }

    /// Where they are declared, and what they stand for.
    pub(super) fn into_parts(self) -> (Vec<Declared>, Vec<Arc<Group>>) {
        let done = |state| match state {
            State::Done(group) => Some(group),
            State::Untouched | State::Active => None,
        };
        (self.declared, self.resolved.into_iter().filter_map(done).collect())
    }
}
