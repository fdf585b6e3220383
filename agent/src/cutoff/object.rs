//! What can be cut off.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cli::text::{self, Lang};

/// One object of a cut-off, as an administrator names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Written", into = "Written")]
#[schemars(with = "Written")]
pub enum Object {
    /// An external network.
    Network {
        /// Its name in the policy.
        name: String,
    },
    /// An inside zone.
    Zone {
        /// Its name in the policy.
        name: String,
    },
    /// A machine: its address, its MAC or the name of a registered device.
    Host {
        /// As written, normalised.
        name: String,
    },
    /// Every address of a prefix.
    Prefix {
        /// Host bits are zero.
        prefix: IpNet,
    },
    /// Everything.
    All,
}

/// An [`Object`] as it is written. For `all` a struct: of a unit `deny_unknown_fields` would let a name that was meant for
/// something else pass.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[schemars(rename = "Object")]
enum Written {
    /// An external network.
    Network {
        /// Its name in the policy.
        name: String,
    },
    /// An inside zone.
    Zone {
        /// Its name in the policy.
        name: String,
    },
    /// A machine: its address, its MAC or the name of a registered device.
    Host {
        /// As written, normalised.
        name: String,
    },
    /// Every address of a prefix.
    Prefix {
        /// Host bits are zero.
        #[schemars(with = "String")]
        prefix: IpNet,
    },
    /// Everything.
    All {},
}

impl From<Written> for Object {
    fn from(written: Written) -> Self {
        match written {
            Written::Network { name } => Self::Network { name },
            Written::Zone { name } => Self::Zone { name },
            Written::Host { name } => Self::Host { name },
            Written::Prefix { prefix } => Self::Prefix { prefix },
            Written::All {} => Self::All,
        }
    }
}

impl From<Object> for Written {
    fn from(object: Object) -> Self {
        match object {
            Object::Network { name } => Self::Network { name },
            Object::Zone { name } => Self::Zone { name },
            Object::Host { name } => Self::Host { name },
            Object::Prefix { prefix } => Self::Prefix { prefix },
            Object::All => Self::All {},
        }
    }
}

impl Object {
    /// Whether both name the same. A zone and a network never share a name, so that kind does not tell them apart.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Network { name } | Self::Zone { name }, Self::Network { name: its } | Self::Zone { name: its }) => {
                name == its
            }
            _ => self == other,
        }
    }
}

/// How a host was named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostName {
    /// By address.
    Address(IpAddr),
    /// By MAC.
    Mac([u8; 6]),
    /// By the device's name.
    Device(String),
}

/// An object that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// Not a prefix.
    Prefix(String),
    /// A prefix with bits set behind its length: a slip in the length would cut a whole line.
    HostBits(IpNet),
    /// Not an address, a MAC or a device name.
    Host(String),
    /// A prefix that covers all addresses.
    Everything(String),
    /// A prefix of IPv6 that has all of IPv4 in it (RFC 4291, 2.5.5.2), and nobody's address of IPv6 beside those of others.
    AroundIpv4(String),
    /// An address or MAC that no machine has.
    Nobody(String),
}

/// `::ffff:0:0/96`: how the tables, and some programs, write IPv4.
const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

impl Error {
    /// For people.
    pub fn text(&self, lang: Lang) -> String {
        match self {
            Self::Prefix(given) => text::no_prefix(lang, given),
            Self::HostBits(given) => text::prefix_host_bits(lang, given, given.trunc(), given.addr()),
            Self::Host(given) => text::no_host(lang, given),
            Self::Everything(given) => text::covers_everything(lang, given),
            Self::AroundIpv4(given) => text::around_ipv4(lang, given),
            Self::Nobody(given) => text::no_machine(lang, given),
        }
    }
}

impl Object {
    /// A host from what was written.
    pub fn host(text: &str) -> Result<Self, Error> {
        let name = match HostName::read(text).ok_or_else(|| Error::Host(text.to_owned()))? {
            HostName::Address(address) if no_machines(address) => return Err(Error::Nobody(text.to_owned())),
            HostName::Mac(mac) if mac[0] & 1 != 0 || mac == [0; 6] => return Err(Error::Nobody(text.to_owned())),
            HostName::Address(address) => address.to_string(),
            HostName::Mac(mac) => mac_text(mac),
            HostName::Device(name) => name,
        };
        Ok(Self::Host { name })
    }

    /// A prefix from what was written; a bare address is one.
    pub fn prefix(text: &str) -> Result<Self, Error> {
        let prefix = match text.parse::<IpNet>() {
            Ok(prefix) if prefix.trunc() != prefix => return Err(Error::HostBits(prefix)),
            Ok(prefix) => prefix,
            Err(_) => text.parse::<IpAddr>().map(IpNet::from).map_err(|_| Error::Prefix(text.to_owned()))?,
        };
        let prefix = match prefix {
            IpNet::V6(prefix) if MAPPED.contains(&prefix) => unmapped(prefix),
            IpNet::V6(prefix) if prefix.prefix_len() > 0 && prefix.contains(&MAPPED) => {
                return Err(Error::AroundIpv4(text.to_owned()));
            }
            other => other,
        };
        if prefix.prefix_len() == 0 {
            return Err(Error::Everything(text.to_owned()));
        }
        Ok(Self::Prefix { prefix })
    }

