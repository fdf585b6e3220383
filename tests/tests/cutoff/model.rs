//! Random cuts, restorations, deaths and helping hands, against a model: what the tables say, what is on disk, what is reported
//! and what packets do always agree.

use std::{collections::BTreeSet, fs, time::Duration};

use anyhow::{Context as _, Result, ensure};
use sekimori::{
    cutoff::{Object, Overlay},
    dataplane::{CutTables, cut, maps::CutMaps},
};
use sekimori_tests::{
    harness::{
        agent::{self, Agent},
        stream::Stream,
        tool,
        town::Town,
        townhall::{ASP_V4, DNS_V4, INTERNET_ROUTER, LGWAN_PC, LGWAN_ROUTER, PC_017},
    },
    oracle::generate::rng::Rng,
};
use serde_json::Value;

use crate::scene::{OFTEN, Scene, scene};

const SOON: Duration = Duration::from_secs(10);
/// Steps of a usual run; `SEKIMORI_SEQUENCES` asks for more.
const STEPS: usize = 100;
/// What is cut and restored.
const OBJECTS: &[&str] = &[
    "network internet",
    "network lgwan",
    "zone office",
    "zone dmz",
    "host 192.168.10.17",
    "host 02:00:00:00:30:31",
    "host admin-pc",
    "prefix 198.51.100.0/24",
    "prefix 2001:db8::/32",
    "prefix 10.80.0.0/16",
    "all",
];

struct World {
    agent: Agent,
    town: Town,
    query: Stream,
    lgwan: Stream,
}

fn words(object: &str) -> Vec<&str> {
    object.split(' ').collect()
}

impl World {
    fn step(&mut self, rng: &mut Rng, model: &mut BTreeSet<&'static str>) -> Result<String> {
        let object = *rng.pick(OBJECTS);
        match rng.below(100) {
            0..=3 => {
                self.agent.kill9()?;
                self.agent.restart()?;
                return Ok("killed and started".into());
            }
            4..=9 if !matches!(object, "host admin-pc") => {
                let program = agent::program()?.with_file_name("sekimori-cut");
                let mut command = self.town.gateway.command(program);
                command.arg("--bpffs").arg(self.agent.pins_path()).arg("--state").arg(self.agent.state_path());
                tool::must(command.args(["--reason", "by hand"]).args(words(object)), SOON)?;
                model.insert(object);
                // The agent may take two seconds to notice by itself; the next write notices at once.
                self.said(&["cutoff", "host", "192.0.2.99", "--reason", "a write"], 0)?;
                self.said(&["restore", "host", "192.0.2.99", "--reason", "a write"], 0)?;
                return Ok(format!("by hand: {object}"));
            }
            10..=12 => {
                self.agent.kill9()?;
                self.said(&[&["cutoff"], &words(object)[..], &["--reason", "no agent"]].concat(), 0)?;
                model.insert(object);
                self.agent.restart()?;
                return Ok(format!("without an agent: {object}"));
            }
            13..=55 => {
                let level = *rng.pick(&["drop", "drop", "flush"]);
                self.said(&[&["cutoff"], &words(object)[..], &["--level", level, "--reason", "cut"]].concat(), 0)?;
                model.insert(object);
                return Ok(format!("cut: {object} at {level}"));
            }
            _ => {}
        }
        let there = model.remove(object);
        self.said(&[&["restore"], &words(object)[..], &["--reason", "open"]].concat(), i32::from(!there))?;
        Ok(format!("restored: {object} ({there})"))
    }

    fn said(&self, words: &[&str], code: i32) -> Result<()> {
        let said = self.agent.cli(words.iter().copied())?;
        ensure!(said.code == Some(code), "{words:?}: {said:?}");
        Ok(())
    }

