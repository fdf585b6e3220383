//! Policies of the town hall, written for one test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use tempfile::TempDir;

/// Everything but rules: the town's zones, networks and registered devices. Rules follow it.
pub const TOWN: &str = r#"version: 1
organisation: みなと市役所
timezone: Asia/Tokyo
box:
  addresses:
    - 192.168.10.1
    - 192.168.20.1
    - 192.168.30.1
    - 203.0.113.2
    - 203.0.113.10
    - 172.16.88.2
    - 172.16.77.2
    - "2001:db8:10::1"
    - "2001:db8:20::1"
    - "2001:db8:30::1"
    - "2001:db8:99::2"
    - "2001:db8:88::2"
    - "2001:db8:77::2"
zones:
  office: {interfaces: [lan0], prefixes: [192.168.10.0/24, "2001:db8:10::/64"], devices: registered}
  dmz: {interfaces: [dmz0], prefixes: [192.168.20.0/24, "2001:db8:20::/64"], devices: registered}
  lgwan-facing: {interfaces: [lan1], prefixes: [192.168.30.0/24, "2001:db8:30::/64"], devices: registered}
networks:
  internet:
    interfaces: [wan0]
    prefixes: [default, 203.0.113.0/28, "2001:db8:99::/64"]
    routers: ["02:00:00:00:99:01"]
    line: 光回線
    owner: 情報管理課
    survey: {date: 2026-10-01, surveyor: 情報管理課, topology: 済, devices: 済, security: 済, impact: 済}
  lgwan:
    interfaces: [lgw0]
    prefixes: [172.16.88.0/29, 10.80.0.0/16, "2001:db8:88::/64", "2001:db8:8800::/48"]
    routers: ["02:00:00:00:88:01"]
    line: 専用回線
    owner: 情報管理課
    survey: {date: 2026-10-01, surveyor: 情報管理課, topology: 済, devices: 済, security: 済, impact: 済}
devices:
  pc-017:
    {zone: office, mac: "02:00:00:00:10:17", addresses: [192.168.10.17, "2001:db8:10::17"], owner: 総務課}
  admin-pc:
    {zone: office, mac: "02:00:00:00:10:18", addresses: [192.168.10.18, "2001:db8:10::18"], owner: 情報管理課}
  lgwan-pc:
    {zone: lgwan-facing, mac: "02:00:00:00:30:31", addresses: [192.168.30.31, "2001:db8:30::31"], owner: 住民課}
  web:
    {zone: dmz, mac: "02:00:00:00:20:10", addresses: [192.168.20.10, "2001:db8:20::10"], owner: 情報管理課}
rules:
"#;

/// One rule of a policy; `from` and `to` in the policy's own words, services as a YAML list's inside.
pub fn rule(id: &str, from: &str, to: &str, services: &str) -> String {
    format!("  - {{id: {id}, from: {from}, to: {to}, services: [{services}], purpose: test, owner: 情報管理課}}\n")
}

/// A folder of policies that goes when the test ends.
#[derive(Debug)]
pub struct Policies(TempDir);

impl Policies {
    /// An empty one.
    pub fn new() -> Result<Self> {
        Ok(Self(tempfile::Builder::new().prefix("sk-policy-").tempdir()?))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// [`TOWN`] with these rules, as one file.
    pub fn town(&self, name: &str, rules: &[String]) -> Result<PathBuf> {
        self.text(name, &format!("{TOWN}{}", rules.concat()))
    }

    /// Any text, as one file; an earlier one of that name is replaced.
    pub fn text(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.path().join(format!("{name}.yaml"));
        fs::write(&path, text)?;
        Ok(path)
    }
}
