//! The agent's end of the control socket. Every limit is there so that no local user can make the agent
//! wait, grow or stop answering the administrator.

use std::{
    fs, io,
    os::{
        fd::AsFd,
        unix::{
            fs::{DirBuilderExt, PermissionsExt},
            net::UnixListener,
        },
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::{Semaphore, mpsc, watch},
    time::timeout,
};

use super::{
    door::{self, Visitor},
    protocol::{MAX_REQUEST, Reply, Request},
    roles::{Groups, Peer, Role},
};
use crate::{
    agent::config::Roles,
    cutoff::{Switch, Thrown},
};

/// Peers with a role served at a time; administrators are few.
const MAX_CONNECTIONS: usize = 16;
/// How long a peer may take to send a whole request.
const READ_TIME: Duration = Duration::from_secs(10);
/// How long a peer may take to read a reply.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// Whoever answers requests.
pub trait Handler: Send + Sync + 'static {
    /// The reply to a request from a peer that has the role it needs.
    /// `thrown`: the cut-off it asks for is in the tables already.
    fn answer(
        &self,
        peer: Peer,
        role: Role,
        request: Request,
        thrown: Option<Thrown>,
    ) -> impl Future<Output = Reply> + Send;
}

/// Binds the socket. Only the holder of the instance lock may call this: it removes what an earlier agent left.
///
/// Connecting is open to every user if one of the groups exists, because a socket has one group and two may
/// connect; the role of a peer is taken from the kernel's credentials before anything is read from it.
pub fn bind(path: &Path, roles: &Roles) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent().filter(|parent| !parent.exists()) {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    let mode = if Groups::find(roles).any() { 0o666 } else { 0o600 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

/// Serves until `shutdown` becomes true: the door throws `switch`, `handler` does all else.
pub async fn serve<H: Handler>(
    listener: UnixListener,
    roles: Roles,
    switch: Switch,
    handler: Arc<H>,
    mut shutdown: watch::Receiver<bool>,
) {
    let (out, mut visitors) = mpsc::channel(MAX_CONNECTIONS);
    // Closed when this ends, which the door notices.
    let opened = std::os::unix::net::UnixStream::pair()
        .and_then(|(held, stop)| door::open(listener, roles, switch, out, stop).map(|()| held));
    let _held = match opened {
        Ok(held) => held,
        Err(error) => return tracing::error!(%error, "the door of the control socket could not be opened"),
    };
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let visitor = tokio::select! {
            visitor = visitors.recv() => match visitor {
                Some(visitor) => visitor,
                None => return,
            },
            () = stopped(&mut shutdown) => return,
        };
        let slot = Arc::clone(&slots).try_acquire_owned().ok();
        // Whoever cut something off gets an answer whatever else is going on.
        if slot.is_none() && visitor.thrown.is_none() {
            let text = format!("{MAX_CONNECTIONS} connections are open already; try again");
            door::turn_away(&visitor.stream, &Reply::problem(2, "busy", text));
            continue;
        }
        let handler = Arc::clone(&handler);
        tokio::spawn(async move {
            converse(visitor, &*handler).await;
            drop(slot);
        });
    }
}

/// Returns when the agent is to stop.
pub async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: stop as well.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

async fn converse<H: Handler>(visitor: Visitor, handler: &H) {
    let Visitor { stream, peer, role, said, mut thrown } = visitor;
    let stream = match UnixStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, "control socket: a peer cannot be answered"),
    };
    let (read, mut write) = stream.into_split();
    // What the door has read already comes first.
    let mut read = BufReader::new(std::io::Cursor::new(said).chain(read));
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut read).take(MAX_REQUEST as u64 + 1);
        match timeout(READ_TIME, bounded.read_until(b'\n', &mut line)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) | Err(_) => return,
        }
        let (reply, go_on) = match request(&line, role) {
            // An agent that stood still for a while must not do now what somebody has long given up. What was cut stays cut.
            Ok(_) if thrown.is_none() && hung_up(write.as_ref()) => {
                return tracing::warn!(
                    "control socket: a peer hung up before its request was looked at; it is not done"
                );
            }
            Ok(request) => (handler.answer(peer, role, request, thrown.take()).await, true),
            Err(reply) => (reply, false),
        };
        let Ok(mut bytes) = serde_json::to_vec(&reply) else {
            return;
        };
        bytes.push(b'\n');
        match timeout(WRITE_TIME, write.write_all(&bytes)).await {
            Ok(Ok(())) if go_on => {}
            _ => return,
        }
    }
}

/// Whether nobody is at the other end to hear an answer. A peer that only has nothing more to say still is.
fn hung_up(stream: &UnixStream) -> bool {
    let mut ready = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    poll(&mut ready, PollTimeout::ZERO).is_ok()
        && ready[0].revents().is_some_and(|seen| seen.contains(PollFlags::POLLHUP))
}

