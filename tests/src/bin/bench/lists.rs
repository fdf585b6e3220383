//! Prefix lists of any size, and addresses inside, just outside and far from them.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use anyhow::{Result, bail};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::{plan::PEERS, random::Random};

/// A list of distinct prefixes that do not overlap.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) prefixes: Vec<IpNet>,
    four: Ranges,
    six: Ranges,
}

/// Address ranges in order, none touching another.
#[derive(Debug, Default)]
struct Ranges(Vec<(u128, u128)>);

impl Ranges {
    /// From ranges that may overlap: a replaced prefix may hold one that stayed.
    fn new(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (first, last) in ranges {
            match merged.last_mut() {
                Some((_, before)) if first <= *before => *before = last.max(*before),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    fn holds(&self, address: u128) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        after > 0 && self.0.get(after - 1).is_some_and(|(_, last)| address <= *last)
    }
}

/// Where an address lies as seen from a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Inside a listed prefix.
    Listed,
    /// The address before or after a listed prefix, not listed itself.
    Near,
    /// Anywhere, not listed.
    Far,
}

impl Place {
    /// Where the generator's table of such addresses starts.
    pub(crate) fn table(self) -> u32 {
        PEERS
            * match self {
                Self::Listed => 0,
                Self::Near => 1,
                Self::Far => 2,
            }
    }
}

impl List {
    /// `size` IPv4 prefixes and, if `six`, as many IPv6 ones: a quarter /24 (/48), a quarter /28 (/64), half /32 (/128),
    /// uniform over unicast space.
    pub(crate) fn new(size: usize, six: bool, seed: u64) -> Self {
        let mut random = Random::new(seed ^ size as u64);
        let count_six = if six { size } else { 0 };
        let mut prefixes = Vec::with_capacity(size);
        let four = pick(size, [24, 28, 32], 32, &mut random, &mut prefixes);
        let six = pick(count_six, [48, 64, 128], 128, &mut random, &mut prefixes);
        random.shuffle(&mut prefixes);
        Self { prefixes, four, six }
    }

    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.four.holds(u128::from(address.to_bits())),
            IpAddr::V6(address) => self.six.holds(address.to_bits()),
        }
    }

    /// [`PEERS`] addresses of one family at such places, in random order; short lists repeat theirs.
    pub(crate) fn peers(&self, place: Place, six: bool, seed: u64) -> Result<Vec<IpAddr>> {
        let mut random = Random::new(seed ^ 0x7065_6572);
        let own: Vec<_> = self.prefixes.iter().filter(|prefix| matches!(prefix, IpNet::V6(_)) == six).collect();
        if own.is_empty() {
            bail!("the list has no prefix of this family");
        }
        let mut found = Vec::with_capacity(PEERS as usize);
        let mut tries = 0u32;
        while found.len() < PEERS as usize {
            tries += 1;
            if tries > PEERS * 64 {
                bail!("no address is {place:?} of {} prefixes", own.len());
            }
            let prefix = own[random.below(own.len())];
            let (first, last) = bounds(*prefix);
            let address = match place {
                Place::Listed => first + u128::from(random.next()) % (last - first + 1),
                Place::Near if random.next() & 1 == 0 => first - 1,
                Place::Near => last + 1,
                Place::Far => anywhere(six, &mut random),
            };
            let address = address_of(address, six);
            if usable(address) && self.holds(address) == (place == Place::Listed) {
                found.push(address);
            }
        }
        Ok(found)
    }

    /// The same with one prefix in `each` replaced by a new one of any length.
    pub(crate) fn replaced(&self, each: usize, seed: u64) -> Self {
        let fresh = Self::new(self.prefixes.len() / each * 2, false, seed ^ 0x7265_706c);
        let mut prefixes = self.prefixes.clone();
        let clear = |prefix: &IpNet| {
            let (first, last) = bounds(*prefix);
            let around = [first - 1, first, last, last + 1].map(|bits| address_of(bits, false));
            !around.into_iter().any(|address| self.holds(address))
        };
        let mut fresh = fresh.prefixes.into_iter().filter(clear);
        for prefix in prefixes.iter_mut().step_by(each) {
            match fresh.next() {
                Some(other) => *prefix = other,
                None => break,
            }
        }
        let ranges = prefixes.iter().map(|prefix| bounds(*prefix)).collect();
        Self { prefixes, four: Ranges::new(ranges), six: Ranges::default() }
    }

    /// [`PEERS`] addresses that both lists hold.
    pub(crate) fn peers_also_in(&self, other: &Self, seed: u64) -> Result<Vec<IpAddr>> {
        let mut both: Vec<_> =
            self.peers(Place::Listed, false, seed)?.into_iter().filter(|peer| other.holds(*peer)).collect();
        let count = both.len();
        for index in 0..(PEERS as usize - count) {
            both.push(both[index % count]);
        }
        Ok(both)
    }

    /// One prefix a line.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for prefix in &self.prefixes {
            writeln!(file, "{prefix}")?;
        }
        Ok(file.flush()?)
    }

    /// One family's prefixes in the list's order.
    pub(crate) fn family(&self, six: bool) -> impl Iterator<Item = &IpNet> {
        self.prefixes.iter().filter(move |prefix| matches!(prefix, IpNet::V6(_)) == six)
    }
}

