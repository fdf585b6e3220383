//! The outside of a town: what arrives there, counted by nftables and not by us.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{netns::Ns, nft, tool};

/// Counts what comes from inside, answers for its own addresses only, and says nothing about others.
const SEEN: &str = "
table inet seen {
  counter n_syn {}
  counter n_tcp {}
  counter n_udp {}
  counter n_icmp {}
  counter n_fragments {}
  counter n_mail {}
  counter n_tcp6 {}
  counter n_udp6 {}
  counter n_icmp6 {}
  set places { type ipv4_addr; flags dynamic; size 65536; }
  set places6 { type ipv6_addr; flags dynamic; size 65536; }
  chain before6 { type filter hook prerouting priority -501;
    meta nfproto != ipv6 accept
    ip6 saddr != 2001:db8:10::/64 accept
    meta l4proto tcp counter name n_tcp6
    meta l4proto udp counter name n_udp6
    meta l4proto icmpv6 icmpv6 type echo-request counter name n_icmp6
    add @places6 { ip6 daddr }
    fib daddr type != local drop
  }
  chain before { type filter hook prerouting priority -500;
    meta nfproto != ipv4 accept
    ip saddr 192.168.0.0/16 ip frag-off & 0x3fff != 0 counter name n_fragments
    ip saddr != 192.168.0.0/16 accept
    tcp flags & (syn | ack) == syn counter name n_syn
    tcp dport 25 tcp flags & (syn | ack) == syn counter name n_mail
    meta l4proto tcp counter name n_tcp
    meta l4proto udp counter name n_udp
    meta l4proto icmp counter name n_icmp
    add @places { ip daddr }
    fib daddr type != local drop
  }
}
";

const COMMAND: Duration = Duration::from_secs(10);

/// A machine outside that counts.
#[derive(Debug)]
pub struct Outside(Ns);

impl Outside {
    /// Begins to count in this namespace.
    pub fn count(ns: &Ns) -> Result<Self> {
        nft::load(ns, SEEN)?;
        Ok(Self(ns.clone()))
    }

    /// Packets that arrived: `syn`, `tcp`, `udp`, `icmp`, `fragments` or `mail`; of IPv6 `tcp6`, `udp6` or `icmp6`.
    pub fn packets(&self, kind: &str) -> Result<u64> {
        let said = self.list(&["counter", "inet", "seen", &format!("n_{kind}")])?;
        said.iter().find_map(|item| item["counter"]["packets"].as_u64()).context("no such counter")
    }

    /// Different addresses that something arrived for.
    pub fn places(&self) -> Result<usize> {
        self.elements("places")
    }

    /// The same of IPv6.
    pub fn places6(&self) -> Result<usize> {
        self.elements("places6")
    }

    fn elements(&self, set: &str) -> Result<usize> {
        let said = self.list(&["set", "inet", "seen", set])?;
        Ok(said.iter().find_map(|item| item["set"]["elem"].as_array()).map_or(0, Vec::len))
    }

    fn list(&self, what: &[&str]) -> Result<Vec<Value>> {
        let mut nft = self.0.command("nft");
        nft.args(["-j", "list"]).args(what);
        let mut said: Value = serde_json::from_str(&tool::must(&mut nft, COMMAND)?.out)?;
        match said["nftables"].take() {
            Value::Array(items) => Ok(items),
            other => anyhow::bail!("nft listed {other}"),
        }
    }
}
