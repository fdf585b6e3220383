//! The policy in `full/`, which uses every feature, means what it says; and loading refuses what it must.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{fs, os::unix::fs::symlink, path::Path};

use sekimori::{
    compile::{compile, detection::threshold as threshold_of, registry::Registry},
    policy::{
        Spans,
        detectors::known,
        lint,
        lint::{InterfaceAddress, Route, System},
        load,
        model::{
            DeviceMode, Guard, L2Control, Limit, Limits, Measure, NetKind, Place, Policy, Port, Rate, Restoring,
            Service, Setting,
        },
    },
    threat::{Format, check_policy},
};
use sekimori_ebpf::detect::abi::{self, ALL, Detector};

fn full() -> (Policy, Spans) {
    let loaded = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/full"));
    assert!(loaded.diagnostics.is_empty(), "{:#?}", loaded.diagnostics);
    (loaded.policy.unwrap(), loaded.spans)
}

fn codes(path: &Path) -> Vec<&'static str> {
    load(path).diagnostics.iter().map(|d| d.code).collect()
}

#[test]
fn places_ports_and_owners() {
    let (policy, _) = full();
    assert_eq!(policy.organisation, "みなと市役所");
    assert_eq!(policy.box_addresses.len(), 4);
    let names: Vec<&str> = policy.nets.iter().map(|net| net.name.as_str()).collect();
    assert_eq!(names, ["office", "dmz", "guests", "internet", "vendor"]);
    let office = &policy.nets[0];
    assert!(matches!(office.kind, NetKind::Zone { devices: DeviceMode::Registered }));
    assert_eq!(office.ports.len(), 6);
    assert!(office.ports.contains(&Port { interface: "lan1".into(), outer: 100, inner: 20 }));
    assert!(office.builtin.dhcp_server && office.builtin.ra_server && !office.builtin.dhcp_client);
    let internet = &policy.nets[3];
    assert!(internet.is_default && internet.prefixes.len() == 1 && internet.routers.len() == 2);
    let NetKind::External(external) = &internet.kind else { panic!("internet is external") };
    assert_eq!(external.survey["date"], "2026-04-01");
    assert_eq!(policy.builtin.lldp, L2Control::Forward);
    assert!(!policy.builtin.mld && policy.builtin.arp);
}

#[test]
fn limits_are_the_rules_own() {
    let (policy, _) = full();
    let expected = Limits {
        flows: Some(5_000),
        flows_per_host: Some(200),
        new: Some(Rate { cost: 2_000_000, burst: 1_000 }),
        new_per_host: Some(Rate { cost: 100_000_000, burst: 10 }),
    };
    assert_eq!(policy.rules[0].limits, expected);
    assert!(policy.rules.iter().skip(1).all(|rule| rule.limits == Limits::default()));
}

#[test]
fn quarantine_is_named_by_rules_and_devices() {
    let (policy, _) = full();
    let permitted: Vec<&str> =
        policy.rules.iter().filter(|rule| rule.quarantined).map(|rule| rule.id.as_str()).collect();
    assert_eq!(permitted, ["box-out", "city-web"]);
    let critical: Vec<&str> =
        policy.devices.iter().filter(|device| device.critical).map(|device| device.name.as_str()).collect();
    assert_eq!(critical, ["web-1"]);
}

#[test]
fn receivers_of_alerts_have_zones_and_groups() {
    let (policy, _) = full();
    let [ids, siem] = &policy.alert_receivers[..] else { panic!("two receivers") };
    assert_eq!((ids.name.as_str(), ids.token.as_str(), ids.label.as_str()), ("ids", "ids-1", "host"));
    assert_eq!((&ids.zones[..], &ids.groups[..]), (&["office".to_owned()][..], &["cloud".to_owned()][..]));
    assert_eq!((ids.seconds, siem.seconds), (Some(7_200), None));
}

