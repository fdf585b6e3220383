//! Verdicts without a packet: the kernel's own source over tables in memory.

use std::sync::Arc;

use jiff::{Timestamp, civil, tz::TimeZone};
use sekimori_ebpf::{
    abi::{IFACE_GUARDED, IfaceEntry},
    reason::{Reason, Verdict},
    tables::Tables as _,
};
use serde::{Deserialize, Serialize};

use super::{
    clock::boottime_ns,
    rooms::{self, Numbers},
};
use crate::{
    api::protocol::Question,
    cli::text::{self, Lang},
    compile::{host::HostTables, prefixes::address, tables::Compiled},
    cutoff::object::read_mac,
    dataplane::{Canary, CutTables, quarantine},
    explain::{
        self, Explanation,
        frame::{self, Link},
        port::{self, Enters},
    },
    policy::{
        model::{L4Spec, Limits, Mac, PacketSpec, Place, Policy, Rule},
        packet,
    },
};

/// Room for the views of one packet.
const VIEWS: usize = 16;
/// Canaries of one switch; enough to notice tables that judge wrongly, few enough not to delay a switch.
const MAX_CANARIES: usize = 64;

/// A verdict and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// `pass` or `drop`.
    pub verdict: String,
    /// Deciding rule, or the one that would permit it but is closed.
    pub rule: Option<String>,
    /// Reason code.
    pub reason: String,
    /// Where it comes from.
    #[serde(rename = "in")]
    pub enters: Option<String>,
    /// Where it must leave, or where its destination lives.
    #[serde(rename = "out")]
    pub leaves: Option<String>,
    /// The registered device it was taken for.
    pub device: Option<String>,
    /// The source MAC it was given.
    pub mac: String,
    /// The rule that came closest and the conditions it lacked.
    pub nearest: Option<(String, Vec<String>)>,
    /// The rule has limits: whether they leave room now is not asked.
    #[serde(default)]
    pub limited: bool,
    /// All of it for people, several lines.
    pub text: String,
}

impl Explained {
    /// Whether the packet passes.
    pub fn pass(&self) -> bool {
        self.verdict == "pass"
    }
}

/// A policy in memory, ready to be asked.
#[derive(Debug)]
pub struct Evaluator {
    host: HostTables,
    zone: TimeZone,
    policy: Arc<Policy>,
    cut_nets: Vec<u16>,
}

impl Evaluator {
    /// Of a policy that is not in force.
    ///
    /// # Errors
    /// It does not compile.
    pub fn new(policy: &Policy) -> Result<Self, String> {
        let mut numbers = Numbers::none();
        let compiled = rooms::compile(policy, &mut numbers)?;
        Ok(Self::of(&Arc::new(policy.clone()), Arc::new(compiled)))
    }

    /// Of compiled tables.
    pub fn of(policy: &Arc<Policy>, compiled: Arc<Compiled>) -> Self {
        let mut host = HostTables::new(VIEWS);
        let interfaces = compiled.interfaces.clone();
        host.switch(compiled, Vec::new());
        for (_, id) in interfaces {
            host.set_iface(u32::from(id), IfaceEntry { id, flags: IFACE_GUARDED, ..IfaceEntry::default() });
        }
        Self { host, zone: policy.timezone.clone(), policy: Arc::clone(policy), cut_nets: Vec::new() }
    }

    /// What is cut off decides too.
    pub fn cut(&mut self, cut: &CutTables) {
        self.cut_nets.clone_from(&cut.nets);
        self.host.set_cut(cut);
    }

    /// Who is in quarantine decides too.
    pub fn quarantine(&mut self, hosts: &[quarantine::Host]) {
        let hosts: Vec<_> = hosts.iter().map(|host| (host.addresses.clone(), host.macs.clone())).collect();
        self.host.set_quarantine(&hosts);
    }

