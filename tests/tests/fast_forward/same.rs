//! Bytes, counters and answers: as on the slow way.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
};

use super::shared::{HOME, OUT, forwarded_as, refuses};
use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    agent::Agent,
    counted::Counted,
    counters::Counters,
    fast::{Scene, Talk, deliver},
    frame::Frame,
    gate::{POISON, SOON},
    netns::Ns,
    packet::{Packet, flag, inwards},
    service::{Server, connect},
    tool,
    town::Town,
    townhall::{CLOUD_V4, CLOUD_V6, INTERNET_ROUTER, PC_017},
};

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

/// What the machines' own kernels send unasked, now and then, counts as these.
const UNASKED: [&str; 2] = ["builtin", "multicast"];

/// Sums of bytes by direction of zones, networks and rules.
fn volumes(agent: &Agent) -> Result<Vec<(String, f64)>> {
    let counters = Counters::read(agent)?;
    let mut all = Vec::new();
    for (net, direction) in [("office", "in"), ("office", "out"), ("internet", "in"), ("internet", "out")] {
        for verdict in ["pass", "drop"] {
            let labels = [("network", net), ("direction", direction), ("verdict", verdict)];
            let mut bytes = counters.sum("sekimori_bytes_total", &labels);
            for reason in UNASKED {
                bytes -= counters.sum("sekimori_bytes_total", &[&labels[..], &[("reason", reason)]].concat());
            }
            all.push((format!("{net} {direction} {verdict}"), bytes));
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

    let mut counted = Counted::read(&scene.agent)?.since(&before);
    counted.reasons.retain(|(_, _, reason), _| !UNASKED.contains(&reason.as_str()));
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
