//! The policy's own tests.

use sekimori_ebpf::reason::{ALL, Reason, Verdict};

use super::{
    super::{
        diagnostic::Sink,
        document::{self, File},
        model::{Place, PolicyTest, Rule},
        packet,
        problem::Problem,
        words::{Moment, TestTime},
    },
    Context, instant, rules,
};

pub(super) fn tests(document: &File, context: &Context, rules: &[Rule], sink: &mut Sink) -> Vec<PolicyTest> {
    // A rule that was refused is missing from `rules`; naming it is then no second mistake.
    let complete = rules.len() == document.rules.len() + document.publish.len();
    document.tests.iter().filter_map(|test| one(test, context, rules, complete, sink)).collect()
}

fn one(test: &document::Test, context: &Context, all: &[Rule], complete: bool, sink: &mut Sink) -> Option<PolicyTest> {
    let enters = context.nets.place(&test.r#in.value.0, test.r#in.at, sink);
    let spec = packet::parse(&test.packet.value.0);
    if let Err(error) = &spec {
        sink.report(test.packet.at, &Problem::BadPacket { why: error.to_string() }).text(&test.packet.value.0);
    }
    let (enters, spec) = (enters?, spec.ok()?);
    if enters == Place::Box {
        if let Some(mac) = &test.mac {
            sink.report(mac.at, &Problem::BoxTestMac).text(&mac.value.to_string());
        }
        if !context.box_addresses.contains(&spec.src) {
            let problem = Problem::BoxTestSource { address: spec.src.to_string() };
            sink.report(test.packet.at, &problem).text(&test.packet.value.0);
        }
    }
    if let Some(rule) = test.rule.as_ref().filter(|_| complete) {
        rules::known(&rule.value.0, rule.at, all, sink);
    }
    let pass = test.expect.value.0;
    if let Some(reason) = &test.reason {
        reason_fits(&reason.value.0, reason.at, pass, sink);
    }
    Some(PolicyTest {
        name: test.name.value.0.clone(),
        enters,
        packet: spec,
        mac: test.mac.as_ref().map(|mac| mac.value),
        at: test.at.as_ref().and_then(|at| match at.value {
            TestTime(Moment::Instant(instant)) => Some(instant),
            TestTime(Moment::Local(local)) => instant(local, &context.timezone),
            TestTime(Moment::Day(_)) => None,
        }),
        quarantined: test.quarantined.as_ref().is_some_and(|quarantined| quarantined.value),
        pass,
        rule: test.rule.as_ref().map(|rule| rule.value.0.clone()),
        reason: test.reason.as_ref().map(|reason| reason.value.0.clone()),
        at_source: (sink.path(test.name.at), test.name.at.line, test.name.at.col),
    })
}

fn reason_fits(code: &str, at: super::super::diagnostic::Span, pass: bool, sink: &mut Sink) {
    match Reason::from_code(code) {
        None => {
            let known = ALL.iter().map(|reason| reason.code());
            let report = sink.report(at, &Problem::UnknownReason { code: super::super::diagnostic::shorten(code) });
            report.text(code).suggest(super::super::nearest::nearest(code, known));
        }
        Some(reason) if (reason.verdict() == Verdict::Pass) != pass => {
            let expect = if pass { "pass" } else { "drop" }.to_owned();
            sink.report(at, &Problem::ReasonContradicts { code: code.to_owned(), expect }).text(code);
        }
        Some(_) => {}
    }
}
