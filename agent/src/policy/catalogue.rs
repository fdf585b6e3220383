//! Services known by name without definition, and the words of inline services.
//!
//! Port numbers: IANA Service Name and Transport Protocol Port Number Registry. ICMP types: IANA ICMP and
//! ICMPv6 parameters.

use super::{
    decode::{Wrong, bad_word},
    diagnostic::shorten,
    model::Service::{self, Icmp, Icmpv6, Protocol, Tcp, Udp},
    problem::Problem,
    words::digits,
};

const fn tcp(port: u16) -> Service {
    Tcp(port, port)
}
const fn udp(port: u16) -> Service {
    Udp(port, port)
}

/// ICMP echo request.
pub const ECHO: u8 = 8;
/// ICMPv6 echo request.
pub const ECHO_V6: u8 = 128;

/// The built-in services.
pub const SERVICES: &[(&str, &[Service])] = &[
    ("dns", &[udp(53), tcp(53)]),
    ("http", &[tcp(80)]),
    ("https", &[tcp(443)]),
    ("quic", &[udp(443)]),
    ("ntp", &[udp(123)]),
    ("ssh", &[tcp(22)]),
    ("smtp", &[tcp(25)]),
    ("smtps", &[tcp(465)]),
    ("submission", &[tcp(587)]),
    ("imap", &[tcp(143)]),
    ("imaps", &[tcp(993)]),
    ("pop3", &[tcp(110)]),
    ("pop3s", &[tcp(995)]),
    ("ftp-control", &[tcp(21)]),
    ("telnet", &[tcp(23)]),
    ("rdp", &[tcp(3389), udp(3389)]),
    ("vnc", &[Tcp(5900, 5903)]),
    ("smb", &[tcp(445)]),
    ("ldap", &[tcp(389), udp(389)]),
    ("ldaps", &[tcp(636)]),
    ("kerberos", &[tcp(88), udp(88), tcp(464), udp(464)]),
    ("snmp", &[udp(161)]),
    ("snmp-trap", &[udp(162)]),
    ("syslog", &[udp(514)]),
    ("syslog-tls", &[tcp(6514)]),
    ("radius", &[Udp(1812, 1813)]),
    ("sip", &[udp(5060), tcp(5060), tcp(5061)]),
    ("ipsec", &[udp(500), udp(4500), Protocol(50)]),
    ("openvpn", &[udp(1194), tcp(1194)]),
    ("wireguard", &[udp(51820)]),
    ("ping", &[Icmp(ECHO, Some(0)), Icmpv6(ECHO_V6, Some(0))]),
    ("mysql", &[tcp(3306)]),
    ("postgresql", &[tcp(5432)]),
    ("mssql", &[tcp(1433)]),
    ("oracle", &[tcp(1521)]),
    ("http-alt", &[tcp(8080)]),
    ("ipp", &[tcp(631)]),
    ("lpd", &[tcp(515)]),
    ("jetdirect", &[tcp(9100)]),
    ("tftp", &[udp(69)]),
    ("rtsp", &[tcp(554)]),
    ("onvif", &[udp(3702)]),
    ("mqtt", &[tcp(1883)]),
    ("mqtts", &[tcp(8883)]),
];

/// The built-in service of that name.
pub fn service(name: &str) -> Option<&'static [Service]> {
    SERVICES.iter().find(|(known, _)| *known == name).map(|(_, entries)| *entries)
}

/// ICMP types by name. Replies and errors are missing on purpose: they pass with their conversation.
const ICMP: &[(&str, u8)] = &[("echo-request", ECHO), ("timestamp-request", 13), ("extended-echo-request", 42)];
/// ICMPv6 types by name.
const ICMPV6: &[(&str, u8)] = &[("echo-request", ECHO_V6), ("extended-echo-request", 160)];

/// The ICMP type with this name.
pub(crate) fn icmp_type(name: &str, v6: bool) -> Option<u8> {
    let (names, reply) = if v6 { (ICMPV6, 129) } else { (ICMP, 0) };
    if name == "echo-reply" {
        return Some(reply);
    }
    names.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
}

/// Types the data plane drops by their number, errors (which pass with the conversation they are about only),
/// replies, and neighbour discovery or MLD: a rule that names them would never match.
const fn never_opens(kind: u8, v6: bool) -> bool {
    if v6 {
        matches!(kind, 1..=4 | 129..=137 | 139..=149 | 151..=153 | 161)
    } else {
        matches!(kind, 0 | 3..=5 | 9..=12 | 14 | 16..=18 | 43)
    }
}

