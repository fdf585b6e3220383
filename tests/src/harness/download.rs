//! A TCP transfer at a steady pace: how far it came, how long it ever stood still, whether it was whole.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{
    netns::Ns,
    service::{self, Server},
    tool,
};

/// Sent at a time.
const PIECE: usize = 1024;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(2);
/// How long anything a test waits for may take. TCP tries again after 0.2 s, 0.4 s, 0.8 s and so on.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that sends to one client until it is told to finish.
#[derive(Debug)]
pub struct Download {
    name: String,
    finish: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    longest_gap: Arc<Mutex<Duration>>,
    reader: Option<JoinHandle<std::io::Result<()>>>,
    _server: Server,
}

impl Download {
    /// Starts one: the server listens on every address of its namespace, the client asks `to`.
    pub fn start(client: &Ns, source: Option<IpAddr>, server: &Ns, to: impl Into<SocketAddr>) -> Result<Self> {
        let to = to.into();
        Self::by_way_of(client, source, server, to.port(), to)
    }

    /// The same where the server listens on another port than the client asks.
    pub fn by_way_of(
        client: &Ns,
        source: Option<IpAddr>,
        server: &Ns,
        listen: u16,
        to: impl Into<SocketAddr>,
    ) -> Result<Self> {
        let to = to.into();
        let finish = Arc::new(AtomicBool::new(false));
        let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let server = {
            let (finish, sent) = (Arc::clone(&finish), Arc::clone(&sent));
            Server::tcp(server, (std::net::Ipv6Addr::UNSPECIFIED, listen), move |mut stream| {
                while !finish.load(Ordering::Acquire) && stream.write_all(&[b'.'; PIECE]).is_ok() {
                    sent.fetch_add(PIECE as u64, Ordering::AcqRel);
                    thread::sleep(PAUSE);
                }
                // The client sees the end, or notices that it is gone.
                stream.shutdown(std::net::Shutdown::Both).ok();
            })?
        };
        let mut stream = service::connect(client, source, to, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let longest_gap = Arc::new(Mutex::new(Duration::ZERO));
        let reader = {
            let (received, longest_gap) = (Arc::clone(&received), Arc::clone(&longest_gap));
            thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                let mut last = Instant::now();
                loop {
                    let length = stream.read(&mut buffer)?;
                    if let Ok(mut longest) = longest_gap.lock() {
                        *longest = longest.max(last.elapsed());
                    }
                    last = Instant::now();
                    if length == 0 {
                        return Ok(());
                    }
                    received.fetch_add(length as u64, Ordering::AcqRel);
                }
            })
        };
        let name = format!("download by {} from {to}", client.name());
        Ok(Self { name, finish, sent, received, longest_gap, reader: Some(reader), _server: server })
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    /// Longest time without a byte so far.
    pub fn longest_gap(&self) -> Duration {
        self.longest_gap.lock().map(|gap| *gap).unwrap_or_default()
    }

    /// Waits until `more` further bytes have arrived.
    pub fn flows(&self, more: u64) -> Result<()> {
        let goal = self.received() + more;
        tool::until(&format!("{more} bytes of the {}", self.name), PATIENCE, || {
            Ok((self.received() >= goal).then_some(()))
        })
    }

    /// Proves that for `time` not one byte arrives.
    pub fn stands_still(&self, time: Duration) -> Result<()> {
        // What had passed before may take a moment to be read.
        thread::sleep(Duration::from_millis(50));
        let before = self.received();
        thread::sleep(time);
        let after = self.received();
        if after != before {
            bail!("the {} went on: {} bytes", self.name, after - before);
        }
        Ok(())
    }

    /// Lets the server end; an error unless every byte it sent arrived. Returns how many.
    pub fn finish(mut self) -> Result<u64> {
        self.finish.store(true, Ordering::Release);
        let reader = self.reader.take().context("it was finished already")?;
        reader
            .join()
            .map_err(|_| anyhow!("the reader panicked"))?
            .with_context(|| format!("the {} broke", self.name))?;
        let (sent, received) = (self.sent.load(Ordering::Acquire), self.received());
        if sent == 0 || sent != received {
            bail!("the {}: {received} of {sent} bytes arrived", self.name);
        }
        Ok(received)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // The server's end closes with the server; a reader that waits gets its end then, or at its own deadline.
        self.finish.store(true, Ordering::Release);
    }
}
