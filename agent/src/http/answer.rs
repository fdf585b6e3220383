//! Replies as HTTP answers. The body is always the reply of the control socket: `exit`, `body`, `error`.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::api::{Problem, Reply};

/// A reply under the status that fits it.
pub(super) struct Answer(pub(super) Reply);

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        reply(status(&self.0), &self.0)
    }
}

/// Any status, for what never came to the desk.
pub(super) fn problem(status: StatusCode, code: &str, message: impl Into<String>) -> Response {
    reply(status, &Reply::problem(2, code, message))
}

/// The same, and when to try again.
pub(super) fn later(status: StatusCode, seconds: u64, message: impl Into<String>) -> Response {
    let mut response = problem(status, "busy", message);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// A reply under this status.
pub(super) fn reply(status: StatusCode, reply: &Reply) -> Response {
    match serde_json::to_vec(reply) {
        Ok(body) => json(status, body),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// JSON that nobody on the way keeps.
pub(super) fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, body).into_response()
}

/// An answer is 200 even if it is a no (`exit` 1 of a status); what was not done, or is not in force, never is.
fn status(reply: &Reply) -> StatusCode {
    if !reply.body.is_null() {
        return if reply.exit < 2 { StatusCode::OK } else { StatusCode::CONFLICT };
    }
    match reply.error.as_ref().map(|Problem { code, .. }| code.as_str()) {
        None => StatusCode::OK,
        Some("usage") => StatusCode::BAD_REQUEST,
        Some("forbidden") => StatusCode::FORBIDDEN,
        Some("refused") => StatusCode::CONFLICT,
        Some("busy") => StatusCode::SERVICE_UNAVAILABLE,
        Some(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_so_is_not_200() {
        for (reply, expected) in [
            (Reply::done(json!([])), 200),
            (Reply::with(1, json!({"enforcing": false})), 200),
            (Reply::with(2, json!({"in_force": false})), 409),
            (Reply::usage("x"), 400),
            (Reply::refused("x"), 409),
            (Reply::failed("x"), 500),
            (Reply::problem(2, "forbidden", "x"), 403),
            (Reply::problem(1, "unrecorded", "x"), 500),
        ] {
            assert_eq!(status(&reply).as_u16(), expected, "{reply:?}");
        }
    }
}
