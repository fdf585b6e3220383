//! The detectors' tables, as a trait: BPF maps in the kernel, plain memory in tests. Pointers as in [`Tables`].

use super::{
    Sight,
    abi::{Host, HostKey, Reach, Watched},
    host,
};
use crate::{
    packet::Packet,
    tables::{Addr, Tables},
};

/// See the module.
pub trait Watch: Tables {
    /// What is watched for in this zone.
    fn watched(&self, generation: u32, net: u16) -> *const Watched;
    /// The host's state, from either room.
    fn host(&self, key: &HostKey) -> *mut Host;
    /// A new state among those that were never answered, at the oldest one's expense; null if there is no room.
    fn host_new(&self, key: &HostKey) -> *mut Host;
    /// Moves a state among those that were answered; where it is now.
    fn host_proven(&self, key: &HostKey, host: *mut Host) -> *mut Host;
    /// What a zone's hosts see of the lines to others.
    fn reach(&self, net: u16) -> *mut Reach;
    /// A pace kept by pair, destination or service, by hash.
    fn pair(&self, hash: u64) -> *mut u64;
    /// The number, never 0, of the threat list that holds this address; 0 for none.
    fn threat(&self, addr: &Addr) -> u32;
    /// Whether nobody uses this address, so that whoever tries it is up to something.
    fn trap(&self, addr: &Addr) -> bool;
    /// A bit for each detector that this address or MAC is exempt from.
    fn exempt(&self, generation: u32, key: &Addr) -> u64;
    /// [`host::whose`]; a hook like [`Tables::judge`].
    #[inline(always)]
    fn whose(&self, packet: &Packet, sight: &mut Sight, reason: u32) -> u32
    where
        Self: Sized,
    {
        host::whose(self, packet, sight, reason)
    }
    /// [`host::newcomer`]; likewise.
    #[inline(always)]
    fn newcomer(&self, packet: &Packet, sight: &mut Sight, whose: u32)
    where
        Self: Sized,
    {
        host::newcomer(self, packet, sight, whose);
    }
    /// [`look`](super::look); likewise.
    #[inline(always)]
    fn look(&self, packet: &Packet, sight: &mut Sight, reason: u32) -> u32
    where
        Self: Sized,
    {
        super::look(self, packet, sight, reason)
    }
}