/// A request that is whole, understood and allowed.
fn request(line: &[u8], role: Role) -> Result<Request, Reply> {
    if line.len() > MAX_REQUEST {
        return Err(Reply::usage(format!("a request has at most {MAX_REQUEST} bytes")));
    }
    let Some(line) = line.strip_suffix(b"\n") else {
        return Err(Reply::usage("a request ends with a line feed"));
    };
    let request: Request =
        serde_json::from_slice(line).map_err(|error| Reply::usage(format!("not a request: {error}")))?;
    let needs = request.ask.needs();
    if role < needs {
        let text = crate::cli::text::needs_role(request.lang, needs.name(), role.name());
        return Err(Reply::problem(2, "forbidden", text));
    }
    Ok(request)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{
        io::{BufRead, BufReader as StdReader, Write},
        net::Shutdown,
        os::unix::net::UnixStream as StdStream,
        sync::atomic::{AtomicU64, Ordering},
        time::Instant,
    };

    use super::*;

    #[derive(Default)]
    struct Echo(AtomicU64);
    impl Handler for Echo {
        async fn answer(&self, peer: Peer, role: Role, request: Request, _thrown: Option<Thrown>) -> Reply {
            let before = self.0.fetch_add(1, Ordering::SeqCst);
            Reply::done(serde_json::json!({
                "uid": peer.uid, "role": role.name(), "ask": request.ask, "before": before,
            }))
        }
    }

    /// A served socket; dropped with the folder.
    async fn served() -> (tempfile::TempDir, watch::Sender<bool>) {
        let dir = tempfile::tempdir().unwrap();
        let roles = Roles { operator: "no-such-group-a".into(), viewer: "no-such-group-b".into() };
        let listener = bind(&dir.path().join("s"), &roles).unwrap();
        let (stop, shutdown) = watch::channel(false);
        tokio::spawn(serve(listener, roles, Switch::default(), Arc::new(Echo::default()), shutdown));
        (dir, stop)
    }

    fn say(dir: &Path, bytes: &[u8]) -> Reply {
        let mut stream = StdStream::connect(dir.join("s")).unwrap();
        // The server may hang up before it has read everything.
        let _ = stream.write_all(bytes);
        let mut line = String::new();
        StdReader::new(stream).read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn answers_and_refuses_what_is_no_request() {
        let (dir, _stop) = served().await;
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let good = br#"{"lang":"en","ask":{"op":"status"}}"#;
        let mut line = good.to_vec();
        line.push(b'\n');
        let reply = say(dir.path(), &line);
        assert_eq!((reply.exit, reply.body["role"].as_str()), (0, Some("operator")));
        let mut long = vec![b' '; MAX_REQUEST + 2];
        long.push(b'\n');
        for bad in [&b"{}\n"[..], b"\n", b"nonsense\n", b"\xff\xfe\n", &long] {
            let reply = say(dir.path(), bad);
            assert_eq!(reply.error.unwrap().code, "usage", "{} bytes", bad.len());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn more_peers_than_slots_are_turned_away_and_slots_come_back() {
        let (dir, _stop) = served().await;
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let line = b"{\"lang\":\"en\",\"ask\":{\"op\":\"status\"}}\n";
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            let mut stream = StdStream::connect(dir.path().join("s")).unwrap();
            stream.write_all(line).unwrap();
            let mut reader = StdReader::new(stream);
            reader.read_line(&mut String::new()).unwrap();
            held.push(reader);
        }
        assert_eq!(say(dir.path(), line).error.unwrap().code, "busy");
        drop(held);
        let deadline = Instant::now() + Duration::from_secs(5);
        while say(dir.path(), line).exit != 0 {
            assert!(Instant::now() < deadline, "slots never came back");
        }
    }

    /// One thread: nothing is served before this test waits.
    #[tokio::test]
    async fn who_has_hung_up_asks_for_nothing_and_who_only_has_finished_does() {
        let (dir, _stop) = served().await;
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let line = b"{\"lang\":\"en\",\"ask\":{\"op\":\"status\"}}\n";
        for _ in 0..3 {
            StdStream::connect(dir.path().join("s")).unwrap().write_all(line).unwrap();
        }
        let mut last = StdStream::connect(dir.path().join("s")).unwrap();
        last.write_all(line).unwrap();
        last.shutdown(Shutdown::Write).unwrap();
        let asked = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            StdReader::new(last).read_line(&mut line).map(|_| line)
        });
        let reply: Reply = serde_json::from_str(&asked.await.unwrap().unwrap()).unwrap();
        assert_eq!((reply.exit, reply.body["before"].as_u64()), (0, Some(0)));
    }

    #[test]
    fn a_viewer_may_not_change_anything() {
        let cut = br#"{"lang":"en","ask":{"op":"restore","objects":[{"kind":"all"}],"reason":"x"}}
"#;
        assert_eq!(request(cut, Role::Viewer).unwrap_err().error.unwrap().code, "forbidden");
        assert!(request(cut, Role::Operator).is_ok());
        assert!(request(b"{\"lang\":\"en\",\"ask\":{\"op\":\"status\"}}\n", Role::Viewer).is_ok());
        assert!(request(b"{\"lang\":\"en\",\"ask\":{\"op\":\"status\"}}", Role::Operator).is_err());
    }

    #[tokio::test]
    async fn without_groups_only_root_can_connect() {
        let (dir, _stop) = served().await;
        let mode = fs::metadata(dir.path().join("s")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
