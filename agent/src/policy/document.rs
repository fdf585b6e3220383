//! What a policy file says, field by field, with positions. Meaning is `validate`'s business.

use jiff::{civil::Date, tz::TimeZone};
use serde_json::{Value as Json, json};

use super::{
    decode::{At, Decode, Definitions, Named, NonEmpty, OneOrMany, document, wrong_type},
    diagnostic::{Sink, Span, Text},
    model::{DeviceMode, L2Control, Mac},
    problem::Problem,
    words::{
        Addresses, Beyond, Client, Clock, Count, Days, DetectorName, Detectors, FewHosts, Host, HostName, Hosts, Ident,
        Interface, Lasting, Name, OpenOnHolidays, Pass, PortNumber, Prefix, Prose, Quarantined, Rate, Server,
        ServiceWord, TestTime, Until, Version, Vlan,
    },
    yaml::{Node, Value},
};
use crate::threat::Format;

document! {
    /// A policy of Sekimori, or one file of it.
    pub struct File("policy") {
        /// Version of this format: 1. In every file.
        version: Option<At<Version>>,
        /// Name of the organisation.
        organisation: Option<At<Prose>>,
        /// IANA time zone of hours and dates; Asia/Tokyo if absent.
        timezone: Option<At<TimeZone>>,
        /// Days on which hours with `holidays: closed` stay closed.
        holidays: Vec<At<Date>>,
        /// The box Sekimori runs on.
        r#box: Option<BoxDoc>,
        /// Inside zones by name: networks the organisation manages.
        zones: Named<Zone>,
        /// External networks by name: networks somebody else manages.
        networks: Named<Network>,
        /// Registered terminals by name.
        devices: Named<Device>,
        /// Named sets of addresses.
        groups: Named<Vec<Member>>,
        /// Named sets of protocols and ports.
        services: Named<NonEmpty<At<ServiceWord>>>,
        /// Named weekly hours.
        hours: Named<Hours>,
        /// Permissions: outbound, between zones, and for the box. The first that matches and is open decides.
        rules: Vec<Rule>,
        /// Published servers: permissions from an external network to a server in a zone.
        publish: Vec<Publish>,
        /// Receivers of alerts by name: who may deliver, and whom that may put in quarantine.
        alert_receivers: Named<AlertReceiver>,
        /// What inside hosts are watched for; absent: nothing.
        detection: Option<DetectionDoc>,
        /// Lists of addresses that others keep (block lists, threat feeds) by name.
        threat_lists: Named<ThreatList>,
        /// What is demanded of whoever lifts a cut-off.
        cutoff: Option<Cutoff>,
        /// Switches of the built-in protocol set.
        builtin: Option<Builtin>,
        /// What the policy asserts about itself; run by `sekimori check`.
        tests: Vec<Test>,
    }

    /// What is demanded around cut-offs. Cutting off demands nothing.
    pub struct Cutoff("cutoff") {
        /// Of restorations.
        restore: Restoring,
    }

    /// What is demanded of a restoration.
    pub struct Restoring("restore") {
        /// Whether a second person has to confirm it.
        second_person: At<bool>,
        /// How long the second person has: 90s, 30m, 1h; 1h if absent.
        within: Option<At<Lasting>>,
    }

    /// The box Sekimori runs on.
    pub struct BoxDoc("box") {
        /// All of its own addresses.
        addresses: NonEmpty<At<Host>>,
    }

    /// An inside zone.
    pub struct Zone("zone") {
        /// Kernel interfaces it is reached by.
        interfaces: NonEmpty<At<Interface>>,
        /// VLAN ids on them: 10, or "100.20" for QinQ; 0 or absent: untagged.
        vlans: Option<NonEmpty<At<Vlan>>>,
        /// Prefixes that live here.
        prefixes: NonEmpty<At<Prefix>>,
        /// MACs of inside routers: devices behind them are known by address only.
        routers: Vec<At<Mac>>,
        /// What is demanded of terminals: a registered pair of MAC and address, a registered MAC, or nothing.
        devices: At<DeviceMode>,
        /// The box serves DHCP here.
        dhcp: Option<At<Server>>,
        /// The box sends router advertisements here.
        ra: Option<At<Server>>,
    }

    /// An external network.
    pub struct Network("network") {
        /// Kernel interfaces it is reached by.
        interfaces: NonEmpty<At<Interface>>,
        /// VLAN ids on them: 10, or "100.20" for QinQ; 0 or absent: untagged.
        vlans: Option<NonEmpty<At<Vlan>>>,
        /// Prefixes that live there; `default` for everything nobody else claims.
        prefixes: OneOrMany<At<Beyond>>,
        /// MACs of its routers; if given, packets from anybody else are dropped.
        routers: Vec<At<Mac>>,
        /// The box is a DHCP client there.
        dhcp: Option<At<Client>>,
        /// Router advertisements of the listed routers are believed.
        ra: Option<At<Client>>,
        /// Kind of line.
        line: At<Prose>,
        /// Section that answers for the connection.
        owner: At<Prose>,
        /// The survey made before connecting.
        survey: Survey,
    }

    /// The survey of an external network.
    pub struct Survey("survey") {
        /// When it was made.
        date: At<Date>,
        /// Section that made it.
        surveyor: At<Prose>,
        /// Topology of the other side.
        topology: At<Prose>,
        /// Devices of the other side.
        devices: At<Prose>,
        /// Security measures of the other side.
        security: At<Prose>,
        /// Impact of the connection.
        impact: At<Prose>,
    }

    /// A registered terminal.
    pub struct Device("device") {
        /// The zone it lives in.
        zone: At<Name>,
        /// Its MAC.
        mac: At<Mac>,
        /// Its addresses; absent: any of the zone.
        addresses: Option<NonEmpty<At<Host>>>,
        /// Section that answers for it.
        owner: At<Prose>,
        /// Last day of its registration, or an instant.
        until: Option<At<Until>>,
        /// Only a person may put it in quarantine, nothing automatic; false if absent.
        critical: Option<At<bool>>,
    }

    /// Weekly opening hours.
    pub struct Hours("hours") {
        /// Weekdays: mon, mon-fri, …
        days: NonEmpty<At<Days>>,
        /// Opening time.
        from: At<Clock>,
        /// Closing time; before `from`: on the next day.
        to: At<Clock>,
        /// Whether they hold on holidays; open if absent.
        holidays: Option<At<OpenOnHolidays>>,
    }

    /// A permission.
    pub struct Rule("rule") {
        /// Stable name, unique among rules and published servers.
        id: At<Ident>,
        /// Who may open the conversation.
        from: Party,
        /// With whom.
        to: Party,
        /// What: names or entries such as tcp/443.
        services: NonEmpty<At<ServiceWord>>,
        /// Only within these hours.
        hours: Option<At<Name>>,
        /// Last day, or an instant.
        until: Option<At<Until>>,
        /// Why it exists, naming the clause it serves.
        purpose: At<Prose>,
        /// Section that answers for it.
        owner: At<Prose>,
        /// Emit an event for each conversation.
        log: Option<At<bool>>,
        /// How many conversations at once, and how fast new ones may begin.
        limits: Option<Limits>,
        /// `permit`: it also holds for hosts in quarantine, which get nothing else; deny if absent.
        quarantined: Option<At<Quarantined>>,
    }

    /// A place with conditions; all that are given must hold.
    pub struct PartyLong("from/to") {
        /// One zone or several.
        zone: Option<OneOrMany<At<Name>>>,
        /// One external network or several.
        network: Option<OneOrMany<At<Name>>>,
        /// The box itself.
        r#box: Option<At<bool>>,
        /// Addresses, prefixes or ranges.
        addresses: Option<NonEmpty<At<Addresses>>>,
        /// Groups of addresses, in addition to `addresses`.
        groups: Option<NonEmpty<At<Name>>>,
        /// Registered devices.
        devices: Option<NonEmpty<At<Name>>>,
    }

    /// A published server.
    pub struct Publish("published server") {
        /// Stable name, unique among rules and published servers.
        id: At<Ident>,
        /// Who may open the conversation.
        from: Party,
        /// The public address.
        address: At<Host>,
        /// What is published: TCP and UDP only.
        services: NonEmpty<At<ServiceWord>>,
        /// The real server.
        server: ServerDoc,
        /// Only within these hours.
        hours: Option<At<Name>>,
        /// Last day, or an instant.
        until: Option<At<Until>>,
        /// Why it exists, naming the clause it serves.
        purpose: At<Prose>,
        /// Section that answers for it.
        owner: At<Prose>,
        /// Emit an event for each conversation.
        log: Option<At<bool>>,
        /// How many conversations at once, and how fast new ones may begin.
        limits: Option<Limits>,
        /// `permit`: it also holds for hosts in quarantine, which get nothing else; deny if absent.
        quarantined: Option<At<Quarantined>>,
    }

    /// Limits of a rule on the conversations it permits; what is not given is not limited.
    pub struct Limits("limits") {
        /// Conversations at once, 1 to 65536.
        flows: Option<At<Count>>,
        /// Conversations at once of one initiating address, 1 to 65536.
        flows_per_host: Option<At<Count>>,
        /// New conversations: 500/s, 100/min, 20/h, with `burst N` if another burst than that of one second (at least 5) is meant.
        new: Option<At<Rate>>,
        /// New conversations of one initiating address, as `new`.
        new_per_host: Option<At<Rate>>,
    }

    /// Where a published service leads.
    pub struct ServerDoc("server") {
        /// The zone it stands in.
        zone: At<Name>,
        /// Its address there.
        address: At<Host>,
        /// Its port, where it differs from the public one.
        port: Option<At<PortNumber>>,
    }

    /// A receiver of alerts (Alertmanager webhooks).
    pub struct AlertReceiver("alert receiver") {
        /// Id of the credential that delivers, as in `sekimori token add ID --receiver`.
        token: At<Prose>,
        /// The label that names the host: an address, a MAC or a registered device.
        label: At<Prose>,
        /// Zones and groups whose hosts it may put in quarantine.
        may_quarantine: NonEmpty<At<Name>>,
        /// For how long: 30m, 2h, 7d; absent: until somebody releases them.
        r#for: Option<At<Lasting>>,
    }

    /// What inside hosts are watched for, and what is done about it. An empty mapping: in every zone what is built in.
    pub struct DetectionDoc("detection") {
        /// The most hosts that detectors may put in quarantine, beyond which they only alert; 5 within 10 minutes if absent.
        guard: Option<GuardDoc>,
        /// Inside addresses that nobody uses, one by one or as prefixes of at most 256: whoever tries one is up to something.
        traps: Vec<At<FewHosts>>,
        /// What detectors do in every zone, where it differs from what is built in.
        defaults: Option<Detectors>,
        /// What they do in one zone, where it differs from that.
        zones: Named<Detectors>,
        /// Hosts that some detectors leave alone.
        exemptions: Vec<ExemptionDoc>,
    }

    /// A bound on what detectors may do by themselves.
    pub struct GuardDoc("guard") {
        /// Hosts that may be put in quarantine, 1 to 1023.
        hosts: At<Hosts>,
        /// Within this time: 10m, 1h, 1d.
        within: At<Lasting>,
    }

    /// An exemption from detectors.
    pub struct ExemptionDoc("exemption") {
        /// Registered devices, with all their addresses and their MAC, or addresses, one by one or as prefixes of at most 256.
        hosts: NonEmpty<At<HostName>>,
        /// Which detectors.
        detectors: NonEmpty<At<DetectorName>>,
        /// Section that answers for it.
        owner: At<Prose>,
        /// Last day, or an instant.
        until: At<Until>,
        /// Why it is needed.
        purpose: At<Prose>,
    }

    /// A list of addresses that others keep. It is read again when its files change; a delivery that cannot be right is refused, and the last good one stays.
    pub struct ThreatList("threat list") {
        /// The list file, or a folder of list files, relative to this file, inside the policy folder.
        path: At<Prose>,
        /// How it is written; auto, seen by its content, if absent.
        format: Option<At<Format>>,
        /// Where it comes from: an address on the web, or whoever keeps it.
        source: At<Prose>,
        /// How long a delivery counts as fresh after its file was written: 12h, 7d.
        expires: At<Lasting>,
        /// Addresses that are left out whatever the list says.
        except: Option<NonEmpty<At<Addresses>>>,
        /// Why it is used, naming the clause it serves.
        purpose: At<Prose>,
    }

    /// Switches of the built-in protocol set.
    pub struct Builtin("builtin") {
        /// ARP within bindings; true if absent.
        arp: Option<At<bool>>,
        /// Neighbour discovery within bindings; true if absent.
        ndp: Option<At<bool>>,
        /// The box's own MLD and IGMP; true if absent.
        mld: Option<At<bool>>,
        /// ICMP errors about live conversations; true if absent.
        icmp_errors: Option<At<bool>>,
        /// The box's resets of live conversations; true if absent.
        resets: Option<At<bool>>,
        /// VRRP between listed routers and the box; false if absent.
        vrrp: Option<At<bool>>,
        /// Spanning tree on bridges; drop if absent.
        stp: Option<At<L2Control>>,
        /// Link aggregation control; drop if absent.
        lacp: Option<At<L2Control>>,
        /// Link layer discovery; drop if absent.
        lldp: Option<At<L2Control>>,
    }

    /// One assertion of a policy about itself.
    pub struct Test("test") {
        /// What it shows.
        name: At<Prose>,
        /// The zone or network the packet enters by, or `box` for the box's own.
        r#in: At<Name>,
        /// The packet: "tcp 192.168.10.17:40000 > 198.51.100.5:443", "icmp A > B echo-request", "proto 47 A > B".
        packet: At<Prose>,
        /// Source MAC; absent: the registered one, else a router's.
        mac: Option<At<Mac>>,
        /// When; absent: now.
        at: Option<At<TestTime>>,
        /// As if the sender were in quarantine; false if absent.
        quarantined: Option<At<bool>>,
        /// pass or drop.
        expect: At<Pass>,
        /// The rule that must decide.
        rule: Option<At<Name>>,
        /// The reason code that must be counted.
        reason: Option<At<Name>>,
    }

    /// A member of a group that is written elsewhere; exactly one of the two.
    pub struct MemberLong("group member") {
        /// Another group.
        group: Option<At<Name>>,
        /// A list file, relative to this file, inside the policy folder.
        file: Option<At<Prose>>,
    }
}

