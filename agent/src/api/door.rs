//! The way in to the control socket: one thread that does nothing but take visitors in, read their first request, and throw
//! the switch if that is a cut-off. It runs before everything else on its processor (`SCHED_FIFO`, sched(7)), so that a cut
//! waits neither for a flood nor for the agent's other work. Everything after that is the runtime's business.

use std::{
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{getsockopt, sockopt::PeerCredentials},
};
use tokio::sync::mpsc;

use super::{
    protocol::{Ask, MAX_REQUEST, Reply, Request},
    roles::{Groups, Peer, Role},
};
use crate::{
    agent::config::Roles,
    cutoff::{Switch, Thrown},
};

/// Visitors whose first request is not whole yet.
const MAX_WAITING: usize = 16;
/// Roles that are looked for in a second.
const MAX_LOOKUPS: u32 = 50;
/// How long a visitor may take to say it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Above everything ordinary, below the kernel's own threads of this kind.
const PRIORITY: libc::c_int = 10;
/// Of a command that cuts off: below the door.
pub const COMMAND_PRIORITY: libc::c_int = 5;

/// Whether the door of this process runs before everything else.
static REALTIME: AtomicBool = AtomicBool::new(false);

/// Whether a flood of work cannot keep the door's thread from its processor.
pub fn is_realtime() -> bool {
    REALTIME.load(Ordering::Relaxed)
}

/// Somebody with a role, and what they said first.
#[derive(Debug)]
pub struct Visitor {
    /// The connection, non-blocking.
    pub stream: UnixStream,
    /// As the kernel knows them.
    pub peer: Peer,
    /// What they may.
    pub role: Role,
    /// What they said, up to and including the first line feed; behind it nothing was read.
    pub said: Vec<u8>,
    /// What was done about it already.
    pub thrown: Option<Thrown>,
}

/// Whoever came in and has not said a whole line.
struct Waiting {
    visitor: Visitor,
    since: Instant,
}

/// Takes visitors in until the other end of `stop` is closed or `out` has no receiver.
pub fn open(
    listener: UnixListener,
    roles: Roles,
    switch: Switch,
    out: mpsc::Sender<Visitor>,
    stop: UnixStream,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    thread::Builder::new().name("door".into()).spawn(move || {
        let done = rise(PRIORITY);
        REALTIME.store(done.is_ok(), Ordering::Relaxed);
        if let Err(error) = done {
            tracing::warn!(%error, "the door of the control socket has no real-time priority (CAP_SYS_NICE): under a flood a cut-off may wait");
        }
        let mut door = Door { roles, switch, out, waiting: Vec::new(), asked: (Instant::now(), 0) };
        while door.turn(&listener, &stop) {}
    })?;
    Ok(())
}

