//! What the fast path does with packets: the same as the slow way, to the byte and to the count, and no longer than it may.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use sekimori::dataplane::maps::Maps;
use sekimori_ebpf::abi::{IFACE_VLAN, IfaceEntry, ROLE_INITIATOR, ROLE_RESPONDER, View, ViewKey4};
use sekimori_tests::harness::{
    agent::{Agent, Config},
    counted::Counted,
    counters::Counters,
    fast::{self, Scene, Talk, deliver},
    frame::Frame,
    gate::{POISON, SOON},
    link::{self, plug},
    netns::Ns,
    nft, offload,
    packet::{Packet, flag, inwards},
    policy::{Policies, TOWN, rule},
    raw::RawPort,
    service::{Server, connect},
    stream::Stream,
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{
        ATTACKER_V4, CLOUD_V4, CLOUD_V6, Host, INTERNET, INTERNET_ROUTER, LGWAN_ROUTER, MacAddr, OFFICE, PC_017,
    },
};

const OFTEN: Duration = Duration::from_millis(1);
const NEW_MAC: [u8; 6] = [2, 0, 0, 0, 0x99, 0x77];

/// What must arrive of a packet, however it came: other MACs, one hop less, and nothing else.
fn forwarded_as(packet: &Packet, macs: (MacAddr, MacAddr)) -> Frame {
    Packet { macs, ttl: packet.ttl - 1, ..packet.clone() }.frame()
}

/// MACs of what leaves for the Internet, and for the office.
const OUT: (MacAddr, MacAddr) = (INTERNET.mac, INTERNET_ROUTER.mac);
const HOME: (MacAddr, MacAddr) = (OFFICE.mac, PC_017.mac);

/// The IPv4 packet whose header sums up to this.
fn summing_up_to(mut packet: Packet, sum: u16) -> Result<Packet> {
    for id in 0..=u16::MAX {
        packet.id = id;
        if packet.bytes().get(10..12) == Some(&sum.to_be_bytes()[..]) {
            return Ok(packet);
        }
    }
    anyhow::bail!("no identification makes it {sum:#x}")
}

/// Sends what must not arrive, then what must.
fn refuses(lane: (&RawPort, &RawPort), bad: &Packet, good: &Packet) -> Result<()> {
    lane.0.send(&bad.frame())?;
    let (poison, body) = (|frame: &Frame| frame.contains(POISON), good.body.clone());
    lane.1.expect_none(&format!("{bad:?}"), SOON, poison, || lane.0.send(&good.frame()), |frame| frame.contains(&body))
}

/// Sums of bytes by direction of zones, networks and rules.
fn volumes(agent: &Agent) -> Result<Vec<(String, f64)>> {
    let counters = Counters::read(agent)?;
    let mut all = Vec::new();
    for (net, direction) in [("office", "in"), ("office", "out"), ("internet", "in"), ("internet", "out")] {
        for verdict in ["pass", "drop"] {
            let labels = [("network", net), ("direction", direction), ("verdict", verdict)];
            all.push((format!("{net} {direction} {verdict}"), counters.sum("sekimori_bytes_total", &labels)));
        }
    }
    for direction in ["forward", "reply"] {
        let labels = [("rule", "web"), ("direction", direction)];
        all.push((format!("rule packets {direction}"), counters.sum("sekimori_rule_packets_total", &labels)));
        all.push((format!("rule bytes {direction}"), counters.sum("sekimori_rule_bytes_total", &labels)));
    }
    Ok(all)
}