    /// The verdict on one packet.
    ///
    /// # Errors
    /// The question cannot be read or has no answer.
    pub fn ask(&mut self, question: &Question, lang: Lang) -> Result<Explained, String> {
        let spec = packet::parse(&question.packet).map_err(|error| error.to_string())?;
        let said = |error: explain::ExplainError| match lang {
            Lang::En => error.to_string(),
            Lang::Ja => error.ja(),
        };
        let compiled = self.host.compiled().ok_or_else(|| said(explain::ExplainError::NoPolicy))?;
        let enters = port::enters(compiled, &question.interface).map_err(said)?;
        let mac = match &question.mac {
            Some(text) => Some(Mac(read_mac(text).ok_or_else(|| text::not_a_mac(lang, text))?)),
            None => None,
        };
        let wall = match &question.at {
            Some(text) => instant(text, &self.zone).ok_or_else(|| text::not_an_instant(lang, text))?,
            None => Timestamp::now(),
        };
        let now = self.lay_out(wall);
        let mut explanation = explain::explain(&mut self.host, &enters, &spec, mac, now).map_err(said)?;
        // What passes the way in may meet a cut-off on the way out.
        if explanation.verdict == Verdict::Pass && self.cut_on_the_way_out(explanation.leaves.as_deref()) {
            explanation.verdict = Verdict::Drop;
            explanation.reason = Reason::CutNetwork;
        }
        // So may a published server that is in quarantine.
        if explanation.verdict == Verdict::Pass && self.server_in_quarantine(explanation.rule.as_deref()) {
            explanation.verdict = Verdict::Drop;
            explanation.reason = Reason::Quarantined;
        }
        let mut explained = explained(&explanation, lang);
        explained.limited = explanation.verdict == Verdict::Pass && self.limits(explanation.rule.as_deref());
        if explained.limited {
            explained.text.push('\n');
            explained.text.push_str(&text::explain_limited(lang));
        }
        Ok(explained)
    }

    /// Whether this rule has limits.
    fn limits(&self, rule: Option<&str>) -> bool {
        let limited = |known: &Rule| Some(known.id.as_str()) == rule && known.limits != Limits::default();
        self.policy.rules.iter().any(limited)
    }

    fn server_in_quarantine(&self, rule: Option<&str>) -> bool {
        let rule = self.policy.rules.iter().find(|known| Some(known.id.as_str()) == rule && !known.quarantined);
        let server = rule.and_then(|rule| rule.published.as_ref());
        server.is_some_and(|server| self.host.quarantined(&address(server.address)) != 0)
    }

    fn cut_on_the_way_out(&self, leaves: Option<&str>) -> bool {
        let names = self.host.compiled().map(|compiled| compiled.net_names.as_slice()).unwrap_or_default();
        let id = names.iter().find(|(name, _)| Some(name.as_str()) == leaves).map(|(_, id)| *id);
        id.is_some_and(|id| self.cut_nets.contains(&id))
    }

    /// Schedules as at `wall`; the instant on the boot clock.
    fn lay_out(&mut self, wall: Timestamp) -> u64 {
        let now = boottime_ns();
        if let Some(compiled) = self.host.compiled() {
            let schedules = rooms::windows(compiled, &self.policy, wall, now);
            self.host.set_schedules(schedules);
        }
        now
    }

    /// Frames for the data plane to judge before a switch: the policy's own tests that name no time and no quarantine, with the verdict
    /// the same source gives here, so that only tables that differ from what was compiled can fail them.
    pub fn canaries(&mut self) -> Vec<Canary> {
        let now = self.lay_out(Timestamp::now());
        let tests: Vec<_> = self
            .policy
            .tests
            .iter()
            .filter(|test| test.at.is_none() && !test.quarantined)
            .take(MAX_CANARIES)
            .cloned()
            .collect();
        tests
            .iter()
            .filter_map(|test| {
                let enters = match test.enters {
                    Place::Box => Enters::Box,
                    Place::Net(index) => Enters::Port(self.policy.nets.get(index)?.ports.first()?.clone()),
                };
                let explanation = explain::explain(&mut self.host, &enters, &test.packet, test.mac, now).ok()?;
                self.canary(&test.name, &enters, &test.packet, &explanation, now)
            })
            .collect()
    }

    fn canary(
        &self,
        name: &str,
        enters: &Enters,
        spec: &PacketSpec,
        explanation: &Explanation,
        now: u64,
    ) -> Option<Canary> {
        let compiled = self.host.compiled()?;
        let (key, from_box) = match enters {
            Enters::Port(port) => {
                let (_, iface) = compiled.interfaces.iter().find(|(name, _)| *name == port.interface)?;
                let here = |key: &&sekimori_ebpf::abi::PortKey| {
                    key.iface == *iface && key.outer == port.outer && key.inner == port.inner
                };
                (compiled.ports.iter().map(|(key, _)| key).find(here)?, false)
            }
            Enters::Box => {
                let out = explanation.leaves.as_ref()?;
                let (_, net) = compiled.net_names.iter().find(|(name, _)| name == out)?;
                (compiled.ports.iter().find(|(_, owner)| owner == net).map(|(key, _)| key)?, true)
            }
        };
        let link =
            Link { src: read_mac(&explanation.mac)?, dst: [2, 0, 0, 0, 0, 0xfe], outer: key.outer, inner: key.inner };
        let frame = frame::build(&link, spec).ok()?;
        // Bare protocols have a header of their own that `frame` does not write; their verdict may depend on it.
        if matches!(spec.l4, L4Spec::Protocol(_)) {
            return None;
        }
        let pass = explanation.verdict == Verdict::Pass;
        Some(Canary { name: name.to_owned(), frame, iface: key.iface, from_box, now, pass })
    }
}

