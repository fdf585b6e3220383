//! Quarantine for people.

use std::io::{self, Write};

use super::text::{self, Lang};
use crate::{
    agent::quarantines::{HostDone, QuarantineDone},
    api::report::QuarantineRow,
};

/// Who is in quarantine.
pub(super) fn list(out: &mut impl Write, rows: &[QuarantineRow], lang: Lang) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "{}", text::quarantine_nobody(lang));
    }
    for row in rows {
        writeln!(out, "{}", line(row, lang))?;
        if !(row.addresses.is_empty() && row.macs.is_empty()) {
            writeln!(out, "    {}", covers(&row.addresses, &row.macs))?;
        }
        writeln!(out, "{}", text::quarantine_line_refused(lang, row.refused_packets, row.refused_bytes))?;
    }
    Ok(())
}

/// One host, as `status` shows it too.
pub(super) fn line(row: &QuarantineRow, lang: Lang) -> String {
    let mut extra = row.until.as_ref().map_or_else(String::new, |until| text::quarantine_line_until(lang, until));
    if row.automatic {
        extra.push_str(&text::quarantine_line_automatic(lang));
    }
    if !row.in_force {
        extra.push_str(&text::quarantine_line_idle(lang));
    }
    let age = text::age(lang, row.age_seconds);
    text::quarantine_line(lang, &row.host, age, &row.placed_by.name, &row.reason, extra)
}

/// What a quarantine or a release did.
pub(super) fn done(out: &mut impl Write, done: &QuarantineDone, lang: Lang) -> io::Result<()> {
    let mut placed = false;
    for host in &done.hosts {
        match host.done.as_str() {
            "released" => writeln!(out, "{}", text::released(lang, &host.host))?,
            "unblocked" => writeln!(out, "{}", text::unblocked(lang, &host.host))?,
            word => {
                placed = true;
                if host.in_force {
                    let head = if word == "quarantined" { text::quarantined } else { text::quarantined_again };
                    writeln!(out, "{}", head(lang, &host.host))?;
                }
                host_covers(out, host, lang)?;
            }
        }
    }
    if placed && !done.permitted.is_empty() {
        writeln!(out, "{}", text::quarantine_permitted(lang, done.permitted.join(", ")))?;
    }
    done.notes.iter().try_for_each(|note| writeln!(out, "  ! {note}"))?;
    if !done.others.is_empty() {
        writeln!(out, "{}", text::quarantine_others(lang, done.others.join(", ")))?;
    }
    Ok(())
}

fn host_covers(out: &mut impl Write, host: &HostDone, lang: Lang) -> io::Result<()> {
    writeln!(out, "{}", text::quarantine_covers(lang, covers(&host.addresses, &host.macs)))?;
    match &host.until {
        Some(until) => writeln!(out, "{}", text::quarantine_until(lang, until)),
        None => Ok(()),
    }
}

fn covers(addresses: &[String], macs: &[String]) -> String {
    addresses.iter().chain(macs).map(String::as_str).collect::<Vec<_>>().join(", ")
}
