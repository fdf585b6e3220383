//! Tokens of the HTTP API, for people.

use std::io::{self, Write};

use super::{
    args::TokenCommand,
    cut,
    meaning::{Usage, Work, lasts, needs_reason},
    text::{self, Lang},
};
use crate::{
    agent::tokens::{TokenDone, TokenRow},
    api::protocol::{Ask, TokenAsk},
    tokens::{Proof, Right, Secret},
};

/// What is asked for. A new token is made here: the agent gets to know its fingerprint only.
pub(super) fn mean(command: TokenCommand, lang: Lang) -> Result<Work, Usage> {
    let (id, role, receiver, objects, certificate, expires, reason) = match command {
        TokenCommand::List => return Ok(Work::Ask(Ask::Tokens {})),
        TokenCommand::Revoke { id, reason } => {
            return Ok(Work::Ask(Ask::TokenRevoke { id, reason: needs_reason(reason, lang)? }));
        }
        TokenCommand::Add { id, role, receiver, objects, certificate, expires, reason } => {
            (id, role, receiver, objects, certificate, expires, reason)
        }
    };
    let right = match (role, receiver) {
        (Some(role), _) => role,
        (None, true) => Right::Receiver,
        (None, false) => return Err(Usage(text::token_role(lang))),
    };
    if receiver && !objects.is_empty() {
        return Err(Usage(text::token_receiver_objects(lang)));
    }
    let words: Vec<String> = objects.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect();
    let objects = if words.is_empty() { Vec::new() } else { cut::objects(&words, lang)? };
    let seconds = expires.map(|text| lasts(&text).ok_or_else(|| Usage(text::token_duration(lang, text))));
    let (lasting, reason) = (seconds.transpose()?, needs_reason(reason, lang)?);
    let ask = |proof| TokenAsk { id, proof, right, objects, lasting, reason };
    if let Some(subject) = certificate {
        return Ok(Work::Ask(Ask::TokenAdd(ask(Proof::Certificate(subject)))));
    }
    let secret = Secret::new().map_err(|why| Usage(text::token_random(lang, why)))?;
    Ok(Work::NewToken(Box::new(ask(Proof::Sha256(secret.fingerprint()))), secret))
}

/// What a change did.
pub(super) fn done(out: &mut impl Write, done: &TokenDone, lang: Lang) -> io::Result<()> {
    let row = &done.row;
    if done.done == "revoked" {
        return writeln!(out, "{}", text::token_revoked(lang, &row.id));
    }
    writeln!(out, "{}", text::token_added(lang, &row.id, &row.role))?;
    details(out, row, lang)?;
    match &done.token {
        Some(token) => writeln!(out, "{}", text::token_secret(lang, token)),
        None => Ok(()),
    }
}

/// Everybody who may.
pub(super) fn list(out: &mut impl Write, rows: &[TokenRow], lang: Lang) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "{}", text::token_nobody(lang));
    }
    for row in rows {
        let line = text::token_line(lang, &row.id, &row.role, &row.added_at, &row.added_by.name, &row.reason);
        writeln!(out, "{line}{}", if row.expired { text::token_line_expired(lang) } else { String::new() })?;
        details(out, row, lang)?;
    }
    Ok(())
}

fn details(out: &mut impl Write, row: &TokenRow, lang: Lang) -> io::Result<()> {
    if let Some(subject) = &row.certificate {
        writeln!(out, "{}", text::token_certificate(lang, subject))?;
    }
    if !row.objects.is_empty() {
        writeln!(out, "{}", text::token_objects(lang, row.objects.join(", ")))?;
    }
    match &row.expires {
        Some(until) => writeln!(out, "{}", text::token_until(lang, until)),
        None => Ok(()),
    }
}
