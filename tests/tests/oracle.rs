//! Random policies × random packets: the oracle, the host build and the kernel must say the same.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{env, time::SystemTime};

use sekimori_ebpf::reason::{self, Reason};
use sekimori_tests::oracle::{
    differ::{Tally, report, run, shrink},
    generate::{
        policy::policy,
        rng::Rng,
        stale::{self, CHANGES, Shape, WORDS},
        talk::history,
    },
    host::Host,
    kernel::Kernel,
    subject::Subject,
};

/// Answers to compare at least.
const PAIRS: u64 = 100_000;
/// How often every reason must have been seen at least.
const SEEN: u64 = 5;
/// Reasons no packet of these histories can have, and why.
const EXCUSED: &[(Reason, &str)] = &[
    (Reason::Adopted, "the time of adoption is over before the first packet"),
    (Reason::NoPolicy, "a policy is loaded before the first packet"),
    (Reason::Internal, "a table is missing: never, or the test fails"),
    (Reason::TableFull, "there is room for every view of a history"),
    (Reason::NotLocal, "no step of the judgement says it"),
    (Reason::Blocked, "private instances watch nobody"),
    (Reason::Throttled, "private instances watch nobody"),
    (Reason::Held, "private instances watch nobody"),
];

/// The seed of a run nobody chose one for: a gate must not fail for what the change before it did not cause.
const USUAL_SEED: u64 = 20_261_122;

/// `SEKIMORI_SEED`: a number repeats a run, `random` hunts where nobody has been.
fn seed() -> u64 {
    match env::var("SEKIMORI_SEED").as_deref() {
        Ok("random") => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64,
        Ok(text) => text.parse().unwrap(),
        Err(_) => USUAL_SEED,
    }
}

fn number(name: &str, default: usize) -> usize {
    env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

/// `SEKIMORI_POLICIES` and `SEKIMORI_FIRST` narrow a run down; `SEKIMORI_MANY` reports on after the first difference.
fn differ(subject: &mut dyn Subject, policies: usize, packets: usize) {
    let seed = seed();
    println!("SEKIMORI_SEED={seed}");
    let (first, count) = (number("SEKIMORI_FIRST", 0), number("SEKIMORI_POLICIES", policies));
    let many = number("SEKIMORI_MANY", 1);
    let mut tally = Tally::default();
    let mut failures = 0;
    for index in first..first + count {
        let mut rng = Rng::new(seed ^ (index as u64).wrapping_mul(0x5851_f42d_4c95_7f2d));
        let policy = policy(&mut rng);
        let steps = history(&mut rng, &policy, packets);
        if let Some(found) = run(&policy, &steps, subject, &mut tally).unwrap() {
            let (steps, last) = shrink(&policy, &steps, &found, subject).unwrap();
            println!("{}", report(seed, index, &policy, &steps, &last));
            failures += 1;
            if failures >= many {
                break;
            }
        }
    }
    println!("{} pairs with {}, {} frames it cannot be asked about", tally.pairs, subject.name(), tally.unasked);
    for (reason, count) in &tally.reasons {
        println!("  {:20} {count}", reason.code());
    }
    assert_eq!(failures, 0, "seed {seed}: the oracle and {} disagree", subject.name());
    if count >= policies {
        covers(&tally);
    }
}

/// Enough was compared, and every reason was seen that can be.
fn covers(tally: &Tally) {
    assert!(tally.pairs >= PAIRS, "only {} pairs", tally.pairs);
    assert!(tally.unasked * 100 < tally.pairs, "{} frames were not asked about", tally.unasked);
    let seen = |reason: &Reason| tally.reasons.get(reason).copied().unwrap_or(0);
    let excused = |reason: &Reason| EXCUSED.iter().any(|(known, _)| known == reason);
    let thin: Vec<_> = reason::ALL.iter().filter(|reason| !excused(reason) && seen(reason) < SEEN).collect();
    assert!(thin.is_empty(), "seen less than {SEEN} times: {thin:?}");
    for (reason, why) in EXCUSED {
        assert_eq!(seen(reason), 0, "{} was excused ({why}) and yet occurred", reason.code());
    }
}

#[test]
fn host_build_agrees() {
    differ(&mut Host::default(), 1_000, 220);
}

/// Longer histories of fewer policies: loading one waits for the kernel.
#[test]
fn loaded_programs_agree() {
    differ(&mut Kernel::load().unwrap(), 250, 600);
}

/// Every `every`th (`SEKIMORI_EVERY`; the usual numbers share no factor with those of shapes, changes and words) history in which something a judge may remember grows stale. Reports all differences.
fn nothing_stale(subject: &mut dyn Subject, every: usize) {
    let mut tally = Tally::default();
    let mut wrong = Vec::new();
    let mut number = 0;
    for shape in Shape::all() {
        for change in CHANGES {
            for word in WORDS {
                number += 1;
                if number % every != 0 {
                    continue;
                }
                let (policy, steps) = stale::history(shape, *change, word);
                if let Some(found) = run(&policy, &steps, subject, &mut tally).unwrap() {
                    let (theirs, ours) = (found.answer.reason.code(), found.oracle.reason.code());
                    let at = found.event.number;
                    wrong.push(format!("{change:?} {word:?} {shape:?} packet {at}: {theirs}, the oracle {ours}"));
                }
            }
        }
    }
    println!("{} pairs with {}: {:?}", tally.pairs, subject.name(), tally.reasons);
    assert!(wrong.is_empty(), "{} histories, among them\n{}", wrong.len(), wrong[..wrong.len().min(60)].join("\n"));
}

#[test]
fn nothing_stale_in_the_host_build() {
    nothing_stale(&mut Host::default(), number("SEKIMORI_EVERY", 7));
}

#[test]
fn nothing_stale_in_the_loaded_programs() {
    nothing_stale(&mut Kernel::load().unwrap(), number("SEKIMORI_EVERY", 29));
}
