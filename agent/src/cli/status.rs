//! A status for people.

use std::io::{self, Write};

use super::{
    incidents, lists, plan, quarantine,
    render::{short, table},
    text::{self, Lang},
};
use crate::api::report::{FileState, Interface, Status};

/// What an administrator wants to know first comes first.
pub(super) fn text(out: &mut impl Write, status: &Status, lang: Lang) -> io::Result<()> {
    let head = if status.enforcing { text::enforcing(lang) } else { text::not_enforcing(lang) };
    writeln!(out, "{head}  ({})", status.instance)?;
    for why in &status.why {
        writeln!(out, "  ! {why}")?;
    }
    section(out, &text::h_faults(lang), status.faults.iter().map(|fault| format!("  {fault}")))?;
    cutoffs(out, status, lang)?;
    section(out, &text::h_plans(lang), status.plans.iter().map(|row| plan::line(row, lang)))?;
    let held = status.quarantine.iter().map(|row| quarantine::line(row, lang));
    section(out, &text::h_quarantine(lang), held)?;
    incidents(out, status, lang)?;
    let agent = match (status.agent_running, status.enforcing) {
        (true, _) => text::agent_up(lang),
        (false, true) => text::agent_down(lang),
        (false, false) => text::agent_gone(lang),
    };
    writeln!(out, "{}", text::h_agent(lang, agent, &status.version))?;
    match &status.revision {
        Some(revision) => writeln!(
            out,
            "{}",
            text::h_revision(lang, revision.number, short(&revision.hash), &revision.applied_at, revision.rules)
        )?,
        None => writeln!(out, "{}", text::h_no_revision(lang))?,
    }
    let state = match status.policy_file.state {
        FileState::Unknown => text::file_unknown(lang),
        FileState::Same => text::file_same(lang),
        FileState::Changed => text::file_changed(lang),
        FileState::Invalid => text::file_invalid(lang),
        FileState::Missing => text::file_missing(lang),
    };
    writeln!(out, "{}", text::h_policy(lang, status.policy_file.path.display(), state))?;
    if !status.members.is_empty() {
        let names: Vec<&str> = status.members.keys().map(String::as_str).collect();
        writeln!(out, "{}", text::h_members(lang, status.members.values().sum::<usize>(), names.join(", ")))?;
    }
    detection(out, status, lang)?;
    let lists = status.threat_lists.iter().map(|row| lists::line(row, lang));
    section(out, &text::h_lists(lang), lists)?;
    writeln!(out, "{}", text::h_record(lang, status.record.last, status.record.failures))?;
    if !status.clock.synchronised {
        writeln!(out, "{}", text::h_clock_unsynchronised(lang))?;
    }
    if !status.interfaces.is_empty() {
        writeln!(out, "{}", text::h_interfaces(lang))?;
        let rows: Vec<_> = status.interfaces.iter().map(|interface| row(interface, lang)).collect();
        table(out, &rows)?;
    }
    fast_path(out, status, lang)?;
    let guard = status.guard.iter().map(|guard| text::h_guard_line(lang, &guard.name, guard.packets, guard.bytes));
    section(out, &text::h_guard(lang), guard)?;
    let tables = status.tables.iter().map(|table| {
        let percent = (table.used * 100).checked_div(table.capacity).unwrap_or(0);
        text::h_table(lang, &table.table, table.used, table.capacity, percent)
    });
    section(out, &text::h_tables(lang), tables)?;
    let permissions = status.permissions.iter().map(|permission| {
        let kind = match permission.kind.as_str() {
            "rule" => text::kind_rule(lang),
            "exemption" => text::kind_exemption(lang),
            _ => text::kind_device(lang),
        };
        let state = if permission.expired { text::expired(lang) } else { text::ends_soon(lang) };
        text::h_permission(lang, kind, &permission.name, &permission.until, state)
    });
    section(out, &text::h_permissions(lang), permissions)?;
    section(out, &text::h_unseen(lang), status.unseen.iter().map(|line| format!("  {line}")))
}

fn cutoffs(out: &mut impl Write, status: &Status, lang: Lang) -> io::Result<()> {
    let lines = status.cutoffs.iter().map(|cut| super::cut::line(cut, lang));
    section(out, &text::h_cutoffs(lang), lines)
}

fn detection(out: &mut impl Write, status: &Status, lang: Lang) -> io::Result<()> {
    let Some(watched) = &status.detection else {
        // Without a policy there is nothing to say of what it does not watch for.
        return if status.revision.is_some() { writeln!(out, "{}", text::h_watch_off(lang)) } else { Ok(()) };
    };
    let (hosts, seconds) = (watched.guard.hosts, watched.guard.within_seconds);
    writeln!(out, "{}", text::h_watch(lang, watched.traps, watched.exemptions, hosts, seconds))?;
    // The strongest first.
    let words = ["quarantine", "block", "throttle", "alert", "observe", "off"];
    watched.zones.iter().try_for_each(|zone| {
        let counts = words.into_iter().map(|word| (word, zone.detectors.get(word).copied().unwrap_or(0)));
        let counts: Vec<String> =
            counts.filter(|(_, count)| *count > 0).map(|(word, count)| format!("{word} {count}")).collect();
        writeln!(out, "{}", text::h_watch_zone(lang, &zone.zone, counts.join(", ")))
    })
}

