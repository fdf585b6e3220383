//! Detectors: their names, what they do, from where on, and who is exempt.

use sekimori_ebpf::{
    abi::MAX_QUARANTINES,
    detect::abi::{self, Detector},
};
use serde_json::{Map, Value as Json, json};

use super::{
    super::{
        decode::{At, Decode, Definitions, Leaf, Wrong, bad_word, entries, field, keywords, object},
        detectors::{Known, known},
        diagnostic::{Sink, Text},
        model::{Limit, Measure},
        problem::Problem,
        yaml::{Entry, Node, Value},
    },
    FewHosts, Lasting, Name, Rate, bad, digits,
};

keywords!(Measure, "action" {
    "off" => Measure::Off, "observe" => Measure::Observe, "alert" => Measure::Alert,
    "throttle" => Measure::Throttle, "block" => Measure::Block, "quarantine" => Measure::Quarantine,
});

impl Measure {
    /// The policy's word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Alert => "alert",
            Self::Throttle => "throttle",
            Self::Block => "block",
            Self::Quarantine => "quarantine",
        }
    }
}

/// What detectors are told to do, each at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detectors(pub Vec<(Detector, Written)>);

/// What one of them is told; what is not given stays as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What to do.
    pub action: Option<At<Measure>>,
    /// For how long.
    pub lasting: Option<At<Lasting>>,
    /// From where on; of the kind that the detector has.
    pub limit: Option<At<Limit>>,
}

impl Decode for Detectors {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        let names: Vec<&str> = abi::ALL.iter().map(|detector| detector.code()).collect();
        let given = entries(node, "detectors", &names, sink)?;
        let told = given.iter().filter_map(|entry| {
            let detector = Detector::from_code(&entry.key)?;
            Some((detector, Written::decode(detector, entry, sink)?))
        });
        Some(Self(told.collect()))
    }

    fn schema(definitions: &mut Definitions) -> Json {
        if !definitions.contains_key("Detectors") {
            let fields = abi::ALL.iter().map(|detector| {
                let known = known(*detector);
                let text = format!("{}; if nothing is said: {}", detector.en(), known.written());
                (detector.code(), text, false, schema(&known))
            });
            let fields = fields.collect();
            definitions.insert("Detectors".to_owned(), object("What detectors do, by name.", fields));
        }
        json!({ "$ref": "#/$defs/Detectors" })
    }
}

fn schema(known: &Known) -> Json {
    let words: Vec<&str> = known.measures.iter().map(|measure| measure.word()).collect();
    let mut fields = Map::new();
    fields.insert("action".into(), json!({ "enum": words }));
    fields.insert("for".into(), Lasting::schema());
    if known.adjustable {
        let limit = match known.limit {
            Limit::Rate(_) => Rate::schema(),
            _ => json!({"type": "integer", "minimum": 1, "maximum": known.most()}),
        };
        fields.insert("limit".into(), limit);
    }
    json!({"anyOf": [
        { "enum": words },
        { "type": "object", "properties": fields, "additionalProperties": false },
    ]})
}

impl Written {
    fn decode(detector: Detector, entry: &Entry, sink: &mut Sink) -> Option<Self> {
        let (node, label, known) = (&entry.value, detector.code(), known(detector));
        if node.value == Value::Null {
            sink.report(entry.at, &Problem::EmptyValue).text(label);
            return None;
        }
        if !matches!(node.value, Value::Map(_)) {
            let action = At::<Measure>::decode(node, sink).filter(|action| allowed(&known, label, action, sink))?;
            return Some(Self { action: Some(action), lasting: None, limit: None });
        }
        let fields: &[&str] = if known.adjustable { &["action", "for", "limit"] } else { &["action", "for"] };
        let given = entries(node, label, fields, sink)?;
        let action = field::<Option<At<Measure>>>(node.at, given, "action", label, sink).flatten();
        let action = action.filter(|action| allowed(&known, label, action, sink));
        let lasting = field::<Option<At<Lasting>>>(node.at, given, "for", label, sink).flatten();
        let limit = match given.iter().find(|entry| entry.key == "limit").filter(|_| known.adjustable) {
            Some(entry) if entry.value.value == Value::Null => {
                sink.report(entry.at, &Problem::EmptyValue).text("limit");
                None
            }
            Some(entry) => limit(&known, &entry.value, sink),
            None => None,
        };
        if let (Some(action), Some(lasting)) = (&action, &lasting)
            && !matches!(action.value, Measure::Block | Measure::Quarantine)
        {
            let other = format!("action: {}", action.value.word());
            sink.report(lasting.at, &Problem::Conflict { one: "for".into(), other });
        }
        Some(Self { action, lasting, limit })
    }
}

/// Whether this detector can be told that.
fn allowed(known: &Known, label: &str, action: &At<Measure>, sink: &mut Sink) -> bool {
    let allowed = known.measures.contains(&action.value);
    if !allowed {
        let found = action.value.word();
        let words: Vec<&str> = known.measures.iter().map(|measure| measure.word()).collect();
        let problem = Problem::BadWord { found: found.to_owned(), what: format!("action of {label}") };
        sink.report(action.at, &problem).text(found).expected(Text::same(words.join(" | ")));
    }
    allowed
}

