//! Views: finding, judging again, opening (step 14).

use jiff::{Timestamp, ToSpan};
use sekimori::policy::model::{Device, Mac, Place, Policy, Port};
use sekimori_ebpf::reason::Reason;

use super::{
    errors,
    identity::{device_towards, is_ended},
    ip::Packet,
    quarantine,
    rules::{Permit, Question, What, permit},
    staged,
    state::{Key, OracleState, Role, View},
    tcp::{Phase, Track},
    transport::{Tcp, Transport},
};

/// Idle seconds, as the contract of the tables documents them.
mod idle {
    pub(super) const TCP_OPENING: i64 = 60;
    pub(super) const TCP_ESTABLISHED: i64 = 7_440;
    pub(super) const TCP_CLOSING: i64 = 120;
    pub(super) const TCP_CLOSED: i64 = 10;
    pub(super) const UDP_ONE_WAY: i64 = 30;
    pub(super) const UDP_BOTH_WAYS: i64 = 120;
    pub(super) const ICMP: i64 = 30;
    pub(super) const OTHER: i64 = 120;
}

/// The two ports a conversation is keyed by; `None` if it has no view at all.
fn ports(packet: &Packet, transport: &Transport) -> Option<(u16, u16)> {
    match transport {
        Transport::Tcp(tcp) => Some((tcp.sport, tcp.dport)),
        Transport::Udp { sport, dport, .. } => Some((*sport, *dport)),
        Transport::Icmp { id, .. } => is_echo(packet, transport).map(|_| (*id, *id)),
        Transport::Other => Some((0, 0)),
        Transport::Unread => None,
    }
}

/// `Some(true)` for an echo request, `Some(false)` for a reply.
pub fn is_echo(packet: &Packet, transport: &Transport) -> Option<bool> {
    match (packet.is_v6(), transport) {
        (false, Transport::Icmp { kind: 8, .. }) | (true, Transport::Icmp { kind: 128, .. }) => Some(true),
        (false, Transport::Icmp { kind: 0, .. }) | (true, Transport::Icmp { kind: 129, .. }) => Some(false),
        _ => None,
    }
}

/// The key of this packet's conversation at this port.
pub fn key(port: &Port, leaving: bool, packet: &Packet, transport: &Transport) -> Option<Key> {
    let (sport, dport) = ports(packet, transport)?;
    let (src, dst) = ((packet.src, sport), (packet.dst, dport));
    let (peer, far) = if leaving { (dst, src) } else { (src, dst) };
    Some(Key { port: port.clone(), peer, far, proto: packet.proto })
}

impl View {
    fn timeout(&self) -> i64 {
        match (self.key.proto, &self.tcp) {
            (6, Some(track)) => match track.phase {
                Phase::Opening => idle::TCP_OPENING,
                Phase::Established => idle::TCP_ESTABLISHED,
                Phase::Closing => idle::TCP_CLOSING,
                Phase::Closed => idle::TCP_CLOSED,
            },
            (17, _) if self.answered => idle::UDP_BOTH_WAYS,
            (17, _) => idle::UDP_ONE_WAY,
            (1 | 58, _) => idle::ICMP,
            _ => idle::OTHER,
        }
    }

    /// Not idle past its timeout.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.seen.saturating_add(self.timeout().seconds()).is_ok_and(|end| now <= end)
    }

    fn question(&self, policy: &Policy, quarantined: bool, now: Timestamp) -> Question {
        let (src, dst) = match self.role {
            Role::BoxOut | Role::Responder => (self.key.far.0, self.key.peer.0),
            Role::Initiator | Role::BoxIn => (self.key.peer.0, self.key.far.0),
        };
        let here = policy.nets.iter().position(|net| net.ports.contains(&self.key.port));
        let from = match self.role {
            Role::BoxOut => Place::Box,
            _ => here.map_or(Place::Box, Place::Net),
        };
        let device = self.device.as_ref().and_then(|name| {
            let registered = |device: &Device| device.name == *name && !is_ended(device, now);
            policy.devices.iter().position(registered)
        });
        Question { from, src, dst, device, what: self.what, quarantined }
    }
}

/// The live view of this key.
pub fn find(state: &OracleState, key: &Key, now: Timestamp) -> Option<usize> {
    state.views.iter().position(|view| view.key == *key && view.is_live(now))
}

/// Requests come from the side that opened, replies from the other.
fn right_echo(
    state: &OracleState,
    index: usize,
    from_peer: bool,
    packet: &Packet,
    transport: &Transport,
) -> Result<(), Reason> {
    let by_initiator = state.views[index].role.peer_initiates() == from_peer;
    match is_echo(packet, transport) {
        Some(request) if request != by_initiator => Err(Reason::NoFlow),
        _ => Ok(()),
    }
}

