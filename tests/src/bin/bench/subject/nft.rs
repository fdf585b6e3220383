//! nftables: an interval set behind conntrack, and the same set on the ingress hook without it.

use std::{fmt::Write as _, time::Duration};

use anyhow::Result;

use super::Subject;
use crate::{
    gateway::{Cost, Gateway, LAN, WAN},
    lists::List,
    ruler::Ruler,
    traffic::{Kind, SERVICES},
};

/// A million entries take 12 to 17 seconds on an idle machine.
const LOAD: Duration = Duration::from_secs(240);

/// Where the rules sit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NftHook {
    /// Forward hook, `ct state established accept` first.
    Conntrack,
    /// Ingress hooks of both interfaces, no conntrack.
    Ingress,
}

/// nftables on a gateway.
#[derive(Debug)]
pub(crate) struct Nft {
    gateway: Gateway,
    hook: NftHook,
}

impl Nft {
    pub(crate) fn new(gateway: Gateway, hook: NftHook) -> Result<Self> {
        if hook == NftHook::Conntrack {
            super::ipset::patient_conntrack(&gateway)?;
        }
        Ok(Self { gateway, hook })
    }

    /// The whole ruleset in nft's language.
    pub(crate) fn rules(&self, list: &List) -> Result<String> {
        let table = match self.hook {
            NftHook::Conntrack => "inet bench",
            NftHook::Ingress => "netdev bench",
        };
        let mut text = format!("table {table}\ndelete table {table}\ntable {table} {{\n");
        // Inside the definition: statements that add elements later take nft ten times as long and twice the memory.
        for (six, set, kind) in [(false, "allowed4", "ipv4_addr"), (true, "allowed6", "ipv6_addr")] {
            let prefixes: Vec<_> = list.family(six).map(ToString::to_string).collect();
            let elements =
                if prefixes.is_empty() { String::new() } else { format!("elements = {{ {} }}", prefixes.join(",\n")) };
            writeln!(text, "set {set} {{ type {kind}; flags interval; {elements} }}")?;
        }
        let ports = SERVICES.map(|port| port.to_string()).join(", ");
        match self.hook {
            NftHook::Conntrack => {
                writeln!(text, "chain forward {{ type filter hook forward priority 0; policy drop;")?;
                writeln!(text, "ct state established accept")?;
                for (interface, side) in [(LAN, "daddr"), (WAN, "saddr")] {
                    for (ip, set) in [("ip", "allowed4"), ("ip6", "allowed6")] {
                        writeln!(
                            text,
                            "iifname {interface} {ip} {side} @{set} meta l4proto {{ tcp, udp }} th dport {{ {ports} }} accept"
                        )?;
                    }
                }
                writeln!(text, "}}")?;
            }
            NftHook::Ingress => {
                for (interface, side) in [(LAN, "daddr"), (WAN, "saddr")] {
                    writeln!(
                        text,
                        "chain {interface} {{ type filter hook ingress device {interface} priority 0; policy drop;"
                    )?;
                    writeln!(
                        text,
                        "ip {side} @allowed4 accept\nip6 {side} @allowed6 accept\nmeta protocol arp accept\n}}"
                    )?;
                }
            }
        }
        writeln!(text, "}}")?;
        Ok(text)
    }

    /// Loads a ruleset from a file, as an administrator would.
    pub(crate) fn apply(&self, rules: &str) -> Result<Cost> {
        self.gateway.feed("nft", &["-f", "-"], rules.as_bytes(), LOAD)
    }
}

impl Subject for Nft {
    fn name(&self) -> &'static str {
        match self.hook {
            NftHook::Conntrack => "nft set + ct",
            NftHook::Ingress => "nft ingress",
        }
    }
    fn gateway(&self) -> &Gateway {
        &self.gateway
    }
    fn load(&mut self, list: &List, _ruler: &mut Ruler) -> Result<()> {
        self.apply(&self.rules(list)?).map(drop)
    }
    fn takes(&self, kind: Kind) -> bool {
        // Without conntrack a first packet is like any other.
        !kind.tagged && (self.hook == NftHook::Conntrack || !kind.new)
    }
    fn has_flows(&self) -> bool {
        self.hook == NftHook::Conntrack
    }
    fn forget(&mut self) -> Result<()> {
        super::ipset::forget(&self.gateway)
    }
}
