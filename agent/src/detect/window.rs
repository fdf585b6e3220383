//! Live capture: what the gate drops, as it drops it. One at a time, bounded in time, packets and memory.
//!
//! The data plane looks at one wish only, and forgets it at its end by itself. Whoever looks comes again and again; whoever stops
//! coming is forgotten within [`LEASE`].

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use schemars::JsonSchema;
use sekimori_ebpf::detect::abi::Wanted;
use serde::{Deserialize, Serialize};

use super::source::{Error, Window};

/// The longest capture.
pub const MAX_SECONDS: u64 = 3_600;
/// How long the data plane goes on for somebody who does not come again.
pub const LEASE: Duration = Duration::from_secs(10);
/// Packets of one answer.
pub const MOST: usize = 512;

/// Which packets are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Reason code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Zone or network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<String>,
    /// Either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<IpAddr>,
    /// Either port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// IP protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proto: Option<u8>,
}

/// One packet, named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// When, RFC 3339, microseconds.
    pub time: String,
    /// The same, nanoseconds since 1970.
    pub nanoseconds: u64,
    /// Where it came by or was to leave by.
    pub interface: String,
    /// `in` or `out`.
    pub direction: String,
    /// Zone or network.
    pub network: String,
    /// `pass` or `drop`.
    pub verdict: String,
    /// Reason code.
    pub reason: String,
    /// Rule that decided.
    pub rule: Option<String>,
    /// Detector that spoke.
    pub detector: Option<String>,
    /// Registered device that sent it.
    pub device: Option<String>,
    /// As `tcp 192.168.10.17:40000 > 203.0.113.5:443`.
    pub packet: String,
    /// Bytes on the wire.
    pub length: u32,
    /// The first of them, hex.
    pub bytes: String,
    /// All of this in one line, as it stands in a pcapng file.
    pub comment: String,
}

/// What one look gives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// To come again with.
    pub session: u64,
    /// What was seen.
    pub packets: Vec<Row>,
    /// The time is over.
    pub over: bool,
}

/// Somebody who looks.
#[derive(Debug)]
struct Session {
    number: u64,
    who: String,
    wanted: Wanted,
    ends: Instant,
    last: Instant,
}

/// Nobody looks, or somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum No {
    /// Somebody else does.
    Busy(String),
    /// It is over.
    Over,
}

/// Who looks.
#[derive(Debug, Default)]
pub struct Watcher {
    session: Option<Session>,
    next: u64,
}

impl Watcher {
    /// Begins to look, unless somebody else does.
    ///
    /// # Errors
    /// Who does.
    pub fn begin(&mut self, who: &str, wanted: Wanted, lasting: Duration, now: Instant) -> Result<u64, No> {
        let alive = |session: &&Session| now < session.ends && now.duration_since(session.last) < LEASE;
        if let Some(session) = self.session.as_ref().filter(alive) {
            return Err(No::Busy(session.who.clone()));
        }
        self.next += 1;
        let ends = now + lasting.min(Duration::from_secs(MAX_SECONDS));
        self.session = Some(Session { number: self.next, who: who.to_owned(), wanted, ends, last: now });
        Ok(self.next)
    }

    /// Lets the data plane go on for another [`LEASE`], at most to the end; `boot` is `CLOCK_BOOTTIME` nanoseconds. How much time
    /// is left.
    ///
    /// # Errors
    /// The capture is over, or the data plane does not answer.
    pub fn renew(
        &mut self,
        number: u64,
        window: &mut impl Window,
        now: Instant,
        boot: u64,
    ) -> Result<Duration, Result<No, Error>> {
        let session = self.session.as_mut().filter(|session| session.number == number).ok_or(Ok(No::Over))?;
        let left = session.ends.saturating_duration_since(now);
        if left.is_zero() {
            return Ok(left);
        }
        session.last = now;
        let lease = u64::try_from(left.min(LEASE).as_nanos()).unwrap_or(0);
        window.want(&Wanted { until: boot.saturating_add(lease), ..session.wanted }).map_err(Err)?;
        Ok(left)
    }

    /// Stops looking, if it is this one who does.
    ///
    /// # Errors
    /// The data plane does not answer; it forgets by itself.
    pub fn end(&mut self, number: u64, window: &mut impl Window) -> Result<(), Error> {
        if self.session.as_ref().is_some_and(|session| session.number == number) {
            self.session = None;
            window.want(&Wanted::default())?;
        }
        Ok(())
    }
}
