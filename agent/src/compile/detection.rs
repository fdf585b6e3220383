//! What a policy watches for, as the data plane's tables say it.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use sekimori_ebpf::{
    abi::quarantine_mac,
    detect::abi::{
        ACTION_ALERT, ACTION_BLOCK, ACTION_OBSERVE, ACTION_OFF, ACTION_QUARANTINE, ACTION_THROTTLE, Detector,
        SPREAD_BITS, Threshold, WATCHED, WATCHED_EXEMPT, WATCHED_TRAPS, Watched,
    },
};

use super::{
    error::{CompileError, Table},
    prefixes::address,
};
use crate::policy::{
    detectors::BLOCK_SECONDS,
    model::{Detection, Exemption, Limit, Measure, Policy, Setting},
};

const SECOND: u64 = 1_000_000_000;

/// What is watched for in one generation. Empty: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watching {
    /// By the net id of a zone. Whether there are threat lists is not the policy's to say.
    pub zones: Vec<(u16, Watched)>,
    /// Addresses that nobody uses.
    pub traps: Vec<[u8; 16]>,
    /// Who is exempt, and until when.
    pub exempt: Vec<Exempt>,
}

/// One address or MAC that is exempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exempt {
    /// As in [`sekimori_ebpf::detect::abi::ExemptKey::addr`].
    pub key: [u8; 16],
    /// A bit for each detector.
    pub detectors: u64,
    /// The exemption is over at this instant; `None`: never.
    pub until: Option<Timestamp>,
}

impl Watching {
    /// Who is exempt at an instant: a bit for each detector.
    pub fn exempt_at(&self, now: Timestamp) -> BTreeMap<[u8; 16], u64> {
        let mut masks = BTreeMap::new();
        for exempt in self.exempt.iter().filter(|exempt| exempt.until.is_none_or(|until| now < until)) {
            *masks.entry(exempt.key).or_insert(0) |= exempt.detectors;
        }
        masks
    }

    /// The next instant after `now` at which an exemption ends.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        self.exempt.iter().filter_map(|exempt| exempt.until).filter(|until| *until > now).min()
    }
}

/// The tables of a policy.
pub(super) fn table(policy: &Policy, net_ids: &[u16]) -> Result<Watching, CompileError> {
    let Some(detection) = &policy.detection else {
        return Ok(Watching::default());
    };
    let traps: Vec<_> = detection.traps.iter().map(|trap| address(*trap)).collect();
    let exempt = exempt(policy, detection)?;
    let flags =
        WATCHED | if traps.is_empty() { 0 } else { WATCHED_TRAPS } | if exempt.is_empty() { 0 } else { WATCHED_EXEMPT };
    let zones = detection.zones.iter().filter_map(|(net, settings)| {
        let mut watched = Watched::NOTHING;
        for (detector, setting) in settings {
            watched.thresholds[*detector as usize] = threshold(setting);
        }
        // Where everything is off, one comparison is all it costs.
        let any = settings.values().any(|setting| setting.action != Measure::Off);
        watched.flags = if any { flags } else { 0 };
        Some((*net_ids.get(*net)?, watched))
    });
    Ok(Watching { zones: zones.collect(), traps, exempt })
}

/// One detector's setting as the data plane reads it.
pub fn threshold(setting: &Setting) -> Threshold {
    let (cost, most, count) = match setting.limit {
        Limit::None => (0, 0, 0),
        Limit::Count(count) => (0, 0, count),
        Limit::Distinct(count) => (0, 0, bits(count)),
        Limit::Rate(rate) => (rate.cost, rate.cost.saturating_mul(u64::from(rate.burst)), 0),
    };
    let hold = setting.seconds.unwrap_or(BLOCK_SECONDS).saturating_mul(SECOND);
    let action = match setting.action {
        Measure::Off => ACTION_OFF,
        Measure::Observe => ACTION_OBSERVE,
        Measure::Alert => ACTION_ALERT,
        Measure::Throttle => ACTION_THROTTLE,
        Measure::Block => ACTION_BLOCK,
        Measure::Quarantine => ACTION_QUARANTINE,
    };
    Threshold { cost, most, hold, count, action }
}

/// How many bits of the sketch so many different things set, on average: linear counting (Whang, Vander-Zanden and Taylor, "A
/// linear-time probabilistic counting algorithm for database applications", 1990) solved for the bits.
pub fn bits(distinct: u32) -> u32 {
    let size = f64::from(SPREAD_BITS);
    // Between 0 and the sketch's size, which are whole numbers.
    (size * (1.0 - (-f64::from(distinct) / size).exp())).ceil() as u32
}

