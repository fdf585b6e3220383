//! Planned cut-offs for people, and the file with their notice.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::Path,
};

use serde_json::{Value, json};

use super::{
    args::{Plan, PlanCommand},
    cut,
    meaning::{Usage, Work, lasts, needs_reason},
    text::{self, Lang},
};
use crate::{
    agent::plans::PlanDone,
    api::{
        protocol::{Ask, PlanAsk, Reply},
        report::PlanRow,
    },
    cutoff::{Level, Notice, PlanState},
};

/// What is asked for.
pub(super) fn mean(command: PlanCommand, lang: Lang) -> Result<Work, Usage> {
    let Plan { words, at, lasting, until, reason, level, notice, urgent } = match command {
        PlanCommand::Plans => return Ok(Work::Ask(Ask::Plans {})),
        PlanCommand::Unplan { number, reason } => {
            return Ok(Work::Ask(Ask::Unplan { number, reason: needs_reason(reason, lang)? }));
        }
        PlanCommand::Plan(plan) => plan,
    };
    let duration = |text: String| lasts(&text).ok_or_else(|| Usage(text::cut_duration(lang, text)));
    let ask = PlanAsk {
        objects: cut::objects(&words, lang)?,
        at,
        reason: needs_reason(reason, lang)?,
        level,
        lasting: lasting.map(duration).transpose()?,
        until,
        urgent,
        notice: notice.is_some(),
    };
    Ok(Work::Plan(Box::new(ask), notice.flatten()))
}

/// Puts the notice of a plan into a file; where that fails it stays in the reply, so that it is shown.
pub(super) fn put_notice(mut reply: Reply, file: Option<&Path>, lang: Lang) -> Reply {
    let (Some(file), Value::Object(fields)) = (file, &mut reply.body) else { return reply };
    let notice = fields.get("notice").cloned().and_then(|notice| serde_json::from_value::<Notice>(notice).ok());
    let Some(notice) = notice else { return reply };
    // A file of that name may have come in between.
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut open| open.write_all(notice.both(lang).as_bytes()));
    match written {
        Ok(()) => {
            fields.insert("notice_file".into(), json!(file.display().to_string()));
        }
        Err(error) => {
            reply.exit = reply.exit.max(1);
            let why = text::notice_unwritten(lang, file.display(), error);
            let why = reply.error.iter().map(|problem| problem.message.clone()).chain([why]).collect::<Vec<_>>();
            reply.error = Reply::problem(1, "failed", why.join("; ")).error;
        }
    }
    reply
}

/// A plan that was made or taken back.
pub(super) fn done(out: &mut impl Write, done: &PlanDone, lang: Lang) -> io::Result<()> {
    let row = &done.plan;
    let head = match (done.done.as_str(), row.state) {
        ("planned", _) => text::plan_made,
        (_, PlanState::Missed) => text::plan_put_away,
        _ => text::plan_gone,
    };
    writeln!(out, "{}", head(lang, row.number, row.objects.join(", "), &row.period))?;
    done.notes.iter().try_for_each(|note| writeln!(out, "  ! {note}"))?;
    match (&done.notice, &done.notice_file) {
        (_, Some(file)) => writeln!(out, "{}", text::notice_written(lang, file)),
        (Some(notice), None) => {
            writeln!(out, "{}\n", text::notice_head(lang))?;
            write!(out, "{}", notice.both(lang))
        }
        (None, None) => Ok(()),
    }
}

/// What is planned.
pub(super) fn list(out: &mut impl Write, rows: &[PlanRow], lang: Lang) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "{}", text::plan_none(lang));
    }
    rows.iter().try_for_each(|row| writeln!(out, "{}", line(row, lang)))
}

/// The same below what is cut off; nothing if nothing is planned.
pub(super) fn beside(out: &mut impl Write, rows: &[PlanRow], lang: Lang) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out, "{}", text::h_plans(lang))?;
    list(out, rows, lang)
}

/// One plan, as `status` shows it too.
pub(super) fn line(row: &PlanRow, lang: Lang) -> String {
    let mut extra = String::new();
    if row.level != Level::Drop {
        extra.push_str(&text::cut_list_level(lang, row.level));
    }
    if row.urgent {
        extra.push_str(&text::plan_line_urgent(lang));
    }
    let why = row.why.as_deref().unwrap_or("?");
    match row.state {
        PlanState::Pending => {}
        PlanState::Failing => extra.push_str(&text::plan_line_failing(lang, why)),
        PlanState::Missed => extra.push_str(&text::plan_line_missed(lang, why)),
    }
    text::plan_line(lang, row.number, &row.period, row.objects.join(", "), &row.planned_by.name, &row.reason, extra)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::record::Actor;

    fn row(state: PlanState) -> PlanRow {
        PlanRow {
            number: 3,
            objects: vec!["network internet".into(), "host pc-1".into()],
            level: Level::Flush,
            at: "2026-12-05T18:00:00+09:00".into(),
            until: None,
            period: "令和8年12月5日(土) 18時00分から20時00分まで".into(),
            reason: "回線の保守".into(),
            planned_by: Actor::process(0, "root", "operator", 1),
            planned_at: "2026-12-01T00:00:00Z".into(),
            urgent: true,
            state,
            why: Some("no agent ran".into()),
        }
    }

    #[test]
    fn a_plan_is_one_line_and_says_how_it_stands() {
        assert_eq!(
            line(&row(PlanState::Pending), Lang::Ja),
            "  3  令和8年12月5日(土) 18時00分から20時00分まで  network internet, host pc-1、計画者 root: 回線の保守 [flush](緊急)"
        );
        assert!(line(&row(PlanState::Missed), Lang::En).ends_with(" (MISSED: no agent ran)"));
        assert!(line(&row(PlanState::Failing), Lang::En).contains("FAILS"));
    }

    fn planned() -> Reply {
        let notice = Notice { ja: "お知らせ\n".into(), en: "Notice\n".into() };
        Reply::done(PlanDone {
            done: "planned".into(),
            plan: row(PlanState::Pending),
            notes: Vec::new(),
            notice: Some(notice),
            notice_file: None,
        })
    }

    #[test]
    fn a_notice_goes_into_a_new_file_and_is_shown_if_it_cannot() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("notice.txt");
        let reply = put_notice(planned(), Some(&file), Lang::Ja);
        assert_eq!(reply.exit, 0, "{reply:?}");
        let written = std::fs::read_to_string(&file).unwrap();
        assert!(written.starts_with("お知らせ") && written.ends_with("Notice\n"), "{written}");
        let mut shown = Vec::new();
        done(&mut shown, &serde_json::from_value(reply.body).unwrap(), Lang::En).unwrap();
        assert!(!String::from_utf8(shown).unwrap().contains("お知らせ"));

        let reply = put_notice(planned(), Some(&file), Lang::Ja);
        assert_eq!(reply.exit, 1);
        assert!(reply.error.unwrap().message.contains("notice.txt"));
        let mut shown = Vec::new();
        done(&mut shown, &serde_json::from_value(reply.body).unwrap(), Lang::En).unwrap();
        assert!(String::from_utf8(shown).unwrap().contains("お知らせ"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), written, "what was there stays");
    }
}
