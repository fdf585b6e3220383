//! Who may come by the network: adding and revoking. On disk and recorded before it holds; a revocation holds first.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    clock::seconds,
    fault::Fault,
    keeper::{Caller, Keeper},
};
use crate::{
    api::protocol::{Reply, TokenAsk},
    cli::text,
    cutoff::switch,
    http::Tally,
    record::{Action, Actor, Outcome},
    tokens::{Credential, List, Proof, Right, Shared, Store, Taken},
};

/// Longest a token may be asked to hold.
const MAX_SECONDS: u64 = 3_650 * 86_400;

/// Somebody who may come by the network.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenRow {
    /// As records name it.
    pub id: String,
    /// `viewer`, `operator`, `admin` or `receiver`.
    pub role: String,
    /// The subject, if it is a client certificate; else it is a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// On what it may act; empty: on anything.
    pub objects: Vec<String>,
    /// When it ends, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// It has ended.
    pub expired: bool,
    /// When it was added, RFC 3339.
    pub added_at: String,
    /// By whom.
    pub added_by: Actor,
    /// Why.
    pub reason: String,
}

/// What a change says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TokenDone {
    /// `added` or `revoked`.
    pub done: String,
    /// The token, between its making and its showing: the agent never has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Who.
    #[serde(flatten)]
    pub row: TokenRow,
}

impl Keeper {
    /// The list, for those who must not wait for the instance.
    pub fn shared_tokens(&self) -> Shared {
        self.tokens.clone()
    }

    /// What the HTTP API answered; whoever serves it counts.
    pub fn http_tally(&self) -> Tally {
        self.http_tally.clone()
    }

    /// Adds somebody. The caller was found to be root.
    pub fn add_token(&mut self, ask: TokenAsk, caller: &Caller) -> Reply {
        let lang = caller.lang;
        if let Some(why) = &self.tokens_unread {
            return Reply::failed(text::tokens_unread(lang, why));
        }
        let credential = match credential(ask, caller) {
            Ok(credential) => credential,
            Err(reply) => return reply,
        };
        let mut list = List::clone(&self.tokens.now());
        match list.add(credential.clone()) {
            Ok(()) => {}
            Err(Taken::Id) => return Reply::refused(text::token_taken(lang, &credential.id)),
            Err(Taken::Proof(known)) => return Reply::refused(text::token_proof_taken(lang, known)),
            Err(Taken::Full) => return Reply::refused(text::token_full(lang, list.credentials.len())),
        }
        if let Err(why) = self.ledger.ready() {
            return Reply::failed(text::token_not_added(lang, &credential.id, why));
        }
        if let Err(error) = Store::new(&self.config.state).save(&list) {
            return Reply::failed(text::token_not_added(lang, &credential.id, error));
        }
        let result = Outcome { ok: true, message: described(&credential) };
        let names = vec![format!("token {}", credential.id)];
        let unrecorded = self.note(caller, Action::TokenAdd, Some(credential.reason.clone()), names, None, result);
        if let Some(why) = unrecorded {
            list.remove(&credential.id);
            let kept = Store::new(&self.config.state).save(&list).map_err(|error| error.to_string());
            self.faults.track(kept, |why| Fault::State("tokens", why));
            return Reply::failed(text::token_not_added(lang, &credential.id, why));
        }
        self.tokens.replace(list);
        Reply::done(done("added", &credential))
    }

