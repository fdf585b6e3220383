//! What can be cut off without a policy at hand.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use serde_json::Value;

/// One object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Object {
    /// Zone or network, by name; which of the two does not matter to the tables.
    Net {
        /// `network` or `zone`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A machine, by MAC.
    Mac([u8; 6]),
    /// A machine, or all addresses of a prefix.
    Prefix {
        /// The network.
        addr: IpAddr,
        /// Its length.
        length: u8,
        /// It was called a host.
        host: bool,
    },
    /// Everything.
    All,
}

impl Object {
    /// From two words.
    pub(crate) fn read(kind: &str, name: &str) -> Result<Self, String> {
        match kind {
            "network" => Ok(Self::Net { kind: "network", name: name.to_owned() }),
            "zone" => Ok(Self::Net { kind: "zone", name: name.to_owned() }),
            "host" => {
                if let Ok(addr) = name.parse::<IpAddr>() {
                    // IPv4 has one name, however it is written.
                    let addr = addr.to_canonical();
                    if addr.is_unspecified() || addr.is_loopback() || addr.is_multicast() {
                        return Err(format!("`{name}` is no machine's address"));
                    }
                    return Ok(Self::Prefix { addr, length: whole(addr), host: true });
                }
                mac(name).map(Self::Mac).ok_or_else(|| {
                    format!(
                        "`{name}` is neither an address nor a MAC (names of devices need the agent: `sekimori cutoff`)"
                    )
                })
            }
            "prefix" => {
                let prefix = prefix(name)
                    .ok_or_else(|| format!("`{name}` is not a prefix with nothing set behind its length"))?;
                if prefix.has_all_of_ipv4() {
                    return Err(format!("`{name}` has every address of IPv4 in it, or every address; use `all`"));
                }
                Ok(prefix)
            }
            _ => Err(format!("`{kind}` is no kind of object")),
        }
    }

    /// Whether `::ffff:0:0/96`, which stands for IPv4, is within it.
    fn has_all_of_ipv4(&self) -> bool {
        let Some((length, network)) = self.key() else { return false };
        let ipv4 = u128::from(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped());
        let behind = 128 - length;
        length <= 96 && (length == 0 || (u128::from_be_bytes(network) ^ ipv4) >> behind == 0)
    }

    /// The key of its prefix in the tables' 128-bit space: length and network.
    pub(crate) fn key(&self) -> Option<(u32, [u8; 16])> {
        let Self::Prefix { addr, length, .. } = self else { return None };
        Some(match addr {
            IpAddr::V4(addr) => (96 + u32::from(*length), addr.to_ipv6_mapped().octets()),
            IpAddr::V6(addr) => (u32::from(*length), addr.octets()),
        })
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net { kind, name } => write!(f, "{kind} {name}"),
            Self::Mac([a, b, c, d, e, g]) => write!(f, "host {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}"),
            Self::Prefix { addr, host: true, .. } => write!(f, "host {addr}"),
            Self::Prefix { addr, length, .. } => write!(f, "prefix {addr}/{length}"),
            Self::All => f.write_str("all"),
        }
    }
}

fn whole(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

fn prefix(text: &str) -> Option<Object> {
    let (addr, length) = match text.split_once('/') {
        Some((addr, length)) => (addr.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?),
        None => text.parse::<IpAddr>().ok().map(|addr| (addr, whole(addr)))?,
    };
    if length > whole(addr) {
        return None;
    }
    // IPv4 has one name, however it is written.
    let (addr, length) = match addr {
        IpAddr::V6(mapped) if length >= 96 => match mapped.to_ipv4_mapped() {
            Some(v4) => (IpAddr::V4(v4), length - 96),
            None => (addr, length),
        },
        _ => (addr, length),
    };
    let (bits, width) = match addr {
        IpAddr::V4(addr) => (u128::from(u32::from(addr)), 32),
        IpAddr::V6(addr) => (u128::from(addr), 128),
    };
    let behind = width - u32::from(length);
    let clean = bits & 1u128.checked_shl(behind).map_or(u128::MAX, |above| above - 1) == 0;
    clean.then_some(Object::Prefix { addr, length, host: false })
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut bytes {
        let part = parts.next().filter(|part| part.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

/// The numbers of the zones and networks among the objects, as the agent keeps them in its state folder.
pub(crate) fn numbers(state: &Path, objects: &[Object]) -> Result<Vec<u32>, String> {
    let names: Vec<&str> = objects
        .iter()
        .filter_map(|object| match object {
            Object::Net { name, .. } => Some(name.as_str()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let path = state.join("registry.json");
    let said = |why: String| format!("{}: {why}; `sekimori-cut … all` needs no names", path.display());
    let text = std::fs::read(&path).map_err(|error| said(error.to_string()))?;
    let registry: Value = serde_json::from_slice(&text).map_err(|error| said(error.to_string()))?;
    let known = &registry["nets"];
    names
        .into_iter()
        .map(|name| {
            let number = known[name]["id"].as_u64().and_then(|id| u32::try_from(id).ok());
            number.ok_or_else(|| said(format!("no policy ever had a zone or network `{name}`")))
        })
        .collect()
}
