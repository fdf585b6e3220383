//! Sampled events as log lines.

use sekimori_ebpf::{
    abi::Event,
    reason::{Reason, Verdict},
};

use crate::dataplane::maps::unmapped;

/// An event with its names.
pub(super) struct EventLine<'a> {
    /// As sampled.
    pub(super) event: &'a Event,
    /// The zone or network.
    pub(super) net: Option<&'a str>,
    /// The rule that opened it.
    pub(super) rule: Option<&'a str>,
}

impl EventLine<'_> {
    /// Writes it to the log.
    pub(super) fn log(&self) {
        let event = self.event;
        let reason = Reason::from_number(event.reason);
        let code = reason.map_or("unknown", Reason::code);
        let (net, rule) = (self.net.unwrap_or("-"), self.rule.unwrap_or("-"));
        let (src, dst) = (unmapped(event.src), unmapped(event.dst));
        let (proto, sport, dport, len) = (event.proto, event.sport, event.dport, event.len);
        if reason.is_some_and(|reason| reason.verdict() == Verdict::Pass) {
            tracing::info!(rule, net, proto, %src, sport, %dst, dport, "opened");
        } else {
            tracing::debug!(reason = code, net, rule, proto, %src, sport, %dst, dport, len, "dropped");
        }
    }
}