fn incidents(out: &mut impl Write, status: &Status, lang: Lang) -> io::Result<()> {
    let mut lines = incidents::open(&status.incidents, status.incidents_open, lang);
    lines.extend(status.guard_holds.map(|limit| text::guard_holds(lang, limit.hosts, limit.seconds)));
    section(out, &text::h_incidents(lang), lines.into_iter())
}

fn fast_path(out: &mut impl Write, status: &Status, lang: Lang) -> io::Result<()> {
    let lines = status.fast_path.iter().flat_map(|net| {
        let head = if net.on { text::h_fast_on(lang, &net.network) } else { text::h_fast_off(lang, &net.network) };
        let reasons = net.reasons.iter().map(|reason| format!("    {}: {}", reason.interface, reason.text));
        std::iter::once(head).chain(reasons)
    });
    section(out, &text::h_fast(lang), lines)
}

fn row(interface: &Interface, lang: Lang) -> Vec<String> {
    let state = match &interface.error {
        Some(error) => error.clone(),
        None if interface.ifindex == 0 => text::missing_interface(lang, &interface.name),
        None if interface.xdp == "missing" => text::xdp_missing(lang),
        None if !interface.tcx => text::tcx_missing(lang),
        None => text::attached(lang),
    };
    vec![format!("  {}", interface.name), interface.xdp.clone(), interface.nets.join(","), state]
}

fn section(out: &mut impl Write, head: &str, lines: impl Iterator<Item = String>) -> io::Result<()> {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        writeln!(out, "{head}")?;
    }
    lines.try_for_each(|line| writeln!(out, "{line}"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::{
        api::report::{Cutoff, Guarded, Revision, Watched, WatchedZone},
        cutoff::Level,
        record::Actor,
    };

    #[test]
    fn the_verdict_comes_first_and_cut_offs_before_the_rest() {
        let status = Status {
            enforcing: false,
            why: vec!["no policy".into()],
            instance: "town".into(),
            cutoffs: vec![Cutoff {
                object: "network internet".into(),
                reason: "worm".into(),
                placed_by: Actor::process(0, "root", "operator", 1),
                placed_at: "2026-11-22T00:00:00Z".into(),
                age_seconds: 300,
                including_management: false,
                in_force: true,
                level: Level::Drop,
                until: None,
                refused_packets: 0,
                refused_bytes: 0,
                first: Vec::new(),
                waiting: Vec::new(),
            }],
            ..Status::default()
        };
        let mut out = Vec::new();
        text(&mut out, &status, Lang::En).unwrap();
        let shown = String::from_utf8(out).unwrap();
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[0], "NOT ENFORCING  (town)");
        assert_eq!(lines[1], "  ! no policy");
        assert_eq!(lines[3], "  network internet  since 5 min, by root: worm");
        let mut out = Vec::new();
        text(&mut out, &status, Lang::Ja).unwrap();
        assert!(String::from_utf8(out).unwrap().starts_with("防御していません"));
    }

    #[test]
    fn what_is_watched_for_is_counted_by_zone_and_its_absence_is_said() {
        let revision = Revision {
            number: 1,
            hash: "0".repeat(64),
            applied_at: "2026-11-22T00:00:00Z".into(),
            generation: 1,
            organisation: String::new(),
            rules: 0,
        };
        let mut status = Status { revision: Some(revision), ..Status::default() };
        let shown = |status: &Status, lang| {
            let mut out = Vec::new();
            text(&mut out, status, lang).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert!(shown(&status, Lang::En).contains("detection    OFF"));
        assert!(shown(&status, Lang::Ja).contains("検知         無効"));
        let detectors = [("alert", 12), ("block", 6), ("off", 8), ("quarantine", 0)];
        let zone = WatchedZone {
            zone: "office".into(),
            detectors: detectors.map(|(word, count)| (word.to_owned(), count)).into(),
        };
        let guard = Guarded { hosts: 5, within_seconds: 600 };
        status.detection = Some(Watched { zones: vec![zone], traps: 2, exemptions: 1, guard });
        let shown = shown(&status, Lang::En);
        assert!(shown.contains("traps 2, exemptions 1, automatic quarantine of at most 5 host(s) in 600 s"), "{shown}");
        assert!(shown.contains("  office: block 6, alert 12, off 8\n"), "{shown}");
    }
}
