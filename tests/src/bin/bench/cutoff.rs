//! From the order to cut a network off to the last packet that still arrived.

use std::{
    fs::File,
    io::Write as _,
    net::IpAddr,
    os::fd::{AsRawFd as _, FromRawFd as _},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::time::{ClockId, clock_gettime};

use crate::{
    figure::Figure,
    gateway::{Gateway, WAN},
    lists::{List, Place},
    opening,
    options::Options,
    plan::Plan,
    ruler::Ruler,
    subject::{Ipset, Nft, NftHook, Plain, Policy, Sekimori, Subject},
    traffic::ONE,
};

/// Packets of one turn of the sender.
const BURST: usize = 64;
/// Between two turns: 64,000 packets a second.
const TURN: Duration = Duration::from_millis(1);
/// How long the flow runs before it is cut, and is watched after.
const BEFORE: Duration = Duration::from_millis(50);
const COMMAND: Duration = Duration::from_secs(20);

/// A way to cut, and to open again.
type Order<'a> = (&'a str, &'a dyn Fn() -> Result<()>, &'a dyn Fn() -> Result<()>);

/// Latencies of Sekimori's cut-off and of what an administrator would type instead.
pub(crate) fn measure(options: &Options) -> Result<Vec<Figure>> {
    let times = if options.quick { 5 } else { 20 };
    let mut ruler = Ruler::load()?;
    let list = List::new(1_000, false, options.seed);
    let peers = list.peers(Place::Listed, false, options.seed)?;
    ruler.peers(Place::Listed, &peers)?;
    let peer = *peers.first().context("no peers")?;
    ruler.stamp(true)?;
    let gateway = |ruler: &mut Ruler, number| -> Result<Gateway> {
        let gateway = Gateway::new(&ruler.ns, "cutoff", number)?;
        ruler.listen(&gateway)?;
        Ok(gateway)
    };
    let mut figures = Vec::new();

    let mut sekimori = Sekimori::new(gateway(&mut ruler, 0)?, Policy::Listed, 10_000)?;
    sekimori.load(&list, &mut ruler)?;
    let say = |arguments: &[&str]| -> Result<()> {
        let said = sekimori.command(arguments, COMMAND)?;
        if said.ok() { Ok(()) } else { bail!("sekimori {}: {}{}", arguments.join(" "), said.out, said.err) }
    };
    let cut = || say(&["cutoff", "network", "internet", "--reason", "benchmark"]);
    let restore = || say(&["restore", "network", "internet", "--reason", "benchmark"]);
    let order: Order<'_> = ("sekimori cutoff, as a process", &cut, &restore);
    figures.extend(latencies(&mut ruler, &sekimori, peer, times, order)?);

    let mut nft = Nft::new(gateway(&mut ruler, 1)?, NftHook::Conntrack)?;
    nft.load(&list, &mut ruler)?;
    let run = |program: &str, arguments: &str| {
        nft.gateway().command(program, &arguments.split(' ').collect::<Vec<_>>()).map(drop)
    };
    let cut = || run("nft", "insert rule inet bench forward drop");
    // The list again: the inserted rule goes with the old table.
    let restore = || nft.apply(&nft.rules(&list)?).map(drop);
    figures.extend(latencies(&mut ruler, &nft, peer, times, ("nft insert rule, as a process", &cut, &restore))?);

    let mut ipset = Ipset::new(gateway(&mut ruler, 2)?)?;
    ipset.load(&list, &mut ruler)?;
    let run =
        |arguments: &str| ipset.gateway().command("iptables", &arguments.split(' ').collect::<Vec<_>>()).map(drop);
    let (cut, restore) = (|| run("-w -I FORWARD -j DROP"), || run("-w -D FORWARD -j DROP"));
    figures.extend(latencies(&mut ruler, &ipset, peer, times, ("iptables -I, as a process", &cut, &restore))?);

    let plain = Plain(gateway(&mut ruler, 3)?);
    let run = |state: &str| plain.gateway().command("ip", &["link", "set", WAN, state]).map(drop);
    let cut = || run("down");
    let restore = || {
        run("up")?;
        plain.0.again()
    };
    figures.extend(latencies(&mut ruler, &plain, peer, times, ("ip link set down, as a process", &cut, &restore))?);
    ruler.stamp(false)?;
    Ok(figures)
}

