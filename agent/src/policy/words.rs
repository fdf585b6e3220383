//! The scalars of a policy: names, addresses, MACs, VLANs, dates, times, services.

use std::{fmt, net::IpAddr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use jiff::{Timestamp, civil, tz::TimeZone};
use serde_json::{Value as Json, json};

use super::{
    catalogue,
    decode::{Leaf, Wrong, bad_word, keywords},
    diagnostic::{Text, shorten},
    model::{DeviceMode, L2Control, Mac, Service},
    nearest::nearest,
    problem::Problem,
};

/// Shape of names, for the schema.
const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,62}$";
/// Words that mean something themselves.
const RESERVED: [&str; 4] = ["box", "any", "default", "all"];

fn bad(text: &str, what: &str) -> Wrong {
    bad_word(text, what, &[])
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

/// A TCP or UDP port, 1..=65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortNumber(pub u16);

impl Leaf for PortNumber {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        digits(text).filter(|port| *port > 0).map(Self).ok_or_else(|| bad(text, "port"))
    }
    fn expected() -> Text {
        Text::same("1-65535")
    }
    fn schema() -> Json {
        json!({"type": "integer", "minimum": 1, "maximum": 65535})
    }
}

/// Decimal digits only: no sign, no spaces (`str::parse` takes a `+`).
pub(crate) fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

/// A kernel interface name (1 to 15 bytes, no `/`, no white space).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface(pub String);

impl Leaf for Interface {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        let good = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':');
        if text.is_empty() || text.len() > 15 || matches!(text, "." | ".." | "lo") || !text.chars().all(good) {
            return Err(bad(text, "interface"));
        }
        Ok(Self(text.to_owned()))
    }
    fn expected() -> Text {
        Text::new("an interface name such as eth0 (at most 15 letters)", "eth0 のようなインターフェース名(15文字以内)")
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[!-.0-9;-~]{1,15}$"})
    }
}

/// VLAN ids as written: `10`, `"100.20"` (outer.inner), 0 for untagged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan {
    /// Outer id, 0..=4094.
    pub outer: u16,
    /// Inner id, 0..=4094.
    pub inner: u16,
}

impl Leaf for Vlan {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        let id = |part: &str| digits::<u16>(part).filter(|id| *id <= 4094);
        let vlan = match text.split_once('.') {
            None => id(text).map(|outer| Self { outer, inner: 0 }),
            Some((outer, inner)) => id(outer)
                .zip(id(inner))
                .filter(|(outer, inner)| *outer > 0 && *inner > 0)
                .map(|(outer, inner)| Self { outer, inner }),
        };
        vlan.ok_or_else(|| bad(text, "VLAN"))
    }
    fn expected() -> Text {
        Text::new("0-4094, or \"outer.inner\"", "0〜4094、または \"外側.内側\"")
    }
    fn schema() -> Json {
        json!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 4094},
            {"type": "string", "pattern": "^[0-9]{1,4}(\\.[0-9]{1,4})?$"},
            {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 4095},
        ]})
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Leaf for Mac {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        let parts: Vec<&str> = text.split([':', '-']).take(7).collect();
        let mut mac = [0u8; 6];
        if parts.len() != 6 {
            return Err(bad(text, "MAC"));
        }
        for (byte, part) in mac.iter_mut().zip(parts) {
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(bad(text, "MAC"));
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad(text, "MAC"))?;
        }
        if mac[0] & 1 == 1 || mac == [0; 6] {
            return Err(Problem::GroupMac { mac: text.to_owned() }.into());
        }
        Ok(Self(mac))
    }
    fn expected() -> Text {
        Text::new("a unicast MAC such as \"02:00:00:00:10:17\"", "\"02:00:00:00:10:17\" のような端末のMAC")
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$"})
    }
}

/// An address a host can have: not multicast, unspecified, loopback, broadcast, link-local or IPv4-mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Host(pub IpAddr);

