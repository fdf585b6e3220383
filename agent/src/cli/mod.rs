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
mod typed;

use std::{
    ffi::OsString,
    fmt::Display,
    io::{self, Write},
};

use clap::Parser;

use self::text::Lang;
use crate::api::protocol::Reply;

/// A line to standard error. Nobody reads what cannot be written, and that must not end a command halfway, as `eprintln!` does.
fn say(what: impl Display) {
    let _ = writeln!(io::stderr(), "sekimori: {what}");
}

/// What `clap` says of a command line it cannot read; and, where somebody meant to cut off, that it did not happen.
fn unread(error: &clap::Error, given: &[OsString]) -> u8 {
    // Nobody reads what cannot be written.
    let _ = error.print();
    if error.use_stderr() && given.iter().skip(1).any(|word| word == "cutoff") {
        say(text::nothing_cut(Lang::from_environment()));
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

/// Runs the command line of this process; its exit code.
pub fn main() -> u8 {
    let given = typed::meant(std::env::args_os());
    let cli = match args::Cli::try_parse_from(&given) {
        Ok(cli) => cli,
        Err(error) => return unread(&error, &given),
    };
    let format = cli.format;
    match meaning::mean(cli) {
        Ok(order) => run::run(order),
        Err((usage, lang)) => run::show(&Reply::usage(usage.to_string()), render::Asked::Document, lang, format),
    }
}
