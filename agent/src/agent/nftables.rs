//! Somebody else's nftables changes: a flush of the whole ruleset takes our guard with it, and it must not stay down; and what
//! rules there are decides where the fast path may be.
//!
//! The kernel counts its rulesets' generations, one for each network namespace, and is asked four times a second. It could tell of
//! each change by itself, but as long as anybody listens to that (in whatever namespace: `netlink_has_listeners`), it writes
//! a message of 8 KiB for every element of a set that anybody changes, and keeps all of them until the change is done: 300,000
//! elements took 4.8 GB and twice the time, millions all there is.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, connect, recv, send, setsockopt,
            socket, sockopt,
        },
        time::TimeVal,
    },
};
use tokio::sync::mpsc;

/// How often the kernel is asked.
const EVERY: Duration = Duration::from_millis(250);
/// It answers at once, but for the time of somebody's change.
const PATIENCE: i64 = 60;

/// `NFNL_SUBSYS_NFTABLES`, `include/uapi/linux/netfilter/nfnetlink.h`.
const SUBSYSTEM: u8 = 10;
/// `NFT_MSG_NEWGEN` and `NFT_MSG_GETGEN`, `include/uapi/linux/netfilter/nf_tables.h`.
const NEWGEN: u8 = 15;
const GETGEN: u8 = 16;
/// `NFTA_GEN_ID`.
const GEN_ID: u16 = 1;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 16 + 4;

/// A message for every change of the rulesets of this network namespace, ours among them; several may come as one.
pub(super) fn watch() -> io::Result<mpsc::Receiver<()>> {
    let socket = open()?;
    let mut last = generation(&socket)?;
    let (sender, receiver) = mpsc::channel(1);
    thread::Builder::new().name("nftables".into()).spawn(move || {
        let mut failed = false;
        while !sender.is_closed() {
            thread::sleep(EVERY);
            let now = generation(&socket);
            if let Err(error) = &now
                && !failed
            {
                tracing::error!(%error, "nftables cannot be watched now; the guard is looked over every minute");
            }
            failed = now.is_err();
            if let Some(now) = now.ok().filter(|now| *now != last) {
                last = now;
                // One that waits says it all.
                let _ = sender.try_send(());
            }
        }
    })?;
    Ok(receiver)
}

/// A socket on which the kernel alone answers.
fn open() -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE, 0))?;
    Ok(socket)
}

/// The number of the ruleset in force.
fn generation(socket: &OwnedFd) -> io::Result<u32> {
    let mut ask = [0_u8; HEADERS];
    ask[0] = HEADERS as u8;
    (ask[4], ask[5]) = (GETGEN, SUBSYSTEM);
    // NLM_F_REQUEST.
    ask[6] = 1;
    send(socket.as_raw_fd(), &ask, MsgFlags::empty())?;
    let mut buffer = [0_u8; 8192];
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
            Ok(length) => return read(buffer.get(..length).unwrap_or_default()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What an answer says.
fn read(answer: &[u8]) -> io::Result<u32> {
    let half = |at: usize| answer.get(at..at + 2).map(|two| u16::from_ne_bytes([two[0], two[1]]));
    let kind = half(4).unwrap_or_default();
    if kind == ERROR {
        let code = answer.get(16..20).map_or(0, |four| i32::from_ne_bytes([four[0], four[1], four[2], four[3]]));
        return Err(io::Error::from_raw_os_error(code.saturating_neg()));
    }
    let mut at = HEADERS;
    if kind == u16::from_ne_bytes([NEWGEN, SUBSYSTEM]) {
        while let (Some(length), Some(name)) = (half(at), half(at + 2)) {
            let value = answer.get(at + 4..at + usize::from(length));
            if let (GEN_ID, Some(&[a, b, c, d])) = (name, value) {
                return Ok(u32::from_be_bytes([a, b, c, d]));
            }
            at += usize::from(length).next_multiple_of(4).max(4);
        }
    }
    Err(io::Error::other("the kernel's answer about nftables has no generation"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_and_a_strange_one_is_an_error() {
        let mut answer = vec![0_u8; HEADERS];
        (answer[4], answer[5]) = (NEWGEN, SUBSYSTEM);
        answer.extend([6, 0, 3, 0, b'n', 0, 0, 0, 8, 0, 1, 0, 0, 1, 0, 7]);
        assert_eq!(read(&answer).unwrap(), 0x1_0007);
        for length in 0..answer.len() {
            read(&answer[..length]).unwrap_err();
        }
        answer[20] = 0;
        answer[21] = 0;
        read(&answer).unwrap_err();
        let mut refused = vec![0_u8; 36];
        refused[4] = 2;
        refused[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        assert_eq!(read(&refused).unwrap_err().raw_os_error(), Some(1));
    }
}