impl Leaf for Host {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        let address: IpAddr = match text.parse() {
            Ok(address) => address,
            Err(_) => {
                let suggestion = text.split_once('/').map(|(host, _)| host).filter(|h| h.parse::<IpAddr>().is_ok());
                return Err(Wrong { suggestion: suggestion.map(str::to_owned), ..bad(text, "IP address") });
            }
        };
        let refused = match address {
            IpAddr::V4(v4) => {
                v4.is_multicast()
                    || v4.is_link_local()
                    || v4.is_loopback()
                    || v4.octets()[0] == 0
                    || v4.octets()[0] >= 240
            }
            IpAddr::V6(v6) => {
                v6.is_multicast()
                    || v6.is_unspecified()
                    || v6.is_loopback()
                    || v6.is_unicast_link_local()
                    || v6.to_ipv4_mapped().is_some()
            }
        };
        if refused { Err(Problem::NotUnicast { address: text.to_owned() }.into()) } else { Ok(Self(address)) }
    }
    fn expected() -> Text {
        Text::new("a unicast IPv4 or IPv6 address", "端末のIPv4またはIPv6アドレス")
    }
    fn schema() -> Json {
        json!({"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]})
    }
}

/// A prefix with its host bits zero.
pub(crate) fn prefix(text: &str) -> Result<IpNet, Wrong> {
    let net: IpNet = text.parse().map_err(|_| {
        let suggestion = text.parse::<IpAddr>().ok().map(|host| IpNet::from(host).to_string());
        Wrong { suggestion, ..bad(text, "prefix") }
    })?;
    if net.trunc() != net {
        let suggestion = Some(net.trunc().to_string());
        return Err(Wrong { problem: Problem::HostBits { prefix: text.to_owned() }, suggestion });
    }
    if matches!(net, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some() && v6.prefix_len() >= 96) {
        return Err(Problem::NotUnicast { address: text.to_owned() }.into());
    }
    Ok(net)
}

/// A prefix where something lives: never everything, never multicast or loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix(pub IpNet);

impl Leaf for Prefix {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        if text == "default" {
            return Err(Problem::WrongKind {
                name: "default".into(),
                is: "word for external networks".into(),
                needed: "prefix".into(),
            }
            .into());
        }
        let net = prefix(text)?;
        if net.prefix_len() == 0 {
            return Err(Problem::PrefixEverything { prefix: text.to_owned() }.into());
        }
        if net.addr().is_multicast() || net.addr().is_loopback() {
            return Err(Problem::NotUnicast { address: text.to_owned() }.into());
        }
        Ok(Self(net))
    }
    fn expected() -> Text {
        Text::new(
            "a prefix such as 192.168.10.0/24 or \"2001:db8::/32\"",
            "192.168.10.0/24 や \"2001:db8::/32\" のようなプレフィックス",
        )
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9a-fA-F:.]+/[0-9]{1,3}$"})
    }
}

/// What lives beyond an external network: a prefix, or everything nobody else claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// `default`.
    Default,
    /// A prefix.
    Prefix(IpNet),
}

impl Leaf for Beyond {
    fn parse(text: &str, plain: bool) -> Result<Self, Wrong> {
        if text == "default" { Ok(Self::Default) } else { Prefix::parse(text, plain).map(|p| Self::Prefix(p.0)) }
    }
    fn expected() -> Text {
        let prefix = Prefix::expected();
        Text::new(format!("`default` or {}", prefix.en), format!("default、または{}", prefix.ja))
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^(default|[0-9a-fA-F:.]+/[0-9]{1,3})$"})
    }
}

/// An address, a prefix or a range `a-b`, as prefixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// As written.
    pub text: String,
    /// What it covers, host bits zero.
    pub prefixes: Vec<IpNet>,
}

