//! Which addresses any rule could concern.

use std::collections::HashMap;

use sekimori_ebpf::abi::{ADDR_LISTED, ADDR_OPENS, AddrEntry, NET_BOX, NetEntry, RULE_PUBLISHED, RuleEntry, RuleSet};

/// Sets [`ADDR_LISTED`] and [`ADDR_OPENS`] where, as far as owner and address decide, a rule may permit a packet from or to the address. The
/// real server of a published one speaks from an address its rule does not hold: it gets an entry of its own.
pub(super) fn mark(
    addrs: &mut Vec<(u32, [u8; 16], AddrEntry)>,
    nets: &[NetEntry],
    sets: &[RuleSet],
    rules: &[RuleEntry],
) {
    for rule in rules.iter().filter(|rule| rule.flags & RULE_PUBLISHED != 0) {
        name(addrs, rule.real_addr);
    }
    let mut known: HashMap<(u16, u16, u16), u16> = HashMap::new();
    for (len, addr, entry) in addrs {
        entry.flags |= *known.entry((entry.owner, entry.src_set, entry.dst_set)).or_insert_with(|| {
            let Some(net) = nets.get(usize::from(entry.owner)) else { return 0 };
            let opens = meet(sets, entry.src_set, net.from_set);
            let listed = opens || entry.owner == NET_BOX || meet(sets, entry.dst_set, net.to_set);
            (if opens { ADDR_OPENS } else { 0 }) | (if listed { ADDR_LISTED } else { 0 })
        });
        let serves =
            *len == 128 && rules.iter().any(|rule| rule.flags & RULE_PUBLISHED != 0 && rule.real_addr == *addr);
        if serves {
            entry.flags |= ADDR_LISTED;
        }
    }
}

fn meet(sets: &[RuleSet], a: u16, b: u16) -> bool {
    let words = |set: u16| sets.get(usize::from(set)).map_or(&RuleSet::EMPTY.words[..], |set| &set.words[..]);
    words(a).iter().zip(words(b)).any(|(a, b)| a & b != 0)
}

/// Gives one address an entry of its own that says what the longest prefix around it says.
fn name(addrs: &mut Vec<(u32, [u8; 16], AddrEntry)>, addr: [u8; 16]) {
    let number = u128::from_be_bytes(addr);
    let v4 = number >> 32 == 0xffff;
    let holds = |len: u32, prefix: &[u8; 16]| {
        (len >= 96 || !v4) && (len == 0 || (number ^ u128::from_be_bytes(*prefix)) >> (128 - len) == 0)
    };
    let around = addrs.iter().filter(|(len, prefix, _)| holds(*len, prefix)).max_by_key(|(len, _, _)| *len);
    let Some(&(len, _, entry)) = around else { return };
    if len == 128 {
        return;
    }
    // Families follow each other, IPv6 first; inside one, by address and then by length.
    let family = |addr: &[u8; 16]| u128::from_be_bytes(*addr) >> 32 == 0xffff;
    let at = addrs.partition_point(|(other_len, other, _)| {
        (family(other) && *other_len >= 96, *other, *other_len) < (v4, addr, 128)
    });
    addrs.insert(at, (128, addr, entry));
}
