//! What must not be believed: a delivery that is empty, half gone, or holds what it cannot mean.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;

use super::{
    MAX_BAD_PERCENT,
    format::Foreign,
    reader::{Parsed, Spot},
};
use crate::{
    cli::text::{self, Lang},
    dataplane::ManagementPath,
    policy::{
        members::{Delta, touches},
        model::{NetKind, Policy},
        prefixes::{Builder, PrefixSet},
    },
};

/// Whose addresses a list must not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// An inside zone, by name.
    Zone(String),
    /// The box itself.
    Box,
    /// A management path, by its interface.
    Management(String),
}

/// Addresses that must not be on any list, and whose they are.
#[derive(Debug, Clone, Default)]
pub struct Protected {
    owned: Vec<(IpNet, Owner)>,
}

impl Protected {
    /// Of a policy and the ways in of the configuration.
    pub fn of(policy: &Policy, management: &[ManagementPath]) -> Self {
        let zones = policy.nets.iter().filter(|net| matches!(net.kind, NetKind::Zone { .. }));
        let zones = zones.flat_map(|net| net.prefixes.iter().map(|prefix| (*prefix, Owner::Zone(net.name.clone()))));
        let own = policy.box_addresses.iter().map(|address| (IpNet::from(*address), Owner::Box));
        // From everywhere is from nowhere in particular.
        let ways = management.iter().flat_map(|path| {
            let named = path.sources.iter().filter(|source| source.prefix_len() > 0);
            named.map(|source| (*source, Owner::Management(path.interface.clone())))
        });
        // The narrowest owner is named first.
        Self { owned: ways.chain(own).chain(zones).collect() }
    }

    /// As a set, without what a list leaves out by itself.
    pub(super) fn without(&self, except: &PrefixSet) -> PrefixSet {
        subtract(&self.owned.iter().map(|(prefix, _)| *prefix).collect(), except)
    }
}

/// `set` without `except`.
pub(super) fn subtract(set: &PrefixSet, except: &PrefixSet) -> PrefixSet {
    if except.is_empty() {
        return set.clone();
    }
    Delta { added: PrefixSet::default(), removed: except.clone() }.applied(set)
}

/// How much is too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of all files.
    Bytes(u64),
    /// Lines of all files.
    Lines(u64),
    /// Prefixes of this list.
    Entries(usize),
    /// Files of a folder.
    Files(usize),
    /// Prefixes of all lists together.
    Together(usize),
}

/// Why a delivery is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// A file or folder cannot be read.
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        why: String,
    },
    /// It leads out of the policy folder.
    Outside {
        /// What does.
        file: PathBuf,
    },
    /// A folder without a file.
    NoFiles {
        /// Which.
        folder: PathBuf,
    },
    /// A file that is something else.
    Foreign {
        /// Which.
        file: PathBuf,
        /// What it is.
        what: Foreign,
    },
    /// More than is read.
    TooLarge {
        /// In which file.
        file: PathBuf,
        /// Of what.
        limit: Limit,
    },
    /// The disk is too slow.
    TooSlow {
        /// In which file.
        file: PathBuf,
        /// After so many.
        seconds: u64,
    },
    /// It was written to while it was read.
    Changing {
        /// Which.
        file: PathBuf,
    },
    /// It has fewer entries than it says.
    CutShort {
        /// Which.
        file: PathBuf,
        /// What it says.
        promised: u64,
        /// What it has.
        found: u64,
    },
    /// Too many lines were not understood.
    BadLines {
        /// So many.
        bad: u64,
        /// Of so many.
        lines: u64,
        /// The first.
        first: String,
    },
    /// No address is on it.
    Empty {
        /// Lines that were names.
        names: u64,
    },
    /// A line is every address.
    Everything {
        /// Where.
        at: String,
        /// What.
        text: String,
    },
    /// All lines together are half of all addresses.
    Half,
    /// It holds an address that must not be on a list.
    Covers {
        /// What it holds.
        prefix: IpNet,
        /// Of what.
        owned: IpNet,
        /// Whose.
        owner: Owner,
        /// Where, if one line does.
        at: Option<String>,
    },
    /// At most half of the last good one is left.
    Shrunk {
        /// Prefixes before.
        from: usize,
        /// Prefixes now.
        to: usize,
    },
}

