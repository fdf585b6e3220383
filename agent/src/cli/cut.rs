//! Cutting off and restoring, for people: from words to a request, and from a reply to lines.

use std::io::{self, Write};

use ipnet::IpNet;

use super::{
    args::{Cutoff, Restore},
    meaning::{Usage, Work, lasts, needs_reason},
    plan,
    text::{self, Lang},
};
use crate::{
    agent::{
        cuts::{CutDone, ObjectDone},
        restores::RestoreDone,
    },
    api::{
        protocol::{Ask, ConfirmAsk, CutoffAsk, RestoreAsk},
        report,
    },
    cutoff::{First, Level, Object, ObjectProof, Proof, object::HostName},
};

/// What a `cutoff` asks for.
pub(super) fn cutoff(cutoff: Cutoff, lang: Lang) -> Result<Work, Usage> {
    if let Some(command) = cutoff.plan {
        return plan::mean(command, lang);
    }
    match cutoff.words.split_first() {
        Some((word, [])) if word == "list" => return Ok(Work::Ask(Ask::Cuts {})),
        Some((word, rest)) if word == "verify" => {
            let objects = if rest.is_empty() { Vec::new() } else { objects(rest, lang)? };
            return Ok(Work::Ask(Ask::VerifyCuts { objects }));
        }
        _ => {}
    }
    let drill = cutoff.drill;
    let ask = cut_now(cutoff, lang);
    // Whoever is frightened must not take a message for a success.
    let loud = |Usage(why): Usage| Usage(if drill { why } else { text::and_nothing_cut(lang, why) });
    ask.map(|ask| Work::Ask(Ask::Cutoff(ask))).map_err(loud)
}

fn cut_now(cutoff: Cutoff, lang: Lang) -> Result<CutoffAsk, Usage> {
    let objects = objects(&cutoff.words, lang).map_err(|Usage(why)| match &cutoff.reason {
        // A reason of several words without quotes leaves its second word among the objects.
        Some(reason) if cutoff.words.len() > 2 && !reason.contains(' ') => Usage(text::and_quotes(lang, why, reason)),
        _ => Usage(why),
    })?;
    if cutoff.including_management && objects != [Object::All] {
        return Err(Usage(text::management_only_all(lang)));
    }
    // A slip in the end is no reason to let packets pass: what is cut has none then. A drill is the time to find it.
    let lasting = cutoff.lasting.as_deref().and_then(lasts);
    let unread = cutoff.lasting.filter(|_| lasting.is_none());
    if let Some(text) = unread.as_ref().filter(|_| cutoff.drill) {
        return Err(Usage(text::cut_duration(lang, text)));
    }
    Ok(CutoffAsk {
        objects,
        reason: needs_reason(cutoff.reason, lang)?,
        level: cutoff.level,
        including_management: cutoff.including_management,
        lasting,
        until: cutoff.until,
        unread,
        drill: cutoff.drill,
        started: cutoff.started,
    })
}

/// What a `restore` asks for.
pub(super) fn restore(restore: Restore, lang: Lang) -> Result<Work, Usage> {
    if let Some((word, rest)) = restore.words.split_first()
        && word == "confirm"
    {
        let number = || Usage(text::usage_confirm(lang));
        let [id] = rest else { return Err(number()) };
        let id = id.parse().map_err(|_| number())?;
        if restore.dry_run || !restore.first.is_empty() {
            return Err(Usage(text::confirm_alone(lang)));
        }
        return Ok(Work::Ask(Ask::Confirm(ConfirmAsk { id, reason: restore.reason })));
    }
    let objects = objects(&restore.words, lang)?;
    let reason = if restore.dry_run { String::new() } else { needs_reason(restore.reason, lang)? };
    let first = restore.first.iter().map(|word| First::read(word).map_err(|error| Usage(error.text(lang))));
    let first = first.collect::<Result<_, _>>()?;
    Ok(Work::Ask(Ask::Restore(RestoreAsk { objects, reason, first, dry_run: restore.dry_run })))
}

