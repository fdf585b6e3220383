//! Changes of the kernel's state on which the fast path rests, beside links and nftables: traffic control, routing
//! rules, addresses, forwarding, IPsec policies, what drivers can do in XDP.

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::socket::{MsgFlags, NetlinkAddr, bind, recv},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
};

use crate::dataplane::fastpath;

/// `RTNLGRP_TC`, `_IPV4_IFADDR`, `_IPV4_RULE`, `_IPV6_IFADDR`, `_IPV6_RULE`, `_IPV4_NETCONF`, `_IPV6_NETCONF`,
/// `include/uapi/linux/rtnetlink.h`.
const ROUTE: [u32; 7] = [4, 5, 8, 9, 19, 24, 25];
/// `XFRMNLGRP_POLICY`, `include/uapi/linux/xfrm.h`.
const IPSEC: [u32; 1] = [4];

/// A message for every change; bursts come as one.
pub(super) fn watch() -> io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(1);
    follow(libc::NETLINK_ROUTE, &ROUTE, &sender)?;
    // Kernels without IPsec have nothing to tell.
    if let Err(error) = follow(libc::NETLINK_XFRM, &IPSEC, &sender) {
        tracing::debug!(%error, "changes of IPsec policies are noticed every ten seconds only");
    }
    let group = fastpath::generic("netdev", "mgmt").ok().and_then(|(_, group)| group);
    let features = group.map(|group| follow(libc::NETLINK_GENERIC, &[group], &sender));
    if let Some(Err(error)) = features {
        tracing::debug!(%error, "changes of what drivers can do are noticed every ten seconds only");
    }
    Ok(receiver)
}

fn follow(protocol: libc::c_int, groups: &[u32], sender: &mpsc::Sender<()>) -> io::Result<()> {
    let socket = open(protocol, groups)?;
    // SAFETY: an `OwnedFd` stays open, and the same, until the registration that owns it ends.
    let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(io::Error::from)?;
    let sender = sender.clone();
    tokio::spawn(async move {
        loop {
            let Ok(mut ready) = socket.readable().await else { return };
            ready.clear_ready();
            drop(ready);
            if drain(&socket) && matches!(sender.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                return;
            }
        }
    });
    Ok(())
}

/// Whether anything was there. What changed does not matter, and an overrun is a change like any other.
fn drain(socket: &AsyncFd<OwnedFd>) -> bool {
    let mut buffer = [0u8; 4096];
    let mut any = false;
    loop {
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(_) | Err(Errno::ENOBUFS) => any = true,
            Err(Errno::EINTR) => {}
            Err(_) => return any,
        }
    }
}

fn open(protocol: libc::c_int, groups: &[u32]) -> io::Result<OwnedFd> {
    let flags = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain socket creation.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, flags, protocol) };
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel just returned this descriptor to us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    for group in groups {
        let length = u32::try_from(size_of::<u32>()).map_err(io::Error::other)?;
        // SAFETY: the option reads one number, which lives through the call.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_ADD_MEMBERSHIP,
                std::ptr::from_ref(group).cast(),
                length,
            )
        };
        Errno::result(result)?;
    }
    Ok(socket)
}
