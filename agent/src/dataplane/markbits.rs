//! Which mark bits the host's own rules use: nftables rules and routing rules outside this instance's table. Bits that
//! somebody else reads or writes cannot carry our verdict.
//!
//! What it cannot see: rules of the old iptables (`iptables-legacy`), BPF programs, and sockets that set a mark.

use std::process::Command;

use futures_util::TryStreamExt as _;
use nftables::helper::get_current_ruleset_raw;
use rtnetlink::{
    Handle, IpVersion,
    packet_route::rule::{RuleAttribute, RuleMessage},
};
use sekimori_ebpf::mark;
use serde_json::Value;

use super::{
    error::{Error, While},
    system::on_netlink,
};
use expression::{read, written};

#[path = "markbits_expression.rs"]
mod expression;

/// Largest shift that keeps every bit of ours inside 32.
pub const MAX_SHIFT: u32 = u32::BITS - mark::BITS;

/// One rule of the host's that uses the packet mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Which rule, as `nft -a list ruleset` and `ip rule` let it be found.
    pub rule: String,
    /// The mark bits it reads or writes.
    pub bits: u32,
}

/// Somebody else uses bits of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conflict {
    /// The bits in use at the shift that was asked for.
    pub ours: u32,
    /// Who uses some of them.
    pub rules: Vec<Use>,
    /// The lowest shift at which nobody does, if there is one.
    pub free: Option<u32>,
}

/// Whether the rules leave our bits alone.
pub fn conflict(uses: &[Use], shift: u32) -> Option<Conflict> {
    let at = |shift: u32| mark::MASK << shift;
    let rules: Vec<Use> = uses.iter().filter(|one| one.bits & at(shift) != 0).cloned().collect();
    if rules.is_empty() {
        return None;
    }
    let used = uses.iter().fold(0, |all, one| all | one.bits);
    Some(Conflict { ours: at(shift), rules, free: (0..=MAX_SHIFT).find(|shift| used & at(*shift) == 0) })
}

/// Every rule of this network namespace that uses the packet mark, but for those of the table `own`.
///
/// # Errors
/// `nft` or netlink does not answer: whether the bits are free is then not known.
pub fn scan(own: &str) -> Result<Vec<Use>, Error> {
    let mut uses = tables(&ruleset()?, own, listed)?;
    uses.extend(on_netlink(async |handle| routing(&handle).await)?);
    Ok(uses)
}

/// Every nftables rule of this network namespace, as `nft -j` lists them.
///
/// # Errors
/// `nft` does not answer.
pub(super) fn ruleset() -> Result<Value, Error> {
    // Terse: the contents of named sets, which may be long, say nothing about rules.
    let text = get_current_ruleset_raw(None::<&str>, ["--terse", "list", "ruleset"])
        .doing("read the host's nftables rules (is nft installed?)")?;
    serde_json::from_str(&text).doing("read the host's nftables rules")
}

/// The rules of `nft -j list ruleset`. `listed` fetches one rule as text, for what the JSON does not show.
fn tables(ruleset: &Value, own: &str, listed: fn(&Value) -> Result<String, Error>) -> Result<Vec<Use>, Error> {
    let mut uses = Vec::new();
    for rule in ruleset["nftables"].as_array().into_iter().flatten().filter_map(|object| object.get("rule")) {
        let ours = rule["table"] == own && (rule["family"] == "inet" || rule["family"] == "bridge");
        if ours {
            continue;
        }
        let statements = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
        let mut bits = statements.iter().fold(0, |bits, statement| bits | used(statement));
        if statements.iter().any(|statement| statement.get("xt").is_some()) {
            bits |= expression::of_text(&listed(rule)?);
        }
        if bits != 0 {
            uses.push(Use { rule: place(rule), bits });
        }
    }
    Ok(uses)
}

/// The mark bits one statement reads or writes.
fn used(statement: &Value) -> u32 {
    if let Some(mangle) = statement.get("mangle") {
        let value = &mangle["value"];
        return if mangle["key"]["meta"]["key"] == "mark" { written(value) } else { read(value) };
    }
    read(statement)
}

fn word(rule: &Value, field: &str) -> String {
    rule[field].as_str().unwrap_or_default().to_owned()
}

/// As `nft ip mangle prerouting handle 7 (VPN marks)`.
fn place(rule: &Value) -> String {
    let comment = rule["comment"].as_str().map(|comment| format!(" ({comment})")).unwrap_or_default();
    let [family, table, chain] = ["family", "table", "chain"].map(|field| word(rule, field));
    format!("nft {family} {table} {chain} handle {}{comment}", rule["handle"])
}

/// One rule as nft writes it. Rules made by `iptables` hold matches that the JSON names at most.
fn listed(rule: &Value) -> Result<String, Error> {
    let what = || format!("read the rule {}", place(rule));
    let names = ["family", "table", "chain"].map(|field| word(rule, field));
    let output = Command::new("nft").args(["-a", "list", "chain"]).args(names).output().doing(what())?;
    if !output.status.success() {
        return Err(Error::new(what(), String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let handle = format!("# handle {}", rule["handle"]);
    let line = text.lines().find(|line| line.trim_end().ends_with(&handle));
    line.map(str::to_owned).ok_or_else(|| Error::new(what(), "it is gone; try again"))
}

async fn routing(handle: &Handle) -> Result<Vec<Use>, Error> {
    let mut uses = Vec::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        let command = if version == IpVersion::V4 { "ip rule" } else { "ip -6 rule" };
        let mut messages = handle.rule().get(version).execute();
        while let Some(message) = messages.try_next().await.doing("list the routing rules")? {
            uses.extend(routing_rule(command, &message));
        }
    }
    Ok(uses)
}

/// A rule without a mark has no mask either; one with a mark and no mask compares all bits.
fn routing_rule(command: &str, message: &RuleMessage) -> Option<Use> {
    let (mut priority, mut value, mut mask) = (0, None, None);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::FwMark(bits) => value = Some(*bits),
            RuleAttribute::FwMask(bits) => mask = Some(*bits),
            _ => {}
        }
    }
    let bits = mask.or(value.map(|_| u32::MAX))?;
    let value = value.unwrap_or(0);
    (bits != 0).then(|| Use { rule: format!("{command} {priority}: fwmark {value:#x}/{bits:#x}"), bits })
}

#[cfg(test)]
#[path = "markbits_tests.rs"]
mod tests;
