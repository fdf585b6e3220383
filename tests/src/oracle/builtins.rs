//! Traffic no administrator names: ARP, neighbour discovery, MLD, DHCP, VRRP, bridge control.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use sekimori::policy::model::{L2Control, Mac, Place, Policy};
use sekimori_ebpf::reason::Reason;

use super::{
    cut::Neighbour,
    frame::{Frame, be16},
    identity::{identify, is_zone, owner},
    ip::Packet,
    sanity::{is_link_local_v6, is_mld, is_neighbour_discovery},
    transport::Transport,
};

/// What the policy does with a bridge control frame; `None` if it is not one.
pub fn bridge_control(policy: &Policy, frame: &Frame) -> Option<L2Control> {
    match frame.kind {
        0x8809 => Some(policy.builtin.lacp),
        0x88cc => Some(policy.builtin.lldp),
        length if length < 0x600 && frame.to == Mac([0x01, 0x80, 0xc2, 0, 0, 0]) => Some(policy.builtin.stp),
        _ => None,
    }
}

/// An ARP packet that has the right form.
#[derive(Debug, Clone, Copy)]
pub struct Arp {
    /// Sender address.
    pub sender: IpAddr,
    /// Target address.
    pub target: IpAddr,
}

/// Reads ARP (step 3).
pub fn arp(policy: &Policy, frame: &Frame) -> Result<Arp, Reason> {
    if !policy.builtin.arp {
        return Err(Reason::UnknownEtherType);
    }
    let body = &frame.body;
    if body.len() < 28 {
        return Err(Reason::Arp);
    }
    let operation = be16(body, 6);
    let form = body[..6] == [0, 1, 8, 0, 6, 4] && (operation == 1 || operation == 2) && body[8..14] == frame.from.0;
    let addr = |at: usize| Ipv4Addr::new(body[at], body[at + 1], body[at + 2], body[at + 3]);
    let (sender, target) = (addr(14), addr(24));
    let probe = sender.is_unspecified() && operation == 1;
    let first = sender.octets()[0];
    let martian = first == 0 || first == 127 || first >= 224 || sender.octets()[..2] == [169, 254];
    if !form || (martian && !probe) {
        return Err(Reason::Arp);
    }
    Ok(Arp { sender: IpAddr::V4(sender), target: IpAddr::V4(target) })
}

/// The form every neighbour discovery message must have.
pub fn nd_form(policy: &Policy, packet: &Packet, transport: &Transport) -> Result<(), Reason> {
    let Transport::Icmp { kind, code, .. } = transport else {
        return Err(Reason::Ndp);
    };
    let least = match kind {
        133 => 8,
        134 => 16,
        _ => 24,
    };
    let about_a_group = *kind >= 135 && packet.payload.get(8) == Some(&0xff);
    let form =
        packet.ttl == 255 && *code == 0 && packet.extensions == 0 && packet.payload.len() >= least && !about_a_group;
    if form && policy.builtin.ndp { Ok(()) } else { Err(Reason::Ndp) }
}

/// A solicitation or advertisement that has the form it must have.
pub fn asks_for_a_neighbour(packet: &Packet, transport: &Transport) -> Option<Neighbour> {
    let Transport::Icmp { kind: kind @ (135 | 136), code: 0, .. } = transport else { return None };
    let whole = packet.is_v6() && packet.ttl == 255 && packet.extensions == 0 && packet.fragment.is_none();
    let target: [u8; 16] = packet.payload.get(8..24)?.try_into().ok()?;
    let target = IpAddr::V6(Ipv6Addr::from(target));
    (whole && !target.is_multicast()).then_some(Neighbour::Discovery { asks: *kind == 135, target })
}

/// Who is asked about at a way in.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    /// Net of the interface.
    pub net: usize,
    /// Source MAC.
    pub mac: Mac,
    /// When.
    pub now: Timestamp,
}

/// Neighbour discovery and MLD from outside (step 9); `Ok(false)` if it is neither.
pub fn neighbours(policy: &Policy, sender: Sender, packet: &Packet, transport: &Transport) -> Result<bool, Reason> {
    let net = &policy.nets[sender.net];
    if is_neighbour_discovery(packet, transport) {
        nd_form(policy, packet, transport)?;
        return nd_meaning(policy, sender, packet).map(|()| true);
    }
    if is_membership(packet, transport) {
        let whole = packet.fragment.is_none();
        return if whole && is_zone(net) && policy.builtin.mld { Ok(true) } else { Err(Reason::Multicast) };
    }
    Ok(false)
}

fn nd_meaning(policy: &Policy, sender: Sender, packet: &Packet) -> Result<(), Reason> {
    let net = &policy.nets[sender.net];
    let unspecified = packet.src == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let link_local = is_link_local_v6(packet.src);
    let lives_here = |addr: IpAddr| owner(policy, addr) == Some(Place::Net(sender.net));
    let source_here = !unspecified && !link_local && lives_here(packet.src);
    let kind = packet.payload[0];
    match kind {
        134 => {
            let allowed = !is_zone(net) && net.builtin.ra_client && net.routers.contains(&sender.mac) && link_local;
            return if allowed { Ok(()) } else { Err(Reason::Ndp) };
        }
        133 => {
            if !is_zone(net) || !(unspecified || link_local || source_here) {
                return Err(Reason::Ndp);
            }
        }
        _ => {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&packet.payload[8..24]);
            let target = IpAddr::V6(Ipv6Addr::from(bytes));
            let own = owner(policy, target) == Some(Place::Box);
            let target_here = !is_link_local_v6(target) && lives_here(target);
            let about_here = own || target_here || is_link_local_v6(target);
            if target.is_multicast() || (kind == 136 && !about_here) {
                return Err(Reason::Ndp);
            }
            if !((unspecified && kind == 135) || link_local || source_here) {
                return Err(Reason::Ndp);
            }
            if kind == 136 && own {
                return Err(Reason::OwnAddress);
            }
            if kind == 136 && target_here {
                identify(policy, sender.net, sender.mac, target, sender.now)?;
            }
            if source_here {
                identify(policy, sender.net, sender.mac, packet.src, sender.now)?;
            }
            return Ok(());
        }
    }
    if source_here {
        identify(policy, sender.net, sender.mac, packet.src, sender.now)?;
    }
    Ok(())
}

