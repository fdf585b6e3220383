//! W001 and W002: rules that another rule covers.

use std::{collections::HashMap, net::IpAddr};

use sekimori_ebpf::abi::{proto, service_index};

use super::{
    super::{
        addresses::Addresses,
        diagnostic::Sink,
        model::{Party, Place, Policy, Rule, Service},
        prefixes::{Bits, Family, PrefixSet},
        problem::Problem,
        spans::Spans,
    },
    at_rule,
};

/// Prefix comparisons one run may make; a policy of huge, all different sets would take minutes.
const BUDGET: usize = 8_000_000;

/// What looking at one more pair of sets costs of it, so that remembering the pairs stays cheap as well.
const PAIR: usize = 16;

pub(super) fn lint(policy: &Policy, spans: &Spans, sink: &mut Sink) {
    let mut sets = Sets::default();
    let shapes: Vec<Shape<'_>> = policy
        .rules
        .iter()
        .map(|rule| Shape {
            rule,
            from: sets.add(&rule.from),
            to: sets.add(&rule.to),
            from_places: places(&rule.from),
            to_places: places(&rule.to),
            services: intervals(&rule.services),
        })
        .collect();
    let mut search = Search { reach: sets.reach(), sets, known: HashMap::new(), budget: BUDGET };
    for (index, shape) in shapes.iter().enumerate() {
        let Some(at) = spans.rules.get(index) else {
            continue;
        };
        let id = &shape.rule.id;
        if let Some(by) = shapes[..index].iter().find(|by| search.covers(by, shape)) {
            at_rule(sink, at.id, id, &Problem::Shadowed { rule: id.clone(), by: by.rule.id.clone() });
        } else if let Some(by) = shapes[index + 1..]
            .iter()
            .find(|by| (by.rule.log, by.rule.limits) == (shape.rule.log, shape.rule.limits) && search.covers(by, shape))
        {
            at_rule(sink, at.id, id, &Problem::Redundant { rule: id.clone(), by: by.rule.id.clone() });
        }
        if search.budget == 0 {
            at_rule(sink, at.id, id, &Problem::LintStopped);
            return;
        }
    }
}

struct Shape<'p> {
    rule: &'p Rule,
    /// Positions in [`Sets::all`].
    from: Option<usize>,
    to: Option<usize>,
    from_places: Places,
    to_places: Places,
    /// Service table positions, sorted, disjoint, inclusive.
    services: Vec<(u32, u32)>,
}

/// Nets by their position, the box last.
type Places = [u64; 4];

fn places(party: &Party) -> Places {
    let mut places = [0; 4];
    for place in &party.place {
        let bit = match place {
            Place::Box => 255,
            Place::Net(net) => (*net).min(254),
        };
        places[bit / 64] |= 1 << (bit % 64);
    }
    places
}

fn subset(inner: &Places, outer: &Places) -> bool {
    inner.iter().zip(outer).all(|(inner, outer)| inner & !outer == 0)
}

/// The address conditions of all rules, each once, and the groups and lists they are made of, each once.
#[derive(Default)]
struct Sets<'p> {
    all: Vec<&'p Addresses>,
    /// By set: positions in `parts`.
    made_of: Vec<Vec<usize>>,
    /// None of them empty.
    parts: Vec<&'p PrefixSet>,
    numbers: HashMap<Vec<usize>, usize>,
    groups: HashMap<*const PrefixSet, usize>,
    inline: HashMap<&'p PrefixSet, usize>,
}

impl<'p> Sets<'p> {
    fn add(&mut self, party: &'p Party) -> Option<usize> {
        let addresses = party.prefixes.as_ref()?;
        let mut parts = Vec::with_capacity(addresses.groups.len() + 1);
        for set in addresses.groups.iter().map(|group| group.prefixes.as_ref()).filter(|set| !set.is_empty()) {
            // By where it is in memory: looking at a million prefixes a rule would take long.
            let next = self.parts.len();
            let number = *self.groups.entry(std::ptr::from_ref(set)).or_insert(next);
            if number == next {
                self.parts.push(set);
            }
            parts.push(number);
        }
        if !addresses.inline.is_empty() {
            let next = self.parts.len();
            let number = *self.inline.entry(&addresses.inline).or_insert(next);
            if number == next {
                self.parts.push(&addresses.inline);
            }
            parts.push(number);
        }
        parts.sort_unstable();
        parts.dedup();
        let next = self.all.len();
        let number = *self.numbers.entry(parts.clone()).or_insert(next);
        if number == next {
            self.all.push(addresses);
            self.made_of.push(parts);
        }
        Some(number)
    }