/// One script of every sort of packet, each checked to the byte; what was counted of it.
fn script(fast: bool) -> Result<(Counted, Vec<(String, f64)>)> {
    let scene = Scene::up(&[&INTERNET_ROUTER], fast)?.quiet(&[&PC_017, &INTERNET_ROUTER])?;
    let (a, b) = scene.lane(&PC_017, &INTERNET_ROUTER)?;
    let (there, back) = ((&a, &b), (&b, &a));
    let mut talks = Vec::new();
    for v6 in [false, true] {
        talks.push(Talk::udp(v6, 4000));
        talks.push(Talk::tcp(v6, 4001, there)?);
    }
    for talk in &mut talks {
        if fast {
            scene.speeds_up(talk, there)?;
        } else {
            deliver(there, &talk.ask())?;
            deliver(back, &talk.answer())?;
        }
    }
    let (before, volume, kernel) = (Counted::read(&scene.agent)?, volumes(&scene.agent)?, scene.forwarded()?);
    for talk in &mut talks {
        for ttl in [2, 3, 64, 255] {
            let (ask, answer) = (talk.ask().ttl(ttl), talk.answer().ttl(ttl));
            assert_eq!(deliver(there, &ask)?.0, forwarded_as(&ask, OUT).0, "{ask:?}");
            assert_eq!(deliver(back, &answer)?.0, forwarded_as(&answer, HOME).0, "{answer:?}");
        }
    }
    let kernel = scene.forwarded()? - kernel;
    // One packet of each of eight directions may have had its turn to go the slow way.
    ensure!(if fast { kernel <= 8 } else { kernel == 32 }, "{kernel} of 32 packets were forwarded by the kernel");

    for sum in [0xfeff, 0xff00, 0x00ff, 0xfefe] {
        // One hop less carries over.
        let ask = summing_up_to(talks[0].ask(), sum)?;
        assert_eq!(deliver(there, &ask)?.0, forwarded_as(&ask, OUT).0, "{sum:#x}");
    }
    for talk in &mut talks {
        // Bytes behind the packet are padding, and nothing of the sender's.
        let ask = talk.ask();
        let mut frame = ask.frame();
        frame.0.extend(POISON);
        a.send(&frame)?;
        let seen = b.expect("the packet", SOON, |seen| seen.contains(&ask.body))?;
        assert_eq!(seen.0, forwarded_as(&ask, OUT).0, "{ask:?} with bytes behind it");
    }
    // Traffic class and flow label.
    let label = [0x6a, 0xbc, 0xde, 0xf0];
    let ask = talks[2].ask();
    let (mut frame, mut wanted) = (ask.frame(), forwarded_as(&ask, OUT));
    frame.0[14..18].copy_from_slice(&label);
    wanted.0[14..18].copy_from_slice(&label);
    a.send(&frame)?;
    assert_eq!(b.expect("the labelled one", SOON, |seen| seen.contains(&ask.body))?.0, wanted.0);
    // Too small for both headers, for a tag or an option.
    let tiny = Packet::udp(inwards(&PC_017), (PC_017.v4, 4000), (CLOUD_V4, 443), b"x");
    assert_eq!(deliver(there, &tiny)?.0, forwarded_as(&tiny, OUT).0);
    for index in [0, 2] {
        let whole = talks[index].ask();
        for piece in whole.cut(&[(0, 16), (16, 32)]) {
            a.send(&piece)?;
            let text = piece.0[piece.0.len() - 16..].to_vec();
            b.expect("a fragment", SOON, |seen| seen.contains(&text))?;
        }
    }
    for index in [1, 3] {
        let talk = &mut talks[index];
        let (client, server) = talk.next;
        for bad in [
            talk.client(flag::ACK, client + 1_000_000, server, POISON),
            talk.client(flag::ACK, client, server + 70_000, POISON),
        ] {
            let good = talk.ask();
            refuses(there, &bad, &good)?;
        }
        for bad in [
            talk.server(flag::ACK, server + 1_000_000, client, POISON),
            talk.server(flag::ACK, server, client + 900_000, POISON),
        ] {
            let good = talk.answer();
            refuses(back, &bad, &good)?;
        }
    }
    let talk = &mut talks[1];
    let (client, server) = talk.next;
    deliver(there, &talk.client(flag::FIN | flag::ACK, client, server, &[]))?;
    deliver(back, &talk.server(flag::ACK | flag::PSH, server, client + 1, b"still to be said"))?;
    deliver(back, &talk.server(flag::FIN | flag::ACK, server + 16, client + 1, &[]))?;
    deliver(there, &talk.client(flag::ACK, client + 1, server + 17, &[]))?;
    let (bad, good) = (talk.client(flag::ACK, client + 1_000_000, server + 17, POISON), talks[0].ask());
    refuses(there, &bad, &good)?;
    let talk = &mut talks[3];
    let (client, server) = talk.next;
    deliver(back, &talk.server(flag::RST, server, 0, &[]))?;
    let (bad, good) = (talk.client(flag::ACK, client + 1_000_000, server, POISON), talks[0].ask());
    refuses(there, &bad, &good)?;

    let counted = Counted::read(&scene.agent)?.since(&before);
    let volume = volumes(&scene.agent)?.into_iter().zip(volume).map(|(now, then)| (now.0, now.1 - then.1)).collect();
    Ok((counted, volume))
}

#[test]
fn bytes_and_counters_are_those_of_the_slow_way() -> Result<()> {
    let (slow, slow_volume) = script(false)?;
    let (fast, fast_volume) = script(true)?;
    assert_eq!(fast.drops(), slow.drops());
    let flow = |counted: &Counted, net: &str, direction: &str| {
        counted.reasons.get(&(net.into(), direction.into(), "flow".into())).copied().unwrap_or(0)
    };
    for (net, direction) in [("office", "in"), ("office", "out"), ("internet", "in"), ("internet", "out")] {
        assert_eq!(flow(&fast, net, direction), flow(&slow, net, direction), "{net} {direction}");
    }
    assert_eq!(fast.reasons.len(), slow.reasons.len(), "{fast:?}\n{slow:?}");
    assert_eq!((&fast.rules, &fast.flows), (&slow.rules, &slow.flows));
    assert_eq!(fast_volume, slow_volume);
    Ok(())
}

