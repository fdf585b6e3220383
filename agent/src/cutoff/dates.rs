//! Dates as people write and read them: 令和8年12月5日(土) 18時00分, Saturday, 5 December 2026, 18:00.

use jiff::{
    Timestamp, Zoned,
    civil::{Date, DateTime, Time, Weekday, date},
    tz::TimeZone,
};

use crate::{
    cli::text::{self, Lang},
    policy::words::Lasting,
};

/// Eras by their first day, the newest first. Before the oldest a year is written as in the West.
const ERAS: [(Date, &str); 2] = [(date(2019, 5, 1), "令和"), (date(1989, 1, 8), "平成")];
/// Where a date needs no word about its time zone if it is in Japanese.
const JAPAN: &str = "Asia/Tokyo";

/// An instant as written: RFC 3339, local time (`2026-12-05T18:00`, `2026-12-05 18:00`), or in Japanese
/// (`令和8年12月5日 18時`, `2026年12月5日(土) 18時30分`). A weekday that is not that day's, a day that the era does not have: no.
pub fn read(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let text: String = text.trim().chars().map(narrow).collect();
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    let local = text.parse().ok().or_else(|| japanese(&text))?;
    local.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp())
}

/// A time of day as written: `18:00`, `18時`, `18時30分`, `18時半`.
pub fn read_time(text: &str) -> Option<Time> {
    let text: String = text.trim().chars().map(narrow).collect();
    // The parser takes whole dates for times as well.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':') && text.contains(':');
    if plain { text.parse().ok() } else { clock(&text) }
}

/// What an input method writes wide, as ASCII has it.
pub fn narrow(wide: char) -> char {
    match wide {
        '\u{3000}' => ' ',
        // Full-width forms stand in the order of ASCII.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(wide) - 0xfee0).unwrap_or(wide),
        other => other,
    }
}

/// A span as written, in seconds: `90s`, `30m`, `8h`, `7d`, or `90秒`, `30分`, `8時間`, `7日`; up to ten years.
pub fn read_span(text: &str) -> Option<u64> {
    let text: String = text.chars().map(narrow).filter(|letter| *letter != ' ').collect();
    let units = [("秒間", "s"), ("秒", "s"), ("分間", "m"), ("分", "m"), ("時間", "h"), ("日間", "d"), ("日", "d")];
    let written = units.iter().find_map(|(ja, en)| Some(format!("{}{en}", text.strip_suffix(ja)?)));
    Lasting::read(&written.unwrap_or(text)).map(|Lasting(seconds)| seconds)
}

fn japanese(text: &str) -> Option<DateTime> {
    let text = text.replace(' ', "");
    let (year, rest) = text.split_once('年')?;
    let (month, rest) = rest.split_once('月')?;
    let (day, rest) = rest.split_once('日')?;
    let (weekday, rest) = match rest.strip_prefix('(') {
        Some(rest) => rest.split_once(')').map(|(weekday, rest)| (Some(weekday), rest))?,
        None => (None, rest),
    };
    let (month, day) = (number(month)?, number(day)?);
    let era = ERAS.iter().position(|(_, name)| year.starts_with(name));
    let date = match era {
        None => Date::new(i16::from(number(year.get(..2)?)?) * 100 + i16::from(number(year.get(2..)?)?), month, day),
        Some(era) => {
            let (first, name) = ERAS.get(era)?;
            let year = year.strip_prefix(name)?;
            let year = if year == "元" { 1 } else { number(year)? };
            Date::new(first.year() + i16::from(year) - 1, month, day)
        }
    };
    let date = date.ok()?;
    if era.is_some() && era_of(date) != era {
        return None;
    }
    if weekday.is_some_and(|weekday| weekday.trim_end_matches("曜日").trim_end_matches('曜') != kanji(date.weekday()))
    {
        return None;
    }
    Some(date.to_datetime(clock(rest)?))
}

fn clock(text: &str) -> Option<Time> {
    let (hour, rest) = text.split_once('時')?;
    let minute = match rest {
        "" => 0,
        "半" => 30,
        minutes => number(minutes.strip_suffix('分')?)?,
    };
    Time::new(number(hour)?, minute, 0, 0).ok()
}

fn number(digits: &str) -> Option<i8> {
    let plain = (1..=2).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

fn era_of(date: Date) -> Option<usize> {
    ERAS.iter().position(|(first, _)| *first <= date)
}

fn kanji(weekday: Weekday) -> &'static str {
    match weekday {
        Weekday::Monday => "月",
        Weekday::Tuesday => "火",
        Weekday::Wednesday => "水",
        Weekday::Thursday => "木",
        Weekday::Friday => "金",
        Weekday::Saturday => "土",
        Weekday::Sunday => "日",
    }
}

