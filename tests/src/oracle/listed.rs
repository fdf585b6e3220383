//! Whom the policy speaks of: ordinary packets from anybody else end at step 1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sekimori::policy::model::{Party, Place, Policy, Rule};
use sekimori_ebpf::reason::Reason;

use super::{
    frame::{Frame, be16},
    identity::owner,
    state::{Cut, OracleState},
};

/// The last paragraph of step 1.
pub fn check(policy: &Policy, state: &OracleState, frame: &Frame, net: usize) -> Result<(), Reason> {
    if state.cut != Cut::default() {
        return Ok(());
    }
    match ordinary_source(frame) {
        Some(src) if owner(policy, src) == Some(Place::Net(net)) && !is_listed(policy, src) => Err(Reason::Unlisted),
        _ => Ok(()),
    }
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
    let here = owner(policy, addr);
    let names = |party: &Party| {
        let place = here.is_some_and(|here| party.place.contains(&here));
        let prefix = match &party.prefixes {
            None => true,
            Some(prefixes) => prefixes.iter().any(|prefix| prefix.contains(&addr)),
        };
        place && prefix
    };
    let serves = |rule: &Rule| {
        rule.published.as_ref().is_some_and(|published| published.public == addr || published.address == addr)
    };
    policy.box_addresses.contains(&addr)
        || policy.rules.iter().any(|rule| names(&rule.from) || names(&rule.to) || serves(rule))
}
