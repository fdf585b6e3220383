//! Law 7: would a policy shut the administrator out? Judged by the same decision as the packets.

use std::net::IpAddr;

use ipnet::IpNet;

use super::evaluator::Evaluator;
use crate::{
    api::protocol::Question,
    cli::text::{self, Lang},
    cutoff::object::mac_text,
    dataplane::ManagementPath,
    policy::model::{Policy, Port},
};

/// Senders tried per source prefix before a path counts as lost.
const MAX_TRIES: usize = 512;
/// Source port of the SYN that is judged; any ephemeral one would do.
const SOURCE_PORT: u16 = 50_000;

/// A path that the policy would close.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The first pair of addresses that was tried, as `explain` reads it, and how many there were.
    pub path: String,
    /// Reason code of that pair, or why it could not be judged.
    pub why: String,
}

/// The first management path the policy would close, if any. A path on an interface that the policy does not
/// name stays open, because nothing is attached there.
pub fn lost(policy: &Policy, evaluator: &mut Evaluator, paths: &[ManagementPath], lang: Lang) -> Option<Loss> {
    paths
        .iter()
        .filter(|path| policy.nets.iter().any(|net| net.ports.iter().any(|port| port.interface == path.interface)))
        .flat_map(|path| path.sources.iter().map(move |source| (path, source)))
        .find_map(|(path, source)| closed(policy, evaluator, path, source, lang))
}

/// What keeps everybody in `source` from the box, or `None` if somebody reaches it.
fn closed(
    policy: &Policy,
    evaluator: &mut Evaluator,
    path: &ManagementPath,
    source: &IpNet,
    lang: Lang,
) -> Option<Loss> {
    let targets: Vec<IpAddr> =
        policy.box_addresses.iter().copied().filter(|address| address.is_ipv4() == source.addr().is_ipv4()).collect();
    let ports: Vec<String> =
        policy.nets.iter().flat_map(|net| &net.ports).filter_map(|port| written(port, path)).collect();
    let mut tries = 0;
    // Registered devices are tried first: what stops one of them says most.
    let mut first: Option<(String, String)> = None;
    for (from, mac) in senders(policy, path, source) {
        for (to, interface) in targets.iter().flat_map(|to| ports.iter().map(move |port| (to, port))) {
            if tries == MAX_TRIES {
                break;
            }
            tries += 1;
            let packet = packet(from, *to, path.port);
            let question = Question { interface: interface.clone(), packet, mac: mac.clone(), at: None };
            let why = match evaluator.ask(&question, lang) {
                Ok(explained) if explained.pass() => return None,
                Ok(explained) => explained.reason,
                Err(error) => error,
            };
            first.get_or_insert((question.packet, why));
        }
    }
    Some(match first {
        Some((packet, why)) => Loss { path: text::management_tried(lang, packet, &path.interface, tries, source), why },
        None => Loss {
            path: format!("tcp {source} > :{} ({})", path.port, path.interface),
            why: text::management_nobody(lang),
        },
    })
}

/// Who might come from a prefix: registered devices first, then the first addresses; with the configured MACs if
/// there are any, else with the one the evaluator takes for the address.
fn senders(policy: &Policy, path: &ManagementPath, source: &IpNet) -> Vec<(IpAddr, Option<String>)> {
    let registered = policy.devices.iter().flat_map(|device| &device.addresses).copied();
    let addresses: Vec<IpAddr> = registered
        .filter(|address| source.contains(address))
        .chain(source.hosts().filter(|host| !policy.box_addresses.contains(host)).take(4))
        .collect();
    if !path.macs.is_empty() {
        return addresses
            .iter()
            .flat_map(|address| path.macs.iter().map(|mac| (*address, Some(mac.clone()))))
            .collect();
    }
    let free = policy
        .devices
        .iter()
        .filter(|device| device.addresses.is_empty())
        .flat_map(|device| addresses.last().map(|address| (*address, Some(mac_text(device.mac.0)))));
    addresses.iter().map(|address| (*address, None)).chain(free).collect()
}

/// A port of the path's interface as the evaluator reads it: `lan0`, `lan0.10`, `lan0.10.20`.
fn written(port: &Port, path: &ManagementPath) -> Option<String> {
    let name = &port.interface;
    (*name == path.interface).then(|| match (port.outer, port.inner) {
        (0, _) => name.clone(),
        (outer, 0) => format!("{name}.{outer}"),
        (outer, inner) => format!("{name}.{outer}.{inner}"),
    })
}

fn packet(from: IpAddr, to: IpAddr, port: u16) -> String {
    let from = std::net::SocketAddr::new(from, SOURCE_PORT);
    let to = std::net::SocketAddr::new(to, port);
    format!("tcp {from} > {to}")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::policy::load;

    fn lost_at(port: u16, source: &str) -> Option<Loss> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/minimal.yaml");
        let policy = load(&file).policy.unwrap();
        let mut evaluator = Evaluator::new(&policy).unwrap();
        let sources = vec![source.parse().unwrap()];
        let path = ManagementPath { interface: "lan0".into(), sources, macs: Vec::new(), port };
        lost(&policy, &mut evaluator, &[path], Lang::En)
    }

    #[test]
    fn the_smallest_policy_lets_its_administrator_in() {
        assert_eq!(lost_at(22, "192.168.1.0/24"), None);
        assert_eq!(lost_at(22, "2001:db8:1::/64"), None);
    }

    #[test]
    fn a_loss_names_the_addresses_that_were_tried() {
        let loss = lost_at(23, "192.168.1.0/24").unwrap();
        assert!(loss.path.starts_with("`tcp 192.168.1.11:50000 > 192.168.1.1:23`"), "{loss:?}");
        assert!(loss.path.contains("lan0") && loss.path.contains("192.168.1.0/24"), "{loss:?}");
        assert_eq!(loss.why, "no_rule");
        let loss = lost_at(22, "192.168.1.12/32").unwrap();
        assert!(loss.path.starts_with("`tcp 192.168.1.12:50000 > 192.168.1.1:22`"), "{loss:?}");
        assert_eq!(loss.why, "unknown_device");
        // The box itself is no sender.
        assert!(lost_at(22, "192.168.1.1/32").unwrap().path.starts_with("tcp 192.168.1.1/32 > :22"));
    }

    #[test]
    fn both_families_are_written_as_the_evaluator_reads_them() {
        let v4 = packet(IpAddr::from([192, 168, 10, 2]), IpAddr::from([192, 168, 10, 1]), 22);
        assert_eq!(v4, "tcp 192.168.10.2:50000 > 192.168.10.1:22");
        let v6 = packet(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 2]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 3]), 22);
        assert_eq!(v6, "tcp [::2]:50000 > [::3]:22");
    }
}