/// From when until when, for people.
pub fn period(at: Timestamp, until: Option<Timestamp>, zone: &TimeZone, lang: Lang) -> String {
    let from = at.to_zoned(zone.clone());
    let until = until.map(|until| until.to_zoned(zone.clone()));
    let place = match (lang, zone.iana_name()) {
        (Lang::Ja, Some(JAPAN)) => String::new(),
        (_, Some(name)) => text::period_zone(lang, name),
        (_, None) => text::period_zone(lang, from.strftime("%:z")),
    };
    let start = day_and_time(&from, lang);
    match until {
        None => text::period_open(lang, start, place),
        Some(end) if end.date() == from.date() => text::period(lang, start, time_of(end.time(), lang), place),
        Some(end) => text::period(lang, start, day_and_time(&end, lang), place),
    }
}

fn day_and_time(at: &Zoned, lang: Lang) -> String {
    let time = time_of(at.time(), lang);
    match lang {
        Lang::Ja => format!("{} {time}", day(at.date())),
        Lang::En => format!("{}, {time}", at.strftime("%A, %-d %B %Y")),
    }
}

/// 令和8年12月5日(土)
fn day(date: Date) -> String {
    let year = match era_of(date).and_then(|era| ERAS.get(era)) {
        None => date.year().to_string(),
        Some((first, name)) if first.year() == date.year() => format!("{name}元"),
        Some((first, name)) => format!("{name}{}", date.year() - first.year() + 1),
    };
    format!("{year}年{}月{}日({})", date.month(), date.day(), kanji(date.weekday()))
}

/// Seconds only where there are any.
fn time_of(at: Time, lang: Lang) -> String {
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    match (lang, second) {
        (Lang::Ja, 0) => format!("{hour}時{minute:02}分"),
        (Lang::Ja, _) => format!("{hour}時{minute:02}分{second:02}秒"),
        (Lang::En, 0) => format!("{hour:02}:{minute:02}"),
        (Lang::En, _) => format!("{hour:02}:{minute:02}:{second:02}"),
    }
}

/// The first such time of day after an instant.
pub fn next(of_day: Time, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let here = after.to_zoned(zone.clone());
    let today = here.with().time(of_day).build().ok()?;
    let next =
        if today.timestamp() > after { today } else { today.tomorrow().ok()?.with().time(of_day).build().ok()? };
    Some(next.timestamp())
}

/// The last such time of day that has been.
pub fn last(of_day: Time, before: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let here = before.to_zoned(zone.clone());
    let today = here.with().time(of_day).build().ok()?;
    let last =
        if today.timestamp() <= before { today } else { today.yesterday().ok()?.with().time(of_day).build().ok()? };
    Some(last.timestamp())
}

