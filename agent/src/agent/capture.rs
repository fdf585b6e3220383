//! Live capture for whoever asks over the control socket: begins, comes again for what was seen, and ends by itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use sekimori_ebpf::{
    detect::abi::{Detector, Kept, Wanted},
    reason::{Reason, Verdict},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::{
    clock::boottime_ns,
    handler::Desk,
    keeper::{Caller, Keeper},
};
use crate::{
    api::protocol::Reply,
    cli::text::{self, Lang},
    dataplane::{detect::CaptureMaps, maps::mapped},
    detect::{
        evidence::{self, Names, interface},
        source::Window,
        window::{Filter, MAX_SECONDS, MOST, No, Row, Seen, Watcher},
    },
    policy::model::Policy,
    record::room::hex,
    replay::Sight,
};

/// How long one answer waits for a packet.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked: not so often that the door of the control socket takes whoever comes again for a flood.
const EVERY: Duration = Duration::from_millis(100);
/// What captured packets that were to leave have for a number.
const LEAVING: u64 = 2;
/// Looks after which nothing is left of an earlier capture, whatever the ring holds.
const STALE: usize = 64;

/// What is asked of a capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case", deny_unknown_fields)]
pub enum CaptureAsk {
    /// Begin.
    Begin {
        /// Which packets.
        filter: Filter,
        /// For so many seconds.
        seconds: u64,
    },
    /// What was seen since.
    Next {
        /// As [`Seen::session`] says.
        session: u64,
    },
    /// It is enough.
    End {
        /// See there.
        session: u64,
    },
}

/// Who looks, and through what.
#[derive(Default)]
struct Looking {
    watcher: Watcher,
    maps: Option<CaptureMaps>,
}

/// One for all who ask; they wait for one another, and nobody else for them.
#[derive(Clone, Default)]
pub struct Captures(Arc<Mutex<Looking>>);

impl Desk {
    /// Live capture.
    pub(super) async fn capture(&self, ask: CaptureAsk, caller: &Caller) -> Reply {
        let lang = caller.lang;
        match ask {
            CaptureAsk::Begin { filter, seconds } => self.begin(&filter, seconds, caller).await,
            CaptureAsk::Next { session } => {
                let until = Instant::now() + PATIENCE;
                loop {
                    tokio::time::sleep(EVERY).await;
                    let seen = match self.seen(session, lang).await {
                        Ok(seen) => seen,
                        Err(reply) => return reply,
                    };
                    if seen.over || !seen.packets.is_empty() || Instant::now() >= until {
                        return Reply::done(seen);
                    }
                }
            }
            CaptureAsk::End { session } => {
                let mut looking = self.captures.0.lock().await;
                let Looking { watcher, maps } = &mut *looking;
                let ended = maps.as_mut().map_or(Ok(()), |maps| watcher.end(session, maps));
                match ended {
                    Ok(()) => Reply::done(Seen { session, over: true, ..Seen::default() }),
                    Err(error) => Reply::failed(text::capture_failed(lang, error)),
                }
            }
        }
    }

