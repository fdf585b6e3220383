//! Which events are one incident, and what a flood of them does.

use std::time::Duration;

use jiff::Timestamp;
use sekimori_ebpf::detect::abi::Detector;

use super::{BEGIN, SECOND, seen};
use crate::{
    agent::keeper::Caller,
    compile::testing::Random,
    detect::{
        Action, Book, Bounds, Level, Noticed, State,
        incident::{Outcome, Quarantine, SAMPLES},
    },
};

const SCAN: Detector = Detector::HorizontalScan;

fn book() -> Book {
    Book::new(Bounds::default(), Vec::new(), 1)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(BEGIN + second).unwrap()
}

fn close(book: &mut Book, id: u64) -> bool {
    book.close(id, Caller::agent().actor, at(0), "looked".into()).is_some()
}

#[test]
fn one_incident_a_host_and_detector_whatever_it_sends() {
    let mut book = book();
    assert_eq!(book.add(&seen("192.0.2.1", SCAN, 0, 5), 0), Noticed::Opened(1));
    for second in 1..=50 {
        let hits = 5 + second as u32 * 100;
        assert_eq!(book.add(&seen("192.0.2.1", SCAN, second, hits), second as u64 * SECOND), Noticed::Grown(1));
    }
    assert_eq!(book.add(&seen("192.0.2.1", Detector::UdpFlood, 50, 1), 50 * SECOND), Noticed::Opened(2));
    assert_eq!(book.add(&seen("192.0.2.2", SCAN, 50, 1), 50 * SECOND), Noticed::Opened(3));
    let incident = book.get(1).unwrap();
    assert_eq!((incident.events, incident.packets), (51, 5_005));
    assert_eq!((incident.first_seen, incident.last_seen), (at(0), at(50)));
    assert_eq!((incident.destinations.samples.len(), incident.destinations.more), (5, false), "five remainders of 250");
    assert_eq!((incident.ports.samples.len(), incident.ports.more), (SAMPLES, true));
    assert_eq!((incident.level, incident.state), (Level::Alert, State::Open));
    assert_eq!(book.counts().detections["horizontal_scan"], 52);
}

#[test]
fn counters_that_begin_anew_lose_nothing_and_add_nothing() {
    let mut book = book();
    for (second, hits) in [(0, 100), (1, 150), (2, 150), (3, 7), (4, 9)] {
        book.add(&seen("192.0.2.1", SCAN, second, hits), 0);
    }
    // An event without a new hit is at least itself.
    assert_eq!(book.get(1).unwrap().packets, 100 + 50 + 1 + 7 + 2);
    // The next episode goes on where the counters were.
    assert_eq!(book.add(&seen("192.0.2.1", SCAN, 2_000, 29), 0), Noticed::Opened(2));
    assert_eq!(book.get(2).unwrap().packets, 20);
}

#[test]
fn an_episode_ends_after_a_pause_and_when_somebody_has_looked() {
    let mut book = Book::new(Bounds { episode: Duration::from_secs(60), ..Bounds::default() }, Vec::new(), 1);
    assert_eq!(book.add(&seen("192.0.2.1", SCAN, 0, 1), 0), Noticed::Opened(1));
    assert_eq!(book.add(&seen("192.0.2.1", SCAN, 60, 2), 0), Noticed::Grown(1));
    assert_eq!(book.add(&seen("192.0.2.1", SCAN, 121, 3), 0), Noticed::Opened(2));
    assert_eq!(book.get(1).unwrap().state, State::Open, "an episode that is over has not been looked at");
    assert!(close(&mut book, 2) && !close(&mut book, 2) && !close(&mut book, 9));
    assert_eq!(book.add(&seen("192.0.2.1", SCAN, 122, 4), 0), Noticed::Opened(3));
    // A clock that steps back ends nothing.
    assert_eq!(book.add(&seen("192.0.2.1", SCAN, -5_000, 5), 0), Noticed::Grown(3));
    assert_eq!((book.get(3).unwrap().first_seen, book.get(3).unwrap().last_seen), (at(-5_000), at(122)));
}

#[test]
fn what_is_only_observed_calls_nobody_until_it_is_more() {
    let mut book = book();
    let mut event = seen("192.0.2.1", SCAN, 0, 1);
    event.action = Action::Observe;
    assert_eq!(book.add(&event, 0), Noticed::Noted(1));
    assert_eq!(book.add(&event, 0), Noticed::Grown(1));
    assert_eq!((book.get(1).unwrap().level, book.get(1).unwrap().state), (Level::Observe, State::Noted));
    event.action = Action::Block;
    event.blocked_until = Some(at(30));
    assert_eq!(book.add(&event, 0), Noticed::Opened(1), "somebody has to be told now");
    event.action = Action::Alert;
    event.blocked_until = None;
    assert_eq!(book.add(&event, 0), Noticed::Grown(1));
    let incident = book.get(1).unwrap();
    assert_eq!((incident.action, incident.blocked_until), (Action::Block, Some(at(30))));
}

