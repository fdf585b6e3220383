//! Running an instance: everything that happens without being asked.

use std::{io, os::unix::net::UnixDatagram, sync::Arc, time::Duration};

use futures_util::StreamExt;
use nix::sys::signal::SigSet;
use rtnetlink::MulticastGroup;
use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpListener,
    sync::{Mutex, mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{
    afterwards, clock,
    config::Config,
    detections, facts,
    handler::Desk,
    keeper::{Caller, Keeper, Mode},
    memory, nftables, preflight,
    recorder::Recorder,
    signals::{self, Received},
    watch::Watch,
};
use crate::{
    api::{
        protocol::Apply,
        roles::{self, Peer},
        server,
    },
    cli::text::Lang,
    http, metrics,
    record::{Action, Origin, Outcome},
    threat::Wish,
};

/// How often the files of lists are looked at.
const LISTS_EVERY: Duration = Duration::from_secs(15);
/// How often the policy on disk is looked at.
const POLICY_EVERY: Duration = Duration::from_secs(2);
/// How often schedules are laid out anew; they reach days ahead.
const SCHEDULES_EVERY: Duration = Duration::from_secs(3600);
/// How often the clock is noted, and attachments are looked over although no netlink message came.
const CLOCK_EVERY: Duration = Duration::from_secs(60);
/// How often the fast path is looked over although nobody told of a change: BPF programs come and go unannounced.
const FAST_EVERY: Duration = Duration::from_secs(10);
/// How long an event ring is waited for; it may have been replaced.
const RING_EVERY: Duration = Duration::from_secs(30);
/// How often the event ring is emptied at most.
const EVENTS_EVERY: Duration = Duration::from_millis(250);
/// Netlink messages come in bursts; one attachment answers a burst.
const LINK_SETTLE: Duration = Duration::from_millis(50);

/// The agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine is not ready.
    #[error(transparent)]
    Preflight(#[from] preflight::Error),
    /// Something it has to listen to.
    #[error("{what}: {source}")]
    Listen {
        /// What.
        what: String,
        /// Why.
        source: io::Error,
    },
}

fn listen(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    let what = what.into();
    move |source| Error::Listen { what, source }
}

/// Opens the instance, puts back in force what was, and keeps it until a signal says stop. Returns without
/// touching the data plane.
pub async fn run(config: Config, blocked: SigSet) -> Result<(), Error> {
    memory::start_lean();
    let signals = signals::watch(&blocked).map_err(listen("signals"))?;
    let mut keeper = Keeper::open(config.clone(), Mode::Agent)?;
    let message = format!("agent {} started", env!("CARGO_PKG_VERSION"));
    let outcome = Outcome { ok: true, message };
    keeper.note(&Caller::agent(), Action::Start, None, Vec::new(), None, outcome);
    // Watched before the first attachment, so that an interface that comes in between is not missed.
    let links = links().map_err(listen("netlink"))?;
    let rules = nftables::watch().map_err(listen("nftables"))?;
    let facts = facts::watch().map_err(listen("netlink"))?;
    let steps = clock::watch_steps().map_err(listen("clock"))?;
    keeper.hold_links();
    keeper.revive().await;
    // What came due while no agent ran, before anybody is answered.
    tokio::task::block_in_place(|| keeper.carry_out_plans());

    let desk = Desk::new(keeper);
    let (stop, shutdown) = watch::channel(false);
    let socket = config.socket.display().to_string();
    let listener = server::bind(&config.socket, &config.roles).map_err(listen(socket))?;
    let control = tokio::spawn(server::serve(
        listener,
        config.roles.clone(),
        desk.switch(),
        Arc::new(desk.clone()),
        shutdown.clone(),
    ));
    if let Some(address) = config.metrics {
        // Without metrics the box still enforces: say it and go on.
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tokio::spawn(metrics::server::serve(listener, desk.keeper(), shutdown.clone()));
            }
            Err(error) => tracing::error!(%address, %error, "metrics cannot be served"),
        }
    }
    let mut background = JoinSet::new();
    if config.http.is_some() {
        background.spawn(http::server::keep(config.clone(), desk.clone(), shutdown.clone()));
    }
    background.spawn(watch_policy(desk.clone(), Watch::new(&config.policy)));
    background.spawn(watch_lists(desk.clone()));
    background.spawn(drain_events(desk.clone()));
    background.spawn(detections::watch(desk.clone(), config.bpffs.join("maps")));
    let recorder = match Recorder::start(&desk.keeper()).await {
        Ok(recorder) => recorder,
        Err(error) => {
            tracing::error!(%error, "flow records are not kept");
            None
        }
    };
    background.spawn(afterwards::watch(desk.clone()));
    background.spawn(keep_socket(config.clone(), desk.clone(), shutdown.clone()));
    tell_supervisor("READY=1");
    tracing::info!(instance = config.instance, socket = %config.socket.display(), "the agent keeps the gate");

    let last = housekeep(&desk, signals, Changes { links, rules, facts, steps }).await;
    tell_supervisor("STOPPING=1");
    // Nobody is listening any more if this fails.
    let _ = stop.send(true);
    if let Some(recorder) = recorder {
        // It asks the instance, so the instance must not be held meanwhile.
        tokio::task::block_in_place(|| recorder.stop());
    }
    let caller = signal_caller(last);
    desk.keeper().lock().await.stopping(&caller, last.name);
    // A request that is being answered gets its answer.
    let _ = tokio::time::timeout(Duration::from_secs(5), control).await;
    // A task in the middle of something long must not find the runtime gone when it next looks at the clock.
    background.shutdown().await;
    let _ = std::fs::remove_file(&config.socket);
    Ok(())
}

