//! The harness itself: wires carry, captures see, and a proof of absence fails when there is nothing to prove it with.

use std::time::Duration;

use anyhow::Result;
use sekimori_tests::harness::{
    frame::{Frame, udp},
    link::{self, plug},
    netns::Ns,
    nft,
    raw::RawPort,
    service::{Server, connect, tcp_exchange, udp_exchange},
    town::{HOST_INTERFACE, Town},
    townhall::{
        ADMIN_PC, ATTACKER_V4, CLOUD_V4, CLOUD_V6, DNS_V4, INTERNET_ROUTER, OFFICE, PC_017, PUBLIC_WEB_V4, STRANGER,
        WEB, WEB_TLS_PORT,
    },
};

const SOON: Duration = Duration::from_secs(5);

#[test]
fn a_plain_gateway_forwards_both_families_both_ways() -> Result<()> {
    let town = Town::build(&[&PC_017, &STRANGER, &INTERNET_ROUTER])?;
    let internet = town.host(&INTERNET_ROUTER)?;
    let _web = Server::tcp_echo(internet, 443)?;
    let _names = Server::udp_echo(internet, DNS_V4, 53)?;
    for host in [&PC_017, &STRANGER] {
        let here = town.host(host)?;
        assert!(town.ping(host, CLOUD_V4)?);
        assert!(town.ping(host, CLOUD_V6)?);
        assert_eq!(tcp_exchange(here, None, (CLOUD_V4, 443), b"four", SOON)?, b"four");
        assert_eq!(tcp_exchange(here, None, (CLOUD_V6, 443), b"six", SOON)?, b"six");
        assert_eq!(udp_exchange(here, None, (DNS_V4, 53), b"name?", SOON)?, b"name?");
    }
    // From outside too, from whichever address is asked for.
    let _pc = Server::tcp_echo(town.host(&PC_017)?, 22)?;
    let stream = connect(internet, Some(ATTACKER_V4.into()), (PC_017.v4, 22), SOON)?;
    assert_eq!(stream.local_addr()?.ip(), ATTACKER_V4);
    assert!(connect(internet, None, (PC_017.v4, 23), SOON).is_err(), "nobody listens there");
    Ok(())
}

#[test]
fn translation_hides_the_inside_and_publishes_the_web_server() -> Result<()> {
    let town = Town::build(&[&PC_017, &WEB, &INTERNET_ROUTER])?;
    town.translate()?;
    let internet = town.host(&INTERNET_ROUTER)?;
    let outside = RawPort::open(internet, HOST_INTERFACE)?;
    let _names = Server::udp_echo(internet, DNS_V4, 53)?;
    udp_exchange(town.host(&PC_017)?, None, (DNS_V4, 53), b"who is asking", SOON)?;
    let frame = outside.expect("the query", SOON, |frame| frame.contains(b"who is asking"))?;
    assert_eq!(frame.ips().map(|(src, _)| src), Some("203.0.113.2".parse()?));

    let _web = Server::tcp_echo(town.host(&WEB)?, WEB_TLS_PORT)?;
    assert_eq!(tcp_exchange(internet, Some(CLOUD_V4.into()), (PUBLIC_WEB_V4, 443), b"hello", SOON)?, b"hello");
    Ok(())
}

#[test]
fn absence_is_proved_by_a_marker_or_not_at_all() -> Result<()> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    nft::load(
        &town.gateway,
        "table inet f {
            chain c {
                type filter hook forward priority 0;
                udp dport { 666, 667 } drop
            }
        }",
    )?;
    let inside = RawPort::open(town.host(&PC_017)?, HOST_INTERFACE)?;
    let outside = RawPort::open(town.host(&INTERNET_ROUTER)?, HOST_INTERFACE)?;
    let send = |port: u16, text: &[u8]| {
        let macs = (PC_017.mac, OFFICE.mac);
        inside.send(&udp(macs, (PC_017.v4.into(), 4000), (CLOUD_V4.into(), port), text))
    };
    let unwanted = |frame: &Frame| frame.contains(b"poison");

    // Dropped, and the marker is there to say so.
    send(666, b"poison")?;
    outside.expect_none("poison", SOON, unwanted, || send(1000, b"marker"), |frame| frame.contains(b"marker"))?;

    // Let through: noticed.
    send(1000, b"poison")?;
    let leaked =
        outside.expect_none("poison", SOON, unwanted, || send(1000, b"marker"), |frame| frame.contains(b"marker"));
    assert!(leaked.is_err_and(|error| error.to_string().contains("poison arrived")));

    // The marker is dropped as well: nothing is proved, and that is an error.
    let short = Duration::from_millis(300);
    let silent = outside.expect_none("x", short, |_| false, || send(667, b"lost"), |frame| frame.contains(b"lost"));
    assert!(silent.is_err_and(|error| error.to_string().contains("marker did not arrive")));
    Ok(())
}

#[test]
fn captures_give_back_the_tag_the_kernel_took_off() -> Result<()> {
    let (a, b) = (Ns::new("a")?, Ns::new("b")?);
    link::veth(plug(&a, "x").mac(PC_017.mac), plug(&b, "y").mac(ADMIN_PC.mac))?;
    let (from, to) = (RawPort::open(&a, "x")?, RawPort::open(&b, "y")?);
    let mut frame = udp((PC_017.mac, ADMIN_PC.mac), (PC_017.v4.into(), 1), (ADMIN_PC.v4.into(), 2), b"tagged twice");
    frame.0.splice(12..12, [0x88, 0xa8, 0x00, 0x64, 0x81, 0x00, 0x00, 0x14]);
    from.send(&frame)?;
    let seen = to.expect("the frame", SOON, |frame| frame.contains(b"tagged twice"))?;
    assert_eq!(seen, frame);
    assert_eq!(seen.ports(), Some((1, 2)));
    Ok(())
}

#[test]
fn a_dropped_namespace_is_gone() -> Result<()> {
    let ns = Ns::new("short-lived")?;
    let path = ns.path().to_path_buf();
    assert!(path.exists());
    drop(ns);
    assert!(!path.exists());
    Ok(())
}
