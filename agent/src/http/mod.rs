//! The HTTP API: what the control socket does, for those who come by the network.
//!
//! `config` is what is asked for, `place` where it may listen, `tls` with which certificates; `server` takes connections in
//! (`seats`), `visit` finds out who it is and what was said (`rates`), `scope` on what they may act, `operations` is what
//! there is to ask, `routes` how it is done, `alerts` what Alertmanager delivers, `answer` how it is
//! answered, `openapi` the description of all that,
//! `tally` what was answered. What is asked goes to the same desk as what comes by the control socket.

mod alerts;
mod answer;
pub mod config;
mod openapi;
mod operations;
mod place;
mod rates;
mod routes;
mod scope;
mod seats;
pub mod server;
mod tally;
mod tls;
mod visit;

pub use config::Http;
pub use tally::Tally;
