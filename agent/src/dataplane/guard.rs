//! The second wall: nftables chains that forward only between interfaces guarded right now, and deliver to the box only
//! what was judged to be for it. They hold where our programs are gone: a recreated interface, a forgotten port.

use nftables::helper::{DEFAULT_ARGS, apply_ruleset_raw};
use sekimori_ebpf::mark;
use serde_json::{Value, json};

use super::error::{Error, While};

/// Before the host's own filter chains, so that their counters see only what may pass.
const PRIORITY: i32 = -10;

fn families() -> [(&'static str, &'static [&'static str]); 2] {
    [("inet", &["guard_forward", "guard_input", "guard_output"]), ("bridge", &["guard_bridge"])]
}

fn both_guarded(guarded: &Value) -> Vec<Value> {
    vec![
        json!({"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": guarded}}),
        json!({"match": {"op": "==", "left": {"meta": {"key": "oif"}}, "right": guarded}}),
    ]
}

fn kind(shift: u32, op: &str, kinds: &[u32]) -> Value {
    let values: Vec<u32> = kinds.iter().map(|kind| kind << shift).collect();
    json!({"match": {"op": op,
        "left": {"&": [{"meta": {"key": "mark"}}, 3u32 << shift]},
        "right": if values.len() == 1 { json!(values[0]) } else { json!({"set": values}) }}})
}

fn rule(family: &str, table: &str, chain: &str, expr: Vec<Value>) -> Value {
    json!({"add": {"rule": {"family": family, "table": table, "chain": chain, "expr": expr}}})
}

fn drop_counted(counter: &str) -> Vec<Value> {
    vec![json!({"counter": counter}), json!({"drop": null})]
}

/// What the guard is told.
#[derive(Debug, Clone, Copy)]
pub struct Guarded<'a> {
    /// Kernel indexes of what is guarded now, derived devices included.
    pub indexes: &'a [u32],
    /// Those among them that are bridges.
    pub bridges: &'a [u32],
    /// What the guarded ones are called, and what else will be guarded when it comes.
    pub names: &'a [&'a str],
}

/// The whole guard as one transaction; counters survive it.
fn ruleset(table: &str, guarded: Guarded<'_>, shift: u32) -> Value {
    let members: Vec<Value> = guarded.indexes.iter().map(|index| json!(index)).collect();
    let set = json!({ "set": members });
    let mut commands = Vec::new();
    for (family, counters) in families() {
        commands.push(json!({"add": {"table": {"family": family, "name": table}}}));
        for counter in counters {
            commands.push(json!({"add": {"counter": {"family": family, "table": table, "name": counter}}}));
        }
        commands.push(json!({"add": {"chain": {"family": family, "table": table, "name": "forward", "type": "filter",
            "hook": "forward", "prio": PRIORITY, "policy": "drop"}}}));
        commands.push(json!({"flush": {"chain": {"family": family, "table": table, "name": "forward"}}}));
    }
    for hook in ["input", "output"] {
        commands.push(json!({"add": {"chain": {"family": "inet", "table": table, "name": hook, "type": "filter",
            "hook": hook, "prio": PRIORITY, "policy": "accept"}}}));
        commands.push(json!({"flush": {"chain": {"family": "inet", "table": table, "name": hook}}}));
    }

    if !guarded.indexes.is_empty() {
        let mut forward = both_guarded(&set);
        forward.push(kind(shift, "==", &[mark::KIND_FORWARD, mark::KIND_REPLY]));
        forward.push(json!({"accept": null}));
        commands.push(rule("inet", table, "forward", forward));
        for bridge in guarded.bridges {
            // With `bridge-nf-call-*` on, bridged packets come by here too, in and out by the bridge: its neighbour
            // discovery and DHCP, which nobody routes.
            let mut bridged = both_guarded(&json!(bridge));
            bridged.push(kind(shift, "==", &[mark::KIND_LOCAL]));
            bridged.push(json!({"accept": null}));
            commands.push(rule("inet", table, "forward", bridged));
        }
        let mut bridge = both_guarded(&set);
        bridge.push(json!({"accept": null}));
        commands.push(rule("bridge", table, "forward", bridge));
        let mut input = vec![json!({"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": set.clone()}})];
        input.push(kind(shift, "!=", &[mark::KIND_LOCAL]));
        input.extend(drop_counted("guard_input"));
        commands.push(rule("inet", table, "input", input));
    }
    if !guarded.names.is_empty() {
        // By name: an interface that came back with another index has no programs that could have judged anything.
        let names = json!({ "set": guarded.names });
        let mut input =
            vec![json!({"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": names.clone()}})];
        input.push(kind(shift, "!=", &[mark::KIND_LOCAL]));
        input.extend(drop_counted("guard_input"));
        commands.push(rule("inet", table, "input", input));
        // The box's own packets by such an interface meet no way out either.
        let mut output = vec![json!({"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": names}})];
        if !guarded.indexes.is_empty() {
            output.push(json!({"match": {"op": "!=", "left": {"meta": {"key": "oif"}}, "right": set}}));
        }
        output.extend(drop_counted("guard_output"));
        commands.push(rule("inet", table, "output", output));
    }
    commands.push(rule("inet", table, "forward", drop_counted("guard_forward")));
    commands.push(rule("bridge", table, "forward", drop_counted("guard_bridge")));
    json!({ "nftables": commands })
}

/// Puts the guard up, or renews it.
pub fn put_up(table: &str, guarded: Guarded<'_>, shift: u32) -> Result<(), Error> {
    let payload = ruleset(table, guarded, shift).to_string();
    apply_ruleset_raw(&payload, None::<&str>, DEFAULT_ARGS).doing("put up the nftables guard (is nft installed?)")?;
    Ok(())
}

/// Takes the guard down.
pub fn take_down(table: &str) -> Result<(), Error> {
    let mut commands = Vec::new();
    for (family, _) in families() {
        commands.push(json!({"add": {"table": {"family": family, "name": table}}}));
        commands.push(json!({"delete": {"table": {"family": family, "name": table}}}));
    }
    let payload = json!({ "nftables": commands }).to_string();
    apply_ruleset_raw(&payload, None::<&str>, DEFAULT_ARGS).doing("take down the nftables guard")?;
    Ok(())
}