#[test]
fn a_flood_of_hosts_becomes_one_incident_and_every_event_is_in_some() {
    let mut book = book();
    let hosts = 20_000;
    for n in 0..hosts {
        let mut event = seen(&format!("10.0.{}.{}", n / 250, n % 250), SCAN, 0, 1);
        event.device = Some("pc".into());
        book.add(&event, 7 * SECOND);
    }
    let incidents: Vec<_> = book.iter().collect();
    assert_eq!(incidents.len(), 65, "64 at once, and one of many hosts");
    assert_eq!(incidents.iter().map(|incident| incident.events).sum::<u64>(), hosts);
    let many = incidents.last().unwrap();
    assert_eq!((many.host.as_str(), many.state, &many.device), ("many hosts of office", State::Open, &None));
    let listed = many.hosts.as_ref().unwrap();
    assert_eq!((listed.samples.len(), listed.more), (SAMPLES, true));
    assert_eq!(book.counts().crowded, hosts - 64);
    // A host that has one of its own keeps it.
    assert_eq!(book.add(&seen("10.0.0.1", SCAN, 1, 2), 7 * SECOND), Noticed::Grown(2));
    // After a pause there is room again, one by one.
    assert_eq!(book.add(&seen("192.0.2.1", SCAN, 1, 1), 13 * SECOND), Noticed::Opened(66));
    assert_eq!(book.add(&seen("192.0.2.2", SCAN, 1, 1), 13 * SECOND), Noticed::Grown(65));
}

#[test]
fn the_oldest_make_room_and_those_nobody_has_looked_at_last() {
    let mut book = Book::new(Bounds { keep: 4, ..Bounds::default() }, Vec::new(), 1);
    for n in 1..=4 {
        book.add(&seen(&format!("192.0.2.{n}"), SCAN, n, 1), 0);
    }
    assert!(close(&mut book, 2) && close(&mut book, 4));
    let mut add = |n: i64| {
        book.add(&seen(&format!("192.0.2.{n}"), SCAN, n, 1), 0);
        book.iter().map(|incident| incident.id).collect::<Vec<_>>()
    };
    assert_eq!(add(5), [1, 3, 4, 5]);
    assert_eq!(add(6), [1, 3, 5, 6]);
    assert_eq!(add(7), [3, 5, 6, 7]);
    assert_eq!(book.counts().forgotten, (2, 1));
    assert_eq!(book.take_gone(), [1, 2, 4]);
    assert_eq!(book.take_gone(), [0; 0]);
    assert_eq!(book.next(), 8);
}

#[test]
fn a_quarantine_that_needs_a_person_is_seen_until_somebody_has_looked() {
    let mut book = book();
    book.add(&seen("192.0.2.1", SCAN, 0, 1), 0);
    for (outcome, undecided) in
        [(Outcome::Refused, true), (Outcome::HeldBack, true), (Outcome::Failed, true), (Outcome::Done, false)]
    {
        book.change(1, |incident| {
            incident.quarantine = Some(Quarantine { outcome, at: at(0), message: String::new() });
        });
        assert_eq!(book.get(1).unwrap().is_undecided(), undecided, "{outcome:?}");
    }
    book.change(1, |incident| incident.quarantine.as_mut().unwrap().outcome = Outcome::Refused);
    close(&mut book, 1);
    assert!(!book.get(1).unwrap().is_undecided());
}

/// Whatever comes, in whatever order: numbers rise, bounds hold, and no event is lost but with an incident that made room.
#[test]
fn whatever_comes_bounds_hold_and_nothing_is_silent() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let bounds = Bounds { keep: 1 + random.below(40) as usize, episode: Duration::from_secs(random.below(30)) };
        let mut book = Book::new(bounds, Vec::new(), 1);
        let (mut events, mut highest, mut now, mut second) = (0, 0, 0, 0);
        for _ in 0..400 {
            now += random.below(3 * SECOND);
            second += random.below(20) as i64 - 4;
            let host = format!("192.0.2.{}", random.below(100));
            let detector = *random.pick(&[SCAN, Detector::Land, Detector::Beacon]);
            let mut event = seen(&host, detector, second, random.next() as u32);
            event.action = *random.pick(&[Action::Observe, Action::Alert, Action::Block, Action::Quarantine]);
            let noticed = book.add(&event, now);
            events += 1;
            let incident = book.get(noticed.id()).unwrap();
            assert_ne!(incident.state, State::Closed);
            assert_eq!(incident.state == State::Noted, incident.action == Action::Observe);
            assert!(incident.destinations.samples.len() <= SAMPLES && incident.ports.samples.len() <= SAMPLES);
            assert!(incident.first_seen <= incident.last_seen);
            if !matches!(noticed, Noticed::Grown(_)) && incident.events == 1 {
                assert!(noticed.id() > highest, "a number is given once");
                highest = noticed.id();
            }
            if random.chance(5) {
                let ids: Vec<u64> = book.iter().map(|incident| incident.id).collect();
                close(&mut book, *random.pick(&ids));
            }
            assert!(book.iter().count() <= bounds.keep);
        }
        let (closed, open) = book.counts().forgotten;
        let kept = book.iter().count() as u64;
        assert_eq!(closed + open + kept, highest, "each that was opened is there or counted");
        assert_eq!(book.counts().detections.values().sum::<u64>(), events);
        if closed + open == 0 {
            assert_eq!(book.iter().map(|incident| incident.events).sum::<u64>(), events);
        }
    }
}
