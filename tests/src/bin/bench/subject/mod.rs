//! What is measured: one gateway each, all of them loaded at once.

mod floor;
mod ipset;
mod nft;
mod sekimori;
mod xdp_filter;

use anyhow::Result;

pub(crate) use self::{
    floor::{Floor, Plain},
    ipset::Ipset,
    nft::{Nft, NftHook},
    sekimori::{Policy, Sekimori},
    xdp_filter::XdpFilter,
};
use crate::{gateway::Gateway, lists::List, ruler::Ruler, traffic::Kind};

/// A filter on a gateway of its own.
pub(crate) trait Subject {
    /// As printed and reported.
    fn name(&self) -> &'static str;
    /// Its gateway.
    fn gateway(&self) -> &Gateway;
    /// Puts a list in force.
    fn load(&mut self, list: &List, ruler: &mut Ruler) -> Result<()>;
    /// Whether a cell applies to it.
    fn takes(&self, kind: Kind) -> bool;
    /// Whether packets need flows opened before them.
    fn has_flows(&self) -> bool;
    /// Forgets flows that first packets opened, if they would pile up.
    fn forget(&mut self) -> Result<()> {
        Ok(())
    }
    /// Whether it forwards what it should drop, and is measured for its cost alone.
    fn forwards_everything(&self) -> bool {
        false
    }
}