/// RFC 3339 with the offset of the zone: for programs, and for people who live there.
pub fn local(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use jiff::civil::time;

    use super::*;

    fn tokyo() -> TimeZone {
        TimeZone::get(JAPAN).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn one_instant_is_written_in_many_ways() {
        for text in [
            "2026-12-05T18:00",
            "2026-12-05 18:00",
            "2026-12-05T18:00:00",
            "2026-12-05T18:00:00+09:00",
            "2026-12-05T09:00:00Z",
            " 2026-12-05 18:00 ",
            "令和8年12月5日 18時",
            "令和8年12月5日18時00分",
            "令和8年12月05日(土) 18時00分",
            "令和8年12月5日(土曜日)18時",
            "令和8年12月5日(土)18時00分",
            "2026年12月5日 18時",
        ] {
            assert_eq!(read(text, &tokyo()), Some(at("2026-12-05T09:00:00Z")), "{text}");
        }
        assert_eq!(read("令和8年12月5日 18時半", &tokyo()), Some(at("2026-12-05T09:30:00Z")));
        assert_eq!(read("平成31年4月30日 0時", &tokyo()), Some(at("2019-04-29T15:00:00Z")));
        assert_eq!(read("令和元年5月1日 0時", &tokyo()), Some(at("2019-04-30T15:00:00Z")));
    }

    #[test]
    fn what_is_no_instant_is_none() {
        for text in [
            "",
            "soon",
            "18:00",
            "2026-12-05 25:00",
            "2026-02-30T10:00",
            "令和8年12月5日",
            "令和8年12月5日(日) 18時",
            "令和8年2月29日 18時",
            "令和0年12月5日 18時",
            "令和元年4月30日 18時",
            "令和1年4月30日 18時",
            "平成31年5月1日 18時",
            "昭和101年12月5日 18時",
            "令和-8年12月5日 18時",
            "令和8年12月5日 24時",
            "令和8年12月5日 18時60分",
            "令和8年12月5日 18時5",
            "26年12月5日 18時",
            "20260年12月5日 18時",
            "年月日時",
            "令和8年12月5日(土 18時",
        ] {
            assert_eq!(read(text, &tokyo()), None, "{text}");
        }
    }

    #[test]
    fn times_of_day() {
        assert_eq!(read_time("20:00"), Some(time(20, 0, 0, 0)));
        assert_eq!(read_time("8時半"), Some(time(8, 30, 0, 0)));
        assert_eq!(read_time("20時05分"), Some(time(20, 5, 0, 0)));
        for text in ["soon", "2026-13", "2026-12-05T18:00", "20", "20:00+09:00"] {
            assert_eq!(read_time(text), None, "{text}");
        }
        let noon = at("2026-12-05T03:00:00Z");
        assert_eq!(next(time(18, 0, 0, 0), noon, &tokyo()), Some(at("2026-12-05T09:00:00Z")));
        assert_eq!(next(time(12, 0, 0, 0), noon, &tokyo()), Some(at("2026-12-06T03:00:00Z")), "that very time is over");
        assert_eq!(last(time(12, 0, 0, 0), noon, &tokyo()), Some(noon), "that very time has been");
        assert_eq!(last(time(12, 1, 0, 0), noon, &tokyo()), Some(at("2026-12-04T03:01:00Z")));
    }

    #[test]
    fn spans_in_both_languages() {
        for (text, seconds) in [
            ("90s", 90),
            ("２ｈ", 7_200),
            ("90秒", 90),
            ("30分", 1_800),
            ("30分間", 1_800),
            ("2時間", 7_200),
            ("２ 時間", 7_200),
            ("7日間", 604_800),
        ] {
            assert_eq!(read_span(text), Some(seconds), "{text}");
        }
        for text in ["", "2", "時間", "2時", "2時間半", "-2時間", "0分", "20000日", "2h分"] {
            assert_eq!(read_span(text), None, "{text}");
        }
    }

    #[test]
    fn eras_begin_on_their_day() {
        for (written, text) in [
            (date(2019, 4, 30), "平成31年4月30日(火)"),
            (date(2019, 5, 1), "令和元年5月1日(水)"),
            (date(2019, 12, 31), "令和元年12月31日(火)"),
            (date(2020, 1, 1), "令和2年1月1日(水)"),
            (date(2026, 12, 5), "令和8年12月5日(土)"),
            (date(1989, 1, 7), "1989年1月7日(土)"),
            (date(1989, 1, 8), "平成元年1月8日(日)"),
        ] {
            assert_eq!(day(written), text);
        }
    }

    #[test]
    fn periods_name_the_second_day_only_if_it_is_another() {
        let zone = tokyo();
        let from = at("2026-12-05T09:00:00Z");
        for (until, ja, en) in [
            (
                Some("2026-12-05T11:00:00Z"),
                "令和8年12月5日(土) 18時00分から20時00分まで",
                "Saturday, 5 December 2026, 18:00 to 20:00 (Asia/Tokyo)",
            ),
            (
                Some("2026-12-05T17:05:30Z"),
                "令和8年12月5日(土) 18時00分から令和8年12月6日(日) 2時05分30秒まで",
                "Saturday, 5 December 2026, 18:00 to Sunday, 6 December 2026, 02:05:30 (Asia/Tokyo)",
            ),
            (
                None,
                "令和8年12月5日(土) 18時00分から、復旧を改めてお知らせするまで",
                "Saturday, 5 December 2026, 18:00, until further notice (Asia/Tokyo)",
            ),
        ] {
            let until = until.map(at);
            assert_eq!(period(from, until, &zone, Lang::Ja), ja);
            assert_eq!(period(from, until, &zone, Lang::En), en);
        }
        let paris = TimeZone::get("Europe/Paris").unwrap();
        assert_eq!(
            period(from, None, &paris, Lang::Ja),
            "令和8年12月5日(土) 10時00分から、復旧を改めてお知らせするまで(Europe/Paris)"
        );
        let fixed = TimeZone::fixed(jiff::tz::offset(2));
        assert!(period(from, None, &fixed, Lang::En).ends_with("(+02:00)"));
    }

    #[test]
    fn local_times_carry_their_offset() {
        assert_eq!(local(at("2026-12-05T09:00:00Z"), &tokyo()), "2026-12-05T18:00:00+09:00");
        assert_eq!(local(at("2026-12-05T09:00:00Z"), &TimeZone::UTC), "2026-12-05T09:00:00+00:00");
    }
}
