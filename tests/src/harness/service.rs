//! Servers inside a namespace, as threads that end with their owner, and the clients that ask them.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};

use super::netns::Ns;

/// How often a server that waits looks whether it should end.
const LOOK: Duration = Duration::from_millis(50);

/// A running server; ends when dropped, its connections with it.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    listener: Option<TcpListener>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// TCP: `serve` gets each connection, on a thread of its own.
    pub fn tcp(
        ns: &Ns,
        address: impl Into<SocketAddr>,
        serve: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Result<Self> {
        let address = address.into();
        let listener = ns
            .run(|| Ok(TcpListener::bind(address)?))
            .with_context(|| format!("listening on tcp {address} in {}", ns.name()))?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Mutex::new(Vec::new()));
        let accepting = listener.try_clone()?;
        let (ending, kept, serve) = (Arc::clone(&stop), Arc::clone(&streams), Arc::new(serve));
        let thread = thread::spawn(move || {
            // Dropping the server shuts the listener down, which ends the wait.
            while let Ok((stream, _)) = accepting.accept() {
                if ending.load(Ordering::Acquire) {
                    break;
                }
                if let (Ok(copy), Ok(mut kept)) = (stream.try_clone(), kept.lock()) {
                    kept.push(copy);
                }
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Ok(Self { address, stop, listener: Some(listener), streams, thread: Some(thread) })
    }

    /// UDP: `answer` gets each datagram; what it returns goes back.
    pub fn udp(
        ns: &Ns,
        address: impl Into<SocketAddr>,
        answer: impl Fn(&[u8], SocketAddr) -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<Self> {
        let address = address.into();
        let socket = ns
            .run(|| Ok(UdpSocket::bind(address)?))
            .with_context(|| format!("listening on udp {address} in {}", ns.name()))?;
        let address = socket.local_addr()?;
        socket.set_read_timeout(Some(LOOK))?;
        let stop = Arc::new(AtomicBool::new(false));
        let ending = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !ending.load(Ordering::Acquire) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                if let Some(reply) = buffer.get(..length).and_then(|datagram| answer(datagram, from)) {
                    // A reply that cannot be sent shows at the client.
                    socket.send_to(&reply, from).ok();
                }
            }
        });
        Ok(Self { address, stop, listener: None, streams: Arc::default(), thread: Some(thread) })
    }

    /// TCP echo on every address of the namespace, both families.
    pub fn tcp_echo(ns: &Ns, port: u16) -> Result<Self> {
        Self::tcp(ns, (Ipv6Addr::UNSPECIFIED, port), |mut stream| {
            let mut buffer = vec![0; 65_536];
            while let Ok(length @ 1..) = stream.read(&mut buffer) {
                if stream.write_all(buffer.get(..length).unwrap_or_default()).is_err() {
                    break;
                }
            }
        })
    }

    /// UDP echo on one address (so that replies come from it).
    pub fn udp_echo(ns: &Ns, address: impl Into<IpAddr>, port: u16) -> Result<Self> {
        Self::udp(ns, (address.into(), port), |datagram, _| Some(datagram.to_vec()))
    }

    /// Says one line to whoever connects, as an ssh server does.
    pub fn banner(ns: &Ns, port: u16, line: &'static str) -> Result<Self> {
        Self::tcp(ns, (Ipv6Addr::UNSPECIFIED, port), move |mut stream| {
            if stream.write_all(format!("{line}\r\n").as_bytes()).is_ok() {
                // Until the client goes, or the server does.
                stream.read_to_end(&mut Vec::new()).ok();
            }
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(listener) = &self.listener {
            // On Linux this makes a waiting accept return.
            nix::sys::socket::shutdown(listener.as_raw_fd(), nix::sys::socket::Shutdown::Both).ok();
        }
        if let Ok(streams) = self.streams.lock() {
            for stream in streams.iter() {
                stream.shutdown(Shutdown::Both).ok();
            }
        }
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// Connects from inside a namespace, from any of its addresses or from `source`.
pub fn connect(ns: &Ns, source: Option<IpAddr>, to: impl Into<SocketAddr>, within: Duration) -> Result<TcpStream> {
    let to = to.into();
    ns.run(|| {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(source) = source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        socket.connect_timeout(&to.into(), within)?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(within))?;
        stream.set_write_timeout(Some(within))?;
        Ok(stream)
    })
    .with_context(|| format!("connecting from {} to tcp {to}", ns.name()))
}

/// Sends `message` and reads as many bytes back: whether a TCP echo server was reached and answered.
pub fn tcp_exchange(
    ns: &Ns,
    source: Option<IpAddr>,
    to: impl Into<SocketAddr>,
    message: &[u8],
    within: Duration,
) -> Result<Vec<u8>> {
    let mut stream = connect(ns, source, to, within)?;
    stream.write_all(message)?;
    let mut reply = vec![0; message.len()];
    stream.read_exact(&mut reply).with_context(|| format!("no echo of {} bytes", message.len()))?;
    Ok(reply)
}

/// A UDP socket inside a namespace, connected to `to`, with this receive deadline.
pub fn udp_socket(ns: &Ns, source: Option<IpAddr>, to: impl Into<SocketAddr>, within: Duration) -> Result<UdpSocket> {
    let to = to.into();
    let any = if to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    ns.run(|| {
        let socket = UdpSocket::bind((source.unwrap_or(any), 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(within))?;
        Ok(socket)
    })
    .with_context(|| format!("a udp socket from {} to {to}", ns.name()))
}

/// Sends one datagram and waits for one back.
pub fn udp_exchange(
    ns: &Ns,
    source: Option<IpAddr>,
    to: impl Into<SocketAddr>,
    message: &[u8],
    within: Duration,
) -> Result<Vec<u8>> {
    let socket = udp_socket(ns, source, to, within)?;
    socket.send(message)?;
    let mut reply = vec![0; 65_536];
    let length = socket.recv(&mut reply).context("no datagram came back")?;
    reply.truncate(length);
    Ok(reply)
}
