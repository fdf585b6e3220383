//! What inside hosts are watched for, as `status` says it; exemptions that end on time.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    clock::boottime_ns,
    fault::Fault,
    keeper::{Keeper, report},
};
use crate::{
    api::report::{Guarded, Watched, WatchedZone},
    policy::model::{Measure, Policy},
};

/// A host silent for so long is no longer known to detectors, nanoseconds: an hour.
const IDLE_HOST: u64 = 3_600_000_000_000;

impl Keeper {
    /// The time that exemptions go by: a clock that went back brings none of them back.
    fn no_earlier(&self) -> Timestamp {
        let now = Timestamp::now();
        now.checked_add(self.high.behind(now)).unwrap_or(now)
    }

    /// Lets exemptions end whose time is over.
    pub fn refresh_exemptions(&mut self) {
        let now = self.no_earlier();
        if let Ok(dataplane) = self.dataplane.as_mut() {
            let refreshed = dataplane.refresh_exemptions(now).map_err(|error| report(&error));
            self.faults.track(refreshed, |why| Fault::State("exemptions", why));
        }
    }

    /// Makes room among the hosts that detectors know.
    pub fn forget_idle_hosts(&mut self) {
        if let Ok(dataplane) = self.dataplane.as_mut() {
            let forgotten = dataplane.forget_idle_hosts(boottime_ns(), IDLE_HOST).map_err(|error| report(&error));
            self.faults.track(forgotten.map(drop), |why| Fault::State("watched hosts", why));
        }
    }

    /// How long until the next of them ends.
    pub fn exemptions_due(&self) -> Option<Duration> {
        let now = self.no_earlier();
        let left = self.live.as_ref()?.compiled.watching.next_end(now)?.duration_since(now);
        Some(left.try_into().unwrap_or(Duration::ZERO))
    }
}

/// What a policy watches for.
pub(super) fn watched(policy: &Policy) -> Option<Watched> {
    let detection = policy.detection.as_ref()?;
    let zones = detection.zones.iter().filter_map(|(net, settings)| {
        let mut detectors: BTreeMap<String, usize> = BTreeMap::new();
        for measure in Measure::EACH {
            detectors.insert(measure.word().to_owned(), 0);
        }
        for setting in settings.values() {
            *detectors.entry(setting.action.word().to_owned()).or_default() += 1;
        }
        Some(WatchedZone { zone: policy.nets.get(*net)?.name.clone(), detectors })
    });
    Some(Watched {
        zones: zones.collect(),
        traps: detection.traps.len(),
        exemptions: detection.exemptions.len(),
        guard: Guarded { hosts: detection.guard.hosts, within_seconds: detection.guard.seconds },
    })
}