/// The Internet's side and a conversation that takes the fast path both ways.
struct Running {
    a: RawPort,
    b: RawPort,
    talk: Talk,
    scene: Scene,
}

impl Running {
    fn up(others: &[&'static Host]) -> Result<Self> {
        let hosts: Vec<_> = [&INTERNET_ROUTER].into_iter().chain(others.iter().copied()).collect();
        let scene = Scene::up(&hosts, true)?.quiet(&[&PC_017, &INTERNET_ROUTER])?;
        let (a, b) = scene.lane(&PC_017, &INTERNET_ROUTER)?;
        let mut running = Self { a, b, talk: Talk::udp(false, 4000), scene };
        running.fast()?;
        Ok(running)
    }

    fn there(&self) -> (&RawPort, &RawPort) {
        (&self.a, &self.b)
    }

    fn back(&self) -> (&RawPort, &RawPort) {
        (&self.b, &self.a)
    }

    /// Until both directions take the fast path.
    fn fast(&mut self) -> Result<()> {
        self.scene.speeds_up(&mut self.talk, (&self.a, &self.b))
    }

    /// The next question must take the slow way, at once.
    fn slow(&mut self) -> Result<Frame> {
        let ask = self.talk.ask();
        self.scene.slow(self.there(), &ask)
    }

    /// A packet that must not arrive where it would have gone, and is counted as this drop.
    fn refused(&self, bad: &Packet, dropped: &str) -> Result<()> {
        let before = Counted::read(&self.scene.agent)?;
        self.a.send(&bad.frame())?;
        tool::until(dropped, SOON, || {
            let drops = Counted::read(&self.scene.agent)?.since(&before).drops();
            Ok((drops.get(dropped) == Some(&1)).then_some(()))
        })?;
        ensure!(!self.b.drain()?.iter().any(|frame| frame.contains(&bad.body)), "{bad:?} arrived");
        Ok(())
    }
}

#[test]
fn another_mac_or_another_receiver_does_not_take_it() -> Result<()> {
    let mut running = Running::up(&[])?;
    let mut stolen = running.talk.ask();
    stolen.macs.0[5] ^= 0x40;
    running.refused(&stolen, "office in mac_mismatch")?;
    running.fast()?;
    // Addressed to somebody else on the segment: seen, never sent on.
    let forwarded = running.scene.forwarded()?;
    for last in [0x18, 0x66] {
        let mut astray = running.talk.ask();
        astray.macs.1 = [2, 0, 0, 0, 0x10, last];
        let good = running.talk.ask();
        running.a.send(&astray.frame())?;
        let (bad, body) = (astray.body.clone(), good.body.clone());
        let marker = || running.a.send(&good.frame());
        running.b.expect_none("it", SOON, |frame| frame.contains(&bad), marker, |frame| frame.contains(&body))?;
    }
    ensure!(running.scene.forwarded()? <= forwarded + 1, "the conversation itself left the fast path");
    Ok(())
}

#[test]
fn what_the_kernel_must_answer_or_cut_up_goes_to_the_kernel() -> Result<()> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    tool::must(town.gateway.command("ip").args(["link", "set", "wan0", "mtu", "1300"]), SOON)?;
    let scene = Scene::over(town, &[&PC_017, &INTERNET_ROUTER], true)?.quiet(&[&PC_017, &INTERNET_ROUTER])?;
    let (a, b) = scene.lane(&PC_017, &INTERNET_ROUTER)?;
    let fits = |frame: &Frame, kind: [u8; 2], at: usize| frame.0.get(at..at + 2) == Some(&kind[..]);
    for v6 in [false, true] {
        let mut talk = Talk::udp(v6, 4000);
        scene.speeds_up(&mut talk, (&a, &b))?;
        let (at, over, large) = if v6 { (54, [3, 0], [2, 0]) } else { (34, [11, 0], [3, 4]) };
        a.send(&talk.ask().ttl(1).frame())?;
        a.expect("time exceeded", SOON, |frame| fits(frame, over, at))?;
        let header = if v6 { 48 } else { 28 };
        // The largest that fits, and one byte more.
        for extra in [0, 1] {
            let mut big = talk.sized(1300 - header + extra);
            if !v6 {
                // Do not fragment.
                big.fragment = 0x4000;
            }
            if extra == 0 {
                let ((seen, fast), _) = (scene.pass((&a, &b), &big)?, ());
                ensure!(fast && seen.0.len() == 1314, "{} bytes, fast: {fast}", seen.0.len());
            } else {
                a.send(&big.frame())?;
                a.expect("too big", SOON, |frame| fits(frame, large, at))?;
            }
        }
    }
    let mut talk = Talk::udp(false, 4000);
    scene.speeds_up(&mut talk, (&a, &b))?;
    let big = talk.sized(1400);
    a.send(&big.frame())?;
    for (offset, more) in [(0, true), (1280, false)] {
        let place = u16::try_from(offset / 8)? | if more { 0x2000 } else { 0 };
        let piece = b.expect("a fragment", SOON, |frame| frame.0.get(20..22) == Some(&place.to_be_bytes()[..]))?;
        ensure!(big.body.get(offset..offset + piece.0.len() - 34) == piece.0.get(34..), "{piece:?}");
    }
    Ok(())
}