    fn agrees(&self, model: &BTreeSet<&str>) -> Result<()> {
        let list = self.agent.cli(["cutoff", "list", "--format", "json"])?;
        let rows: Vec<Value> = list.out.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        let reported: BTreeSet<&str> = rows.iter().filter_map(|row| row["object"].as_str()).map(same).collect();
        let model: BTreeSet<&str> = model.iter().map(|object| same(object)).collect();
        ensure!(reported == model, "reported: {reported:?}, model: {model:?}");
        // There is none before the first cut.
        let text = fs::read_to_string(self.agent.state_path().join("cutoff.json")).unwrap_or_default();
        let document: Value = serde_json::from_str(&text).unwrap_or_default();
        let overlay: Option<Overlay> = serde_json::from_value(document["overlay"].clone())?;
        let overlay = overlay.unwrap_or_default();
        let on_disk: BTreeSet<String> =
            overlay.cuts.iter().map(|cut| same(&cut.object.to_string()).to_owned()).collect();
        ensure!(on_disk.iter().map(String::as_str).eq(model.iter().copied()), "on disk: {on_disk:?}, model: {model:?}");
        let registry: Value =
            serde_json::from_str(&fs::read_to_string(self.agent.state_path().join("registry.json"))?)?;
        let number = |name: &str| registry["nets"][name]["id"].as_u64().and_then(|id| u16::try_from(id).ok());
        let (wanted, unknown) = overlay.tables(number);
        ensure!(unknown == Vec::<Object>::new(), "{unknown:?}");
        let maps = CutMaps::pinned(&self.agent.pins_path().join("maps"))?;
        let found: CutTables = cut::read(&maps)?;
        ensure!(found == wanted, "tables: {found:?}, wanted: {wanted:?}");
        let cut = |objects: &[&str]| objects.iter().any(|object| model.contains(object));
        let everything = cut(&["all"]);
        let internet = ["network internet", "zone office", "host 192.168.10.17", "prefix 198.51.100.0/24"];
        if everything || cut(&internet) { self.query.stands_still(5).map(drop) } else { self.query.flows(3) }?;
        let lgwan = ["network lgwan", "host 02:00:00:00:30:31", "prefix 10.80.0.0/16"];
        if everything || cut(&lgwan) { self.lgwan.stands_still(5).map(drop) } else { self.lgwan.flows(3) }
    }
}

/// A cut taken over from the tables may be called by the other word for a net.
fn same(object: &str) -> &str {
    match object {
        "network office" => "zone office",
        "network dmz" => "zone dmz",
        other => other,
    }
}

#[test]
fn cuts_in_tables_on_disk_and_as_reported_agree_whatever_happens() -> Result<()> {
    let steps = std::env::var("SEKIMORI_SEQUENCES").ok().and_then(|steps| steps.parse().ok()).unwrap_or(STEPS);
    let seed = std::env::var("SEKIMORI_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_128);
    let Scene { agent, town, _policies } = scene()?;
    let (pc, internet) = (town.host(&PC_017)?, town.host(&INTERNET_ROUTER)?);
    let query = Stream::to_server(pc, None, internet, (DNS_V4, 53), OFTEN)?;
    let lgwan = Stream::to_server(town.host(&LGWAN_PC)?, None, town.host(&LGWAN_ROUTER)?, (ASP_V4, 443), OFTEN)?;
    query.flows(20)?;
    lgwan.flows(20)?;
    let mut world = World { agent, town, query, lgwan };
    let (mut rng, mut model, mut told) = (Rng::new(seed), BTreeSet::new(), Vec::new());
    for number in 0..steps {
        let done = world
            .step(&mut rng, &mut model)
            .with_context(|| format!("step {number}, seed {seed}; before: {told:?}"))?;
        told.push(done);
        world.agrees(&model).with_context(|| format!("after step {number}, seed {seed}: {told:?}"))?;
        if told.len() > 12 {
            told.remove(0);
        }
    }
    println!("{steps} steps, seed {seed}");
    Ok(())
}