/// `protocol/rest`, as in `tcp/443`. `text` is both, for the message.
pub(crate) fn inline(protocol: &str, rest: &str, text: &str) -> Result<Service, Wrong> {
    let bad = || bad_word(text, "service", &[]);
    match protocol {
        "tcp" => ports(rest, text).map(|(from, to)| Tcp(from, to)),
        "udp" => ports(rest, text).map(|(from, to)| Udp(from, to)),
        "icmp" | "icmpv6" => {
            let v6 = protocol == "icmpv6";
            let (kind, code) = match rest.split_once('.') {
                Some((kind, code)) => (kind, Some(digits::<u8>(code).filter(|_| !code.is_empty()).ok_or_else(bad)?)),
                None => (rest, None),
            };
            let named = icmp_type(kind, v6);
            let Some(number) = named.or_else(|| digits::<u8>(kind)) else {
                let names: Vec<&str> = if v6 { ICMPV6 } else { ICMP }.iter().map(|(name, _)| *name).collect();
                let mut wrong = bad_word(kind, "ICMP type", &names);
                wrong.suggestion = wrong.suggestion.map(|name| format!("{protocol}/{name}"));
                return Err(wrong);
            };
            if never_opens(number, v6) {
                return Err(Problem::IcmpTypeRefused { kind: shorten(rest) }.into());
            }
            // A name means the message itself, which always has code 0.
            let code = code.or(named.map(|_| 0));
            Ok(if v6 { Icmpv6(number, code) } else { Icmp(number, code) })
        }
        "proto" => {
            let number = digits::<u8>(rest).ok_or_else(bad)?;
            // 1, 6, 17, 58 have entries of their own; 0, 43, 44, 51, 59, 60, 135, 139, 140 are extension headers
            // (RFC 7045); 2 and 112 are built-ins; 255 is reserved.
            if matches!(number, 0 | 1 | 2 | 6 | 17 | 43 | 44 | 51 | 58 | 59 | 60 | 112 | 135 | 139 | 140 | 255) {
                let suggestion = match number {
                    1 => Some("icmp/echo-request"),
                    6 => Some("tcp/443"),
                    17 => Some("udp/53"),
                    58 => Some("icmpv6/echo-request"),
                    _ => None,
                };
                let problem = Problem::BadProtocol { number: number.to_string() };
                return Err(Wrong { problem, suggestion: suggestion.map(str::to_owned) });
            }
            Ok(Protocol(number))
        }
        _ => {
            let mut wrong = bad_word(protocol, "protocol", &["tcp", "udp", "icmp", "icmpv6", "proto"]);
            wrong.suggestion = wrong.suggestion.map(|known| format!("{known}/{}", shorten(rest)));
            Err(wrong)
        }
    }
}

fn ports(rest: &str, text: &str) -> Result<(u16, u16), Wrong> {
    let (from, to) = rest.split_once('-').unwrap_or((rest, rest));
    let port = |word: &str| digits::<u16>(word).filter(|port| *port > 0);
    let (Some(from), Some(to)) = (port(from), port(to)) else {
        return Err(bad_word(text, "service", &[]));
    };
    if from > to {
        let protocol = text.split('/').next().unwrap_or_default();
        let suggestion = Some(format!("{protocol}/{to}-{from}"));
        return Err(Wrong { problem: Problem::RangeBackwards { range: shorten(rest) }, suggestion });
    }
    Ok((from, to))
}

/// How a service is written.
pub fn describe(service: Service) -> String {
    let span = |from: u16, to: u16| {
        if from == to { from.to_string() } else { format!("{from}-{to}") }
    };
    let code = |code: Option<u8>| code.map(|code| format!(".{code}")).unwrap_or_default();
    match service {
        Tcp(from, to) => format!("tcp/{}", span(from, to)),
        Udp(from, to) => format!("udp/{}", span(from, to)),
        Icmp(kind, c) => format!("icmp/{kind}{}", code(c)),
        Icmpv6(kind, c) => format!("icmpv6/{kind}{}", code(c)),
        Protocol(number) => format!("proto/{number}"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Service, Wrong> {
        let (protocol, rest) = text.split_once('/').unwrap();
        inline(protocol, rest, text)
    }

    #[test]
    fn names_are_unique_and_entries_read_back() {
        let mut names: Vec<_> = SERVICES.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SERVICES.len());
        for (name, entries) in SERVICES {
            for entry in *entries {
                assert_eq!(parse(&describe(*entry)).unwrap(), *entry, "{name}");
            }
        }
    }

    #[test]
    fn inline_entries() {
        assert_eq!(parse("tcp/8000-8010").unwrap(), Tcp(8000, 8010));
        assert_eq!(parse("icmp/echo-request").unwrap(), Icmp(8, Some(0)));
        assert_eq!(parse("icmp/8").unwrap(), Icmp(8, None));
        assert_eq!(parse("icmpv6/echo-request").unwrap(), Icmpv6(128, Some(0)));
        assert_eq!(parse("proto/47").unwrap(), Protocol(47));
        for wrong in ["tcp/0", "tcp/65536", "tcp/", "tcp/-", "tcp/+1", "icmp/256", "icmp/8.", "proto/", "proto/256"] {
            assert_eq!(parse(wrong).unwrap_err().problem.code(), "E016", "{wrong}");
        }
        assert_eq!(parse("tcp/20-10").unwrap_err().suggestion, Some("tcp/10-20".into()));
        assert_eq!(parse("tpc/443").unwrap_err().suggestion, Some("tcp/443".into()));
        assert_eq!(parse("icmp/echo-requst").unwrap_err().suggestion, Some("icmp/echo-request".into()));
        assert_eq!(parse("proto/6").unwrap_err().problem.code(), "E036");
        assert_eq!(parse("icmp/5").unwrap_err().problem.code(), "E037");
        assert_eq!(parse("icmpv6/137").unwrap_err().problem.code(), "E037");
    }
}
