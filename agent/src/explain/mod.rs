//! Why a packet would pass or not, judged by the same source as the kernel's: `frame` writes the packet, `judge`
//! runs the decision on it, `nearest` says what was missing, `outcome` runs a policy's own tests, `port` reads
//! where it enters.

pub mod frame;
pub mod judge;
pub mod nearest;
pub mod outcome;
pub mod port;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use sekimori_ebpf::{
    abi::{MAC_ROUTER, NET_BOX, NET_NONE},
    mark,
    reason::{Reason, Verdict},
    tables::Tables,
};
use serde::{Serialize, Serializer};

use self::{
    frame::{Link, build},
    judge::{Judged, way_in, way_in_by_rules, way_out},
    nearest::{NearestMiss, nearest},
    port::{Enters, key, unknown},
};
use crate::{
    compile::{host::HostTables, prefixes::address, tables::Compiled},
    policy::model::{Mac, PacketSpec},
};

/// The MAC of a sender nobody described: locally administered, registered nowhere.
const SOME_SENDER: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
/// The box's own.
const SOME_BOX: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];

/// The answer.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// `pass` or `drop`.
    #[serde(serialize_with = "verdict")]
    pub verdict: Verdict,
    /// Why; in JSON its code.
    #[serde(serialize_with = "reason")]
    pub reason: Reason,
    /// The rule that permits it, or that would but is closed.
    pub rule: Option<String>,
    /// Zone or network it comes from, `box` for the box.
    #[serde(rename = "in")]
    pub enters: Option<String>,
    /// Zone or network it must leave by, `box` if it stays: the real server's for a published one. Of a dropped
    /// packet, where its destination lives.
    #[serde(rename = "out")]
    pub leaves: Option<String>,
    /// The registered device it was taken for.
    pub device: Option<String>,
    /// The source MAC it was given.
    pub mac: String,
    /// The rule that came closest, if the rules were asked and said no.
    pub nearest: Option<NearestMiss>,
}

fn verdict<S: Serializer>(verdict: &Verdict, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(match verdict {
        Verdict::Pass => "pass",
        Verdict::Drop => "drop",
    })
}

fn reason<S: Serializer>(reason: &Reason, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(reason.code())
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    /// No tables.
    #[error("no policy is loaded: apply one, or name one with --policy")]
    NoPolicy,
    /// No such interface.
    #[error("`{name}` is no interface of the policy; it has: {known}")]
    Interface {
        /// As asked.
        name: String,
        /// What there is.
        known: String,
    },
    /// The interface carries several VLANs and none was named.
    #[error("`{name}` carries several VLANs; say which one: {known}")]
    Ambiguous {
        /// As asked.
        name: String,
        /// What there is.
        known: String,
    },
    /// IPv4 to IPv6 or the reverse.
    #[error("{src} and {dst} are of different families: write both as IPv4 or both as IPv6")]
    Families {
        /// Source.
        src: IpAddr,
        /// Destination.
        dst: IpAddr,
    },
    /// From the box to the box.
    #[error("{dst} is the box's own address: what the box sends to itself passes no guarded interface")]
    Loopback {
        /// Destination.
        dst: IpAddr,
    },
}

impl ExplainError {
    /// The same sentence in Japanese.
    pub fn ja(&self) -> String {
        match self {
            Self::NoPolicy => {
                "方針が読み込まれていません。適用するか、--policy で方針ファイルを指定してください".to_owned()
            }
            Self::Interface { name, known } => {
                format!("`{name}` は方針にないインターフェースです。方針にあるもの: {known}")
            }
            Self::Ambiguous { name, known } => {
                format!("`{name}` には複数のVLANがあります。どれかを指定してください: {known}")
            }
            Self::Families { src, dst } => {
                format!("{src} と {dst} はアドレス体系が異なります。IPv4かIPv6にそろえてください")
            }
            Self::Loopback { dst } => {
                format!("{dst} は自機のアドレスです。自機から自機への通信は監視対象のインターフェースを通りません")
            }
        }
    }
}

