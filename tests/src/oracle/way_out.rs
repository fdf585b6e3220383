//! Steps at the way out.

use sekimori::policy::model::{L2Control, Mac, Place, Policy, Port, Rule};
use sekimori_ebpf::reason::Reason;

use super::{
    Event, Origin, Passed, builtins, cut, errors, flows, fragments,
    frame::Frame,
    identity::net_of,
    ip::Packet,
    limits, quarantine,
    rules::{Permit, Question, What, permit},
    sanity, staged,
    state::{Mark, OracleState, Role},
    transport::{self, Transport, flag},
};

/// One leaving IP packet, and where.
struct Leaving<'a> {
    event: &'a Event,
    port: &'a Port,
    net: usize,
    /// Where it goes.
    mac: Mac,
    packet: &'a Packet,
    transport: &'a Transport,
}

/// Judges a packet that leaves.
pub(crate) fn judge(
    policy: &Policy,
    state: &mut OracleState,
    event: &Event,
    interface: &str,
    origin: Origin,
) -> Result<Passed, Reason> {
    if !policy.nets.iter().any(|net| net.ports.iter().any(|port| port.interface == interface)) {
        return Err(Reason::UnknownInterface);
    }
    let frame = Frame::read(&event.frame)?;
    let port = frame.port(interface);
    let (net, _) = net_of(policy, &port)?;
    let from_box = origin == Origin::Box;
    let mark = match origin {
        Origin::Guarded { event } => state.marks.get(&event).cloned(),
        _ => None,
    };
    let nothing = Transport::Unread;
    let mut subject = cut::Subject {
        interface,
        net,
        leaving: true,
        mac: frame.to,
        addresses: None,
        transport: &nothing,
        neighbour: None,
    };

    if let Some(setting) = builtins::bridge_control(policy, &frame) {
        if setting == L2Control::Drop {
            return Err(Reason::L2Control);
        }
        came_from(origin, mark.as_ref())?;
        if setting == L2Control::Local && !from_box {
            return Err(Reason::L2Control);
        }
        state.by_management = cut::check(policy, state, &subject)?;
        return local(from_box, mark.as_ref());
    }
    let mut packet = match frame.kind {
        0x0806 => {
            let arp = builtins::arp(policy, &frame)?;
            came_from(origin, mark.as_ref())?;
            subject.addresses = Some((arp.sender, arp.target));
            subject.neighbour = Some(cut::Neighbour::Arp);
            state.by_management = cut::check(policy, state, &subject)?;
            return local(from_box, mark.as_ref());
        }
        0x0800 => Packet::read_v4(&frame.body)?,
        0x86dd => Packet::read_v6(&frame.body)?,
        _ => return Err(Reason::UnknownEtherType),
    };
    let transport = transport::read(&packet);
    sanity::addresses(&packet)?;
    fragments::sound(&packet)?;
    let place = fragments::Place { port: &port, leaving: true };
    subject.addresses = Some((packet.src, packet.dst));
    subject.transport = &transport;
    subject.neighbour = builtins::asks_for_a_neighbour(&packet, &transport);
    if !packet.is_later_fragment() {
        sanity::transport(&packet, &transport)?;
    }
    sanity::excuses(&packet, &transport)?;
    came_from(origin, mark.as_ref())?;
    state.by_management = cut::check(policy, state, &subject)?;
    packet.quarantined = quarantine::holds_back(policy, state, &subject);

    let leaving = Leaving { event, port: &port, net, mac: frame.to, packet: &packet, transport: &transport };
    let passed = match mark {
        Some(mark) => forwarded(policy, state, &leaving, &mark)?,
        None => own(policy, state, &leaving)?,
    };
    if passed.reason != Reason::Builtin {
        fragments::again(state, place, &packet, event.now)?;
        fragments::remember(state, place, &packet, &passed, event.now);
    }
    Ok(passed)
}