/// Both directions at full rate while this is cut off.
fn stands(scene: &Scene, object: &[&str], streams: &[&Stream]) -> Result<()> {
    for stream in streams {
        stream.flows(20)?;
    }
    tool::until("the streams to pass the kernel by", SOON, || {
        let (before, sent) = (scene.forwarded()?, streams[0].sent());
        tool::until("50 more", SOON, || Ok((streams[0].sent() >= sent + 50).then_some(())))?;
        Ok((scene.forwarded()? - before <= 2).then_some(()))
    })?;
    let cut = [&["cutoff"], object, &["--reason", "worm"]].concat();
    let said = scene.agent.cli(cut.iter().copied())?;
    ensure!(said.ok(), "{said:?}");
    for stream in streams {
        stream.stands_still(100).with_context(|| format!("{object:?}"))?;
    }
    Ok(())
}

fn restored(scene: &Scene, object: &[&str]) -> Result<()> {
    let restore = [&["restore"], object, &["--reason", "clean"]].concat();
    let said = scene.agent.cli(restore.iter().copied())?;
    ensure!(said.ok(), "{said:?}");
    Ok(())
}

#[test]
fn a_cut_off_stops_it_from_the_next_packet_on_with_or_without_an_agent() -> Result<()> {
    let mut scene = Scene::up(&[&INTERNET_ROUTER], true)?;
    let (pc, internet) = (scene.town.host(&PC_017)?.clone(), scene.town.host(&INTERNET_ROUTER)?.clone());
    let answers = Stream::to_client(&pc, &internet, (CLOUD_V4, 443), OFTEN)?;
    let answers6 = Stream::to_client(&pc, &internet, (CLOUD_V6, 443), OFTEN)?;
    // A server that answers now and then, so that the conversation is one.
    let echo = Server::udp(&internet, (ATTACKER_V4, 443), |data, _| Some(data.to_vec()))?;
    let asks = Stream::echoed(&pc, echo.address(), OFTEN)?;
    let streams = [&answers, &answers6, &asks];
    for object in [
        &["network", "internet"][..],
        &["zone", "office"],
        &["host", "192.168.10.17"],
        &["host", "02:00:00:00:10:17"],
        &["all"],
    ] {
        // The host's IPv4 address says nothing of its IPv6 one.
        let streams: Vec<_> = streams
            .iter()
            .copied()
            .filter(|one| object[1..] != ["192.168.10.17"] || !std::ptr::eq(*one, &answers6))
            .collect();
        stands(&scene, object, &streams)?;
        restored(&scene, object)?;
    }
    for stream in streams {
        stream.flows(20)?;
    }
    let before = answers.arrived().count;
    scene.agent.kill9()?;
    // Nobody is needed for what goes on.
    answers.flows(500)?;
    ensure!(answers.arrived().count >= before + 500);
    stands(&scene, &["network", "internet"], &streams)
}

#[test]
fn a_route_that_moves_takes_it_away_from_the_very_next_packet() -> Result<()> {
    let mut running = Running::up(&[&LGWAN_ROUTER])?;
    let lgwan = RawPort::open(running.scene.town.host(&LGWAN_ROUTER)?, HOST_INTERFACE)?;
    for dead in [false, true] {
        if dead {
            running.scene.agent.kill9()?;
        }
        running.scene.gateway("ip route replace 198.51.100.5 via 172.16.88.1")?;
        let maps = Maps::pinned(&running.scene.agent.pins_path().join("maps"))?;
        ensure!(maps.fast.get(&0, 0)? != 0, "nothing of this is the agent's doing");
        let astray = running.talk.ask();
        if dead {
            let forwarded = running.scene.forwarded()?;
            running.a.send(&astray.frame())?;
            let seen = || Ok((running.scene.forwarded()? == forwarded + 1).then_some(()));
            tool::until("the kernel to have tried", SOON, seen)?;
        } else {
            running.refused(&astray, "lgwan out wrong_way")?;
        }
        // Nor is a conversation that already ran the other way a way back.
        running.scene.gateway("ip route del 198.51.100.5")?;
        let home = running.talk.ask();
        deliver(running.there(), &home)?;
        for port in [&running.b, &lgwan] {
            ensure!(!port.drain()?.iter().any(|frame| frame.contains(&astray.body)), "dead: {dead}");
        }
        running.fast()?;
    }
    Ok(())
}