fn pick(count: usize, lengths: [u8; 3], bits: u8, random: &mut Random, out: &mut Vec<IpNet>) -> Ranges {
    let six = bits == 128;
    let mut taken: Vec<(u128, u128)> = Vec::with_capacity(count);
    let mut seen = std::collections::BTreeMap::new();
    while taken.len() < count {
        // Short prefixes first, or they would cover what is there already.
        let quarter = taken.len() * 4 / count.max(1);
        let length = lengths[quarter.min(2)];
        let size = 1u128 << (bits - length);
        let first = anywhere(six, random) & !(size - 1);
        let last = first + (size - 1);
        // Room on both sides, so that neighbours are never merged into one prefix.
        let clear =
            seen.range(..=last + 1).next_back().is_none_or(|(_, other_last): (&u128, &u128)| *other_last + 1 < first);
        if !clear || !usable(address_of(first, six)) || !usable(address_of(last, six)) {
            continue;
        }
        seen.insert(first, last);
        taken.push((first, last));
        out.push(net_of(first, length, six));
    }
    Ranges::new(taken)
}

fn anywhere(six: bool, random: &mut Random) -> u128 {
    if six {
        let bits = (u128::from(random.next()) << 64) | u128::from(random.next());
        (0b001 << 125) | (bits >> 3)
    } else {
        u128::from(random.next() >> 32)
    }
}

fn bounds(net: IpNet) -> (u128, u128) {
    match net {
        IpNet::V4(net) => (u128::from(net.network().to_bits()), u128::from(net.broadcast().to_bits())),
        IpNet::V6(net) => (net.network().to_bits(), net.broadcast().to_bits()),
    }
}

fn address_of(bits: u128, six: bool) -> IpAddr {
    if six {
        Ipv6Addr::from_bits(bits).into()
    } else {
        Ipv4Addr::from_bits(u32::try_from(bits & 0xffff_ffff).unwrap_or(0)).into()
    }
}

fn net_of(first: u128, length: u8, six: bool) -> IpNet {
    match address_of(first, six) {
        IpAddr::V4(address) => Ipv4Net::new_assert(address, length).into(),
        IpAddr::V6(address) => Ipv6Net::new_assert(address, length).into(),
    }
}

/// Unicast on the Internet side of the bench: no special-purpose block (IANA registries), none of the bench's own.
fn usable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            !(matches!(a, 0 | 10 | 127 | 224..)
                || matches!(
                    (a, b),
                    (100, 64..=127) | (169, 254) | (172, 16..=31) | (192, 0 | 88 | 168) | (198, 18..=19)
                )
                || address.is_documentation())
        }
        // Global unicast but Teredo, documentation and 6to4.
        IpAddr::V6(address) => {
            let [a, ..] = address.segments();
            (0x2003..0x3f00).contains(&a)
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn places_are_what_they_say() {
        let list = List::new(1000, true, 7);
        assert_eq!(list.prefixes.len(), 2000);
        assert_eq!(IpNet::aggregate(&list.prefixes).len(), 2000, "nothing merges");
        for six in [false, true] {
            for place in [Place::Listed, Place::Near, Place::Far] {
                let peers = list.peers(place, six, 7).unwrap();
                assert_eq!(peers.len(), PEERS as usize);
                let inside = |address: IpAddr| list.prefixes.iter().any(|prefix| prefix.contains(&address));
                for peer in peers.iter().step_by(97) {
                    assert_eq!(inside(*peer), place == Place::Listed, "{peer} {place:?}");
                }
            }
        }
    }

    #[test]
    fn a_range_inside_another_hides_nothing() {
        let ranges = Ranges::new(vec![(20, 40), (25, 25), (60, 60)]);
        for (address, held) in [(19, false), (20, true), (25, true), (30, true), (40, true), (41, false), (60, true)] {
            assert_eq!(ranges.holds(address), held, "{address}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_list() {
        assert_eq!(List::new(100, false, 3).prefixes, List::new(100, false, 3).prefixes);
        assert_ne!(List::new(100, false, 3).prefixes, List::new(100, false, 4).prefixes);
    }
}
