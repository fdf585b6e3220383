//! The shortcut from (interface, tag) to net that the data plane's glance uses: one array line instead of two hash look-ups.

use std::collections::BTreeMap;

use aya::maps::{Array, MapData};
use sekimori_ebpf::abi::{IFACE_GUARDED, IFACE_VLAN, IfaceEntry, PLACES, Place, PortKey, place_index};

use super::error::{Error, While};

/// The places of every guarded interface in `known` (kernel index, entry) with at most one tag. Pairs whose indexes collide:
/// the last one stays, the others take the long way. `mac`: the link-layer address of a kernel index.
pub(super) fn of(
    known: &[(u32, IfaceEntry)],
    ports: &[(PortKey, u16)],
    base: u32,
    mac: impl Fn(u32) -> Option<[u8; 6]>,
) -> Vec<(u32, Place)> {
    let mut places = Vec::new();
    for (ifindex, entry) in known.iter().filter(|(_, entry)| entry.flags & IFACE_GUARDED != 0) {
        for (port, net) in ports.iter().filter(|(port, _)| port.iface == entry.id && port.inner == 0) {
            let vlan = known
                .iter()
                .find(|(_, above)| above.flags & IFACE_VLAN != 0 && above.lower == *ifindex && above.tag == port.outer);
            let routed = if port.outer == 0 { *ifindex } else { vlan.map_or(*ifindex, |(index, _)| *index) };
            places.push((
                place_index(*ifindex, port.outer),
                Place {
                    ifindex: *ifindex,
                    base,
                    routed,
                    outer: port.outer,
                    net: *net,
                    iface: entry.id,
                    mac: mac(routed).unwrap_or_default(),
                    unlisted: 0,
                },
            ));
        }
    }
    places
}

/// What the table in the kernel holds, so that only differences are written.
#[derive(Debug, Default)]
pub(super) struct Written(Option<BTreeMap<u32, Place>>);

impl Written {
    /// Replaces the table's contents.
    pub(super) fn write(&mut self, table: &mut Array<MapData, Place>, places: &[(u32, Place)]) -> Result<(), Error> {
        let wanted: BTreeMap<u32, Place> = places.iter().copied().collect();
        let mut held = match self.0.take() {
            Some(held) => held,
            None => read(table)?,
        };
        // On an error nothing is known, and the next call reads the table.
        held.retain(|index, _| wanted.contains_key(index) || table.set(*index, Place::default(), 0).is_err());
        for (index, place) in wanted {
            if held.get(&index) != Some(&place) {
                table.set(index, place, 0).doing("write the places")?;
                held.insert(index, place);
            }
        }
        self.0 = Some(held);
        Ok(())
    }
}

fn read(table: &Array<MapData, Place>) -> Result<BTreeMap<u32, Place>, Error> {
    let mut held = BTreeMap::new();
    for index in 0..PLACES {
        let place = table.get(&index, 0).doing("read the places")?;
        if place != Place::default() {
            held.insert(index, place);
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlan_device_is_where_its_packets_are_routed_from() {
        let guarded = IfaceEntry { id: 3, flags: IFACE_GUARDED, ..IfaceEntry::default() };
        let vlan = IfaceEntry { flags: IFACE_VLAN, tag: 10, lower: 7, ..IfaceEntry::default() };
        let port = |outer, inner| PortKey { iface: 3, outer, inner, pad: 0 };
        let ports = [(port(0, 0), 1), (port(10, 0), 2), (port(11, 0), 4), (port(10, 5), 9)];
        let places = of(&[(7, guarded), (8, vlan)], &ports, 5, |index| Some([index as u8; 6]));
        let seen: Vec<_> =
            places.iter().map(|(_, p)| (p.ifindex, p.outer, p.net, p.routed, p.mac[0], p.base)).collect();
        assert_eq!(seen, [(7, 0, 1, 7, 7, 5), (7, 10, 2, 8, 8, 5), (7, 11, 4, 7, 7, 5)]);
        assert!(places.iter().all(|(index, _)| *index < PLACES));
    }
}
