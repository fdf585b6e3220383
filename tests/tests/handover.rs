//! A driver without room in front of a packet: the way in can hand nothing over, and TCX ingress looks a second time.

use std::{net::IpAddr, path::Path, time::Duration};

use anyhow::{Context as _, Result, ensure};
use sekimori::{
    compile::{
        self,
        registry::Registry,
        schedule::{self, Clock},
    },
    dataplane::{Dataplane, Options, XdpChoice},
    policy,
};
use sekimori_ebpf::{
    abi::{SETTING_NO_METADATA, Settings, timeout},
    reason::Reason,
};
use sekimori_tests::harness::{
    bpffs::PinFolder,
    netns::Ns,
    service::{Server, connect, tcp_exchange, udp_exchange},
    town::Town,
    townhall::{CLOUD_V4, CLOUD_V6, DNS_V4, INTERNET_ROUTER, PC_017, PUBLIC_WEB_V4, WEB, WEB_TLS_PORT},
};

const SOON: Duration = Duration::from_secs(5);
const NEVER: Duration = Duration::from_millis(700);

fn without_metadata(gateway: &Ns, pins: &PinFolder) -> Result<Dataplane> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/municipality");
    let loaded = policy::load(&folder);
    let policy = loaded.policy.with_context(|| format!("{:?}", loaded.diagnostics))?;
    let compiled = compile::compile(&policy, &mut Registry::default())?;
    let windows = schedule::windows(&compiled.schedules, &policy, Clock::now()?);
    let options =
        Options { bpffs: pins.path().join("sekimori"), xdp: XdpChoice::Native, flows_max: 4096, opening_max: 1024 };
    gateway.run(|| {
        let mut dataplane = Dataplane::open(options)?;
        let timeouts = timeout::DEFAULTS;
        let flags = SETTING_NO_METADATA;
        dataplane.set_settings(&Settings { mark_shift: 8, timeouts, flags, ..Settings::default() })?;
        dataplane.apply(&compiled, &windows, &[])?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(dataplane.attach(&compiled.interfaces))?;
        Ok(dataplane)
    })
}

#[test]
fn without_metadata_everything_passes_or_is_dropped_as_with_it() -> Result<()> {
    let town = Town::build(&[&PC_017, &WEB, &INTERNET_ROUTER])?;
    town.translate()?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let _cloud = Server::tcp_echo(internet, 443)?;
    let _closed = Server::tcp_echo(internet, 22)?;
    let _names = Server::udp_echo(internet, DNS_V4, 53)?;
    let _web = Server::tcp_echo(town.host(&WEB)?, WEB_TLS_PORT)?;
    let pins = PinFolder::new()?;
    let dataplane = without_metadata(&town.gateway, &pins)?;

    for to in [IpAddr::from(CLOUD_V4), CLOUD_V6.into()] {
        assert_eq!(tcp_exchange(pc, None, (to, 443), b"through", SOON)?, b"through");
        assert!(connect(pc, None, (to, 22), NEVER).is_err(), "a port nobody permitted, to {to}");
    }
    assert_eq!(udp_exchange(pc, None, (DNS_V4, 53), b"name?", SOON)?, b"name?");
    // In three pieces each way, joined and cut again by the gateway's conntrack.
    let long = vec![b'x'; 4000];
    assert_eq!(udp_exchange(pc, None, (DNS_V4, 53), &long, SOON)?, long);
    // In from outside, translated.
    assert_eq!(tcp_exchange(internet, Some(CLOUD_V4.into()), (PUBLIC_WEB_V4, 443), b"in", SOON)?, b"in");

    let counters = dataplane.counters()?;
    let count = |reason: Reason| -> u64 {
        counters.iter().filter(|found| found.reason == reason as u32).map(|found| found.counter.packets).sum()
    };
    assert_eq!(count(Reason::NotJudged), 0);
    assert!(count(Reason::NoRule) >= 2 && count(Reason::Fragment) >= 4 && count(Reason::Flow) > 20, "{counters:?}");
    let guard: u64 = town.gateway.run(|| Ok(dataplane.guard().counters.iter().map(|(_, packets, _)| packets).sum()))?;
    ensure!(guard == 0, "the guard dropped {guard} packets");
    town.gateway.run(|| Ok(sekimori::dataplane::detach(dataplane.options())?))
}
