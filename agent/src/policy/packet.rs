//! A packet as administrators write it: `tcp 192.168.10.17:40000 > 198.51.100.5:443`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use super::{
    catalogue::icmp_type,
    model::{L4Spec, PacketSpec},
    words::digits,
};

/// Why a packet could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Not `PROTOCOL A > B …`.
    #[error("write `tcp|udp A:PORT > B:PORT`, `icmp|icmpv6 A > B TYPE/CODE` or `proto N A > B`")]
    Shape,
    /// An end that is not an address with a port.
    #[error("`{0}` is not ADDRESS:PORT (IPv6 as [ADDRESS]:PORT), port 1-65535")]
    Endpoint(String),
    /// An end that is not an address.
    #[error("`{0}` is not an IP address")]
    Address(String),
    /// Neither a name nor TYPE/CODE.
    #[error("`{0}` is not an ICMP message: a name such as echo-request, or TYPE/CODE")]
    Icmp(String),
    /// Not an IP protocol number that stands for itself.
    #[error("`{0}` is not an IP protocol number (tcp, udp, icmp and icmpv6 have words of their own)")]
    Protocol(String),
    /// Two families.
    #[error("source and destination are of different IP versions")]
    Families,
}

/// Reads a packet. `icmp` goes with IPv4 addresses only, `icmpv6` with IPv6 only.
pub fn parse(text: &str) -> Result<PacketSpec, PacketError> {
    let words: Vec<&str> = text.split_whitespace().take(8).collect();
    let (src, dst, l4) = match words.as_slice() {
        ["tcp", from, ">", to] => {
            let (from, to) = (endpoint(from)?, endpoint(to)?);
            (from.ip(), to.ip(), L4Spec::Tcp { sport: from.port(), dport: to.port() })
        }
        ["udp", from, ">", to] => {
            let (from, to) = (endpoint(from)?, endpoint(to)?);
            (from.ip(), to.ip(), L4Spec::Udp { sport: from.port(), dport: to.port() })
        }
        [word @ ("icmp" | "icmpv6"), from, ">", to, message] => {
            let v6 = *word == "icmpv6";
            let (src, dst) = (address(from)?, address(to)?);
            if src.is_ipv6() != v6 || dst.is_ipv6() != v6 {
                return Err(PacketError::Families);
            }
            let (kind, code) = icmp(message, v6)?;
            (src, dst, L4Spec::Icmp { kind, code })
        }
        ["proto", number, from, ">", to] => {
            let protocol = digits::<u8>(number).filter(|n| !matches!(n, 1 | 6 | 17 | 58));
            let protocol = protocol.ok_or_else(|| PacketError::Protocol((*number).to_owned()))?;
            (address(from)?, address(to)?, L4Spec::Protocol(protocol))
        }
        _ => return Err(PacketError::Shape),
    };
    if src.is_ipv4() != dst.is_ipv4() {
        return Err(PacketError::Families);
    }
    Ok(PacketSpec { src, dst, l4 })
}

fn endpoint(word: &str) -> Result<SocketAddr, PacketError> {
    let end: Option<SocketAddr> = word.parse().ok();
    // A scope id (`[fe80::1%2]:80`) means nothing here.
    end.filter(|end| end.port() > 0 && !word.contains('%')).ok_or_else(|| PacketError::Endpoint(word.to_owned()))
}

fn address(word: &str) -> Result<IpAddr, PacketError> {
    let bare = word.strip_prefix('[').and_then(|w| w.strip_suffix(']')).unwrap_or(word);
    bare.parse().map_err(|_| PacketError::Address(word.to_owned()))
}

fn icmp(word: &str, v6: bool) -> Result<(u8, u8), PacketError> {
    if let Some(kind) = icmp_type(word, v6) {
        return Ok((kind, 0));
    }
    word.split_once('/')
        .and_then(|(kind, code)| digits(kind).zip(digits(code)))
        .ok_or_else(|| PacketError::Icmp(word.to_owned()))
}

impl fmt::Display for PacketSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src, dst, l4 } = self;
        match l4 {
            L4Spec::Tcp { sport, dport } => {
                write!(f, "tcp {} > {}", SocketAddr::new(*src, *sport), SocketAddr::new(*dst, *dport))
            }
            L4Spec::Udp { sport, dport } => {
                write!(f, "udp {} > {}", SocketAddr::new(*src, *sport), SocketAddr::new(*dst, *dport))
            }
            L4Spec::Icmp { kind, code } => {
                let word = if src.is_ipv6() { "icmpv6" } else { "icmp" };
                write!(f, "{word} {src} > {dst} {kind}/{code}")
            }
            L4Spec::Protocol(number) => write!(f, "proto {number} {src} > {dst}"),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_prints() {
        for text in [
            "tcp 192.168.10.17:40000 > 198.51.100.5:443",
            "udp [2001:db8::1]:53 > [2001:db8::2]:53",
            "icmp 192.168.10.17 > 198.51.100.5 8/0",
            "icmpv6 2001:db8::1 > 2001:db8::2 128/0",
            "proto 47 192.168.10.17 > 198.51.100.5",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
        let named = parse("icmp 192.168.10.17 > 198.51.100.5 echo-request").unwrap();
        assert_eq!(named.to_string(), "icmp 192.168.10.17 > 198.51.100.5 8/0");
        assert_eq!(
            parse("icmpv6 [2001:db8::1] > [2001:db8::2] echo-reply").unwrap().l4,
            L4Spec::Icmp { kind: 129, code: 0 }
        );
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(parse(""), Err(PacketError::Shape));
        assert_eq!(parse("tcp 192.168.10.17:1 -> 198.51.100.5:2"), Err(PacketError::Shape));
        assert_eq!(parse("tcp 192.168.10.17 > 198.51.100.5:443"), Err(PacketError::Endpoint("192.168.10.17".into())));
        assert_eq!(
            parse("tcp 192.168.10.17:0 > 198.51.100.5:443"),
            Err(PacketError::Endpoint("192.168.10.17:0".into()))
        );
        assert_eq!(parse("tcp 192.168.10.17:1 > [2001:db8::2]:443"), Err(PacketError::Families));
        assert_eq!(parse("icmp 2001:db8::1 > 2001:db8::2 8/0"), Err(PacketError::Families));
        assert_eq!(parse("icmp 192.168.10.17 > 198.51.100.5 ping"), Err(PacketError::Icmp("ping".into())));
        assert_eq!(parse("proto 6 192.168.10.17 > 198.51.100.5"), Err(PacketError::Protocol("6".into())));
        assert_eq!(parse("proto 47 192.168.10 > 198.51.100.5"), Err(PacketError::Address("192.168.10".into())));
    }
}
