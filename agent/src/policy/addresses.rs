//! The address condition of one end of a rule: groups, which rules share, and what is written in place.

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::prefixes::PrefixSet;

/// A named group of addresses, resolved: lists read, other groups taken in.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Group {
    /// Unique among groups.
    pub name: String,
    /// What it stands for. Groups of one and the same list share it.
    pub prefixes: Arc<PrefixSet>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} prefixes)", self.name, self.prefixes.len())
    }
}

/// An address fits if it is in any of the groups or in the prefixes written in place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// Each named once.
    pub groups: Vec<Arc<Group>>,
    /// Written in place, or addresses of the devices named.
    pub inline: PrefixSet,
}

impl Addresses {
    /// Whether an address fits.
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.sets().any(|set| set.contains(addr))
    }

    /// All prefixes; one may come more than once, or inside another.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        self.sets().flat_map(PrefixSet::iter)
    }

    /// Whether no address fits.
    pub fn is_empty(&self) -> bool {
        self.sets().all(PrefixSet::is_empty)
    }

    /// Prefixes, counted as often as they come.
    pub fn len(&self) -> usize {
        self.sets().map(PrefixSet::len).sum()
    }

    /// The sets it is made of.
    pub fn sets(&self) -> impl Iterator<Item = &PrefixSet> {
        self.groups.iter().map(|group| group.prefixes.as_ref()).chain([&self.inline])
    }
}

impl FromIterator<IpNet> for Addresses {
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> Self {
        Self { groups: Vec::new(), inline: prefixes.into_iter().collect() }
    }
}

impl From<Vec<IpNet>> for Addresses {
    fn from(prefixes: Vec<IpNet>) -> Self {
        prefixes.into_iter().collect()
    }
}
