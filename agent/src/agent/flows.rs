//! Live conversations, for people.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use sekimori_ebpf::abi::{
    ROLE_BOX_IN, ROLE_BOX_OUT, ROLE_INITIATOR, ROLE_RESPONDER, STATE_CLOSED, STATE_CLOSING, STATE_ESTABLISHED,
    STATE_OPENING, View, ViewKey, proto,
};
use serde::{Deserialize, Serialize};

use super::{
    clock,
    keeper::{Keeper, report},
};
use crate::{api::report::Flow, flows::record::protocol};

/// A listing of conversations.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Flows {
    /// Views there are.
    pub total: usize,
    /// The most recently active ones.
    pub flows: Vec<Flow>,
}

struct Names {
    interfaces: BTreeMap<u16, String>,
    nets: BTreeMap<u16, String>,
    rules: BTreeMap<u32, String>,
    devices: Vec<String>,
    now: u64,
}

impl Keeper {
    /// The `limit` most recently active views.
    pub fn flows(&self, limit: usize) -> Result<Flows, String> {
        let dataplane = self.dataplane.as_ref().map_err(Clone::clone)?;
        let mut views = dataplane.views(clock::boottime_ns()).map_err(|error| report(&error))?;
        let total = views.len();
        views.sort_by_key(|(_, view)| std::cmp::Reverse(view.seen));
        views.truncate(limit);
        let (nets, rules) = self.names();
        let compiled = self.live.as_ref().map(|live| &live.compiled);
        let names = Names {
            interfaces: self.guarded_names().unwrap_or_default().into_iter().map(|(name, id)| (id, name)).collect(),
            nets,
            rules,
            devices: compiled.map(|compiled| compiled.device_names.clone()).unwrap_or_default(),
            now: clock::boottime_ns(),
        };
        Ok(Flows { total, flows: views.iter().map(|(key, view)| flow(&names, key, view)).collect() })
    }
}

fn flow(names: &Names, key: &ViewKey, view: &View) -> Flow {
    let judged = view.role != ROLE_RESPONDER;
    let since = |then: u64| names.now.saturating_sub(then) / 1_000_000_000;
    Flow {
        interface: names.interfaces.get(&key.iface).cloned().unwrap_or_else(|| format!("#{}", key.iface)),
        vlan: key.outer,
        proto: protocol(key.proto),
        peer: end(key.peer, key.peer_port, key.proto),
        far: end(key.far, key.far_port, key.proto),
        role: match view.role {
            ROLE_INITIATOR => "initiator".into(),
            ROLE_RESPONDER => "responder".into(),
            ROLE_BOX_OUT => "box_out".into(),
            ROLE_BOX_IN => "box_in".into(),
            other => other.to_string(),
        },
        state: match view.state {
            STATE_OPENING => "opening".into(),
            STATE_ESTABLISHED => "established".into(),
            STATE_CLOSING => "closing".into(),
            STATE_CLOSED => "closed".into(),
            other => other.to_string(),
        },
        rule: names.rules.get(&u32::from(view.slot)).filter(|_| judged).cloned(),
        network: names.nets.get(&view.net).filter(|_| view.net != 0).cloned(),
        device: usize::try_from(view.device)
            .ok()
            .filter(|device| *device != 0)
            .and_then(|device| names.devices.get(device).cloned()),
        age_seconds: since(view.opened),
        idle_seconds: since(view.seen),
    }
}

/// `address:port`, or the address alone where there is no port.
fn end(address: [u8; 16], port: u16, protocol: u8) -> String {
    let address = Ipv6Addr::from(address);
    let address = address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4);
    match protocol {
        proto::TCP | proto::UDP => std::net::SocketAddr::new(address, port).to_string(),
        proto::ICMP | proto::ICMPV6 => format!("{address} id {port}"),
        _ => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_read_as_administrators_write_them() {
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 192, 168, 10, 17]);
        assert_eq!(end(mapped, 443, proto::TCP), "192.168.10.17:443");
        assert_eq!(end(mapped, 7, proto::ICMP), "192.168.10.17 id 7");
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets();
        assert_eq!(end(v6, 53, proto::UDP), "[2001:db8::1]:53");
        assert_eq!(end(v6, 0, 47), "2001:db8::1");
    }
}
