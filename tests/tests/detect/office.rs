//! An office at work, all of it at once and at its own pace: nobody is disturbed, and nobody raises an alarm.
//!
//! `SEKIMORI_OFFICE_SECONDS` says how long it works (20 if not given). Everything beyond the gate is 10 ms away, so that
//! answers are waited for, as detectors see it. What has an exemption or not enough regularity to be a beacon is so for the
//! reasons that the detectors' pages give.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use sekimori_tests::harness::{
    counted::Counted,
    netns::Ns,
    nft,
    policy::rule,
    service::{self, Server},
    tool,
    town::{HOST_INTERFACE, Town},
    townhall::{ADMIN_PC, CLOUD_V4, DNS_V4, INTERNET_ROUTER, PC_017, WEB},
};

use super::scene::{HOSTS, scene_in};

/// Whoever waits so long was refused. What is late is another matter: TCP tries again after 1, 2, 3, 4, 5 and 7 seconds, and a
/// neighbour that must be found anew takes its time, too.
const PATIENCE: Duration = Duration::from_secs(30);
/// People behind the branch's one address.
const PEOPLE: u64 = 8;
/// Servers that speak QUIC.
const QUIC: u8 = 12;
/// What is permitted of the web; plain HTTP is not, and browsers try it.
const SERVICES: &str = "tcp/22, tcp/53, tcp/443, tcp/873, tcp/993, udp/53, udp/443, udp/3478, ping";
/// As the pages of the detectors advise for who asks everybody, and for many behind one address.
const EXEMPTIONS: &str = "exemptions: [\
    {hosts: [admin-pc], detectors: [horizontal_scan, address_sweep, fan_out], owner: 情報管理課, until: 2099-12-31, \
     purpose: monitoring}, \
    {hosts: [web], detectors: [fan_out], owner: 情報管理課, until: 2099-12-31, purpose: a branch behind one address}]";

/// A generator of our own: what is tried must not depend on luck.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }

    /// Exponentially distributed, as the pauses of people are.
    fn pause(&mut self, mean: Duration) -> Duration {
        let unit = (self.below(1 << 30) as f64 + 1.0) / f64::from(1 << 30);
        mean.mul_f64(-unit.ln())
    }

    /// A server of thousands, some far more popular than others; a third has IPv6.
    fn site(&mut self) -> IpAddr {
        let range = 1 << (4 + self.below(10));
        let number = self.below(range) as u16;
        let [high, low] = number.to_be_bytes();
        if number.is_multiple_of(3) {
            Ipv6Addr::new(0x2001, 0xdb8, 0xc1, 0, 0, 0, 1, number).into()
        } else {
            Ipv4Addr::new(198, 51, high, low).into()
        }
    }

    /// A question for an address, as every resolver asks it.
    fn question(&mut self) -> Vec<u8> {
        let mut bytes = self.below(1 << 16).to_be_bytes()[6..].to_vec();
        bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        for label in ["www", &format!("shop{}", self.below(5_000)), "example", "jp"] {
            bytes.push(label.len() as u8);
            bytes.extend(label.as_bytes());
        }
        bytes.extend([0, 0, 1, 0, 1]);
        bytes
    }
}

/// What became of what was tried.
#[derive(Debug, Default)]
struct Count {
    served: AtomicU64,
    /// Of a server that is gone, or turns people away, or is not permitted.
    in_vain: AtomicU64,
}

/// The working day: until when, and what it came to.
struct Day {
    end: Instant,
    count: Count,
}