#[test]
fn every_zone_has_every_detector_as_built_in_unless_it_is_told_otherwise() {
    let (policy, _) = full();
    let detection = policy.detection.as_ref().unwrap();
    assert_eq!(detection.guard, Guard { hosts: 8, seconds: 1_800 });
    assert_eq!(detection.traps.len(), 2);
    let zones: Vec<&str> = detection.zones.iter().map(|(net, _)| policy.nets[*net].name.as_str()).collect();
    assert_eq!(zones, ["office", "dmz", "guests"]);
    assert!(detection.zones.iter().all(|(_, settings)| settings.len() == ALL.len()));
    let of = |zone: usize, detector: Detector| detection.zones[zone].1[&detector];
    let setting = |action, seconds, limit| Setting { action, seconds, limit };
    let rate = Limit::Rate(Rate { cost: 1_000_000, burst: 1_500 });
    let (office, dmz, guests) = (0, 1, 2);
    // The zone's word over the default's over what is built in; an action brings its own duration along.
    let scan = Detector::VerticalScan;
    assert_eq!(of(office, scan), setting(Measure::Quarantine, None, Limit::Count(12)));
    assert_eq!(of(dmz, scan), setting(Measure::Block, Some(3_600), Limit::Count(12)));
    assert_eq!(of(guests, scan), setting(Measure::Block, Some(3_600), Limit::Count(20)));
    assert_eq!(of(office, Detector::UdpFlood), setting(Measure::Alert, None, rate));
    assert_eq!(of(dmz, Detector::UdpFlood), setting(Measure::Throttle, None, rate));
    assert_eq!(of(dmz, Detector::FanOut), setting(Measure::Throttle, None, Limit::Distinct(500)));
    assert_eq!(of(guests, Detector::RandomMac), setting(Measure::Observe, None, Limit::Distinct(200)));
    assert_eq!(of(office, Detector::SmtpBurst).action, Measure::Off);
    assert_eq!(of(dmz, Detector::SmtpBurst), known(Detector::SmtpBurst).setting());
    let [exemption] = &detection.exemptions[..] else { panic!("one exemption") };
    assert_eq!((&exemption.devices[..], exemption.addresses.len()), (&[2][..], 1));
    assert_eq!(exemption.detectors, [Detector::FanOut, Detector::AddressSweep]);
    assert_eq!(exemption.until.unwrap().to_string(), "2027-03-31T15:00:00Z");
}

/// What the data plane gets is what the policy says, zone by zone and detector by detector.
#[test]
fn thresholds_are_kept_from_the_file_to_the_tables() {
    let (policy, _) = full();
    let compiled = compile(&policy, &mut Registry::default()).unwrap();
    let detection = policy.detection.as_ref().unwrap();
    assert_eq!(compiled.watching.zones.len(), detection.zones.len());
    for ((_, watched), (_, settings)) in compiled.watching.zones.iter().zip(&detection.zones) {
        assert_eq!(watched.flags, abi::WATCHED | abi::WATCHED_TRAPS | abi::WATCHED_EXEMPT);
        for (number, threshold) in watched.thresholds.iter().enumerate() {
            let detector = Detector::from_number(number as u32);
            let wanted = detector.map_or_else(Default::default, |detector| threshold_of(&settings[&detector]));
            assert_eq!(*threshold, wanted, "{detector:?}");
        }
    }
    // Two addresses and a MAC.
    assert_eq!(compiled.watching.exempt.len(), 3);
}

#[test]
fn detection_is_given_once_and_traps_fit_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("a.yaml", "version: 1\ndetection: {}\n");
    write("b.yaml", "version: 1\ndetection: {}\n");
    assert_eq!(codes(folder.path()), ["E020"]);
    let traps: Vec<String> = (0..2_049).map(|n| format!("10.0.{}.{}", n / 256, n % 256)).collect();
    write("b.yaml", "version: 1\n");
    write("a.yaml", &format!("version: 1\ndetection: {{traps: [{}]}}\n", traps.join(", ")));
    assert_eq!(codes(folder.path()), ["E056"]);
}

