//! Sets of prefixes, compact enough for lists of a million: an IPv4 prefix takes five bytes, an IPv6 one seventeen.
//!
//! A set is canonical: sorted, no prefix holds another, no two could be written as one. Equal sets are equal values.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An address as a number.
pub trait Bits: Copy + Ord + fmt::Debug + std::hash::Hash {
    /// Its length.
    const WIDTH: u8;
    /// Whether prefix `self/len` holds `other`.
    fn holds(self, len: u8, other: Self) -> bool;
    /// The prefix that differs from `self/len` in its last bit only; `len` is at least 1.
    fn sibling(self, len: u8) -> Self;
    /// The last address of `self/len`.
    fn last(self, len: u8) -> Self;
}

macro_rules! bits {
    ($kind:ty) => {
        impl Bits for $kind {
            const WIDTH: u8 = <$kind>::BITS as u8;
            #[inline]
            fn holds(self, len: u8, other: Self) -> bool {
                len == 0 || (self ^ other) >> (Self::WIDTH - len) == 0
            }
            #[inline]
            fn sibling(self, len: u8) -> Self {
                self ^ (1 << (Self::WIDTH - len))
            }
            #[inline]
            fn last(self, len: u8) -> Self {
                self | <$kind>::MAX.checked_shr(u32::from(len)).unwrap_or(0)
            }
        }
    };
}
bits!(u32);
bits!(u128);

/// One address family of a set; see the module documentation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Family<A> {
    addrs: Vec<A>,
    lens: Vec<u8>,
}

impl<A> Default for Family<A> {
    fn default() -> Self {
        Self { addrs: Vec::new(), lens: Vec::new() }
    }
}

impl<A: Bits> Family<A> {
    fn with_capacity(count: usize) -> Self {
        Self { addrs: Vec::with_capacity(count), lens: Vec::with_capacity(count) }
    }

    /// Prefixes.
    pub fn len(&self) -> usize {
        self.addrs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.addrs.is_empty()
    }

    /// The prefix at a position.
    pub fn get(&self, at: usize) -> Option<(A, u8)> {
        Some((*self.addrs.get(at)?, *self.lens.get(at)?))
    }

    /// All of them in order.
    pub fn iter(&self) -> impl Iterator<Item = (A, u8)> {
        self.addrs.iter().copied().zip(self.lens.iter().copied())
    }

    /// The one prefix that holds `addr/len`, if any does.
    pub fn around(&self, addr: A, len: u8) -> Option<(A, u8)> {
        let after = self.addrs.partition_point(|first| *first <= addr);
        self.get(after.checked_sub(1)?).filter(|&(first, its)| its <= len && first.holds(its, addr))
    }

    /// Positions of the prefixes that lie inside `addr/len`, itself included.
    pub fn inside(&self, addr: A, len: u8) -> Range<usize> {
        let last = addr.last(len);
        let from = self.addrs.partition_point(|first| *first < addr);
        let to = from + self.addrs[from..].partition_point(|first| *first <= last);
        // Only the first one can start where `addr/len` does and yet be wider.
        if self.get(from).is_some_and(|(first, its)| first == addr && its < len) { to..to } else { from..to }
    }

    /// Whether all of `addr/len` is in the set: in a canonical set, in one of its prefixes.
    fn holds(&self, addr: A, len: u8) -> bool {
        self.around(addr, len).is_some()
    }

    /// Adds a prefix that sorts after all before it.
    fn push(&mut self, mut addr: A, mut len: u8) {
        if let (Some(&last), Some(&its)) = (self.addrs.last(), self.lens.last())
            && last.holds(its, addr)
        {
            return;
        }
        while len > 0
            && let (Some(&last), Some(&its)) = (self.addrs.last(), self.lens.last())
            && its == len
            && last == addr.sibling(len)
        {
            self.addrs.pop();
            self.lens.pop();
            addr = addr.min(last);
            len -= 1;
        }
        self.addrs.push(addr);
        self.lens.push(len);
    }

    fn shrink(mut self) -> Self {
        self.addrs.shrink_to_fit();
        self.lens.shrink_to_fit();
        self
    }
}

/// A set of prefixes of both families.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct PrefixSet {
    /// IPv4.
    pub v4: Family<u32>,
    /// IPv6.
    pub v6: Family<u128>,
}

impl PrefixSet {
    /// Prefixes.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Whether an address is in the set.
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.around(&IpNet::from(addr)).is_some()
    }

    /// The one prefix that holds `prefix`, if any does.
    pub fn around(&self, prefix: &IpNet) -> Option<IpNet> {
        match prefix {
            IpNet::V4(net) => self.v4.around(net.network().to_bits(), net.prefix_len()).and_then(|(a, l)| v4(a, l)),
            IpNet::V6(net) => self.v6.around(net.network().to_bits(), net.prefix_len()).and_then(|(a, l)| v6(a, l)),
        }
    }

    /// All of them, IPv4 first, in order.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        let four = self.v4.iter().filter_map(|(addr, len)| v4(addr, len));
        four.chain(self.v6.iter().filter_map(|(addr, len)| v6(addr, len)))
    }

    /// Whether `other` lies in the set.
    pub fn covers(&self, other: &Self) -> bool {
        other.v4.iter().all(|(addr, len)| self.v4.holds(addr, len))
            && other.v6.iter().all(|(addr, len)| self.v6.holds(addr, len))
    }
}

