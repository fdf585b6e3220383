//! How many, and how fast.

use serde_json::{Value as Json, json};

use super::{
    super::{
        decode::{Leaf, Wrong},
        diagnostic::Text,
        model,
        nearest::nearest,
    },
    bad, digits,
};

/// Most conversations a limit may allow: half the places there are.
const MOST: u32 = 65_536;
/// Most new conversations in one unit of time, and the largest burst.
const FASTEST: u32 = 1_000_000;
/// The burst of slow rates, if none is given.
const LEAST_BURST: u32 = 5;

/// A number of conversations, 1..=[`MOST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u32);

impl Leaf for Count {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        digits::<u32>(text)
            .filter(|count| (1..=MOST).contains(count))
            .map(Self)
            .ok_or_else(|| bad(text, "number of conversations"))
    }
    fn expected() -> Text {
        Text::new(format!("a number from 1 to {MOST}"), format!("1〜{MOST}の数"))
    }
    fn schema() -> Json {
        json!({"type": "integer", "minimum": 1, "maximum": MOST})
    }
}

/// `500/s`, `100/min burst 20`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(pub model::Rate);

/// Units and their nanoseconds.
const UNITS: [(&str, u64); 3] = [("s", 1_000_000_000), ("min", 60_000_000_000), ("h", 3_600_000_000_000)];
/// Words that mean a unit, for suggestions.
const UNIT_WORDS: [(&str, &str); 8] = [
    ("sec", "s"),
    ("second", "s"),
    ("m", "min"),
    ("minute", "min"),
    ("hr", "h"),
    ("hour", "h"),
    ("秒", "s"),
    ("分", "min"),
];

impl Leaf for Rate {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        let number = |word: &str| digits::<u32>(word).filter(|number| (1..=FASTEST).contains(number));
        let words: Vec<&str> = text.split_whitespace().collect();
        let (rate, burst) = match words[..] {
            [rate] => (rate, None),
            [rate, "burst", burst] => (rate, Some(number(burst).ok_or_else(|| bad(text, "rate"))?)),
            _ => return Err(bad(text, "rate")),
        };
        let (count, unit) = rate.split_once('/').ok_or_else(|| bad(text, "rate"))?;
        let Some(count) = number(count) else { return Err(bad(text, "rate")) };
        let Some((_, period)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let known = UNIT_WORDS.iter().find(|(word, _)| *word == unit).map(|(_, name)| *name);
            let meant = known.or_else(|| nearest(unit, UNITS.iter().map(|(name, _)| *name)));
            let suggestion = meant.map(|name| text.replacen(&format!("/{unit}"), &format!("/{name}"), 1));
            return Err(Wrong { suggestion, ..bad(text, "rate") });
        };
        let cost = period.div_ceil(u64::from(count));
        let in_a_second = u32::try_from(UNITS[0].1 / cost).unwrap_or(FASTEST);
        Ok(Self(model::Rate { cost, burst: burst.unwrap_or_else(|| in_a_second.max(LEAST_BURST)) }))
    }
    fn expected() -> Text {
        Text::new(
            format!("500/s, 100/min or 20/h, with `burst N` if need be; numbers from 1 to {FASTEST}"),
            format!("500/s、100/min、20/h の形(必要なら後に burst N)。数は1〜{FASTEST}"),
        )
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9]{1,7}/(s|min|h)( +burst +[0-9]{1,7})?$"})
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn rate(text: &str) -> (u64, u32) {
        let rate = Rate::parse(text, true).unwrap().0;
        (rate.cost, rate.burst)
    }

    #[test]
    fn rates_become_nanoseconds_rounded_up() {
        assert_eq!(rate("500/s"), (2_000_000, 500));
        assert_eq!(rate("3/s"), (333_333_334, 5));
        assert_eq!(rate("600/min"), (100_000_000, 10));
        assert_eq!(rate("20/h burst 1"), (180_000_000_000, 1));
        assert_eq!(rate("1000000/s burst 1000000"), (1_000, 1_000_000));
        assert_eq!(rate("1/h  burst  1000000"), (3_600_000_000_000, 1_000_000));
    }

    #[test]
    fn what_is_no_rate_is_refused_with_what_was_meant() {
        for wrong in ["", "500", "0/s", "1000001/s", "/s", "5/", "-5/s", "5/s burst", "5/s burst 0", "5/s 9", "5 / s"] {
            assert!(Rate::parse(wrong, true).is_err(), "{wrong}");
        }
        let meant = |text: &str| Rate::parse(text, true).unwrap_err().suggestion;
        assert_eq!(meant("5/second"), Some("5/s".into()));
        assert_eq!(meant("5/m burst 9"), Some("5/min burst 9".into()));
        for wrong in ["0", "65537", "+5", "many", ""] {
            assert!(Count::parse(wrong, true).is_err(), "{wrong}");
        }
    }
}
