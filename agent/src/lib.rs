//! Everything of Sekimori that runs in user space. Data flows one way through the folders:
//! `policy` → `compile` → `dataplane`; `cutoff`, `record`, `flows`, `metrics`, `tokens` stand beside it; `api`, `http` and
//! `cli` face people.
//! `policy` → `compile` → `dataplane`; `cutoff`, `record`, `metrics`, `threat`, `tokens` stand beside it; `api`, `http`
//! and `cli` face people.

pub mod agent;
pub mod api;
pub mod cli;
pub mod compile;
pub mod cutoff;
pub mod dataplane;
pub mod detect;
pub mod explain;
pub mod flows;
pub mod http;
pub mod metrics;
pub mod policy;
pub mod quarantine;
pub mod record;
pub mod replay;
pub mod threat;
pub mod tokens;
