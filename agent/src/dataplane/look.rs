//! Looking at the guard without running `nft`: dumps of its rules and counters, a few hundred microseconds in all.

use std::collections::BTreeSet;

use nix::libc;

use super::seed::{
    self,
    netlink::{self, Request, attribute, bytes},
};

/// `NFNL_SUBSYS_NFTABLES << 8`, with `NFT_MSG_GETRULE` and `NFT_MSG_GETOBJ`.
const GETRULE: u16 = 10 << 8 | 7;
const GETOBJ: u16 = 10 << 8 | 19;
/// `struct nfgenmsg`.
const GENMSG: usize = 4;
/// `NFPROTO_INET` and `NFPROTO_BRIDGE`, with the chains and counters the guard has there.
const FAMILIES: [(u8, &[&str], &[&str]); 2] = [
    (1, &["forward", "input", "output"], &["guard_forward", "guard_input", "guard_output"]),
    (7, &["forward"], &["guard_bridge"]),
];

/// The guard as it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Every chain is there and none of them was emptied.
    pub up: bool,
    /// Counter name, packets, bytes.
    pub counters: Vec<(String, u64, u64)>,
}

/// Looks at the guard. A table that is not there is a guard that is down, not an error.
pub fn look(table: &str) -> Look {
    let mut look = Look { up: true, counters: Vec::new() };
    for (family, chains, counters) in FAMILIES {
        let mut with_rules = BTreeSet::new();
        let listed = dump(GETRULE, family, table, &mut |rest| {
            // NFTA_RULE_CHAIN.
            with_rules.extend(attribute(rest, 2).map(text));
        });
        look.up &= listed.is_ok() && chains.iter().all(|chain| with_rules.contains(*chain));
        let mut seen = |rest: &[u8]| {
            // NFTA_OBJ_NAME, NFTA_OBJ_DATA, NFTA_COUNTER_BYTES, NFTA_COUNTER_PACKETS.
            let name = attribute(rest, 2).map(text).filter(|name| counters.contains(&name.as_str()));
            let data = attribute(rest, 4).unwrap_or_default();
            let number = |kind| attribute(data, kind).and_then(|value| bytes(value, 0)).map_or(0, u64::from_be_bytes);
            look.counters.extend(name.map(|name| (name, number(2), number(1))));
        };
        look.up &= dump(GETOBJ, family, table, &mut seen).is_ok();
    }
    look
}

/// Objects of one kind in one table.
fn dump(kind: u16, family: u8, table: &str, each: &mut dyn FnMut(&[u8])) -> Result<(), seed::Error> {
    // NFTA_RULE_TABLE and NFTA_OBJ_TABLE are the same number; the kernel lists that table only.
    let length = u16::try_from(4 + table.len() + 1).unwrap_or(u16::MAX);
    let mut body = vec![family, 0, 0, 0];
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&1u16.to_ne_bytes());
    body.extend_from_slice(table.as_bytes());
    body.push(0);
    body.resize(body.len().next_multiple_of(4), 0);
    let request =
        Request { protocol: libc::NETLINK_NETFILTER, kind, body: &body, table: "nftables rules", module: "nf_tables" };
    netlink::dump(&request, &mut |_, payload| {
        let rest = payload.get(GENMSG..).unwrap_or_default();
        // An older kernel might list every table.
        if attribute(rest, 1).map(text).as_deref() == Some(table) {
            each(rest);
        }
        Ok(())
    })
}

fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload.strip_suffix(&[0]).unwrap_or(payload)).into_owned()
}
