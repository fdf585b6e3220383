//! What an organisation tells the people concerned of a planned stop: what, when, what will not work, why, whom to ask.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{dates, object::Object};
use crate::{
    cli::text::{self, Lang},
    policy::model::{Net, NetKind, Place, Policy, Rule},
};

/// Most purposes that are listed; a notice is a page.
const MAX_PURPOSES: usize = 20;

/// The same text in both languages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Notice {
    /// In Japanese.
    pub ja: String,
    /// In English.
    pub en: String,
}

impl Notice {
    /// Both, the reader's language first.
    pub fn both(&self, lang: Lang) -> String {
        let (first, second) = match lang {
            Lang::Ja => (&self.ja, &self.en),
            Lang::En => (&self.en, &self.ja),
        };
        format!("{first}\n{}\n\n{second}", "-".repeat(40))
    }
}

/// What it is about.
#[derive(Debug)]
pub struct Stop<'s> {
    /// What is stopped.
    pub objects: &'s [Object],
    /// From when.
    pub at: Timestamp,
    /// Until when.
    pub until: Option<Timestamp>,
    /// Why.
    pub reason: &'s str,
    /// Where its times are read.
    pub zone: &'s TimeZone,
    /// What the objects are; `None`: no more is known than their names.
    pub policy: Option<&'s Policy>,
}