/// UDP ports of a whole packet: the services come in one piece.
fn ports(packet: &Packet, transport: &Transport) -> Option<(u16, u16)> {
    match transport {
        Transport::Udp { sport, dport, .. } if packet.fragment.is_none() => Some((*sport, *dport)),
        _ => None,
    }
}

fn all_dhcp_agents() -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2))
}

fn is_vrrp(policy: &Policy, packet: &Packet) -> bool {
    let group = if packet.is_v6() {
        IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12))
    } else {
        IpAddr::V4(Ipv4Addr::new(224, 0, 0, 18))
    };
    policy.builtin.vrrp && packet.proto == 112 && packet.fragment.is_none() && packet.dst == group && packet.ttl == 255
}

/// DHCP and VRRP from outside (step 10).
pub fn services(policy: &Policy, sender: Sender, packet: &Packet, transport: &Transport) -> bool {
    let net = &policy.nets[sender.net];
    let listed = net.routers.contains(&sender.mac);
    let v6 = packet.is_v6();
    let broadcast = IpAddr::V4(Ipv4Addr::BROADCAST);
    let served = is_zone(net) && net.builtin.dhcp_server;
    let client = !is_zone(net) && net.builtin.dhcp_client && (net.routers.is_empty() || listed);
    match ports(packet, transport) {
        Some((68, 67)) if !v6 && served => {
            let from_here = packet.src == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
                || owner(policy, packet.src) == Some(Place::Net(sender.net));
            let to_box = packet.dst == broadcast || owner(policy, packet.dst) == Some(Place::Box);
            from_here && to_box
        }
        Some((546, 547)) if v6 && served => is_link_local_v6(packet.src) && packet.dst == all_dhcp_agents(),
        Some((67, 68)) if !v6 => client,
        Some((547, 546)) if v6 => client,
        _ => listed && is_vrrp(policy, packet),
    }
}

/// MLD or IGMP.
fn is_membership(packet: &Packet, transport: &Transport) -> bool {
    let igmp = !packet.is_v6() && packet.proto == 2 && !packet.is_later_fragment();
    igmp || is_mld(packet, transport)
}

/// What the box may send unasked: `Ok(true)` passes, `Ok(false)` is not a built-in.
pub fn of_the_box(policy: &Policy, net: usize, packet: &Packet, transport: &Transport) -> Result<bool, Reason> {
    let here = &policy.nets[net];
    if is_neighbour_discovery(packet, transport) {
        nd_form(policy, packet, transport)?;
        let advertises = packet.payload[0] == 134;
        return if advertises && !here.builtin.ra_server { Err(Reason::Ndp) } else { Ok(true) };
    }
    if is_membership(packet, transport) {
        return Ok(policy.builtin.mld);
    }
    let served = is_zone(here) && here.builtin.dhcp_server;
    let client = !is_zone(here) && here.builtin.dhcp_client;
    Ok(match (packet.is_v6(), ports(packet, transport)) {
        (false, Some((67, 68))) | (true, Some((547, 546))) => served,
        (false, Some((68, 67))) | (true, Some((546, 547))) => client,
        _ => is_vrrp(policy, packet),
    })
}

/// Whether the box may open a conversation here with this source: its own address, or one a network may have given it.
pub fn may_be_the_box(policy: &Policy, net: usize, src: IpAddr) -> bool {
    let here = &policy.nets[net];
    let given = here.builtin.dhcp_client || (src.is_ipv6() && here.builtin.ra_client);
    match owner(policy, src) {
        Some(Place::Box) => true,
        place => given && place == Some(Place::Net(net)),
    }
}

/// Multicast, 255.255.255.255, and the directed broadcast addresses of all nets (step 11).
pub fn is_for_many(policy: &Policy, addr: IpAddr) -> bool {
    let directed = || {
        policy
            .nets
            .iter()
            .flat_map(|net| &net.prefixes)
            .any(|prefix| addr.is_ipv4() && prefix.prefix_len() < 31 && prefix.broadcast() == addr)
    };
    addr.is_multicast() || addr == IpAddr::V4(Ipv4Addr::BROADCAST) || directed()
}

/// MLD, IGMP, DHCP or VRRP by form, on its way across a bridge.
pub fn is_bridged(policy: &Policy, packet: &Packet, transport: &Transport) -> bool {
    let dhcp = match (packet.is_v6(), ports(packet, transport)) {
        (false, Some(ports)) => ports == (67, 68) || ports == (68, 67),
        (true, Some(ports)) => ports == (546, 547) || ports == (547, 546),
        _ => false,
    };
    dhcp || is_membership(packet, transport) || (policy.builtin.vrrp && packet.proto == 112)
}
