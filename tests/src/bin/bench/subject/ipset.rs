//! iptables with an ipset behind conntrack.

use std::{fmt::Write as _, time::Duration};

use anyhow::Result;

use super::Subject;
use crate::{
    gateway::{Cost, Gateway, LAN, WAN},
    lists::List,
    ruler::Ruler,
    traffic::{Kind, SERVICES},
};

const LOAD: Duration = Duration::from_secs(120);

/// iptables and ipset on a gateway.
#[derive(Debug)]
pub(crate) struct Ipset {
    gateway: Gateway,
    ready: bool,
}

impl Ipset {
    pub(crate) fn new(gateway: Gateway) -> Result<Self> {
        patient_conntrack(&gateway)?;
        Ok(Self { gateway, ready: false })
    }

    /// What `ipset restore` reads: new sets are filled beside the live ones and swapped in.
    pub(crate) fn sets(&self, list: &List) -> Result<String> {
        let mut text = String::new();
        for (six, set, family) in [(false, "allowed4", "inet"), (true, "allowed6", "inet6")] {
            let count = list.family(six).count();
            let buckets = count.next_power_of_two().max(1024);
            let create =
                |name: &str| format!("create {name} hash:net family {family} hashsize {buckets} maxelem 4194304");
            writeln!(text, "{} -exist", create(set))?;
            writeln!(text, "{}", create("fresh"))?;
            for prefix in list.family(six) {
                writeln!(text, "add fresh {prefix}")?;
            }
            writeln!(text, "swap fresh {set}\ndestroy fresh")?;
        }
        Ok(text)
    }

    /// Loads the sets.
    pub(crate) fn apply(&self, sets: &str) -> Result<Cost> {
        self.gateway.feed("ipset", &["restore"], sets.as_bytes(), LOAD)
    }

    fn rules(&self) -> Result<()> {
        let ports = SERVICES.map(|port| port.to_string()).join(",");
        for (program, set) in [("iptables", "allowed4"), ("ip6tables", "allowed6")] {
            let run =
                |arguments: &str| self.gateway.command(program, &arguments.split(' ').collect::<Vec<_>>()).map(drop);
            run("-w -P FORWARD DROP")?;
            run("-w -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT")?;
            for (interface, side) in [(LAN, "dst"), (WAN, "src")] {
                for protocol in ["udp", "tcp"] {
                    run(&format!(
                        "-w -A FORWARD -i {interface} -p {protocol} -m multiport --dports {ports} -m set --match-set {set} {side} -j ACCEPT"
                    ))?;
                }
            }
        }
        Ok(())
    }
}

impl Subject for Ipset {
    fn name(&self) -> &'static str {
        "ipset + iptables"
    }
    fn gateway(&self) -> &Gateway {
        &self.gateway
    }
    fn load(&mut self, list: &List, _ruler: &mut Ruler) -> Result<()> {
        self.apply(&self.sets(list)?)?;
        if !self.ready {
            self.rules()?;
            self.ready = true;
        }
        Ok(())
    }
    fn takes(&self, kind: Kind) -> bool {
        !kind.tagged
    }
    fn has_flows(&self) -> bool {
        true
    }
    fn forget(&mut self) -> Result<()> {
        forget(&self.gateway)
    }
}

/// Keeps flows for as long as a benchmark lasts.
pub(super) fn patient_conntrack(gateway: &Gateway) -> Result<()> {
    for name in ["udp_timeout", "udp_timeout_stream", "tcp_timeout_established"] {
        gateway.ns.sysctl(&format!("net/netfilter/nf_conntrack_{name}"), "36000")?;
    }
    Ok(())
}

/// Empties the gateway's conntrack table.
pub(super) fn forget(gateway: &Gateway) -> Result<()> {
    gateway.command("conntrack", &["-F"]).map(drop)
}
