//! From YAML to a valid [`model::Policy`]: `document` says what the file says, `validate` what it means.

pub mod model;