    async fn begin(&self, filter: &Filter, seconds: u64, caller: &Caller) -> Reply {
        let lang = caller.lang;
        if !(1..=MAX_SECONDS).contains(&seconds) {
            return Reply::usage(text::capture_seconds(lang, MAX_SECONDS));
        }
        let (wanted, dir) = {
            let keeper = self.keeper.lock().await;
            (keeper.wanted(filter, lang), keeper.config().bpffs.join("maps"))
        };
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(reply) => return reply,
        };
        let mut maps = match CaptureMaps::pinned(&dir) {
            Ok(maps) => maps,
            Err(error) => return Reply::failed(text::capture_no_dataplane(lang, error)),
        };
        let mut looking = self.captures.0.lock().await;
        let now = Instant::now();
        let session = match looking.watcher.begin(&caller.actor.name, wanted, Duration::from_secs(seconds), now) {
            Ok(session) => session,
            Err(No::Busy(who)) => return Reply::problem(2, "busy", text::capture_busy(lang, who)),
            Err(No::Over) => return Reply::refused(text::capture_over(lang)),
        };
        // What an earlier capture left is nobody's.
        for _ in 0..STALE {
            if maps.captured(MOST).len() < MOST {
                break;
            }
        }
        match looking.watcher.renew(session, &mut maps, now, boottime_ns()) {
            Ok(_) => {
                looking.maps = Some(maps);
                Reply::done(Seen { session, ..Seen::default() })
            }
            Err(Ok(_)) => Reply::refused(text::capture_over(lang)),
            Err(Err(error)) => Reply::failed(text::capture_failed(lang, error)),
        }
    }

    /// What waits right now.
    async fn seen(&self, session: u64, lang: Lang) -> Result<Seen, Reply> {
        let (left, kept) = {
            let mut looking = self.captures.0.lock().await;
            let Looking { watcher, maps } = &mut *looking;
            let Some(maps) = maps else { return Err(Reply::refused(text::capture_over(lang))) };
            let left = match watcher.renew(session, maps, Instant::now(), boottime_ns()) {
                Ok(left) => left,
                Err(Ok(_)) => return Err(Reply::refused(text::capture_over(lang))),
                Err(Err(error)) => return Err(Reply::failed(text::capture_failed(lang, error))),
            };
            (left, maps.captured(MOST))
        };
        if kept.is_empty() {
            return Ok(Seen { session, over: left.is_zero(), ..Seen::default() });
        }
        let keeper = self.keeper.lock().await;
        let (names, policy) = (keeper.detect_names(), keeper.live().map(|live| Arc::clone(&live.policy)));
        drop(keeper);
        let packets = kept.iter().map(|kept| row(kept, &names, policy.as_deref())).collect();
        // What still waits is fetched before it is over.
        Ok(Seen { session, packets, over: false })
    }
}

impl Keeper {
    /// A filter as the data plane takes it.
    fn wanted(&self, filter: &Filter, lang: Lang) -> Result<Wanted, Reply> {
        let reason = match &filter.reason {
            None => 0,
            Some(code) => match Reason::from_code(code) {
                Some(reason) => reason as u32,
                None => return Err(Reply::usage(text::capture_reason(lang, code))),
            },
        };
        let net = match &filter.net {
            None => 0,
            Some(name) => match self.names().0.iter().find(|(_, known)| *known == name) {
                Some((id, _)) => u32::from(*id),
                None => {
                    let known = self.live.iter().flat_map(|live| &live.policy.nets).map(|net| net.name.as_str());
                    let known = known.collect::<Vec<_>>().join(", ");
                    return Err(Reply::usage(text::capture_net(lang, name, known)));
                }
            },
        };
        Ok(Wanted {
            until: 0,
            reason,
            net,
            addr: filter.host.map(|host| mapped(host.to_canonical())).unwrap_or_default(),
            port: filter.port.map(u32::from).unwrap_or_default(),
            proto: filter.proto.map(u32::from).unwrap_or_default(),
        })
    }
}

fn row(kept: &Kept, names: &Names, policy: Option<&Policy>) -> Row {
    let bytes = evidence::bytes(kept);
    let sight = Sight::of(bytes);
    let reason = Reason::from_number(kept.reason);
    let nanoseconds = names.wall(kept.time);
    let time = Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::UNIX_EPOCH);
    let device = policy.and_then(|policy| {
        let by_mac = || policy.devices.iter().find(|device| Some(device.mac) == sight.src_mac);
        let by_address = |address| policy.devices.iter().find(|device| device.addresses.contains(&address));
        sight.ends.and_then(|(src, _)| by_address(src)).or_else(by_mac)
    });
    Row {
        time: format!("{time:.6}"),
        nanoseconds,
        interface: interface(kept.ifindex),
        direction: if kept.number == LEAVING { "out" } else { "in" }.to_owned(),
        network: names.net(kept.net),
        verdict: if reason.map(Reason::verdict) == Some(Verdict::Pass) { "pass" } else { "drop" }.to_owned(),
        reason: reason.map_or_else(|| format!("reason-{}", kept.reason), |reason| reason.code().to_owned()),
        rule: names.rule(kept.slot),
        detector: Detector::from_number(kept.detector.into()).map(|detector| detector.code().to_owned()),
        device: device.map(|device| device.name.clone()),
        packet: sight.line(),
        length: kept.len,
        bytes: hex(bytes),
        comment: names.comment(kept),
    }
}
