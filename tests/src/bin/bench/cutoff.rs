//! From the order to cut a network off to the last packet that still arrived.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::IpAddr,
    os::{
        fd::{AsRawFd as _, FromRawFd as _},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::time::{ClockId, clock_gettime};
use sekimori_tests::harness::tool;

use crate::{
    figure::Figure,
    gateway::{Gateway, WAN},
    lists::{List, Place},
    opening,
    options::Options,
    plan::Plan,
    ruler::Ruler,
    subject::{Ipset, Nft, NftHook, Plain, Policy, Sekimori, Subject},
    target::Bound,
    traffic::ONE,
};

/// Packets of one turn of the sender.
const BURST: usize = 4;
/// Between two turns: 40,000 packets a second, and never long without one.
const TURN: Duration = Duration::from_micros(100);
/// A flow that stopped longer before the order was held up: nothing can be said of it.
const HELD_UP: Duration = Duration::from_millis(1);
/// How long the flow runs before it is cut, and is watched after.
const BEFORE: Duration = Duration::from_millis(50);
const COMMAND: Duration = Duration::from_secs(20);

/// A way to cut, which says when the order was given, and one to open again.
type Order<'a> = (&'a str, &'a dyn Fn() -> Result<Duration>, &'a dyn Fn() -> Result<()>);

/// How often each is measured, and whether under a flood.
#[derive(Clone, Copy)]
struct Effort {
    times: usize,
    flood: bool,
}

/// Latencies of Sekimori's cut-off and of what an administrator would type instead: a thousand cut-offs each for Sekimori, with a
/// million prefixes loaded, and twenty each for the others, with a thousand.
pub(crate) fn measure(options: &Options) -> Result<Vec<Figure>> {
    let (own, peers_times) = if options.quick { (10, 5) } else { (1_000, 20) };
    let mut ruler = Ruler::load()?;
    let list = List::new(1_000, false, options.seed);
    let long = List::new(if options.quick { 10_000 } else { 1_000_000 }, false, options.seed);
    let peers = long.peers(Place::Listed, false, options.seed)?;
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
    sekimori.load(&long, &mut ruler)?;
    let say = |arguments: &[&str]| -> Result<()> {
        let said = sekimori.command(arguments, COMMAND)?;
        if said.ok() { Ok(()) } else { bail!("sekimori {}: {}{}", arguments.join(" "), said.out, said.err) }
    };
    let cut = || started(sekimori.order(&["cutoff", "network", "internet", "--reason", "benchmark"])?);
    let socket = sekimori.socket();
    let connect = || connected(&socket);
    let restore = || say(&["restore", "network", "internet", "--reason", "benchmark"]);
    for flood in [false, true] {
        let effort = Effort { times: own, flood };
        let (most_connect, most_process) = if flood { (5.0, 20.0) } else { (1.0, 10.0) };
        let order: Order<'_> = ("sekimori cutoff, from connect()", &connect, &restore);
        figures.extend(judged(latencies(&mut ruler, &sekimori, peer, effort, order)?, most_connect));
        let order: Order<'_> = ("sekimori cutoff, as a process", &cut, &restore);
        figures.extend(judged(latencies(&mut ruler, &sekimori, peer, effort, order)?, most_process));
    }

    ruler.peers(Place::Listed, &list.peers(Place::Listed, false, options.seed)?)?;
    let peers = list.peers(Place::Listed, false, options.seed)?;
    let peer = *peers.first().context("no peers")?;
    let mut nft = Nft::new(gateway(&mut ruler, 1)?, NftHook::Conntrack)?;
    nft.load(&list, &mut ruler)?;
    let issue = |gateway: &Gateway, program: &str, arguments: &str| -> Result<Duration> {
        let mut command = gateway.ns.command(program);
        command.args(arguments.split(' '));
        started(command)
    };
    for flood in [false, true] {
        let effort = Effort { times: peers_times, flood };
        let cut = || issue(nft.gateway(), "nft", "insert rule inet bench forward drop");
        // The list again: the inserted rule goes with the old table.
        let restore = || nft.apply(&nft.rules(&list)?).map(drop);
        let order: Order<'_> = ("nft insert rule, as a process", &cut, &restore);
        figures.extend(latencies(&mut ruler, &nft, peer, effort, order)?);
    }
    let flush = || issue(nft.gateway(), "conntrack", "-F");
    let nothing = || Ok(());
    let effort = Effort { times: peers_times, flood: false };
    let order: Order<'_> = ("conntrack -F, as a process", &flush, &nothing);
    figures.extend(latencies(&mut ruler, &nft, peer, effort, order)?);

    let mut ipset = Ipset::new(gateway(&mut ruler, 2)?)?;
    ipset.load(&list, &mut ruler)?;
    let cut = || issue(ipset.gateway(), "iptables", "-w -I FORWARD -j DROP");
    let restore = || issue(ipset.gateway(), "iptables", "-w -D FORWARD -j DROP").map(drop);
    figures.extend(latencies(&mut ruler, &ipset, peer, effort, ("iptables -I, as a process", &cut, &restore))?);

    let plain = Plain(gateway(&mut ruler, 3)?);
    for flood in [false, true] {
        let effort = Effort { times: peers_times, flood };
        let cut = || issue(plain.gateway(), "ip", &format!("link set {WAN} down"));
        let restore = || {
            issue(plain.gateway(), "ip", &format!("link set {WAN} up"))?;
            plain.0.again()
        };
        let order: Order<'_> = ("ip link set down, as a process", &cut, &restore);
        figures.extend(latencies(&mut ruler, &plain, peer, effort, order)?);
    }
    ruler.stamp(false)?;
    Ok(figures)
}

