//! Limits on conversations, over the tables in memory: what must hold however many hosts and conversations come.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;

use sekimori_ebpf::{
    abi::{HOST_PACE_SETS_PRIVATE, HOST_PACES, SEAT_SETS_PRIVATE, SEATS, STATE_OPENING, View, ViewKey},
    decide::{converse::Work, limit},
    reason::Reason,
    tables::Tables as _,
};

use super::{
    compile,
    host::HostTables,
    registry::Registry,
    testing::{Random, external, party, policy, rule, zone},
};
use crate::policy::model::{DeviceMode, Limits, Place, Rate, Service};

const SECOND: u64 = 1_000_000_000;

struct Scene {
    host: HostTables,
    now: u64,
    conversations: u64,
}

impl Scene {
    fn new(limits: Limits) -> Self {
        let mut policy = policy();
        policy.nets = vec![zone("in", DeviceMode::Any, "lan", &["10.0.0.0/8"]), external("out", "wan", &[])];
        let mut only = rule("r", party(&[Place::Net(0)]), party(&[Place::Net(1)]), &[Service::Udp(1, 65_535)]);
        only.limits = limits;
        policy.rules.push(only);
        let mut host = HostTables::new(1 << 20);
        host.switch(compile(&policy, &mut Registry::default()).unwrap(), Vec::new());
        Self { host, now: 1_000 * SECOND, conversations: 0 }
    }

    /// A new conversation of this host: its key, or why not.
    fn open(&mut self, of: u32, what: u32) -> Result<ViewKey, Reason> {
        self.conversations += 1;
        let mut work = Work::default();
        work.question.generation = self.host.active();
        work.question.src[12..].copy_from_slice(&of.to_be_bytes());
        let number = self.conversations.to_be_bytes();
        work.key = ViewKey { peer: work.question.src, proto: 17, ..ViewKey::default() };
        work.key.far[8..].copy_from_slice(&number);
        work.view = View { seen: self.now, opened: self.now, state: STATE_OPENING, ..View::default() };
        match limit::admit(&self.host, &work, self.now, what) {
            0 => Ok(work.key),
            reason => Err(Reason::from_number(reason).unwrap()),
        }
    }

    fn close(&mut self, key: &ViewKey) {
        self.host.view_remove(key, false);
        self.host.settle();
    }
}

fn rate(cost: u64, burst: u32) -> Option<Rate> {
    Some(Rate { cost, burst })
}

/// Up to sixteen places every refusal is right; with more, none comes before the limit is near.
#[test]
fn there_are_never_more_at_once_than_the_limit_and_few_refusals_below_it() {
    for most in [1, 2, 3, 15, 16, 17, 64, 500] {
        let mut scene = Scene::new(Limits { flows: Some(most), ..Limits::default() });
        let mut random = Random::new(u64::from(most));
        let mut live: Vec<ViewKey> = Vec::new();
        let (mut refused, mut fullest) = (0, 0);
        for step in 0..8_000 {
            scene.now += 1 + random.below(1_000);
            // Closings and openings prevail in turns.
            if !live.is_empty() && random.chance(if step / 1_000 % 2 == 0 { 30 } else { 60 }) {
                let gone = live.swap_remove(random.below(live.len() as u64) as usize);
                scene.close(&gone);
                continue;
            }
            match scene.open(random.below(9) as u32, limit::OPENS) {
                Ok(key) => live.push(key),
                Err(reason) => {
                    assert_eq!(reason, Reason::TooManyFlows);
                    refused += 1;
                    let early =
                        if most <= limit::LOOKS { live.len() < most as usize } else { live.len() * 2 < most as usize };
                    assert!(!early, "refused with {} of {most}", live.len());
                }
            }
            fullest = fullest.max(live.len());
            assert!(live.len() <= most as usize, "{} of {most}", live.len());
        }
        assert!(refused > 0, "{most}: the limit was never reached");
        assert!(fullest * 10 >= most as usize * 9, "{most}: never more than {fullest}");
    }
}

#[test]
fn an_idle_conversation_gives_its_place_back_and_a_newer_one_of_its_key_does_not_keep_it() {
    let mut scene = Scene::new(Limits { flows: Some(1), ..Limits::default() });
    let first = scene.open(1, limit::OPENS).unwrap();
    assert_eq!(scene.open(1, limit::OPENS), Err(Reason::TooManyFlows));
    // UDP one way: 30 seconds.
    scene.now += 30 * SECOND;
    assert_eq!(scene.open(1, limit::OPENS), Err(Reason::TooManyFlows));
    scene.now += 1;
    let second = scene.open(1, limit::OPENS).unwrap();
    scene.close(&second);
    // The same key again, opened without limits: it holds nothing.
    let view = View { seen: scene.now, opened: scene.now + 1, state: STATE_OPENING, ..View::default() };
    assert!(scene.host.view_insert(&second, &view, false));
    assert!(scene.open(1, limit::OPENS).is_ok());
    assert_ne!(first, second);
}