/// The prefixes of an address, a prefix or a range.
pub(crate) fn addresses(text: &str) -> Result<Vec<IpNet>, Wrong> {
    if let Some((from, to)) = text.split_once('-') {
        let ends = from.trim().parse::<IpAddr>().ok().zip(to.trim().parse::<IpAddr>().ok());
        let range = || text.to_owned();
        return match ends {
            None => Err(bad(text, "range")),
            Some((IpAddr::V4(a), IpAddr::V4(b))) if a <= b => Ok(Ipv4Subnets::new(a, b, 0).map(IpNet::V4).collect()),
            Some((IpAddr::V6(a), IpAddr::V6(b))) if a <= b => Ok(Ipv6Subnets::new(a, b, 0).map(IpNet::V6).collect()),
            Some((a, b)) if a.is_ipv4() == b.is_ipv4() => {
                Err(Wrong { problem: Problem::RangeBackwards { range: range() }, suggestion: Some(format!("{b}-{a}")) })
            }
            Some(_) => Err(Problem::MixedFamilies { text: range() }.into()),
        };
    }
    if text.contains('/') {
        return prefix(text).map(|net| vec![net]);
    }
    text.parse::<IpAddr>().map(|host| vec![IpNet::from(host)]).map_err(|_| bad(text, "address"))
}

impl Leaf for Addresses {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        Ok(Self { text: text.to_owned(), prefixes: addresses(text)? })
    }
    fn expected() -> Text {
        Text::new("an address, a prefix or a range a-b", "アドレス、プレフィックス、または範囲 a-b")
    }
    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9a-fA-F:./ -]+$"})
    }
}

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

/// An entry of a service list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceWord {
    /// `tcp/443` and the like.
    Inline(Service),
    /// The name of a service.
    Name(String),
}

impl Leaf for ServiceWord {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        match text.split_once('/') {
            Some((protocol, rest)) => catalogue::inline(protocol, rest, text).map(Self::Inline),
            None if text == "any" => Err(Problem::AnyService.into()),
            None => Ok(Self::Name(text.to_owned())),
        }
    }
    fn expected() -> Text {
        Text::new(
            "tcp/443, udp/8000-8010, icmp/echo-request, icmp/3.4, proto/47, or the name of a service",
            "tcp/443、udp/8000-8010、icmp/echo-request、icmp/3.4、proto/47、またはサービス名",
        )
    }
    fn schema() -> Json {
        json!({"type": "string", "not": {"const": "any"}, "pattern": "^((tcp|udp|icmp|icmpv6|proto)/[a-z0-9.-]+|[a-z0-9][a-z0-9_-]{0,62})$"})
    }
}

/// Only `server`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server;
/// Only `client`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client;
/// Whether hours hold on holidays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenOnHolidays(pub bool);
/// What a test expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass(pub bool);

