//! Packets made for the purpose, given to the very programs that judge the traffic (`BPF_PROG_TEST_RUN` with a context that
//! names the interface; `net/bpf/test_run.c`). They are judged, counted and sampled like any other; none is sent.

use std::net::IpAddr;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions, Xdp};

use super::error::{Error, While};

/// `XDP_DROP` and `TCX_DROP`.
const DROPPED: [u32; 2] = [1, 2];
/// Bytes of `struct xdp_md` up to and including `egress_ifindex`.
const XDP_MD: usize = 24;
/// Bytes of `struct __sk_buff`, and where `ingress_ifindex` and `ifindex` are in it.
const SK_BUFF: usize = 192;
const INGRESS_IFINDEX: usize = 36;
const IFINDEX: usize = 40;
/// The discard service.
const PORT: u16 = 9;

/// One packet, UDP to the discard port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Kernel index of a guarded interface.
    pub ifindex: u32,
    /// VLAN ids, outer first; 0 for none.
    pub tags: [u16; 2],
    /// Source and destination, of one family.
    pub addresses: (IpAddr, IpAddr),
    /// The MAC beyond the interface.
    pub mac: [u8; 6],
}

impl Probe {
    /// Its length as it is counted.
    pub fn bytes(&self) -> u64 {
        frame(self, self.mac, NOBODY).len() as u64
    }
}

/// A MAC nobody has.
pub const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Whether the way in drops it.
pub fn way_in(program: &mut Xdp, probe: &Probe) -> Result<bool, Error> {
    let frame = frame(probe, probe.mac, NOBODY);
    let mut context = [0; XDP_MD];
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    context[4..8].copy_from_slice(&length.to_ne_bytes());
    context[12..16].copy_from_slice(&probe.ifindex.to_ne_bytes());
    let options = TestRunOptions { data_in: Some(&frame), ctx_in: Some(&context), ..TestRunOptions::new() };
    let run = program.test_run(options).doing("give a probe to the way in")?;
    Ok(run.return_value == DROPPED[0])
}

/// Whether the way out drops it as a packet of the box.
pub fn way_out(program: &mut SchedClassifier, probe: &Probe) -> Result<bool, Error> {
    let frame = frame(probe, NOBODY, probe.mac);
    let mut context = [0; SK_BUFF];
    context[INGRESS_IFINDEX..INGRESS_IFINDEX + 4].copy_from_slice(&0u32.to_ne_bytes());
    context[IFINDEX..IFINDEX + 4].copy_from_slice(&probe.ifindex.to_ne_bytes());
    let options = TestRunOptions { data_in: Some(&frame), ctx_in: Some(&context), ..TestRunOptions::new() };
    let run = program.test_run(options).doing("give a probe to the way out")?;
    Ok(run.return_value == DROPPED[1])
}

fn frame(probe: &Probe, from: [u8; 6], to: [u8; 6]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(96);
    frame.extend(to);
    frame.extend(from);
    for tag in probe.tags.iter().filter(|tag| **tag != 0) {
        frame.extend([0x81, 0x00]);
        frame.extend(tag.to_be_bytes());
    }
    // Source and destination port, length, no checksum (legal in IPv4; in IPv6 nobody receives it).
    let mut udp = [0; 8 + 18];
    udp[..2].copy_from_slice(&PORT.to_be_bytes());
    udp[2..4].copy_from_slice(&PORT.to_be_bytes());
    let length = u16::try_from(udp.len()).unwrap_or(0);
    udp[4..6].copy_from_slice(&length.to_be_bytes());
    match probe.addresses {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut head = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            head[2..4].copy_from_slice(&(20 + length).to_be_bytes());
            head[12..16].copy_from_slice(&src.octets());
            head[16..20].copy_from_slice(&dst.octets());
            let sum = head.chunks_exact(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum::<u32>();
            let sum = (sum & 0xffff) + (sum >> 16);
            let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap_or(0);
            head[10..12].copy_from_slice(&sum.to_be_bytes());
            frame.extend([0x08, 0x00]);
            frame.extend(head);
        }
        (src, dst) => {
            let v6 = |addr: IpAddr| match addr {
                IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
                IpAddr::V6(addr) => addr.octets(),
            };
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([17, 64]);
            frame.extend(v6(src));
            frame.extend(v6(dst));
            udp[6..8].copy_from_slice(&[0xff, 0xff]);
        }
    }
    frame.extend(udp);
    frame
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use etherparse::SlicedPacket;

    use super::*;

    #[test]
    fn a_probe_is_a_whole_packet() {
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse::<IpAddr>().unwrap());
        let others = ["198.51.100.7", "2001:db8:1::7"].map(|text| text.parse::<IpAddr>().unwrap());
        for (src, dst) in addresses.into_iter().zip(others) {
            for tags in [[0, 0], [7, 0], [7, 9]] {
                let probe = Probe { ifindex: 1, tags, addresses: (src, dst), mac: [2, 0, 0, 0, 0, 9] };
                let bytes = frame(&probe, probe.mac, NOBODY);
                let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
                assert_eq!(sliced.vlan_ids().len(), tags.iter().filter(|tag| **tag != 0).count());
                assert!(
                    matches!(sliced.transport, Some(etherparse::TransportSlice::Udp(udp)) if udp.destination_port() == PORT)
                );
                if let Some(etherparse::NetSlice::Ipv4(v4)) = sliced.net {
                    assert_eq!(v4.header().to_header().calc_header_checksum(), v4.header().header_checksum());
                }
            }
        }
    }
}
