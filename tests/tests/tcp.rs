//! TCP by its states and windows: nothing that a real conversation would not send gets in, and everything it sends does.

use std::{
    io::{Read as _, Write as _},
    net::Shutdown,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use sekimori_tests::harness::{
    gate::{DNS_RULE, Gate, Lane, POISON, SOON},
    nft, offload,
    packet::{
        Packet,
        flag::{ACK, FIN, PSH, RST, SYN, URG},
        inwards,
    },
    service::{Server, connect},
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{ATTACKER_V4, CLOUD_V4, INTERNET, INTERNET_ROUTER, OFFICE, PC_017},
};

const WEB_RULE: &str = r"
  - id: office-web
    from: office
    to: internet
    services: [https]
    purpose: test
    owner: test
";
/// Bytes of a long transfer, each way.
const LONG: usize = 50_000_000;

/// A gate between hosts that say nothing of their own about segments they did not expect.
fn gate() -> Result<Gate> {
    let gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &format!("rules:{DNS_RULE}{WEB_RULE}"))?;
    for host in [&PC_017, &INTERNET_ROUTER] {
        nft::load(
            gate.town.host(host)?,
            "table inet quiet {
                chain out {
                    type filter hook output priority 0
                    tcp flags rst drop
                }
            }",
        )?;
    }
    Ok(gate)
}

/// A conversation played by hand: what either side sends next.
struct Talk<'a> {
    out: &'a Lane,
    back: &'a Lane,
    port: u16,
    /// Next sequence number of the client, and of the server.
    next: (u32, u32),
}

impl<'a> Talk<'a> {
    /// Nothing sent yet.
    fn new(out: &'a Lane, back: &'a Lane, port: u16) -> Self {
        Self { out, back, port, next: (0x1000_0000, 0x9000_0000) }
    }

