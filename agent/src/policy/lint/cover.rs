//! W001 and W002: rules that another rule covers.

use std::{collections::HashMap, sync::Arc};

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

pub(super) fn lint(policy: &Policy, spans: &Spans, sink: &mut Sink) {
    let mut search = Search { sets: Vec::new(), known: HashMap::new(), budget: BUDGET };
    let mut interned = HashMap::new();
    let shapes: Vec<Shape<'_>> = policy
        .rules
        .iter()
        .map(|rule| Shape {
            rule,
            from: search.intern(&rule.from, &mut interned),
            to: search.intern(&rule.to, &mut interned),
            services: intervals(&rule.services),
        })
        .collect();
    for (index, shape) in shapes.iter().enumerate() {
        let Some(at) = spans.rules.get(index) else {
            continue;
        };
        let id = &shape.rule.id;
        if let Some(by) = shapes[..index].iter().find(|by| search.covers(by, shape)) {
            at_rule(sink, at.id, id, &Problem::Shadowed { rule: id.clone(), by: by.rule.id.clone() });
        } else if let Some(by) =
            shapes[index + 1..].iter().find(|by| by.rule.log == shape.rule.log && search.covers(by, shape))
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
    /// Positions in [`Search::sets`].
    from: Option<usize>,
    to: Option<usize>,
    /// Service table positions, sorted, disjoint, inclusive.
    services: Vec<(u32, u32)>,
}

/// Groups by where they are in memory, because looking at a million prefixes a rule would take long; and the rest.
type Key<'p> = (Vec<*const PrefixSet>, &'p PrefixSet);

struct Search<'p> {
    sets: Vec<&'p Addresses>,
    /// Whether one set covers another.
    known: HashMap<(usize, usize), bool>,
    budget: usize,
}

impl<'p> Search<'p> {
    fn intern(&mut self, party: &'p Party, interned: &mut HashMap<Key<'p>, usize>) -> Option<usize> {
        let addresses = party.prefixes.as_ref()?;
        let mut groups: Vec<_> = addresses.groups.iter().map(|group| Arc::as_ptr(&group.prefixes)).collect();
        groups.sort_unstable();
        groups.dedup();
        Some(*interned.entry((groups, &addresses.inline)).or_insert_with(|| {
            self.sets.push(addresses);
            self.sets.len() - 1
        }))
    }

    /// Whether everything `b` permits, `a` permits whenever `b` does.
    fn covers(&mut self, a: &Shape<'_>, b: &Shape<'_>) -> bool {
        let (ra, rb) = (a.rule, b.rule);
        let timed = ra.hours.is_some() && ra.hours != rb.hours;
        let ends = match (ra.until, rb.until) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(a), Some(b)) => a < b,
        };
        let same_way = match (&ra.published, &rb.published) {
            (None, None) => subset(&rb.to.place, &ra.to.place),
            (Some(a), Some(b)) => (a.net, a.address, a.port) == (b.net, b.address, b.port),
            _ => false,
        };
        !timed
            && !ends
            && same_way
            && subset(&rb.from.place, &ra.from.place)
            && devices(ra, rb)
            && within(&b.services, &a.services)
            && self.contains(a.from, b.from)
            && self.contains(a.to, b.to)
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
        let outer: Vec<&PrefixSet> = self.sets[a].sets().filter(|set| !set.is_empty()).collect();
        let (v4, v6): (Vec<_>, Vec<_>) = outer.iter().map(|set| (&set.v4, &set.v6)).unzip();
        let budget = &mut self.budget;
        let answer = self.sets[b].sets().all(|inner| {
            outer.iter().any(|set| std::ptr::eq(*set, inner))
                || (inner.v4.iter().all(|(addr, len)| held(&v4, addr, len, budget))
                    && inner.v6.iter().all(|(addr, len)| held(&v6, addr, len, budget)))
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

fn subset(inner: &[Place], outer: &[Place]) -> bool {
    inner.iter().all(|place| outer.contains(place))
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

    #[test]
    fn intervals_join_and_contain() {
        let wide = intervals(&[Service::Tcp(80, 90), Service::Tcp(91, 100), Service::Icmp(8, None)]);
        assert_eq!(wide.len(), 2);
        assert!(within(&intervals(&[Service::Tcp(85, 95), Service::Icmp(8, Some(0))]), &wide));
        assert!(!within(&intervals(&[Service::Udp(85, 95)]), &wide));
        assert!(!within(&intervals(&[Service::Tcp(79, 80)]), &wide));
    }
}