/// More hosts than there is room for, all in debt, again and again: nobody's burst is renewed by being pushed out.
#[test]
fn a_flood_of_hosts_never_lifts_a_limit() {
    let cost = 100 * SECOND;
    let mut scene = Scene::new(Limits { new_per_host: rate(cost, 2), ..Limits::default() });
    let room = HOST_PACE_SETS_PRIVATE * HOST_PACES as u32;
    let mut random = Random::new(3);
    let mut admitted: HashMap<u32, u64> = HashMap::new();
    let begin = scene.now;
    let mut shared = 0;
    for _ in 0..8 * room {
        scene.now += 1_000;
        let of = random.below(u64::from(3 * room)) as u32;
        match scene.open(of, limit::ONE_WAY) {
            Ok(_) => *admitted.entry(of).or_default() += 1,
            Err(reason) => {
                assert_eq!(reason, Reason::TooFast);
                shared += u64::from(!admitted.contains_key(&of));
            }
        }
    }
    let most = 2 + (scene.now - begin) / cost;
    assert!(admitted.values().all(|count| *count <= most));
    assert!(admitted.len() as u32 > room && shared > 0, "{} hosts, {shared} refused unheard: no crowd", admitted.len());
    // Once the debts are over, whoever comes is welcome.
    scene.now += 3 * cost;
    assert!(scene.open(u32::MAX, limit::ONE_WAY).is_ok());
}

/// More conversations than there are places: those that live keep theirs.
#[test]
fn a_flood_of_conversations_never_lifts_a_limit() {
    let mut scene = Scene::new(Limits { flows_per_host: Some(1), ..Limits::default() });
    let room = SEAT_SETS_PRIVATE / 2 * SEATS as u32;
    let mut admitted = 0;
    for of in 0..2 * room {
        admitted += u32::from(scene.open(of, limit::OPENS).is_ok());
        if of % 64 == 0 {
            let first = scene.open(of / 2, limit::OPENS);
            let had = scene.host.views().iter().filter(|(key, ..)| key.peer[12..] == (of / 2).to_be_bytes()).count();
            assert!(had <= 1, "{had} conversations of one host");
            admitted += u32::from(first.is_ok());
        }
    }
    assert!(admitted <= room && admitted * 10 > room * 8, "{admitted} of {room}");
}

#[test]
fn a_rate_admits_its_burst_and_then_one_a_cost() {
    let mut scene = Scene::new(Limits { new: rate(SECOND / 3 + 1, 3), ..Limits::default() });
    let begin = scene.now;
    let mut admitted = 0;
    for _ in 0..100_000 {
        scene.now += 997_000;
        admitted += u64::from(scene.open(1, limit::ONE_WAY).is_ok());
        let spent = (scene.now - begin) / (SECOND / 3 + 1);
        assert!(admitted <= 3 + spent && admitted >= spent.min(3), "{admitted} after {spent}");
    }
    // Each millisecond somebody asked: nothing of the rate was lost either, but for the grain of asking.
    let whole = (scene.now - begin) / (SECOND / 3 + 1_000_000);
    assert!(admitted >= whole, "{admitted} of {whole}");
}

#[test]
fn a_refused_packet_uses_nothing_up_and_an_adopted_one_is_never_refused() {
    let mut scene = Scene::new(Limits { flows: Some(1), new: rate(1_000 * SECOND, 2), ..Limits::default() });
    let first = scene.open(1, limit::OPENS).unwrap();
    for _ in 0..50 {
        assert_eq!(scene.open(1, limit::OPENS), Err(Reason::TooManyFlows));
    }
    scene.close(&first);
    let second = scene.open(1, limit::OPENS).unwrap();
    scene.close(&second);
    assert_eq!(scene.open(1, limit::OPENS), Err(Reason::TooFast));
    let third = scene.open(1, limit::ADOPTS).unwrap();
    assert!(scene.open(1, limit::ADOPTS).is_ok(), "adopted without a place");
    scene.now += 2_000 * SECOND;
    scene.host.view_remove(&third, true);
    let fresh = scene.open(1, limit::ADOPTS).unwrap();
    assert_eq!(scene.open(1, limit::OPENS), Err(Reason::TooManyFlows), "{fresh:?} has the place");
}