    fn client(&self, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Packet {
        Packet::tcp(inwards(&PC_017), (PC_017.v4, self.port), (CLOUD_V4, 443), (flags, seq, ack), data)
    }

    fn server(&self, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Packet {
        Packet::tcp(inwards(&INTERNET_ROUTER), (CLOUD_V4, 443), (PC_017.v4, self.port), (flags, seq, ack), data)
    }

    /// The client's SYN arrives.
    fn syn(&mut self) -> Result<()> {
        deliver(self.out, &self.client(SYN, self.next.0, 0, &[]))?;
        self.next.0 += 1;
        Ok(())
    }

    /// The server's SYN and ACK arrive.
    fn answer(&mut self) -> Result<()> {
        deliver(self.back, &self.server(SYN | ACK, self.next.1, self.next.0, &[]))?;
        self.next.1 += 1;
        Ok(())
    }

    /// The three-way handshake.
    fn open(&mut self) -> Result<()> {
        self.syn()?;
        self.answer()?;
        deliver(self.out, &self.client(ACK, self.next.0, self.next.1, &[]))
    }

    /// A few bytes each way, each acknowledging the other: what a conversation that lives lets through.
    fn go_on(&mut self) -> Result<()> {
        deliver(self.out, &self.client(ACK | PSH, self.next.0, self.next.1, b"question"))?;
        self.next.0 += 8;
        deliver(self.back, &self.server(ACK | PSH, self.next.1, self.next.0, b"answer"))?;
        self.next.1 += 6;
        Ok(())
    }
}

/// Sends a segment that must arrive as it is.
fn deliver(lane: &Lane, segment: &Packet) -> Result<()> {
    lane.from.send(&segment.frame())?;
    let body = segment.body.clone();
    lane.to.expect(&format!("{segment:?}"), SOON, |frame| frame.contains(&body)).map(drop)
}

/// ```text
///  URG ACK PSH RST SYN FIN
///   .   .   .   .   .   .     null scan
///   x   .   x   .   .   x     christmas tree
///   .   .   .   .   x   x     SYN and FIN
///   .   .   .   x   x   .     SYN and RST
///   .   .   .   .   .   x     FIN scan
/// ```
#[test]
fn impossible_flags_and_openings_that_are_none_are_dropped() -> Result<()> {
    let gate = gate()?;
    let lane = gate.way_out()?;
    let segment = |flags, data| Packet::tcp(inwards(&PC_017), (PC_017.v4, 4000), (CLOUD_V4, 443), (flags, 1, 1), data);
    for (what, flags, reason) in [
        ("null", 0, "tcp_flags"),
        ("christmas tree", URG | PSH | FIN, "tcp_flags"),
        ("all", URG | ACK | PSH | RST | SYN | FIN, "tcp_flags"),
        ("SYN and FIN", SYN | FIN, "tcp_flags"),
        ("SYN, FIN and ACK", SYN | FIN | ACK, "tcp_flags"),
        ("SYN and RST", SYN | RST, "tcp_flags"),
        ("FIN and RST", FIN | RST | ACK, "tcp_flags"),
        ("FIN alone", FIN, "tcp_flags"),
        ("PSH alone", PSH, "tcp_flags"),
        ("SYN and URG", SYN | URG, "tcp_flags"),
        ("an ACK out of nowhere", ACK, "tcp_not_syn"),
        ("data out of nowhere", ACK | PSH, "tcp_not_syn"),
        ("an answer to nothing", SYN | ACK, "tcp_not_syn"),
        ("a FIN out of nowhere", FIN | ACK, "tcp_not_syn"),
        ("a RST out of nowhere", RST, "tcp_not_syn"),
        ("data in a SYN", SYN, "tcp_syn_data"),
    ] {
        gate.refuses(&lane, &[segment(flags, POISON).frame()], &[(&format!("office in {reason}"), 1)]).context(what)?;
    }
    Ok(())
}

/// ```text
///  client   SYN 0x10000000 →
///  server                    ← what is no answer to exactly that SYN
///  server                    ← SYN ACK
///  client   what is no ACK of exactly that → ; then the ACK
/// ```
#[test]
fn a_handshake_goes_one_way_only() -> Result<()> {
    let gate = gate()?;
    let (out, back) = (gate.way_out()?, gate.way_in()?);
    let mut talk = Talk::new(&out, &back, 4001);
    talk.syn()?;
    let (client, server) = talk.next;
    // The client's side knows the numbers; there the answer that is none ends.
    for (what, segment, counter) in [
        ("data instead of an answer", talk.server(ACK, server, client, POISON), "office out tcp_state"),
        ("an answer to another SYN", talk.server(SYN | ACK, server, client + 1, POISON), "office out tcp_state"),
        ("an answer with data", talk.server(SYN | ACK, server, client, POISON), "office out tcp_state"),
        ("a reset of another SYN", talk.server(RST | ACK, 0, client + 1, POISON), "office out tcp_state"),
    ] {
        gate.refuses(&back, &[segment.frame()], &[(counter, 1)]).context(what)?;
    }
    for (what, segment) in [
        ("data before the answer", talk.client(ACK, client, server + 1, POISON)),
        ("the SYN again, with data", talk.client(SYN, client - 1, 0, POISON)),
        ("a RST of another number", talk.client(RST, client + 1, 0, POISON)),
    ] {
        gate.refuses(&out, &[segment.frame()], &[("office in tcp_state", 1)]).context(what)?;
    }
    gate.drops(&[], || {
        deliver(&out, &talk.client(SYN, client - 1, 0, &[]))?;
        talk.answer()
    })?;
    let server = talk.next.1;
    for (what, segment) in [
        ("an ACK of something else", talk.client(ACK, client, server + 1, POISON)),
        ("an ACK from somewhere else", talk.client(ACK, client + 1, server, POISON)),
    ] {
        gate.refuses(&out, &[segment.frame()], &[("office in tcp_state", 1)]).context(what)?;
    }
    gate.drops(&[], || {
        deliver(&out, &talk.client(ACK, client, server, &[]))?;
        talk.go_on()
    })
}

/// ```text
///                 acknowledged        window: 64,240
///  ───────────────────┼────────────────────────────┼──────────
///   old: refused      │   passes                   │ new: refused
/// ```
#[test]
fn what_lies_outside_the_window_is_dropped() -> Result<()> {
    let gate = gate()?;
    let (out, back) = (gate.way_out()?, gate.way_in()?);
    let mut talk = Talk::new(&out, &back, 4002);
    talk.open()?;
    talk.go_on()?;
    let (client, server) = talk.next;
    for (what, segment) in [
        ("data beyond the window", talk.client(ACK, client + 70_000, server, POISON)),
        ("data of long ago", talk.client(ACK, client.wrapping_sub(70_000), server, POISON)),
        ("an ACK of what was never sent", talk.client(ACK, client, server + 1, POISON)),
        ("an ACK of long ago", talk.client(ACK, client, server.wrapping_sub(70_000), POISON)),
        ("a RST beyond the window", talk.client(RST, client + 70_000, 0, POISON)),
        ("a FIN beyond the window", talk.client(FIN | ACK, client + 70_000, server, POISON)),
    ] {
        gate.refuses(&out, &[segment.frame()], &[("office in tcp_window", 1)]).context(what)?;
    }
    for (what, segment) in [
        ("data beyond the window", talk.server(ACK, server + 70_000, client, POISON)),
        ("data of long ago", talk.server(ACK, server.wrapping_sub(70_000), client, POISON)),
        ("an ACK of what was never sent", talk.server(ACK, server, client + 1, POISON)),
        ("a RST beyond the window", talk.server(RST, server + 70_000, 0, POISON)),
    ] {
        gate.refuses(&back, &[segment.frame()], &[("office out tcp_window", 1)]).context(what)?;
    }
    gate.drops(&[], || talk.go_on())
}

#[test]
fn a_reset_one_off_ends_nothing_and_the_exact_one_does() -> Result<()> {
    let gate = gate()?;
    let (out, back) = (gate.way_out()?, gate.way_in()?);
    let mut talk = Talk::new(&out, &back, 4003);
    talk.open()?;
    talk.go_on()?;
    // In the window it is the receiver's to challenge (RFC 5961): it passes, and the conversation goes on.
    let (client, server) = talk.next;
    gate.drops(&[], || {
        deliver(&back, &talk.server(RST, server + 1, 0, &[]))?;
        deliver(&out, &talk.client(RST, client + 1, 0, &[]))?;
        talk.go_on()?;
        talk.go_on()
    })?;
    let (client, server) = talk.next;
    // The client has acknowledged all but the server's last bytes; from there on a reset counts.
    gate.drops(&[], || {
        deliver(&out, &talk.client(ACK, client, server, &[]))?;
        deliver(&back, &talk.server(RST, server, 0, &[]))
    })?;
    // The next SYN opens a conversation of its own, by the rules.
    let flows = gate.counted()?.flows["office-web"];
    talk.next = (0x2000_0000, 0xa000_0000);
    gate.drops(&[], || {
        talk.open()?;
        talk.go_on()
    })?;
    assert_eq!(gate.counted()?.flows["office-web"], flows + 1);
    Ok(())
}

#[test]
fn a_syn_in_the_middle_of_a_conversation_changes_nothing() -> Result<()> {
    let gate = gate()?;
    let (out, back) = (gate.way_out()?, gate.way_in()?);
    let mut talk = Talk::new(&out, &back, 4004);
    talk.open()?;
    talk.go_on()?;
    let (client, server) = talk.next;
    // From the client it passes and is challenged; from the other side nobody may open anything.
    gate.drops(&[], || deliver(&out, &talk.client(SYN, client + 5, 0, &[])))?;
    for (what, flags) in [("SYN", SYN), ("SYN and ACK", SYN | ACK)] {
        let segment = talk.server(flags, server + 5, client, POISON);
        gate.refuses(&back, &[segment.frame()], &[("office out tcp_state", 1)]).context(what)?;
    }
    gate.drops(&[], || talk.go_on())?;
    assert_eq!(gate.counted()?.flows["office-web"], 1);
    Ok(())
}

/// RFC 9293 §3.5.1, figure 9: the server never learned that the last conversation of these ports is over.
///
/// ```text
///  client   SYN →
///  server          ← ACK of what it waits for
///  client   RST of exactly that →
///  client   SYN, again →
///  server          ← SYN ACK
/// ```
#[test]
fn a_half_open_conversation_is_reset_and_the_next_begins() -> Result<()> {
    let gate = gate()?;
    let (out, back) = (gate.way_out()?, gate.way_in()?);
    let mut talk = Talk::new(&out, &back, 4005);
    talk.syn()?;
    let client = talk.next.0;
    gate.refuses(&out, &[talk.client(RST, 77, 0, POISON).frame()], &[("office in tcp_state", 1)])?;
    gate.refuses(&back, &[talk.server(ACK, 5, 77, POISON).frame()], &[("office out tcp_state", 1)])?;
    gate.drops(&[], || {
        deliver(&back, &talk.server(ACK, 5, 77, &[]))?;
        deliver(&out, &talk.client(RST, 77, 0, &[]))?;
        deliver(&out, &talk.client(SYN, client - 1, 0, &[]))?;
        talk.answer()?;
        deliver(&out, &talk.client(ACK, client, talk.next.1, &[]))?;
        talk.go_on()
    })
}

/// A server that takes [`LONG`] bytes and then gives as many.
fn long_server(town: &Town) -> Result<Server> {
    Server::tcp(town.host(&INTERNET_ROUTER)?, (CLOUD_V4, 443), |mut stream| {
        let mut buffer = vec![0; 65_536];
        let mut left = LONG;
        while left > 0 {
            match stream.read(&mut buffer) {
                Ok(length @ 1..) => left = left.saturating_sub(length),
                _ => return,
            }
        }
        for _ in 0..LONG / buffer.len() {
            if stream.write_all(&buffer).is_err() {
                return;
            }
        }
        // The server keeps a handle of its own, so that going out of scope would not close it.
        stream.shutdown(Shutdown::Write).ok();
    })
}

fn long_transfer(gate: &Gate) -> Result<()> {
    let _server = long_server(&gate.town)?;
    let before = gate.counted()?;
    gate.drops(&[], || {
        let mut stream = connect(gate.town.host(&PC_017)?, None, (CLOUD_V4, 443), Duration::from_secs(60))?;
        let piece = vec![0; 62_500];
        for _ in 0..LONG / piece.len() {
            stream.write_all(&piece)?;
        }
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        ensure!(received.len() == LONG / 65_536 * 65_536, "only {} bytes came back", received.len());
        Ok(())
    })?;
    let counted = gate.counted()?.since(&before);
    ensure!(counted.flows["office-web"] == 1, "{counted:?}");
    // Merged segments count as what they are on the wire.
    let packets = counted.rules["office-web"];
    ensure!(packets > 2 * LONG as u64 / 1500, "only {packets} packets of the rule");
    Ok(())
}

#[test]
fn a_long_transfer_both_ways_loses_nothing() -> Result<()> {
    let gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &format!("rules:{DNS_RULE}{WEB_RULE}"))?;
    long_transfer(&gate)
}

#[test]
fn a_long_transfer_in_merged_segments_loses_nothing() -> Result<()> {
    let town = Town::build(&[&PC_017, &INTERNET_ROUTER])?;
    for (ns, name) in [
        (&town.gateway, OFFICE.interface),
        (&town.gateway, INTERNET.interface),
        (town.host(&PC_017)?, HOST_INTERFACE),
        (town.host(&INTERNET_ROUTER)?, HOST_INTERFACE),
    ] {
        offload::set(ns, name, true)?;
    }
    long_transfer(&Gate::over(town, &format!("rules:{DNS_RULE}{WEB_RULE}"))?)
}

#[test]
fn a_scan_of_a_denied_address_sees_nothing() -> Result<()> {
    let gate = Gate::up(&[&PC_017, &INTERNET_ROUTER], &format!("rules:{DNS_RULE}{WEB_RULE}"))?;
    // Open and closed ports alike.
    let _open = Server::tcp_echo(gate.town.host(&PC_017)?, 22)?;
    let lane = gate.way_in()?;
    for (address, host) in [(PC_017.v4, true), (INTERNET.v4.0, false)] {
        lane.to.drain()?;
        let said = gate.drops(&[("internet in no_rule", 100)], || {
            let mut nmap = gate.town.host(&INTERNET_ROUTER)?.command("nmap");
            nmap.args(["-sS", "-Pn", "-n", "--max-retries", "0", "-T5", "-p", "1-100", "-e", HOST_INTERFACE]);
            nmap.args(["-S", &ATTACKER_V4.to_string(), &address.to_string()]);
            tool::must(&mut nmap, Duration::from_secs(30))
        })?;
        ensure!(said.out.contains("100 filtered") || said.out.contains("are filtered"), "{}", said.out);
        ensure!(!said.out.contains("open") && !said.out.contains("closed"), "{}", said.out);
        if host {
            lane.mark()?;
            let seen = lane.to.drain()?;
            ensure!(!seen.iter().any(|frame| frame.ips().is_some_and(|(src, _)| src == ATTACKER_V4)), "{seen:?}");
        }
    }
    Ok(())
}
