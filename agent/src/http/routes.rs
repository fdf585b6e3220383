//! One handler an operation.

use std::sync::Arc;

use axum::{Router, http::StatusCode, middleware, response::Response};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    answer::problem,
    operations::OPERATIONS,
    visit::{Api, Passer, Visit, counted},
};
use crate::{agent::incident_desk::Filter, api::protocol::Ask, cli::text, cutoff::Object};

/// Everything, one handler a path.
pub(super) fn router(api: Arc<Api>) -> Router {
    let routes =
        OPERATIONS.iter().fold(Router::new(), |router, operation| router.route(operation.path, (operation.serve)()));
    routes
        .fallback(nothing_there)
        .method_not_allowed_fallback(not_for_this)
        .layer(middleware::from_fn_with_state(Arc::clone(&api), counted))
        .with_state(api)
}

/// Hosts to put in quarantine, all or none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuarantineAsk {
    /// Hosts only.
    pub(super) objects: Vec<Object>,
    /// Why.
    pub(super) reason: String,
    /// For so many seconds only.
    #[serde(default)]
    pub(super) lasting: Option<u64>,
}

/// Incidents of one answer.
const INCIDENTS: usize = 1_000;

/// Incidents that have been looked at, all or none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseIncidentsAsk {
    /// Their numbers.
    pub(super) ids: Vec<u64>,
    /// What was found.
    pub(super) reason: String,
}

/// A planned cut-off to take back.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct UnplanAsk {
    /// Its number.
    pub(super) number: u64,
    /// Why.
    pub(super) reason: String,
}

/// Hosts to release, all or none.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseAsk {
    /// As they were named.
    pub(super) objects: Vec<Object>,
    /// Why.
    pub(super) reason: String,
}

pub(super) async fn status(visit: Visit) -> Response {
    visit.ask(Ask::Status {}).await
}

pub(super) async fn cutoffs(visit: Visit) -> Response {
    visit.ask(Ask::Cuts {}).await
}

pub(super) async fn plans(visit: Visit) -> Response {
    visit.ask(Ask::Plans {}).await
}

pub(super) async fn quarantines(visit: Visit) -> Response {
    visit.ask(Ask::Quarantines {}).await
}

pub(super) async fn cutoff(visit: Visit) -> Response {
    visit.act(Ask::Cutoff).await
}

pub(super) async fn restore(visit: Visit) -> Response {
    visit.act(Ask::Restore).await
}

pub(super) async fn confirm(visit: Visit) -> Response {
    visit.act(Ask::Confirm).await
}

pub(super) async fn plan(visit: Visit) -> Response {
    visit.act(Ask::Plan).await
}

pub(super) async fn unplan(visit: Visit) -> Response {
    visit.act(|UnplanAsk { number, reason }| Ask::Unplan { number, reason }).await
}

pub(super) async fn quarantine(visit: Visit) -> Response {
    visit.act(|QuarantineAsk { objects, reason, lasting }| Ask::Quarantine { objects, reason, lasting }).await
}

pub(super) async fn release(visit: Visit) -> Response {
    visit.act(|ReleaseAsk { objects, reason }| Ask::Release { objects, reason }).await
}

pub(super) async fn incidents(visit: Visit) -> Response {
    visit.ask(Ask::Incidents { filter: Filter::default(), limit: INCIDENTS }).await
}

pub(super) async fn incident(visit: Visit) -> Response {
    let id = visit.path.rsplit('/').next().and_then(|id| id.parse().ok());
    match id {
        Some(id) => visit.ask(Ask::Incident { id }).await,
        None => problem(StatusCode::NOT_FOUND, "usage", text::http_not_found(visit.lang, &visit.path)),
    }
}

pub(super) async fn close_incidents(visit: Visit) -> Response {
    visit.act(|CloseIncidentsAsk { ids, reason }| Ask::CloseIncidents { ids, reason }).await
}

async fn nothing_there(passer: Passer) -> Response {
    let text = text::http_not_found(passer.lang, passer.request.uri().path());
    problem(StatusCode::NOT_FOUND, "usage", text)
}

async fn not_for_this(passer: Passer) -> Response {
    let text = text::http_method(passer.lang, passer.request.method());
    problem(StatusCode::METHOD_NOT_ALLOWED, "usage", text)
}
