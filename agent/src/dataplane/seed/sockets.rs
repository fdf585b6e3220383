//! The box's own sockets over sock_diag (`linux/inet_diag.h`).

use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
};

use nix::libc;

use super::{
    Error, MAX_ENTRIES, SocketEntry, SocketKind,
    netlink::{self, Request, bytes, u16_net, u32_native},
};

const TABLE: &str = "sockets";
const SOCK_DIAG_BY_FAMILY: u16 = 20;

const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;
/// Established, FIN wait 1 and 2, close wait, last ACK, listen, closing: those with a peer, and the listeners
/// that tell who opened them. Handshakes under way are left out: their SYN is repeated and judged.
const STATES: u32 = 1 << ESTABLISHED | 1 << 4 | 1 << 5 | 1 << 8 | 1 << 9 | 1 << LISTEN | 1 << 11;

pub(super) fn dump() -> Result<Vec<SocketEntry>, Error> {
    let mut found = Vec::new();
    for kind in [SocketKind::Tcp, SocketKind::Udp] {
        for family in [libc::AF_INET, libc::AF_INET6] {
            let body = request(kind, family as u8);
            let request = Request {
                protocol: libc::NETLINK_SOCK_DIAG,
                kind: SOCK_DIAG_BY_FAMILY,
                body: &body,
                table: TABLE,
                module: match kind {
                    SocketKind::Tcp => "tcp_diag",
                    SocketKind::Udp => "udp_diag",
                },
            };
            netlink::dump(&request, &mut |message, payload| {
                if message != SOCK_DIAG_BY_FAMILY {
                    return Ok(());
                }
                if found.len() == MAX_ENTRIES {
                    return Err(Error::Limit { table: TABLE, what: "more than 4,194,304 sockets" });
                }
                found.push(entry(kind, payload)?);
                Ok(())
            })?;
        }
    }
    Ok(connected(found))
}

/// `struct inet_diag_req_v2`: family, protocol, no extensions, the states wanted, no socket in particular.
fn request(kind: SocketKind, family: u8) -> [u8; 56] {
    let mut body = [0; 56];
    let (protocol, states) = match kind {
        SocketKind::Tcp => (libc::IPPROTO_TCP, STATES),
        SocketKind::Udp => (libc::IPPROTO_UDP, 1 << ESTABLISHED),
    };
    body[0] = family;
    body[1] = protocol as u8;
    body[4..8].copy_from_slice(&states.to_ne_bytes());
    body
}

/// `struct inet_diag_msg`.
fn entry(kind: SocketKind, payload: &[u8]) -> Result<SocketEntry, Error> {
    let malformed = |what| Error::Malformed { table: TABLE, what };
    let parse = || {
        let family = i32::from(*payload.first()?);
        let address = |at| match family {
            libc::AF_INET => bytes::<4>(payload, at).map(IpAddr::from),
            libc::AF_INET6 => bytes::<16>(payload, at).map(|address| IpAddr::from(address).to_canonical()),
            _ => None,
        };
        Some(SocketEntry {
            kind,
            state: *payload.get(1)?,
            local: SocketAddr::new(address(8)?, u16_net(payload, 4)?),
            remote: SocketAddr::new(address(24)?, u16_net(payload, 6)?),
            ifindex: u32_native(payload, 40)?,
            accepted: false,
        })
    };
    parse().ok_or_else(|| malformed("a socket cut short or of another family"))
}

/// Takes the listeners out and marks what was accepted by one of them.
fn connected(found: Vec<SocketEntry>) -> Vec<SocketEntry> {
    let listening: HashSet<SocketAddr> = found.iter().filter(|s| s.state == LISTEN).map(|s| s.local).collect();
    // A listener on `::` takes IPv4 too, unless it is v6-only: then nobody on IPv4 has its port.
    let any = [IpAddr::from([0; 4]), IpAddr::from([0; 16])];
    let accepted = |local: SocketAddr| {
        listening.contains(&local) || any.iter().any(|any| listening.contains(&SocketAddr::new(*any, local.port())))
    };
    found
        .into_iter()
        .filter(|socket| socket.state != LISTEN && socket.remote.port() != 0)
        .map(|socket| SocketEntry { accepted: socket.kind == SocketKind::Tcp && accepted(socket.local), ..socket })
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn diag(family: i32, state: u8, local: (&[u8], u16), remote: (&[u8], u16)) -> Vec<u8> {
        let mut out = vec![0; 72];
        out[0] = family as u8;
        out[1] = state;
        out[4..6].copy_from_slice(&local.1.to_be_bytes());
        out[6..8].copy_from_slice(&remote.1.to_be_bytes());
        out[8..8 + local.0.len()].copy_from_slice(local.0);
        out[24..24 + remote.0.len()].copy_from_slice(remote.0);
        out[40..44].copy_from_slice(&3u32.to_ne_bytes());
        out
    }

    #[test]
    fn an_accepted_connection_is_told_from_one_the_box_opened() {
        let parse = |buffer: &[u8]| entry(SocketKind::Tcp, buffer).unwrap();
        let listener = parse(&diag(libc::AF_INET6, LISTEN, (&[0; 16], 22), (&[0; 16], 0)));
        let ssh = parse(&diag(libc::AF_INET, 1, (&[192, 168, 10, 1], 22), (&[192, 168, 10, 5], 50000)));
        let update = parse(&diag(libc::AF_INET, 1, (&[203, 0, 113, 2], 41000), (&[198, 51, 100, 7], 443)));
        let all = connected(vec![listener, ssh, update]);
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].local.port(), all[0].accepted, all[0].ifindex), (22, true, 3));
        assert_eq!((all[1].remote, all[1].accepted), ("198.51.100.7:443".parse().unwrap(), false));
    }

    #[test]
    fn a_mapped_address_is_given_as_ipv4() {
        let mapped = |last: u8| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, last];
        let socket = entry(SocketKind::Udp, &diag(libc::AF_INET6, 1, (&mapped(1), 5), (&mapped(2), 53))).unwrap();
        assert_eq!(socket.local, "192.0.2.1:5".parse().unwrap());
        assert_eq!(socket.remote, "192.0.2.2:53".parse().unwrap());
    }

    #[test]
    fn a_socket_cut_short_or_of_another_family_is_an_error() {
        let good = diag(libc::AF_INET6, 1, (&[0x20; 16], 1), (&[0x21; 16], 2));
        for cut in 0..44 {
            assert!(entry(SocketKind::Tcp, &good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(entry(SocketKind::Tcp, &good[..44]).is_ok());
        assert!(entry(SocketKind::Tcp, &diag(libc::AF_UNIX, 1, (&[1; 4], 1), (&[2; 4], 2))).is_err());
    }
}
