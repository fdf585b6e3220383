//! Who there is, and what each may.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::secret::Fingerprint;
use crate::{api::Role, cutoff::Object, record::Actor};

/// Far more than a box has callers; each is compared with what is shown.
const MAX: usize = 256;

/// What somebody may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Look.
    Viewer,
    /// Cut off and restore, put in quarantine and release.
    Operator,
    /// The same, and cut the management path off too.
    Admin,
    /// Deliver alerts to the receiver whose policy names it, and nothing else.
    #[value(skip)]
    Receiver,
}

impl Right {
    /// As in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Receiver => "receiver",
        }
    }

    /// As on the control socket; a receiver has none.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Viewer => Some(Role::Viewer),
            Self::Operator | Self::Admin => Some(Role::Operator),
            Self::Receiver => None,
        }
    }
}

/// By what somebody is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// SHA-256 of a bearer token.
    Sha256(Fingerprint),
    /// Subject of a client certificate, as RFC 4514 writes it.
    Certificate(String),
}

/// Somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// Unique.
    pub id: String,
    /// By what it is known.
    pub proof: Proof,
    /// What it may.
    pub right: Right,
    /// On what it may act; empty: on anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub objects: Vec<Object>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
    /// When it was added, RFC 3339.
    pub added_at: String,
    /// By whom.
    pub added_by: Actor,
    /// Why.
    pub reason: String,
}

impl Credential {
    /// Whether its time is over.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}

/// It cannot be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// There is one of that id.
    Id,
    /// Somebody else is known by the same.
    Proof(String),
    /// There are [`MAX`].
    Full,
}

/// Everybody who may come by the network. Nobody, until somebody is added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// In the order in which they were added.
    pub credentials: Vec<Credential>,
}

impl List {
    /// Adds somebody.
    ///
    /// # Errors
    /// See [`Taken`].
    pub fn add(&mut self, credential: Credential) -> Result<(), Taken> {
        if self.credentials.iter().any(|known| known.id == credential.id) {
            return Err(Taken::Id);
        }
        if let Some(known) = self.credentials.iter().find(|known| known.proof == credential.proof) {
            return Err(Taken::Proof(known.id.clone()));
        }
        if self.credentials.len() >= MAX {
            return Err(Taken::Full);
        }
        self.credentials.push(credential);
        Ok(())
    }

    /// Takes somebody out.
    pub fn remove(&mut self, id: &str) -> Option<Credential> {
        let at = self.credentials.iter().position(|known| known.id == id)?;
        Some(self.credentials.remove(at))
    }

    /// Whose token this is. Every fingerprint is compared, and whole, whatever is shown.
    pub fn by_token(&self, token: &str, now: Timestamp) -> Option<&Credential> {
        let shown = Fingerprint::of(token);
        let mut found = None;
        for credential in &self.credentials {
            if let Proof::Sha256(kept) = &credential.proof
                && kept.is(&shown)
            {
                found = Some(credential);
            }
        }
        found.filter(|credential| !credential.expired(now))
    }

    /// Whose certificate this is. The subject is no secret, and an authority vouches for it.
    pub fn by_certificate(&self, subject: &str, now: Timestamp) -> Option<&Credential> {
        let is = |credential: &&Credential| matches!(&credential.proof, Proof::Certificate(known) if known == subject);
        self.credentials.iter().find(is).filter(|credential| !credential.expired(now))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{super::Secret, *};

    fn credential(id: &str, proof: Proof) -> Credential {
        Credential {
            id: id.into(),
            proof,
            right: Right::Operator,
            objects: Vec::new(),
            expires: None,
            added_at: "2026-12-01T00:00:00Z".into(),
            added_by: Actor::process(0, "root", "operator", 1),
            reason: "test".into(),
        }
    }

    #[test]
    fn nobody_is_known_until_added_nor_once_removed() {
        let (secret, other, now) = (Secret::new().unwrap(), Secret::new().unwrap(), Timestamp::now());
        let mut list = List::default();
        assert_eq!(list.by_token(secret.show(), now), None);
        assert_eq!(list.by_token("", now), None);
        list.add(credential("a", Proof::Sha256(other.fingerprint()))).unwrap();
        list.add(credential("b", Proof::Sha256(secret.fingerprint()))).unwrap();
        list.add(credential("c", Proof::Certificate("CN=c".into()))).unwrap();
        assert_eq!(list.by_token(secret.show(), now).unwrap().id, "b");
        assert_eq!(list.by_certificate("CN=c", now).unwrap().id, "c");
        assert_eq!(list.by_certificate("CN=d", now), None);
        list.remove("b").unwrap();
        assert_eq!(list.by_token(secret.show(), now), None);
        assert_eq!(list.remove("b"), None);
    }

    #[test]
    fn an_end_is_an_end() {
        let (secret, now) = (Secret::new().unwrap(), Timestamp::now());
        let mut list = List::default();
        let proof = Proof::Sha256(secret.fingerprint());
        list.add(Credential { expires: Some(now), ..credential("a", proof) }).unwrap();
        assert_eq!(list.by_token(secret.show(), now), None);
        assert!(list.by_token(secret.show(), now - jiff::SignedDuration::from_secs(1)).is_some());
    }

    #[test]
    fn one_id_and_one_proof_are_one_credential() {
        let mut list = List::default();
        let proof = |name: &str| Proof::Certificate(name.into());
        list.add(credential("a", proof("CN=a"))).unwrap();
        assert_eq!(list.add(credential("a", proof("CN=b"))), Err(Taken::Id));
        assert_eq!(list.add(credential("b", proof("CN=a"))), Err(Taken::Proof("a".into())));
        for number in 1..MAX {
            list.add(credential(&format!("t{number}"), proof(&format!("CN=t{number}")))).unwrap();
        }
        assert_eq!(list.add(credential("z", proof("CN=z"))), Err(Taken::Full));
    }
}
