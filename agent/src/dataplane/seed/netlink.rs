//! A netlink dump, read whole, and the attributes in it. Every length is checked before it is believed.

use std::{
    os::fd::{AsRawFd, FromRawFd as _, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        socket::{MsgFlags, NetlinkAddr, connect, recv, send, setsockopt, sockopt},
        time::TimeVal,
    },
};

use super::Error;

/// `struct nlmsghdr`.
const HEADER: usize = 16;
/// The kernel fills at most 32 KiB a read unless asked for more; twice that leaves room.
const BUFFER: usize = 64 << 10;
/// A whole dump takes milliseconds to seconds; longer means that something is wrong.
const DEADLINE: Duration = Duration::from_secs(30);

/// Takes a message's type and payload.
pub(in crate::dataplane) type Each<'a> = &'a mut dyn FnMut(u16, &[u8]) -> Result<(), Error>;

/// What to ask for.
pub(in crate::dataplane) struct Request<'a> {
    /// Netlink family.
    pub(in crate::dataplane) protocol: libc::c_int,
    /// Message type.
    pub(in crate::dataplane) kind: u16,
    /// Message without its netlink header.
    pub(in crate::dataplane) body: &'a [u8],
    /// For errors: which table.
    pub(in crate::dataplane) table: &'static str,
    /// For errors: which kernel module serves it.
    pub(in crate::dataplane) module: &'static str,
}

/// What a buffer of messages led to.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::dataplane) enum Progress {
    /// More will come.
    More,
    /// The dump is over.
    Done,
}

/// Sends the request and hands every message's type and payload to `each` until the dump is over.
pub(in crate::dataplane) fn dump(request: &Request<'_>, each: Each<'_>) -> Result<(), Error> {
    let call = |what: &'static str| move |source: Errno| Error::Call { what, source };
    let fd = open(request.protocol).map_err(call("open a socket"))?;
    // Connected to port 0, a netlink socket takes messages from the kernel only.
    connect(fd.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(call("connect"))?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(5, 0)).map_err(call("set a timeout"))?;

    let sequence = 1;
    let message = message(request.kind, (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16, sequence, request.body);
    send(fd.as_raw_fd(), &message, MsgFlags::empty()).map_err(call("send a request"))?;

    let limit = |what| Error::Limit { table: request.table, what };
    let mut buffer = vec![0; BUFFER];
    let started = Instant::now();
    loop {
        if started.elapsed() > DEADLINE {
            return Err(limit("no end within 30 s"));
        }
        let length = match recv(fd.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
            Ok(length) => length,
            Err(Errno::EINTR) => continue,
            Err(Errno::EAGAIN) => return Err(limit("no answer within 5 s")),
            Err(source) => {
                return Err(Error::Call { what: "read a reply", source });
            }
        };
        let received = buffer.get(..length).ok_or_else(|| limit("a reply larger than the buffer"))?;
        if messages(received, sequence, request, each)? == Progress::Done {
            return Ok(());
        }
    }
}

/// A netlink socket of this family (`NETLINK_*`); the wrapper we use does not know all of them.
pub(in crate::dataplane) fn open(protocol: libc::c_int) -> Result<OwnedFd, Errno> {
    // SAFETY: plain socket creation.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel just returned this descriptor to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Walks the messages of one read.
pub(in crate::dataplane) fn messages(
    mut rest: &[u8],
    sequence: u32,
    request: &Request<'_>,
    each: Each<'_>,
) -> Result<Progress, Error> {
    let malformed = |what| Error::Malformed { table: request.table, what };
    while !rest.is_empty() {
        let length = u32_native(rest, 0).ok_or_else(|| malformed("a header cut short"))? as usize;
        let kind = u16_native(rest, 4).ok_or_else(|| malformed("a header cut short"))?;
        let number = u32_native(rest, 8).ok_or_else(|| malformed("a header cut short"))?;
        let payload = rest.get(HEADER..length).ok_or_else(|| malformed("a message longer than its buffer"))?;
        rest = rest.get(align(length)..).unwrap_or_default();
        if number != sequence {
            continue;
        }
        match i32::from(kind) {
            libc::NLMSG_NOOP => {}
            libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                let code = u32_native(payload, 0).unwrap_or_default().cast_signed();
                if code != 0 {
                    let source = Errno::from_raw(code.saturating_neg());
                    return Err(Error::Refused { table: request.table, module: request.module, source });
                }
                return Ok(Progress::Done);
            }
            libc::NLMSG_OVERRUN => return Err(malformed("an overrun")),
            _ => each(kind, payload)?,
        }
    }
    Ok(Progress::More)
}

/// A message with its header.
pub(in crate::dataplane) fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = HEADER + body.len();
    let mut message = Vec::with_capacity(length);
    message.extend_from_slice(&(length as u32).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&0u32.to_ne_bytes());
    message.extend_from_slice(body);
    message
}

