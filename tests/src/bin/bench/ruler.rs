//! The loaded ruler: sends a plan's packets at a gateway on one CPU, and knows what arrived where.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, MapData, PerCpuArray, PerCpuValues},
    programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode},
    util::nr_cpus,
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use sekimori_tests::harness::netns::Ns;

use crate::{
    gateway::Gateway,
    lists::Place,
    plan::{Arrived, FRAME, Plan, SHORTEST, SINKS, SIX, TAGGED},
    sampling::side,
    traffic::Way,
};

/// Frames between two turns of the receiver.
const BATCH: u32 = 64;
/// Number of the first packet of a new flow: clear of the flows that were opened.
pub(crate) const NEW_FLOWS: u64 = 1 << 20;
/// How long the last frames may take to arrive, where the kernel put off its work.
const SETTLE: Duration = Duration::from_millis(100);

/// Counts of one gateway's two ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) lan: u64,
    pub(crate) wan: u64,
}

/// The programs, and the namespace in which they run.
pub(crate) struct Ruler {
    ebpf: Ebpf,
    /// Where the wires of all gateways end.
    pub(crate) ns: Ns,
    /// CPU that sends.
    pub(crate) cpu: usize,
}

impl std::fmt::Debug for Ruler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Ruler").field("ns", &self.ns).finish_non_exhaustive()
    }
}

impl Ruler {
    /// Loads everything; nothing is attached yet.
    pub(crate) fn load() -> Result<Self> {
        let path = object()?;
        let mut ebpf = EbpfLoader::new().load_file(&path).with_context(|| format!("loading {}", path.display()))?;
        for name in ["ruler_send", "ruler_sink", "ruler_drop", "ruler_forward"] {
            program(&mut ebpf, name)?.load().with_context(|| format!("loading {name}"))?;
        }
        let ns = Ns::new("ruler")?;
        // The far ends answer nothing and say nothing.
        ns.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        Ok(Self { ebpf, ns, cpu: Self::default_cpu() })
    }

    /// The last CPU: interrupts and everybody else tend to sit on the first.
    pub(crate) fn default_cpu() -> usize {
        std::thread::available_parallelism().map_or(0, |count| count.get() - 1)
    }

    /// Puts the sink on both ends of a gateway's wires.
    pub(crate) fn listen(&mut self, gateway: &Gateway) -> Result<()> {
        for end in &gateway.ends {
            attach(&mut self.ebpf, "ruler_sink", &self.ns, end)?;
        }
        Ok(())
    }

    /// Makes a gateway's interface a floor: `ruler_drop` or `ruler_forward`.
    pub(crate) fn floor(&mut self, program: &str, gateway: &Gateway, interface: &str) -> Result<()> {
        attach(&mut self.ebpf, program, &gateway.ns, interface)
    }

