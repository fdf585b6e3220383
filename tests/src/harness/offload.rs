//! Checksum and segmentation offloads of an interface.

use std::os::fd::AsRawFd as _;

use anyhow::{Context as _, Result, bail};

use super::netns::Ns;

// linux/ethtool.h: commands that take one value, and structs of that value.
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_SGRO: u32 = 0x2c;

#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// Turns tx checksums, TSO, GSO and GRO on or off, as `ethtool -K NAME tx tso gso gro` would.
pub fn set(ns: &Ns, name: &str, on: bool) -> Result<()> {
    // Segmentation needs checksums: the order that never asks for one without the other.
    let mut commands = [ETHTOOL_SGRO, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_STXCSUM];
    if on {
        commands.reverse();
    }
    ns.run(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        for cmd in commands {
            apply(&socket, name, EthtoolValue { cmd, data: u32::from(on) })
                .with_context(|| format!("ethtool command {cmd:#x} on {name}"))?;
        }
        Ok(())
    })
    .with_context(|| format!("in {}", ns.name()))
}

fn apply(socket: &std::net::UdpSocket, name: &str, mut value: EthtoolValue) -> Result<()> {
    // SAFETY: `ifreq` is plain old data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        bail!("{name} is too long for an interface name");
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request names an `EthtoolValue` that outlives the call, which is what these commands read and write.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        let error = std::io::Error::last_os_error();
        // A veth whose peer has a native XDP program has no segmentation any more, and nothing to turn off.
        if value.data == 0 && error.raw_os_error() == Some(libc::EOPNOTSUPP) {
            return Ok(());
        }
        return Err(error.into());
    }
    Ok(())
}

/// Turns the computing of transport checksums by the sender alone on or off. With it on, a veth hands over packets whose
/// checksum the "hardware" would still have to finish.
pub fn checksums(ns: &Ns, name: &str, finished_by_sender: bool) -> Result<()> {
    ns.run(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        apply(&socket, name, EthtoolValue { cmd: ETHTOOL_STXCSUM, data: u32::from(!finished_by_sender) })
    })
    .with_context(|| format!("transmit checksums of {name} in {}", ns.name()))
}

/// Turns generic receive offload alone on or off. A veth takes frames that XDP forwards to it only while its peer has it
/// on, or an XDP program of its own.
pub fn gro(ns: &Ns, name: &str, on: bool) -> Result<()> {
    ns.run(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
        apply(&socket, name, EthtoolValue { cmd: ETHTOOL_SGRO, data: u32::from(on) })
    })
    .with_context(|| format!("receive offload of {name} in {}", ns.name()))
}
