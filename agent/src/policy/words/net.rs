//! Interfaces, VLANs, MACs, addresses, prefixes and the settings of nets.

use std::{fmt, net::IpAddr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use serde_json::{Value as Json, json};

use super::{
    super::{
        decode::{Leaf, Wrong, keywords},
        diagnostic::Text,
        model::{DeviceMode, L2Control, Mac},
        problem::Problem,
    },
    bad, digits,
};

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

/// Most addresses of one [`FewHosts`].
const FEW: usize = 256;

/// Addresses of hosts, each of which becomes an entry of its own: one, or a prefix of at most 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FewHosts(IpNet);

impl FewHosts {
    /// Whether they were written as a prefix.
    pub fn is_prefix(&self) -> bool {
        self.0.prefix_len() != self.0.max_prefix_len()
    }

    /// Each of them, the first and the last of a prefix included.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let single = IpNet::from(self.0.addr()).prefix_len();
        self.0.subnets(single).into_iter().flatten().map(|one| one.addr())
    }
}

impl fmt::Display for FewHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_prefix() { self.0.fmt(f) } else { self.0.addr().fmt(f) }
    }
}

impl Leaf for FewHosts {
    fn parse(text: &str, plain: bool) -> Result<Self, Wrong> {
        if !text.contains('/') {
            return Host::parse(text, plain).map(|host| Self(host.0.into()));
        }
        let net = prefix(text)?;
        Host::parse(&net.addr().to_string(), plain)?;
        let few = Self(net);
        if few.addresses().nth(FEW).is_some() {
            return Err(Problem::TooMany { what: "addresses".into(), limit: FEW.to_string() }.into());
        }
        Ok(few)
    }
    fn expected() -> Text {
        Text::new(
            "a unicast address, or a prefix of at most 256 addresses",
            "端末のアドレス、または256アドレス以下のプレフィックス",
        )
    }
    fn schema() -> Json {
        json!({"type": "string", "anyOf": [
            {"format": "ipv4"}, {"format": "ipv6"},
            {"pattern": "^[0-9.]+/(2[4-9]|3[0-2])$"}, {"pattern": "^[0-9A-Fa-f:.]+/12[0-8]$"},
        ]})
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
/// Only `server`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Server;
/// Only `client`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client;

keywords!(DeviceMode, "device mode" {
    "registered" => DeviceMode::Registered, "known" => DeviceMode::Known, "any" => DeviceMode::Any,
});
keywords!(L2Control, "bridge control setting" {
    "drop" => L2Control::Drop, "local" => L2Control::Local, "forward" => L2Control::Forward,
});
keywords!(Server, "setting in a zone" { "server" => Server });
keywords!(Client, "setting in an external network" { "client" => Client });
