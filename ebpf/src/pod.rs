//! The shared layouts as plain data for the agent's map handles.

use aya::Pod;

use crate::{
    abi::{
        Active, AddrEntry, Budget, Counter, CutWord, DeviceEntry, Event, FragEntry, FragKey, GenConfig, HostPaceSet,
        IfaceEntry, LimitEntry, MacEntry, MacKey, ManagementEntry, NetEntry, OverlayEntry, Place, PortKey,
        PrivateContext, Quarantine, Refused, RuleCounter, RuleEntry, RuleSet, Schedule, SeatSet, Settings, Stage, View,
        ViewKey, ViewKey4,
    },
    classify::Line,
    detect::abi::{Detection, ExemptKey, Host, HostKey, Kept, Threshold, Wanted, Watched},
};

macro_rules! plain {
    ($($name:ty),* $(,)?) => { $(
        // SAFETY: `repr(C)`, integers only, no padding (asserted in `abi`'s tests): any bytes are a valid value.
        unsafe impl Pod for $name {}
    )* };
}

plain!(
    Active,
    AddrEntry,
    Budget,
    Counter,
    CutWord,
    DeviceEntry,
    Event,
    ExemptKey,
    FragEntry,
    FragKey,
    GenConfig,
    HostPaceSet,
    IfaceEntry,
    LimitEntry,
    Line,
    MacEntry,
    MacKey,
    ManagementEntry,
    NetEntry,
    OverlayEntry,
    SeatSet,
    Place,
    PortKey,
    Quarantine,
    Refused,
    RuleCounter,
    RuleEntry,
    RuleSet,
    Schedule,
    Settings,
    Stage,
    View,
    ViewKey,
    ViewKey4,
    PrivateContext,
    Detection,
    Host,
    HostKey,
    Kept,
    Threshold,
    Wanted,
    Watched,
);