    /// By set a bit for every part whose first address it holds: without that one it cannot hold the part. Nearly all
    /// pairs of rules end here.
    fn reach(&self) -> Vec<Vec<u64>> {
        let first: Vec<IpAddr> =
            self.parts.iter().filter_map(|part| part.iter().next()).map(|net| net.addr()).collect();
        let width = self.parts.len().div_ceil(64);
        let of_part: Vec<Vec<u64>> = self
            .parts
            .iter()
            .map(|part| {
                let mut bits = vec![0; width];
                for (number, _) in first.iter().enumerate().filter(|(_, addr)| part.contains(**addr)) {
                    bits[number / 64] |= 1 << (number % 64);
                }
                bits
            })
            .collect();
        let union = |parts: &Vec<usize>| {
            let mut bits = vec![0; width];
            parts.iter().for_each(|part| bits.iter_mut().zip(&of_part[*part]).for_each(|(all, own)| *all |= own));
            bits
        };
        self.made_of.iter().map(union).collect()
    }
}

struct Search<'p> {
    sets: Sets<'p>,
    /// See [`Sets::reach`].
    reach: Vec<Vec<u64>>,
    /// Whether one set covers another.
    known: HashMap<(usize, usize), bool>,
    budget: usize,
}

impl Search<'_> {
    /// Whether everything `b` permits, `a` permits whenever `b` does.
    fn covers(&mut self, a: &Shape<'_>, b: &Shape<'_>) -> bool {
        if b.rule.quarantined && !a.rule.quarantined {
            return false;
        }
        if !subset(&b.from_places, &a.from_places) || !self.may_contain(a.to, b.to) || !self.may_contain(a.from, b.from)
        {
            return false;
        }
        let (ra, rb) = (a.rule, b.rule);
        let timed = ra.hours.is_some() && ra.hours != rb.hours;
        let ends = match (ra.until, rb.until) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(a), Some(b)) => a < b,
        };
        let same_way = match (&ra.published, &rb.published) {
            (None, None) => subset(&b.to_places, &a.to_places),
            (Some(a), Some(b)) => (a.net, a.address, a.port) == (b.net, b.address, b.port),
            _ => false,
        };
        !timed
            && !ends
            && same_way
            && devices(ra, rb)
            && within(&b.services, &a.services)
            && self.contains(a.from, b.from)
            && self.contains(a.to, b.to)
    }

    /// Whether the set `a` holds an address of every part of `b`; no set is everything.
    fn may_contain(&self, a: Option<usize>, b: Option<usize>) -> bool {
        let Some(a) = a else { return true };
        let Some(b) = b else { return false };
        a == b || self.sets.made_of[b].iter().all(|part| self.reach[a][part / 64] >> (part % 64) & 1 == 1)
    }

    /// Whether the set `a` contains the set `b`; no set is everything.
    fn contains(&mut self, a: Option<usize>, b: Option<usize>) -> bool {
        let (Some(a), b) = (a, b) else { return true };
        let Some(b) = b else { return false };
        if a == b {
            return true;
        }
        if let Some(known) = self.known.get(&(a, b)) {
            return *known;
        }
        let outer: Vec<&PrefixSet> = self.sets.made_of[a].iter().map(|part| self.sets.parts[*part]).collect();
        let (v4, v6): (Vec<_>, Vec<_>) = outer.iter().map(|set| (&set.v4, &set.v6)).unzip();
        let budget = &mut self.budget;
        *budget = budget.saturating_sub(PAIR);
        let answer = self.sets.made_of[b].iter().filter(|part| !self.sets.made_of[a].contains(part)).all(|part| {
            let inner = self.sets.parts[*part];
            inner.v4.iter().all(|(addr, len)| held(&v4, addr, len, budget))
                && inner.v6.iter().all(|(addr, len)| held(&v6, addr, len, budget))
        });
        if self.budget == 0 {
            return false;
        }
        self.known.insert((a, b), answer);
        answer
    }
}

/// Whether the sets together hold all of `addr/len`. A set by itself is canonical: what it holds, one prefix holds.
fn held<A: Bits>(sets: &[&Family<A>], addr: A, len: u8, budget: &mut usize) -> bool {
    *budget = budget.saturating_sub(sets.len());
    if *budget == 0 {
        return false;
    }
    if sets.iter().any(|set| set.around(addr, len).is_some()) {
        return true;
    }
    let parts: Vec<&Family<A>> = sets.iter().copied().filter(|set| !set.inside(addr, len).is_empty()).collect();
    parts.len() > 1
        && len < A::WIDTH
        && held(&parts, addr, len + 1, budget)
        && held(&parts, addr.sibling(len + 1), len + 1, budget)
}