fn v4(addr: u32, len: u8) -> Option<IpNet> {
    Ipv4Net::new(Ipv4Addr::from_bits(addr), len).ok().map(IpNet::V4)
}

fn v6(addr: u128, len: u8) -> Option<IpNet> {
    Ipv6Net::new(Ipv6Addr::from_bits(addr), len).ok().map(IpNet::V6)
}

impl fmt::Debug for PrefixSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl FromIterator<IpNet> for PrefixSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> Self {
        let mut builder = Builder::default();
        for prefix in prefixes {
            builder.add(&prefix);
        }
        builder.finish()
    }
}

/// Prefixes in any order on their way to a [`PrefixSet`].
#[derive(Debug, Default)]
pub struct Builder {
    /// Address and length in one word, so that sorting is cheap.
    v4: Vec<u64>,
    v6: Vec<(u128, u8)>,
}

impl Builder {
    /// Prefixes added so far.
    pub fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds an IPv4 prefix without host bits.
    #[inline]
    pub fn add_v4(&mut self, addr: u32, len: u8) {
        self.v4.push(u64::from(addr) << 8 | u64::from(len));
    }

    /// Adds a prefix; host bits do not count.
    pub fn add(&mut self, prefix: &IpNet) {
        match prefix {
            IpNet::V4(net) => self.add_v4(net.network().to_bits(), net.prefix_len()),
            IpNet::V6(net) => self.v6.push((net.network().to_bits(), net.prefix_len())),
        }
    }

    /// Adds a whole set.
    pub fn add_all(&mut self, set: &PrefixSet) {
        self.v4.extend(set.v4.iter().map(|(addr, len)| u64::from(addr) << 8 | u64::from(len)));
        self.v6.extend(set.v6.iter());
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The set of everything added.
    pub fn finish(self) -> PrefixSet {
        let Self { v4, v6 } = self;
        PrefixSet { v4: merge(v4, |key| ((key >> 8) as u32, key as u8)), v6: merge(v6, |prefix| prefix) }
    }
}

/// Lists are often sorted, or runs of sorted lists: a stable sort merges those.
fn merge<A: Bits, K: Ord + Copy>(mut keys: Vec<K>, split: impl Fn(K) -> (A, u8)) -> Family<A> {
    keys.sort();
    let mut family = Family::with_capacity(keys.len());
    for key in keys {
        let (addr, len) = split(key);
        family.push(addr, len);
    }
    family.shrink()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::compile::testing::Random;

    /// Few bits, so that prefixes hold one another, touch and repeat.
    fn some(random: &mut Random) -> Vec<IpNet> {
        (0..random.below(40))
            .map(|_| {
                let low = random.below(32) as u8;
                if random.chance(50) {
                    IpNet::new(IpAddr::from([10, 0, 0, low]), 27 + random.below(6) as u8).unwrap().trunc()
                } else {
                    let addr = Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(low));
                    IpNet::new(addr.into(), 123 + random.below(6) as u8).unwrap().trunc()
                }
            })
            .collect()
    }

    #[test]
    fn a_set_is_what_merging_its_prefixes_gives() {
        let mut random = Random::new(1);
        for _ in 0..2_000 {
            let list = some(&mut random);
            let set: PrefixSet = list.iter().copied().collect();
            assert_eq!(set.iter().collect::<Vec<_>>(), IpNet::aggregate(&list), "{list:?}");
            let mut builder = Builder::default();
            builder.add_all(&set);
            builder.add_all(&set);
            assert_eq!(builder.finish(), set);
        }
    }

    #[test]
    fn questions_are_answered_as_by_looking_at_every_prefix() {
        let mut random = Random::new(2);
        for _ in 0..2_000 {
            let (list, asked) = (some(&mut random), some(&mut random));
            let set: PrefixSet = list.iter().copied().collect();
            for prefix in &asked {
                let held = set.iter().find(|net| net.contains(prefix));
                assert_eq!(set.around(prefix), held);
                assert_eq!(set.contains(prefix.addr()), list.iter().any(|net| net.contains(&prefix.addr())));
                if let IpNet::V4(net) = prefix {
                    let inside = set.v4.inside(net.network().to_bits(), net.prefix_len());
                    let found: Vec<IpNet> =
                        inside.filter_map(|at| set.v4.get(at)).filter_map(|(a, l)| v4(a, l)).collect();
                    assert_eq!(found, set.iter().filter(|held| prefix.contains(held)).collect::<Vec<_>>(), "{prefix}");
                }
            }
            let other: PrefixSet = asked.iter().copied().collect();
            let union = IpNet::aggregate(&[list.clone(), asked].concat());
            assert_eq!(set.covers(&other), union == IpNet::aggregate(&list));
        }
    }

    #[test]
    fn everything_is_a_prefix_too() {
        let all: PrefixSet =
            ["0.0.0.0/1", "128.0.0.0/1", "::/0"].map(|text| text.parse::<IpNet>().unwrap()).into_iter().collect();
        assert_eq!(all.len(), 2);
        assert!(all.contains("255.255.255.255".parse().unwrap()) && all.contains("ffff::".parse().unwrap()));
        assert_eq!((all.v4.inside(0, 0), all.v4.inside(0, 1)), (0..1, 1..1));
    }
}
