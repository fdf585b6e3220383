//! Random policies × random packets: the oracle, the host build and the kernel must say the same.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{env, time::SystemTime};

use sekimori_tests::oracle::{
    differ::{Tally, report, run, shrink},
    generate::{policy::policy, rng::Rng, talk::history},
    host::Host,
    kernel::Kernel,
    subject::Subject,
};

/// Packets per policy, about.
const PACKETS: usize = 220;

fn seed() -> u64 {
    env::var("SEKIMORI_SEED").ok().map_or_else(
        || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64,
        |text| text.parse().unwrap(),
    )
}

fn number(name: &str, default: usize) -> usize {
    env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// `SEKIMORI_POLICIES` and `SEKIMORI_FIRST` narrow a run down; `SEKIMORI_MANY` reports on after the first difference.
fn differ(subject: &mut dyn Subject, policies: usize) {
    let seed = seed();
    println!("SEKIMORI_SEED={seed}");
    let (first, count) = (number("SEKIMORI_FIRST", 0), number("SEKIMORI_POLICIES", policies));
    let many = number("SEKIMORI_MANY", 1);
    let mut tally = Tally::default();
    let mut failures = 0;
    for index in first..first + count {
        let mut rng = Rng::new(seed ^ (index as u64).wrapping_mul(0x5851_f42d_4c95_7f2d));
        let policy = policy(&mut rng);
        let steps = history(&mut rng, &policy, PACKETS);
        if let Some(found) = run(&policy, &steps, subject, &mut tally).unwrap() {
            let (steps, last) = shrink(&policy, &steps, &found, subject).unwrap();
            println!("{}", report(seed, index, &policy, &steps, &last));
            failures += 1;
            if failures >= many {
                break;
            }
        }
    }
    println!("{} pairs with {}", tally.pairs, subject.name());
    for (reason, count) in &tally.reasons {
        println!("  {:20} {count}", reason.code());
    }
    assert_eq!(failures, 0, "seed {seed}: the oracle and {} disagree", subject.name());
    if count == policies {
        assert!(tally.pairs >= 100_000, "only {} pairs", tally.pairs);
    }
}

#[test]
fn host_build_agrees() {
    differ(&mut Host::default(), 700);
}

#[test]
fn loaded_programs_agree() {
    differ(&mut Kernel::load().unwrap(), 700);
}
