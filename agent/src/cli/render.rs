//! Replies as text or JSON.

use std::io::{self, Write};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    cut, flows, group, incidents, lists, plan, quarantine, records, status,
    text::{self, Lang},
    token,
};
use crate::{
    agent::{
        apply::{Applied, Refusal},
        cuts::CutDone,
        evaluator::Explained,
        flows::Flows,
        groups::{GroupDone, GroupRow},
        incident_desk::ClosedIncidents,
        plans::PlanDone,
        quarantines::QuarantineDone,
        restores::RestoreDone,
        rooms::Finding,
        threats::ReloadDone,
        tokens::{TokenDone, TokenRow},
    },
    api::{
        protocol::{Ask, Reply},
        report::{Cutoff, PlanRow, QuarantineRow, ThreatListRow},
    },
    cutoff::Proof,
    detect::Incident,
    flows::{query::BackCheck, report::Rows},
    record::{Line, Verified, reader::Filter},
    threat::CheckedFile,
};

/// What was asked: says how an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A status.
    Status,
    /// Live conversations; a stream in JSON.
    Flows,
    /// Recorded conversations; a stream in JSON.
    FlowRecords,
    /// Who talked to what was listed; a stream in JSON.
    BackCheck,
    /// A verdict.
    Explain,
    /// A check.
    Check,
    /// Lines of the record; a stream in JSON.
    Records,
    /// One line of the record; a stream of one in JSON.
    Record,
    /// Whether the record is whole.
    VerifyRecords,
    /// An apply.
    Apply,
    /// A cut-off.
    Cut,
    /// A restoration.
    Restore,
    /// What is cut off; a stream in JSON.
    Cuts,
    /// A plan, made or taken back.
    Plan,
    /// What is planned; a stream in JSON.
    Plans,
    /// What was seen of cut-offs.
    Proof,
    /// A quarantine or a release.
    Quarantine,
    /// Who is in quarantine; a stream in JSON.
    Quarantines,
    /// Groups; a stream in JSON.
    Groups,
    /// A change of a group.
    Group,
    /// Incidents; a stream in JSON.
    Incidents,
    /// One incident.
    Incident,
    /// Incidents that were closed.
    Closed,
    /// Lists that others keep; a stream in JSON.
    Lists,
    /// Lists read again.
    ListsReloaded,
    /// Files of lists; a stream in JSON.
    ListsChecked,
    /// A change of a token.
    Token,
    /// Who may use the HTTP API; a stream in JSON.
    Tokens,
    /// A detach.
    Detach,
    /// Something that is shown as it is.
    Document,
}

impl Asked {
    /// By the request.
    pub fn of(ask: &Ask) -> Self {
        match ask {
            Ask::Status {} => Self::Status,
            Ask::Flows { .. } => Self::Flows,
            Ask::FlowRecords { .. } => Self::FlowRecords,
            Ask::BackCheck { .. } => Self::BackCheck,
            Ask::Explain(_) => Self::Explain,
            Ask::Check {} => Self::Check,
            Ask::Records { filter: Filter { number: Some(_), .. }, .. } => Self::Record,
            Ask::Records { .. } => Self::Records,
            Ask::VerifyRecords {} => Self::VerifyRecords,
            Ask::Apply(_) => Self::Apply,
            Ask::Cutoff(_) => Self::Cut,
            Ask::Restore(_) | Ask::Confirm(_) => Self::Restore,
            Ask::Cuts {} => Self::Cuts,
            Ask::Plan(_) | Ask::Unplan { .. } => Self::Plan,
            Ask::Plans {} => Self::Plans,
            Ask::VerifyCuts { .. } => Self::Proof,
            Ask::Quarantine { .. } | Ask::Release { .. } => Self::Quarantine,
            Ask::Quarantines {} => Self::Quarantines,
            Ask::Incidents { .. } => Self::Incidents,
            Ask::Incident { .. } => Self::Incident,
            Ask::CloseIncidents { .. } => Self::Closed,
            Ask::ExportIncident { .. } | Ask::Capture(_) => Self::Document,
            Ask::Groups { .. } => Self::Groups,
            Ask::Group(_) => Self::Group,
            Ask::Lists {} => Self::Lists,
            Ask::ReloadLists(_) => Self::ListsReloaded,
            Ask::TokenAdd(_) | Ask::TokenRevoke { .. } => Self::Token,
            Ask::Tokens {} => Self::Tokens,
            Ask::Detach { .. } => Self::Detach,
        }
    }
}