impl Refused {
    /// Stable, for metrics and scripts.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::Outside { .. } => "outside",
            Self::NoFiles { .. } => "no_files",
            Self::Foreign { .. } => "foreign",
            Self::TooLarge { .. } => "too_large",
            Self::TooSlow { .. } => "too_slow",
            Self::Changing { .. } => "changing",
            Self::CutShort { .. } => "cut_short",
            Self::BadLines { .. } => "bad_lines",
            Self::Empty { .. } => "empty",
            Self::Everything { .. } | Self::Half => "everything",
            Self::Covers { owner: Owner::Zone(_), .. } => "inside",
            Self::Covers { owner: Owner::Box, .. } => "box",
            Self::Covers { owner: Owner::Management(_), .. } => "management",
            Self::Shrunk { .. } => "shrunk",
        }
    }

    /// For people: what, where, and what next.
    pub fn text(&self, lang: Lang) -> String {
        match self {
            Self::Unreadable { file, why } => text::list_unreadable(lang, file.display(), why),
            Self::Outside { file } => text::list_outside(lang, file.display()),
            Self::NoFiles { folder } => text::list_no_files(lang, folder.display()),
            Self::Foreign { file, what } => {
                let what = match what {
                    Foreign::Html => text::list_html(lang),
                    Foreign::Packed => text::list_packed(lang),
                    Foreign::Utf16 => text::list_utf16(lang),
                    Foreign::JsonArray => text::list_json_array(lang),
                };
                text::list_foreign(lang, file.display(), what)
            }
            Self::TooLarge { file, limit } => {
                let limit = match limit {
                    Limit::Bytes(bytes) => format!("{} MiB", bytes >> 20),
                    Limit::Lines(lines) => text::list_limit_lines(lang, lines),
                    Limit::Entries(entries) => text::list_limit_entries(lang, entries),
                    Limit::Files(files) => text::list_limit_files(lang, files),
                    Limit::Together(entries) => text::list_limit_together(lang, entries),
                };
                text::list_too_large(lang, file.display(), limit)
            }
            Self::TooSlow { file, seconds } => text::list_too_slow(lang, file.display(), seconds),
            Self::Changing { file } => text::list_changing(lang, file.display()),
            Self::CutShort { file, promised, found } => text::list_cut_short(lang, file.display(), promised, found),
            Self::BadLines { bad, lines, first } => text::list_bad_lines(lang, bad, lines, MAX_BAD_PERCENT, first),
            Self::Empty { names: 0 } => text::list_empty(lang),
            Self::Empty { names } => text::list_only_names(lang, names),
            Self::Everything { at, text } => text::list_everything(lang, at, text),
            Self::Half => text::list_half(lang),
            Self::Covers { prefix, owned, owner, at } => {
                let owner = match owner {
                    Owner::Zone(name) => text::list_owner_zone(lang, name),
                    Owner::Box => text::list_owner_box(lang),
                    Owner::Management(interface) => text::list_owner_management(lang, interface),
                };
                let at = at.as_ref().map_or_else(String::new, |at| text::list_at(lang, at));
                text::list_covers(lang, prefix, owner, owned, at)
            }
            Self::Shrunk { from, to } => text::list_shrunk(lang, from, to),
        }
    }
}

/// What the last good delivery had, if this one is to be compared with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Before {
    pub(super) prefixes: usize,
}

