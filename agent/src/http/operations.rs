//! What there is to ask: the table from which both the ways in and their description are made.

use std::sync::Arc;

use axum::routing::{MethodRouter, get, post};
use schemars::{Schema, SchemaGenerator};

use super::{
    alerts,
    openapi::{self, answer_of, any_object, body_of},
    routes,
    visit::Api,
};
use crate::{
    agent::{
        alerts::AlertDone, cuts::CutDone, incident_desk::ClosedIncidents, plans::PlanDone, quarantines::QuarantineDone,
        restores::RestoreDone,
    },
    api::{
        protocol::{ConfirmAsk, CutoffAsk, PlanAsk, RestoreAsk},
        report::{Cutoff, PlanRow, QuarantineRow, Status},
    },
    detect::Incident,
};

/// One thing that can be asked.
pub(super) struct Operation {
    pub(super) path: &'static str,
    /// `get` or `post`.
    pub(super) method: &'static str,
    /// Name of the operation, for programs that read the description.
    pub(super) id: &'static str,
    /// What it does.
    pub(super) summary: &'static str,
    /// Nobody has to be known.
    pub(super) open: bool,
    /// Its handler.
    pub(super) serve: fn() -> MethodRouter<Arc<Api>>,
    /// What its body says.
    pub(super) takes: Option<fn(&mut SchemaGenerator) -> Schema>,
    /// What it answers.
    pub(super) gives: fn(&mut SchemaGenerator) -> Schema,
}

/// Everything there is to ask.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        path: "/v1/status",
        method: "get",
        id: "status",
        summary: "Enforcing or not, and why.",
        open: false,
        serve: || get(routes::status),
        takes: None,
        gives: answer_of::<Status>,
    },
    Operation {
        path: "/v1/cutoffs",
        method: "get",
        id: "cutoffs",
        summary: "What is cut off, and what was refused since.",
        open: false,
        serve: || get(routes::cutoffs),
        takes: None,
        gives: answer_of::<Vec<Cutoff>>,
    },
    Operation {
        path: "/v1/plans",
        method: "get",
        id: "plans",
        summary: "Which cut-offs are planned, and which plans could not be carried out.",
        open: false,
        serve: || get(routes::plans),
        takes: None,
        gives: answer_of::<Vec<PlanRow>>,
    },
    Operation {
        path: "/v1/quarantines",
        method: "get",
        id: "quarantines",
        summary: "Who is in quarantine, why, and what was refused since.",
        open: false,
        serve: || get(routes::quarantines),
        takes: None,
        gives: answer_of::<Vec<QuarantineRow>>,
    },
    Operation {
        path: "/v1/incidents",
        method: "get",
        id: "incidents",
        summary: "What detectors saw: the newest thousand, oldest first.",
        open: false,
        serve: || get(routes::incidents),
        takes: None,
        gives: answer_of::<Vec<Incident>>,
    },
    Operation {
        path: "/v1/incidents/{id}",
        method: "get",
        id: "incident",
        summary: "One incident.",
        open: false,
        serve: || get(routes::incident),
        takes: None,
        gives: answer_of::<Incident>,
    },
    Operation {
        path: "/v1/incidents/close",
        method: "post",
        id: "close_incidents",
        summary: "Say that incidents have been looked at, all or none.",
        open: false,
        serve: || post(routes::close_incidents),
        takes: Some(body_of::<routes::CloseIncidentsAsk>),
        gives: answer_of::<ClosedIncidents>,
    },
    Operation {
        path: "/v1/cutoff",
        method: "post",
        id: "cutoff",
        summary: "Cut objects off at one instant, all or none, and prove it.",
        open: false,
        serve: || post(routes::cutoff),
        takes: Some(body_of::<CutoffAsk>),
        gives: answer_of::<CutDone>,
    },
    Operation {
        path: "/v1/restore",
        method: "post",
        id: "restore",
        summary: "Lift cut-offs, all or none; or ask for it, where a second person has to confirm.",
        open: false,
        serve: || post(routes::restore),
        takes: Some(body_of::<RestoreAsk>),
        gives: answer_of::<RestoreDone>,
    },
    Operation {
        path: "/v1/restore/confirm",
        method: "post",
        id: "confirm",
        summary: "Carry out a restoration that somebody else asked for.",
        open: false,
        serve: || post(routes::confirm),
        takes: Some(body_of::<ConfirmAsk>),
        gives: answer_of::<RestoreDone>,
    },
    Operation {
        path: "/v1/plan",
        method: "post",
        id: "plan",
        summary: "Plan a cut-off, and draft what the people concerned are told.",
        open: false,
        serve: || post(routes::plan),
        takes: Some(body_of::<PlanAsk>),
        gives: answer_of::<PlanDone>,
    },
    Operation {
        path: "/v1/unplan",
        method: "post",
        id: "unplan",
        summary: "Take a planned cut-off back, or put one away that was missed.",
        open: false,
        serve: || post(routes::unplan),
        takes: Some(body_of::<routes::UnplanAsk>),
        gives: answer_of::<PlanDone>,
    },
    Operation {
        path: "/v1/quarantine",
        method: "post",
        id: "quarantine",
        summary: "Put hosts in quarantine, all or none.",
        open: false,
        serve: || post(routes::quarantine),
        takes: Some(body_of::<routes::QuarantineAsk>),
        gives: answer_of::<QuarantineDone>,
    },
    Operation {
        path: "/v1/release",
        method: "post",
        id: "release",
        summary: "Release hosts from quarantine, all or none.",
        open: false,
        serve: || post(routes::release),
        takes: Some(body_of::<routes::ReleaseAsk>),
        gives: answer_of::<QuarantineDone>,
    },
    Operation {
        path: "/v1/alerts/{receiver}",
        method: "post",
        id: "alerts",
        summary: "Take alerts of Alertmanager (webhook, version 4) and put the hosts they name in quarantine, where the policy lets it.",
        open: false,
        serve: || post(alerts::deliver),
        takes: Some(body_of::<alerts::Message>),
        gives: answer_of::<Vec<AlertDone>>,
    },
    Operation {
        path: "/v1/openapi.json",
        method: "get",
        id: "openapi",
        summary: "This document.",
        open: true,
        serve: || get(openapi::serve),
        takes: None,
        gives: any_object,
    },
];
