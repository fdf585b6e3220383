//! All lists as one thing to ask.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::guard::{canonical, union};
use crate::policy::prefixes::PrefixSet;

/// A list and its name.
type Named = (String, Arc<PrefixSet>);

/// The lists in use; a copy that does not change.
#[derive(Debug, Clone, Default)]
pub struct ThreatSet {
    version: u64,
    lists: Vec<(String, Arc<PrefixSet>)>,
    merged: Arc<PrefixSet>,
}

impl ThreatSet {
    /// Of these lists, in the policy's order.
    pub(super) fn new(version: u64, lists: Vec<(String, Arc<PrefixSet>)>) -> Self {
        let merged = match lists.as_slice() {
            [(_, only)] => Arc::clone(only),
            several => Arc::new(union(several.iter().map(|(_, set)| set.as_ref()))),
        };
        Self { version, lists, merged }
    }

    /// Whether it is of these lists and nothing else.
    pub(super) fn is(&self, lists: &[(String, Arc<PrefixSet>)]) -> bool {
        let same = |(a, b): (&Named, &Named)| {
            // Mostly nothing was read; then a million prefixes need not be compared.
            a.0 == b.0 && (Arc::ptr_eq(&a.1, &b.1) || a.1 == b.1)
        };
        self.lists.len() == lists.len() && self.lists.iter().zip(lists).all(same)
    }

    /// Another number whenever anything in it is another; 0 before the first list is in use.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The list an address is on; the first of the policy, if it is on several. An IPv4 address may come as it is or as IPv6
    /// writes it.
    pub fn lookup(&self, addr: IpAddr) -> Option<&str> {
        self.lookup_prefix(addr).map(|(name, _)| name)
    }

    /// The same, and the prefix by which it is.
    pub fn lookup_prefix(&self, addr: IpAddr) -> Option<(&str, IpNet)> {
        let addr = IpNet::from(canonical(addr));
        self.lists.iter().find_map(|(name, set)| Some((name.as_str(), set.around(&addr)?)))
    }

    /// Every address of every list, once: sorted prefixes of which none overlaps another.
    pub fn merged(&self) -> &Arc<PrefixSet> {
        &self.merged
    }

    /// Lists by name.
    pub fn lists(&self) -> impl Iterator<Item = (&str, &PrefixSet)> {
        self.lists.iter().map(|(name, set)| (name.as_str(), set.as_ref()))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn set(prefixes: &[&str]) -> Arc<PrefixSet> {
        Arc::new(prefixes.iter().map(|prefix| prefix.parse::<IpNet>().unwrap()).collect())
    }

    #[test]
    fn the_first_list_that_holds_an_address_names_it() {
        let lists = vec![
            ("drop".to_owned(), set(&["192.0.2.0/25", "2001:db8::/32"])),
            ("c2".to_owned(), set(&["192.0.2.0/24", "198.51.100.7/32"])),
        ];
        let all = ThreatSet::new(4, lists);
        let ask = |addr: &str| all.lookup(addr.parse().unwrap());
        assert_eq!(ask("192.0.2.1"), Some("drop"));
        assert_eq!(ask("192.0.2.200"), Some("c2"));
        assert_eq!(ask("::ffff:198.51.100.7"), Some("c2"));
        assert_eq!(ask("2001:db8::1"), Some("drop"));
        assert_eq!(ask("198.51.100.8"), None);
        let found = all.lookup_prefix("192.0.2.200".parse().unwrap());
        assert_eq!(found, Some(("c2", "192.0.2.0/24".parse().unwrap())));
        assert_eq!(format!("{:?}", all.merged()), "[192.0.2.0/24, 198.51.100.7/32, 2001:db8::/32]");
        assert_eq!((all.version(), all.lists().count()), (4, 2));
        assert!(ThreatSet::default().lookup("192.0.2.1".parse().unwrap()).is_none());
    }
}