/// A prefix is each of its addresses, but for those that a whole subnet uses.
#[test]
fn traps_and_exemptions_are_written_as_small_prefixes_too() {
    let folder = tempfile::tempdir().unwrap();
    let write = |detection: &str| {
        let zone = "zones: {a: {interfaces: [lan0], prefixes: [192.168.9.0/24, \"2001:db8:9::/64\"], devices: any}}";
        fs::write(folder.path().join("a.yaml"), format!("version: 1\n{zone}\ndetection: {detection}\n")).unwrap();
    };
    write(
        "{traps: [192.168.9.240/28, \"2001:db8:9::f0/125\", 192.168.9.7], exemptions: [{hosts: [192.168.9.16/30], \
         detectors: [vertical_scan], owner: o, until: 2099-01-01, purpose: p}]}",
    );
    let policy = load(folder.path()).policy.unwrap();
    let detection = policy.detection.as_ref().unwrap();
    let expected = (240..255).map(|n| format!("192.168.9.{n}"));
    let expected = expected.chain((0xf0..0xf8).map(|n| format!("2001:db8:9::{n:x}"))).chain(["192.168.9.7".to_owned()]);
    let traps: Vec<String> = detection.traps.iter().map(ToString::to_string).collect();
    assert_eq!(traps, expected.collect::<Vec<_>>());
    let [exemption] = &detection.exemptions[..] else { panic!("one exemption") };
    assert_eq!(exemption.hosts, ["192.168.9.16/30"]);
    assert_eq!(format!("{:?}", exemption.addresses), "[192.168.9.16, 192.168.9.17, 192.168.9.18, 192.168.9.19]");
    for (traps, code) in
        [("192.168.8.0/23", "E056"), ("192.168.9.5/28", "E030"), ("192.168.9.4, 192.168.9.4/31", "E053")]
    {
        write(&format!("{{traps: [{traps}]}}"));
        assert_eq!(codes(folder.path()), [code], "{traps}");
    }
}

#[test]
fn threat_lists_are_named_and_not_read() {
    let (policy, spans) = full();
    let [drop, seen] = &policy.threat_lists[..] else { panic!("two lists") };
    assert_eq!((drop.format, drop.expires, drop.path.to_str()), (Format::Drop, 604_800, Some("feeds/drop.txt")));
    assert_eq!(format!("{:?}", drop.except), "[192.0.2.0/28, 198.51.100.1/32, 198.51.100.2/31, 198.51.100.4/32]");
    assert_eq!((seen.format, seen.source.as_str(), seen.except.len()), (Format::Auto, "情報管理課", 0));
    assert!(policy.files.iter().all(|file| !file.to_string_lossy().contains("feeds")));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/full");
    let found = check_policy(&policy, &spans, &folder);
    let found: Vec<_> = found.iter().map(|found| (found.code, found.line)).collect();
    assert_eq!(found, [("W030", 26), ("W030", 32)], "neither is there");
}

/// What is wrong with a delivery is a warning where it is written, and no error.
#[test]
fn deliveries_are_looked_at_by_check() {
    let folder = tempfile::tempdir().unwrap();
    let policy = "version: 1\nzones: {a: {interfaces: [lan0], prefixes: [192.168.9.0/24], devices: any}}\n\
                  threat_lists: {l: {path: l.txt, source: s, expires: 7d, purpose: p}}\n";
    fs::write(folder.path().join("p.yaml"), policy).unwrap();
    let with = |list: &str| {
        fs::write(folder.path().join("l.txt"), list).unwrap();
        let loaded = load(folder.path());
        let found = check_policy(&loaded.policy.unwrap(), &loaded.spans, folder.path());
        found.iter().map(|d| format!("{} {}:{}", d.code, d.line, d.col)).collect::<Vec<_>>()
    };
    let good = (1..20).map(|n| format!("198.51.100.{n}\n")).collect::<String>();
    assert_eq!(with(&good), [] as [&str; 0]);
    assert_eq!(with(&format!("{good} 192.0.2.1/24\nbad.example\n")), ["W031 20:2", "W032 3:26"]);
    assert_eq!(with("192.168.9.9\n"), ["W030 3:26"]);
    assert_eq!(with(""), ["W030 3:26"]);
    fs::remove_file(folder.path().join("l.txt")).unwrap();
    let old = fs::File::create(folder.path().join("l.txt")).unwrap();
    fs::write(folder.path().join("l.txt"), good).unwrap();
    old.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(8 * 86_400)).unwrap();
    let loaded = load(folder.path());
    let found = check_policy(&loaded.policy.unwrap(), &loaded.spans, folder.path());
    assert_eq!(found.iter().map(|d| d.code).collect::<Vec<_>>(), ["W033"]);
}

#[test]
fn a_restoration_may_need_a_second_person() {
    let (policy, _) = full();
    assert_eq!(policy.restoring, Restoring { second_person: true, seconds: 1_800 });
    assert_eq!(Restoring::default(), Restoring { second_person: false, seconds: 3_600 });
}

