//! One request: from whom it comes, and what was said. Whoever is not known learns nothing, and learns it slowly.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::{Bytes, to_bytes},
    extract::{FromRequest, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{
    answer::{Answer, later, problem},
    rates::{self, Rate},
    scope,
    tally::Tally,
};
use crate::{
    agent::{handler::Desk, keeper::Caller},
    api::{
        Role,
        protocol::{Ask, MAX_REQUEST},
    },
    cli::text::{self, Lang},
    cutoff::Object,
    record::{Actor, Origin},
    tokens::{Credential, Proof, Right, Shared},
};

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);

/// What every request needs.
pub(super) struct Api {
    pub(super) desk: Desk,
    tokens: Shared,
    pub(super) tally: Tally,
    /// Of those who are known, by credential, wherever they come from.
    credentials: Rate<String>,
    /// Of those who are known, by address, whatever they show.
    addresses: Rate<IpAddr>,
    /// Of those who are not known, by address. They spend nothing that somebody who is known needs.
    strangers: Rate<IpAddr>,
    /// Of what nobody has to be known for, by address.
    open: Rate<IpAddr>,
}

impl Api {
    pub(super) fn new(desk: Desk, tokens: Shared, tally: Tally) -> Self {
        Self {
            desk,
            tokens,
            tally,
            credentials: Rate::new(Duration::from_secs(1), 30),
            addresses: Rate::new(Duration::from_millis(500), 60),
            strangers: Rate::new(Duration::from_secs(12), 5),
            open: Rate::new(Duration::from_secs(1), 30),
        }
    }

    /// Whoever this is, if it is known. A token counts before a certificate: who shows one means it.
    fn known(&self, headers: &HeaderMap, client: &Client) -> Option<Credential> {
        let (list, now) = (self.tokens.now(), Timestamp::now());
        let found = match headers.get(header::AUTHORIZATION) {
            Some(shown) => {
                let (scheme, token) = shown.to_str().ok()?.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then_some(())?;
                list.by_token(token.trim(), now)
            }
            None => list.by_certificate(client.subject.as_deref()?, now),
        };
        found.cloned()
    }
}

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) address: SocketAddr,
    /// Of its certificate, verified.
    pub(super) subject: Option<String>,
}

/// Counts answers.
pub(super) async fn counted(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    api.tally.answered(response.status());
    response
}

/// A request of anybody, for what is open to all.
pub(super) struct Passer {
    pub(super) request: Request,
    pub(super) lang: Lang,
}

impl FromRequest<Arc<Api>> for Passer {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Response> {
        let lang = language(request.headers());
        let Some(client) = request.extensions().get::<Client>() else { return Err(lost(lang)) };
        let host = rates::host(client.address.ip());
        match api.open.take(host, Instant::now()) {
            Ok(()) => Ok(Self { request, lang }),
            Err(wait) => Err(too_fast(&request, wait)),
        }
    }
}

/// A sender of alerts tries again after a 503 but not after a 429 (Alertmanager, `notify/webhook`).
fn too_fast(request: &Request, wait: Duration) -> Response {
    let alerts = request.uri().path().starts_with("/v1/alerts/");
    let status = if alerts { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::TOO_MANY_REQUESTS };
    let seconds = wait.as_secs() + 1;
    later(status, seconds, text::http_too_fast(language(request.headers()), seconds))
}

fn lost(lang: Lang) -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "failed", text::http_lost(lang))
}

/// The first language of `Accept-Language`.
fn language(headers: &HeaderMap) -> Lang {
    let wanted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if wanted.trim_start().to_ascii_lowercase().starts_with("ja") { Lang::Ja } else { Lang::En }
}

/// A request of somebody who is known.
pub(super) struct Visit {
    pub(super) api: Arc<Api>,
    pub(super) who: Credential,
    pub(super) client: SocketAddr,
    pub(super) lang: Lang,
    pub(super) path: String,
    body: Bytes,
}

impl FromRequest<Arc<Api>> for Visit {
    type Rejection = Response;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Response> {
        let lang = language(request.headers());
        let Some(client) = request.extensions().get::<Client>().cloned() else { return Err(lost(lang)) };
        let (host, now) = (rates::host(client.address.ip()), Instant::now());
        let Some(who) = api.known(request.headers(), &client) else {
            api.strangers.take(host, now).map_err(|wait| too_fast(&request, wait))?;
            tracing::warn!(client = %client.address, path = request.uri().path(), "HTTP API: somebody unknown was turned away");
            return Err(unknown(lang));
        };
        let spent = api.credentials.take(who.id.clone(), now).and_then(|()| api.addresses.take(host, now));
        spent.map_err(|wait| too_fast(&request, wait))?;
        let posts = request.method() == Method::POST;
        // A page in a browser that holds a certificate can send forms, but not this.
        if posts && !is_json(request.headers()) {
            return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "usage", text::http_not_json(lang)));
        }
        let path = request.uri().path().to_owned();
        let body = match timeout(BODY_TIME, to_bytes(request.into_body(), MAX_REQUEST)).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                let text = text::http_body_large(lang, MAX_REQUEST);
                return Err(problem(StatusCode::PAYLOAD_TOO_LARGE, "usage", text));
            }
            Err(_) => return Err(problem(StatusCode::REQUEST_TIMEOUT, "usage", text::http_body_slow(lang))),
        };
        Ok(Self { api: Arc::clone(api), who, client: client.address, lang, path, body })
    }
}