/// Asks the rules again where the policy changed, the permission's time is over, or a host is in quarantine by now.
fn still_permitted(
    policy: &Policy,
    state: &mut OracleState,
    index: usize,
    quarantined: bool,
    now: Timestamp,
) -> Result<(), Reason> {
    let revision = state.revision;
    let view = &mut state.views[index];
    let refused = quarantined && !quarantine::permits(policy, view);
    let stale = view.revision != revision || view.deadline.is_some_and(|end| now >= end) || refused;
    let (ends, what) = ((view.key.peer.0, view.key.far.0), view.what);
    if view.role == Role::Responder {
        if refused {
            return Err(Reason::Quarantined);
        }
        if state.stage.leaving {
            return staged::leaving(state, true, ends, what);
        }
        // A reply meets the list where it leaves.
        state.stage.listed |= state.stage.any && state.stage.reason.is_some();
        return Ok(());
    }
    if !stale {
        let talk = staged::Talk { ends, what, net: view.net, number: view.number };
        return staged::check(policy, state, &talk);
    }
    match permit(policy, &view.question(policy, quarantined, now), now) {
        Err(reason) if quarantined => Err(reason),
        Ok(permit) => {
            staged::check(policy, state, &staged::Talk { ends, what, net: permit.net, number: permit.number })?;
            let view = &mut state.views[index];
            view.rule = permit.rule;
            view.number = permit.number;
            view.net = permit.net;
            view.deadline = permit.deadline;
            view.revision = revision;
            Ok(())
        }
        Err(_) => {
            state.views.remove(index);
            Err(Reason::FlowEnded)
        }
    }
}

/// A packet leaves to the side that opened the flow: the device, should the rules be asked, is the one it goes to.
pub fn answers(policy: &Policy, state: &mut OracleState, index: usize, (net, mac): (usize, Mac), now: Timestamp) {
    let view = &mut state.views[index];
    if view.role.peer_initiates() {
        let found = device_towards(policy, net, mac, view.key.peer.0, now);
        view.device = found.map(|device| policy.devices[device].name.clone());
    }
}

/// Judges a packet at the view that judges its flow.
pub fn judge_at(
    policy: &Policy,
    state: &mut OracleState,
    index: usize,
    from_peer: bool,
    packet: &Packet,
    transport: &Transport,
    now: Timestamp,
) -> Result<(), Reason> {
    still_permitted(policy, state, index, packet.quarantined, now)?;
    right_echo(state, index, from_peer, packet, transport)?;
    let view = &mut state.views[index];
    let by_initiator = view.role.peer_initiates() == from_peer;
    let side = usize::from(!by_initiator);
    let mut refreshes = true;
    if let (Some(track), Transport::Tcp(tcp)) = (&mut view.tcp, transport) {
        if view.role == Role::Responder {
            track.note(side, tcp);
        } else {
            refreshes = track.phase == Phase::Opening || !tcp.is_bare_syn();
            track.follow(side, tcp)?;
        }
    }
    view.answered |= !by_initiator;
    if refreshes {
        view.seen = now;
    }
    Ok(())
}

/// Whether a bare SYN of the initiator finds a flow that is closed, or that nobody has answered and that began with
/// another number: such a flow makes way.
pub fn is_reopened(state: &OracleState, index: usize, from_peer: bool, transport: &Transport) -> bool {
    let view = &state.views[index];
    let (Transport::Tcp(tcp), Some(track)) = (transport, view.tcp) else {
        return false;
    };
    let makes_way = track.phase == Phase::Closed || track.began_otherwise(tcp.seq);
    makes_way && view.role != Role::Responder && tcp.is_bare_syn() && view.role.peer_initiates() == from_peer
}

/// Opens a view, replacing whatever had its key.
pub fn open(
    state: &mut OracleState,
    key: Key,
    role: Role,
    permit: Permit,
    device: Option<String>,
    (packet, transport): (&Packet, &Transport),
    now: Timestamp,
) {
    state.views.retain(|view| view.key != key);
    let tcp = match transport {
        Transport::Tcp(tcp) => Some(Track::open(tcp)),
        _ => None,
    };
    state.views.push(View {
        key,
        role,
        rule: permit.rule,
        number: permit.number,
        net: permit.net,
        device,
        what: What::of(packet, transport),
        deadline: permit.deadline,
        revision: state.revision,
        opened: now,
        seen: now,
        answered: false,
        tcp,
    });
}

/// What a packet that belongs to no flow must be to open one (step 15, before the rules).
pub fn may_open(packet: &Packet, transport: &Transport) -> Result<(), Reason> {
    match transport {
        Transport::Tcp(tcp) if !tcp.is_bare_syn() => Err(Reason::TcpNotSyn),
        Transport::Tcp(Tcp { data, .. }) if *data > 0 => Err(Reason::TcpSynData),
        _ if is_echo(packet, transport) == Some(false) => Err(Reason::NoFlow),
        _ => Ok(()),
    }
}

/// Step 13: whether an ICMP error is about a live flow of this port; `quoted_left` says that the quoted packet went
/// out here. Says who opened that flow.
pub fn related(
    policy: &Policy,
    state: &mut OracleState,
    port: &Port,
    packet: &Packet,
    quoted_left: bool,
    now: Timestamp,
) -> Result<Role, Reason> {
    let Some(quote) = errors::quote(packet).filter(|_| policy.builtin.icmp_errors) else {
        return Err(Reason::IcmpUnrelated);
    };
    let (peer, far) = if quoted_left { (quote.dst, quote.src) } else { (quote.src, quote.dst) };
    let key = Key { port: port.clone(), peer, far, proto: quote.proto };
    let index = find(state, &key, now).ok_or(Reason::IcmpUnrelated)?;
    let role = state.views[index].role;
    still_permitted(policy, state, index, packet.quarantined, now)?;
    if let (Some(seq), Some(track)) = (quote.seq, &state.views[index].tcp)
        && role != Role::Responder
    {
        let sender = usize::from(role.peer_initiates() == quoted_left);
        if !track.has_sent(sender, seq) {
            return Err(Reason::IcmpUnrelated);
        }
    }
    Ok(role)
}
