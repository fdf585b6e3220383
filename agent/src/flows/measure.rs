//! How much a record takes, how long a month takes to search. Not for every run: `cargo nextest run --release -p sekimori
//! --run-ignored only -E 'test(flows::measure)' --no-capture`.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    time::{Duration, Instant},
};

use ipnet::IpNet;

use super::{
    Store,
    format::Walk,
    query::{self, Filter, Who},
    record::{Kind, Record},
    testing::Day,
};

/// Conversations of a day: 300 terminals, 6,700 each.
const CONVERSATIONS: u64 = 2_000_000;
const DAY_MS: u64 = 86_400_000;

/// Fills a folder with so many days, as walks every ten seconds would. Conversations longer than a walk are recorded twice,
/// as they begin and as they end.
fn fill(folder: &std::path::Path, days: u64) -> (u64, Duration) {
    let mut store = Store::open(folder, 1 << 40).unwrap();
    let mut day = Day::new(99);
    day.pace = DAY_MS / CONVERSATIONS;
    let begin = day.conversation().first;
    let mut late: std::collections::BTreeMap<i64, Vec<Record>> = std::collections::BTreeMap::new();
    let (mut records, mut made, mut spent) = (Vec::new(), 0, Duration::ZERO);
    let mut turn = begin;
    while made < CONVERSATIONS * days {
        let next = if day.below(30) == 0 { day.refused() } else { day.conversation() };
        made += 1;
        if next.first >= turn + 10_000 {
            turn += 10_000;
            let rest = late.split_off(&turn);
            records.extend(std::mem::replace(&mut late, rest).into_values().flatten());
            let walk = Walk { at: (turn - begin).unsigned_abs() * 1_000_000, offset: begin, ..Walk::default() };
            let started = Instant::now();
            store.append(std::mem::take(&mut records), walk).unwrap();
            spent += started.elapsed();
        }
        if next.kind == Kind::Whole && next.last > turn + 10_000 {
            late.entry(next.last).or_default().push(Record { kind: Kind::Ended, ..next.clone() });
            records.push(Record { kind: Kind::Began, last: next.first, ..next });
        } else {
            records.push(next);
        }
    }
    (made, spent)
}

#[test]
#[ignore = "takes minutes; prints what docs/flow-records.md says"]
fn a_month_of_a_town_hall() {
    let days: u64 = std::env::var("SEKIMORI_DAYS").ok().and_then(|days| days.parse().ok()).unwrap_or(30);
    let dir = tempfile::tempdir().unwrap();
    let (made, spent) = fill(dir.path(), days);
    let bytes: u64 = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let per_day = bytes as f64 / days as f64;
    println!("{days} days, {made} conversations and refusals: {bytes} bytes");
    println!("{:.2} bytes each, {:.1} MB a day", bytes as f64 / made as f64, per_day / 1e6);
    println!("{:.0} days fit in 2 GiB", (2u64 << 30) as f64 / per_day);
    println!("{spent:.1?} to write, {:.1?} a day", spent / u32::try_from(days).unwrap());
    let timed = |what: &str, work: &dyn Fn() -> usize| {
        let started = Instant::now();
        let found = work();
        println!("{what}: {found} in {:.2?}", started.elapsed());
    };
    let list = |filter: Filter, limit| query::list(dir.path(), &filter, limit, None).unwrap().records.len();
    let net = |text: &str| text.parse::<IpNet>().unwrap();
    let host = || Some(Who::Prefix(net("192.168.10.17/32")));
    timed("the newest 1000", &|| list(Filter::default(), 1_000));
    timed("one host, the newest 1000", &|| list(Filter { host: host(), ..Filter::default() }, 1_000));
    timed("one host, all", &|| list(Filter { host: host(), ..Filter::default() }, 100_000_000));
    timed("an address nobody met", &|| list(Filter { peer: Some(net("203.0.113.7/32")), ..Filter::default() }, 1_000));
    timed("back-check of one that few met", &|| {
        query::back_check(dir.path(), &[net("104.16.200.7/32")], None, None, None).unwrap().contacts.len()
    });
    timed("back-check of a name server everybody asks", &|| {
        query::back_check(dir.path(), &[net("198.51.100.53/32")], None, None, None).unwrap().contacts.len()
    });
    let thousand: Vec<IpNet> = (0..1_000).map(|n: u32| net(&format!("203.0.{}.{}/32", n >> 8, n & 255))).collect();
    timed("back-check of 1000 addresses nobody met", &|| {
        query::back_check(dir.path(), &thousand, None, None, None).unwrap().contacts.len()
    });
}