/// Objects, each in two words but `all`.
pub(super) fn objects(words: &[String], lang: Lang) -> Result<Vec<Object>, Usage> {
    let mut objects = Vec::new();
    let mut words = words.iter();
    while let Some(kind) = words.next() {
        if kind == "all" {
            objects.push(Object::All);
            continue;
        }
        if ["plan", "plans", "unplan"].contains(&kind.as_str()) {
            return Err(Usage(text::plan_first(lang, kind)));
        }
        if !["network", "zone", "host", "prefix"].contains(&kind.as_str()) {
            return Err(Usage(text::usage_object(lang, kind, meant(kind))));
        }
        let name = words.next().ok_or_else(|| Usage(text::usage_object_name(lang, kind)))?;
        objects.push(match kind.as_str() {
            "network" => Object::Network { name: name.clone() },
            "zone" => Object::Zone { name: name.clone() },
            "host" => Object::host(name).map_err(|error| Usage(error.text(lang)))?,
            _ => Object::prefix(name).map_err(|error| Usage(error.text(lang)))?,
        });
    }
    Ok(objects)
}

/// How a word that stands where a kind belongs would be written.
fn meant(word: &str) -> String {
    match (word.parse::<IpNet>(), HostName::read(word)) {
        (Ok(_), _) => format!("prefix {word}"),
        (_, Some(HostName::Device(_))) => format!("network {word} | zone {word} | host {word}"),
        (_, Some(_)) => format!("host {word}"),
        _ => "network NAME | zone NAME | host ADDR|MAC|DEVICE | prefix P | all".to_owned(),
    }
}

/// What a cut-off did, and what was seen of it.
pub(super) fn done(out: &mut impl Write, done: &CutDone, lang: Lang) -> io::Result<()> {
    for object in &done.objects {
        if done.drill {
            let head = if object.in_force { text::cut_drilled_while_cut } else { text::cut_drilled };
            writeln!(out, "{}", head(lang, &object.object))?;
            continue;
        }
        if object.in_force {
            let head = if object.done == "cut" { text::cut_done } else { text::cut_again };
            writeln!(out, "{}", head(lang, &object.object))?;
        }
        details(out, object, lang)?;
    }
    if done.drill {
        drill(out, done, lang)?;
    } else {
        proof(out, &done.proof, lang)?;
    }
    done.notes.iter().try_for_each(|note| writeln!(out, "  ! {note}"))?;
    done.checklist.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    if done.others.is_empty() {
        return Ok(());
    }
    writeln!(out, "{}", text::cut_others(lang, done.others.join(", ")))
}

fn details(out: &mut impl Write, object: &ObjectDone, lang: Lang) -> io::Result<()> {
    if let Some(until) = &object.until {
        writeln!(out, "{}", text::cut_until(lang, until))?;
    }
    if object.forgotten != 0 {
        writeln!(out, "{}", text::cut_forgotten(lang, object.forgotten))?;
    }
    if object.links.is_empty() {
        return Ok(());
    }
    let names = object.links.join(", ");
    let line =
        if matches!(object.done.as_str(), "restored" | "staged") { text::restored_links } else { text::cut_links_down };
    writeln!(out, "{}", line(lang, names))
}

fn drill(out: &mut impl Write, done: &CutDone, lang: Lang) -> io::Result<()> {
    for step in &done.steps {
        let line = match &step.problem {
            None => text::drill_step(lang, &step.step, format_args!("{:.1}", step.ms)),
            Some(problem) => text::drill_step_bad(lang, &step.step, problem),
        };
        writeln!(out, "{line}")?;
    }
    for object in &done.proof.objects {
        writeln!(out, "{}", text::drill_conversations(lang, &object.object, object.conversations))?;
    }
    match done.people_seconds {
        Some(seconds) => writeln!(out, "{}", text::drill_people(lang, seconds / 60, seconds % 60)),
        None => Ok(()),
    }
}