fn latencies(
    ruler: &mut Ruler,
    subject: &dyn Subject,
    peer: IpAddr,
    times: usize,
    (name, cut, restore): Order<'_>,
) -> Result<Vec<Figure>> {
    let gateway = subject.gateway();
    let frame = frame(&ONE.plan(gateway)?, peer)?;
    let mut found = Vec::new();
    let mut idle = 0;
    while found.len() < times {
        opening::open(ruler, subject, ONE)?;
        match once(ruler, gateway, &frame, cut)? {
            Some(took) => found.push(took.as_secs_f64() * 1e3),
            None if idle < times => idle += 1,
            None => bail!("{name}: the sender was held up too often just before the order"),
        }
        restore().with_context(|| format!("opening again after {name}"))?;
    }
    found.sort_by(f64::total_cmp);
    let at = |share: usize| found.get(found.len() * share / 100).copied();
    Ok(vec![
        Figure::new("cutoff", name, "order to last packet, least", at(0), "ms"),
        Figure::new("cutoff", name, "order to last packet, median", at(50), "ms"),
        Figure::new("cutoff", name, "order to last packet, most", found.last().copied(), "ms"),
    ])
}

/// Sends a steady flow from user space (a sender in the kernel would hold up RCU, which some peers wait for), cuts it,
/// and asks the sink when the last packet came.
fn once(ruler: &mut Ruler, gateway: &Gateway, frame: &[u8], cut: &dyn Fn() -> Result<()>) -> Result<Option<Duration>> {
    let done = AtomicBool::new(false);
    let socket = raw(ruler, gateway)?;
    let issued = thread::scope(|scope| {
        let done = &done;
        let sending = scope.spawn(move || send(socket, frame, done));
        thread::sleep(BEFORE);
        let issued = now();
        let cut = cut();
        thread::sleep(BEFORE);
        done.store(true, Ordering::Release);
        sending.join().map_err(|_| anyhow!("the sender panicked"))??;
        cut?;
        issued
    })?;
    let last = Duration::from_nanos(ruler.last(gateway.wan)?);
    // No packet after the order: a cut that quick does not exist from a process; the sender was not running.
    Ok(last.checked_sub(issued))
}

fn now() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// A packet socket bound to the ruler's inside end.
fn raw(ruler: &Ruler, gateway: &Gateway) -> Result<File> {
    let index = gateway.lan;
    ruler.ns.run(|| {
        // SAFETY: a plain system call.
        let descriptor = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if descriptor < 0 {
            return Err(std::io::Error::last_os_error()).context("opening a packet socket");
        }
        // SAFETY: a descriptor that nobody else has.
        let socket = unsafe { File::from_raw_fd(descriptor) };
        // SAFETY: all zeroes is a valid value of this plain struct.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = u16::try_from(libc::AF_PACKET)?;
        address.sll_ifindex = i32::try_from(index)?;
        let size = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
        // SAFETY: the address outlives the call and its size is given.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) };
        if bound < 0 {
            return Err(std::io::Error::last_os_error()).context("binding a packet socket");
        }
        Ok(socket)
    })
}

fn send(mut socket: File, frame: &[u8], done: &AtomicBool) -> Result<()> {
    // Nobody else's work may hold the flow up; it sleeps most of the time.
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: this thread, and a parameter that outlives the call.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) } < 0 {
        return Err(std::io::Error::last_os_error()).context("raising the sender's priority");
    }
    let mut due = Instant::now();
    while !done.load(Ordering::Acquire) {
        for _ in 0..BURST {
            // A full queue or a link that is down is no reason to stop asking.
            socket.write_all(frame).ok();
        }
        due += TURN;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// The first packet of a plan, as bytes.
fn frame(plan: &Plan, peer: IpAddr) -> Result<Vec<u8>> {
    let IpAddr::V4(peer) = peer else { bail!("the probe is IPv4") };
    let mut bytes: Vec<u8> = plan.frame.iter().flat_map(|word| word.to_ne_bytes()).collect();
    bytes.truncate(crate::plan::SHORTEST);
    bytes[26..30].copy_from_slice(&plan.client.to_be_bytes());
    bytes[30..34].copy_from_slice(&peer.octets());
    bytes[34..36].copy_from_slice(&u16::try_from(plan.port)?.to_be_bytes());
    bytes[36..38].copy_from_slice(&plan.services[0].to_ne_bytes());
    let mut sum: u32 =
        bytes[14..34].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    bytes[24..26].copy_from_slice(&(!u16::try_from(sum)?).to_be_bytes());
    Ok(bytes)
}
