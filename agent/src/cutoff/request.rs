//! A restoration that one person asked for and another one has to confirm.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    first::First,
    object::Object,
    overlay::{Cut, Overlay},
};
use crate::record::{Actor, Who};

/// A cut as it was when its restoration was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// What is cut.
    pub object: Object,
    /// When it was placed.
    pub placed_at: String,
    /// How often it was placed again.
    pub again: u32,
}

impl Seen {
    fn is(&self, cut: &Cut) -> bool {
        cut.object.is(&self.object) && (&cut.placed_at, cut.again) == (&self.placed_at, self.again)
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The line of the record that says so: no other request ever has its number.
    pub id: u64,
    /// What shall be lifted.
    pub cuts: Vec<Seen>,
    /// What shall be restored first; empty: all of it.
    #[serde(default)]
    pub first: Vec<First>,
    /// Why.
    pub reason: String,
    /// By whom.
    pub asked_by: Actor,
    /// When, RFC 3339 UTC.
    pub asked_at: String,
    /// Until when it can be confirmed.
    pub expires: Timestamp,
}

impl Request {
    /// These cuts as they are now.
    pub fn of(
        id: u64,
        (cuts, first): (&[Cut], Vec<First>),
        reason: String,
        asked_by: Actor,
        (asked_at, expires): (String, Timestamp),
    ) -> Self {
        let seen = |cut: &Cut| Seen { object: cut.object.clone(), placed_at: cut.placed_at.clone(), again: cut.again };
        Self { id, cuts: cuts.iter().map(seen).collect(), first, reason, asked_by, asked_at, expires }
    }

    /// Every cut it is about is still the one that was looked at: none was lifted, none was placed again since.
    pub fn stands(&self, overlay: &Overlay) -> bool {
        self.cuts.iter().all(|seen| overlay.cuts.iter().any(|cut| seen.is(cut)))
    }

    /// What shall be lifted.
    pub fn objects(&self) -> Vec<Object> {
        self.cuts.iter().map(|seen| seen.object.clone()).collect()
    }

    /// Whether its time is over.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.expires <= now
    }
}

/// Whether both are the same person as far as the box can know: the same account of the box, the same token, the same
/// certificate. It knows accounts, not people.
pub fn same_person(one: &Actor, other: &Actor) -> bool {
    match (&one.who, &other.who) {
        (Who::Process { uid, .. }, Who::Process { uid: its, .. }) => uid == its,
        (Who::Token { token, .. }, Who::Token { token: its, .. }) => token == its,
        (Who::Certificate { subject, .. }, Who::Certificate { subject: its, .. }) => subject == its,
        (Who::Receiver { receiver, .. }, Who::Receiver { receiver: its, .. }) => receiver == its,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cutoff::overlay::tests::cut;

    #[test]
    fn a_cut_placed_again_or_lifted_ends_the_request() {
        let internet = Object::Network { name: "internet".into() };
        let mut overlay = Overlay::default();
        overlay.place(cut(internet.clone(), "worm"), &crate::cutoff::Now::default());
        let by = Actor::process(1001, "sato", "operator", 7);
        let times = ("2026-11-22T11:00:00Z".to_owned(), Timestamp::UNIX_EPOCH);
        let request = Request::of(12, (&overlay.cuts, Vec::new()), "clean".into(), by, times);
        assert!(request.stands(&overlay) && request.is_over(Timestamp::now()));
        assert_eq!(request.objects(), std::slice::from_ref(&internet));
        let mut other = overlay.clone();
        other.place(cut(Object::All, "more"), &crate::cutoff::Now::default());
        assert!(request.stands(&other), "another cut does not matter");
        other.place(cut(internet.clone(), "again"), &crate::cutoff::Now::default());
        assert!(!request.stands(&other));
        overlay.lift(&internet);
        assert!(!request.stands(&overlay));
    }

    #[test]
    fn who_is_the_same() {
        let process = |uid, pid| Actor::process(uid, "x", "operator", pid);
        let token = |id: &str, client: &str| Actor::token(id, client, "operator");
        let certificate = |subject: &str| Actor::certificate(subject, "192.0.2.1:1", "operator");
        for (one, other, same) in [
            (process(0, 1), process(0, 2), true),
            (process(0, 1), process(1001, 1), false),
            (token("noc", "192.0.2.1:1"), token("noc", "192.0.2.2:9"), true),
            (token("noc", "192.0.2.1:1"), token("it", "192.0.2.1:1"), false),
            (certificate("CN=a"), certificate("CN=a"), true),
            (certificate("CN=a"), certificate("CN=b"), false),
            (token("CN=a", "192.0.2.1:1"), certificate("CN=a"), false),
            (process(0, 1), token("noc", "192.0.2.1:1"), false),
        ] {
            assert_eq!(same_person(&one, &other), same, "{one:?} {other:?}");
            assert_eq!(same_person(&other, &one), same);
        }
    }
}
