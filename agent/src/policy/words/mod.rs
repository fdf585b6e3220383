//! The scalars of a policy: names and texts here, the rest by kind.

mod detection;
mod limit;
mod net;
mod service;
mod time;

use serde_json::{Value as Json, json};

pub(crate) use self::net::addresses;
pub use self::{
    detection::{DetectorName, Detectors, HostName, Hosts, Written},
    limit::{Count, Rate},
    net::{Addresses, Beyond, Client, FewHosts, Host, Interface, Prefix, Server, Vlan},
    service::{PortNumber, ServiceWord},
    time::{Clock, Days, Lasting, Moment, OpenOnHolidays, TestTime, Until},
};
use super::{
    decode::{Leaf, Wrong, bad_word, keywords},
    diagnostic::{Text, shorten},
    problem::Problem,
};
use crate::threat::Format;

/// Shape of names, for the schema.
const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";
/// Words that mean something themselves.
const RESERVED: [&str; 4] = ["box", "any", "default", "all"];

fn bad(text: &str, what: &str) -> Wrong {
    bad_word(text, what, &[])
}

/// Decimal digits only: no sign, no spaces (`str::parse` takes a `+`).
pub(crate) fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}
/// A name being defined: `[a-z0-9][a-z0-9_-]{0,62}`, not reserved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ident(pub String);

impl Leaf for Ident {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
        if text.is_empty() || text.len() > 63 || !text.chars().all(good) || text.starts_with(['_', '-']) {
            let lower: String = text.to_lowercase().replace([' ', '.'], "-");
            let suggestion = (lower != text && lower.len() <= 63 && lower.chars().all(good)).then_some(lower);
            return Err(Wrong { problem: Problem::BadName { name: shorten(text) }, suggestion });
        }
        if RESERVED.contains(&text) {
            return Err(Problem::ReservedName { name: text.to_owned() }.into());
        }
        Ok(Self(text.to_owned()))
    }
    fn expected() -> Text {
        Text::new("a-z, 0-9, `_`, `-`; at most 63 letters", "a-z、0-9、「_」、「-」で63文字以内")
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": NAME_PATTERN, "not": {"enum": RESERVED}})
    }
}

/// A reference to something defined elsewhere; `box` where a place is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(pub String);

impl Leaf for Name {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        Ok(Self(text.to_owned()))
    }
    fn expected() -> Text {
        Text::new("a name", "名前")
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": NAME_PATTERN})
    }
}

/// Free text, not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prose(pub String);

impl Leaf for Prose {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        if text.trim().is_empty() { Err(Problem::EmptyValue.into()) } else { Ok(Self(text.to_owned())) }
    }
    fn expected() -> Text {
        Text::new("some text", "文字列")
    }
    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

/// Format version; only 1 exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version;

impl Leaf for Version {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        if text == "1" { Ok(Self) } else { Err(Problem::BadVersion { found: shorten(text) }.into()) }
    }
    fn expected() -> Text {
        Text::same("1")
    }
    fn schema() -> Json {
        json!({"const": 1})
    }
}

impl Leaf for bool {
    fn parse(text: &str, plain: bool) -> Result<Self, Wrong> {
        match (text, plain) {
            ("true", true) => Ok(true),
            ("false", true) => Ok(false),
            _ => {
                let suggestion = match text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "true" | "1" => Some("true".to_owned()),
                    "no" | "off" | "false" | "0" => Some("false".to_owned()),
                    _ => None,
                };
                Err(Wrong { suggestion, ..bad(text, "boolean") })
            }
        }
    }
    fn expected() -> Text {
        Text::same("true | false")
    }
    fn schema() -> Json {
        json!({"type": "boolean"})
    }
}
/// What a test expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass(pub bool);

/// Whether a rule holds for hosts in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quarantined(pub bool);

keywords!(Quarantined, "word" { "permit" => Quarantined(true), "deny" => Quarantined(false) });
keywords!(Format, "list format" {
    "auto" => Format::Auto, "plain" => Format::Plain, "netset" => Format::Netset, "drop" => Format::Drop,
    "drop-json" => Format::DropJson, "abuse-csv" => Format::AbuseCsv, "hosts" => Format::Hosts,
});
keywords!(Pass, "verdict" { "pass" => Pass(true), "drop" => Pass(false) });

#[cfg(test)]
mod tests;