impl Stop<'_> {
    /// The notice.
    pub fn notice(&self) -> Notice {
        Notice { ja: self.text(Lang::Ja), en: self.text(Lang::En) }
    }

    fn text(&self, lang: Lang) -> String {
        let mut text = format!("{}\n\n", text::notice_title(lang));
        if let Some(policy) = self.policy {
            let _ = writeln!(text, "{}\n", policy.organisation);
        }
        let _ = writeln!(text, "{}\n", text::notice_opening(lang));
        let what = self.objects.iter().map(|object| self.described(object, lang)).collect();
        let sections = [
            (text::notice_what(lang), what),
            (text::notice_when(lang), vec![dates::period(self.at, self.until, self.zone, lang)]),
            (text::notice_lost(lang), self.lost(lang)),
            (text::notice_why(lang), self.reason.lines().map(str::to_owned).collect()),
            (text::notice_contact(lang), self.contacts(lang)),
        ];
        for (number, (head, lines)) in sections.into_iter().enumerate() {
            let _ = writeln!(text, "{}. {head}", number + 1);
            for line in lines {
                let _ = writeln!(text, "   {line}");
            }
        }
        let _ = writeln!(text, "\n{}", text::notice_close(lang));
        text
    }

    fn net(&self, object: &Object) -> Option<&Net> {
        match object {
            Object::Network { name } | Object::Zone { name } => self.policy?.nets.iter().find(|net| net.name == *name),
            _ => None,
        }
    }

    /// As people know it, with the line it is on.
    fn described(&self, object: &Object, lang: Lang) -> String {
        match self.net(object).map(|net| &net.kind) {
            Some(NetKind::External(external)) if !external.line.is_empty() => {
                text::notice_line(lang, self.called(object, lang), &external.line)
            }
            _ => self.called(object, lang),
        }
    }

    fn called(&self, object: &Object, lang: Lang) -> String {
        // A zone and a network never share a name, and whoever cuts may call the one the other.
        let zone = self.net(object).map(|net| matches!(net.kind, NetKind::Zone { .. }));
        match object {
            Object::Network { name } | Object::Zone { name } => {
                let called = zone.unwrap_or(matches!(object, Object::Zone { .. }));
                if called { text::notice_zone(lang, name) } else { text::notice_network(lang, name) }
            }
            Object::Host { name } => text::notice_host(lang, name),
            Object::Prefix { prefix } => text::notice_prefix(lang, prefix),
            Object::All => text::notice_all(lang),
        }
    }

    /// What people will miss: the purposes of the rules that nothing passes by meanwhile.
    fn lost(&self, lang: Lang) -> Vec<String> {
        let mut lines = Vec::new();
        for object in self.objects {
            let traffic = match object {
                Object::Host { .. } | Object::Prefix { .. } => {
                    text::notice_lost_address(lang, self.called(object, lang))
                }
                Object::Network { .. } | Object::Zone { .. } => text::notice_lost_net(lang, self.called(object, lang)),
                Object::All => text::notice_lost_all(lang),
            };
            lines.push(text::notice_item(lang, traffic));
        }
        let purposes = self.purposes();
        let more = purposes.len().saturating_sub(MAX_PURPOSES);
        lines.extend(purposes.into_iter().take(MAX_PURPOSES).map(|purpose| text::notice_item(lang, purpose)));
        if more != 0 {
            lines.push(text::notice_more(lang, more));
        }
        lines
    }

    fn purposes(&self) -> Vec<&str> {
        let Some(policy) = self.policy else { return Vec::new() };
        let all = self.objects.contains(&Object::All);
        let stopped: Vec<usize> = self
            .objects
            .iter()
            .filter_map(|object| self.net(object))
            .filter_map(|net| policy.nets.iter().position(|its| its.name == net.name))
            .collect();
        let concerned = |rule: &&Rule| {
            let places = rule.from.place.iter().chain(&rule.to.place);
            let server = rule.published.as_ref().map(|published| Place::Net(published.net));
            let mut nets = places.copied().chain(server).filter_map(|place| match place {
                Place::Net(net) => Some(net),
                Place::Box => None,
            });
            let over = rule.until.is_some_and(|until| until <= self.at);
            !over && (all || nets.any(|net| stopped.contains(&net)))
        };
        let mut purposes: Vec<&str> = Vec::new();
        for rule in policy.rules.iter().filter(concerned) {
            if !purposes.contains(&rule.purpose.as_str()) {
                purposes.push(&rule.purpose);
            }
        }
        purposes
    }

    /// Owners of the networks; where none is on record, a line to fill in.
    fn contacts(&self, lang: Lang) -> Vec<String> {
        let mut owners: Vec<String> = Vec::new();
        for net in self.objects.iter().filter_map(|object| self.net(object)) {
            if let NetKind::External(external) = &net.kind
                && !external.owner.is_empty()
                && !owners.contains(&external.owner)
            {
                owners.push(external.owner.clone());
            }
        }
        if owners.is_empty() { vec![text::notice_fill_in(lang)] } else { owners }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::load;

    fn notice(objects: &[Object], until: Option<&str>, reason: &str) -> Notice {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/minimal.yaml");
        let policy = load(&file).policy.unwrap();
        let zone = policy.timezone.clone();
        let until = until.map(|until| until.parse().unwrap());
        let at = "2026-12-05T09:00:00Z".parse().unwrap();
        Stop { objects, at, until, reason, zone: &zone, policy: Some(&policy) }.notice()
    }

    fn network() -> Object {
        Object::Network { name: "internet".into() }
    }

    #[test]
    fn a_network_for_two_hours() {
        let notice = notice(&[network()], Some("2026-12-05T11:00:00Z"), "回線終端装置の交換");
        assert_eq!(notice.ja, include_str!("notice.ja.txt"));
        assert_eq!(notice.en, include_str!("notice.en.txt"));
    }

    #[test]
    fn the_readers_language_comes_first() {
        let notice = notice(&[network()], None, "maintenance");
        let both = |lang| notice.both(lang);
        assert!(both(Lang::Ja).starts_with(&notice.ja) && both(Lang::Ja).ends_with(&notice.en));
        assert!(both(Lang::En).starts_with(&notice.en) && both(Lang::En).ends_with(&notice.ja));
    }

    #[test]
    fn what_has_no_owner_leaves_a_line_to_fill_in() {
        let host = Object::host("pc-1").unwrap();
        let notice = notice(&[host, Object::prefix("198.51.100.0/24").unwrap()], None, "maintenance");
        assert!(notice.ja.contains("端末 pc-1") && notice.ja.contains("アドレス 198.51.100.0/24"), "{}", notice.ja);
        assert!(notice.ja.contains("問い合わせ先\n   ______"), "{}", notice.ja);
        assert!(notice.en.contains("until further notice"), "{}", notice.en);
        assert!(!notice.ja.contains("Web閲覧"), "rules of networks are not a host's: {}", notice.ja);
    }

    #[test]
    fn everything_loses_every_purpose_once() {
        let notice = notice(&[Object::All, network()], None, "maintenance");
        assert_eq!(notice.ja.matches("名前解決。").count(), 1, "{}", notice.ja);
        assert!(notice.ja.contains("本装置の管理。") && notice.ja.contains("総務担当"), "{}", notice.ja);
    }

    #[test]
    fn without_a_policy_names_are_all_there_is() {
        let zone = TimeZone::UTC;
        let at = "2026-12-05T09:00:00Z".parse().unwrap();
        let objects = [network()];
        let stop = Stop { objects: &objects, at, until: None, reason: "x", zone: &zone, policy: None };
        assert!(stop.notice().en.contains("network internet"));
    }
}
