//! Somebody else's nftables changes: a flush of the whole ruleset takes our guard with it, and it must not stay down.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket},
};
use tokio::sync::mpsc;

/// `NFNLGRP_NFTABLES`, `include/uapi/linux/netfilter/nfnetlink.h`.
const NFNLGRP_NFTABLES: u32 = 7;

/// `struct nlmsghdr` and `struct nfgenmsg`.
const HEADERS: usize = 16 + 4;
/// `NFT_MSG_NEWSETELEM`, `NFT_MSG_DELSETELEM`, `NFT_MSG_NEWGEN`, `NFT_MSG_DESTROYSETELEM`: no rule comes or goes.
const NO_RULE: [u8; 4] = [12, 14, 15, 30];

/// Changes of the ruleset in this network namespace; bursts come as one.
pub(super) struct Changes {
    /// Of any table, ours among them.
    pub(super) any: mpsc::Receiver<()>,
    /// Of somebody else's rules.
    pub(super) foreign: mpsc::Receiver<()>,
}

/// Whether a read's messages tell of anything beside the table `own` and the elements of sets. What cannot be read does.
fn foreign(mut rest: &[u8], own: &str) -> bool {
    while !rest.is_empty() {
        let Some(length) = rest.first_chunk().map(|bytes: &[u8; 4]| u32::from_ne_bytes(*bytes) as usize) else {
            return true;
        };
        let Some(message) = rest.get(..length).filter(|_| length >= HEADERS) else { return true };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        if NO_RULE.contains(&message[4]) {
            continue;
        }
        // Attribute 1 is the table's name in every kind of object.
        let name = message.get(HEADERS..HEADERS + 4).filter(|head| head[2..4] == [1, 0]).and_then(|head| {
            let end = HEADERS + usize::from(u16::from_ne_bytes([head[0], head[1]]));
            message.get(HEADERS + 4..end)
        });
        if name.and_then(|name| name.strip_suffix(&[0])) != Some(own.as_bytes()) {
            return true;
        }
    }
    false
}

/// See [`Changes`]; `own` is the table that is ours.
pub(super) fn watch(own: String) -> io::Result<Changes> {
    let socket = open()?;
    let (sender, receiver) = mpsc::channel(1);
    let (sender_foreign, receiver_foreign) = mpsc::channel(1);
    thread::Builder::new().name("nftables".into()).spawn(move || {
        let mut buffer = [0u8; 8192];
        loop {
            let others = match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
                Ok(length) => buffer.get(..length).is_none_or(|received| foreign(received, &own)),
                // What was lost in an overrun may be anything.
                Err(Errno::ENOBUFS) => true,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    tracing::error!(%error, "nftables is no longer watched; the guard is looked over every minute");
                    return;
                }
            };
            // Whoever listens to the one listens to the other.
            if others {
                let _ = sender_foreign.try_send(());
            }
            if let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                return;
            }
        }
    })?;
    Ok(Changes { any: receiver, foreign: receiver_foreign })
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1 << (NFNLGRP_NFTABLES - 1)))?;
    Ok(socket)
}
