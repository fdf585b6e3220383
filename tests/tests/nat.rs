//! Address translation by the host, judged without asking the host: what comes back is proved by what went out.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    frame::Frame,
    gate::{DNS_RULE, Gate, Lane, MARKER, POISON, SOON},
    nft,
    packet::{Packet, flag, inwards},
    raw::RawPort,
    service::{Server, tcp_exchange, udp_exchange, udp_socket},
    town::Town,
    townhall::{
        ATTACKER_V4, BIZ_SERVER, CLOUD_V4, DNS_V4, INTERNET, INTERNET_ROUTER, PC_017, PUBLIC_WEB_V4, WEB, WEB_TLS_PORT,
    },
};

/// The gateway's own address on `wan0`, which masquerading uses.
const OUTSIDE: Ipv4Addr = INTERNET.v4.0;

fn rules() -> String {
    format!(
        r"rules:{DNS_RULE}
  - id: office-web
    from: office
    to: internet
    services: [https, udp/33434-33534, ping]
    purpose: test
    owner: test
publish:
  - id: city-web
    from: internet
    address: {PUBLIC_WEB_V4}
    services: [https]
    server: {{zone: dmz, address: {}, port: {WEB_TLS_PORT}}}
    purpose: test
    owner: test
",
        WEB.v4
    )
}

fn translated() -> Result<Gate> {
    let town = Town::build(&[&PC_017, &WEB, &INTERNET_ROUTER])?;
    town.translate()?;
    Gate::over(town, &rules())
}

/// A packet from somewhere on the Internet, by way of the router.
fn reply(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), data: &[u8]) -> Frame {
    Packet::udp(inwards(&INTERNET_ROUTER), src, dst, data).frame()
}

/// A query from inside; the port the gateway took for it outside.
fn query(inside: &RawPort, outside: &RawPort, from: u16) -> Result<u16> {
    inside.send(&Packet::udp(inwards(&PC_017), (PC_017.v4, from), (DNS_V4, 53), b"a query").frame())?;
    let seen = outside.expect("the query", SOON, |frame| frame.contains(b"a query"))?;
    ensure!(seen.ips() == Some((OUTSIDE.into(), DNS_V4.into())), "not masqueraded: {seen:?}");
    Ok(seen.ports().map_or(0, |ports| ports.0))
}

/// From outside to `pc-017`, marked by answers to a query it sent; beside it the outside port of that query.
fn answers(gate: &Gate) -> Result<(Lane, u16)> {
    let (inside, outside) = (gate.port(&PC_017)?, gate.port(&INTERNET_ROUTER)?);
    let port = query(&inside, &outside, 5353)?;
    let lane = Lane { from: outside, to: inside, marker: reply((DNS_V4, 53), (OUTSIDE, port), MARKER) };
    lane.mark()?;
    Ok((lane, port))
}

#[test]
fn a_reply_passes_the_masquerade_and_the_very_same_packet_before_the_query_does_not() -> Result<()> {
    let gate = translated()?;
    let (inside, outside) = (gate.port(&PC_017)?, gate.port(&INTERNET_ROUTER)?);
    // The gateway takes the client's own port as long as it is free.
    let early = reply((DNS_V4, 53), (OUTSIDE, 5353), POISON);
    gate.drops(&[("internet in no_rule", 1)], || {
        outside.send(&early)?;
        let (lane, port) = answers(&gate)?;
        ensure!(port == 5353, "the gateway took port {port}");
        // The lane listens from the query on; this port did before.
        ensure!(!inside.drain()?.iter().any(|frame| frame.contains(POISON)), "the early reply arrived");
        lane.from.send(&early)?;
        lane.to.expect("the same packet as a reply", SOON, |frame| frame.contains(POISON))?;
        Ok(())
    })?;

    // To another port, from another port, from another server, to the other public address: nobody asked them.
    let (lane, port) = answers(&gate)?;
    for (src, dst) in [
        ((DNS_V4, 53), (OUTSIDE, port + 1)),
        ((DNS_V4, 54), (OUTSIDE, port)),
        ((ATTACKER_V4, 53), (OUTSIDE, port)),
        ((DNS_V4, 53), (PUBLIC_WEB_V4, port)),
    ] {
        gate.refuses(&lane, &[reply(src, dst, POISON)], &[("internet in no_rule", 1)])?;
    }
    Ok(())
}

