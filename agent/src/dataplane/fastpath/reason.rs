//! Why a packet may not be forwarded by the way in.

/// Which part of the fast path an objection forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Packets that come in here.
    In,
    /// Packets that would leave here.
    Out,
    /// Either.
    Both,
}

impl Way {
    /// Whether packets that come in are concerned.
    pub fn forbids_in(self) -> bool {
        self != Self::Out
    }

    /// Whether packets that would leave are concerned.
    pub fn forbids_out(self) -> bool {
        self != Self::In
    }

    /// As in JSON.
    pub fn code(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        }
    }
}

macro_rules! reasons {
    ($( #[doc = $doc:literal] $name:ident $code:literal; )*) => {
        /// One reason. What it is about (a rule, a device) stands beside it, in [`Objection`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason { $( #[doc = $doc] $name, )* }

        impl Reason {
            /// Stable, for JSON.
            pub fn code(self) -> &'static str {
                match self { $( Self::$name => $code, )* }
            }

            /// Every one.
            pub const ALL: &[Self] = &[ $( Self::$name, )* ];
        }
    };
}

reasons! {
    /// Switched off in the agent's configuration, for all or for this interface.
    Configured "configured_off";
    /// The interface does not exist, or our programs are not on all its hooks.
    NotAttached "not_attached";
    /// XDP runs in generic mode there.
    GenericXdp "generic_xdp";
    /// The driver does not forward frames out of XDP.
    NoRedirect "no_redirect";
    /// The driver does not send frames that XDP forwards to it; a veth does only if its peer has XDP or GRO.
    NoTransmit "no_transmit";
    /// Address translation of somebody else's would be missed.
    Nat "nat";
    /// A netfilter rule of somebody else's would be missed.
    Netfilter "netfilter";
    /// A table of the old iptables is loaded, and what is in it cannot be seen.
    LegacyTables "legacy_iptables";
    /// A tc filter or another BPF program would be missed.
    TrafficControl "tc";
    /// A queueing discipline that shapes would be missed.
    Shaping "shaping";
    /// A routing rule that needs more than addresses.
    RoutingRule "routing_rule";
    /// IPsec policies would be missed.
    Ipsec "ipsec";
    /// The kernel does not forward here.
    NotForwarding "forwarding_off";
    /// The bridge speaks spanning tree.
    BridgeStp "bridge_stp";
    /// The bridge filters VLANs.
    BridgeVlans "bridge_vlan_filtering";
    /// The bridge port has a setting of its own (hairpin, isolated, locked, no learning, proxy).
    BridgePort "bridge_port";
    /// A device stands on it that would miss its packets, or take them another way.
    UpperDevice "upper_device";
    /// A kind of device that is not understood.
    DeviceKind "device_kind";
    /// The kernel did not tell all that must be known.
    Unknown "unknown";
    /// All is well, but not for long enough.
    Settling "settling";
}

/// A reason, what it is about, and what it forbids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Objection {
    /// Why.
    pub reason: Reason,
    /// About what: `nft ip nat out`, `tbf`, `macvlan0 (macvlan)`; empty where the reason says it all.
    pub about: String,
    /// What it forbids.
    pub way: Way,
}

impl Objection {
    /// One that is about something.
    pub fn new(reason: Reason, about: impl Into<String>, way: Way) -> Self {
        Self { reason, about: about.into(), way }
    }
}