/// Whether a delivery is taken; what it comes to, without `except`.
pub(super) fn judge(
    parsed: &Parsed,
    except: &PrefixSet,
    protected: &Protected,
    before: Option<Before>,
) -> Result<PrefixSet, Refused> {
    let place = |spot: &Spot| format!("{}:{}", spot.file.display(), spot.line);
    if let Some((file, promised, found)) = &parsed.short {
        return Err(Refused::CutShort { file: file.clone(), promised: *promised, found: *found });
    }
    let (bad, lines) = (parsed.tally.bad, parsed.tally.lines());
    if bad * 100 > lines * MAX_BAD_PERCENT {
        let first = parsed.bad.first().map(|bad| format!("{}:{}:{}", bad.file.display(), bad.line, bad.column));
        return Err(Refused::BadLines { bad, lines, first: first.unwrap_or_default() });
    }
    if let Some(spot) = &parsed.everything {
        return Err(Refused::Everything { at: place(spot), text: spot.text.clone() });
    }
    let prefixes = subtract(&parsed.prefixes, except);
    if prefixes.is_empty() {
        return Err(Refused::Empty { names: parsed.tally.names });
    }
    if is_half(&prefixes) {
        return Err(Refused::Half);
    }
    for (owned, owner) in &protected.owned {
        if touches(&prefixes, owned) {
            let at = parsed.touching.as_ref().map(place);
            let prefix = held(&prefixes, owned);
            return Err(Refused::Covers { prefix, owned: *owned, owner: owner.clone(), at });
        }
    }
    if let Some(Before { prefixes: from }) = before
        && prefixes.len() * 2 <= from
    {
        return Err(Refused::Shrunk { from, to: prefixes.len() });
    }
    Ok(prefixes)
}

/// What a set that touches `owned` holds of it, or around it.
fn held(set: &PrefixSet, owned: &IpNet) -> IpNet {
    set.around(owned).unwrap_or_else(|| {
        let inside = set.iter().find(|prefix| owned.contains(prefix));
        inside.unwrap_or(*owned)
    })
}

/// Whether a set holds half of all IPv4 addresses, or of those that IPv6 gives out (2000::/3): nobody blocks that.
fn is_half(set: &PrefixSet) -> bool {
    let four: u64 = set.v4.iter().map(|(_, len)| 1u64 << (32 - len.min(32))).sum();
    let six = set.v6.iter().map(|(_, len)| 1u128.checked_shl(u32::from(128 - len.min(128))).unwrap_or(u128::MAX));
    four >= 1 << 31 || six.fold(0u128, u128::saturating_add) >= 1 << 124
}

/// All of these as one set.
pub(super) fn union<'s>(sets: impl Iterator<Item = &'s PrefixSet>) -> PrefixSet {
    let mut builder = Builder::default();
    sets.for_each(|set| builder.add_all(set));
    builder.finish()
}