#[test]
fn tcp_through_the_masquerade_passes_and_its_reply_alone_does_not() -> Result<()> {
    let gate = translated()?;
    let internet = gate.town.host(&INTERNET_ROUTER)?;
    let _web = Server::tcp_echo(internet, 443)?;
    let (inside, outside) = (gate.port(&PC_017)?, gate.port(&INTERNET_ROUTER)?);
    // Out of the blue: half a handshake, and the middle of a conversation.
    for flags in [flag::SYN | flag::ACK, flag::ACK] {
        let segment =
            Packet::tcp(inwards(&INTERNET_ROUTER), (CLOUD_V4, 443), (OUTSIDE, 40_000), (flags, 1, 1), POISON).frame();
        gate.drops(&[("internet in tcp_not_syn", 1)], || {
            outside.send(&segment)?;
            let message = b"after the stray one";
            ensure!(tcp_exchange(gate.town.host(&PC_017)?, None, (CLOUD_V4, 443), message, SOON)? == message);
            ensure!(!inside.drain()?.iter().any(|frame| frame.contains(POISON)));
            Ok(())
        })?;
    }
    let counted = gate.counted()?;
    assert_eq!(counted.flows.get("office-web"), Some(&2));
    Ok(())
}

#[test]
fn the_published_server_answers_at_its_public_address_and_nothing_else_of_it_does() -> Result<()> {
    let gate = translated()?;
    let internet = gate.town.host(&INTERNET_ROUTER)?;
    let (inside, outside) = (gate.port(&WEB)?, gate.port(&INTERNET_ROUTER)?);
    let _tls = Server::tcp_echo(gate.town.host(&WEB)?, WEB_TLS_PORT)?;
    gate.drops(&[], || {
        let said = tcp_exchange(internet, Some(CLOUD_V4.into()), (PUBLIC_WEB_V4, 443), b"hello", SOON)?;
        ensure!(said == b"hello", "{said:?}");
        Ok(())
    })?;
    assert_eq!(gate.counted()?.flows.get("city-web"), Some(&1));
    // Port 80 is translated by the host too, but no rule publishes it; the real address is nobody's outside.
    for (to, port) in [(PUBLIC_WEB_V4, 80), (PUBLIC_WEB_V4, WEB_TLS_PORT), (WEB.v4, WEB_TLS_PORT), (WEB.v4, 443)] {
        inside.drain()?;
        gate.drops(&[("internet in no_rule", 1)], || {
            let syn = Packet::tcp(inwards(&INTERNET_ROUTER), (ATTACKER_V4, 4000), (to, port), (flag::SYN, 9, 0), &[]);
            outside.send(&syn.frame())?;
            tcp_exchange(internet, Some(CLOUD_V4.into()), (PUBLIC_WEB_V4, 443), b"marker", SOON)?;
            let from_there = |frame: &Frame| frame.ips().is_some_and(|(src, _)| src == ATTACKER_V4);
            ensure!(!inside.drain()?.iter().any(from_there), "the SYN to {to}:{port} arrived");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_translation_that_leads_to_another_server_is_caught_on_the_way_out() -> Result<()> {
    let town = Town::build(&[&PC_017, &WEB, &BIZ_SERVER, &INTERNET_ROUTER])?;
    town.translate()?;
    // The host's rules as a mistake or an intruder would leave them: one network leads to the business server, another
    // to another port of the right one.
    nft::load(
        &town.gateway,
        &format!(
            "table ip wrong {{
                chain in {{
                    type nat hook prerouting priority dstnat - 1;
                    ip saddr {ATTACKER_V4} ip daddr {PUBLIC_WEB_V4} tcp dport 443 dnat to {}:{WEB_TLS_PORT}
                    ip saddr {DNS_V4} ip daddr {PUBLIC_WEB_V4} tcp dport 443 dnat to {}:22
                }}
            }}",
            BIZ_SERVER.v4, WEB.v4
        ),
    )?;
    let gate = Gate::over(town, &rules())?;
    let internet = gate.town.host(&INTERNET_ROUTER)?;
    let outside = gate.port(&INTERNET_ROUTER)?;
    let (web, business) = (gate.port(&WEB)?, gate.port(&BIZ_SERVER)?);
    let _tls = Server::tcp_echo(gate.town.host(&WEB)?, WEB_TLS_PORT)?;
    // Another zone altogether is the wrong way before it is the wrong server.
    for (from, there, counter) in
        [(ATTACKER_V4, &business, "lgwan-facing out wrong_way"), (DNS_V4, &web, "dmz out wrong_server")]
    {
        there.drain()?;
        gate.drops(&[(counter, 1)], || {
            let syn =
                Packet::tcp(inwards(&INTERNET_ROUTER), (from, 4000), (PUBLIC_WEB_V4, 443), (flag::SYN, 9, 0), &[]);
            outside.send(&syn.frame())?;
            tcp_exchange(internet, Some(CLOUD_V4.into()), (PUBLIC_WEB_V4, 443), b"marker", SOON)?;
            let misled = |frame: &Frame| frame.ips().is_some_and(|(src, _)| src == from);
            ensure!(!there.drain()?.iter().any(misled), "{from} was led to the wrong server");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn without_translation_replies_find_their_way_all_the_same() -> Result<()> {
    let gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &rules())?;
    let _names = Server::udp_echo(gate.town.host(&INTERNET_ROUTER)?, DNS_V4, 53)?;
    let _web = Server::tcp_echo(gate.town.host(&INTERNET_ROUTER)?, 443)?;
    let here = gate.town.host(&PC_017)?;
    gate.drops(&[], || {
        ensure!(udp_exchange(here, None, (DNS_V4, 53), b"name?", SOON)? == b"name?");
        ensure!(tcp_exchange(here, None, (CLOUD_V4, 443), b"page?", SOON)? == b"page?");
        ensure!(gate.town.ping(&PC_017, CLOUD_V4)?);
        Ok(())
    })?;
    let lane = gate.way_in()?;
    gate.refuses(&lane, &[reply((DNS_V4, 53), (PC_017.v4, 5353), POISON)], &[("internet in no_rule", 1)])
}

/// ```text
///  outside:  ICMP  router → 203.0.113.2   about   [ 203.0.113.2:P → server ]      P: the port the gateway took
///  inside:   ICMP  router → 192.168.10.17 about   [ 192.168.10.17:p → server ]
/// ```
#[test]
fn icmp_errors_about_translated_conversations_pass_and_forged_ones_do_not() -> Result<()> {
    let gate = translated()?;
    let (lane, port) = answers(&gate)?;
    let router = INTERNET_ROUTER.v4;
    let error = |kind: (u8, u8), word: u32, to: Ipv4Addr, quoted: &Packet| {
        Packet::icmp(inwards(&INTERNET_ROUTER), router, to, kind, word, &quoted.bytes()).frame()
    };
    // As it left: the text is in the quoted part, and so in the error.
    let sent = |sport: u16, text: &[u8]| Packet::udp(inwards(&PC_017), (OUTSIDE, sport), (DNS_V4, 53), text);

    // Time exceeded, port unreachable, fragmentation needed with an MTU of 1400.
    for (kind, word) in [((11, 0), 0), ((3, 3), 0), ((3, 4), 1400)] {
        let text = format!("about {kind:?}");
        let whole = error(kind, word, OUTSIDE, &sent(port, text.as_bytes()));
        let seen = gate.admits(&lane, &whole, text.as_bytes())?;
        assert_eq!(seen.ips(), Some((router.into(), PC_017.v4.into())));
    }

    let mut optioned = sent(port, POISON);
    optioned.options = vec![1, 1, 1, 1];
    let other_way = Packet::udp(inwards(&PC_017), (DNS_V4, 53), (OUTSIDE, port), POISON);
    for (what, forged) in [
        ("of a conversation that is not", error((3, 3), 0, OUTSIDE, &sent(port + 1, POISON))),
        ("about somebody else's packet", error((3, 3), 0, PUBLIC_WEB_V4, &sent(port, POISON))),
        ("with an impossible MTU", error((3, 4), 67, OUTSIDE, &sent(port, POISON))),
        ("about a packet with options", error((3, 3), 0, OUTSIDE, &optioned)),
        ("about a reply", error((3, 3), 0, OUTSIDE, &other_way)),
    ] {
        gate.refuses(&lane, &[forged], &[("internet in icmp_unrelated", 1)]).context(what)?;
    }
    Ok(())
}

#[test]
fn a_route_can_be_traced_through_the_masquerade() -> Result<()> {
    let gate = translated()?;
    let here = gate.town.host(&PC_017)?;
    let inside = gate.port(&PC_017)?;
    let from_router = |kind: u8| move |frame: &Frame| frame.protocol() == Some(1) && frame.0.get(34) == Some(&kind);
    gate.drops(&[], || {
        // One hop too few: the box itself answers. Enough: nobody listens there.
        let probe = udp_socket(here, None, (CLOUD_V4, 33_440), SOON)?;
        probe.set_ttl(1)?;
        probe.send(b"hop")?;
        inside.expect("time exceeded from the box", SOON, from_router(11))?;
        let probe = udp_socket(here, None, (CLOUD_V4, 33_441), SOON)?;
        probe.send(b"hop")?;
        let seen = inside.expect("port unreachable", SOON, from_router(3))?;
        ensure!(seen.ips() == Some((CLOUD_V4.into(), PC_017.v4.into())), "{seen:?}");
        Ok(())
    })
}