fn devices(a: &Rule, b: &Rule) -> bool {
    match (&a.from.devices, &b.from.devices) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(a), Some(b)) => b.iter().all(|device| a.contains(device)),
    }
}

/// Services as intervals of the data plane's service table.
fn intervals(services: &[Service]) -> Vec<(u32, u32)> {
    let mut all: Vec<(u32, u32)> = services
        .iter()
        .map(|service| {
            let icmp = |protocol, kind: u8, code: Option<u8>| {
                let base = u16::from(kind) << 8;
                let (from, to) =
                    code.map_or((base, base | 0xff), |code| (base | u16::from(code), base | u16::from(code)));
                (service_index(protocol, from), service_index(protocol, to))
            };
            match *service {
                Service::Tcp(from, to) => (service_index(proto::TCP, from), service_index(proto::TCP, to)),
                Service::Udp(from, to) => (service_index(proto::UDP, from), service_index(proto::UDP, to)),
                Service::Icmp(kind, code) => icmp(proto::ICMP, kind, code),
                Service::Icmpv6(kind, code) => icmp(proto::ICMPV6, kind, code),
                Service::Protocol(number) => (service_index(number, 0), service_index(number, 0)),
            }
        })
        .collect();
    all.sort_unstable();
    let mut out: Vec<(u32, u32)> = Vec::with_capacity(all.len());
    for (from, to) in all {
        match out.last_mut() {
            Some(last) if from <= last.1 + 1 => last.1 = last.1.max(to),
            _ => out.push((from, to)),
        }
    }
    out
}

fn within(inner: &[(u32, u32)], outer: &[(u32, u32)]) -> bool {
    inner.iter().all(|(from, to)| {
        let after = outer.partition_point(|(start, _)| start <= from);
        after.checked_sub(1).is_some_and(|index| outer[index].1 >= *to)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against looking at every address: one set covers another if together its prefixes hold them all, also where it
    /// takes two groups to hold one prefix.
    #[test]
    fn covering_is_holding_every_address() {
        use std::sync::Arc;

        use crate::{compile::testing::Random, policy::addresses::Group};
        let mut random = Random::new(5);
        let (mut yes, mut no) = (0, 0);
        for _ in 0..2_000 {
            let some = |random: &mut Random| -> PrefixSet {
                let prefix = |random: &mut Random| {
                    let addr = IpAddr::from([10, 0, 0, random.below(16) as u8]);
                    ipnet::IpNet::new(addr, 28 + random.below(5) as u8).unwrap_or_default().trunc()
                };
                (0..random.below(4)).map(|_| prefix(random)).collect()
            };
            let party = |random: &mut Random| {
                let group = |number: u64, random: &mut Random| {
                    Arc::new(Group { name: number.to_string(), prefixes: Arc::new(some(random)) })
                };
                let groups = (0..random.below(3)).map(|number| group(number, random)).collect();
                let prefixes = Addresses { groups, inline: some(random) };
                Party { place: Vec::new(), prefixes: Some(prefixes), devices: None }
            };
            let (a, b) = (party(&mut random), party(&mut random));
            let mut sets = Sets::default();
            let (first, second) = (sets.add(&a), sets.add(&b));
            let mut search = Search { reach: sets.reach(), sets, known: HashMap::new(), budget: BUDGET };
            let held = |party: &Party, low: u8| {
                party.prefixes.as_ref().is_some_and(|set| set.contains(IpAddr::from([10, 0, 0, low])))
            };
            let expected = (0..16).all(|low| held(&a, low) || !held(&b, low));
            assert_eq!(search.contains(first, second), expected, "{a:?} {b:?}");
            assert!(search.may_contain(first, second) || !expected);
            if expected { yes += 1 } else { no += 1 }
        }
        assert!(yes > 100 && no > 100, "{yes} {no}");
    }

    #[test]
    fn intervals_join_and_contain() {
        let wide = intervals(&[Service::Tcp(80, 90), Service::Tcp(91, 100), Service::Icmp(8, None)]);
        assert_eq!(wide.len(), 2);
        assert!(within(&intervals(&[Service::Tcp(85, 95), Service::Icmp(8, Some(0))]), &wide));
        assert!(!within(&intervals(&[Service::Udp(85, 95)]), &wide));
        assert!(!within(&intervals(&[Service::Tcp(79, 80)]), &wide));
    }
}