/// One document, or one object a line for lists. A problem stands beside the answer under `error`.
pub fn json(out: &mut impl Write, reply: &Reply, asked: Asked) -> io::Result<()> {
    let rows = match asked {
        Asked::Flows => reply.body.get("flows"),
        Asked::Records
        | Asked::Record
        | Asked::Cuts
        | Asked::Groups
        | Asked::Incidents
        | Asked::Lists
        | Asked::ListsChecked
        | Asked::Plans
        | Asked::Quarantines
        | Asked::Tokens => Some(&reply.body),
        Asked::FlowRecords => reply.body.get("records"),
        Asked::BackCheck => reply.body.get("contacts"),
        _ => None,
    };
    if let (Some(Value::Array(rows)), None) = (rows, &reply.error) {
        for row in rows {
            writeln!(out, "{row}")?;
        }
        return Ok(());
    }
    let mut document = if reply.body.is_null() { json!({}) } else { reply.body.clone() };
    if let (Some(problem), Value::Object(fields)) = (&reply.error, &mut document) {
        fields.insert("error".into(), json!(problem));
    }
    writeln!(out, "{document:#}")
}

/// For people.
pub fn text(out: &mut impl Write, reply: &Reply, asked: Asked, lang: Lang) -> io::Result<()> {
    if reply.body.is_null() {
        return Ok(());
    }
    match asked {
        Asked::Status => with(reply, out, |out, status| status::text(out, &status, lang)),
        Asked::Flows => with(reply, out, |out, live: Flows| flows::live(out, &live, lang)),
        Asked::FlowRecords => with(reply, out, |out, rows: Rows| flows::records(out, &rows, lang)),
        Asked::BackCheck => with(reply, out, |out, found: BackCheck| flows::back_check(out, &found, lang)),
        Asked::Explain => match reply.body.get("findings") {
            Some(_) => with(reply, out, |out, refusal: Refusal| refused(out, &refusal, lang)),
            None => with(reply, out, |out, explained: Explained| writeln!(out, "{}", explained.text)),
        },
        Asked::Check => check(out, reply, lang),
        Asked::Records => with(reply, out, |out, lines: Vec<Line>| records::list(out, &lines, lang)),
        Asked::Record => with(reply, out, |out, lines: Vec<Line>| records::show(out, &lines, lang)),
        Asked::VerifyRecords => with(reply, out, |out, found: Verified| records::verified(out, &found, lang)),
        Asked::Apply => match reply.body.get("revision") {
            Some(_) => with(reply, out, |out, applied| self::applied(out, &applied, lang)),
            None => with(reply, out, |out, refusal: Refusal| refused(out, &refusal, lang)),
        },
        Asked::Cut => with(reply, out, |out, done: CutDone| cut::done(out, &done, lang)),
        Asked::Restore => with(reply, out, |out, done: RestoreDone| cut::restored(out, &done, lang)),
        Asked::Cuts => with(reply, out, |out, cuts: Vec<Cutoff>| cut::list(out, &cuts, lang)),
        Asked::Plan => with(reply, out, |out, done: PlanDone| plan::done(out, &done, lang)),
        Asked::Plans => with(reply, out, |out, rows: Vec<PlanRow>| plan::list(out, &rows, lang)),
        Asked::Proof => with(reply, out, |out, proof: Proof| cut::proof(out, &proof, lang)),
        Asked::Quarantine => with(reply, out, |out, done: QuarantineDone| quarantine::done(out, &done, lang)),
        Asked::Quarantines => with(reply, out, |out, rows: Vec<QuarantineRow>| quarantine::list(out, &rows, lang)),
        Asked::Groups => with(reply, out, |out, rows: Vec<GroupRow>| group::list(out, &rows, lang)),
        Asked::Group => with(reply, out, |out, done: GroupDone| group::done(out, &done, lang)),
        Asked::Lists => with(reply, out, |out, rows: Vec<ThreatListRow>| lists::list(out, &rows, lang)),
        Asked::ListsReloaded => with(reply, out, |out, done: ReloadDone| lists::reloaded(out, &done, lang)),
        Asked::ListsChecked => with(reply, out, |out, rows: Vec<CheckedFile>| lists::checked(out, &rows, lang)),
        Asked::Token => with(reply, out, |out, done: TokenDone| token::done(out, &done, lang)),
        Asked::Tokens => with(reply, out, |out, rows: Vec<TokenRow>| token::list(out, &rows, lang)),
        Asked::Incidents => with(reply, out, |out, rows: Vec<Incident>| incidents::list(out, &rows, lang)),
        Asked::Incident => with(reply, out, |out, incident: Incident| incidents::show(out, &incident, lang)),
        Asked::Closed => with(reply, out, |out, done: ClosedIncidents| incidents::closed(out, &done, lang)),
        Asked::Detach => writeln!(out, "{}", text::detached(lang)),
        Asked::Document => match reply.body.get("version").and_then(Value::as_str) {
            Some(version) => writeln!(out, "sekimori {version}"),
            None => writeln!(out, "{:#}", reply.body),
        },
    }
}

/// The body as what it should be; another agent's version may say something else, which is shown as it is.
fn with<T: DeserializeOwned, W: Write>(
    reply: &Reply,
    out: &mut W,
    show: impl FnOnce(&mut W, T) -> io::Result<()>,
) -> io::Result<()> {
    match serde_json::from_value(reply.body.clone()) {
        Ok(body) => show(out, body),
        Err(_) => writeln!(out, "{:#}", reply.body),
    }
}