impl Day {
    /// Does it again and again, with pauses of this mean.
    fn every(&self, seed: u64, mean: Duration, mut deed: impl FnMut(&mut Dice) -> Result<()>) -> Result<()> {
        let mut dice = Dice(seed);
        // Not everybody begins at the stroke of a bell.
        thread::sleep(dice.pause(mean).min(Duration::from_secs(4)));
        while Instant::now() < self.end {
            deed(&mut dice)?;
            let pause = dice.pause(mean);
            thread::sleep(pause.min(self.end.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    fn ask(&self, host: &Ns, to: impl Into<SocketAddr>, bytes: usize) -> Result<()> {
        let to = to.into();
        let answer = service::tcp_exchange(host, None, to, &vec![7; bytes], PATIENCE);
        answer.with_context(|| format!("{} was disturbed", host.name()))?;
        self.count.served.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn asks_in_vain(&self, host: &Ns, to: impl Into<SocketAddr>) -> Result<()> {
        let to = to.into();
        ensure!(service::connect(host, None, to, Duration::from_secs(2)).is_err(), "{to} answered");
        self.count.in_vain.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn datagram(&self, host: &Ns, to: impl Into<SocketAddr>, message: &[u8]) -> Result<()> {
        // As every resolver and browser does, it asks a second time; by then what was held back is let through.
        let to = to.into();
        let asked = (0..10).find_map(|_| service::udp_exchange(host, None, to, message, Duration::from_secs(1)).ok());
        asked.with_context(|| format!("{} was disturbed: no answer from {to}", host.name()))?;
        self.count.served.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Names, connections to all kinds of servers at once, a few of which are gone or not permitted.
    fn page(&self, host: &Ns, dice: &mut Dice) -> Result<()> {
        for _ in 0..3 {
            self.datagram(host, (DNS_V4, 53), &dice.question())?;
        }
        let connections: Vec<(IpAddr, u64)> = (0..8 + dice.below(17)).map(|_| (dice.site(), dice.below(100))).collect();
        thread::scope(|scope| {
            let asks: Vec<_> = connections
                .iter()
                .map(|(site, luck)| {
                    scope.spawn(move || match luck {
                        // Gone; turns people away; plain HTTP.
                        0 => self.asks_in_vain(host, (Ipv4Addr::new(192, 0, 2, 1 + dice_of(*site)), 443)),
                        1 => self.asks_in_vain(host, (Ipv4Addr::new(198, 51, 200, dice_of(*site)), 443)),
                        2..8 => self.asks_in_vain(host, (*site, 80)),
                        8..26 => self.datagram(host, (quic(dice_of(*site) % QUIC), 443), &[0; 1_200]),
                        _ => self.ask(host, (*site, 443), 8_000),
                    })
                })
                .collect();
            all(asks)
        })
    }

    /// As Windows does on a Tuesday: sixty connections to fifteen servers in a few seconds.
    fn update(&self, host: &Ns, dice: &mut Dice) -> Result<()> {
        let first = dice.below(100) as u8;
        thread::scope(|scope| {
            let mut asks = Vec::new();
            for number in 0..60 {
                let to = Ipv4Addr::new(198, 51, 90, first + number % 15);
                asks.push(scope.spawn(move || self.ask(host, (to, 443), 20_000)));
                thread::sleep(Duration::from_millis(40));
            }
            all(asks)
        })
    }

    /// Fifty datagrams a second each way.
    fn call(&self, host: &Ns) -> Result<()> {
        let socket = service::udp_socket(host, None, (CLOUD_V4, 3478), Duration::from_millis(200))?;
        let (mut answer, mut lost) = ([0; 2_000], 0);
        while Instant::now() < self.end {
            socket.send(&[0; 900])?;
            // One that is lost is not missed.
            lost = if socket.recv(&mut answer).is_ok() { 0 } else { lost + 1 };
            ensure!(lost < 20, "the call broke off");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// One long conversation, as a download or a remote desktop is.
    fn session(&self, host: &Ns) -> Result<()> {
        let mut stream = service::connect(host, None, (CLOUD_V4, 443), PATIENCE)?;
        let mut answer = vec![0; 60_000];
        while Instant::now() < self.end {
            stream.write_all(&answer)?;
            stream.read_exact(&mut answer).context("the session broke off")?;
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// A program that somebody else wrote, until it ends.
    fn runs(&self, host: &Ns, program: &str, arguments: &str) -> Result<()> {
        let mut command = host.command(program);
        command.args(arguments.split_whitespace());
        let left = self.end.saturating_duration_since(Instant::now());
        tool::must(&mut command, left + Duration::from_secs(60)).map(drop)
    }
}

/// The same small number each time for the same server.
fn dice_of(site: IpAddr) -> u8 {
    let last = match site {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    };
    last % 200
}

fn quic(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 80, 1 + number)
}

fn all(deeds: Vec<thread::ScopedJoinHandle<'_, Result<()>>>) -> Result<()> {
    deeds.into_iter().try_for_each(|deed| deed.join().map_err(|_| anyhow!("a deed panicked"))?)
}

/// Everybody whom the office talks to.
fn beyond(outside: &Ns) -> Result<Vec<Server>> {
    let more = "ip route add local 198.51.0.0/16 dev lo\nip -6 route add local 2001:db8:c1::/64 dev lo\n";
    tool::must(outside.command("sh").args(["-ec", more]), PATIENCE)?;
    nft::load(
        outside,
        "table inet closed {
  chain in { type filter hook input priority 0;
    ip daddr 198.51.200.0/24 tcp dport 443 reject with tcp reset
  }
}
",
    )?;
    let mut servers = Vec::new();
    for port in [22, 443, 873, 993] {
        servers.push(Server::tcp_echo(outside, port)?);
    }
    servers.push(Server::udp_echo(outside, DNS_V4, 53)?);
    servers.push(Server::udp_echo(outside, CLOUD_V4, 3478)?);
    for number in 0..QUIC {
        servers.push(Server::udp_echo(outside, quic(number), 443)?);
    }
    Ok(servers)
}

#[test]
fn an_office_at_work_raises_no_alarm() -> Result<()> {
    let seconds: u64 = match std::env::var("SEKIMORI_OFFICE_SECONDS") {
        Ok(given) => given.parse().with_context(|| format!("SEKIMORI_OFFICE_SECONDS={given}"))?,
        Err(_) => 20,
    };
    let town = Town::build_far(&HOSTS, Some((&INTERNET_ROUTER, Duration::from_millis(10))))?;
    let rules = [rule("out", "office", "internet", SERVICES), rule("branch", "dmz", "internet", SERVICES)];
    let scene = scene_in(town, &rules, EXEMPTIONS, |_| {})?;
    let _servers = beyond(scene.town.host(&INTERNET_ROUTER)?)?;
    let (pc, branch, admin) = (scene.town.host(&PC_017)?, scene.town.host(&WEB)?, scene.town.host(&ADMIN_PC)?);
    let day = Day { end: Instant::now() + Duration::from_secs(seconds), count: Count::default() };
    let (second, day_of) = (Duration::from_secs(1), &day);
    let worked = thread::scope(|scope| {
        let mut deeds = vec![
            scope.spawn(move || day_of.every(1, 8 * second, |dice| day_of.page(pc, dice))),
            scope.spawn(move || day_of.every(2, 40 * second, |dice| day_of.update(pc, dice))),
            scope.spawn(move || day_of.every(3, second / 4, |_| day_of.ask(pc, (CLOUD_V4, 873), 60_000))),
            scope.spawn(move || day_of.every(4, 10 * second, |_| day_of.ask(pc, (CLOUD_V4, 22), 3_000))),
            scope.spawn(move || day_of.every(5, 30 * second, |_| day_of.ask(pc, (CLOUD_V4, 993), 3_000))),
            // A resolver of its own, behind the branch's address.
            scope.spawn(move || {
                day_of.every(6, second / 50, |dice| day_of.datagram(branch, (DNS_V4, 53), &dice.question()))
            }),
            scope.spawn(move || day_of.call(pc)),
            scope.spawn(move || day_of.session(pc)),
            scope.spawn(move || day_of.runs(pc, "ping", &format!("-n -q -i 1 -w {seconds} {DNS_V4}"))),
            // Hundreds of machines, of which a tenth is off.
            scope.spawn(move || {
                let machines = (5 * seconds / 10).clamp(1, 30);
                let targets = format!("198.51.1.1-{} 192.0.2.1-{machines}", (9 * machines).min(255));
                let nmap = format!("-n -sn -PE --max-rate 5 -e {HOST_INTERFACE} {targets}");
                day_of.runs(admin, "nmap", &nmap)
            }),
        ];
        for person in 0..PEOPLE {
            deeds.push(scope.spawn(move || day_of.every(100 + person, 30 * second, |dice| day_of.page(branch, dice))));
        }
        all(deeds)
    });
    let drops = Counted::read(&scene.agent)?.drops();
    if let Err(error) = worked {
        return Err(error.context(format!("incidents: {:#?}\ndropped: {drops:#?}", scene.incidents()?)));
    }
    let (served, in_vain) = (day.count.served.into_inner(), day.count.in_vain.into_inner());
    ensure!(served > 20 * seconds && in_vain > 0, "{served} were served in {seconds} s, {in_vain} asked in vain");
    // One that must be found shows that all before it was read.
    scene.attack(&PC_017, "hping3", &format!("-q -F -p 443 -c 1 {CLOUD_V4}"))?;
    scene.incident("stealth_scan")?;
    let incidents = scene.incidents()?;
    let loud: Vec<_> = incidents
        .iter()
        .filter(|incident| incident["action"] != "observe" && incident["detector"] != "stealth_scan")
        .collect();
    ensure!(loud.is_empty(), "{loud:#?}");
    println!("{seconds} s: {served} served, {in_vain} asked in vain, no alarm; dropped: {drops:?}");
    Ok(())
}
