//! Captures judged by the real programs in a private instance; no traffic is touched.
//!
//! One direction: bytes → [`capture`] (packets with their times) → [`player`] (where each enters and leaves) →
//! [`judge`] (the programs) → [`report`] (one line a packet). Memory is bounded by one packet, whatever the file says.

pub mod capture;
mod clock;
pub mod fault;
pub mod judge;
mod nat;
mod pcap;
mod pcapng;
mod places;
mod player;
pub mod programs;
pub mod report;
mod rewrite;
mod sight;
mod source;
#[cfg(test)]
mod test_bytes;
#[cfg(test)]
mod tests;

use std::io::{Read, Write};

use jiff::Timestamp;

pub(crate) use self::sight::Sight;
use self::{
    capture::Capture,
    clock::Clock,
    fault::Fault,
    judge::Judge,
    player::Player,
    report::{Format, Lang, Report, Summary},
};
use crate::policy::model::Policy;

/// Where packets enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// All of them by this interface. Only the way in is judged.
    Interface(String),
    /// Each by the interface its source lives behind; what passes is also judged on its way out.
    Auto,
}

/// How to replay.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where packets enter.
    pub entry: Entry,
    /// Judge every packet at this instant instead of its own.
    pub at: Option<Timestamp>,
    /// Text or JSON.
    pub format: Format,
    /// Language of texts.
    pub lang: Lang,
}

/// Why a replay stopped before the end of the capture. Verdicts already written stand.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The capture is broken, or of a kind that cannot be judged. [`Fault::text`] says it in either language.
    #[error("{0}")]
    Capture(Fault),
    /// The programs could not be run.
    #[error("packet {packet}: the private instance could not judge it: {source:#}")]
    Judge {
        /// Number of the packet, from 1.
        packet: u64,
        /// Why.
        source: anyhow::Error,
    },
    /// The output could not be written.
    #[error("cannot write the verdicts: {0}")]
    Output(#[source] std::io::Error),
}

/// Judges every packet of `capture` and writes one line for each to `out`.
///
/// # Errors
/// See [`Error`]. The summary of what was judged before is in `summary` either way.
pub fn run(
    capture: impl Read,
    policy: &Policy,
    judge: &mut dyn Judge,
    options: &Options,
    out: &mut dyn Write,
    summary: &mut Summary,
) -> Result<(), Error> {
    let mut clock = Clock::new(options.at);
    let mut player = Player::new(policy, &options.entry);
    let mut report = Report::new(out, options.format, options.lang);
    let mut capture = Capture::open(capture).map_err(Error::Capture)?;
    report.head().map_err(Error::Output)?;
    let mut packet = capture::Packet::default();
    while capture.next(&mut packet).map_err(Error::Capture)? {
        let failed = |source| Error::Judge { packet: packet.number, source };
        let tick = clock.tick(packet.time);
        if let Some(at) = tick.lay_out {
            judge.set_clock(at).map_err(failed)?;
        }
        let played = player.play(judge, &packet, &tick).map_err(failed)?;
        summary.count(&played);
        report.line(&packet, tick.now, &played, policy).map_err(Error::Output)?;
    }
    report.tail(summary).map_err(Error::Output)
}