/// `file:line:column: severity[code]: message`, as compilers do.
fn finding(out: &mut impl Write, finding: &Finding, lang: Lang) -> io::Result<()> {
    let severity = if finding.is_error() { text::severity_error(lang) } else { text::severity_warning(lang) };
    if finding.line == 0 {
        writeln!(out, "{}: {severity}[{}]: {}", finding.file, finding.code, finding.message)
    } else {
        let Finding { file, line, column, code, message, .. } = finding;
        writeln!(out, "{file}:{line}:{column}: {severity}[{code}]: {message}")
    }
}

fn refused(out: &mut impl Write, refusal: &Refusal, lang: Lang) -> io::Result<()> {
    for item in &refusal.findings {
        finding(out, item, lang)?;
    }
    for test in &refusal.failed_tests {
        let said = text::test_failed(lang, &test.name, &test.message);
        writeln!(out, "{}:{}:{}: {said}", test.file, test.line, test.column)?;
    }
    Ok(())
}

fn check(out: &mut impl Write, reply: &Reply, lang: Lang) -> io::Result<()> {
    with(reply, out, |out, refusal: Refusal| {
        refused(out, &refusal, lang)?;
        let number = |name: &str| reply.body.get(name).and_then(Value::as_u64).unwrap_or(0);
        let errors = refusal.findings.iter().filter(|finding| finding.is_error()).count();
        let warnings = refusal.findings.len() - errors;
        if reply.exit == 0 {
            writeln!(out, "{}", text::check_good(lang, number("rules"), number("tests")))?;
        }
        if errors + warnings + refusal.failed_tests.len() > 0 {
            writeln!(out, "{}", text::check_counts(lang, errors + refusal.failed_tests.len(), warnings))?;
        }
        Ok(())
    })
}

fn applied(out: &mut impl Write, applied: &Applied, lang: Lang) -> io::Result<()> {
    for item in &applied.warnings {
        finding(out, item, lang)?;
    }
    writeln!(out, "{}", text::applied(lang, applied.revision.number, short(&applied.revision.hash)))?;
    let Applied { entries, staged_ms, generation, .. } = applied;
    writeln!(out, "{}", text::apply_numbers(lang, entries, staged_ms, generation))?;
    for note in &applied.notes {
        writeln!(out, "  ! {note}")?;
    }
    Ok(())
}

/// Columns as wide as their widest cell; wide characters count two.
pub(super) fn table(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| width(cell)).max().unwrap_or(0))
        .collect();
    for row in rows {
        let mut line = String::new();
        for (cell, wide) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(wide - width(cell) + 2));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn width(text: &str) -> usize {
    text.chars().map(|c| if ('\u{1100}'..='\u{ffdc}').contains(&c) { 2 } else { 1 }).sum()
}

/// The first characters of a hash, enough to tell revisions apart.
pub(super) fn short(hash: &str) -> &str {
    hash.get(..12).unwrap_or(hash)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn shown(show: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        show(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lists_are_one_object_a_line_and_everything_else_one_document() {
        let flows = Reply::done(json!({ "total": 2, "flows": [{ "a": 1 }, { "a": 2 }] }));
        assert_eq!(shown(|out| json(out, &flows, Asked::Flows)), "{\"a\":1}\n{\"a\":2}\n");
        let no = Reply::refused("no");
        let document: Value = serde_json::from_str(&shown(|out| json(out, &no, Asked::Flows))).unwrap();
        assert_eq!(document["error"]["code"], "refused");
        let cut = Reply::done(json!({ "object": "all" }));
        let document: Value = serde_json::from_str(&shown(|out| json(out, &cut, Asked::Cut))).unwrap();
        assert_eq!(document["object"], "all");
    }

    #[test]
    fn findings_read_like_a_compiler_s() {
        let reply = Reply::with(
            1,
            json!({ "valid": false, "rules": 0, "tests": 0, "failed_tests": [], "findings": [{
                "severity": "error", "code": "E012", "file": "p.yaml", "line": 3, "column": 7, "text": "", "message": "what",
            }] }),
        );
        let text_en = shown(|out| text(out, &reply, Asked::Check, Lang::En));
        assert_eq!(text_en, "p.yaml:3:7: error[E012]: what\n1 error(s), 0 warning(s)\n");
        let text_ja = shown(|out| text(out, &reply, Asked::Check, Lang::Ja));
        assert!(text_ja.starts_with("p.yaml:3:7: 誤り[E012]"), "{text_ja}");
    }

    #[test]
    fn wide_characters_keep_columns_straight() {
        let rows = vec![vec!["規則".into(), "x".into()], vec!["abc".into(), "y".into()]];
        assert_eq!(shown(|out| table(out, &rows)), "規則  x\nabc   y\n");
    }

    #[test]
    fn an_answer_of_another_shape_is_shown_as_it_is() {
        let odd = Reply::done(json!({ "x": 1 }));
        assert!(shown(|out| text(out, &odd, Asked::Status, Lang::En)).contains("\"x\": 1"));
    }
}
