//! What there is to ask.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    middleware,
    response::Response,
    routing::{get, post},
};
use serde::Deserialize;

use super::{
    alerts,
    answer::problem,
    visit::{Api, Visit, language, not_too_fast},
};
use crate::{api::protocol::Ask, cli::text, cutoff::Object};

/// Everything, one handler a path.
pub(super) fn router(api: Arc<Api>) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/cutoffs", get(cutoffs))
        .route("/v1/quarantines", get(quarantines))
        .route("/v1/cutoff", post(cutoff))
        .route("/v1/restore", post(restore))
        .route("/v1/quarantine", post(quarantine))
        .route("/v1/release", post(release))
        .route("/v1/alerts/{receiver}", post(alerts::deliver))
        .fallback(nothing_there)
        .method_not_allowed_fallback(not_for_this)
        .layer(middleware::from_fn_with_state(Arc::clone(&api), not_too_fast))
        .with_state(api)
}

/// Hosts to put in quarantine, all or none.
#[derive(Debug, Deserialize)]
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

/// Hosts to release, all or none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleaseAsk {
    /// As they were named.
    pub(super) objects: Vec<Object>,
    /// Why.
    pub(super) reason: String,
}

async fn status(visit: Visit) -> Response {
    visit.ask(Ask::Status {}).await
}

async fn cutoffs(visit: Visit) -> Response {
    visit.ask(Ask::Cuts {}).await
}

async fn quarantines(visit: Visit) -> Response {
    visit.ask(Ask::Quarantines {}).await
}

async fn cutoff(visit: Visit) -> Response {
    visit.act(Ask::Cutoff).await
}

async fn restore(visit: Visit) -> Response {
    visit.act(Ask::Restore).await
}

async fn quarantine(visit: Visit) -> Response {
    visit.act(|QuarantineAsk { objects, reason, lasting }| Ask::Quarantine { objects, reason, lasting }).await
}

async fn release(visit: Visit) -> Response {
    visit.act(|ReleaseAsk { objects, reason }| Ask::Release { objects, reason }).await
}

async fn nothing_there(request: Request) -> Response {
    let text = text::http_not_found(language(request.headers()), request.uri().path());
    problem(StatusCode::NOT_FOUND, "usage", text)
}

async fn not_for_this(request: Request) -> Response {
    let text = text::http_method(language(request.headers()), request.method());
    problem(StatusCode::METHOD_NOT_ALLOWED, "usage", text)
}