/// Judges the first packet of a conversation at `now` (`CLOCK_BOOTTIME` nanoseconds). Live views in `tables` are
/// forgotten before and after, so that nothing but the policy, the time and the cut-offs decides.
///
/// A packet of the box is judged where its destination lives; if that is nowhere, at some interface.
///
/// # Errors
/// What was asked has no answer: see [`ExplainError`].
pub fn explain(
    tables: &mut HostTables,
    enters: &Enters,
    spec: &PacketSpec,
    mac: Option<Mac>,
    now: u64,
) -> Result<Explanation, ExplainError> {
    tables.clear_flows();
    let explanation = judge_first(tables, enters, spec, mac, now);
    tables.clear_flows();
    explanation
}

fn judge_first(
    tables: &HostTables,
    enters: &Enters,
    spec: &PacketSpec,
    mac: Option<Mac>,
    now: u64,
) -> Result<Explanation, ExplainError> {
    let compiled = tables.compiled().ok_or(ExplainError::NoPolicy)?;
    let owner = owner(tables, spec.dst);
    let (port, from) = match enters {
        Enters::Port(port) => {
            let key = key(compiled, port).ok_or_else(|| unknown(compiled, &port.interface))?;
            (key, tables.port(tables.active(), &key))
        }
        Enters::Box if owner == NET_BOX => return Err(ExplainError::Loopback { dst: spec.dst }),
        Enters::Box => {
            let there = compiled.ports.iter().find(|(_, net)| *net == owner).or(compiled.ports.first());
            (there.ok_or(ExplainError::NoPolicy)?.0, NET_BOX)
        }
    };
    let own = *enters == Enters::Box;
    let sender = match mac {
        Some(mac) => mac.0,
        None if own => SOME_BOX,
        None => likely_mac(tables, compiled, from, spec.src),
    };
    let link =
        Link { src: sender, dst: if own { SOME_SENDER } else { SOME_BOX }, outer: port.outer, inner: port.inner };
    let frame = build(&link, spec).map_err(|_| ExplainError::Families { src: spec.src, dst: spec.dst })?;
    let ifindex = u32::from(port.iface);
    let judged = if own { way_out(tables, &frame, ifindex, 0, 0, now) } else { way_in(tables, &frame, ifindex, now) };
    Ok(Explanation {
        verdict: judged.reason.verdict(),
        reason: judged.reason,
        rule: judged.rule.and_then(|rule| compiled.rule_ids.get(rule).cloned()),
        enters: net_name(compiled, from),
        leaves: net_name(compiled, leaves(&judged, own, owner)),
        device: match judged.packet.device {
            0 => None,
            device => compiled.device_names.get(device as usize).cloned(),
        },
        mac: text(sender),
        nearest: match judged.reason {
            Reason::NoRule | Reason::RuleClosed if own => nearest(tables, &judged.work.question),
            // It may have been refused before any rule was asked: ask them all the same.
            Reason::NoRule | Reason::RuleClosed | Reason::Unlisted => {
                nearest(tables, &way_in_by_rules(tables, &frame, ifindex, now).work.question)
            }
            _ => None,
        },
    })
}

fn leaves(judged: &Judged, own: bool, owner: u16) -> u16 {
    let marked = !own && judged.passes() && judged.rule.is_some();
    match mark::kind(judged.mark) {
        mark::KIND_FORWARD if marked => mark::net(judged.mark),
        mark::KIND_LOCAL if marked => NET_BOX,
        _ => owner,
    }
}

fn owner(tables: &HostTables, addr: IpAddr) -> u16 {
    // SAFETY: the pointer is null or into `tables`, which is borrowed meanwhile.
    let entry = unsafe { tables.addr(tables.active(), &address(addr)).as_ref() };
    entry.map_or(NET_NONE, |entry| entry.owner)
}

fn net_name(compiled: &Compiled, net: u16) -> Option<String> {
    if net == NET_BOX {
        return Some("box".to_owned());
    }
    compiled.net_names.iter().find(|(_, id)| *id == net).map(|(name, _)| name.clone())
}

/// The registered MAC of the source address, else a router of the net, else any.
fn likely_mac(tables: &HostTables, compiled: &Compiled, net: u16, src: IpAddr) -> [u8; 6] {
    let device = tables.binding(tables.active(), &address(src));
    let here = || compiled.macs.iter().filter(|(key, _)| key.net == net);
    let registered = here().find(|(_, entry)| device != 0 && entry.device == device);
    let router = || here().find(|(_, entry)| entry.flags & MAC_ROUTER != 0);
    registered.or_else(router).map_or(SOME_SENDER, |(key, _)| key.mac)
}

fn text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