/// Of the kind that this detector has.
fn limit(known: &Known, node: &Node, sink: &mut Sink) -> Option<At<Limit>> {
    if matches!(known.limit, Limit::Rate(_)) {
        return At::<Rate>::decode(node, sink).map(|rate| At { at: rate.at, value: Limit::Rate(rate.value.0) });
    }
    let most = known.most();
    let expected = Text::new(format!("a number from 1 to {most}"), format!("1〜{most}の数"));
    let Value::Scalar { text, .. } = &node.value else {
        super::super::decode::wrong_type(node, &expected, sink);
        return None;
    };
    let Some(number) = digits::<u32>(text).filter(|number| (1..=most).contains(number)) else {
        sink.report(node.at, &bad(text, "limit").problem).text(text).expected(expected);
        return None;
    };
    let value = if matches!(known.limit, Limit::Distinct(_)) { Limit::Distinct(number) } else { Limit::Count(number) };
    Some(At { at: node.at, value })
}

/// The name of a detector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DetectorName(pub Detector);

impl Leaf for DetectorName {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        let names: Vec<&str> = abi::ALL.iter().map(|detector| detector.code()).collect();
        Detector::from_code(text).map(Self).ok_or_else(|| bad_word(text, "detector", &names))
    }
    fn expected() -> Text {
        let names: Vec<&str> = abi::ALL.iter().map(|detector| detector.code()).collect();
        Text::same(names.join(", "))
    }
    fn schema() -> Json {
        let names: Vec<&str> = abi::ALL.iter().map(|detector| detector.code()).collect();
        json!({ "enum": names })
    }
}

/// A registered device by name, or addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostName {
    /// A device.
    Device(Name),
    /// An address, or a small prefix.
    Addresses(FewHosts),
}

impl Leaf for HostName {
    fn parse(text: &str, plain: bool) -> Result<Self, Wrong> {
        // Names have none of these: what was meant are addresses.
        if text.contains(['.', ':', '/']) {
            return FewHosts::parse(text, plain).map(Self::Addresses);
        }
        Name::parse(text, plain).map(Self::Device)
    }
    fn expected() -> Text {
        Text::new(
            "the name of a device, a unicast address, or a prefix of at most 256 addresses",
            "端末の名前、端末のアドレス、または256アドレス以下のプレフィックス",
        )
    }
    fn schema() -> Json {
        json!({"anyOf": [Name::schema(), FewHosts::schema()]})
    }
}

/// A number of hosts in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hosts(pub u32);

impl Leaf for Hosts {
    fn parse(text: &str, _: bool) -> Result<Self, Wrong> {
        let number = digits::<u32>(text).filter(|hosts| (1..=MAX_QUARANTINES).contains(hosts));
        number.map(Self).ok_or_else(|| bad(text, "number of hosts"))
    }
    fn expected() -> Text {
        Text::new(format!("a number from 1 to {MAX_QUARANTINES}"), format!("1〜{MAX_QUARANTINES}の数"))
    }
    fn schema() -> Json {
        json!({"type": "integer", "minimum": 1, "maximum": MAX_QUARANTINES})
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::{
        super::super::{detectors::BLOCK_SECONDS, yaml},
        *,
    };

    /// Every default, written down, reads back as itself.
    #[test]
    fn what_is_built_in_can_be_written() {
        for detector in abi::ALL {
            let known = known(*detector);
            let text = format!("{}: {}", detector.code(), known.written());
            let mut sink = Sink::default();
            let tree = yaml::read(text.as_bytes(), 0, &mut sink);
            let told = Detectors::decode(&tree.root, &mut sink).unwrap().0;
            assert_eq!(sink.errors(), 0, "{text}");
            let [(which, told)] = &told[..] else { unreachable!() };
            assert_eq!((*which, told.action.as_ref().unwrap().value), (*detector, known.action));
            assert!(told.lasting.as_ref().is_none_or(|lasting| lasting.value.0 == BLOCK_SECONDS));
            assert_eq!(told.limit.as_ref().map_or(known.limit, |limit| limit.value), known.limit, "{text}");
        }
    }

    #[test]
    fn one_word_is_an_action_and_what_does_not_fit_is_refused() {
        let errors = |text: &str| {
            let mut sink = Sink::default();
            let tree = yaml::read(text.as_bytes(), 0, &mut sink);
            Detectors::decode(&tree.root, &mut sink);
            sink.finish().iter().map(|found| found.code).collect::<Vec<_>>()
        };
        for good in
            ["smtp_burst: off", "beacon: quarantine", "fan_out: {limit: 2000}", "land: {action: block, for: 1h}"]
        {
            assert_eq!(errors(good), [] as [&str; 0], "{good}");
        }
        for (wrong, code) in [
            ("smtp_burst: no", "E016"),
            ("beacon: block", "E016"),
            ("destination_flood: quarantine", "E016"),
            ("fan_out: {limit: 2001}", "E016"),
            ("fan_out: {limit: 5/s}", "E016"),
            ("udp_flood: {limit: 5}", "E016"),
            ("land: {limit: 5}", "E012"),
            ("udp_fload: off", "E012"),
            ("udp_flood: {action: throttle, for: 1h}", "E023"),
            ("udp_flood:", "E015"),
            ("udp_flood: {limit: }", "E015"),
            ("udp_flood: {limit: [5]}", "E014"),
            ("udp_flood: [off]", "E014"),
        ] {
            assert_eq!(errors(wrong), [code], "{wrong}");
        }
    }
}
