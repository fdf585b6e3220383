//! Frames by hand: sending any bytes, and seeing what arrives.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{setsockopt, sockopt},
};

use super::{frame::Frame, link, netns::Ns};

/// What a socket keeps of what was not read yet, in the kernel's count of bytes.
const ROOM: usize = 16 << 20;

/// An AF_PACKET socket on one interface: sends raw frames, sees every frame that comes in (not those going out).
///
/// It sees from the moment it exists, so open it before the traffic starts.
#[derive(Debug)]
pub struct RawPort {
    socket: OwnedFd,
    place: String,
}

impl RawPort {
    /// Opens one on `interface` of `ns`.
    pub fn open(ns: &Ns, interface: &str) -> Result<Self> {
        let index = link::index(ns, interface)?;
        let place = format!("{interface} of {}", ns.name());
        let socket = ns.run(|| open(index)).with_context(|| format!("opening a packet socket on {place}"))?;
        Ok(Self { socket, place })
    }

    /// Sends these bytes as they are.
    pub fn send(&self, frame: &Frame) -> Result<()> {
        let bytes = &frame.0;
        // SAFETY: the pointer and length describe `bytes`, which outlives the call.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if usize::try_from(sent).ok() != Some(bytes.len()) {
            return Err(io::Error::last_os_error()).with_context(|| format!("sending {frame:?} on {}", self.place));
        }
        Ok(())
    }

    /// The next frame for which `wanted` holds; other frames are skipped.
    pub fn expect(&self, what: &str, within: Duration, mut wanted: impl FnMut(&Frame) -> bool) -> Result<Frame> {
        let deadline = Instant::now() + within;
        let mut others = Vec::new();
        while let Some(frame) = self.next(deadline)? {
            if wanted(&frame) {
                return Ok(frame);
            }
            others.push(frame);
        }
        bail!("{what} did not arrive on {} within {within:?}; other frames: {others:#?}", self.place)
    }

    /// Proves that no frame for which `unwanted` holds arrived before the marker. `send_marker` sends, after whatever
    /// was to be dropped, a frame that is let through and takes the same path; once that one is here, anything sent
    /// before it would be too. A marker that does not come is an error: silence alone proves nothing.
    pub fn expect_none(
        &self,
        what: &str,
        within: Duration,
        mut unwanted: impl FnMut(&Frame) -> bool,
        send_marker: impl FnOnce() -> Result<()>,
        mut is_marker: impl FnMut(&Frame) -> bool,
    ) -> Result<()> {
        send_marker()?;
        let deadline = Instant::now() + within;
        while let Some(frame) = self.next(deadline)? {
            if unwanted(&frame) {
                bail!("{what} arrived on {}: {frame:?}", self.place);
            }
            if is_marker(&frame) {
                return Ok(());
            }
        }
        bail!("the marker did not arrive on {} within {within:?}, so nothing is known about {what}", self.place)
    }

    /// Everything that has arrived and was not read yet.
    pub fn drain(&self) -> Result<Vec<Frame>> {
        let now = Instant::now();
        let mut frames = Vec::new();
        while let Some(frame) = self.next(now)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    /// The next frame, or `None` at the deadline.
    pub fn next(&self, deadline: Instant) -> Result<Option<Frame>> {
        Ok(if self.wait(deadline)? { Some(self.receive()?) } else { None })
    }

    /// Reads as much of the next frame as `frame` has room for, without its VLAN tag: for whoever counts many. False at the deadline.
    pub fn read_head(&self, frame: &mut Frame, deadline: Instant) -> Result<bool> {
        if !self.wait(deadline)? {
            return Ok(false);
        }
        // SAFETY: the pointer and length describe the buffer, which outlives the call.
        let read = unsafe { libc::recv(self.socket.as_raw_fd(), frame.0.as_mut_ptr().cast(), frame.0.len(), 0) };
        if read < 0 {
            return Err(io::Error::last_os_error()).with_context(|| format!("reading a frame on {}", self.place));
        }
        Ok(true)
    }

    /// Whether there is a frame before the deadline.
    fn wait(&self, deadline: Instant) -> Result<bool> {
        let left = deadline.saturating_duration_since(Instant::now());
        // Rounded up: a wait of no time at all would turn the last millisecond into a busy loop.
        let timeout = PollTimeout::try_from(left.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
        let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, timeout) {
            Ok(0) => Ok(false),
            Ok(_) => Ok(true),
            Err(nix::errno::Errno::EINTR) => self.wait(deadline),
            Err(error) => Err(error).with_context(|| format!("waiting for frames on {}", self.place)),
        }
    }

    fn receive(&self) -> Result<Frame> {
        let mut bytes = vec![0_u8; 70_000];
        let mut control = [0_u64; 16];
        let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: `msghdr` is plain old data for which all zeroes is a valid value.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: every pointer in `message` leads to a buffer of the stated length that outlives the call.
        let received = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut message, 0) };
        let Ok(length) = usize::try_from(received) else {
            return Err(io::Error::last_os_error()).with_context(|| format!("reading a frame on {}", self.place));
        };
        bytes.truncate(length);
        if let Some((protocol, control_information)) = stripped_tag(&message)
            && length >= 12
        {
            let tag = [protocol.to_be_bytes(), control_information.to_be_bytes()].concat();
            bytes.splice(12..12, tag);
        }
        Ok(Frame(bytes))
    }
}

fn open(index: u32) -> Result<OwnedFd> {
    let every = u16::try_from(libc::ETH_P_ALL)?.to_be();
    // SAFETY: a plain system call; the result is checked before it is used.
    let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if raw < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: `raw` was just opened and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    // Room for what comes while the reader is busy.
    setsockopt(&socket, sockopt::RcvBufForce, &ROOM)?;
    // The kernel keeps the outermost VLAN tag beside the frame; we want it back.
    option(&socket, libc::PACKET_AUXDATA, 1)?;
    option(&socket, libc::PACKET_IGNORE_OUTGOING, 1)?;
    // SAFETY: `sockaddr_ll` is plain old data for which all zeroes is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_protocol = every;
    address.sll_ifindex = i32::try_from(index)?;
    let length = u32::try_from(size_of_val(&address))?;
    // SAFETY: the pointer and length describe `address`, which outlives the call.
    let bound = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // Frames to other MACs matter too: a dropped packet must not hide behind a filter of the receiver.
    let request = libc::packet_mreq {
        mr_ifindex: i32::try_from(index)?,
        mr_type: u16::try_from(libc::PACKET_MR_PROMISC)?,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set(&socket, libc::PACKET_ADD_MEMBERSHIP, &request)?;
    Ok(socket)
}

fn option(socket: &OwnedFd, name: i32, value: i32) -> Result<()> {
    set(socket, name, &value)
}

fn set<T>(socket: &OwnedFd, name: i32, value: &T) -> Result<()> {
    let length = u32::try_from(size_of::<T>())?;
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, name, std::ptr::from_ref(value).cast(), length)
    };
    if result < 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("packet socket option {name}"));
    }
    Ok(())
}

/// The VLAN tag the kernel took off: protocol and control information.
fn stripped_tag(message: &libc::msghdr) -> Option<(u16, u16)> {
    // SAFETY: the kernel filled `message`; the macro reads its control buffer within the length it states.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, and inside the control buffer, which is aligned for it.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA {
            // SAFETY: a message of this level and type carries a `tpacket_auxdata`; alignment is not promised.
            let aux = unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
            let valid = aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0;
            return valid.then_some((aux.tp_vlan_tpid, aux.tp_vlan_tci));
        }
        // SAFETY: as above.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}