/// Step 2.
fn came_from(origin: Origin, mark: Option<&Mark>) -> Result<(), Reason> {
    match origin {
        Origin::Box => Ok(()),
        Origin::Unguarded => Err(Reason::UnguardedSource),
        Origin::Unmarked => Err(Reason::NotJudged),
        Origin::Guarded { .. } => mark.map(|_| ()).ok_or(Reason::NotJudged),
    }
}

fn local(from_box: bool, mark: Option<&Mark>) -> Result<Passed, Reason> {
    if from_box || mark == Some(&Mark::Local) { Ok(Passed::builtin()) } else { Err(Reason::NotJudged) }
}

fn passed(reason: Reason, rule: Option<String>) -> Passed {
    Passed { reason, rule, mark: None }
}

/// Step 4.
fn forwarded(policy: &Policy, state: &mut OracleState, leaving: &Leaving<'_>, mark: &Mark) -> Result<Passed, Reason> {
    let Leaving { event, port, net, packet, transport, .. } = *leaving;
    let now = event.now;
    if *mark == Mark::Local {
        return bridged(policy, packet, transport);
    }
    if builtins::is_for_many(policy, packet.dst) {
        return Err(Reason::Multicast);
    }
    if packet.is_later_fragment() {
        return fragments::later(state, fragments::Place { port, leaving: true }, packet, now);
    }
    if errors::is_error(packet, transport) {
        return match related(policy, state, leaving)? {
            Role::Initiator | Role::Responder => Ok(passed(Reason::Related, None)),
            Role::BoxIn | Role::BoxOut => Err(Reason::IcmpUnrelated),
        };
    }
    let key = flows::key(port, true, packet, transport);
    if let Some(key) = &key
        && let Some(index) = flows::find(state, key, now)
        && state.views[index].role.peer_initiates()
    {
        flows::answers(policy, state, index, (leaving.net, leaving.mac), now);
        flows::judge_at(policy, state, index, false, packet, transport, now)?;
        return Ok(passed(Reason::Flow, Some(state.views[index].rule.clone())));
    }
    match mark {
        Mark::Forward { rule, net: judged } => {
            if *judged != Place::Net(net) {
                return Err(Reason::WrongWay);
            }
            if let Some(published) = policy.rules.iter().find(|known| known.id == *rule)
                && !reaches_server(published, packet, transport)
            {
                return Err(Reason::WrongServer);
            }
            let number = policy.rules.iter().position(|known| known.id == *rule);
            if packet.quarantined && !number.is_some_and(|number| policy.rules[number].quarantined) {
                return Err(Reason::Quarantined);
            }
            staged::leaving(state, true, (packet.src, packet.dst), What::of(packet, transport))?;
            if let Some(key) = key {
                prove(state, key, (rule, number.unwrap_or(usize::MAX)), net, leaving);
            }
            Ok(passed(Reason::Flow, Some(rule.clone())))
        }
        Mark::Reply => Err(Reason::NoFlow),
        Mark::Local => Err(Reason::NotJudged),
    }
}

/// Built-ins on their way between the ports of a bridge.
fn bridged(policy: &Policy, packet: &Packet, transport: &Transport) -> Result<Passed, Reason> {
    let discovery = sanity::is_neighbour_discovery(packet, transport);
    if discovery || builtins::is_bridged(policy, packet, transport) {
        Ok(Passed::builtin())
    } else {
        Err(Reason::NotJudged)
    }
}

/// Opens or refreshes the view that proves replies.
fn prove(
    state: &mut OracleState,
    key: super::state::Key,
    (rule, number): (&str, usize),
    net: usize,
    leaving: &Leaving<'_>,
) {
    let Leaving { event, packet, transport, .. } = *leaving;
    let existing =
        state.views.iter().position(|view| view.key == key && view.role == Role::Responder && view.is_live(event.now));
    if let Some(index) = existing {
        let view = &mut state.views[index];
        view.seen = event.now;
        view.rule = rule.to_owned();
        view.number = number;
        if let (Some(track), Transport::Tcp(tcp)) = (&mut view.tcp, transport) {
            track.note(0, tcp);
        }
        return;
    }
    let permit = Permit { rule: rule.to_owned(), number, net: Place::Net(net), deadline: None };
    flows::open(state, key, Role::Responder, permit, None, (packet, transport), event.now);
}