#[test]
fn a_neighbour_that_changes_is_followed_from_the_next_packet_on() -> Result<()> {
    let mut running = Running::up(&[])?;
    let new = "02:00:00:00:99:77";
    running.scene.gateway(&format!("ip neigh replace 203.0.113.1 lladdr {new} dev wan0 nud permanent"))?;
    let ask = running.talk.ask();
    let (seen, fast) = running.scene.pass(running.there(), &ask)?;
    assert_eq!((seen.to_mac(), fast), (NEW_MAC, true));
    assert_eq!(seen.0, forwarded_as(&ask, (INTERNET.mac, NEW_MAC)).0);
    // Forgotten: the kernel asks for it again and nothing is lost.
    running.scene.gateway("ip neigh del 203.0.113.1 dev wan0")?;
    let ask = running.talk.ask();
    let seen = running.scene.slow(running.there(), &ask)?;
    assert_eq!(seen.0, forwarded_as(&ask, OUT).0);
    running.fast()
}

#[test]
fn a_link_that_goes_and_comes_back_leaves_no_hole() -> Result<()> {
    let mut running = Running::up(&[])?;
    running.scene.gateway("ip link set wan0 down")?;
    let lost = running.talk.ask();
    running.a.send(&lost.frame())?;
    running.scene.gateway("ip link set wan0 up")?;
    running.scene.gateway("ip route replace default via 203.0.113.1")?;
    tool::until("packets to pass again", SOON, || {
        let ask = running.talk.ask();
        running.a.send(&ask.frame())?;
        let deadline = Instant::now() + Duration::from_millis(100);
        while let Some(frame) = running.b.next(deadline)? {
            if frame.contains(&ask.body) {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })?;
    running.fast()
}

#[test]
fn a_rule_of_the_hosts_own_is_met_at_once_and_void_when_it_is_gone() -> Result<()> {
    let running = Running::up(&[])?;
    let scene = &running.scene;
    let pc = scene.town.host(&PC_017)?;
    let stream = Stream::to_client(pc, scene.town.host(&INTERNET_ROUTER)?, (CLOUD_V4, 443), OFTEN)?;
    let fast = || {
        let (before, sent) = (scene.forwarded()?, stream.sent());
        tool::until("50 more", SOON, || Ok((stream.sent() >= sent + 50).then_some(())))?;
        Ok((scene.forwarded()? - before <= 2).then_some(()))
    };
    tool::until("the stream to pass the kernel by", SOON, fast)?;
    let table = "table inet other { chain f { type filter hook forward priority 5; ip saddr 198.51.100.5 drop; }; }";
    nft::load(&scene.town.gateway, table)?;
    // The kernel's notice and one look of the agent's, no more.
    let within = Instant::now() + Duration::from_millis(300);
    while Instant::now() < within {
        std::thread::sleep(OFTEN);
    }
    stream.stands_still(100)?;
    scene.gateway("nft delete table inet other")?;
    stream.flows(50)?;
    tool::until("the stream to pass the kernel by again", SOON, fast)
}

#[test]
fn a_switch_or_a_deadline_that_ends_the_permission_ends_it_here() -> Result<()> {
    let mut running = Running::up(&[])?;
    // A deadline of the flow that has just passed: judged anew, by the slow way.
    let mut maps = Maps::pinned(&running.scene.agent.pins_path().join("maps"))?;
    let views: Vec<_> = maps.flows4.iter().collect::<Result<_, _>>()?;
    ensure!(views.len() >= 2, "{} views", views.len());
    for (key, mut view) in views {
        view.deadline = 1;
        maps.flows4.insert(key, view, 0)?;
    }
    running.slow()?;
    running.fast()?;
    // The same with a reply, which asks the initiator's view.
    let views: Vec<_> = maps.flows4.iter().collect::<Result<_, _>>()?;
    for (key, mut view) in views {
        view.deadline = 1;
        maps.flows4.insert(key, view, 0)?;
    }
    let answer = running.talk.answer();
    running.scene.slow(running.back(), &answer)?;
    running.fast()?;

    let without = running.scene.policies.town("without", &[rule("other", "office", "internet", "ping")])?;
    running.scene.agent.apply(&without)?;
    let ask = running.talk.ask();
    running.refused(&ask, "office in flow_ended")?;
    let answer = running.talk.answer();
    let before = Counted::read(&running.scene.agent)?;
    running.b.send(&answer.frame())?;
    let drops = || {
        let drops = Counted::read(&running.scene.agent)?.since(&before).drops();
        Ok((drops.get("office out no_flow") == Some(&1)).then_some(()))
    };
    tool::until("the answer to be dropped", SOON, drops)?;
    ensure!(!running.a.drain()?.iter().any(|frame| frame.contains(&answer.body)), "the answer arrived");
    Ok(())
}

#[test]
fn what_the_host_translates_never_takes_it_even_if_nobody_is_there_to_forbid_it() -> Result<()> {
    let mut running = Running::up(&[])?;
    running.scene.agent.kill9()?;
    running.scene.town.translate()?;
    let mut talk = Talk::udp(false, 4100);
    for _ in 0..10 {
        let ask = talk.ask();
        let forwarded = running.scene.forwarded()?;
        running.a.send(&ask.frame())?;
        let text = ask.body.get(8..).context("no text")?.to_vec();
        let seen = running.b.expect("the masqueraded packet", SOON, |frame| frame.contains(&text))?;
        assert_eq!(seen.ips().map(|ips| ips.0), Some(INTERNET.v4.0.into()));
        ensure!(running.scene.forwarded()? == forwarded + 1, "past the kernel");
        // And back, to be translated again.
        let (_, port) = (seen.ips(), seen.ports().context("no ports")?.0);
        let text = talk.answer().body.get(8..).context("no text")?.to_vec();
        let answer = Packet::udp(inwards(&INTERNET_ROUTER), (CLOUD_V4, 443), (INTERNET.v4.0, port), &text);
        running.b.send(&answer.frame())?;
        let seen = running.a.expect("the answer", SOON, |frame| frame.contains(&text))?;
        assert_eq!(seen.ips().map(|ips| ips.1), Some(PC_017.v4.into()));
        ensure!(running.scene.forwarded()? == forwarded + 2, "the answer past the kernel");
    }
    Ok(())
}

/// Bytes of a long transfer, each way.
const LONG: usize = 20_000_000;

#[test]
fn long_transfers_both_ways_arrive_whole_past_the_kernel_and_without_repeats() -> Result<()> {
    let scene = Scene::up(&[&INTERNET_ROUTER], true)?;
    let (pc, internet) = (scene.town.host(&PC_017)?, scene.town.host(&INTERNET_ROUTER)?);
    let _echo = Server::tcp_echo(internet, 443)?;
    let (repeats, kernel) = (|| Ok::<_, anyhow::Error>(repeated(pc)? + repeated(internet)?), || scene.forwarded());
    let (before, forwarded) = (repeats()?, kernel()?);
    for to in [SocketAddr::from((CLOUD_V4, 443)), (CLOUD_V6, 443).into()] {
        let mut stream = connect(pc, None, to, SOON * 2)?;
        let mut writing = stream.try_clone()?;
        let bytes = |at: usize| u8::try_from(at * 7 % 251).unwrap_or(0);
        let sent: Vec<u8> = (0..LONG).map(bytes).collect();
        let mut got = vec![0; LONG];
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| writing.write_all(&sent));
            stream.read_exact(&mut got)?;
            writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
            Ok::<_, anyhow::Error>(())
        })?;
        ensure!(got == sent, "{to}: not the same bytes");
    }
    let (repeats, kernel) = (repeats()? - before, kernel()? - forwarded);
    // 28,000 segments of 1,448 bytes each way and family.
    ensure!(kernel < 2000, "{kernel} packets by way of the kernel");
    ensure!(repeats < 300, "{repeats} segments sent again");
    Ok(())
}

