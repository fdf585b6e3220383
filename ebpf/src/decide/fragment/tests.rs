use super::*;
use crate::reason::Reason;

fn known(first: u32) -> FragEntry {
    let mut entry = FragEntry::default();
    entry.ranges[0] = FragRange { start: 0, end: first };
    entry
}

/// What a list of received bytes says of the same pieces.
#[derive(Default)]
struct Naive {
    bytes: std::collections::BTreeSet<u32>,
}

impl Naive {
    fn overlaps(&self, start: u32, end: u32) -> bool {
        (start..end).any(|byte| self.bytes.contains(&byte))
    }
    fn islands(&self) -> usize {
        self.bytes.iter().filter(|byte| **byte == 0 || !self.bytes.contains(&(**byte - 1))).count()
    }
}

/// Every order of pieces gives the same answer as a set of bytes: overlap is seen, holes are counted, neighbours join.
#[test]
fn ranges_agree_with_a_set_of_bytes() {
    // xorshift64, so that a failure can be repeated.
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let (mut overlaps, mut too_many, mut added) = (0, 0, 0);
    for _ in 0..20_000 {
        let mut entry = known(8);
        let mut naive = Naive { bytes: (0..8).collect() };
        for _ in 0..8 {
            let start = (1 + next(12)) as u32 * 8;
            let end = start + (1 + next(3)) as u32 * 8;
            let verdict = add(&mut entry, start, end);
            if naive.overlaps(start, end) {
                assert_eq!(verdict, Reason::FragmentOverlap as u32, "{start}..{end} of {:?}", entry.ranges);
                overlaps += 1;
                break;
            }
            naive.bytes.extend(start..end);
            if naive.islands() > FRAG_RANGES {
                assert_eq!(verdict, Reason::FragmentTooMany as u32, "{start}..{end} of {:?}", entry.ranges);
                too_many += 1;
                break;
            }
            assert_eq!(verdict, 0, "{start}..{end} of {:?}", entry.ranges);
            assert_eq!(entry.ranges.iter().filter(|range| range.end != 0).count(), naive.islands());
            added += 1;
        }
    }
    assert!(
        overlaps > 1_000 && too_many > 10 && added > 10_000,
        "{overlaps} {too_many} {added}: the pieces say nothing"
    );
}
