//! The conntrack table over ctnetlink (`linux/netfilter/nfnetlink_conntrack.h`).

use std::net::IpAddr;

use nix::libc;

use super::{
    ConntrackEntry, Error, MAX_ENTRIES, TcpState, Tuple,
    netlink::{self, Request, attribute, bytes, u16_net, u32_net},
};

const TABLE: &str = "conntrack table";
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_GET`.
const GET: u16 = 1 << 8 | 1;
/// `NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW`: what entries come as.
const NEW: u16 = 1 << 8;
/// `struct nfgenmsg`.
const GENMSG: usize = 4;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_ZONE: u16 = 18;

const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;

const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;

const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTO_ICMP_ID: u16 = 4;
const CTA_PROTO_ICMP_TYPE: u16 = 5;
const CTA_PROTO_ICMPV6_ID: u16 = 7;
const CTA_PROTO_ICMPV6_TYPE: u16 = 8;

const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const CTA_PROTOINFO_TCP_WSCALE_ORIGINAL: u16 = 2;
const CTA_PROTOINFO_TCP_WSCALE_REPLY: u16 = 3;

/// `IPS_SEEN_REPLY`.
const SEEN_REPLY: u32 = 1 << 1;
/// `IPS_DYING`.
const DYING: u32 = 1 << 9;

pub(super) fn dump() -> Result<Vec<ConntrackEntry>, Error> {
    // Family AF_UNSPEC lists both, version 0, no resource.
    let body = [libc::AF_UNSPEC as u8, 0, 0, 0];
    let request = Request {
        protocol: libc::NETLINK_NETFILTER,
        kind: GET,
        body: &body,
        table: TABLE,
        module: "nf_conntrack_netlink",
    };
    let mut entries = Vec::new();
    netlink::dump(&request, &mut |kind, payload| {
        if kind != NEW {
            return Ok(());
        }
        if entries.len() == MAX_ENTRIES {
            return Err(Error::Limit { table: TABLE, what: "more than 4,194,304 entries" });
        }
        entries.extend(entry(payload)?);
        Ok(())
    })?;
    Ok(entries)
}

/// One entry; `None` for what is no IP conversation or is about to go.
fn entry(payload: &[u8]) -> Result<Option<ConntrackEntry>, Error> {
    let malformed = |what| Error::Malformed { table: TABLE, what };
    let attributes = payload.get(GENMSG..).ok_or_else(|| malformed("an entry cut short"))?;
    let number = |kind| attribute(attributes, kind).and_then(|value| u32_net(value, 0));

    let status = number(CTA_STATUS).unwrap_or_default();
    if status & DYING != 0 {
        return Ok(None);
    }
    let side = |kind| attribute(attributes, kind).and_then(tuple);
    let Some((proto, original, icmp_type)) = side(CTA_TUPLE_ORIG) else {
        return Err(malformed("an entry without an original tuple"));
    };
    let Some((reply_proto, reply, _)) = side(CTA_TUPLE_REPLY) else {
        return Err(malformed("an entry without a reply tuple"));
    };
    if proto != reply_proto || original.src.is_ipv4() != reply.dst.is_ipv4() {
        return Err(malformed("an entry whose two sides do not belong together"));
    }

    let tcp = attribute(attributes, CTA_PROTOINFO).and_then(|info| attribute(info, CTA_PROTOINFO_TCP));
    let byte = |kind| tcp.and_then(|tcp| attribute(tcp, kind)).and_then(|value| value.first().copied());
    Ok(Some(ConntrackEntry {
        proto,
        original,
        reply,
        icmp_type,
        tcp: byte(CTA_PROTOINFO_TCP_STATE).map(state),
        scale: byte(CTA_PROTOINFO_TCP_WSCALE_ORIGINAL).zip(byte(CTA_PROTOINFO_TCP_WSCALE_REPLY)),
        seen_reply: status & SEEN_REPLY != 0,
        timeout: number(CTA_TIMEOUT).unwrap_or_default(),
        zone: attribute(attributes, CTA_ZONE).and_then(|value| u16_net(value, 0)).unwrap_or_default(),
    }))
}

/// Protocol, tuple and ICMP type of one side.
fn tuple(buffer: &[u8]) -> Option<(u8, Tuple, Option<u8>)> {
    let ip = attribute(buffer, CTA_TUPLE_IP)?;
    let l4 = attribute(buffer, CTA_TUPLE_PROTO)?;
    let v4 = |kind| attribute(ip, kind).and_then(|value| bytes::<4>(value, 0)).map(IpAddr::from);
    let v6 = |kind| attribute(ip, kind).and_then(|value| bytes::<16>(value, 0)).map(IpAddr::from);
    let (src, dst) = match (v4(CTA_IP_V4_SRC), v4(CTA_IP_V4_DST)) {
        (Some(src), Some(dst)) => (src, dst),
        _ => (v6(CTA_IP_V6_SRC)?, v6(CTA_IP_V6_DST)?),
    };
    let proto = *attribute(l4, CTA_PROTO_NUM)?.first()?;
    let port = |kind| attribute(l4, kind).and_then(|value| u16_net(value, 0));
    let byte = |kind| attribute(l4, kind).and_then(|value| value.first().copied());
    let id = port(CTA_PROTO_ICMP_ID).or(port(CTA_PROTO_ICMPV6_ID));
    let (sport, dport) = match id {
        Some(id) => (id, id),
        None => (port(CTA_PROTO_SRC_PORT).unwrap_or_default(), port(CTA_PROTO_DST_PORT).unwrap_or_default()),
    };
    let icmp_type = byte(CTA_PROTO_ICMP_TYPE).or(byte(CTA_PROTO_ICMPV6_TYPE));
    Some((proto, Tuple { src, dst, sport, dport }, icmp_type))
}

fn state(number: u8) -> TcpState {
    match number {
        0 => TcpState::None,
        1 => TcpState::SynSent,
        2 => TcpState::SynRecv,
        3 => TcpState::Established,
        4 => TcpState::FinWait,
        5 => TcpState::CloseWait,
        6 => TcpState::LastAck,
        7 => TcpState::TimeWait,
        8 => TcpState::Close,
        9 => TcpState::SynSent2,
        other => TcpState::Other(other),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn attr(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = ((payload.len() + 4) as u16).to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend(payload);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }
    fn side(kind: u16, src: [u8; 4], dst: [u8; 4], l4: &[Vec<u8>]) -> Vec<u8> {
        let ip = [attr(CTA_IP_V4_SRC, &src), attr(CTA_IP_V4_DST, &dst)].concat();
        // NLA_F_NESTED, as the kernel sets it.
        attr(0x8000 | kind, &[attr(0x8000 | CTA_TUPLE_IP, &ip), attr(0x8000 | CTA_TUPLE_PROTO, &l4.concat())].concat())
    }
    fn tcp(sport: u16, dport: u16) -> Vec<Vec<u8>> {
        vec![
            attr(CTA_PROTO_NUM, &[6]),
            attr(CTA_PROTO_SRC_PORT, &sport.to_be_bytes()),
            attr(CTA_PROTO_DST_PORT, &dport.to_be_bytes()),
        ]
    }
    /// 192.168.10.17:40000 → 198.51.100.5:443, masqueraded as 203.0.113.2:1024.
    fn masqueraded(status: u32) -> Vec<u8> {
        let info = [attr(CTA_PROTOINFO_TCP_STATE, &[3]), attr(2, &[7]), attr(3, &[9])].concat();
        [
            vec![2, 0, 0, 0],
            side(CTA_TUPLE_ORIG, [192, 168, 10, 17], [198, 51, 100, 5], &tcp(40000, 443)),
            side(CTA_TUPLE_REPLY, [198, 51, 100, 5], [203, 0, 113, 2], &tcp(443, 1024)),
            attr(CTA_STATUS, &status.to_be_bytes()),
            attr(0x8000 | CTA_PROTOINFO, &attr(0x8000 | CTA_PROTOINFO_TCP, &info)),
            attr(CTA_TIMEOUT, &431_999u32.to_be_bytes()),
            attr(CTA_ZONE, &5u16.to_be_bytes()),
        ]
        .concat()
    }

    #[test]
    fn a_masqueraded_connection_is_read_with_both_tuples() {
        let entry = entry(&masqueraded(SEEN_REPLY)).unwrap().unwrap();
        assert_eq!(entry.proto, 6);
        assert_eq!(entry.original.src, IpAddr::from([192, 168, 10, 17]));
        assert_eq!((entry.original.sport, entry.original.dport), (40000, 443));
        assert_eq!(entry.reply.dst, IpAddr::from([203, 0, 113, 2]));
        assert_eq!((entry.reply.sport, entry.reply.dport), (443, 1024));
        assert_eq!(entry.tcp, Some(TcpState::Established));
        assert_eq!(entry.scale, Some((7, 9)));
        assert_eq!((entry.seen_reply, entry.timeout, entry.zone), (true, 431_999, 5));
        assert_eq!(entry.icmp_type, None);
    }

    #[test]
    fn an_ipv6_echo_is_read_with_its_identifier() {
        let (src, dst) = ([0x20; 16], [0x21; 16]);
        let ip = |a: &[u8], b: &[u8]| [attr(CTA_IP_V6_SRC, a), attr(CTA_IP_V6_DST, b)].concat();
        let l4 = |kind: u8| {
            [attr(CTA_PROTO_NUM, &[58]), attr(CTA_PROTO_ICMPV6_ID, &[0x12, 0x34]), attr(CTA_PROTO_ICMPV6_TYPE, &[kind])]
                .concat()
        };
        let side = |kind, ip: Vec<u8>, l4: Vec<u8>| {
            attr(kind, &[attr(CTA_TUPLE_IP, &ip), attr(CTA_TUPLE_PROTO, &l4)].concat())
        };
        let buffer = [
            vec![10, 0, 0, 0],
            side(CTA_TUPLE_ORIG, ip(&src, &dst), l4(128)),
            side(CTA_TUPLE_REPLY, ip(&dst, &src), l4(129)),
        ]
        .concat();
        let entry = entry(&buffer).unwrap().unwrap();
        assert_eq!(entry.original.src, IpAddr::from(src));
        assert_eq!((entry.original.sport, entry.original.dport, entry.icmp_type), (0x1234, 0x1234, Some(128)));
        assert_eq!((entry.tcp, entry.seen_reply), (None, false));
    }

    #[test]
    fn a_dying_entry_is_left_out() {
        assert_eq!(entry(&masqueraded(SEEN_REPLY | DYING)).unwrap(), None);
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_answered_without_a_panic() {
        let good = masqueraded(SEEN_REPLY);
        let mut refused = 0;
        for cut in 0..good.len() {
            refused += u32::from(entry(&good[..cut]).is_err());
        }
        assert!(refused > 100, "a cut inside the tuples is an error: {refused}");
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let _ = entry(&bad);
            }
        }
    }

    #[test]
    fn sides_that_do_not_belong_together_are_an_error() {
        let udp = vec![attr(CTA_PROTO_NUM, &[17])];
        let buffer = [
            vec![2, 0, 0, 0],
            side(CTA_TUPLE_ORIG, [1; 4], [2; 4], &tcp(1, 2)),
            side(CTA_TUPLE_REPLY, [2; 4], [1; 4], &udp),
        ]
        .concat();
        assert!(entry(&buffer).is_err());
    }
}