#[test]
fn ends_hours_and_time_zone() {
    let (policy, _) = full();
    assert_eq!(policy.devices[0].until.unwrap().to_string(), "2027-03-31T15:00:00Z");
    assert_eq!(policy.devices[1].until.unwrap().to_string(), "2027-03-31T08:15:00Z");
    let spans: Vec<_> = policy.hours.iter().map(|hours| hours.spans.clone()).collect();
    assert_eq!(spans[0], (0..5).map(|day| (day, 510, 1035)).collect::<Vec<_>>());
    let night = [
        (0, 1320, 1440),
        (1, 0, 300),
        (2, 1320, 1440),
        (3, 0, 300),
        (4, 1320, 1440),
        (5, 0, 300),
        (5, 1320, 1440),
        (6, 0, 300),
    ];
    assert_eq!(spans[1], night);
    assert_eq!(spans[2], [(6, 1200, 1440)]);
    assert!(policy.hours[0].closed_on_holidays && !policy.hours[2].closed_on_holidays);
    assert_eq!(policy.tests[0].at.unwrap().to_string(), "2026-12-01T01:00:00Z");
}

#[test]
fn rules_are_resolved() {
    let (policy, _) = full();
    let rule = |id: &str| policy.rules.iter().find(|rule| rule.id == id).unwrap();
    let web = rule("office-web");
    let holds = |address: &str| {
        let address: std::net::IpAddr = address.parse().unwrap();
        web.to.prefixes.as_ref().unwrap().iter().any(|prefix| prefix.contains(&address))
    };
    for inside in [
        "198.51.101.7",
        "203.0.114.9",
        "198.51.100.1",
        "198.51.100.20",
        "198.51.100.129",
        "192.0.2.127",
        "192.0.2.200",
        "192.0.2.213",
        "2001:db8:fe00::1",
    ] {
        assert!(holds(inside), "{inside}");
    }
    for outside in ["198.51.100.0", "198.51.100.21", "192.0.2.128", "192.0.2.201", "192.0.2.214", "2001:db8:100::1"] {
        assert!(!holds(outside), "{outside}");
    }
    assert_eq!(web.services[..3], [Service::Tcp(80, 80), Service::Tcp(443, 443), Service::Udp(443, 443)]);
    let server = rule("office-server");
    assert_eq!(server.from.devices.as_deref(), Some(&[0][..]));
    assert_eq!(server.to.place, [Place::Net(1)]);
    assert_eq!(server.to.prefixes.as_ref().unwrap().iter().next().unwrap().to_string(), "192.168.20.10/32");
    assert_eq!(rule("manage").to.place, [Place::Box]);
    let published = rule("city-web").published.as_ref().unwrap();
    assert_eq!((published.port, published.net), (Some(8443), 1));
    assert_eq!(rule("city-web-inside").published.as_ref().unwrap().port, None);
}

#[test]
fn the_hash_names_contents_and_not_the_place() {
    let copy = |folder: &Path| {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/full");
        fs::create_dir(folder.join("lists")).unwrap();
        for name in ["10-places.yaml", "20-words.yml", "30-rules.yaml", "lists/cloud.txt"] {
            fs::copy(from.join(name), folder.join(name)).unwrap();
        }
    };
    let other = tempfile::tempdir().unwrap();
    copy(other.path());
    let (policy, _) = full();
    assert_eq!(load(other.path()).policy.unwrap().hash, policy.hash);
    let list = other.path().join("lists/cloud.txt");
    fs::write(&list, [fs::read(&list).unwrap(), b"# a comment\n".to_vec()].concat()).unwrap();
    let changed = load(other.path()).policy.unwrap();
    assert_ne!(changed.hash, policy.hash);
    assert_eq!(changed.files.len(), 4);
}

#[test]
fn nothing_outside_the_folder_is_read() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.txt"), "192.0.2.1\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.yaml");
    let with = |file: &str| {
        fs::write(&policy, format!("version: 1\ngroups:\n  a: [{{file: \"{file}\"}}]\n")).unwrap();
        codes(folder.path())
    };
    symlink(outside.path().join("secret.txt"), folder.path().join("link.txt")).unwrap();
    symlink(outside.path(), folder.path().join("linked")).unwrap();
    fs::write(folder.path().join("good.txt"), "192.0.2.1\n").unwrap();
    symlink("good.txt", folder.path().join("inside.txt")).unwrap();
    nix::unistd::mkfifo(&folder.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(with("good.txt"), [] as [&str; 0]);
    assert_eq!(with("inside.txt"), [] as [&str; 0]);
    for escape in ["link.txt", "linked/secret.txt", "../x", "/etc/hosts"] {
        assert_eq!(with(escape), ["E070"], "{escape}");
    }
    for unreadable in ["absent.txt", "fifo", "/proc/self/../version"] {
        let expected = if unreadable.starts_with('/') { "E070" } else { "E001" };
        assert_eq!(with(unreadable), [expected], "{unreadable}");
    }
    symlink(outside.path().join("secret.txt"), folder.path().join("more.yaml")).unwrap();
    assert!(with("good.txt").contains(&"E001"));
}

