//! Incidents on disk, over restarts and damage.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use jiff::Timestamp;
use sekimori_ebpf::detect::abi::Detector;

use super::{BEGIN, SECOND, seen};
use crate::{
    agent::keeper::Caller,
    compile::testing::Random,
    detect::{Action, Book, Bounds, Incident, Noticed, State, Store},
};

fn save_all(book: &mut Book, store: &Store) {
    for id in book.unsaved(usize::MAX) {
        store.save(book.get(id).unwrap()).unwrap();
        book.saved(id);
    }
    let gone = book.take_gone();
    if !gone.is_empty() {
        store.save_next(book.next()).unwrap();
        gone.into_iter().for_each(|id| store.remove(id).unwrap());
    }
}

fn restart(bounds: Bounds, store: &Store) -> Book {
    let found = store.load().unwrap();
    assert_eq!(found.unread, [""; 0]);
    Book::new(bounds, found.incidents, found.next)
}

fn all(book: &Book) -> Vec<Incident> {
    book.iter().cloned().collect()
}

#[test]
fn a_restart_finds_everything_and_goes_on_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let mut book = restart(Bounds::default(), &store);
    let mut event = seen("2001:db8::17", Detector::VerticalScan, 0, 10);
    event.device = Some("pc-017".into());
    event.owner = Some("総務課".into());
    event.action = Action::Quarantine;
    book.add(&event, 0);
    book.add(&seen("192.0.2.2", Detector::Land, 0, 1), 0);
    book.close(2, Caller::agent().actor, Timestamp::from_second(BEGIN).unwrap(), "誤検知".into()).unwrap();
    save_all(&mut book, &store);
    let mut again = restart(Bounds::default(), &store);
    assert_eq!(all(&again), all(&book));
    event.hits = 35;
    assert_eq!(again.add(&event, 0), Noticed::Grown(1));
    assert_eq!(again.get(1).unwrap().packets, 35);
    assert_eq!(again.add(&seen("192.0.2.2", Detector::Land, 1, 2), 0), Noticed::Opened(3));
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(dir.path().join("incidents")), 0o700);
    assert_eq!(mode(dir.path().join("incidents/1.json")), 0o600);
}

#[test]
fn numbers_are_not_given_twice_even_if_the_latest_made_room() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let bounds = Bounds { keep: 2, ..Bounds::default() };
    let mut book = restart(bounds, &store);
    for n in 1..=3 {
        book.add(&seen(&format!("192.0.2.{n}"), Detector::Land, n, 1), 0);
    }
    save_all(&mut book, &store);
    for id in [2, 3] {
        store.remove(id).unwrap();
    }
    assert_eq!(restart(bounds, &store).add(&seen("192.0.2.9", Detector::Land, 9, 1), 0).id(), 4);
}

#[test]
fn a_damaged_file_costs_itself_alone_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path());
    let mut book = Book::new(Bounds::default(), Vec::new(), 1);
    for n in 1..=3 {
        book.add(&seen(&format!("192.0.2.{n}"), Detector::Land, n, 1), 0);
    }
    save_all(&mut book, &store);
    let folder = dir.path().join("incidents");
    let whole = fs::read_to_string(folder.join("3.json")).unwrap();
    for bad in [
        "",
        "{",
        &whole.replace("\"version\": 1", "\"version\": 2"),
        &whole.replace("\"id\": 3", "\"id\": 4"),
        &whole.replace("\"zone\"", "\"x\": 1, \"zone\""),
    ] {
        fs::write(folder.join("3.json"), bad).unwrap();
        fs::write(folder.join("4.json.new"), "half").unwrap();
        fs::write(folder.join("note.txt"), "mine").unwrap();
        let found = store.load().unwrap();
        assert_eq!((found.incidents.len(), found.unread.len(), found.next), (2, 1, 4), "{bad}");
        assert!(folder.join("3.json").exists() && !folder.join("4.json.new").exists());
        assert!(folder.join("note.txt").exists());
    }
}

/// The agent dies at any moment: what was written is there, and at most what had grown since is not.
#[test]
fn whenever_it_dies_what_was_written_is_there() {
    for seed in 0..6 {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let mut random = Random::new(seed);
        let bounds = Bounds { keep: 5 + random.below(10) as usize, episode: Duration::from_secs(20) };
        let mut book = restart(bounds, &store);
        let (mut highest, mut second) = (0, 0);
        for step in 0..120 {
            second += random.below(5) as i64;
            let mut event = seen(&format!("192.0.2.{}", random.below(12)), Detector::Land, second, step);
            event.action = *random.pick(&[Action::Observe, Action::Alert]);
            let noticed = book.add(&event, step as u64 * 10 * SECOND);
            highest = highest.max(noticed.id());
            if matches!(noticed, Noticed::Opened(_)) || random.chance(20) {
                save_all(&mut book, &store);
            }
            if random.chance(5) {
                let saved: Vec<u64> = book.unsaved(usize::MAX);
                let before = all(&book);
                book = restart(bounds, &store);
                for incident in before.iter().filter(|incident| !saved.contains(&incident.id)) {
                    assert_eq!(book.get(incident.id), Some(incident), "seed {seed} step {step}");
                }
                assert!(before.iter().filter(|one| one.state == State::Open).all(|one| book.get(one.id).is_some()));
            }
        }
        save_all(&mut book, &store);
        assert_eq!(all(&restart(bounds, &store)), all(&book));
        assert!(book.next() > highest);
    }
}
