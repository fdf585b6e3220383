//! Alerts as Alertmanager delivers them (webhook, version 4).

use std::collections::BTreeMap;

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    answer::{Answer, problem, reply},
    visit::{Visit, begun},
};
use crate::{
    agent::{alerts::AlertDone, keeper::Caller},
    api::Reply,
    cli::text,
    record::{Actor, Origin},
};

/// Letters of what an alert says that are kept.
const MAX_TEXT: usize = 256;

/// What is delivered; what else is in it does not matter here.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Message {
    /// Of the format: 4.
    version: String,
    /// Alerts that fire, and alerts that are over.
    alerts: Vec<Alert>,
}

/// One alert.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Alert {
    /// Whether it fires.
    status: AlertStatus,
    /// Its labels; one of them names the host.
    labels: BTreeMap<String, String>,
    /// `summary` becomes part of the reason.
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum AlertStatus {
    /// It fires.
    Firing,
    /// It is over.
    Resolved,
}

/// Names of receivers need no escapes: one that has some is nobody's.
pub(super) async fn deliver(visit: Visit) -> Response {
    let lang = visit.lang;
    let name = visit.path.rsplit('/').next().unwrap_or_default().to_owned();
    let keeper = visit.api.desk.keeper();
    let receiver = keeper.lock().await.alert_receiver(&name, &visit.who.id);
    let Some(receiver) = receiver else {
        // The same whether there is no such receiver or it is somebody else's.
        return visit.forbidden(text::alert_not_receiver(lang, &visit.who.id, plain(&name)));
    };
    let message: Message = match visit.read() {
        Ok(message) => message,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "usage", text::http_body(lang, error)),
    };
    if message.version != "4" {
        return problem(StatusCode::BAD_REQUEST, "usage", text::alert_version(lang, plain(&message.version)));
    }
    let actor = Actor::receiver(&name, visit.client.to_string(), Some(visit.who.id.clone()), "receiver");
    let caller = Caller { actor, from: Origin::Webhook, lang };
    let work = async move {
        let mut known: BTreeMap<String, AlertDone> = BTreeMap::new();
        let mut rows = Vec::new();
        for alert in &message.alerts {
            let named = alert.labels.get("alertname").map_or_else(|| "?".to_owned(), |name| plain(name));
            let host = alert.labels.get(&receiver.label).map(|host| plain(host));
            if alert.status == AlertStatus::Resolved {
                rows.push(AlertDone { alert: named, host, done: "resolved".into(), ..AlertDone::default() });
                continue;
            }
            let Some(host) = host else {
                let message = Some(text::alert_no_label(lang, &receiver.label));
                rows.push(AlertDone { alert: named, done: "refused".into(), message, ..AlertDone::default() });
                continue;
            };
            if let Some(row) = known.get(&host) {
                rows.push(AlertDone { alert: named, ..row.clone() });
                continue;
            }
            let reason = reason(alert, &named);
            let row = {
                let mut keeper = keeper.lock().await;
                tokio::task::block_in_place(|| keeper.alert(&receiver, named, &host, reason, &caller))
            };
            known.insert(host, row.clone());
            rows.push(row);
        }
        rows
    };
    match begun(work).await {
        Some(rows) => answer(rows),
        None => Answer(Reply::failed(text::http_lost(lang))).into_response(),
    }
}

/// What could not be done is asked for again by the sender, after a 5xx; what may not be done is not.
fn answer(rows: Vec<AlertDone>) -> Response {
    let any = |word: &str| rows.iter().any(|row| row.done == word);
    let (status, exit) = match (any("failed"), any("refused")) {
        (true, _) => (StatusCode::INTERNAL_SERVER_ERROR, 2),
        (false, refused) => (StatusCode::OK, u8::from(refused)),
    };
    reply(status, &Reply::with(exit, rows))
}

fn reason(alert: &Alert, name: &str) -> String {
    match alert.annotations.get("summary") {
        Some(summary) => format!("{name}: {}", plain(summary)),
        None => name.to_owned(),
    }
}

/// What others wrote, fit to be shown on a terminal.
fn plain(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_message_as_alertmanager_writes_it() {
        let text = r#"{"receiver":"gate","status":"firing","alerts":[{"status":"firing","labels":{"alertname":"Scan",
            "host":"pc-017"},"annotations":{"summary":"many\u001b[2J ports"},"startsAt":"2026-12-01T00:00:00Z",
            "endsAt":"0001-01-01T00:00:00Z","generatorURL":"","fingerprint":"ab"},{"status":"resolved","labels":{}}],
            "groupLabels":{},"commonLabels":{},"commonAnnotations":{},"externalURL":"","version":"4",
            "groupKey":"{}:{}","truncatedAlerts":0}"#;
        let message: Message = serde_json::from_str(text).unwrap();
        assert_eq!((message.version.as_str(), message.alerts.len()), ("4", 2));
        assert_eq!(reason(&message.alerts[0], "Scan"), "Scan: many [2J ports");
        assert_eq!(message.alerts[1].status, AlertStatus::Resolved);
        assert!(serde_json::from_str::<Message>(&text.replace("firing", "burning")).is_err());
    }

    #[test]
    fn a_failure_is_tried_again_and_a_refusal_is_not() {
        let status = |words: &[&str]| {
            let row = |word: &&str| AlertDone { done: (*word).into(), ..AlertDone::default() };
            answer(words.iter().map(row).collect()).status().as_u16()
        };
        assert_eq!(status(&["quarantined", "resolved"]), 200);
        assert_eq!(status(&["quarantined", "refused"]), 200);
        assert_eq!(status(&["refused", "failed"]), 500);
    }
}