/// The attributes in a buffer: (type without its flag bits, payload). Ends quietly at the first that does not fit.
pub(in crate::dataplane) fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_native(rest, 0)?);
        let kind = u16_native(rest, 2)? & libc::NLA_TYPE_MASK as u16;
        let payload = rest.get(4..length)?;
        rest = rest.get(align(length)..).unwrap_or_default();
        Some((kind, payload))
    })
}

/// The first attribute of this type.
pub(in crate::dataplane) fn attribute(buffer: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(buffer).find(|(kind, _)| *kind == wanted).map(|(_, payload)| payload)
}

/// The `N` bytes at `at`.
pub(in crate::dataplane) fn bytes<const N: usize>(buffer: &[u8], at: usize) -> Option<[u8; N]> {
    buffer.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// A 16-bit number in network order.
pub(in crate::dataplane) fn u16_net(buffer: &[u8], at: usize) -> Option<u16> {
    bytes(buffer, at).map(u16::from_be_bytes)
}

/// A 32-bit number in network order.
pub(in crate::dataplane) fn u32_net(buffer: &[u8], at: usize) -> Option<u32> {
    bytes(buffer, at).map(u32::from_be_bytes)
}

/// A 32-bit number in the machine's order.
pub(in crate::dataplane) fn u32_native(buffer: &[u8], at: usize) -> Option<u32> {
    bytes(buffer, at).map(u32::from_ne_bytes)
}

/// A 16-bit number in the machine's order.
pub(in crate::dataplane) fn u16_native(buffer: &[u8], at: usize) -> Option<u16> {
    bytes(buffer, at).map(u16::from_ne_bytes)
}

/// Netlink pads messages and attributes to 4 bytes.
const fn align(length: usize) -> usize {
    (length + 3) & !3
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const REQUEST: Request<'static> =
        Request { protocol: libc::NETLINK_NETFILTER, kind: 0, body: &[], table: "tests", module: "none" };

    fn walk(buffer: &[u8]) -> (Result<Progress, Error>, Vec<Vec<u8>>) {
        let mut seen = Vec::new();
        let result = messages(buffer, 7, &REQUEST, &mut |_, payload| {
            seen.push(payload.to_vec());
            Ok(())
        });
        (result, seen)
    }

    #[test]
    fn messages_of_another_sequence_are_passed_over() {
        let mut buffer = message(0x100, 0, 7, &[1, 2, 3, 4]);
        buffer.extend(message(0x100, 0, 8, &[9; 4]));
        buffer.extend(message(0x100, 0, 7, &[5; 8]));
        let (result, seen) = walk(&buffer);
        assert_eq!(result.unwrap(), Progress::More);
        assert_eq!(seen, [vec![1, 2, 3, 4], vec![5; 8]]);
    }

    #[test]
    fn a_dump_ends_with_done_and_an_error_is_told() {
        let done = message(libc::NLMSG_DONE as u16, 0, 7, &0i32.to_ne_bytes());
        assert_eq!(walk(&done).0.unwrap(), Progress::Done);
        let refused = message(libc::NLMSG_ERROR as u16, 0, 7, &(-libc::EOPNOTSUPP).to_ne_bytes());
        let error = walk(&refused).0.unwrap_err();
        assert!(matches!(error, Error::Refused { source: Errno::EOPNOTSUPP, .. }), "{error}");
        assert!(error.is_unavailable());
        let lowest = message(libc::NLMSG_ERROR as u16, 0, 7, &i32::MIN.to_ne_bytes());
        assert!(walk(&lowest).0.is_err());
    }

    #[test]
    fn lengths_that_lie_are_errors() {
        let good = message(0x100, 0, 7, &[0; 12]);
        for cut in 1..good.len() {
            assert!(matches!(walk(&good[..cut]).0, Err(Error::Malformed { .. })), "cut at {cut}");
        }
        for length in [0u32, 1, 15, 29, u32::MAX] {
            let mut bad = good.clone();
            bad[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(matches!(walk(&bad).0, Err(Error::Malformed { .. })), "length {length}");
        }
    }

    #[test]
    fn attributes_end_at_the_first_that_lies() {
        let buffer = [5u8, 0, 1, 0x80, 0xaa, 0, 0, 0, 4, 0, 2, 0, 3, 0, 9, 0];
        let found: Vec<_> = attributes(&buffer).collect();
        assert_eq!(found, [(1, &[0xaau8][..]), (2, &[][..])]);
        assert_eq!(attribute(&buffer, 9), None);
    }
}
