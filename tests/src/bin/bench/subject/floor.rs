//! The floors, and the kernel without any filter.

use anyhow::Result;

use super::Subject;
use crate::{
    gateway::{Gateway, LAN, WAN},
    lists::List,
    ruler::Ruler,
    traffic::{Fate, Kind},
};

/// One of the two smallest programs.
#[derive(Debug)]
pub(crate) struct Floor {
    gateway: Gateway,
    fate: Fate,
}

impl Floor {
    /// Attaches it.
    pub(crate) fn new(gateway: Gateway, fate: Fate, ruler: &mut Ruler) -> Result<Self> {
        match fate {
            Fate::Drop => ruler.floor("ruler_drop", &gateway, WAN)?,
            Fate::Forward => {
                for interface in [LAN, WAN] {
                    ruler.floor("ruler_forward", &gateway, interface)?;
                }
            }
        }
        Ok(Self { gateway, fate })
    }
}

impl Subject for Floor {
    fn name(&self) -> &'static str {
        match self.fate {
            Fate::Drop => "xdp-drop",
            Fate::Forward => "xdp-fwd",
        }
    }
    fn gateway(&self) -> &Gateway {
        &self.gateway
    }
    fn load(&mut self, _list: &List, _ruler: &mut Ruler) -> Result<()> {
        Ok(())
    }
    fn takes(&self, kind: Kind) -> bool {
        kind.fate == self.fate && (kind.fate == Fate::Drop || !kind.tagged)
    }
    fn has_flows(&self) -> bool {
        false
    }
}

/// Plain forwarding: no table, no conntrack, no program.
#[derive(Debug)]
pub(crate) struct Plain(pub(crate) Gateway);

impl Subject for Plain {
    fn name(&self) -> &'static str {
        "kernel"
    }
    fn gateway(&self) -> &Gateway {
        &self.0
    }
    fn load(&mut self, _list: &List, _ruler: &mut Ruler) -> Result<()> {
        Ok(())
    }
    fn takes(&self, kind: Kind) -> bool {
        // There is no VLAN device to route by, and fragments without a first are forwarded as they are.
        !kind.tagged
    }
    fn has_flows(&self) -> bool {
        false
    }
    fn forwards_everything(&self) -> bool {
        true
    }
}
