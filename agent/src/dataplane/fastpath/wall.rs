//! Somebody else's nftables rules that forwarded packets meet, out of `nft -j list ruleset`.

use serde_json::Value;

use super::reason::Way;

/// One rule, or a chain whose policy drops, in a hook on the way of forwarded packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// As `nft ip nat out` names the chain.
    pub chain: String,
    /// It translates addresses.
    pub nat: bool,
    /// It sees bridged packets only.
    pub bridge: bool,
    /// Packets of which way it sees: `netdev` chains see one.
    pub way: Way,
    /// Names of the interfaces (of packets coming in or going out) it is restricted to, `eth*` for all that begin so;
    /// empty: any.
    pub interfaces: Vec<String>,
}

impl Hook {
    /// Whether it sees packets of an interface of one of these names.
    pub fn concerns<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        self.interfaces.is_empty()
            || names.any(|name| {
                self.interfaces.iter().any(|pattern| match pattern.strip_suffix('*') {
                    Some(start) => name.starts_with(start),
                    None => name == pattern,
                })
            })
    }
}

/// The hooks of a ruleset outside the table `own`. A base chain without rules that accepts does nothing; chains that are
/// jumped to are met through the rule that jumps.
pub(super) fn hooks(ruleset: &Value, own: &str) -> Vec<Hook> {
    let objects = ruleset["nftables"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut hooks = Vec::new();
    for chain in objects.iter().filter_map(|object| object.get("chain")) {
        let Some(kind) = kind(chain, own) else { continue };
        if chain["policy"] == "drop" {
            hooks.push(kind.clone());
        }
        let rules = objects.iter().filter_map(|object| object.get("rule")).filter(|rule| {
            rule["family"] == chain["family"] && rule["table"] == chain["table"] && rule["chain"] == chain["name"]
        });
        for rule in rules {
            let named = restricted(rule["expr"].as_array().map(Vec::as_slice).unwrap_or_default());
            hooks.push(Hook { interfaces: named.unwrap_or_else(|| kind.interfaces.clone()), ..kind.clone() });
        }
    }
    hooks.dedup();
    hooks
}

/// What a base chain sees; `None` if it sees no forwarded packet, or is ours.
fn kind(chain: &Value, own: &str) -> Option<Hook> {
    let word = |field: &str| chain[field].as_str().unwrap_or_default();
    let (family, table, hook) = (word("family"), word("table"), word("hook"));
    if hook.is_empty() || family == "arp" || (table == own && matches!(family, "inet" | "bridge")) {
        return None;
    }
    let way = match hook {
        "prerouting" | "forward" | "postrouting" => Way::Both,
        "ingress" => Way::In,
        "egress" => Way::Out,
        "input" | "output" => return None,
        // A hook of a later kernel.
        _ => Way::Both,
    };
    Some(Hook {
        chain: format!("nft {family} {table} {}", word("name")),
        nat: word("type") == "nat",
        bridge: family == "bridge",
        way,
        interfaces: names(&chain["dev"]).unwrap_or_default(),
    })
}

/// The interfaces a rule is restricted to by its first matches; `None` for any.
fn restricted(statements: &[Value]) -> Option<Vec<String>> {
    statements
        .iter()
        // Behind the first statement that acts, a match restricts nothing any more.
        .map_while(|statement| statement.get("match"))
        .filter(|one| one["op"] == "==")
        .filter(|one| matches!(one["left"]["meta"]["key"].as_str(), Some("iif" | "iifname" | "oif" | "oifname")))
        .find_map(|one| names(&one["right"]))
}

/// A name, or a set of them; `None` for anything else.
fn names(value: &Value) -> Option<Vec<String>> {
    if let Some(name) = value.as_str() {
        // A set with a name may hold anything.
        return (!name.starts_with('@')).then(|| vec![name.to_owned()]);
    }
    let items = value.as_array().or_else(|| value["set"].as_array())?;
    let names: Option<Vec<String>> =
        items.iter().map(|item| item.as_str().filter(|name| !name.starts_with('@')).map(str::to_owned)).collect();
    names.filter(|names| !names.is_empty())
}