/// A device is exempt by everything it is known by: which of them the data plane holds against it depends on the packet.
fn exempt(policy: &Policy, detection: &Detection) -> Result<Vec<Exempt>, CompileError> {
    let mut all = Vec::new();
    for exemption in &detection.exemptions {
        let detectors = mask(exemption);
        for key in keys(policy, exemption) {
            all.push(Exempt { key, detectors, until: exemption.until });
        }
    }
    let mut seen = BTreeMap::new();
    for exempt in &all {
        let next = seen.len();
        seen.entry(exempt.key).or_insert(next);
    }
    let excess = |at: usize| {
        let (key, _) = seen.iter().find(|(_, order)| **order == at)?;
        let whose = detection.exemptions.iter().find(|exemption| keys(policy, exemption).contains(key))?;
        Some(format!("the exemption of {}", whose.hosts.join(", ")))
    };
    Table::Exempt.check(seen.len(), excess)?;
    Ok(all)
}

fn mask(exemption: &Exemption) -> u64 {
    exemption.detectors.iter().fold(0, |mask, detector: &Detector| mask | 1 << *detector as u32)
}

fn keys(policy: &Policy, exemption: &Exemption) -> Vec<[u8; 16]> {
    let devices = || exemption.devices.iter().filter_map(|device| policy.devices.get(*device));
    let theirs = devices().flat_map(|device| &device.addresses);
    let addresses = theirs.chain(&exemption.addresses).map(|one: &IpAddr| address(*one));
    addresses.chain(devices().map(|device| quarantine_mac(&device.mac.0))).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use sekimori_ebpf::detect::abi;

    use super::*;
    use crate::{
        compile::{
            compile,
            registry::Registry,
            testing::{Random, device, external, ip, policy, zone},
        },
        policy::{
            detectors::known,
            model::{DeviceMode, Guard, Rate},
        },
    };

    fn built_in() -> BTreeMap<Detector, Setting> {
        abi::ALL.iter().map(|detector| (*detector, known(*detector).setting())).collect()
    }

    fn town() -> Policy {
        let mut policy = policy();
        policy.nets = vec![
            external("internet", "wan0", &[]),
            zone("office", DeviceMode::Registered, "lan0", &["10.0.0.0/24"]),
            zone("lab", DeviceMode::Any, "lan1", &["10.1.0.0/24"]),
        ];
        policy.devices = vec![device("monitor", 1, [2, 0, 0, 0, 0, 9], &["10.0.0.9", "2001:db8::9"])];
        policy.detection = Some(Detection {
            guard: Guard::default(),
            traps: vec![ip("10.0.0.250")],
            zones: vec![(1, built_in()), (2, built_in())],
            exemptions: Vec::new(),
        });
        policy
    }

    fn exemption(detectors: &[Detector], devices: &[usize], addresses: &[&str], until: &str) -> Exemption {
        Exemption {
            hosts: vec!["somebody".into()],
            devices: devices.to_vec(),
            addresses: addresses.iter().map(|address| ip(address)).collect(),
            detectors: detectors.to_vec(),
            owner: String::new(),
            purpose: String::new(),
            until: Some(until.parse().unwrap()),
        }
    }

    #[test]
    fn a_sketch_of_512_bits_is_asked_for_the_bits_that_are_likely_set() {
        assert_eq!([1, 16, 64, 300, 2_000].map(bits), [1, 16, 61, 228, 502]);
        assert!((1..2_000).all(|count| bits(count) <= bits(count + 1) && bits(count + 1) < SPREAD_BITS));
    }

    #[test]
    fn the_built_in_settings_are_what_the_documentation_says() {
        let of = |detector| threshold(&known(detector).setting());
        let block = Threshold { hold: 600 * SECOND, count: 8, action: ACTION_BLOCK, ..Threshold::default() };
        assert_eq!(of(Detector::HorizontalScan), block);
        assert_eq!(of(Detector::UdpFlood).cost, 2_000_000);
        assert_eq!(of(Detector::UdpFlood).most, 800 * 2_000_000);
        assert_eq!(of(Detector::WormPort).cost, 600 * SECOND);
        assert_eq!(of(Detector::DnsTunnel).most, 20 * SECOND);
        assert_eq!((of(Detector::FanOut).count, of(Detector::SpoofedSource).count), (228, 16));
        assert_eq!(of(Detector::TrapContact).action, ACTION_ALERT);
    }

    #[test]
    fn zones_are_watched_and_networks_are_not() {
        let compiled = compile(&town(), &mut Registry::default()).unwrap();
        let id = |name: &str| compiled.net_names.iter().find(|(net, _)| net == name).unwrap().1;
        let zones: Vec<u16> = compiled.watching.zones.iter().map(|(net, _)| *net).collect();
        assert_eq!(zones, [id("office"), id("lab")]);
        assert!(compiled.watching.zones.iter().all(|(_, watched)| watched.flags == WATCHED | WATCHED_TRAPS));
        assert_eq!(compiled.watching.traps, [address(ip("10.0.0.250"))]);

        let mut quiet = town();
        for setting in quiet.detection.as_mut().unwrap().zones[1].1.values_mut() {
            setting.action = Measure::Off;
        }
        let compiled = compile(&quiet, &mut Registry::default()).unwrap();
        assert_eq!(compiled.watching.zones[1].1.flags, 0);
        quiet.detection = None;
        assert_eq!(compile(&quiet, &mut Registry::default()).unwrap().watching, Watching::default());
    }

    #[test]
    fn a_device_is_exempt_by_all_it_is_known_by_until_its_day_is_over() {
        let mut policy = town();
        policy.detection.as_mut().unwrap().exemptions = vec![
            exemption(&[Detector::FanOut], &[0], &["10.1.0.7"], "2027-01-01T00:00:00Z"),
            exemption(&[Detector::Beacon], &[], &["10.0.0.9"], "2028-01-01T00:00:00Z"),
        ];
        let watching = compile(&policy, &mut Registry::default()).unwrap().watching;
        assert_ne!(watching.zones[0].1.flags & WATCHED_EXEMPT, 0);
        let at = |text: &str| watching.exempt_at(text.parse().unwrap());
        let (fan_out, beacon) = (1 << Detector::FanOut as u32, 1 << Detector::Beacon as u32);
        let early = at("2026-12-31T23:59:59Z");
        let key = |text: &str| address(ip(text));
        let mac = quarantine_mac(&[2, 0, 0, 0, 0, 9]);
        let wanted = BTreeMap::from([
            (key("10.0.0.9"), fan_out | beacon),
            (key("2001:db8::9"), fan_out),
            (key("10.1.0.7"), fan_out),
            (mac, fan_out),
        ]);
        assert_eq!(early, wanted);
        assert_eq!(at("2027-01-01T00:00:00Z"), BTreeMap::from([(key("10.0.0.9"), beacon)]));
        assert!(at("2028-01-01T00:00:00Z").is_empty());
        let next = |text: &str| watching.next_end(text.parse().unwrap()).map(|end| end.to_string());
        assert_eq!(next("2026-12-31T00:00:00Z").as_deref(), Some("2027-01-01T00:00:00Z"));
        assert_eq!(next("2027-01-01T00:00:00Z").as_deref(), Some("2028-01-01T00:00:00Z"));
        assert_eq!(next("2028-01-01T00:00:00Z"), None);
    }

    #[test]
    fn more_exemptions_than_the_table_holds_are_refused_by_name() {
        let mut policy = town();
        let address = |number: u32| IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        let mut many = exemption(&[Detector::FanOut], &[], &[], "2028-01-01T00:00:00Z");
        many.addresses = (0..8_193).map(address).collect();
        policy.detection.as_mut().unwrap().exemptions = vec![many.clone(), many];
        let error = compile(&policy, &mut Registry::default()).unwrap_err();
        assert!(error.to_string().contains("8193") && error.to_string().contains("somebody"), "{error}");
        assert!(error.ja().contains("8192"));
    }

    /// Whatever the settings, what the data plane is told means them: the same action, duration and limit.
    #[test]
    fn thresholds_say_what_the_policy_says() {
        let mut random = Random::new(15);
        for _ in 0..2_000 {
            let rate = Rate { cost: 1 + random.below(3_600_000_000_000), burst: 1 + random.below(1_000_000) as u32 };
            let setting = Setting {
                action: *random.pick(&[Measure::Off, Measure::Observe, Measure::Block, Measure::Quarantine]),
                seconds: random.chance(50).then(|| 1 + random.below(3_650 * 86_400)),
                limit: match random.below(4) {
                    0 => Limit::None,
                    1 => Limit::Count(1 + random.below(1_000) as u32),
                    2 => Limit::Distinct(1 + random.below(2_000) as u32),
                    _ => Limit::Rate(rate),
                },
            };
            let made = threshold(&setting);
            assert_eq!(made.hold / SECOND, setting.seconds.unwrap_or(BLOCK_SECONDS));
            match setting.limit {
                Limit::None => assert_eq!((made.cost, made.most, made.count), (0, 0, 0)),
                Limit::Count(count) => assert_eq!((made.cost, made.count), (0, count)),
                Limit::Distinct(count) => assert!(made.count <= count && made.count > 0),
                Limit::Rate(rate) => {
                    assert_eq!((made.cost, made.most / made.cost, made.count), (rate.cost, u64::from(rate.burst), 0));
                    assert!(made.most < 1 << 63);
                }
            }
        }
    }
}
