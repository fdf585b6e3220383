//! Numbered datagrams at a steady pace: which arrived, and whether they stopped when they had to.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};

use super::{netns::Ns, service, tool};

/// How often a receiver looks whether it should end.
const LOOK: Duration = Duration::from_millis(50);
/// How long a stream may take to do what a test waits for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of a datagram: its number three times, for a frame about as long as wires have them.
const SIZE: usize = 24;

/// What arrived so far.
#[derive(Debug, Clone, Default)]
pub struct Arrived {
    /// Datagrams.
    pub count: u64,
    /// The highest number among them.
    pub highest: Option<u64>,
    /// Longest time between two of them.
    pub longest_gap: Duration,
    last: Option<Instant>,
}

/// UDP datagrams numbered from 0, one way, until it is dropped.
#[derive(Debug)]
pub struct Stream {
    name: String,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    arrived: Arc<Mutex<Arrived>>,
    sender: Option<JoinHandle<()>>,
    receiver: Option<JoinHandle<()>>,
}

impl Stream {
    /// From a client to a server that only listens.
    pub fn to_server(
        client: &Ns,
        source: Option<IpAddr>,
        server: &Ns,
        to: impl Into<SocketAddr>,
        every: Duration,
    ) -> Result<Self> {
        let to = to.into();
        let listening = server.run(|| Ok(UdpSocket::bind(to)?)).with_context(|| format!("listening on udp {to}"))?;
        let sending = service::udp_socket(client, source, to, LOOK)?;
        Self::between(format!("{} > {to}", client.name()), sending, listening, every)
    }

    /// From a server to the client that asked once: the permission is the client's.
    pub fn to_client(client: &Ns, server: &Ns, to: impl Into<SocketAddr>, every: Duration) -> Result<Self> {
        let to = to.into();
        let listening = server.run(|| Ok(UdpSocket::bind(to)?)).with_context(|| format!("listening on udp {to}"))?;
        listening.set_read_timeout(Some(PATIENCE))?;
        let asking = service::udp_socket(client, None, to, LOOK)?;
        asking.send(b"please")?;
        let (_, peer) = listening.recv_from(&mut [0; 64]).with_context(|| format!("{to} was not asked"))?;
        listening.connect(peer)?;
        Self::between(format!("{to} > {}", client.name()), listening, asking, every)
    }

    /// To a server that sends everything back: both ways at this pace.
    pub fn echoed(client: &Ns, to: impl Into<SocketAddr>, every: Duration) -> Result<Self> {
        let to = to.into();
        let asking = service::udp_socket(client, None, to, LOOK)?;
        Self::between(format!("{} > {to} and back", client.name()), asking.try_clone()?, asking, every)
    }

    fn between(name: String, sending: UdpSocket, receiving: UdpSocket, every: Duration) -> Result<Self> {
        receiving.set_read_timeout(Some(LOOK))?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let arrived = Arc::new(Mutex::new(Arrived::default()));
        let sender = {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            thread::spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    // A datagram the box drops on its way out may be an error here; it counts as sent all the same.
                    sending.send(&[sent.load(Ordering::Acquire).to_be_bytes(); 3].concat()).ok();
                    sent.fetch_add(1, Ordering::AcqRel);
                    thread::sleep(every);
                }
            })
        };
        let receiver = {
            let (stop, arrived) = (Arc::clone(&stop), Arc::clone(&arrived));
            thread::spawn(move || {
                let mut buffer = [0; 64];
                loop {
                    match receiving.recv(&mut buffer) {
                        Ok(SIZE) => {
                            note(&arrived, u64::from_be_bytes(buffer.first_chunk().copied().unwrap_or_default()))
                        }
                        Ok(_) => {}
                        // What is still on its way when the sender stops is waited for.
                        Err(_) if stop.load(Ordering::Acquire) => return,
                        Err(_) => {}
                    }
                }
            })
        };
        let stream = Self { name, stop, sent, arrived, sender: Some(sender), receiver: Some(receiver) };
        Ok(stream)
    }

    /// Datagrams sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// What arrived so far.
    pub fn arrived(&self) -> Arrived {
        self.arrived.lock().map(|arrived| arrived.clone()).unwrap_or_default()
    }

    /// Waits until `more` further datagrams have arrived.
    pub fn flows(&self, more: u64) -> Result<()> {
        let goal = self.arrived().count + more;
        tool::until(&format!("{more} datagrams {}", self.name), PATIENCE, || {
            Ok((self.arrived().count >= goal).then_some(()))
        })
    }

    /// Proves that nothing sent from now on arrives, by sending `more` of them. To be called after whatever stopped it.
    /// Returns the last number that may have passed, for [`Self::stood_still_since`].
    pub fn stands_still(&self, more: u64) -> Result<u64> {
        // The datagram of this number may have been judged a moment ago and not be counted yet.
        let last = self.sent();
        tool::until(&format!("{more} datagrams to be sent {}", self.name), PATIENCE, || {
            Ok((self.sent() >= last + more).then_some(()))
        })?;
        self.stood_still_since(last)?;
        Ok(last)
    }

    /// Proves that nothing after this number arrived, whatever happened meanwhile.
    pub fn stood_still_since(&self, last: u64) -> Result<()> {
        thread::sleep(LOOK);
        match self.arrived().highest {
            Some(highest) if highest > last => {
                bail!("{}: {highest} arrived, but {last} was the last allowed", self.name)
            }
            _ => Ok(()),
        }
    }

    /// Ends it; how many were sent, and what arrived of them.
    pub fn finish(mut self) -> Result<(u64, Arrived)> {
        self.end()?;
        Ok((self.sent(), self.arrived()))
    }

    /// Ends it; an error if a single datagram was lost.
    pub fn lost_nothing(self) -> Result<Arrived> {
        let name = self.name.clone();
        let (sent, arrived) = self.finish()?;
        if sent == 0 || arrived.count != sent {
            bail!("{name}: {} of {sent} datagrams arrived", arrived.count);
        }
        Ok(arrived)
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        for thread in [self.sender.take(), self.receiver.take()].into_iter().flatten() {
            thread.join().map_err(|_| anyhow!("{}: a thread panicked", self.name))?;
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.end().ok();
    }
}

fn note(arrived: &Mutex<Arrived>, number: u64) {
    let Ok(mut arrived) = arrived.lock() else {
        return;
    };
    let now = Instant::now();
    if let Some(last) = arrived.last {
        arrived.longest_gap = arrived.longest_gap.max(now - last);
    }
    arrived.last = Some(now);
    arrived.count += 1;
    arrived.highest = arrived.highest.max(Some(number));
}
