//! Steps at the way in.

use sekimori::policy::model::{L2Control, Place, Policy, Port};
use sekimori_ebpf::reason::Reason;

use super::{
    Event, Passed,
    builtins::{self, Sender},
    cut, errors, flows, fragments,
    frame::Frame,
    identity::{identify, net_of},
    ip::Packet,
    limits, listed, quarantine,
    rules::{Question, What, permit},
    sanity, staged,
    state::{Mark, OracleState, Role},
    transport::{self, Transport},
};

/// Judges a packet that enters.
pub(crate) fn judge(
    policy: &Policy,
    state: &mut OracleState,
    event: &Event,
    interface: &str,
) -> Result<Passed, Reason> {
    if !policy.nets.iter().any(|net| net.ports.iter().any(|port| port.interface == interface)) {
        return Err(Reason::UnknownInterface);
    }
    let frame = Frame::read(&event.frame)?;
    let port = frame.port(interface);
    let (net, _) = net_of(policy, &port)?;
    listed::check(policy, state, &frame, (net, &port), event.now)?;
    let sender = Sender { net, mac: frame.from, now: event.now };
    let nothing = Transport::Unread;
    let mut question = cut::Subject {
        interface,
        net,
        leaving: false,
        mac: frame.from,
        addresses: None,
        transport: &nothing,
        neighbour: None,
    };

    if let Some(setting) = builtins::bridge_control(policy, &frame) {
        if setting == L2Control::Drop {
            return Err(Reason::L2Control);
        }
        state.by_management = cut::check(policy, state, &question)?;
        return Ok(Passed::builtin());
    }
    let mut packet = match frame.kind {
        0x0806 => {
            let arp = builtins::arp(policy, &frame)?;
            question.addresses = Some((arp.sender, arp.target));
            question.neighbour = Some(cut::Neighbour::Arp);
            state.by_management = cut::check(policy, state, &question)?;
            if !arp.sender.is_unspecified() {
                identify(policy, net, frame.from, arp.sender, event.now)?;
            }
            return Ok(Passed::builtin());
        }
        0x0800 => Packet::read_v4(&frame.body)?,
        0x86dd => Packet::read_v6(&frame.body)?,
        _ => return Err(Reason::UnknownEtherType),
    };
    let transport = transport::read(&packet);
    sanity::addresses(&packet)?;
    fragments::sound(&packet)?;
    let place = fragments::Place { port: &port, leaving: false };
    question.addresses = Some((packet.src, packet.dst));
    question.transport = &transport;
    question.neighbour = builtins::asks_for_a_neighbour(&packet, &transport);
    if !packet.is_later_fragment() {
        sanity::transport(&packet, &transport)?;
    }
    sanity::excuses(&packet, &transport)?;
    state.by_management = cut::check(policy, state, &question)?;
    packet.quarantined = quarantine::holds_back(policy, state, &question);

    let passed = conversation(policy, state, sender, &port, &packet, &transport)?;
    fragments::again(state, place, &packet, event.now)?;
    fragments::remember(state, place, &packet, &passed, event.now);
    Ok(passed)
}

/// Steps 9 to 15.
fn conversation(
    policy: &Policy,
    state: &mut OracleState,
    sender: Sender,
    port: &Port,
    packet: &Packet,
    transport: &Transport,
) -> Result<Passed, Reason> {
    let Sender { net, mac, now } = sender;
    if builtins::neighbours(policy, sender, packet, transport)? {
        return Ok(Passed::builtin());
    }
    if builtins::services(policy, sender, packet, transport) {
        return Ok(Passed::builtin());
    }
    if builtins::is_for_many(policy, packet.dst) {
        return Err(Reason::Multicast);
    }
    let device = identify(policy, net, mac, packet.src, now)?;
    if packet.is_later_fragment() {
        return fragments::later(state, fragments::Place { port, leaving: false }, packet, now);
    }

    if errors::is_error(packet, transport) {
        let role = flows::related(policy, state, port, packet, true, now)?;
        state.stage.forward = role == Role::Initiator;
        let mark = match role {
            Role::BoxIn | Role::BoxOut => Mark::Local,
            Role::Initiator | Role::Responder => Mark::Reply,
        };
        return Ok(Passed { reason: Reason::Related, rule: None, mark: Some(mark) });
    }
    let key = flows::key(port, false, packet, transport);
    let device_name = device.map(|index| policy.devices[index].name.clone());
    if let Some(key) = &key
        && let Some(index) = flows::find(state, key, now)
        && !flows::is_reopened(state, index, true, transport)
    {
        if state.views[index].role.peer_initiates() {
            state.views[index].device.clone_from(&device_name);
        }
        flows::judge_at(policy, state, index, true, packet, transport, now)?;
        let view = &state.views[index];
        let mark = match view.role {
            Role::BoxIn | Role::BoxOut => Mark::Local,
            Role::Initiator => Mark::Forward { rule: view.rule.clone(), net: view.net },
            Role::Responder => Mark::Reply,
        };
        return Ok(Passed { reason: Reason::Flow, rule: Some(view.rule.clone()), mark: Some(mark) });
    }
    flows::may_open(packet, transport)?;
    let question = Question {
        from: Place::Net(net),
        src: packet.src,
        dst: packet.dst,
        device,
        what: What::of(packet, transport),
        quarantined: packet.quarantined,
    };
    let permit = permit(policy, &question, now)?;
    let ends = (packet.src, packet.dst);
    let talk = staged::Talk { ends, what: question.what, net: permit.net, number: permit.number };
    staged::check(policy, state, &talk)?;
    limits::admit(policy, state, &permit.rule, packet.src, key.as_ref(), now)?;
    let mark = match permit.net {
        Place::Box => Mark::Local,
        net => Mark::Forward { rule: permit.rule.clone(), net },
    };
    let rule = Some(permit.rule.clone());
    if let Some(key) = key {
        let role = if permit.net == Place::Box { Role::BoxIn } else { Role::Initiator };
        flows::open(state, key, role, permit, device_name, (packet, transport), now);
    }
    Ok(Passed { reason: Reason::Rule, rule, mark: Some(mark) })
}