/// The bounds are for the 99th percentile.
fn judged(figures: Vec<Figure>, most: f64) -> Vec<Figure> {
    let bound = |figure: Figure| {
        if figure.what.contains("p99") { figure.target("C", Bound::Most(most)) } else { figure }
    };
    figures.into_iter().map(bound).collect()
}

/// Runs a command to its end; the order is given when its process becomes the command: what it takes to copy this one before
/// is nobody's.
fn started(mut command: Command) -> Result<Duration> {
    let (mut told, tell) = std::io::pipe()?;
    // SAFETY: reading a clock and writing to a pipe are plain system calls, allowed between fork and exec.
    unsafe {
        command.pre_exec(move || {
            let at = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
            (&tell).write_all(&at.as_nanos().to_ne_bytes())
        });
    }
    tool::must(&mut command, COMMAND)?;
    // With it goes the pipe's other end.
    drop(command);
    let mut at = [0; 16];
    told.read_exact(&mut at).context("the command did not say when it started")?;
    Ok(Duration::from_nanos(u64::try_from(u128::from_ne_bytes(at))?))
}

/// Asks for the cut over the control socket; the order is given when `connect` has returned.
fn connected(socket: &Path) -> Result<Duration> {
    let request = concat!(
        r#"{"lang":"en","ask":{"op":"cutoff","objects":[{"kind":"network","name":"internet"}],"reason":"benchmark"}}"#,
        "\n"
    );
    let mut stream = UnixStream::connect(socket).context("connecting to the agent")?;
    let issued = now()?;
    stream.write_all(request.as_bytes())?;
    stream.set_read_timeout(Some(COMMAND))?;
    let mut reply = String::new();
    BufReader::new(&stream).read_line(&mut reply)?;
    if reply.contains("\"exit\":0") { Ok(issued) } else { bail!("the agent said {reply}") }
}

