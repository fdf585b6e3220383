//! The shared layouts as plain data for the agent's map handles.

use aya::Pod;

use crate::{
    abi::{
        Active, AddrEntry, Counter, CutWord, DeviceEntry, FragEntry, FragKey, GenConfig, IfaceEntry, MacEntry, MacKey,
        ManagementEntry, NetEntry, Place, PortKey, PrivateContext, RuleCounter, RuleEntry, RuleSet, Schedule, Settings,
        View, ViewKey, ViewKey4,
    },
    classify::Line,
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
    Counter,
    CutWord,
    DeviceEntry,
    FragEntry,
    FragKey,
    GenConfig,
    IfaceEntry,
    Line,
    MacEntry,
    MacKey,
    ManagementEntry,
    NetEntry,
    Place,
    PortKey,
    RuleCounter,
    RuleEntry,
    RuleSet,
    Schedule,
    Settings,
    View,
    ViewKey,
    ViewKey4,
    PrivateContext,
);