/// Puts this thread before all ordinary ones.
///
/// # Errors
/// It takes CAP_SYS_NICE.
pub fn rise(priority: libc::c_int) -> io::Result<()> {
    // SAFETY: zero is a valid `sched_param`.
    let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    parameters.sched_priority = priority;
    // SAFETY: the parameters are ours and alive for the call; 0 names this thread.
    let done =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

struct Door {
    roles: Roles,
    switch: Switch,
    out: mpsc::Sender<Visitor>,
    waiting: Vec<Waiting>,
    /// Since when look-ups of roles are counted, and how many there were.
    asked: (Instant, u32),
}

impl Door {
    /// Waits for something to happen and deals with it; false when the door closes.
    fn turn(&mut self, listener: &UnixListener, stop: &UnixStream) -> bool {
        let oldest = self.waiting.iter().map(|waiting| waiting.since).min();
        let left = oldest.map(|since| PATIENCE.saturating_sub(since.elapsed()) + Duration::from_millis(1));
        let timeout = left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        let mut ready =
            vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        ready.extend(self.waiting.iter().map(|waiting| PollFd::new(waiting.visitor.stream.as_fd(), PollFlags::POLLIN)));
        match poll(&mut ready, timeout) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => return true,
            Err(error) => {
                tracing::error!(%error, "the door of the control socket cannot wait");
                thread::sleep(Duration::from_millis(100));
                return true;
            }
        }
        let happened = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        let (comes, stops) = (happened(&ready[0]), happened(&ready[1]));
        let said: Vec<bool> = ready[2..].iter().map(happened).collect();
        drop(ready);
        if stops || self.out.is_closed() {
            return false;
        }
        for (waiting, said) in std::mem::take(&mut self.waiting).into_iter().zip(said) {
            if said {
                self.hear(waiting);
            } else if waiting.since.elapsed() < PATIENCE {
                self.waiting.push(waiting);
            }
        }
        if comes {
            self.admit(listener);
        }
        true
    }

    fn admit(&mut self, listener: &UnixListener) {
        // Seen now; what it says is measured from here.
        let since = Instant::now();
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => {
                tracing::warn!(%error, "control socket: accept failed");
                // Out of descriptors: not again at once.
                return thread::sleep(Duration::from_millis(10));
            }
        };
        let peer = match getsockopt(&stream, PeerCredentials) {
            Ok(cred) => Peer { uid: cred.uid(), gid: cred.gid(), pid: cred.pid() },
            Err(error) => return tracing::warn!(%error, "control socket: a peer without credentials"),
        };
        if let Err(error) = stream.set_nonblocking(true) {
            return tracing::warn!(%error, "control socket: a peer cannot be waited for");
        }
        // Root needs no group, and so no look into the files that name them.
        let role = if peer.uid == 0 {
            Some(Role::Operator)
        } else if self.may_ask_for_a_role() {
            Groups::find(&self.roles).role(peer)
        } else {
            // Whoever knocks so often goes without an answer: nobody keeps the door from the others.
            return;
        };
        let Some(role) = role else {
            tracing::warn!(uid = peer.uid, pid = peer.pid, "control socket: a user without a role was turned away");
            let text = format!(
                "user {} is neither in group {} nor in group {}; ask the administrator",
                peer.uid, self.roles.operator, self.roles.viewer
            );
            return turn_away(&stream, &Reply::problem(2, "forbidden", text));
        };
        if self.waiting.len() >= MAX_WAITING && role >= Role::Operator {
            // Those who may only look make room; among operators, who has been silent longest.
            let least = |(_, waiting): &(usize, &Waiting)| (waiting.visitor.role, waiting.since);
            if let Some((place, _)) = self.waiting.iter().enumerate().min_by_key(least) {
                self.waiting.remove(place);
            }
        }
        if self.waiting.len() >= MAX_WAITING {
            let text = format!("{MAX_WAITING} connections have not said what they want; try again");
            return turn_away(&stream, &Reply::problem(2, "busy", text));
        }
        let visitor = Visitor { stream, peer, role, said: Vec::new(), thrown: None };
        self.hear(Waiting { visitor, since });
    }

    /// Looking for a role reads files, and this thread runs before all others: so often a second, and no more.
    fn may_ask_for_a_role(&mut self) -> bool {
        if self.asked.0.elapsed() >= Duration::from_secs(1) {
            self.asked = (Instant::now(), 0);
        }
        self.asked.1 += 1;
        self.asked.1 <= MAX_LOOKUPS
    }

    /// Reads what there is; a whole line is dealt with.
    fn hear(&mut self, mut waiting: Waiting) {
        let mut buffer = [0; 4096];
        loop {
            let visitor = &mut waiting.visitor;
            match visitor.stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => {
                    visitor.said.extend(&buffer[..count]);
                    if visitor.said.contains(&b'\n') || visitor.said.len() > MAX_REQUEST {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.waiting.push(waiting),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
        let mut visitor = waiting.visitor;
        if visitor.role >= Role::Operator {
            visitor.thrown = self.throw(&visitor.said, waiting.since);
        }
        if visitor.thrown.is_some() {
            // Done already, and to be noted and answered whatever else is going on; an error means that the agent stops.
            let _ = self.out.blocking_send(visitor);
            return;
        }
        if let Err(error) = self.out.try_send(visitor) {
            let visitor = error.into_inner();
            turn_away(&visitor.stream, &Reply::problem(2, "busy", "the agent is busy; look at `sekimori status`"));
        }
    }

    /// A cut-off takes effect here.
    fn throw(&self, said: &[u8], since: Instant) -> Option<Thrown> {
        // What is longer is refused further on.
        let end = said.iter().position(|byte| *byte == b'\n').filter(|end| *end < MAX_REQUEST)?;
        let request: Request = serde_json::from_slice(&said[..end]).ok()?;
        match request.ask {
            Ask::Cutoff(ask) if !ask.drill && !ask.reason.trim().is_empty() => {
                self.switch.throw(&ask.objects, ask.including_management, since)
            }
            _ => None,
        }
    }
}

/// One line that fits the socket's buffer, without waiting for anybody.
pub(super) fn turn_away(mut stream: &UnixStream, reply: &Reply) {
    if let Ok(mut line) = serde_json::to_vec(reply) {
        line.push(b'\n');
        // Nobody is owed this text; a peer that cannot take it at once goes without.
        let _ = stream.write(&line);
    }
}