fn latencies(
    ruler: &mut Ruler,
    subject: &dyn Subject,
    peer: IpAddr,
    Effort { times, flood }: Effort,
    (name, cut, restore): Order<'_>,
) -> Result<Vec<Figure>> {
    let gateway = subject.gateway();
    let frame = frame(&ONE.plan(gateway)?, peer)?;
    let mut found = Vec::new();
    let mut idle = 0;
    while found.len() < times {
        opening::open(ruler, subject, ONE)?;
        match once(ruler, gateway, &frame, flood, cut)? {
            Some(took) => found.push(took.as_secs_f64() * 1e3),
            None if idle < times => idle += 1,
            None => bail!("{name}: the sender was held up too often just before the order"),
        }
        restore().with_context(|| format!("opening again after {name}"))?;
    }
    found.sort_by(f64::total_cmp);
    let at = |share: usize| found.get(found.len() * share / 100).copied();
    let name = if flood { format!("{name}, both cores flooded") } else { name.to_owned() };
    // What was still arriving when the watch ended was not stopped.
    let going = at(50).is_some_and(|median| median > BEFORE.as_secs_f64() * 1e3);
    let note = if going { "the flow went on" } else { "" };
    let what = |which: &str| format!("order to last packet, {which} of {times}");
    Ok(vec![
        Figure::new("cutoff", name.clone(), what("least"), at(0), "ms").note(note),
        Figure::new("cutoff", name.clone(), what("median"), at(50), "ms").note(note),
        Figure::new("cutoff", name.clone(), what("p99"), at(99), "ms").note(note),
        Figure::new("cutoff", name, what("most"), found.last().copied(), "ms").note(note),
    ])
}

/// Denied packets as fast as every core can send and judge them, until `done`.
fn flood(mut socket: File, frame: &[u8], done: &AtomicBool) {
    while !done.load(Ordering::Acquire) {
        for _ in 0..BURST {
            // A full queue is no reason to stop.
            socket.write_all(frame).ok();
        }
    }
}

/// The probe's frame to a port that nobody permits.
fn denied(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[36..38].copy_from_slice(&9u16.to_be_bytes());
    frame
}

/// Sends a steady flow from user space (a sender in the kernel would hold up RCU, which some peers wait for), cuts it,
/// and asks the sink when the last packet came.
fn once(
    ruler: &mut Ruler,
    gateway: &Gateway,
    frame: &[u8],
    flooded: bool,
    cut: &dyn Fn() -> Result<Duration>,
) -> Result<Option<Duration>> {
    let done = AtomicBool::new(false);
    let socket = raw(ruler, gateway)?;
    let other = denied(frame);
    let mut floods = Vec::new();
    if flooded {
        for _ in 0..thread::available_parallelism()?.get() {
            floods.push(raw(ruler, gateway)?);
        }
    }
    let issued = thread::scope(|scope| {
        let (done, other) = (&done, &other);
        for socket in floods {
            scope.spawn(move || flood(socket, other, done));
        }
        let sending = scope.spawn(move || send(socket, frame, flooded, done));
        thread::sleep(BEFORE);
        let cut = cut();
        thread::sleep(BEFORE);
        done.store(true, Ordering::Release);
        sending.join().map_err(|_| anyhow!("the sender panicked"))??;
        cut
    })?;
    let last = Duration::from_nanos(ruler.last(gateway.wan)?);
    // No packet after the order, but one just before: the cut was quicker than the sender.
    Ok(last.checked_sub(issued).or_else(|| (issued - last < HELD_UP).then_some(Duration::ZERO)))
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

/// Nobody else's work may hold the flow up; it sleeps most of the time. Under a flood it does not: the packets of the flood are
/// judged in its time as well, and as a real-time thread it would keep a core from everybody else for nearly a second, the
/// command among them, until the kernel throttles it.
fn raise(flooded: bool) -> Result<()> {
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: this thread, and a parameter that outlives the calls.
    let raised = unsafe {
        if flooded {
            libc::setpriority(libc::PRIO_PROCESS, 0, -20)
        } else {
            libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority)
        }
    };
    if raised < 0 {
        return Err(std::io::Error::last_os_error()).context("raising the sender's priority");
    }
    Ok(())
}

fn send(mut socket: File, frame: &[u8], flooded: bool, done: &AtomicBool) -> Result<()> {
    raise(flooded)?;
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
