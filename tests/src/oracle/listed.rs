//! Whom the policy speaks of: ordinary packets from anybody else end at step 1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use sekimori::policy::model::{Party, Place, Policy, Port, Rule};
use sekimori_ebpf::reason::Reason;

use super::{
    flows,
    frame::{Frame, be16},
    identity::owner,
    state::{Cut, Key, OracleState},
};

/// The last paragraphs of step 1.
pub fn check(
    policy: &Policy,
    state: &OracleState,
    frame: &Frame,
    at: (usize, &Port),
    now: Timestamp,
) -> Result<(), Reason> {
    let (net, port) = at;
    if state.cut != Cut::default() {
        return Ok(());
    }
    let Some(src) = ordinary_source(frame).filter(|src| owner(policy, *src) == Some(Place::Net(net))) else {
        return Ok(());
    };
    if !is_listed(policy, src) {
        return Err(Reason::Unlisted);
    }
    let may_begin = policy.rules.iter().any(|rule| names(policy, &rule.from, src));
    if may_begin || flows::find(state, &tuple(frame, port), now).is_some() {
        return Ok(());
    }
    Err(Reason::NoRule)
}

/// The conversation an ordinary packet belongs to, by its bytes.
fn tuple(frame: &Frame, port: &Port) -> Key {
    let body = &frame.body;
    let six = |at: usize| {
        let mut out = [0; 16];
        out.copy_from_slice(&body[at..at + 16]);
        IpAddr::V6(Ipv6Addr::from(out))
    };
    let four = |at: usize| IpAddr::V4(Ipv4Addr::new(body[at], body[at + 1], body[at + 2], body[at + 3]));
    let (src, dst, proto, transport) =
        if frame.kind == 0x0800 { (four(12), four(16), body[9], 20) } else { (six(8), six(24), body[6], 40) };
    let ports = (be16(body, transport), be16(body, transport + 2));
    Key { port: port.clone(), peer: (src, ports.0), far: (dst, ports.1), proto }
}

/// Whether places and prefixes of this side of a rule fit.
fn names(policy: &Policy, party: &Party, addr: IpAddr) -> bool {
    let place = owner(policy, addr).is_some_and(|here| party.place.contains(&here));
    let prefix = match &party.prefixes {
        None => true,
        Some(prefixes) => prefixes.iter().any(|prefix| prefix.contains(&addr)),
    };
    place && prefix
}

/// The source of an ordinary packet, whatever else may be wrong with it; `None` if it is not one.
pub fn ordinary_source(frame: &Frame) -> Option<IpAddr> {
    let body = &frame.body;
    match frame.kind {
        0x0800 if body.len() >= 28 => {
            let destination = [body[16], body[17], body[18], body[19]];
            let broken = body[6] & 0x80 != 0 || body[6] & 0x20 != 0 || be16(body, 6) & 0x1fff != 0;
            let plain = body[0] == 0x45 && !broken && destination[0] < 224;
            let source = Ipv4Addr::new(body[12], body[13], body[14], body[15]);
            (plain && speaks(body[9], &body[20..28], (68, 67))).then_some(IpAddr::V4(source))
        }
        0x86dd if body.len() >= 48 => {
            let plain = body[0] >> 4 == 6 && body[24] != 0xff;
            let mut source = [0; 16];
            source.copy_from_slice(&body[8..24]);
            (plain && speaks(body[6], &body[40..48], (546, 547)))
                .then_some(IpAddr::V6(Ipv6Addr::from(source)).to_canonical())
        }
        _ => None,
    }
}

/// TCP, or UDP that is not between these two ports.
fn speaks(proto: u8, transport: &[u8], dhcp: (u16, u16)) -> bool {
    let ports = (be16(transport, 0), be16(transport, 2));
    match proto {
        6 => true,
        17 => ports != dhcp && ports != (dhcp.1, dhcp.0),
        _ => false,
    }
}

/// Whether the policy speaks of this address at all.
pub fn is_listed(policy: &Policy, addr: IpAddr) -> bool {
    let serves = |rule: &Rule| {
        rule.published.as_ref().is_some_and(|published| published.public == addr || published.address == addr)
    };
    policy.box_addresses.contains(&addr)
        || policy
            .rules
            .iter()
            .any(|rule| names(policy, &rule.from, addr) || names(policy, &rule.to, addr) || serves(rule))
}