impl Numbers {
    /// For tables that are never put in force.
    pub fn none() -> Self {
        Self::default()
    }
}

/// An instant as written: RFC 3339, or local time of the policy.
pub fn instant(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at);
    }
    let local: civil::DateTime = text.parse().ok()?;
    local.to_zoned(zone.clone()).ok().map(|zoned| zoned.timestamp())
}

fn explained(explanation: &Explanation, lang: Lang) -> Explained {
    let pass = explanation.verdict == Verdict::Pass;
    let reason: Reason = explanation.reason;
    let conditions = |lang: Lang| {
        explanation.nearest.as_ref().map(|nearest| {
            let said = nearest.failed.iter().map(|condition| lang.pick(condition.en(), condition.ja()).to_owned());
            (nearest.rule.clone(), said.collect::<Vec<_>>())
        })
    };
    let head = if pass { text::explain_pass(lang) } else { text::explain_drop(lang) };
    let mut lines = vec![format!("{head}  {} ({})", lang.pick(reason.en(), reason.ja()), reason.code())];
    let unknown = || "?".to_owned();
    lines.extend(explanation.rule.as_ref().map(|rule| text::explain_rule(lang, rule)));
    let (from, to) = (explanation.enters.clone(), explanation.leaves.clone());
    lines.push(text::explain_way(lang, from.unwrap_or_else(unknown), to.unwrap_or_else(unknown)));
    let device = explanation.device.clone().unwrap_or_else(|| "-".into());
    lines.push(text::explain_sender(lang, &explanation.mac, device));
    if let Some((rule, failed)) = conditions(lang) {
        lines.push(text::explain_nearest(lang, rule, failed.join(lang.pick(", ", "、"))));
    }
    Explained {
        verdict: if pass { "pass".into() } else { "drop".into() },
        rule: explanation.rule.clone(),
        reason: reason.code().to_owned(),
        enters: explanation.enters.clone(),
        leaves: explanation.leaves.clone(),
        device: explanation.device.clone(),
        mac: explanation.mac.clone(),
        nearest: conditions(lang),
        limited: false,
        text: lines.join("\n"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_said_and_not_asked() {
        let read = |text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("policy.yaml");
            std::fs::write(&path, text).unwrap();
            crate::policy::load(&path).policy.unwrap()
        };
        let minimal = include_str!("../../../policies/minimal.yaml");
        let limited =
            minimal.replace("  - id: office-web\n", "  - id: office-web\n    limits: {flows: 1, new: 1/h burst 1}\n");
        assert_ne!(minimal, limited);
        for (text, said) in [(minimal, false), (limited.as_str(), true)] {
            let policy = read(text);
            let test = policy.tests.iter().find(|test| test.rule.as_deref() == Some("office-web")).unwrap();
            let Place::Net(net) = test.enters else { unreachable!() };
            let packet = "tcp 192.168.1.11:40000 > 198.51.100.5:443".to_owned();
            let interface = policy.nets[net].ports[0].interface.clone();
            let question = Question { packet, interface, mac: None, at: None };
            let mut evaluator = Evaluator::new(&policy).unwrap();
            for _ in 0..3 {
                let explained = evaluator.ask(&question, Lang::En).unwrap();
                assert_eq!((explained.pass(), explained.limited), (true, said), "{explained:?}");
                assert_eq!(explained.text.contains("limits"), said, "{}", explained.text);
            }
        }
    }

    #[test]
    fn instants_as_administrators_write_them() {
        let tokyo = TimeZone::get("Asia/Tokyo").unwrap();
        let utc = instant("2026-12-01T01:00:00Z", &tokyo).unwrap();
        assert_eq!(instant("2026-12-01T10:00", &tokyo).unwrap(), utc);
        assert_eq!(instant("2026-12-01 10:00:00", &tokyo).unwrap(), utc);
        assert_eq!(instant("tomorrow", &tokyo), None);
    }
}