    /// Fills one table of addresses: the one that kinds of this place use.
    pub(crate) fn peers(&mut self, place: Place, peers: &[IpAddr]) -> Result<()> {
        let (mut four, mut six) = (Vec::new(), Vec::new());
        for peer in peers {
            match peer {
                IpAddr::V4(peer) => four.push(u64::from(u32::from_ne_bytes(peer.octets()))),
                IpAddr::V6(peer) => {
                    let bytes = peer.octets();
                    let mut words = [0; 4];
                    for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(4)) {
                        *word = u32::from_ne_bytes(chunk.try_into()?);
                    }
                    six.push(words);
                }
            }
        }
        fill(&mut array(&mut self.ebpf, "PEERS4")?, place.table(), &four)?;
        fill(&mut array(&mut self.ebpf, "PEERS6")?, place.table(), &six)
    }

    /// Sends `count` packets of a plan from its packet `first`; nanoseconds a packet by the kernel's clock, of this CPU,
    /// everything until the last packet is through included.
    pub(crate) fn send(&mut self, plan: &Plan, first: u64, count: u32) -> Result<u64> {
        self.aim(plan, first)?;
        self.burst(plan, count, BATCH)
    }

    /// Sends at this many packets a second from a namespace until told to stop; how many were sent in how long.
    pub(crate) fn pace(
        &mut self,
        from: &Ns,
        plan: &Plan,
        rate: u64,
        stop: impl Fn() -> bool + Sync,
    ) -> Result<(u64, Duration)> {
        let plan = Plan { gap: u32::try_from(1_000_000_000 / rate.max(1))?, ..*plan };
        self.aim(&plan, if plan.flows == u32::MAX { NEW_FLOWS } else { 0 })?;
        let frame = frame_of(&plan);
        let (from, cpu) = (from.clone(), self.cpu);
        let send = program(&mut self.ebpf, "ruler_send")?;
        // Long runs: setting one up takes milliseconds.
        let run_of = rate;
        from.run(|| {
            pin(cpu)?;
            let start = Instant::now();
            let mut sent = 0;
            while !stop() {
                run(send, &frame, u32::try_from(run_of)?, BATCH)?;
                sent += run_of;
            }
            Ok((sent, start.elapsed()))
        })
    }

    /// Sends from several CPUs at once, each its own part of the flows; ns a packet of each.
    pub(crate) fn send_on(&mut self, cpus: &[usize], plan: &Plan, count: u32) -> Result<Vec<u64>> {
        self.aim(plan, 0)?;
        let part = u64::from(plan.flows) / cpus.len().max(1) as u64;
        let mut firsts = vec![0; nr_cpus_of()?];
        for (turn, cpu) in cpus.iter().enumerate() {
            if let Some(first) = firsts.get_mut(*cpu) {
                *first = part * turn as u64;
            }
        }
        let mut next: PerCpuArray<_, u64> = PerCpuArray::try_from(map(&mut self.ebpf, "NEXT")?)?;
        next.set(0, PerCpuValues::try_from(firsts)?, 0)?;
        let frame = frame_of(plan);
        let ns = self.ns.clone();
        let send = &*program(&mut self.ebpf, "ruler_send")?;
        std::thread::scope(|scope| {
            let (ns, frame) = (&ns, &frame);
            let threads: Vec<_> = cpus
                .iter()
                .map(|cpu| {
                    scope.spawn(move || {
                        ns.run(|| {
                            pin(*cpu)?;
                            run(send, frame, count, BATCH)
                        })
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?).collect()
        })
    }

    /// What arrived at a gateway's ends since the last time of asking.
    pub(crate) fn delivered(&mut self, gateway: &Gateway) -> Result<Delivered> {
        Ok(Delivered { lan: self.take(gateway.lan)?, wan: self.take(gateway.wan)? })
    }

    /// The same on the far side of a way, once `expected` have come or no more do.
    pub(crate) fn settled(&mut self, gateway: &Gateway, way: Way, expected: u64) -> Result<u64> {
        let deadline = Instant::now() + SETTLE;
        let mut came = 0;
        loop {
            came += side(way, self.delivered(gateway)?);
            if came >= expected || Instant::now() >= deadline {
                return Ok(came);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Turns stamping of arrivals on or off.
    pub(crate) fn stamp(&mut self, on: bool) -> Result<()> {
        Ok(array::<u64>(&mut self.ebpf, "STAMPING")?.set(0, u64::from(on), 0)?)
    }

    /// The last arrival by this wire (`CLOCK_MONOTONIC`, ns).
    pub(crate) fn last(&mut self, end: u32) -> Result<u64> {
        let arrived: PerCpuArray<_, Arrived> = PerCpuArray::try_from(map(&mut self.ebpf, "ARRIVED")?)?;
        Ok(arrived.get(&(end % SINKS), 0)?.iter().map(|on| on.last).max().unwrap_or(0))
    }

    fn aim(&mut self, plan: &Plan, first: u64) -> Result<()> {
        array(&mut self.ebpf, "PLAN")?.set(0, *plan, 0)?;
        let mut next: PerCpuArray<_, u64> = PerCpuArray::try_from(map(&mut self.ebpf, "NEXT")?)?;
        Ok(next.set(0, PerCpuValues::try_from(vec![first; nr_cpus_of()?])?, 0)?)
    }

    fn burst(&mut self, plan: &Plan, count: u32, batch: u32) -> Result<u64> {
        let frame = frame_of(plan);
        let (ns, cpu) = (self.ns.clone(), self.cpu);
        let send = program(&mut self.ebpf, "ruler_send")?;
        ns.run(|| {
            pin(cpu)?;
            run(send, &frame, count, batch)
        })
    }

    fn take(&mut self, end: u32) -> Result<u64> {
        let mut arrived: PerCpuArray<_, Arrived> = PerCpuArray::try_from(map(&mut self.ebpf, "ARRIVED")?)?;
        let slot = end % SINKS;
        let packets = arrived.get(&slot, 0)?.iter().map(|on| on.packets).sum();
        arrived.set(slot, PerCpuValues::try_from(vec![Arrived::default(); nr_cpus_of()?])?, 0)?;
        Ok(packets)
    }
}

fn frame_of(plan: &Plan) -> Vec<u8> {
    let length = if plan.flags & (TAGGED | SIX) == 0 { SHORTEST } else { FRAME };
    vec![0; length]
}

fn run(send: &Xdp, frame: &[u8], count: u32, batch: u32) -> Result<u64> {
    let options = TestRunOptions {
        data_in: Some(frame),
        repeat: count,
        attrs: TestRunAttrs::new().xdp_live_frames(batch),
        ..TestRunOptions::new()
    };
    let result = send.test_run(options).context("sending live frames (Linux 5.18 or newer)")?;
    Ok(u64::try_from(result.duration.as_nanos())?)
}

/// Keeps this thread on one CPU, before everybody else's work.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    // SAFETY: a plain system call about this thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -20) } < 0 {
        return Err(std::io::Error::last_os_error()).context("raising the ruler's priority");
    }
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("pinning to CPU {cpu}"))
}

fn nr_cpus_of() -> Result<usize> {
    nr_cpus().map_err(|(file, error)| anyhow::anyhow!("{file}: {error}"))
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    Ok(ebpf.program_mut(name).with_context(|| format!("the ruler has no program {name}"))?.try_into()?)
}

fn map<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::maps::Map> {
    ebpf.map_mut(name).with_context(|| format!("the ruler has no map {name}"))
}

fn array<'a, T: Pod>(ebpf: &'a mut Ebpf, name: &str) -> Result<Array<&'a mut MapData, T>> {
    let map = map(ebpf, name)?;
    match map {
        aya::maps::Map::Array(_) => Ok(Array::try_from(map)?),
        _ => bail!("{name} is not an array"),
    }
}

fn fill<T: Pod>(array: &mut Array<&mut MapData, T>, first: u32, values: &[T]) -> Result<()> {
    for (index, value) in (first..).zip(values) {
        array.set(index, *value, 0)?;
    }
    Ok(())
}

fn attach(ebpf: &mut Ebpf, name: &str, ns: &Ns, interface: &str) -> Result<()> {
    let program = program(ebpf, name)?;
    ns.run(|| {
        program.attach(interface, XdpMode::Driver)?;
        Ok(())
    })
    .with_context(|| format!("attaching {name} to {interface} of {}", ns.name()))
}

/// The built object: `SEKIMORI_RULER`, else the workspace's.
fn object() -> Result<PathBuf> {
    let path = std::env::var_os("SEKIMORI_RULER").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/sekimori-ruler.bpf.o"),
        PathBuf::from,
    );
    path.canonicalize().with_context(|| format!("{}: `cargo xtask bench` builds it", path.display()))
}
