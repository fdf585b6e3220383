//! Taking connections in. Each carries one request: nothing is held open that nobody uses.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    config::Http,
    place, rates,
    routes::router,
    seats::Seats,
    tally::Tally,
    tls,
    visit::{Api, Client},
};
use crate::{
    agent::{config::Config, handler::Desk},
    api::server::stopped,
};

/// How often it is tried again: at boot the agent is up before the interfaces are.
const AGAIN: Duration = Duration::from_secs(2);
/// How often it is looked whether the address still is where it was.
const LOOK: Duration = Duration::from_secs(10);
/// From the first byte to a whole TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// From there to a whole header.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Header bytes.
const HEADER_BYTES: usize = 16 * 1024;
/// From there to the last byte of the answer.
const WHOLE_TIME: Duration = Duration::from_secs(90);

/// Serves the API, as soon and as long as it may be served where the configuration says.
pub async fn keep(config: Config, desk: Desk, mut shutdown: watch::Receiver<bool>) {
    let Some(http) = config.http.clone() else { return };
    let keeper = desk.keeper();
    let (tokens, tally) = {
        let keeper = keeper.lock().await;
        (keeper.shared_tokens(), keeper.http_tally())
    };
    let router = router(Arc::new(Api::new(desk, tokens, tally.clone())));
    loop {
        let opened = open(&config, &http).await;
        keeper.lock().await.http_served(opened.as_ref().map(drop).map_err(Clone::clone));
        if let Ok((listener, acceptor)) = opened {
            tracing::info!(address = %http.listen, tls = acceptor.is_some(), "the HTTP API is served");
            tokio::select! {
                () = serve(listener, acceptor, router.clone(), &tally) => {}
                () = displaced(&config, &http) => {}
                () = stopped(&mut shutdown) => return,
            }
        }
        tokio::select! {
            () = sleep(AGAIN) => {}
            () = stopped(&mut shutdown) => return,
        }
    }
}

/// Listens, if it may be listened there; else why not.
async fn open(config: &Config, http: &Http) -> Result<(TcpListener, Option<TlsAcceptor>), String> {
    if let Some(why) = place::refused(config, http.listen.ip()) {
        return Err(why);
    }
    let acceptor = http.tls.as_ref().map(tls::acceptor).transpose().map_err(|error| error.to_string())?;
    let listener = TcpListener::bind(http.listen).await.map_err(|error| format!("{}: {error}", http.listen))?;
    Ok((listener, acceptor))
}

/// Returns when the address is no longer where it may be served.
async fn displaced(config: &Config, http: &Http) {
    loop {
        sleep(LOOK).await;
        if let Some(why) = place::refused(config, http.listen.ip()) {
            return tracing::error!(why, "the HTTP API is no longer served");
        }
    }
}

async fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, router: Router, tally: &Tally) {
    let seats = Seats::default();
    loop {
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "HTTP API: accept failed");
                // Out of descriptors: not again at once.
                sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        let Some(seat) = seats.take(rates::host(address.ip())) else {
            tally.turned_away();
            tracing::debug!(%address, "HTTP API: too many connections");
            continue;
        };
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            receive(stream, Client { address, subject: None }, acceptor, router).await;
            drop(seat);
        });
    }
}

async fn receive(stream: TcpStream, mut client: Client, acceptor: Option<TlsAcceptor>, router: Router) {
    let Some(acceptor) = acceptor else {
        return converse(stream, client, router).await;
    };
    let stream = match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(address = %client.address, %error, "HTTP API: no TLS"),
        Err(_) => return,
    };
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    match shown.map(tls::subject).transpose() {
        Ok(subject) => client.subject = subject,
        Err(error) => return tracing::warn!(address = %client.address, %error, "HTTP API: a client certificate"),
    }
    converse(stream, client, router).await;
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S, client: Client, router: Router) {
    let address = client.address;
    let service = TowerToHyperService::new(router.layer(Extension(client)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(WHOLE_TIME, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%address, %error, "HTTP API: a connection failed"),
        Err(_) => tracing::debug!(%address, "HTTP API: a connection took too long"),
    }
}
