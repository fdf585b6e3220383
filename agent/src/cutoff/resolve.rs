//! What an object covers, by the policy in force.

use std::net::IpAddr;

use super::{
    object::{HostName, Object, mac_text},
    overlay::Covers,
};
use crate::{
    cli::text::{self, Lang},
    policy::{
        model::{NetIndex, NetKind, Policy},
        nearest::nearest,
    },
};

/// A name that the policy does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    what: Kind,
    /// As given.
    name: String,
    /// Those that exist, where they are few.
    known: String,
    /// What was meant, perhaps, as on the command line.
    meant: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Network,
    Zone,
    Device,
}

impl Unknown {
    fn device(name: &str, policy: Option<&Policy>) -> Self {
        let meant = policy.and_then(|policy| meant(name, policy));
        Self { what: Kind::Device, name: name.to_owned(), known: String::new(), meant }
    }

    /// For people.
    pub fn text(&self, lang: Lang) -> String {
        let unknown = match self.what {
            Kind::Network => text::unknown_network(lang, &self.name, &self.known),
            Kind::Zone => text::unknown_zone(lang, &self.name, &self.known),
            Kind::Device => text::unknown_device(lang, &self.name),
        };
        let meant = self.meant.as_ref().map(|meant| text::perhaps(lang, meant)).unwrap_or_default();
        unknown + &meant
    }
}

/// The object that somebody meant who wrote this name for another kind, or with a slip.
fn meant(name: &str, policy: &Policy) -> Option<String> {
    let nets = || policy.nets.iter().map(|net| &*net.name);
    let devices = || policy.devices.iter().map(|device| &*device.name);
    let same = |known: &&str| *known == name;
    let found = nets().chain(devices()).find(same).or_else(|| nearest(name, nets().chain(devices())))?;
    Some(match policy.nets.iter().find(|net| net.name == found) {
        Some(net) if matches!(net.kind, NetKind::Zone { .. }) => format!("zone {found}"),
        Some(_) => format!("network {found}"),
        None => format!("host {found}"),
    })
}

/// Addresses and MACs of the machine an object names; empty for other objects. A machine given by one address
/// or by its MAC is cut with all that is registered for it, so that it does not come back under another address.
pub fn covers(object: &Object, policy: Option<&Policy>) -> Result<Covers, Unknown> {
    let Object::Host { name } = object else {
        return Ok(Covers::default());
    };
    let devices = policy.map_or(&[][..], |policy| policy.devices.as_slice());
    let mut covers = Covers::default();
    let host = HostName::read(name).ok_or_else(|| Unknown::device(name, policy))?;
    match &host {
        HostName::Address(address) => covers.addresses.push(*address),
        HostName::Mac(mac) => covers.widen(&Covers::new(Vec::new(), [*mac])),
        HostName::Device(_) => {}
    }
    for device in devices {
        let is_it = match &host {
            HostName::Address(address) => device.addresses.contains(address),
            HostName::Mac(mac) => device.mac.0 == *mac,
            HostName::Device(name) => device.name == *name,
        };
        if is_it {
            covers.widen(&Covers::new(device.addresses.clone(), [device.mac.0]));
        }
    }
    if covers == Covers::default() {
        return Err(Unknown::device(name, policy));
    }
    Ok(covers)
}

/// Whether the policy has the zone or network an object names.
pub fn exists(object: &Object, policy: &Policy) -> Result<(), Unknown> {
    let names = |zones: bool| {
        policy.nets.iter().filter(move |net| matches!(net.kind, NetKind::Zone { .. }) == zones).map(|net| &*net.name)
    };
    let list = |zones| names(zones).collect::<Vec<_>>().join(", ");
    let (what, name, zones) = match object {
        Object::Network { name } => (Kind::Network, name, false),
        Object::Zone { name } => (Kind::Zone, name, true),
        Object::Host { .. } | Object::Prefix { .. } | Object::All => return Ok(()),
    };
    if names(zones).any(|known| known == name) {
        return Ok(());
    }
    Err(Unknown { what, name: name.clone(), known: list(zones), meant: meant(name, policy) })
}

/// Whether a host lives in the zone or network of this name, with all its addresses and registrations.
pub fn lives_in(policy: &Policy, covers: &Covers, name: &str) -> bool {
    let Some(net) = policy.nets.iter().position(|net| net.name == name) else { return false };
    let registered = policy.devices.iter().filter(|device| covers.macs.contains(&mac_text(device.mac.0)));
    let mut homes = covers
        .addresses
        .iter()
        .map(|address| owner(policy, *address))
        .chain(registered.map(|device| Some(device.net)))
        .peekable();
    homes.peek().is_some() && homes.all(|home| home == Some(net))
}

/// The net an address lives in: that of the longest prefix, else the default network.
fn owner(policy: &Policy, address: IpAddr) -> Option<NetIndex> {
    let nets = policy.nets.iter().enumerate();
    let around = nets.flat_map(|(index, net)| net.prefixes.iter().map(move |prefix| (index, prefix)));
    let longest = around.filter(|(_, prefix)| prefix.contains(&address)).max_by_key(|(_, prefix)| prefix.prefix_len());
    longest.map(|(index, _)| index).or_else(|| policy.nets.iter().position(|net| net.is_default))
}
