//! How long conversations may be idle, by state: in the agent's configuration and as shown by `status`.

use std::{collections::BTreeMap, fmt::Write as _};

use sekimori_ebpf::abi::{Settings, timeout};

use super::document::{At, Node};
use crate::cli::text::{self, Lang};

/// Names in the order of [`timeout`]'s indexes.
pub const NAMES: [&str; 8] =
    ["tcp_opening", "tcp_established", "tcp_closing", "tcp_closed", "udp_oneway", "udp_stream", "icmp", "other"];
/// Longest idle limit: a week.
const LONGEST: u32 = 7 * 24 * 3600;
/// Below these a standard is not kept: index, seconds, document.
const FLOORS: [(usize, u32, &str); 2] =
    [(timeout::TCP_ESTABLISHED, 2 * 3600 + 4 * 60, "RFC 5382 REQ-5"), (timeout::UDP_STREAM, 2 * 60, "RFC 4787 REQ-5")];

/// Idle limits in seconds, by [`timeout`] index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts(pub [u32; 8]);

impl Default for Timeouts {
    fn default() -> Self {
        Self(timeout::DEFAULTS)
    }
}

impl Timeouts {
    /// From the `timeouts` mapping; what is not named keeps its default.
    pub(super) fn read(value: &Node) -> Result<Self, At> {
        let mut timeouts = Self::default();
        for (name, value) in value.fields(&NAMES)? {
            let expected = "a time from 1s to 7d such as 30s, 2m or 2h4m";
            let text = value.text(expected)?;
            let seconds = seconds(text).filter(|seconds| (1..=LONGEST).contains(seconds));
            let seconds = seconds.ok_or_else(|| value.error(format!("`{text}` is not {expected}")))?;
            for (known, limit) in NAMES.iter().zip(&mut timeouts.0) {
                if *known == name {
                    *limit = seconds;
                }
            }
        }
        Ok(timeouts)
    }

    /// Those in force.
    pub fn of(settings: &Settings) -> Self {
        Self(settings.timeouts)
    }

    /// Seconds by name.
    pub fn by_name(&self) -> BTreeMap<String, u32> {
        NAMES.iter().map(|name| (*name).to_owned()).zip(self.0).collect()
    }

    /// What is shorter than a standard asks for, in a sentence each.
    pub fn warnings(&self, lang: Lang) -> Vec<String> {
        let short = FLOORS.iter().filter(|(index, floor, _)| self.0[*index] < *floor);
        short
            .map(|(index, floor, standard)| {
                text::short_timeout(lang, NAMES[*index], written(self.0[*index]), written(*floor), standard)
            })
            .collect()
    }
}

/// `2h4m` as seconds: numbers with `d`, `h`, `m`, `s`, each unit once, the larger first.
pub(super) fn seconds(text: &str) -> Option<u32> {
    let mut rest = text;
    let mut sum: u32 = 0;
    for (unit, size) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        let Some((number, after)) = rest.split_once(unit) else { continue };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        sum = number.parse::<u32>().ok()?.checked_mul(size)?.checked_add(sum)?;
        rest = after;
    }
    (rest.is_empty() && !text.is_empty()).then_some(sum)
}

/// Seconds as [`seconds`] reads them.
fn written(mut seconds: u32) -> String {
    let mut text = String::new();
    for (unit, size) in [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)] {
        if seconds >= size {
            let _ = write!(text, "{}{unit}", seconds / size);
            seconds %= size;
        }
    }
    text
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Timeouts, At> {
        Timeouts::read(&Node::read(text).unwrap())
    }

    #[test]
    fn each_is_set_by_its_name_and_the_others_stay() {
        for (index, name) in NAMES.iter().enumerate() {
            let mut expected = timeout::DEFAULTS;
            expected[index] = 5 * 60 + 17;
            assert_eq!(read(&format!("{name}: 5m17s")).unwrap(), Timeouts(expected), "{name}");
        }
        assert_eq!(read("tcp_established: 2h4m\nother: 7d").unwrap().0[timeout::OTHER], LONGEST);
    }

    #[test]
    fn what_is_no_time_is_refused_where_it_stands() {
        for wrong in
            ["0s", "8d", "5", "m", "5m5m", "5s2m", "-5s", "+5s", "1.5h", "5 m", "99999999999s", "71582789m", "''"]
        {
            let at = read(&format!("icmp: {wrong}")).unwrap_err();
            assert_eq!((at.line, at.column), (1, 7), "{wrong}");
            assert!(at.message.contains("2h4m"), "{wrong}: {at}");
        }
        assert!(read("tcp: 5m").unwrap_err().message.contains("tcp_opening"));
        assert_eq!(read("icmp: 604800s").unwrap().0[timeout::ICMP], LONGEST);
        assert!(read("icmp: 604801s").is_err());
    }

    #[test]
    fn what_a_standard_asks_for_is_named_where_it_is_not_kept() {
        assert!(Timeouts::default().warnings(Lang::En).is_empty());
        let short = read("{tcp_established: 2h3m59s, udp_stream: 119s}").unwrap();
        for lang in [Lang::En, Lang::Ja] {
            let warnings = short.warnings(lang);
            assert_eq!(warnings.len(), 2);
            assert!(warnings[0].contains("tcp_established") && warnings[0].contains("RFC 5382"), "{warnings:?}");
            assert!(warnings[0].contains("2h3m59s") && warnings[0].contains("2h4m"), "{warnings:?}");
            assert!(warnings[1].contains("udp_stream") && warnings[1].contains("RFC 4787"), "{warnings:?}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        for value in [1, 59, 60, 61, 3_600, 7_440, 86_400, 90_061, LONGEST] {
            assert_eq!(seconds(&written(value)), Some(value));
        }
    }
}
