//! The HTTP API: who may ask what, and from where.

#[path = "http/alerts.rs"]
mod alerts;
#[path = "http/bounds.rs"]
mod bounds;
#[path = "http/openapi.rs"]
mod openapi;
#[path = "http/place.rs"]
mod place;
#[path = "http/rights.rs"]
mod rights;
#[path = "http/scene.rs"]
mod scene;