keywords!(DeviceMode, "device mode" {
    "registered" => DeviceMode::Registered, "known" => DeviceMode::Known, "any" => DeviceMode::Any,
});
keywords!(L2Control, "bridge control setting" {
    "drop" => L2Control::Drop, "local" => L2Control::Local, "forward" => L2Control::Forward,
});
keywords!(Server, "setting in a zone" { "server" => Server });
keywords!(Client, "setting in an external network" { "client" => Client });
keywords!(OpenOnHolidays, "holiday setting" { "open" => OpenOnHolidays(true), "closed" => OpenOnHolidays(false) });
keywords!(Pass, "verdict" { "pass" => Pass(true), "drop" => Pass(false) });

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn code<T: Leaf>(text: &str) -> &'static str {
        T::parse(text, true).err().map_or("fine", |wrong| wrong.problem.code())
    }
    fn suggestion<T: Leaf>(text: &str) -> Option<String> {
        T::parse(text, true).err().unwrap().suggestion
    }

    #[test]
    fn names() {
        assert_eq!(code::<Ident>("pc-017"), "fine");
        for wrong in ["", "-a", "A", "庁内", "a b", "a.b"] {
            assert_eq!(code::<Ident>(wrong), "E021", "{wrong}");
        }
        assert_eq!(code::<Ident>(&"a".repeat(64)), "E021");
        assert_eq!(suggestion::<Ident>("Office LAN"), Some("office-lan".into()));
        assert_eq!(code::<Ident>("box"), "E022");
    }

    #[test]
    fn macs() {
        assert_eq!(Mac::parse("02-00-00-00-10-fE", true).unwrap(), Mac([2, 0, 0, 0, 0x10, 0xfe]));
        assert_eq!(code::<Mac>("01:00:5e:00:00:01"), "E031");
        assert_eq!(code::<Mac>("00:00:00:00:00:00"), "E031");
        for wrong in ["02:00:00:00:10", "02:00:00:00:10:1", "02:00:00:00:10:+1", "02:00:00:00:10:17:00"] {
            assert_eq!(code::<Mac>(wrong), "E016", "{wrong}");
        }
    }

    #[test]
    fn prefixes_say_how_they_should_read() {
        assert_eq!(suggestion::<Prefix>("192.168.10.5/24"), Some("192.168.10.0/24".into()));
        assert_eq!(suggestion::<Prefix>("2001:db8::1/64"), Some("2001:db8::/64".into()));
        assert_eq!(suggestion::<Prefix>("192.168.10.5"), Some("192.168.10.5/32".into()));
        assert_eq!(code::<Prefix>("0.0.0.0/0"), "E038");
        assert_eq!(code::<Prefix>("192.168.10.0/33"), "E016");
        assert_eq!(code::<Prefix>("default"), "E045");
    }

    #[test]
    fn ranges_become_exactly_the_prefixes_they_cover() {
        let nets = addresses("198.51.100.1-198.51.100.20").unwrap();
        for last in 0..=255u8 {
            let host = IpAddr::from([198, 51, 100, last]);
            let covered = nets.iter().filter(|net| net.contains(&host)).count();
            assert_eq!(covered, usize::from((1..=20).contains(&last)), "{host}");
        }
        assert_eq!(addresses("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff").unwrap().len(), 1);
        assert_eq!(code::<Addresses>("198.51.100.20-198.51.100.1"), "E032");
        assert_eq!(code::<Addresses>("198.51.100.1-2001:db8::1"), "E033");
    }

    #[test]
    fn clocks_days_and_vlans() {
        assert_eq!(Clock::parse("24:00", false).unwrap(), Clock(1440));
        assert_eq!(Clock::parse("8:05", false).unwrap(), Clock(485));
        for wrong in ["24:01", "25:00", "8:5", "08:60", "0830", "-1:00"] {
            assert_eq!(code::<Clock>(wrong), "E016", "{wrong}");
        }
        assert_eq!(Days::parse("fri-mon", true).unwrap().0, [4, 5, 6, 0]);
        assert_eq!(Days::parse("sun", true).unwrap().0, [6]);
        assert_eq!(code::<Days>("monday"), "E016");
        assert_eq!(Vlan::parse("100.20", false).unwrap(), Vlan { outer: 100, inner: 20 });
        assert_eq!(Vlan::parse("0", true).unwrap(), Vlan { outer: 0, inner: 0 });
        for wrong in ["4095", "0.5", "5.0", "1.2.3", "+1", ""] {
            assert_eq!(code::<Vlan>(wrong), "E016", "{wrong}");
        }
    }

    #[test]
    fn moments() {
        assert!(matches!(Until::parse("2027-03-31", true).unwrap().0, Moment::Day(_)));
        assert!(matches!(Until::parse("2027-03-31T17:15:00+09:00", true).unwrap().0, Moment::Instant(_)));
        for wrong in ["2027-03-31T17:15", "2027-02-30", "20270331", "tomorrow"] {
            assert_eq!(code::<Until>(wrong), "E016", "{wrong}");
        }
        assert!(matches!(TestTime::parse("2026-12-01T10:00", true).unwrap().0, Moment::Local(_)));
        assert_eq!(code::<TestTime>("2026-12-01"), "E016");
        assert_eq!(suggestion::<TimeZone>("Asia/Tokio"), Some("Asia/Tokyo".into()));
    }

    #[test]
    fn booleans_are_two_words_only() {
        assert!(bool::parse("true", true).unwrap());
        assert_eq!(code::<bool>("yes"), "E016");
        assert_eq!(suggestion::<bool>("yes"), Some("true".into()));
        assert!(bool::parse("true", false).is_err());
    }
}
