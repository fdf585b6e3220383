//! The command line: raw arguments (`args`), meaning (`meaning`), doing (`run`), output in two languages (`render`,
//! `status`, `text`).

pub mod args;
mod capture;
mod cut;
mod flows;
mod group;
mod incidents;
mod lists;
pub mod meaning;
mod plan;
mod quarantine;
mod records;
pub mod render;
mod replay;
pub mod run;
mod status;
pub mod text;
mod token;

use clap::Parser;

use crate::api::protocol::Reply;

/// Runs the command line of this process; its exit code.
pub fn main() -> u8 {
    let cli = args::Cli::parse();
    let format = cli.format;
    match meaning::mean(cli) {
        Ok(order) => run::run(order),
        Err((usage, lang)) => run::show(&Reply::usage(usage.to_string()), render::Asked::Document, lang, format),
    }
}
