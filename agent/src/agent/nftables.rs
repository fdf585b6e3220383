//! Somebody else's nftables changes: a flush of the whole ruleset takes our guard with it, and it must not stay down.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
};

use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use tokio::sync::mpsc;

/// `NFNLGRP_NFTABLES`, `include/uapi/linux/netfilter/nfnetlink.h`.
const NFNLGRP_NFTABLES: u32 = 7;

/// A message for every change of the ruleset in this network namespace; bursts come as one.
pub(super) fn watch() -> io::Result<mpsc::Receiver<()>> {
    let socket = open()?;
    let (sender, receiver) = mpsc::channel(1);
    thread::Builder::new().name("nftables".into()).spawn(move || {
        let mut buffer = [0u8; 8192];
        loop {
            // What changed does not matter, and an overrun (ENOBUFS) is a change like any other.
            if let Err(error) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())
                && !matches!(error, nix::errno::Errno::ENOBUFS | nix::errno::Errno::EINTR)
            {
                tracing::error!(%error, "nftables is no longer watched; the guard is looked over every minute");
                return;
            }
            if let Err(mpsc::error::TrySendError::Closed(())) = sender.try_send(()) {
                return;
            }
        }
    })?;
    Ok(receiver)
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1 << (NFNLGRP_NFTABLES - 1)))?;
    Ok(socket)
}
