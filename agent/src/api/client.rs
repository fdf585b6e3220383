//! The command line's end of the control socket.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use super::protocol::{MAX_REPLY, Reply, Request};

/// An apply of a very large policy takes tens of seconds; a hung agent must not hang the caller for ever.
pub const REPLY_TIME: Duration = Duration::from_secs(180);

/// The agent did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error("no agent answers at {path}: {source}")]
    Absent {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody listens and does not answer.
    #[error(
        "the agent at {path} did not answer: {source}; the request may still have been carried out, look at `sekimori status`"
    )]
    Silent {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The answer is none.
    #[error("the agent at {path} answered something else: {what}; is it another version?")]
    Garbled {
        /// The socket.
        path: PathBuf,
        /// What.
        what: String,
    },
}

impl Error {
    /// Whether there is no agent at all (rather than one that must not be worked around).
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
    }
}

/// Asks once.
pub fn ask(socket: &Path, request: &Request) -> Result<Reply, Error> {
    ask_within(socket, request, REPLY_TIME)
}

/// Asks once, and waits no longer than this.
pub fn ask_within(socket: &Path, request: &Request, patience: Duration) -> Result<Reply, Error> {
    let path = || socket.to_path_buf();
    let stream = UnixStream::connect(socket).map_err(|source| Error::Absent { path: path(), source })?;
    let silent = |source| Error::Silent { path: path(), source };
    stream.set_read_timeout(Some(patience)).map_err(silent)?;
    stream.set_write_timeout(Some(patience)).map_err(silent)?;
    let mut line = serde_json::to_vec(request).map_err(|error| silent(error.into()))?;
    line.push(b'\n');
    // A peer without a role is answered and hung up on before it has written: the answer still counts.
    let written = (&stream).write_all(&line);
    let mut reply = Vec::new();
    let read = BufReader::new(&stream).take(MAX_REPLY as u64).read_until(b'\n', &mut reply);
    if reply.is_empty() {
        written.map_err(silent)?;
        read.map_err(silent)?;
        return Err(silent(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&reply).map_err(|error| Error::Garbled { path: path(), what: error.to_string() })
}
