//! Detectors from the words of a policy to the thresholds of the data plane, and what the documentation says of them.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use sekimori::{
    compile::{compile, detection::bits, registry::Registry},
    policy::{
        detectors::{BLOCK_SECONDS, known},
        load,
        model::{Limit, Measure},
    },
};
use sekimori_ebpf::detect::abi::{ALL, Detector, Threshold};

/// Any sequence of numbers will do, the same in every run (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A detector told something at random: the words, and what the data plane has to be told.
fn told(detector: Detector, numbers: &mut Numbers) -> (String, Threshold) {
    let known = known(detector);
    let action = known.measures[numbers.below(known.measures.len() as u64) as usize];
    let mut words = format!("{}: {{action: {}", detector.code(), action.word());
    let mut seconds = BLOCK_SECONDS;
    if matches!(action, Measure::Block | Measure::Quarantine) && numbers.below(2) == 0 {
        seconds = 60 * (1 + numbers.below(10_000));
        words += &format!(", for: {}m", seconds / 60);
    }
    let mut threshold = Threshold { hold: seconds * 1_000_000_000, action: action as u32, ..Threshold::default() };
    let number = 1 + numbers.below(u64::from(known.most())) as u32;
    match known.limit {
        Limit::None => {}
        Limit::Distinct(fixed) if !known.adjustable => threshold.count = bits(fixed),
        Limit::Count(_) => {
            words += &format!(", limit: {number}");
            threshold.count = number;
        }
        Limit::Distinct(_) => {
            words += &format!(", limit: {number}");
            threshold.count = bits(number);
        }
        Limit::Rate(_) => {
            let units = [("s", 1_000_000_000u64), ("min", 60_000_000_000), ("h", 3_600_000_000_000)];
            let (unit, period) = units[numbers.below(3) as usize];
            let (count, burst) = (1 + numbers.below(1_000_000), 1 + numbers.below(1_000_000));
            words += &format!(", limit: {count}/{unit} burst {burst}");
            threshold.cost = period.div_ceil(count);
            threshold.most = threshold.cost * burst;
        }
    }
    (words + "}", threshold)
}

/// The data plane's numbers of actions are in the order of the policy's.
#[test]
fn what_is_written_is_what_the_data_plane_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    let mut numbers = Numbers(15);
    for turn in 0..200 {
        let mut wanted = vec![Threshold::default(); 32];
        let (mut defaults, mut zone) = (Vec::new(), Vec::new());
        for detector in ALL {
            // What the zone says hides what `defaults` says, all of it.
            let (hidden, _) = told(*detector, &mut numbers);
            let (words, threshold) = told(*detector, &mut numbers);
            if numbers.below(2) == 0 {
                defaults.push(hidden);
                zone.push(words);
            } else {
                defaults.push(words);
            }
            wanted[*detector as usize] = threshold;
        }
        let text = format!(
            "version: 1\nzones: {{lab: {{interfaces: [lan0], prefixes: [192.0.2.0/24], devices: any}}}}\n\
             detection:\n  defaults: {{{}}}\n  zones: {{lab: {{{}}}}}\n",
            defaults.join(", "),
            zone.join(", ")
        );
        std::fs::write(&path, &text).unwrap();
        let loaded = load(&path);
        assert!(loaded.diagnostics.is_empty(), "{turn}: {:#?}\n{text}", loaded.diagnostics);
        let compiled = compile(&loaded.policy.unwrap(), &mut Registry::default()).unwrap();
        let [(_, watched)] = &compiled.watching.zones[..] else { unreachable!() };
        assert_eq!(watched.thresholds[..], wanted[..], "{turn}: {text}");
    }
}

#[test]
fn every_detector_has_a_section_with_its_setting_in_both_languages() {
    for name in ["detectors.md", "detectors.ja.md"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
        let text = std::fs::read_to_string(path).unwrap();
        let sections: Vec<&str> = text.split("\n### ").skip(1).collect();
        let titles: Vec<&str> = sections.iter().map(|section| section.lines().next().unwrap_or_default()).collect();
        let wanted: Vec<String> = ALL.iter().map(|detector| format!("`{}`", detector.code())).collect();
        assert_eq!(titles, wanted, "{name}");
        for (detector, section) in ALL.iter().zip(sections) {
            let setting = format!("`{}: {}`", detector.code(), known(*detector).written());
            assert!(section.contains(&setting), "{name}: {setting} is not said");
        }
    }
}
