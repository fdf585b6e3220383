//! `http://ADDR/metrics`.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
};

use super::collect::collect;
use crate::{agent::keeper::Keeper, api::server::stopped};

/// Serves until `shutdown` becomes true.
pub async fn serve(listener: TcpListener, keeper: Arc<Mutex<Keeper>>, mut shutdown: watch::Receiver<bool>) {
    let router = Router::new().route("/metrics", get(metrics)).with_state(keeper);
    let stop = async move { stopped(&mut shutdown).await };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "metrics are no longer served");
    }
}

async fn metrics(State(keeper): State<Arc<Mutex<Keeper>>>) -> impl IntoResponse {
    let families = {
        let keeper = keeper.lock().await;
        tokio::task::block_in_place(|| collect(&keeper))
    };
    match families.render() {
        Ok(text) => Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}