/// What was seen of cuts.
pub(super) fn proof(out: &mut impl Write, proof: &Proof, lang: Lang) -> io::Result<()> {
    if proof.proven {
        let head = if proof.management_open { text::proof_head_but_management } else { text::proof_head };
        writeln!(out, "{}", head(lang))?;
    } else {
        writeln!(out, "{}", text::proof_not(lang))?;
        proof.unverified.iter().try_for_each(|line| writeln!(out, "  !! {line}"))?;
    }
    if let (Some(at), Some(us)) = (&proof.switched_at, proof.switch_us) {
        writeln!(out, "{}", text::proof_switched(lang, at, us))?;
    }
    if let Some(ms) = proof.settled_ms {
        writeln!(out, "{}", text::proof_settled(lang, ms))?;
    }
    proof.objects.iter().try_for_each(|object| seen(out, object, proof.watched_ms, lang))
}

fn seen(out: &mut impl Write, seen: &ObjectProof, watched_ms: u64, lang: Lang) -> io::Result<()> {
    let object = &seen.object;
    if seen.passed == Some(0) {
        writeln!(out, "{}", text::proof_counters(lang, object, watched_ms))?;
    }
    if seen.probes != 0 {
        writeln!(out, "{}", text::proof_probes(lang, object, seen.probes_dropped, seen.probes))?;
    }
    writeln!(out, "{}", text::proof_refused(lang, object, seen.refused_packets, seen.refused_bytes))?;
    if seen.conversations != 0 {
        writeln!(out, "{}", text::proof_conversations(lang, object, seen.conversations))?;
    }
    let names = seen.interfaces.iter().map(|interface| match interface.up {
        None => text::proof_absent(lang, &interface.name),
        Some(false) => text::proof_down(lang, &interface.name),
        Some(true) => interface.name.clone(),
    });
    let names: Vec<String> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    writeln!(out, "{}", text::proof_interfaces(lang, object, names.join(", ")))
}

/// What a restoration did, or would do.
pub(super) fn restored(out: &mut impl Write, done: &RestoreDone, lang: Lang) -> io::Result<()> {
    if done.dry_run {
        writeln!(out, "{}", text::restore_dry(lang))?;
    }
    if let Some(waiting) = &done.waiting {
        let names: Vec<&str> = done.objects.iter().map(|object| object.object.as_str()).collect();
        writeln!(out, "{}", text::restore_waiting(lang, names.join(", "), waiting.id, &waiting.expires))?;
    }
    for object in &done.objects {
        match object.done.as_str() {
            "restored" => writeln!(out, "{}", text::restored(lang, &object.object))?,
            "staged" => writeln!(out, "{}", text::restored_first(lang, &object.object, done.first.join(", ")))?,
            _ => continue,
        }
        details(out, object, lang)?;
    }
    done.opens.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    done.notes.iter().try_for_each(|note| writeln!(out, "{note}"))
}

/// What is cut off.
pub(super) fn list(out: &mut impl Write, cuts: &[report::Cutoff], lang: Lang) -> io::Result<()> {
    if cuts.is_empty() {
        return writeln!(out, "{}", text::cut_nothing(lang));
    }
    for cut in cuts {
        writeln!(out, "{}", line(cut, lang))?;
        writeln!(out, "{}", text::cut_list_refused(lang, cut.refused_packets, cut.refused_bytes))?;
        for waiting in &cut.waiting {
            let report::Waiting { id, asked_by, reason, expires, .. } = waiting;
            writeln!(out, "{}", text::cut_list_waiting(lang, &asked_by.name, reason, id, expires))?;
        }
    }
    Ok(())
}

/// One cut, as `status` shows it too.
pub(super) fn line(cut: &report::Cutoff, lang: Lang) -> String {
    let mut extra = String::new();
    if cut.level != Level::Drop {
        extra.push_str(&text::cut_list_level(lang, cut.level));
    }
    if let Some(until) = &cut.until {
        extra.push_str(&text::cut_list_until(lang, until));
    }
    if cut.including_management {
        extra.push_str(&text::including_management(lang));
    }
    if !cut.first.is_empty() {
        extra.push_str(&text::cut_list_first(lang, cut.first.join(", ")));
    }
    for waiting in &cut.waiting {
        extra.push_str(&text::cut_list_asked(lang, &waiting.asked_by.name, waiting.id));
    }
    if !cut.in_force {
        extra.push_str(&text::not_in_force(lang));
    }
    text::h_cutoff(lang, &cut.object, text::age(lang, cut.age_seconds), &cut.placed_by.name, &cut.reason, extra)
}