#[test]
fn list_files_point_to_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.yaml"), "version: 1\ngroups:\n  a: [{file: l.txt}]\n").unwrap();
    let with = |list: &[u8]| {
        fs::write(folder.path().join("l.txt"), list).unwrap();
        let found = load(folder.path()).diagnostics;
        found.iter().map(|d| format!("{} {}:{}", d.code, d.line, d.col)).collect::<Vec<_>>()
    };
    assert_eq!(with(b"192.0.2.1\n  192.0.2.300\n\n192.0.2.1/24"), ["E071 2:3", "E030 4:1"]);
    assert_eq!(with(b"# nothing\n"), ["E072 0:0"]);
    assert_eq!(with(b"0.0.0.0/0\n::/0\n0.0.0.0-255.255.255.255"), ["E073 1:1", "E073 2:1", "E073 3:1"]);
    assert_eq!(with(&[b'x'; 5000]), ["E002 1:1"]);
    assert_eq!(with(b"192.0.2.1\n\xff\n"), ["E003 2:1"]);
}

#[test]
fn files_of_a_folder_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    assert_eq!(codes(folder.path()), ["E010"]);
    write("a.yaml", "version: 1\norganisation: x\ngroups: {a: [192.0.2.1]}\n");
    write("b.yml", "version: 1\ngroups: {b: [{group: a}]}\n");
    write("c.txt", "not a policy");
    assert_eq!(codes(folder.path()), [] as [&str; 0]);
    write("b.yml", "version: 1\norganisation: y\ngroups: {a: [192.0.2.2]}\n");
    assert_eq!(codes(folder.path()), ["E020", "E041"]);
    write("b.yml", "groups: {b: [192.0.2.2]}\n");
    assert_eq!(codes(folder.path()), ["E019"]);
    assert_eq!(codes(&folder.path().join("absent")), ["E001"]);
}

#[test]
fn routes_and_addresses_are_compared_with_the_live_system() {
    let (policy, spans) = full();
    let now = "2026-12-01T00:00:00Z".parse().unwrap();
    let route =
        |prefix: &str, interface: &str| Route { prefix: prefix.parse().unwrap(), interface: Some(interface.into()) };
    let mut system = System {
        addresses: policy
            .box_addresses
            .iter()
            .map(|address| InterfaceAddress { interface: "lan0".into(), address: *address })
            .collect(),
        routes: vec![
            route("192.168.10.0/24", "lan0"),
            route("2001:db8:10::/64", "br0"),
            route("192.168.20.0/24", "dmz0"),
            route("192.168.30.0/24", "lan0.30"),
            route("2001:db8:30::/64", "lan0.30"),
            route("203.0.113.0/24", "wan0.200"),
            route("0.0.0.0/0", "wan0.200"),
            route("10.99.0.0/24", "vpn0"),
        ],
        carriers: vec![
            ("br0".into(), policy.nets[0].ports.clone()),
            ("lan0.30".into(), policy.nets[2].ports.clone()),
            ("wan0.200".into(), policy.nets[3].ports.clone()),
        ],
    };
    let run = |system: &System| {
        let found = lint(&policy, &spans, now, Some(system));
        let mine = found.iter().filter(|d| matches!(d.code, "W005" | "W014" | "W019"));
        mine.map(|d| format!("{} {}", d.code, d.text)).collect::<Vec<_>>()
    };
    assert_eq!(run(&system), [] as [&str; 0]);
    system.routes.retain(|route| route.prefix.to_string() != "10.99.0.0/24");
    assert_eq!(run(&system), ["W005 10.99.0.0/24"], "the default route takes it");
    system.routes.push(route("10.99.0.0/24", "vpn0"));
    system.routes.push(route("192.168.10.128/25", "dmz0"));
    assert_eq!(run(&system), ["W005 192.168.10.0/24"], "a longer route leads away");
    system.routes.pop();
    system.addresses.pop();
    system.addresses.push(InterfaceAddress { interface: "vpn0".into(), address: [10, 99, 0, 1].into() });
    assert_eq!(run(&system), ["W019 10.99.0.1", "W014 2001:db8:10::1"]);
}
