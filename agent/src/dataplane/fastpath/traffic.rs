//! Queueing disciplines and filters of traffic control.

use std::collections::BTreeMap;

use nix::libc;

use super::{
    facts::Device,
    kernel::{kind, route},
};
use crate::dataplane::seed::{
    self,
    netlink::{attribute, u32_native},
};

/// `struct tcmsg`.
const TCMSG: usize = 20;
/// `TCA_KIND`, `TCA_INGRESS_BLOCK`, `TCA_EGRESS_BLOCK`.
const KIND: u16 = 1;
const BLOCKS: [u16; 2] = [13, 14];
/// `TC_H_CLSACT` with the minor number of each side.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// What only orders packets: no packet is dropped or kept back for its rate.
const PLAIN: [&str; 5] = ["noqueue", "fq_codel", "mq", "pfifo_fast", "fq"];

/// One queueing discipline.
struct Qdisc {
    ifindex: u32,
    handle: u32,
    kind: String,
    shared: bool,
}

pub(super) fn read(devices: &mut BTreeMap<u32, Device>) -> Result<(), seed::Error> {
    let mut qdiscs = Vec::new();
    route(libc::RTM_GETQDISC, &[0; TCMSG], &mut |payload| {
        let (Some(ifindex), Some(handle)) = (u32_native(payload, 4), u32_native(payload, 8)) else { return };
        let rest = payload.get(TCMSG..).unwrap_or_default();
        let shared = BLOCKS.iter().any(|block| attribute(rest, *block).is_some());
        qdiscs.push(Qdisc { ifindex, handle, kind: kind(rest, KIND).unwrap_or_default(), shared });
    })?;
    for qdisc in qdiscs {
        let Some(device) = devices.get_mut(&qdisc.ifindex) else { continue };
        let what = format!("{} {}", device.name, qdisc.kind);
        match qdisc.kind.as_str() {
            "clsact" | "ingress" => {
                if qdisc.shared || filters(qdisc.ifindex, INGRESS)? {
                    device.tc_in.push(what.clone());
                }
                if qdisc.shared || (qdisc.kind == "clsact" && filters(qdisc.ifindex, EGRESS)?) {
                    device.tc_out.push(what);
                }
            }
            plain if PLAIN.contains(&plain) => {
                // One that nobody put there has no handle, and nobody hung a filter on it.
                if qdisc.handle != 0 && matches!(plain, "fq_codel" | "mq") && filters(qdisc.ifindex, qdisc.handle)? {
                    device.tc_out.push(what);
                }
            }
            other => device.shaping.push(other.to_owned()),
        }
    }
    Ok(())
}

/// Whether any filter hangs there.
fn filters(ifindex: u32, parent: u32) -> Result<bool, seed::Error> {
    let mut body = [0; TCMSG];
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    body[12..16].copy_from_slice(&parent.to_ne_bytes());
    let mut any = false;
    route(libc::RTM_GETTFILTER, &body, &mut |_| any = true)?;
    Ok(any)
}
