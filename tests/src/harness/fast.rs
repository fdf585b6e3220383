//! A town whose gateway may forward from XDP, and by which way a packet took through it.

use std::{fs, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{
    agent::{Agent, Config},
    frame::Frame,
    gate::SOON,
    netns::Ns,
    nft, offload,
    packet::{Packet, flag, inwards},
    policy::{Policies, TOWN, rule},
    raw::RawPort,
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{CLOUD_V4, CLOUD_V6, Host, INTERNET_ROUTER, PC_017},
};

/// Fields end in this order: the agent before what it guards.
#[derive(Debug)]
pub struct Scene {
    /// The agent on the gateway.
    pub agent: Agent,
    /// For further policies.
    pub policies: Policies,
    /// The town.
    pub town: Town,
}

impl Scene {
    /// The office and what else is named, behind veths that take what XDP forwards, with hosts that say nothing about
    /// packets they did not expect; `fast` or with the fast path off. Ready to be used.
    pub fn up(others: &[&'static Host], fast: bool) -> Result<Self> {
        let hosts: Vec<_> = [&PC_017].into_iter().chain(others.iter().copied()).collect();
        let town = Town::build(&hosts)?;
        Self::over(town, &hosts, fast)
    }

    /// The same over a town already built.
    pub fn over(town: Town, hosts: &[&'static Host], fast: bool) -> Result<Self> {
        let web = rule("web", "office", "internet", "https, udp/443, dns, ping");
        Self::with(town, hosts, fast, &format!("{TOWN}{web}"))
    }

    /// The same with this policy.
    pub fn with(town: Town, hosts: &[&'static Host], fast: bool, policy: &str) -> Result<Self> {
        for host in hosts {
            offload::gro(town.host(host)?, HOST_INTERFACE, true)?;
        }
        let policies = Policies::new()?;
        let mut config = Config::new(policies.text("policy", policy)?);
        if !fast {
            config.extra.push(("fast_path", json!("off")));
        }
        let agent = Agent::start(&town.gateway, &config)?;
        let scene = Self { agent, policies, town };
        if fast {
            for host in hosts {
                scene.usable(host.side.interface)?;
            }
        }
        Ok(scene)
    }

    /// Hosts whose kernels answer nothing by themselves: conversations are played by hand.
    pub fn quiet(self, hosts: &[&Host]) -> Result<Self> {
        for host in hosts {
            nft::load(
                self.town.host(host)?,
                "table inet quiet { chain out { type filter hook output priority 0;
                    tcp flags rst drop; icmp type destination-unreachable drop;
                    icmpv6 type destination-unreachable drop; }; }",
            )?;
        }
        Ok(self)
    }

    /// [`usable`] on this gateway.
    pub fn usable(&self, interface: &str) -> Result<()> {
        usable(&self.agent, interface)
    }

    /// A command line in the gateway.
    pub fn gateway(&self, line: &str) -> Result<()> {
        let mut words = line.split(' ');
        let mut command = self.town.gateway.command(words.next().context("no command")?);
        tool::must(command.args(words), SOON).map(drop)
    }

    /// Packets the gateway's kernel has forwarded, both families.
    pub fn forwarded(&self) -> Result<u64> {
        forwarded(&self.town.gateway)
    }

    /// From a host to another, ready to send and to see.
    pub fn lane(&self, from: &Host, to: &Host) -> Result<(RawPort, RawPort)> {
        let port = |host: &Host| RawPort::open(self.town.host(host)?, HOST_INTERFACE);
        Ok((port(from)?, port(to)?))
    }

    /// Sends a packet of `talk`, which must arrive; the frame that did, and whether it came past the kernel.
    pub fn pass(&self, lane: (&RawPort, &RawPort), packet: &Packet) -> Result<(Frame, bool)> {
        let before = self.forwarded()?;
        let seen = deliver(lane, packet)?;
        Ok((seen, self.forwarded()? == before))
    }

    /// Sends packets of a conversation, both ways, until both take the fast path.
    pub fn speeds_up(&self, talk: &mut Talk, there: (&RawPort, &RawPort)) -> Result<()> {
        let back = (there.1, there.0);
        tool::until("the conversation to take the fast path both ways", SOON, || {
            let out = self.pass(there, &talk.ask())?.1;
            Ok((self.pass(back, &talk.answer())?.1 && out).then_some(()))
        })
    }

    /// Demands that the next packet of this direction takes the slow way.
    pub fn slow(&self, lane: (&RawPort, &RawPort), packet: &Packet) -> Result<Frame> {
        let (frame, fast) = self.pass(lane, packet)?;
        ensure!(!fast, "{packet:?} took the fast path");
        Ok(frame)
    }
}

/// Waits until packets may take it in and out by this interface.
pub fn usable(agent: &Agent, interface: &str) -> Result<()> {
    tool::until(&format!("the fast path by {interface}"), SOON * 2, || {
        let (_, status) = agent.json(["status"])?;
        let found = status["interfaces"].as_array().and_then(|all| all.iter().find(|one| one["name"] == interface));
        let fast = &found.with_context(|| format!("no {interface} in {status}"))?["fast_path"];
        ensure!(fast["in"] == true && fast["out"] == true, "{fast}");
        Ok(Some(()))
    })
}

/// `ForwDatagrams` of both families.
pub fn forwarded(ns: &Ns) -> Result<u64> {
    ns.run(|| {
        let v4 = fs::read_to_string("/proc/thread-self/net/snmp")?;
        let mut lines = v4.lines().filter(|line| line.starts_with("Ip:"));
        let names = lines.next().context("no Ip: in snmp")?;
        let at = names.split(' ').position(|name| name == "ForwDatagrams").context("no ForwDatagrams")?;
        let v4: u64 = lines.next().and_then(|line| line.split(' ').nth(at)).context("no number")?.parse()?;
        let v6 = fs::read_to_string("/proc/thread-self/net/snmp6")?;
        let v6 =
            v6.lines().find_map(|line| line.strip_prefix("Ip6OutForwDatagrams")).context("no Ip6OutForwDatagrams")?;
        Ok(v4 + v6.trim().parse::<u64>()?)
    })
}

/// Sends a frame and waits until what its IP header carries arrives.
pub fn deliver((from, to): (&RawPort, &RawPort), packet: &Packet) -> Result<Frame> {
    from.send(&packet.frame())?;
    to.expect(&format!("{packet:?}"), Duration::from_secs(3), |frame| frame.contains(&packet.body))
}

/// A conversation between the terminal and the cloud, played by hand: every packet is different.
#[derive(Debug, Clone)]
pub struct Talk {
    client: (IpAddr, u16),
    server: (IpAddr, u16),
    tcp: bool,
    /// Next sequence number of the client, and of the server.
    pub next: (u32, u32),
    number: u64,
}

impl Talk {
    /// UDP to the cloud's port 443.
    pub fn udp(v6: bool, port: u16) -> Self {
        let ends: (IpAddr, IpAddr) =
            if v6 { (PC_017.v6.into(), CLOUD_V6.into()) } else { (PC_017.v4.into(), CLOUD_V4.into()) };
        Self { client: (ends.0, port), server: (ends.1, 443), tcp: false, next: (0x1000_0000, 0x9000_0000), number: 0 }
    }

    /// TCP, after the handshake.
    pub fn tcp(v6: bool, port: u16, there: (&RawPort, &RawPort)) -> Result<Self> {
        let mut talk = Self { tcp: true, ..Self::udp(v6, port) };
        deliver(there, &talk.client(flag::SYN, talk.next.0, 0, &[]))?;
        talk.next.0 += 1;
        deliver((there.1, there.0), &talk.server(flag::SYN | flag::ACK, talk.next.1, talk.next.0, &[]))?;
        talk.next.1 += 1;
        deliver(there, &talk.client(flag::ACK, talk.next.0, talk.next.1, &[]))?;
        Ok(talk)
    }

    /// Any segment of the client's.
    pub fn client(&self, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Packet {
        Packet::tcp(inwards(&PC_017), self.client, self.server, (flags, seq, ack), data)
    }

    /// Any segment of the server's.
    pub fn server(&self, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Packet {
        Packet::tcp(inwards(&INTERNET_ROUTER), self.server, self.client, (flags, seq, ack), data)
    }

    /// The client's next packet.
    pub fn ask(&mut self) -> Packet {
        let text = self.text("ask");
        if !self.tcp {
            return Packet::udp(inwards(&PC_017), self.client, self.server, &text);
        }
        let packet = self.client(flag::ACK | flag::PSH, self.next.0, self.next.1, &text);
        self.next.0 += 24;
        packet
    }

    /// The server's next packet.
    pub fn answer(&mut self) -> Packet {
        let text = self.text("say");
        if !self.tcp {
            return Packet::udp(inwards(&INTERNET_ROUTER), self.server, self.client, &text);
        }
        let packet = self.server(flag::ACK | flag::PSH, self.next.1, self.next.0, &text);
        self.next.1 += 24;
        packet
    }

    /// The client's next packet over UDP, with so many bytes of data.
    pub fn sized(&mut self, bytes: usize) -> Packet {
        let text = self.text("ask").into_iter().cycle().take(bytes).collect::<Vec<_>>();
        Packet::udp(inwards(&PC_017), self.client, self.server, &text)
    }

    /// 24 bytes that no other packet has.
    fn text(&mut self, kind: &str) -> Vec<u8> {
        self.number += 1;
        format!("{kind} {:05} {:014}", self.client.1, self.number).into_bytes()
    }
}