    /// Takes somebody out. The caller was found to be root.
    pub fn revoke_token(&mut self, id: &str, reason: String, caller: &Caller) -> Reply {
        let lang = caller.lang;
        if let Some(why) = &self.tokens_unread {
            return Reply::failed(text::tokens_unread(lang, why));
        }
        let mut list = List::clone(&self.tokens.now());
        let Some(gone) = list.remove(id) else {
            let known: Vec<&str> = list.credentials.iter().map(|known| known.id.as_str()).collect();
            let known = if known.is_empty() { text::nothing(lang) } else { known.join(", ") };
            return Reply::refused(text::token_absent(lang, id, known));
        };
        // From now on, whatever the disk says.
        self.tokens.replace(list.clone());
        let kept = Store::new(&self.config.state).save(&list).map_err(|error| error.to_string());
        self.faults.track(kept.clone(), |why| Fault::State("tokens", why));
        let message = if kept.is_ok() { "revoked" } else { "revoked, NOT on disk" };
        let result = Outcome { ok: kept.is_ok(), message: message.to_owned() };
        let unrecorded =
            self.note(caller, Action::TokenRevoke, Some(reason), vec![format!("token {id}")], None, result);
        let mut reply = Reply::done(done("revoked", &gone));
        let wrong: Vec<String> = kept.err().into_iter().chain(unrecorded).collect();
        if !wrong.is_empty() {
            reply.exit = 1;
            reply.error = Reply::problem(1, "unrecorded", text::token_not_kept(lang, id, wrong.join("; "))).error;
        }
        reply
    }

    /// Everybody.
    pub fn token_rows(&self) -> Vec<TokenRow> {
        let now = Timestamp::now();
        self.tokens.now().credentials.iter().map(|credential| row(credential, now)).collect()
    }

    /// Whether the HTTP API is served, and why not.
    pub fn http_served(&mut self, served: Result<(), String>) {
        self.faults.track(served, Fault::Http);
    }
}

/// What is asked for, if it can be understood.
fn credential(ask: TokenAsk, caller: &Caller) -> Result<Credential, Reply> {
    let lang = caller.lang;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    if ask.id.is_empty() || ask.id.len() > 63 || !ask.id.chars().all(good) {
        return Err(Reply::usage(text::token_id(lang, &ask.id)));
    }
    let whole = match &ask.proof {
        Proof::Sha256(fingerprint) => fingerprint.is_whole(),
        Proof::Certificate(subject) => !subject.is_empty() && subject.len() <= 512,
    };
    if !whole {
        return Err(Reply::usage(text::token_proof(lang)));
    }
    if ask.objects.len() > switch::MAX_OBJECTS {
        return Err(Reply::usage(text::cut_how_many(lang, switch::MAX_OBJECTS)));
    }
    let objects = switch::checked(&ask.objects).map_err(|error| Reply::usage(error.text(lang)))?;
    let now = Timestamp::now();
    let expires = match ask.lasting {
        None => None,
        Some(lasting @ 1..=MAX_SECONDS) => {
            let span = SignedDuration::from_secs(i64::try_from(lasting).unwrap_or(i64::MAX));
            now.checked_add(span).ok()
        }
        Some(_) => return Err(Reply::usage(text::token_seconds(lang))),
    };
    Ok(Credential {
        id: ask.id,
        proof: ask.proof,
        right: ask.right,
        objects,
        expires,
        added_at: seconds(now),
        added_by: caller.actor.clone(),
        reason: ask.reason,
    })
}

/// For the record: what was given to whom.
fn described(credential: &Credential) -> String {
    let mut text = format!("added: {}", credential.right.name());
    if let Proof::Certificate(subject) = &credential.proof {
        text.push_str(&format!(", certificate {subject}"));
    }
    if credential.right != Right::Viewer && !credential.objects.is_empty() {
        let objects: Vec<String> = credential.objects.iter().map(ToString::to_string).collect();
        text.push_str(&format!(", on {}", objects.join(", ")));
    }
    if let Some(end) = credential.expires {
        text.push_str(&format!(", until {}", seconds(end)));
    }
    text
}

fn done(done: &str, credential: &Credential) -> TokenDone {
    TokenDone { done: done.to_owned(), token: None, row: row(credential, Timestamp::now()) }
}

fn row(credential: &Credential, now: Timestamp) -> TokenRow {
    TokenRow {
        id: credential.id.clone(),
        role: credential.right.name().to_owned(),
        certificate: match &credential.proof {
            Proof::Certificate(subject) => Some(subject.clone()),
            Proof::Sha256(_) => None,
        },
        objects: credential.objects.iter().map(ToString::to_string).collect(),
        expires: credential.expires.map(seconds),
        expired: credential.expired(now),
        added_at: credential.added_at.clone(),
        added_by: credential.added_by.clone(),
        reason: credential.reason.clone(),
    }
}