/// `RetransSegs` of a namespace.
fn repeated(ns: &Ns) -> Result<u64> {
    ns.run(|| {
        let text = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
        let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
        let names = lines.next().context("no Tcp: in snmp")?;
        let at = names.split(' ').position(|name| name == "RetransSegs").context("no RetransSegs")?;
        Ok(lines.next().and_then(|line| line.split(' ').nth(at)).context("no number")?.parse()?)
    })
}

/// Two ports of a bridge, both guarded; a third one that nobody has yet.
#[test]
fn a_bridged_pair_crosses_by_port_and_a_host_that_moves_is_found() -> Result<()> {
    const INSIDE: MacAddr = [2, 0, 0, 1, 0, 0x10];
    const OUTSIDE: MacAddr = [2, 0, 0, 1, 0, 0x20];
    let (gateway, inside, outside, moved) =
        (Ns::new("bridge")?, Ns::new("inside")?, Ns::new("outside")?, Ns::new("moved")?);
    gateway.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
    for (port, ns, mac) in [("p0", &inside, INSIDE), ("p1", &outside, OUTSIDE), ("p2", &moved, OUTSIDE)] {
        ns.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        link::veth(plug(&gateway, port), plug(ns, HOST_INTERFACE).mac(mac))?;
        offload::gro(ns, HOST_INTERFACE, true)?;
    }
    link::bridge(&gateway, "br0", &["p0", "p1", "p2"])?;
    for family in ["iptables", "ip6tables", "arptables"] {
        gateway.sysctl(&format!("net/bridge/bridge-nf-call-{family}"), "0")?;
    }
    // What XDP sends on, nobody sees here.
    let taps = [RawPort::open(&gateway, "p0")?, RawPort::open(&gateway, "p1")?];
    let policies = Policies::new()?;
    let agent = Agent::start(&gateway, &Config::new(policies.text("bridge", BRIDGE)?))?;
    for interface in ["p0", "p1", "p2"] {
        fast::usable(&agent, interface)?;
    }
    let ports = [RawPort::open(&inside, HOST_INTERFACE)?, RawPort::open(&outside, HOST_INTERFACE)?];
    let third = RawPort::open(&moved, HOST_INTERFACE)?;
    let mut number = 0;
    let mut packet = |back: bool, tag: Option<u16>| {
        number += 1;
        let net = if tag.is_some() { 10 } else { 1 };
        let ends = ((Ipv4Addr::new(10, net, 0, 10), 4000), (Ipv4Addr::new(10, net, 0, 200), 443));
        let text = format!("number {number:024}");
        let packet = if back {
            Packet::udp((OUTSIDE, INSIDE), ends.1, ends.0, text.as_bytes())
        } else {
            Packet::udp((INSIDE, OUTSIDE), ends.0, ends.1, text.as_bytes())
        };
        match tag {
            // Priority 5 stays what it was.
            Some(vlan) => packet.tag(0x8100, 0xa000 | vlan),
            None => packet,
        }
    };
    for tag in [None, Some(10)] {
        tool::until("both ways past the bridge", SOON, || {
            let mut all = true;
            for back in [false, true] {
                let (from, to) = if back { (&ports[1], &ports[0]) } else { (&ports[0], &ports[1]) };
                let packet = packet(back, tag);
                let seen = deliver((from, to), &packet)?;
                ensure!(seen.0 == packet.frame().0, "{seen:?} is not {packet:?}");
                all &= !taps[usize::from(back)].drain()?.iter().any(|frame| frame.contains(&packet.body));
            }
            Ok(all.then_some(()))
        })?;
    }
    // It moves, and says so; at most a second later it is found.
    third.send(&packet(true, None).frame())?;
    let moved_at = Instant::now();
    tool::until("the host at its new port", Duration::from_millis(2500), || {
        let packet = packet(false, None);
        ports[0].send(&packet.frame())?;
        let deadline = Instant::now() + Duration::from_millis(50);
        while let Some(frame) = third.next(deadline)? {
            if frame.contains(&packet.body) {
                return Ok(Some(()));
            }
        }
        Ok(None)
    })?;
    ensure!(moved_at.elapsed() < Duration::from_secs(3));
    Ok(())
}

