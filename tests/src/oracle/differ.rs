//! Running a history through the oracle and the subjects, and telling where they part.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::Context as _;
use jiff::Timestamp;
use sekimori::policy::model::{Policy, Rule};
use sekimori_ebpf::reason::Reason;

use super::{
    Event, OracleState, Origin, Verdict, Way,
    frame::Frame,
    generate::{Step, policy::base},
    ip::Packet,
    judge,
    subject::Subject,
    transport,
};

/// Where a subject and the oracle part.
#[derive(Debug, Clone)]
pub struct Disagreement {
    /// Position in the history.
    pub step: usize,
    /// The packet.
    pub event: Event,
    /// The subject's name.
    pub subject: &'static str,
    /// The oracle's answer.
    pub oracle: Verdict,
    /// The subject's answer.
    pub answer: Verdict,
}

/// What a run saw.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Answers compared.
    pub pairs: u64,
    /// Packets the subject could not be asked about; the oracle drops them all, or the run fails.
    pub unasked: u64,
    /// The oracle's reasons.
    pub reasons: BTreeMap<Reason, u64>,
}

/// Whether two answers agree. A rule is compared where both name one.
fn agree(oracle: &Verdict, answer: &Verdict) -> bool {
    let rule_decides = matches!(oracle.reason, Reason::Rule | Reason::Adopted);
    let rules_differ = match (&oracle.rule, &answer.rule) {
        (Some(ours), Some(theirs)) => ours != theirs,
        (ours, theirs) => rule_decides && ours != theirs,
    };
    oracle.reason == answer.reason && !rules_differ
}

/// Plays a history to one subject; stops at the first disagreement.
pub fn run(
    policy: &Policy,
    steps: &[Step],
    subject: &mut dyn Subject,
    tally: &mut Tally,
) -> anyhow::Result<Option<Disagreement>> {
    let mut state = OracleState::default();
    let mut active = policy.clone();
    subject.reset()?;
    subject.load(policy, base()).context("first policy")?;
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Switch(next, now) => {
                active = (**next).clone();
                state.revision += 1;
                subject.load(next, *now).context("switch")?;
            }
            Step::Overlay(cut, management) => {
                state.cut = cut.clone();
                state.management.clone_from(management);
                subject.overlay(&active, cut, management).context("overlay")?;
            }
            Step::Quarantine(quarantine) => {
                state.quarantine = quarantine.clone();
                subject.quarantine(quarantine).context("quarantine")?;
            }
            Step::Packet(event) => {
                if let Way::Out { origin: Origin::Guarded { event: before }, .. } = &event.way
                    && !state.marks.contains_key(before)
                {
                    continue;
                }
                let oracle = judge(&active, &mut state, event);
                let Some(answer) = subject.judge(event)? else {
                    anyhow::ensure!(!oracle.passes(), "a packet that passes was not asked about: {}", describe(event));
                    tally.unasked += 1;
                    continue;
                };
                tally.pairs += 1;
                *tally.reasons.entry(oracle.reason).or_default() += 1;
                if !agree(&oracle, &answer) {
                    let event = event.clone();
                    return Ok(Some(Disagreement { step: number, event, subject: subject.name(), oracle, answer }));
                }
            }
        }
    }
    Ok(None)
}

/// The shortest history found that ends in a disagreement with the same two reasons.
pub fn shrink(
    policy: &Policy,
    steps: &[Step],
    found: &Disagreement,
    subject: &mut dyn Subject,
) -> anyhow::Result<(Vec<Step>, Disagreement)> {
    let mut best: Vec<Step> = steps[..=found.step].to_vec();
    let mut last = found.clone();
    let mut chunk = best.len() / 2;
    while chunk > 0 {
        let mut at = 0;
        while at + chunk < best.len() {
            let mut shorter = best.clone();
            shorter.drain(at..at + chunk);
            match run(policy, &shorter, subject, &mut Tally::default())? {
                Some(next)
                    if (next.oracle.reason, next.answer.reason) == (found.oracle.reason, found.answer.reason) =>
                {
                    best = shorter[..=next.step].to_vec();
                    last = next;
                }
                _ => at += chunk,
            }
        }
        chunk /= 2;
    }
    Ok((best, last))
}