/// What the kernel tells of.
struct Changes {
    links: mpsc::Receiver<()>,
    rules: mpsc::Receiver<()>,
    facts: mpsc::Receiver<()>,
    steps: mpsc::Receiver<()>,
}

/// Everything that acts on the instance in turn; returns with the signal that says stop.
async fn housekeep(desk: &Desk, mut signals: mpsc::Receiver<Received>, changes: Changes) -> Received {
    let Changes { mut links, mut rules, mut facts, mut steps } = changes;
    let keeper = desk.keeper();
    let mut schedules = ticks(SCHEDULES_EVERY);
    let mut minute = ticks(CLOCK_EVERY);
    let mut fast = ticks(FAST_EVERY);
    let attached = keeper.lock().await.attached();
    let planned = desk.planned();
    loop {
        let due = keeper.lock().await.fast_due().map(Instant::from_std);
        // Not longer than a minute: the clock may be set. Not at once: what failed is tried again.
        let soon = |left: Duration| Instant::now() + left.clamp(Duration::from_secs(1), CLOCK_EVERY);
        let ends = keeper.lock().await.members_due().map(soon);
        let released = keeper.lock().await.quarantine_due().map(soon);
        let restored = keeper.lock().await.cut_due().map(soon);
        let unexempt = keeper.lock().await.exemptions_due().map(soon);
        // At once if it is time: what failed has its own pause.
        let begins = keeper.lock().await.plan_due().map(|left| Instant::now() + left.min(CLOCK_EVERY));
        tokio::select! {
            // First of all what may have to stop something.
            biased;
            Some(signal) = signals.recv() => {
                if signal.stop {
                    return signal;
                }
                let apply = Apply { reason: Some(signal.name.to_owned()), ..Apply::default() };
                let reply = desk.apply(apply, &signal_caller(signal)).await;
                match reply.error {
                    None => tracing::info!("applied by {}", signal.name),
                    Some(problem) => tracing::error!("apply by {}: {}", signal.name, problem.message),
                }
            }
            () = tokio::time::sleep_until(begins.unwrap_or_else(Instant::now)), if begins.is_some() => {
                let mut keeper = keeper.lock().await;
                tokio::task::block_in_place(|| keeper.carry_out_plans());
            }
            // It may be nearer than what is waited for.
            () = planned.notified() => {}
            Some(()) = rules.recv() => {
                keeper.lock().await.netfilter_changed();
                look_at_fast_path(&keeper).await;
                // Our own renewals come by here as well, and find the guard up.
                keeper.lock().await.guard_again().await;
            }
            Some(()) = facts.recv() => {
                keeper.lock().await.hold_fast_path();
                tokio::time::sleep(LINK_SETTLE).await;
                while facts.try_recv().is_ok() {}
                look_at_fast_path(&keeper).await;
            }
            Some(()) = links.recv() => {
                keeper.lock().await.hold_fast_path();
                tokio::time::sleep(LINK_SETTLE).await;
                while links.try_recv().is_ok() {}
                let mut keeper = keeper.lock().await;
                keeper.hold_links();
                // What is wrong is kept as a fault and shown by `status`.
                let _ = keeper.attach().await;
            }
            Some(()) = steps.recv() => keeper.lock().await.clock_stepped(),
            _ = schedules.tick() => keeper.lock().await.refresh_schedules(),
            () = attached.notified() => look_at_fast_path(&keeper).await,
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                look_at_fast_path(&keeper).await;
            }
            () = tokio::time::sleep_until(ends.unwrap_or_else(Instant::now)), if ends.is_some() => {
                desk.expire_members().await;
            }
            () = tokio::time::sleep_until(released.unwrap_or_else(Instant::now)), if released.is_some() => {
                let mut keeper = keeper.lock().await;
                tokio::task::block_in_place(|| keeper.expire_quarantine());
            }
            () = tokio::time::sleep_until(restored.unwrap_or_else(Instant::now)), if restored.is_some() => {
                let mut keeper = keeper.lock().await;
                tokio::task::block_in_place(|| keeper.expire_cuts());
            }
            () = tokio::time::sleep_until(unexempt.unwrap_or_else(Instant::now)), if unexempt.is_some() => {
                keeper.lock().await.refresh_exemptions();
            }
            _ = fast.tick() => look_at_fast_path(&keeper).await,
            _ = minute.tick() => {
                let mut keeper = keeper.lock().await;
                keeper.observe_clock();
                keeper.forget_idle_hosts();
                let _ = keeper.attach().await;
                // Another look follows the attachment.
                keeper.forget_rules();
            }
        }
    }
}

