//! Rule sets, each stored once.

use std::collections::HashMap;

use sekimori_ebpf::abi::{MAX_SETS, RULE_WORDS, RuleSet};

/// No room for another set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Interns rule sets. Set 0 is the empty one.
#[derive(Debug)]
pub(super) struct Sets {
    list: Vec<RuleSet>,
    ids: HashMap<[u64; RULE_WORDS], u16>,
    /// Base set → rules added → result. A list of a million prefixes asks for the same sum a million times.
    sums: HashMap<u16, HashMap<Box<[u16]>, u16>>,
}

impl Sets {
    pub(super) fn new() -> Self {
        let empty = RuleSet::EMPTY;
        Self { list: vec![empty], ids: HashMap::from([(empty.words, 0)]), sums: HashMap::new() }
    }

    /// With these already, by id; set 0 is the empty one.
    pub(super) fn with(list: Vec<RuleSet>) -> Self {
        let ids = list.iter().enumerate().map(|(id, set)| (set.words, id as u16)).collect();
        Self { list, ids, sums: HashMap::new() }
    }

    /// Those from this id on.
    pub(super) fn since(&self, id: usize) -> &[RuleSet] {
        self.list.get(id..).unwrap_or(&[])
    }

    /// The set of exactly these rules.
    pub(super) fn of(&mut self, rules: impl IntoIterator<Item = usize>) -> Result<u16, Full> {
        let mut set = RuleSet::EMPTY;
        for rule in rules {
            insert(&mut set, rule);
        }
        self.intern(&set)
    }

    /// The set of those in `base` and `rules`, which are in ascending order.
    pub(super) fn extend(&mut self, base: u16, rules: &[u16]) -> Result<u16, Full> {
        if rules.is_empty() {
            return Ok(base);
        }
        if let Some(&id) = self.sums.get(&base).and_then(|sums| sums.get(rules)) {
            return Ok(id);
        }
        let mut set = self.list[usize::from(base)];
        for &rule in rules {
            insert(&mut set, usize::from(rule));
        }
        let id = self.intern(&set)?;
        self.sums.entry(base).or_default().insert(rules.into(), id);
        Ok(id)
    }

    /// The id of `set`.
    pub(super) fn intern(&mut self, set: &RuleSet) -> Result<u16, Full> {
        if let Some(&id) = self.ids.get(&set.words) {
            return Ok(id);
        }
        if self.list.len() >= MAX_SETS as usize {
            return Err(Full);
        }
        let id = u16::try_from(self.list.len()).map_err(|_| Full)?;
        self.list.push(*set);
        self.ids.insert(set.words, id);
        Ok(id)
    }

    /// The set of an id that was given out here.
    pub(super) fn get(&self, id: u16) -> &RuleSet {
        self.list.get(usize::from(id)).unwrap_or(&RuleSet::EMPTY)
    }

    /// Whether two sets have a rule in common.
    pub(super) fn meet(&self, a: u16, b: u16) -> bool {
        let (a, b) = (self.get(a), self.get(b));
        a.summary & b.summary != 0 && a.words.iter().zip(&b.words).any(|(a, b)| a & b != 0)
    }

    pub(super) fn into_list(self) -> Vec<RuleSet> {
        self.list
    }
}

/// Adds a rule.
pub(super) fn insert(set: &mut RuleSet, rule: usize) {
    set.words[rule / 64] |= 1 << (rule % 64);
    set.summary |= 1 << (rule / 64);
}

/// Takes a rule out.
pub(super) fn remove(set: &mut RuleSet, rule: usize) {
    set.words[rule / 64] &= !(1 << (rule % 64));
    if set.words[rule / 64] == 0 {
        set.summary &= !(1 << (rule / 64));
    }
}

/// Whether a rule is in a set.
pub fn contains(set: &RuleSet, rule: usize) -> bool {
    set.words[rule / 64] >> (rule % 64) & 1 == 1
}
