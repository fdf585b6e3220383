//! Groups for people.

use std::io::{self, Write};

use super::text::{self, Lang};
use crate::agent::groups::{GroupDone, GroupRow};

/// What the policy says and what was changed, apart.
pub(super) fn list(out: &mut impl Write, rows: &[GroupRow], lang: Lang) -> io::Result<()> {
    for row in rows {
        let head = text::group_line(lang, &row.group, row.policy_members, row.added.len(), row.removed.len());
        writeln!(out, "{head}")?;
        if !row.in_policy {
            writeln!(out, "{}", text::group_waits(lang))?;
        }
        row.policy.iter().try_for_each(|prefix| writeln!(out, "    {prefix}"))?;
        for added in &row.added {
            let until = added.until.as_ref().map_or_else(String::new, |until| text::group_until(lang, until));
            writeln!(out, "  + {}{until}", added.prefix)?;
        }
        row.removed.iter().try_for_each(|prefix| writeln!(out, "  - {prefix}"))?;
    }
    Ok(())
}

/// What a change did.
pub(super) fn done(out: &mut impl Write, done: &GroupDone, lang: Lang) -> io::Result<()> {
    let say: fn(Lang, &str, &str) -> String = if done.done == "added" {
        |lang, group, list| text::group_added(lang, group, list)
    } else {
        |lang, group, list| text::group_removed(lang, group, list)
    };
    writeln!(out, "{}", say(lang, &done.group, &done.prefixes.join(", ")))?;
    if let Some(until) = &done.until {
        writeln!(out, "{}", text::group_until(lang, until))?;
    }
    if done.compiled {
        writeln!(out, "{}", text::group_compiled(lang, done.enforced_us / 1_000))?;
    }
    done.notes.iter().try_for_each(|note| writeln!(out, "  {note}"))
}
