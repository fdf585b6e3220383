//! Prometheus metrics: `family` is the catalogue, `collect` fills it from an instance, `server` hands it out.

pub mod collect;
pub mod family;
pub mod server;
