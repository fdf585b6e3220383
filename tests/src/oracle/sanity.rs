//! Addresses that must not be on a wire (step 5) and transport headers that contradict themselves (step 7).

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use sekimori_ebpf::reason::Reason;

use super::{
    ip::Packet,
    transport::{Transport, flag, is_icmp},
};

const BROADCAST: IpAddr = IpAddr::V4(Ipv4Addr::BROADCAST);

fn within(addr: IpAddr, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| prefix.parse::<IpNet>().is_ok_and(|net| net.contains(&addr)))
}

/// fe80::/10 only.
pub fn is_link_local_v6(addr: IpAddr) -> bool {
    addr.is_ipv6() && within(addr, &["fe80::/10"])
}

/// Whether the transport is ICMPv6 133-136.
pub fn is_neighbour_discovery(packet: &Packet, transport: &Transport) -> bool {
    packet.is_v6() && matches!(transport, Transport::Icmp { kind: 133..=136, .. })
}

/// Whether the transport is one of the MLD messages.
pub fn is_mld(packet: &Packet, transport: &Transport) -> bool {
    packet.is_v6() && matches!(transport, Transport::Icmp { kind: 130..=132 | 143, .. })
}

fn may_use_link_local(packet: &Packet, transport: &Transport) -> bool {
    is_neighbour_discovery(packet, transport)
        || is_mld(packet, transport)
        || packet.proto == 112
        || matches!(
            transport,
            Transport::Udp { sport: 546, dport: 547, .. } | Transport::Udp { sport: 547, dport: 546, .. }
        )
}

/// Step 5, as far as the addresses alone decide it.
pub fn addresses(packet: &Packet) -> Result<(), Reason> {
    let (src, dst) = (packet.src, packet.dst);
    let discovery = src == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && dst == BROADCAST && packet.proto == 17;
    let martian = if packet.is_v6() {
        let never = ["::/96", "::ffff:0:0/96", "2002::/16", "64:ff9b::/96", "fec0::/10"];
        src.is_multicast() || (within(src, &never) && !src.is_unspecified()) || within(dst, &never)
    } else {
        let never = ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16"];
        (within(src, &never) && !discovery)
            || within(dst, &never)
            || within(src, &["240.0.0.0/4", "224.0.0.0/4"])
            || (within(dst, &["240.0.0.0/4"]) && dst != BROADCAST)
    };
    if martian {
        return Err(Reason::Martian);
    }
    if src == dst {
        return Err(Reason::Land);
    }
    Ok(())
}

/// The rest of step 5, after step 7: addresses that some protocols may use.
pub fn excuses(packet: &Packet, transport: &Transport) -> Result<(), Reason> {
    let neighbours = is_neighbour_discovery(packet, transport) || is_mld(packet, transport);
    let local = is_link_local_v6(packet.src) || is_link_local_v6(packet.dst);
    let discovery = matches!(transport, Transport::Udp { sport: 68, dport: 67, .. });
    let wrong = match packet.src {
        IpAddr::V4(src) => src.is_unspecified() && !discovery,
        IpAddr::V6(src) => (src.is_unspecified() && !neighbours) || (local && !may_use_link_local(packet, transport)),
    };
    if wrong { Err(Reason::Martian) } else { Ok(()) }
}

/// Step 7; never asked about later fragments.
pub fn transport(packet: &Packet, transport: &Transport) -> Result<(), Reason> {
    let alien_icmp = (packet.proto == 1 || packet.proto == 58) && !is_icmp(packet);
    let sound = match transport {
        Transport::Tcp(tcp) => tcp.header >= 20 && tcp.header <= packet.payload.len(),
        Transport::Udp { length, .. } => *length >= 8 && (packet.fragment.is_some() || *length == packet.payload.len()),
        Transport::Icmp { .. } => true,
        Transport::Other => !alien_icmp,
        Transport::Unread => false,
    };
    if !sound {
        return Err(Reason::L4Header);
    }
    match transport {
        Transport::Tcp(tcp) if tcp.sport == 0 || tcp.dport == 0 => Err(Reason::PortZero),
        Transport::Udp { sport, dport, .. } if *sport == 0 || *dport == 0 => Err(Reason::PortZero),
        Transport::Tcp(tcp) if !possible_flags(tcp.flags) => Err(Reason::TcpFlags),
        Transport::Icmp { kind, code, .. } if never_let_through(packet.is_v6(), *kind, *code) => Err(Reason::IcmpType),
        _ => Ok(()),
    }
}

fn possible_flags(flags: u8) -> bool {
    let has = |bit: u8| flags & bit != 0;
    let (syn, ack, rst, fin) = (has(flag::SYN), has(flag::ACK), has(flag::RST), has(flag::FIN));
    let nothing = !(syn || ack || rst || fin);
    let urgent = has(flag::URG) || has(flag::PSH);
    !(nothing || (syn && (fin || rst)) || (fin && rst) || (fin && !ack) || (urgent && !ack && !rst))
}

fn never_let_through(v6: bool, kind: u8, code: u8) -> bool {
    let (echo, never) = if v6 {
        (matches!(kind, 128 | 129), matches!(kind, 137..=142 | 144..=149))
    } else {
        (matches!(kind, 0 | 8), matches!(kind, 4 | 5 | 9 | 10 | 17 | 18))
    };
    never || (echo && code != 0)
}