/// The same for everybody who is not known: never were, no longer are, or said nothing.
fn unknown(lang: Lang) -> Response {
    let mut response = problem(StatusCode::UNAUTHORIZED, "unauthorised", text::http_unauthorised(lang));
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

fn is_json(headers: &HeaderMap) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = said.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

impl Visit {
    /// Asks what the body says, if this one may act at all and it is what it should be.
    pub(super) async fn act<T: DeserializeOwned>(self, ask: impl FnOnce(T) -> Ask) -> Response {
        if let Some(response) = self.without(Role::Operator) {
            return response;
        }
        match self.read() {
            Ok(body) => self.ask(ask(body)).await,
            Err(error) => problem(StatusCode::BAD_REQUEST, "usage", text::http_body(self.lang, error)),
        }
    }

    /// The body.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// A no to somebody who is known.
    pub(super) fn forbidden(&self, text: impl Into<String>) -> Response {
        let text = text.into();
        tracing::warn!(id = self.who.id, client = %self.client, "HTTP API: {text}");
        problem(StatusCode::FORBIDDEN, "forbidden", text)
    }

    /// The answer to somebody without this role.
    fn without(&self, needs: Role) -> Option<Response> {
        match self.who.right.role() {
            None => Some(self.forbidden(text::http_receiver_only(self.lang, &self.who.id))),
            Some(role) if role < needs => {
                Some(self.forbidden(text::needs_role(self.lang, needs.name(), self.who.right.name())))
            }
            Some(_) => None,
        }
    }

    /// For the record.
    fn caller(&self) -> Caller {
        let (client, role) = (self.client.to_string(), self.who.right.name());
        let actor = match &self.who.proof {
            Proof::Sha256(_) => Actor::token(&self.who.id, client, role),
            Proof::Certificate(subject) => Actor::certificate(subject, client, role),
        };
        Caller { actor, from: Origin::Http, lang: self.lang }
    }

    /// Asks the desk, if this one may.
    pub(super) async fn ask(self, ask: Ask) -> Response {
        let lang = self.lang;
        let needs = ask.needs();
        if let Some(response) = self.without(needs) {
            return response;
        }
        if matches!(&ask, Ask::Cutoff(ask) if ask.including_management) && self.who.right != Right::Admin {
            return self.forbidden(text::http_management_admin(lang, &self.who.id));
        }
        let requested = match &ask {
            Ask::Confirm(ask) => self.api.desk.keeper().lock().await.requested(ask.id),
            Ask::Unplan { number, .. } => self.api.desk.keeper().lock().await.planned_objects(*number),
            _ => Vec::new(),
        };
        let on: &[Object] = if requested.is_empty() { objects(&ask) } else { &requested };
        if let Some(object) = self.outside(on).await {
            return self.forbidden(text::http_forbidden_object(lang, &self.who.id, object));
        }
        let (caller, desk) = (self.caller(), self.api.desk.clone());
        match begun(async move { desk.answer(ask, &caller).await }).await {
            Some(reply) => Answer(reply).into_response(),
            None => lost(lang),
        }
    }

    /// What this one may not act on.
    async fn outside(&self, objects: &[Object]) -> Option<Object> {
        // Most often it can be told without the policy, and so without waiting for an instance that is busy.
        scope::outside(objects, &self.who.objects, None)?;
        let keeper = self.api.desk.keeper();
        let policy = keeper.lock().await.live().map(|live| Arc::clone(&live.policy));
        scope::outside(objects, &self.who.objects, policy.as_deref()).cloned()
    }
}

/// What an ask acts on.
fn objects(ask: &Ask) -> &[Object] {
    match ask {
        Ask::Cutoff(ask) => &ask.objects,
        Ask::Restore(ask) => &ask.objects,
        Ask::Plan(ask) => &ask.objects,
        Ask::Quarantine { objects, .. } | Ask::Release { objects, .. } => objects,
        // Whoever may act on some objects only closes nothing: an incident may be of many hosts.
        Ask::CloseIncidents { .. } => &[Object::All],
        _ => &[],
    }
}

/// Does it to its end, even if the caller hangs up in between: what was begun is finished, and recorded. `None`: it panicked.
pub(super) async fn begun<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let ended = tokio::spawn(work).await;
    ended.inspect_err(|error| tracing::error!(%error, "HTTP API: a request was given up")).ok()
}
