//! Dates, instants, time zones, times of day, weekdays, holidays.

use jiff::{Timestamp, civil, tz::TimeZone};
use serde_json::{Value as Json, json};

use super::{
    super::{
        decode::{Leaf, Wrong, bad_word, keywords},
        diagnostic::{Text, shorten},
        nearest::nearest,
        problem::Problem,
    },
    bad, digits,
};

impl Leaf for civil::Date {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        let shape = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        if !shape {
            return Err(bad(text, "date"));
        }
        text.parse().map_err(|_| bad(text, "date"))
    }
    fn expected() -> Text {
        Text::new("a date such as 2027-03-31", "2027-03-31 のような日付")
    }
    fn schema() -> Json {
        json!({"type": "string", "format": "date"})
    }
}

/// An instant, absolute or in the policy's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A whole day; as an end, the end of that day.
    Day(civil::Date),
    /// Local date and time.
    Local(civil::DateTime),
    /// RFC 3339.
    Instant(Timestamp),
}

impl Moment {
    fn any(text: &str, plain: bool) -> Option<Self> {
        if text.len() > 40 {
            return None;
        }
        if let Ok(date) = civil::Date::parse(text, plain) {
            return Some(Self::Day(date));
        }
        if let Ok(instant) = text.parse() {
            return Some(Self::Instant(instant));
        }
        // Without a zone; jiff would take and ignore one in brackets.
        if !text.contains(['[', 'Z', 'z', '+']) { text.parse().ok().map(Self::Local) } else { None }
    }
}

/// When a permission ends: a date (its last day) or an RFC 3339 instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until(pub Moment);

impl Leaf for Until {
    fn parse(text: &str, plain: bool) -> Result<Self, Wrong> {
        match Moment::any(text, plain) {
            Some(Moment::Local(_)) | None => Err(bad(text, "end date")),
            Some(moment) => Ok(Self(moment)),
        }
    }
    fn expected() -> Text {
        Text::new(
            "a date such as 2027-03-31 or an instant such as 2027-03-31T17:15:00+09:00",
            "2027-03-31 のような日付、または 2027-03-31T17:15:00+09:00 のような時刻",
        )
    }
    fn schema() -> Json {
        json!({"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]})
    }
}

/// When a test's packet is judged: local time, or an RFC 3339 instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestTime(pub Moment);

impl Leaf for TestTime {
    fn parse(text: &str, plain: bool) -> Result<Self, Wrong> {
        match Moment::any(text, plain) {
            Some(Moment::Day(_)) | None => Err(bad(text, "time")),
            Some(moment) => Ok(Self(moment)),
        }
    }
    fn expected() -> Text {
        Text::new(
            "local time such as 2026-12-01T10:00, or RFC 3339",
            "2026-12-01T10:00 のような現地時刻、またはRFC 3339",
        )
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]+"})
    }
}

impl Leaf for TimeZone {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        let named = text.len() <= 64 && !text.starts_with(['/', '.']);
        named.then(|| TimeZone::get(text).ok()).flatten().ok_or_else(|| {
            let known: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
            let suggestion = nearest(text, known.iter().map(String::as_str)).map(str::to_owned);
            Wrong { problem: Problem::UnknownTimeZone { name: shorten(text) }, suggestion }
        })
    }
    fn expected() -> Text {
        Text::new("an IANA time zone such as Asia/Tokyo", "Asia/Tokyo のようなIANAタイムゾーン")
    }
    fn schema() -> Json {
        json!({"type": "string"})
    }
}

/// How long something lasts, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lasting(pub u64);

impl Lasting {
    /// `90s`, `30m`, `8h` or `7d`, up to ten years.
    pub fn read(text: &str) -> Option<Self> {
        let unit = match text.chars().last()? {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        let number: u64 = digits(text.get(..text.len() - 1)?)?;
        let seconds = number.checked_mul(unit)?;
        (1..=3_650 * 86_400).contains(&seconds).then_some(Self(seconds))
    }
}

impl Leaf for Lasting {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        Self::read(text).ok_or_else(|| bad(text, "duration"))
    }
    fn expected() -> Text {
        Text::new("90s, 30m, 8h or 7d, up to ten years", "90s、30m、8h、7d のような期間(10年まで)")
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9]+[smhd]$"})
    }
}

/// Minutes from midnight, 0..=1440.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock(pub u16);

impl Leaf for Clock {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        let parts = text.split_once(':').filter(|(h, m)| (1..=2).contains(&h.len()) && m.len() == 2);
        let minutes = parts
            .and_then(|(h, m)| digits::<u16>(h).zip(digits::<u16>(m)))
            .filter(|(h, m)| *m < 60 && (*h < 24 || (*h == 24 && *m == 0)))
            .map(|(h, m)| Self(h * 60 + m));
        minutes.ok_or_else(|| bad(text, "time of day"))
    }
    fn expected() -> Text {
        Text::new("HH:MM, 00:00 to 24:00", "HH:MM(00:00〜24:00)")
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^([01]?[0-9]|2[0-3]):[0-5][0-9]$|^24:00$"})
    }
}

/// Weekdays as written: `mon`, `mon-fri`, `fri-mon`; 0 = Monday.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Days(pub Vec<u8>);

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Leaf for Days {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        let day = |word: &str| DAYS.iter().position(|d| *d == word).ok_or_else(|| bad_word(text, "weekday", &DAYS));
        let (from, to) = match text.split_once('-') {
            None => (day(text)?, day(text)?),
            Some((from, to)) => (day(from)?, day(to)?),
        };
        let count = (to + 7 - from) % 7 + 1;
        Ok(Self((0..count).filter_map(|n| u8::try_from((from + n) % 7).ok()).collect()))
    }
    fn expected() -> Text {
        Text::same("mon, tue, wed, thu, fri, sat, sun, mon-fri, …")
    }
    fn schema() -> Json {
        let day = DAYS.join("|");
        json!({"type": "string", "pattern": format!("^({day})(-({day}))?$")})
    }
}
/// Whether hours hold on holidays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOnHolidays(pub bool);

keywords!(OpenOnHolidays, "holiday setting" { "open" => OpenOnHolidays(true), "closed" => OpenOnHolidays(false) });