const BRIDGE: &str = r#"version: 1
organisation: test
box: {addresses: [10.1.0.1]}
zones:
  inside: {interfaces: [p0], prefixes: [10.1.0.0/25], devices: any}
  tagged: {interfaces: [p0], vlans: [10], prefixes: [10.10.0.0/25], devices: any}
networks:
  outside:
    interfaces: [p1, p2]
    prefixes: [10.1.0.128/25]
    line: test
    owner: test
    survey: {date: 2026-10-01, surveyor: t, topology: t, devices: t, security: t, impact: t}
  outside-tagged:
    interfaces: [p1]
    vlans: [10]
    prefixes: [10.10.0.128/25]
    line: test
    owner: test
    survey: {date: 2026-10-01, surveyor: t, topology: t, devices: t, security: t, impact: t}
rules:
  - {id: web, from: inside, to: outside, services: [udp/443], purpose: test, owner: test}
  - {id: tagged, from: tagged, to: outside-tagged, services: [udp/443], purpose: test, owner: test}
"#;

/// A veth stands for a VLAN device where the kernel has none: the routes lead to it, the tables say what it is, and the
/// conversation is told that it left with the tag.
#[test]
fn tags_are_pushed_exchanged_and_popped() -> Result<()> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    let behind = Ns::new("behind")?;
    let (ours, theirs) = ([2, 0, 0, 0, 0x98, 1], [2, 0, 0, 0, 0x98, 2]);
    let gateway = |line: &str| {
        let mut words = line.split(' ');
        let mut command = town.gateway.command(words.next().context("no command")?);
        tool::must(command.args(words), SOON).map(drop)
    };
    for (name, mac, net) in [("v10", ours, 98), ("v20", [2, 0, 0, 0, 0x97, 1], 97)] {
        link::veth(plug(&town.gateway, name).mac(mac), plug(&behind, name))?;
        link::address(&town.gateway, name, Ipv4Addr::new(10, net, 0, 1), 24)?;
        gateway(&format!("ip neigh replace 10.{net}.0.2 lladdr 02:00:00:00:98:02 dev {name} nud permanent"))?;
    }
    let tagged = "  tagged:\n    {interfaces: [wan0], vlans: [10], prefixes: [10.98.0.0/16], line: t, owner: t,\n     \
        survey: {date: 2026-10-01, surveyor: t, topology: t, devices: t, security: t, impact: t}}\n  lgwan:\n";
    let rules = rule("web", "office", "internet", "udp/443");
    let policy = format!("{TOWN}{rules}").replacen("  lgwan:\n", tagged, 1);
    let (wan, lan) = (link::index(&town.gateway, "wan0")?, link::index(&town.gateway, "lan0")?);
    let (v10, v20) = (link::index(&town.gateway, "v10")?, link::index(&town.gateway, "v20")?);
    let hosts = [&PC_017, &INTERNET_ROUTER];
    let scene = Scene::with(town, &hosts, true, &policy)?.quiet(&hosts)?;
    let (a, b) = scene.lane(&PC_017, &INTERNET_ROUTER)?;
    let mut talk = Talk::udp(false, 4000);
    scene.speeds_up(&mut talk, (&a, &b))?;
    let mut maps = Maps::pinned(&scene.agent.pins_path().join("maps"))?;
    for (index, lower, tag) in [(v10, wan, 10), (v20, lan, 20)] {
        maps.ifaces.insert(index, IfaceEntry { flags: IFACE_VLAN, lower, tag, ..IfaceEntry::default() }, 0)?;
    }
    let views: Vec<_> = maps.flows4.iter().collect::<Result<_, _>>()?;
    let of = |role| views.iter().find(|(_, view)| view.role == role).copied().context("no such view");
    let ((out_key, out), (home_key, home)) = (of(ROLE_INITIATOR)?, of(ROLE_RESPONDER)?);

    let kernel = scene.forwarded()?;
    // Pushed: the kernel routes by the device, the frame leaves by the port below it.
    scene.gateway("ip route replace 198.51.100.5 via 10.98.0.2")?;
    maps.flows4.insert(out_key, View { out_tag: 10, ..out }, 0)?;
    let ask = talk.ask();
    let wanted = forwarded_as(&ask.clone().tag(0x8100, 10), (ours, theirs));
    assert_eq!(deliver((&a, &b), &ask)?.0, wanted.0);
    // Popped: it comes in with the tag and goes home without.
    let tagged_key = ViewKey4 { outer: 10, ..home_key };
    maps.flows4.insert(tagged_key, home, 0)?;
    let answer = talk.answer();
    assert_eq!(deliver((&b, &a), &answer.clone().tag(0x8100, 0xa00a))?.0, forwarded_as(&answer, HOME).0);
    // Exchanged, of the smallest frame a wire has.
    scene.gateway("ip route replace 192.168.10.17 via 10.97.0.2")?;
    maps.flows4.insert(tagged_key, View { out_tag: 20, ..home }, 0)?;
    let answer = talk.answer();
    let wanted = forwarded_as(&answer.clone().tag(0x8100, 20), ([2, 0, 0, 0, 0x97, 1], theirs));
    assert_eq!(deliver((&b, &a), &answer.tag(0x8100, 10))?.0, wanted.0);
    assert_eq!(scene.forwarded()?, kernel, "all of it past the kernel");
    // The tag learnt is not the one of the device the kernel means now: the kernel's turn, which has no such device here.
    maps.flows4.insert(tagged_key, View { out_tag: 30, ..home }, 0)?;
    let astray = talk.answer().tag(0x8100, 10);
    b.send(&astray.frame())?;
    maps.flows4.insert(tagged_key, View { out_tag: 20, ..home }, 0)?;
    let good = talk.answer().tag(0x8100, 10);
    let marker = || b.send(&good.frame());
    a.expect_none("it", SOON, |frame| frame.contains(&astray.body), marker, |frame| frame.contains(&good.body))
}