/// One end of a rule.
#[derive(Debug, Clone)]
pub enum Party {
    /// Zones, networks or `box`, by name.
    Places(Vec<At<Name>>),
    /// With conditions.
    Long(Box<PartyLong>),
}

impl Party {
    /// Where it is written.
    pub fn at(&self) -> Span {
        match self {
            Self::Places(places) => places.first().map(|place| place.at).unwrap_or_default(),
            Self::Long(long) => long.span,
        }
    }
}

impl Decode for Party {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        match &node.value {
            Value::Map(_) => PartyLong::decode(node, sink).map(|long| Self::Long(Box::new(long))),
            Value::Null => {
                wrong_type(node, &Text::new("a zone, a network or the box", "zone、network、box のいずれか"), sink);
                None
            }
            _ => OneOrMany::decode(node, sink).map(|places| Self::Places(places.0)),
        }
    }
    fn schema(definitions: &mut Definitions) -> Json {
        let places = OneOrMany::<At<Name>>::schema(definitions);
        json!({"anyOf": [places, PartyLong::schema(definitions)]})
    }
}

/// A member of a group.
#[derive(Debug, Clone)]
pub enum Member {
    /// Written in place.
    Addresses(At<Addresses>),
    /// Another group.
    Group(At<Name>),
    /// A list file.
    File(At<Prose>),
}

impl Decode for Member {
    fn decode(node: &Node, sink: &mut Sink) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            return At::decode(node, sink).map(Self::Addresses);
        }
        let before = sink.errors();
        let long = MemberLong::decode(node, sink)?;
        match (long.group, long.file) {
            (Some(group), None) => Some(Self::Group(group)),
            (None, Some(file)) => Some(Self::File(file)),
            (Some(group), Some(_)) => {
                sink.report(group.at, &Problem::Conflict { one: "group".into(), other: "file".into() });
                None
            }
            (None, None) => {
                if sink.errors() == before {
                    let problem = Problem::MissingField { field: "group | file".into(), owner: "group member".into() };
                    sink.report(node.at, &problem);
                }
                None
            }
        }
    }
    fn schema(definitions: &mut Definitions) -> Json {
        let inline = At::<Addresses>::schema(definitions);
        json!({"anyOf": [inline, MemberLong::schema(definitions)]})
    }
}