/// The report of a disagreement: everything needed to see it again.
pub fn report(seed: u64, policy_number: usize, policy: &Policy, steps: &[Step], found: &Disagreement) -> String {
    let mut out = String::new();
    let say = |verdict: &Verdict| format!("{} rule {:?}", verdict.reason.code(), verdict.rule);
    let _ = writeln!(out, "seed {seed} policy {policy_number} packet {}", found.event.number);
    let _ = writeln!(out, "oracle: {}", say(&found.oracle));
    let _ = writeln!(out, "{}: {}", found.subject, say(&found.answer));
    for step in steps {
        match step {
            Step::Packet(event) => {
                let _ = writeln!(out, "- {}", describe(event));
                let hex: String = event.frame.iter().map(|byte| format!("{byte:02x}")).collect();
                let _ = writeln!(out, "  {hex}");
            }
            Step::Switch(next, now) => {
                let _ = writeln!(out, "- switch at {now}: rules {:?} builtin {:?}", rule_lines(next), next.builtin);
                let _ = writeln!(out, "  box {:?}\n{}", next.box_addresses, who(next));
            }
            Step::Overlay(cut, management) => {
                let _ = writeln!(out, "- overlay {cut:?} {management:?}");
            }
            Step::Quarantine(quarantine) => {
                let _ = writeln!(out, "- quarantine {quarantine:?}");
            }
        }
    }
    let _ = writeln!(out, "box {:?} builtin {:?} holidays {:?}", policy.box_addresses, policy.builtin, policy.holidays);
    out.push_str(&who(policy));
    for (index, hours) in policy.hours.iter().enumerate() {
        let _ = writeln!(out, "hours {index} {hours:?}");
    }
    for line in rule_lines(policy) {
        let _ = writeln!(out, "{line}");
    }
    out
}

/// Nets and devices, a line each.
fn who(policy: &Policy) -> String {
    let mut out = String::new();
    for (index, net) in policy.nets.iter().enumerate() {
        let _ = writeln!(
            out,
            "net {index} {:?} ports {:?} prefixes {:?} default {} routers {:?} {:?}",
            net.kind, net.ports, net.prefixes, net.is_default, net.routers, net.builtin
        );
    }
    for (index, device) in policy.devices.iter().enumerate() {
        let _ = writeln!(
            out,
            "device {index} {} net {} {:?} {:?} until {:?}",
            device.name, device.net, device.mac, device.addresses, device.until
        );
    }
    out
}

fn rule_lines(policy: &Policy) -> Vec<String> {
    let line = |rule: &Rule| {
        format!(
            "rule {} from {:?} to {:?} services {:?} hours {:?} until {:?} limits {:?} published {:?}",
            rule.id, rule.from, rule.to, rule.services, rule.hours, rule.until, rule.limits, rule.published
        )
    };
    policy.rules.iter().map(line).collect()
}

/// One line about a packet.
pub fn describe(event: &Event) -> String {
    let what = match Frame::read(&event.frame) {
        Err(reason) => format!("frame {}", reason.code()),
        Ok(frame) => {
            let packet = match frame.kind {
                0x0800 => Packet::read_v4(&frame.body),
                0x86dd => Packet::read_v6(&frame.body),
                _ => Err(Reason::UnknownEtherType),
            };
            let inside = match packet {
                Err(reason) => reason.code().to_owned(),
                Ok(packet) => format!(
                    "{} > {} proto {} ttl {} ext {} {:?} {:?}",
                    packet.src,
                    packet.dst,
                    packet.proto,
                    packet.ttl,
                    packet.extensions,
                    packet.fragment,
                    transport::read(&packet)
                ),
            };
            format!(
                "{:x?} > {:x?} vlan {}/{} {:#06x} {inside}",
                frame.from.0, frame.to.0, frame.outer, frame.inner, frame.kind
            )
        }
    };
    format!("#{} {} {:?} {what}", event.number, clock(event.now), event.way)
}

fn clock(now: Timestamp) -> String {
    now.to_string()
}