fn reaches_server(rule: &Rule, packet: &Packet, transport: &Transport) -> bool {
    let Some(published) = &rule.published else {
        return true;
    };
    let port = match transport {
        Transport::Tcp(tcp) => tcp.dport,
        Transport::Udp { dport, .. } => *dport,
        _ => return false,
    };
    let port_fits = match published.port {
        Some(real) => real == port,
        None => rule.services.iter().any(|service| What::of(packet, transport).is_in(service)),
    };
    packet.dst == published.address && port_fits
}

/// Whose live flow an ICMP error is about.
fn related(policy: &Policy, state: &mut OracleState, leaving: &Leaving<'_>) -> Result<Role, Reason> {
    flows::related(policy, state, leaving.port, leaving.packet, false, leaving.event.now)
}

/// Step 5.
fn own(policy: &Policy, state: &mut OracleState, leaving: &Leaving<'_>) -> Result<Passed, Reason> {
    let Leaving { event, port, net, packet, transport, .. } = *leaving;
    let now = event.now;
    if builtins::of_the_box(policy, net, packet, transport)? {
        return Ok(Passed::builtin());
    }
    if builtins::is_for_many(policy, packet.dst) {
        return Err(Reason::Multicast);
    }
    if packet.is_later_fragment() {
        return fragments::later(state, fragments::Place { port, leaving: true }, packet, now);
    }
    let key = flows::key(port, true, packet, transport);
    if let Some(key) = &key
        && let Some(index) = flows::find(state, key, now)
        && matches!(state.views[index].role, Role::BoxIn | Role::BoxOut)
        && !flows::is_reopened(state, index, false, transport)
    {
        flows::answers(policy, state, index, (leaving.net, leaving.mac), now);
        flows::judge_at(policy, state, index, false, packet, transport, now)?;
        return Ok(passed(Reason::Flow, Some(state.views[index].rule.clone())));
    }
    let live = key.as_ref().and_then(|key| flows::find(state, key, now));
    if let Some(index) = live
        && policy.builtin.resets
        && matches!(transport, Transport::Tcp(tcp) if tcp.has(flag::RST))
    {
        if packet.quarantined && !quarantine::permits(policy, &state.views[index]) {
            return Err(Reason::Quarantined);
        }
        let (ends, what) = ((packet.src, packet.dst), state.views[index].what);
        staged::leaving(state, false, ends, what)?;
        return Ok(passed(Reason::Related, None));
    }
    if errors::is_error(packet, transport) {
        related(policy, state, leaving)?;
        return Ok(passed(Reason::Related, None));
    }
    let of_others = key
        .as_ref()
        .and_then(|key| flows::find(state, key, now))
        .is_some_and(|index| matches!(state.views[index].role, Role::Initiator | Role::Responder));
    if of_others {
        return Err(Reason::NoFlow);
    }
    if !builtins::may_be_the_box(policy, net, packet.src) {
        return Err(Reason::SpoofedSource);
    }
    flows::may_open(packet, transport)?;
    let question = Question {
        from: Place::Box,
        src: packet.src,
        dst: packet.dst,
        device: None,
        what: What::of(packet, transport),
        quarantined: packet.quarantined,
    };
    let permit = permit(policy, &question, now)?;
    let ends = (packet.src, packet.dst);
    let talk = staged::Talk { ends, what: question.what, net: permit.net, number: permit.number };
    staged::check(policy, state, &talk)?;
    if permit.net != Place::Net(net) {
        return Err(Reason::WrongWay);
    }
    limits::admit(policy, state, &permit.rule, packet.src, key.as_ref(), now)?;
    let rule = Some(permit.rule.clone());
    if let Some(key) = key {
        flows::open(state, key, Role::BoxOut, permit, None, (packet, transport), now);
    }
    Ok(passed(Reason::Rule, rule))
}
