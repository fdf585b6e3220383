//! Rules that nft and ip really took, in a network namespace of the test's own, and what iptables rules look like.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::thread;

use nix::sched::{CloneFlags, unshare};
use serde_json::json;

use super::*;

fn run(program: &str, line: &str) {
    let status = Command::new(program).args(line.split(' ')).status().unwrap();
    assert!(status.success(), "{program} {line}");
}

/// What the scan finds of one rule, beside a guard of our own and a table that uses the connection's mark only.
fn bits_of(rules: &'static [&'static str]) -> Option<Vec<u32>> {
    let test = thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            eprintln!("not run: a network namespace needs root ({error})");
            return None;
        }
        let guarded = super::super::guard::Guarded { indexes: &[1], bridges: &[], names: &["lo"] };
        super::super::guard::put_up("sekimori_own", guarded, 8).unwrap();
        run("nft", "add table ip host");
        run("nft", "add chain ip host c { type filter hook prerouting priority 0 ; }");
        run("nft", "add rule ip host c ct mark 0x1 ct mark set 0x2 counter");
        for rule in rules {
            run("nft", &format!("add rule ip host c {rule}"));
        }
        let found = scan("sekimori_own").unwrap();
        assert!(found.iter().all(|one| one.rule.starts_with("nft ip host c handle ")), "{found:?}");
        Some(found.into_iter().map(|one| one.bits).collect())
    });
    test.join().unwrap()
}

#[test]
fn the_guard_and_the_connections_mark_are_no_conflict() {
    assert!(bits_of(&[]).is_none_or(|bits| bits.is_empty()));
}

#[test]
fn matches_use_what_they_mask() {
    let rules = &[
        "meta mark & 0xf0 == 0x10 accept",
        "meta mark & 0x3 != 0 accept",
        "meta mark 0x1 accept",
        "meta mark { 1, 2, 5-9 } accept",
        "meta mark vmap { 1 : drop }",
        "meta mark & 0xff . ip saddr { 1 . 192.0.2.1 } accept",
    ];
    let Some(bits) = bits_of(rules) else { return };
    assert_eq!(bits, [0xf0, 0x3, u32::MAX, u32::MAX, u32::MAX, 0xff]);
}

#[test]
fn mangles_use_what_they_change() {
    let rules = &[
        "meta mark set meta mark & 0xffffff0f | 0x20",
        "meta mark set meta mark | 0x40",
        "meta mark set meta mark ^ 0x80",
        "meta mark set 0x1",
        "meta mark set ct mark",
        "ct mark set meta mark & 0xff",
        "ct mark set meta mark",
        "meta mark set ip saddr map { 192.0.2.1 : 0x5 }",
    ];
    let Some(bits) = bits_of(rules) else { return };
    let all = u32::MAX;
    assert_eq!(bits, [0xf0, 0x40, 0x80, all, all, 0xff, all, all]);
}

#[test]
fn a_restored_part_of_the_connections_mark_uses_that_part() {
    // Newer nft takes this; the one here may not, so it is written as its JSON.
    let value = json!({"|": [
        {"&": [{"meta": {"key": "mark"}}, 0xffff_ff00u32]},
        {"&": [{"ct": {"key": "mark"}}, 0xff]},
    ]});
    assert_eq!(written(&value), 0xff);
    let shifted = json!({"&": [{">>": [{"meta": {"key": "mark"}}, 8]}, 0xff]});
    assert_eq!(read(&shifted), u32::MAX, "a shift moves bits: all of them count");
}

#[test]
fn routing_rules_of_both_families_are_seen() {
    let test = thread::spawn(|| {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            return;
        }
        run("ip", "rule add fwmark 0x10/0xf0 lookup 5 priority 100");
        run("ip", "-6 rule add fwmark 0x1 lookup 6 priority 101");
        let found = scan("sekimori_own").unwrap();
        let told: Vec<_> = found.iter().map(|one| (one.rule.as_str(), one.bits)).collect();
        assert_eq!(
            told,
            [("ip rule 100: fwmark 0x10/0xf0", 0xf0), ("ip -6 rule 101: fwmark 0x1/0xffffffff", u32::MAX)]
        );
        let conflict = conflict(&found[..1], 0).unwrap();
        assert_eq!((conflict.ours, conflict.free), (0x7f_ffff, Some(8)));
    });
    assert!(test.join().is_ok());
}

#[test]
fn the_lowest_free_shift_is_proposed() {
    let one = |bits| vec![Use { rule: "r".into(), bits }];
    assert_eq!(conflict(&one(0xff), 8), None);
    assert_eq!(conflict(&one(0x100), 8).unwrap().free, Some(9));
    assert_eq!(conflict(&one(0x8000_0000), 9).unwrap().free, Some(0));
    assert_eq!(conflict(&one(0x1_0000), 0).unwrap().free, None);
    assert_eq!(mark::MASK << MAX_SHIFT >> MAX_SHIFT, mark::MASK);
    // Two rules that each leave room do not need to leave any together.
    let both = [one(0x1).remove(0), one(0x8000_0000).remove(0)];
    assert_eq!(conflict(&both, 9).unwrap().free, Some(1));
}

#[test]
fn rules_of_iptables_are_read_as_nft_writes_them() {
    for (line, bits) in [
        ("ip saddr 192.0.2.0/24 counter packets 0 bytes 0 accept # handle 4", 0),
        ("meta l4proto tcp mark and 0x4000 == 0x4000 counter packets 0 bytes 0 masquerade # handle 4", 0x4000),
        ("meta mark & 0x00004000 != 0x00004000 counter return # handle 4", 0x4000),
        ("counter packets 0 bytes 0 meta mark set mark or 0x4000 # handle 4", 0x4000),
        ("counter meta mark set mark and 0xffff00ff xor 0x100 # handle 4", 0xff00),
        ("meta mark 0x1 counter # handle 4", u32::MAX),
        ("counter meta mark set 0x1 # handle 4", u32::MAX),
        ("counter meta mark set ct mark # handle 4", u32::MAX),
        ("xt match \"mark\" counter # handle 4", u32::MAX),
        ("xt target \"CONNMARK\" # handle 4", u32::MAX),
        ("xt match \"comment\" counter # handle 4", 0),
        ("ct mark & 0x10000 == 0x10000 counter # handle 4", 0),
        ("counter ct mark set mark and 0xff # handle 4", 0xff),
        ("counter comment \"a mark 0x1\" # handle 4", 0),
    ] {
        assert_eq!(expression::of_text(line), bits, "{line}");
    }
    let ruleset = json!({"nftables": [{"rule": {"family": "ip", "table": "nat", "chain": "POST", "handle": 4,
        "comment": "masquerade", "expr": [{"xt": null}, {"counter": {}}]}}]});
    let found = tables(&ruleset, "sekimori", |_| Ok("mark and 0x4000 == 0x4000".into())).unwrap();
    assert_eq!(found, [Use { rule: "nft ip nat POST handle 4 (masquerade)".into(), bits: 0x4000 }]);
}
