//! Law 7: would a policy shut the administrator out? Judged by the same decision as the packets.

use std::net::IpAddr;

use ipnet::IpNet;

use super::evaluator::Evaluator;
use crate::{
    api::protocol::Question,
    cli::text::Lang,
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
    /// As `tcp 192.168.10.0/24 > 192.168.10.1:22 (lan0)`.
    pub path: String,
    /// Reason code, or why it could not be judged.
    pub why: String,
}

/// The first management path the policy would close, if any. A path on an interface that the policy does not
/// name stays open, because nothing is attached there.
pub fn lost(policy: &Policy, evaluator: &mut Evaluator, paths: &[ManagementPath], lang: Lang) -> Option<Loss> {
    paths
        .iter()
        .filter(|path| policy.nets.iter().any(|net| net.ports.iter().any(|port| port.interface == path.interface)))
        .flat_map(|path| path.sources.iter().map(move |source| (path, source)))
        .find_map(|(path, source)| {
            let why = closed(policy, evaluator, path, source, lang)?;
            let path = format!("tcp {source} > :{} ({})", path.port, path.interface);
            Some(Loss { path, why })
        })
}

/// Why nobody in `source` reaches the box, or `None` if somebody does.
fn closed(
    policy: &Policy,
    evaluator: &mut Evaluator,
    path: &ManagementPath,
    source: &IpNet,
    lang: Lang,
) -> Option<String> {
    let targets: Vec<IpAddr> =
        policy.box_addresses.iter().copied().filter(|address| address.is_ipv4() == source.addr().is_ipv4()).collect();
    let mut why = None;
    let ports: Vec<String> =
        policy.nets.iter().flat_map(|net| &net.ports).filter_map(|port| written(port, path)).collect();
    let mut tries = 0;
    'asking: for (from, mac) in senders(policy, path, source) {
        for (to, interface) in targets.iter().flat_map(|to| ports.iter().map(move |port| (to, port))) {
            tries += 1;
            if tries > MAX_TRIES {
                break 'asking;
            }
            let question = Question {
                interface: interface.clone(),
                packet: packet(from, *to, path.port),
                mac: mac.clone(),
                at: None,
            };
            let said = match evaluator.ask(&question, lang) {
                Ok(explained) if explained.pass() => return None,
                Ok(explained) => explained.reason,
                Err(error) => error,
            };
            // The likeliest sender was asked first: its reason says most.
            why.get_or_insert(said);
        }
    }
    Some(why.unwrap_or_else(|| "box.addresses names none of that family".into()))
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
mod tests {
    use super::*;

    #[test]
    fn both_families_are_written_as_the_evaluator_reads_them() {
        let v4 = packet(IpAddr::from([192, 168, 10, 2]), IpAddr::from([192, 168, 10, 1]), 22);
        assert_eq!(v4, "tcp 192.168.10.2:50000 > 192.168.10.1:22");
        let v6 = packet(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 2]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 3]), 22);
        assert_eq!(v6, "tcp [::2]:50000 > [::3]:22");
    }
}
