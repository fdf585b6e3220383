//! Where the parts of a [`Policy`](super::model::Policy) were written, for lints and reports.

use std::path::PathBuf;

use super::diagnostic::Span;

/// Positions by the policy's own indexes.
#[derive(Debug, Clone, Default)]
pub struct Spans {
    /// Files by [`Span::file`].
    pub files: Vec<PathBuf>,
    /// `box:`, if there is one.
    pub box_at: Span,
    /// By [`super::model::Policy::box_addresses`].
    pub box_addresses: Vec<Span>,
    /// By [`super::model::NetIndex`].
    pub nets: Vec<NetSpans>,
    /// By [`super::model::DeviceIndex`].
    pub devices: Vec<DeviceSpans>,
    /// By [`super::model::HoursIndex`].
    pub hours: Vec<Declared>,
    /// By [`super::model::Policy::rules`].
    pub rules: Vec<RuleSpans>,
    /// Groups in document order.
    pub groups: Vec<Declared>,
    /// Services in document order.
    pub services: Vec<Declared>,
    /// `detection:`, if there is one.
    pub detection: DetectionSpans,
    /// The paths of [`super::model::Policy::threat_lists`].
    pub threat_lists: Vec<Span>,
}

/// Positions in what is watched for.
#[derive(Debug, Clone, Default)]
pub struct DetectionSpans {
    /// By [`super::model::Detection::traps`].
    pub traps: Vec<Span>,
    /// `guard:`, if there is one.
    pub guard: Option<Span>,
    /// The first place that puts hosts in quarantine.
    pub quarantine: Option<Span>,
    /// By [`super::model::Detection::exemptions`].
    pub exemptions: Vec<ExemptionSpans>,
}

/// Positions in an exemption.
#[derive(Debug, Clone, Default)]
pub struct ExemptionSpans {
    /// Its end.
    pub until: Span,
    /// By [`super::model::Exemption::addresses`].
    pub addresses: Vec<Span>,
}

/// Something with a name that may be referred to.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Where it is defined.
    pub at: Span,
    /// Something refers to it.
    pub used: bool,
}

/// Positions in a zone or network.
#[derive(Debug, Clone, Default)]
pub struct NetSpans {
    /// Its name.
    pub name: Span,
    /// By [`super::model::Net::prefixes`].
    pub prefixes: Vec<Span>,
    /// The word `default`, if it is there.
    pub default: Option<Span>,
    /// The date of the survey.
    pub survey: Option<Span>,
}

/// Positions in a device.
#[derive(Debug, Clone, Default)]
pub struct DeviceSpans {
    /// Its name.
    pub name: Span,
    /// Its end.
    pub until: Option<Span>,
}

/// Positions in a rule or published server.
#[derive(Debug, Clone, Default)]
pub struct RuleSpans {
    /// Its id.
    pub id: Span,
    /// One end.
    pub from: PartySpans,
    /// The other.
    pub to: PartySpans,
    /// The first service.
    pub services: Span,
    /// Its end.
    pub until: Option<Span>,
}

/// Positions in one end of a rule.
#[derive(Debug, Clone, Default)]
pub struct PartySpans {
    /// Where it begins.
    pub at: Span,
    /// Addresses written in place: position, text, and the prefixes they stand for.
    pub addresses: Vec<(Span, String, Vec<ipnet::IpNet>)>,
}