/// Decides anew where the fast path may be used. What it takes to find out may wait for the kernel, so nobody is kept from
/// the instance meanwhile: an emergency cut-off least of all.
async fn look_at_fast_path(keeper: &Mutex<Keeper>) {
    let question = keeper.lock().await.fast_question();
    if let Some(question) = question {
        let answer = tokio::task::block_in_place(|| question.answer());
        keeper.lock().await.fast_path(answer);
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn signal_caller(signal: Received) -> Caller {
    let peer = Peer { uid: signal.uid, gid: signal.uid, pid: signal.pid };
    Caller { actor: roles::actor(peer, "operator", None), from: Origin::Signal, lang: Lang::En }
}

/// A message for every change of a link.
fn links() -> io::Result<mpsc::Receiver<()>> {
    let (connection, _handle, mut messages) = rtnetlink::new_multicast_connection(&[MulticastGroup::Link])?;
    tokio::spawn(connection);
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        // The handle lives as long as the stream: dropping it would end the connection.
        let _handle = _handle;
        while messages.next().await.is_some() {
            if let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                return;
            }
        }
        tracing::error!("netlink is no longer watched; attachments are looked over every minute");
    });
    Ok(receiver)
}

async fn watch_policy(desk: Desk, mut watch: Watch) {
    let keeper = desk.keeper();
    let mut ticks = interval(POLICY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        keeper.lock().await.take_over_by_hand();
        let live = keeper.lock().await.live().cloned();
        if let Some(file) = tokio::task::block_in_place(|| watch.look(live.as_ref())) {
            tracing::info!(path = %file.path.display(), state = ?file.state, "policy on disk");
            keeper.lock().await.set_policy_file(file);
        }
    }
}

/// Reads the lists of the policy at once, and again when their files change.
async fn watch_lists(desk: Desk) {
    let mut ticks = interval(LISTS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        desk.look_at_lists(Wish::default()).await;
    }
}

/// Binds the control socket again if its file is gone: a cleaner of temporary files must not disarm the emergency switch.
async fn keep_socket(config: Config, desk: Desk, shutdown: watch::Receiver<bool>) {
    let mut ticks = interval(POLICY_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*shutdown.borrow() {
        ticks.tick().await;
        if config.socket.exists() {
            continue;
        }
        match server::bind(&config.socket, &config.roles) {
            Ok(listener) => {
                tracing::error!(socket = %config.socket.display(), "the control socket was removed; it is there again");
                let (roles, switch, desk) = (config.roles.clone(), desk.switch(), Arc::new(desk.clone()));
                tokio::spawn(server::serve(listener, roles, switch, desk, shutdown.clone()));
            }
            Err(error) => tracing::error!(%error, "the control socket was removed and cannot be put back"),
        }
    }
}

/// Empties the ring when something is in it, so that samples do not count as lost; flows of rules with `log` are written
/// to the log. Under a flood, four times a second.
async fn drain_events(desk: Desk) {
    let keeper = desk.keeper();
    loop {
        // Asked for anew each time: an apply after a detach makes a new ring.
        // On a line of its own: the instance must not stay locked while the ring is waited for.
        let ring = keeper.lock().await.events_fd();
        if let Some(ring) = ring {
            // SAFETY: an `OwnedFd` stays open, and the same, until the registration that owns it ends.
            match unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) } {
                Ok(ring) => drop(tokio::time::timeout(RING_EVERY, ring.readable()).await),
                Err(error) => tracing::debug!(error = %io::Error::from(error), "the event ring cannot be waited for"),
            }
        }
        keeper.lock().await.drain_events();
        tokio::time::sleep(EVENTS_EVERY).await;
    }
}

/// `sd_notify(3)`: one datagram to the socket the supervisor named, if it named one.
fn tell_supervisor(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| path.as_encoded_bytes().starts_with(b"/")) else {
        return;
    };
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), path));
    if let Err(error) = sent {
        tracing::warn!(%error, "the supervisor could not be told {state}");
    }
}