/// The same address, whichever way it is written.
pub(super) fn canonical(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::threat::{format::Format, reader};

    fn set(prefixes: &[&str]) -> PrefixSet {
        prefixes.iter().map(|prefix| prefix.parse::<IpNet>().unwrap()).collect()
    }

    fn protected() -> Protected {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/minimal.yaml");
        let policy = crate::policy::load(&path).policy.unwrap();
        let way = |source: &str| ManagementPath {
            interface: "lan9".into(),
            sources: vec![source.parse().unwrap()],
            macs: Vec::new(),
            port: 22,
        };
        Protected::of(&policy, &[way("198.51.100.7/32"), way("0.0.0.0/0")])
    }

    fn judged(text: &str, except: &[&str], before: Option<usize>) -> Result<PrefixSet, Refused> {
        let (except, protected) = (set(except), protected());
        let watched = protected.without(&except);
        let mut reader = reader::Reader::new(reader::LIMITS, &watched);
        reader.file(Path::new("l"), text.as_bytes(), Format::Auto)?;
        judge(&reader.finish(), &except, &protected, before.map(|prefixes| Before { prefixes }))
    }

    fn code(text: &str) -> &'static str {
        judged(text, &[], None).map_or_else(|refused| refused.code(), |_| "taken")
    }

    #[test]
    fn what_a_list_cannot_mean_is_refused() {
        for (text, expected) in [
            ("203.0.113.128/25\n2001:db8:bad::/48\n", "taken"),
            ("", "empty"),
            ("# nothing\n\n", "empty"),
            ("bad.example\nworse.example\n", "empty"),
            ("203.0.113.9\n0.0.0.0/0\n", "everything"),
            ("203.0.113.9\n::/0\n", "everything"),
            ("0.0.0.0-255.255.255.255\n", "everything"),
            ("32.0.0.0/3\n64.0.0.0/2\n96.0.0.0/3\n128.0.0.0/2\n", "everything"),
            ("2000::/4\n", "everything"),
            ("192.168.1.77\n", "inside"),
            ("2001:db8:1:0:8000::/65\n", "inside"),
            ("192.168.0.0/16\n", "box"),
            ("203.0.113.2\n", "box"),
            ("198.51.100.0/24\n", "management"),
            ("<html>\n", "foreign"),
            ("# Entries : 9 subnets, 9 unique IPs\n203.0.113.9\n", "cut_short"),
        ] {
            assert_eq!(code(text), expected, "{text:?}");
        }
    }

    #[test]
    fn lines_that_are_wrong_are_left_out_until_they_are_too_many() {
        let good = |count: u32| (0..count).map(|n| format!("203.0.113.{}\n", 10 + n)).collect::<String>();
        assert_eq!(code(&format!("{}nonsense\n", good(9))), "taken");
        assert_eq!(code(&format!("{}nonsense\n", good(8))), "bad_lines");
        let Err(Refused::BadLines { bad, lines, first }) = judged(&format!("x\n{}y\n", good(8)), &[], None) else {
            unreachable!()
        };
        assert_eq!((bad, lines, first.as_str()), (2, 10, "l:1:1"));
    }

    #[test]
    fn half_of_it_gone_is_too_much() {
        let two = "203.0.113.9\n203.0.113.77\n";
        assert!(judged(two, &[], Some(3)).is_ok());
        assert_eq!(judged(two, &[], Some(4)), Err(Refused::Shrunk { from: 4, to: 2 }));
        assert!(judged(two, &[], Some(1)).is_ok());
    }

    #[test]
    fn what_a_list_is_told_to_leave_out_does_not_count() {
        let text = "10.0.0.0/8\n192.168.0.0/16\n203.0.113.0/24\n";
        let Err(Refused::Covers { prefix, owned, owner, at }) = judged(text, &[], None) else { unreachable!() };
        assert_eq!(owner, Owner::Box, "the narrowest owner first");
        assert_eq!((prefix.to_string().as_str(), owned.to_string().as_str()), ("192.168.0.0/16", "192.168.1.1/32"));
        assert_eq!(at.as_deref(), Some("l:2"));
        let taken = judged(text, &["192.168.0.0/16", "203.0.113.2/32"], None).unwrap();
        assert!(taken.contains("203.0.113.3".parse().unwrap()) && taken.contains("10.1.1.1".parse().unwrap()));
        assert!(!taken.contains("203.0.113.2".parse().unwrap()) && !taken.contains("192.168.1.1".parse().unwrap()));
        assert_eq!(judged("192.168.1.9\n", &["192.168.0.0/16"], None), Err(Refused::Empty { names: 0 }));
    }

    #[test]
    fn every_refusal_says_something_in_both_languages() {
        let file = || PathBuf::from("f");
        let all = [
            Refused::Unreadable { file: file(), why: "w".into() },
            Refused::Outside { file: file() },
            Refused::NoFiles { folder: file() },
            Refused::Foreign { file: file(), what: Foreign::Html },
            Refused::Foreign { file: file(), what: Foreign::Packed },
            Refused::Foreign { file: file(), what: Foreign::Utf16 },
            Refused::Foreign { file: file(), what: Foreign::JsonArray },
            Refused::TooLarge { file: file(), limit: Limit::Together(5) },
            Refused::TooSlow { file: file(), seconds: 3 },
            Refused::Changing { file: file() },
            Refused::CutShort { file: file(), promised: 3, found: 2 },
            Refused::BadLines { bad: 1, lines: 2, first: "f:1:1".into() },
            Refused::Empty { names: 0 },
            Refused::Empty { names: 4 },
            Refused::Everything { at: "f:1".into(), text: "::/0".into() },
            Refused::Half,
            Refused::Shrunk { from: 9, to: 2 },
        ];
        for refused in all {
            let (en, ja) = (refused.text(Lang::En), refused.text(Lang::Ja));
            assert!(en.len() > 20 && !ja.is_ascii() && en.is_ascii(), "{en} / {ja}");
        }
    }
}