    /// The same checks for an object that came over the control socket.
    pub fn checked(self) -> Result<Self, Error> {
        match self {
            Self::Host { name } => Self::host(&name),
            Self::Prefix { prefix } => Self::prefix(&prefix.to_string()),
            other => Ok(other),
        }
    }
}

impl HostName {
    /// `None` if it is none of the three.
    pub fn read(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(IpAddr::to_canonical(&address)));
        }
        if let Some(mac) = read_mac(text) {
            return Some(Self::Mac(mac));
        }
        let named = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
        named.then(|| Self::Device(text.to_owned()))
    }
}

/// Whether the address is no machine's.
fn no_machines(address: IpAddr) -> bool {
    let broadcast = address == IpAddr::V4(Ipv4Addr::BROADCAST);
    address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast
}

/// What is within [`MAPPED`], as IPv4.
fn unmapped(prefix: Ipv6Net) -> IpNet {
    let address = prefix.network().to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED);
    Ipv4Net::new(address, prefix.prefix_len().saturating_sub(96)).unwrap_or_default().into()
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network { name } => write!(f, "network {name}"),
            Self::Zone { name } => write!(f, "zone {name}"),
            Self::Host { name } => write!(f, "host {name}"),
            Self::Prefix { prefix } => write!(f, "prefix {prefix}"),
            Self::All => f.write_str("all"),
        }
    }
}

/// Six hexadecimal pairs with `:` or `-` between them.
pub fn read_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut pairs = text.split([':', '-']);
    for byte in &mut mac {
        let pair = pairs.next().filter(|pair| pair.len() == 2 && pair.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(mac)
}

/// Lower case, with colons.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn hosts_by_three_names() {
        assert_eq!(Object::host("192.168.10.17").unwrap().to_string(), "host 192.168.10.17");
        assert_eq!(Object::host("2001:DB8::0:1").unwrap().to_string(), "host 2001:db8::1");
        assert_eq!(Object::host("02-00-00-00-10-AB").unwrap().to_string(), "host 02:00:00:00:10:ab");
        assert_eq!(Object::host("pc-017").unwrap().to_string(), "host pc-017");
        for bad in ["", "PC 17", "192.168.10.300", "02:00:00:00:10", "../x"] {
            assert!(Object::host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn prefixes_have_no_host_bits_and_never_mean_everything() {
        assert_eq!(Object::prefix("203.0.113.0/24").unwrap().to_string(), "prefix 203.0.113.0/24");
        assert_eq!(Object::prefix("10.1.1.1/8"), Err(Error::HostBits("10.1.1.1/8".parse().unwrap())));
        assert_eq!(Object::prefix("203.0.113.77").unwrap().to_string(), "prefix 203.0.113.77/32");
        assert_eq!(Object::prefix("0.0.0.0/0"), Err(Error::Everything("0.0.0.0/0".into())));
        assert!(Object::prefix("203.0.113.0/33").is_err());
    }

    #[test]
    fn ipv4_has_one_name_and_nobody_is_no_host() {
        assert_eq!(Object::host("::ffff:192.168.10.17").unwrap().to_string(), "host 192.168.10.17");
        assert_eq!(Object::prefix("::ffff:10.1.0.0/112").unwrap().to_string(), "prefix 10.1.0.0/16");
        assert_eq!(Object::prefix("::ffff:0:0/96"), Err(Error::Everything("::ffff:0:0/96".into())));
        for around in ["::/64", "::/1", "::/80"] {
            assert_eq!(Object::prefix(around), Err(Error::AroundIpv4(around.into())));
        }
        assert_eq!(Object::prefix("2000::/3").unwrap().to_string(), "prefix 2000::/3");
        let nobody = ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "ff02::1"];
        for name in nobody.into_iter().chain(["ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "01:00:5e:00:00:01"]) {
            assert_eq!(Object::host(name), Err(Error::Nobody(name.into())));
        }
    }

    #[test]
    fn json_round_trip() {
        for object in [Object::All, Object::host("pc-017").unwrap(), Object::prefix("8000::/1").unwrap()] {
            let json = serde_json::to_string(&object).unwrap();
            assert_eq!(serde_json::from_str::<Object>(&json).unwrap(), object, "{json}");
        }
        assert!(serde_json::from_str::<Object>(r#"{"kind":"network","name":"a","x":1}"#).is_err());
        // Somebody who meant a zone must not cut everything.
        assert!(serde_json::from_str::<Object>(r#"{"kind":"all","name":"guest"}"#).is_err());
        assert_eq!(serde_json::from_str::<Object>(r#"{"kind":"all"}"#).unwrap(), Object::All);
    }
}
