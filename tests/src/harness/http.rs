//! Callers of the HTTP API: curl, inside a namespace.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    netns::Ns,
    pki::Pair,
    tool::{self, Said},
};

const WITHIN: Duration = Duration::from_secs(60);

/// Somebody who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    ns: Ns,
    base: String,
    token: Option<String>,
    ca: Option<PathBuf>,
    pair: Option<Pair>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Seconds of `Retry-After`.
    pub retry_after: Option<u64>,
    /// The body, if it is JSON.
    pub json: Value,
}

impl Answer {
    /// The code of its problem, or nothing.
    pub fn code(&self) -> &str {
        self.json["error"]["code"].as_str().unwrap_or_default()
    }
}

impl Caller {
    /// Nobody in particular, calling from `ns` what is at `base` (`http://127.0.0.1:9443`).
    pub fn new(ns: &Ns, base: &str) -> Self {
        Self { ns: ns.clone(), base: base.to_owned(), token: None, ca: None, pair: None }
    }

    /// The same with a bearer token.
    pub fn token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self.clone() }
    }

    /// The same, trusting this authority.
    pub fn trusting(&self, ca: PathBuf) -> Self {
        Self { ca: Some(ca), ..self.clone() }
    }

    /// The same with a client certificate.
    pub fn certificate(&self, pair: &Pair) -> Self {
        Self { pair: Some(pair.clone()), ..self.clone() }
    }

    /// `GET`.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.call(path, &[])
    }

    /// `POST` of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.call(path, &["-H", "Content-Type: application/json", "--data-binary", &body.to_string()])
    }

    /// With any arguments of curl's.
    pub fn call(&self, path: &str, arguments: &[&str]) -> Result<Answer> {
        let said = self.say(path, arguments)?;
        if !said.ok() {
            bail!("curl {path}: {:?} {}{}", said.code, said.out, said.err);
        }
        let (body, written) = said.out.rsplit_once('\n').context("curl wrote no status")?;
        let (status, retry) = written.split_once(' ').context("curl wrote no status")?;
        let json = serde_json::from_str(body).unwrap_or(Value::Null);
        Ok(Answer { status: status.parse()?, retry_after: retry.parse().ok(), json })
    }

    /// The same, however it ends.
    pub fn say(&self, path: &str, arguments: &[&str]) -> Result<Said> {
        let mut curl = self.ns.command("curl");
        curl.args(["-sS", "--noproxy", "*", "--max-time", "30", "-w", "\n%{http_code} %header{retry-after}"]);
        if let Some(token) = &self.token {
            curl.args(["-H", &format!("Authorization: Bearer {token}")]);
        }
        if let Some(ca) = &self.ca {
            curl.arg("--cacert").arg(ca);
        }
        if let Some(pair) = &self.pair {
            curl.arg("--cert").arg(&pair.certificate).arg("--key").arg(&pair.key);
        }
        curl.args(arguments).arg(format!("{}{path}", self.base));
        tool::run(&mut curl, WITHIN)
    }
}
