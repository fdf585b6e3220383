//! Doing it: by the agent if one answers, else on the pinned state where that is possible.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use nix::sys::signal::SigSet;
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

use super::{
    args::Format,
    flows,
    lists::ListCheck,
    meaning::{Order, Place, Replay, Work},
    plan, render, say,
    text::{self, Lang},
};
use crate::{
    agent::{
        by_hand,
        config::{self, Config},
        daemon,
        evaluator::Evaluator,
        handler,
        handler::Desk,
        keeper::{Caller, Keeper, Mode},
        preflight::{self, Lock},
        rooms, signals,
    },
    api::{
        client, door,
        protocol::{Ask, CutoffAsk, Question, Reply, Request},
        report::PlanRow,
        roles::{self, Peer},
    },
    cutoff::{Names, Object, Switch, Thrown},
    dataplane::maps::CutMaps,
    flows::{FOLDER, query::BackCheck},
    record::{Origin, reader},
    threat::{self, Protected},
};

/// Does what was ordered; the exit code.
pub fn run(order: Order) -> u8 {
    let (lang, format) = (order.lang, order.format);
    let reply = match order.work {
        Work::Agent => return agent(&order.place, lang),
        Work::Ask(ask) => {
            let rendered = render::Asked::of(&ask);
            let reply = ask_instance(&order.place, ask, lang);
            let exit = show(&reply, rendered, lang, format);
            if (rendered, format, &reply.error) == (render::Asked::Cuts, Format::Text, &None) {
                planned_beside(&order.place, lang);
            }
            return exit;
        }
        Work::NewToken(ask, secret) => {
            let mut reply = ask_instance(&order.place, Ask::TokenAdd(*ask), lang);
            if let (0, Value::Object(row)) = (reply.exit, &mut reply.body) {
                row.insert("token".into(), json!(secret.show()));
            }
            return show(&reply, render::Asked::Token, lang, format);
        }
        Work::Plan(ask, file) => {
            // Before anything is planned: a name that is taken is a slip.
            if let Some(file) = file.as_ref().filter(|file| file.exists()) {
                let reply = Reply::usage(text::notice_file_exists(lang, file.display()));
                return show(&reply, render::Asked::Plan, lang, format);
            }
            let reply = ask_instance(&order.place, Ask::Plan(*ask), lang);
            let reply = plan::put_notice(reply, file.as_deref(), lang);
            return show(&reply, render::Asked::Plan, lang, format);
        }
        Work::Check(policy) => {
            let reply = match policy.map_or_else(|| configured_policy(&order.place), Ok) {
                Ok(path) => handler::check(&path, lang),
                Err(error) => Reply::usage(error.to_string()),
            };
            return show(&reply, render::Asked::Check, lang, format);
        }
        Work::Explain(policy, question) => {
            return show(&explain(&policy, &question, lang), render::Asked::Explain, lang, format);
        }
        Work::Capture(capture) => {
            let ask = |ask| ask_instance(&order.place, Ask::Capture(ask), lang);
            return super::capture::run(&capture, ask, lang, format);
        }
        Work::Export(id, path) => {
            let reply = ask_instance(&order.place, Ask::ExportIncident { id }, lang);
            return super::incidents::export(reply, &path, lang, format);
        }
        Work::Replay(replay) => return self::replay(&order.place, &replay, lang, format),
        Work::BackCheck(list) => {
            let reply = back_check(&order.place, &list, lang);
            return show(&reply, render::Asked::BackCheck, lang, format);
        }

        Work::CheckLists(check) => {
            let reply = check_lists(&order.place, &check, lang);
            return show(&reply, render::Asked::ListsChecked, lang, format);
        }
        Work::Schema => Reply::done(rooms::schema()),
        Work::Version => Reply::done(json!({ "version": env!("CARGO_PKG_VERSION") })),
    };
    show(&reply, render::Asked::Document, lang, format)
}

/// Prints a reply: JSON as it is, text by what was asked; problems of text go to standard error.
pub(super) fn show(reply: &Reply, asked: render::Asked, lang: Lang, format: Format) -> u8 {
    let mut out = io::stdout().lock();
    let written = match format {
        Format::Json => render::json(&mut out, reply, asked),
        Format::Text => render::text(&mut out, reply, asked, lang),
    };
    if format == Format::Text
        && let Some(problem) = &reply.error
    {
        say(&problem.message);
    }
    if let (Format::Text, render::Asked::Check, Some(notes)) = (format, asked, reply.body["notes"].as_array()) {
        notes.iter().filter_map(Value::as_str).for_each(say);
    }
    // Like a host or an incident that is not there.
    let absent = asked == render::Asked::Record && reply.body.as_array().is_some_and(Vec::is_empty);
    match written.and_then(|()| out.flush()) {
        Ok(()) => reply.exit.max(u8::from(absent)),
        // A reader that went away (`| head`) has what it wanted.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => reply.exit,
        // What was done stays done; 2 would say that nothing was.
        Err(error) => {
            say(text::not_shown(lang, error));
            reply.exit.max(1)
        }
    }
}

/// What is planned belongs to what is cut off, for people; in JSON it is a list of its own.
fn planned_beside(place: &Place, lang: Lang) {
    let planned = ask_instance(place, Ask::Plans {}, lang);
    // An agent of an earlier version knows of no plans.
    let rows: Vec<PlanRow> = serde_json::from_value(planned.body).unwrap_or_default();
    // As in `show`, a reader that went away has what it wanted.
    if let Err(error) = plan::beside(&mut io::stdout().lock(), &rows, lang)
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        say(error);
    }
}

fn configured_policy(place: &Place) -> Result<PathBuf, config::Error> {
    place.load().map(|config| config.policy)
}

fn agent(place: &Place, lang: Lang) -> u8 {
    let filter = EnvFilter::try_from_env("SEKIMORI_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_target(false)
        .with_ansi(false)
        .init();
    let started = place.load().map_err(|error| error.to_string()).and_then(|config| {
        // Before the runtime starts its threads: they inherit the mask.
        let blocked = signals::block().map_err(|error| error.to_string())?;
        runtime()?.block_on(daemon_of(config, blocked))
    });
    match started {
        Ok(()) => 0,
        Err(why) => {
            say(text::failed_at(lang, why));
            2
        }
    }
}

async fn daemon_of(config: Config, blocked: SigSet) -> Result<(), String> {
    daemon::run(config, blocked).await.map_err(|error| error.to_string())
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
}

/// How long an agent that has taken the request may be silent about a cut-off; its proof takes a fraction of a second.
const CUT_PATIENCE: Duration = Duration::from_secs(5);

/// How long an agent that holds the instance and does not listen (it starts, or its socket was removed) is waited for.
const RETURN_PATIENCE: Duration = Duration::from_secs(5);

/// By the agent; without one, root works on what is pinned.
fn ask_instance(place: &Place, ask: Ask, lang: Lang) -> Reply {
    let cuts = matches!(&ask, Ask::Cutoff(ask) if !ask.drill);
    // Whoever is frightened must not take a message for a success.
    let loud = |why: String| if cuts { text::and_nothing_cut(lang, why) } else { why };
    let config = place.load();
    let socket = match (&place.socket, &config) {
        (Some(socket), _) => socket.clone(),
        (None, Ok(config)) => config.socket.clone(),
        (None, Err(error)) => return Reply::usage(loud(error.to_string())),
    };
    let mut patience = client::REPLY_TIME;
    if cuts {
        // Whoever may not has to wait like everybody else.
        let _ = door::rise(door::COMMAND_PRIORITY);
        patience = CUT_PATIENCE;
    }
    let request = Request { lang, claims_from: claims_from(), ask };
    match client::ask_within(&socket, &request, patience) {
        Ok(mut reply) => {
            // Turned away at the door: nobody has looked at what was asked.
            if let Some(problem) = reply.error.as_mut().filter(|its| matches!(&*its.code, "forbidden" | "busy")) {
                problem.message = loud(std::mem::take(&mut problem.message));
            }
            reply
        }
        Err(client::Error::Silent { .. })
            if let Ask::Cutoff(cut) = &request.ask
                && cuts =>
        {
            past_a_silent_agent(config.ok().as_ref(), cut, lang)
        }
        Err(error) if error.is_absent() => match config {
            Ok(config) if nix::unistd::geteuid().is_root() => {
                of_a_returning_agent(&config, &socket, &request).unwrap_or_else(|| without_agent(config, request, lang))
            }
            _ if cuts => Reply::failed(text::no_agent_cuts(lang, socket.display())),
            _ => Reply::failed(text::no_agent(lang, socket.display())),
        },
        Err(error @ client::Error::Garbled { .. }) if cuts => Reply::failed(text::and_perhaps_cut(lang, error)),
        Err(error) => Reply::failed(loud(error.to_string())),
    }
}

/// What an agent says that holds the instance and is about to listen. A cut does not wait for it.
fn of_a_returning_agent(config: &Config, socket: &Path, request: &Request) -> Option<Reply> {
    if matches!(&request.ask, Ask::Cutoff(ask) if !ask.drill) {
        return None;
    }
    let deadline = Instant::now() + RETURN_PATIENCE;
    while Instant::now() < deadline && matches!(Lock::take(&config.state), Err(preflight::Error::Locked { .. })) {
        match client::ask(socket, request) {
            Err(error) if error.is_absent() => std::thread::sleep(Duration::from_millis(50)),
            asked => return asked.ok(),
        }
    }
    None
}

/// The agent hangs, and packets pass meanwhile: the pinned tables are written as if there were none, for everything of the
/// request that can be understood without it.
fn past_a_silent_agent(config: Option<&Config>, ask: &CutoffAsk, lang: Lang) -> Reply {
    let list = |objects: &[Object]| objects.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let seconds = CUT_PATIENCE.as_secs();
    let one = |object: &Object| CutoffAsk { objects: vec![object.clone()], ..ask.clone() };
    let thrown = |config: &Config, object: &Object| throw_without_agent(config, &Ask::Cutoff(one(object))).is_some();
    let (cut, left): (Vec<Object>, Vec<Object>) =
        ask.objects.iter().cloned().partition(|object| config.is_some_and(|config| thrown(config, object)));
    let Some(config) = config.filter(|_| !cut.is_empty()) else {
        return Reply::failed(text::cut_agent_silent(lang, list(&left), seconds));
    };
    let note = CutoffAsk { objects: cut.clone(), ..ask.clone() };
    let why = by_hand::leave(&config.state, &note).err().map(|error| format!(" ({error})")).unwrap_or_default();
    let said = text::cut_past_agent(lang, list(&cut), seconds, why);
    if left.is_empty() {
        return Reply::problem(1, "unproven", said);
    }
    Reply::problem(2, "unknown", text::cut_part_past_agent(lang, said, list(&left)))
}

/// Asks in parts of what one request holds, and puts the answers together. The first part that has none ends it.
fn back_check(place: &Place, list: &flows::List, lang: Lang) -> Reply {
    for (file, lines, first) in &list.skipped {
        say(text::flow_skipped(lang, file, lines, first));
    }
    let mut all = BackCheck::default();
    let mut error = None;
    for part in list.listed.chunks(flows::PART) {
        let ask = Ask::BackCheck { listed: part.to_vec(), since: list.since, until: list.until };
        let reply = ask_instance(place, ask, lang);
        match serde_json::from_value::<BackCheck>(reply.body.clone()) {
            Ok(found) => all.add(found),
            Err(_) => return reply,
        }
        error = reply.error.or(error);
    }
    // Nobody, for certain, only if every part was answered in full.
    let exit = if error.is_some() { 2 } else { u8::from(all.contacts.is_empty()) };
    Reply { error, ..Reply::with(exit, &all) }
}

/// Where this login comes from, as `sshd` says; a claim, since the environment is the caller's.
fn claims_from() -> Option<String> {
    let connection = std::env::var("SSH_CONNECTION").ok()?;
    Some(connection.split(' ').next()?.chars().take(64).collect())
}

fn without_agent(config: Config, request: Request, lang: Lang) -> Reply {
    match &request.ask {
        Ask::Apply(_) | Ask::Group(_) | Ask::Capture(_) | Ask::Plan(_) | Ask::Lists {} | Ask::ReloadLists(_) => {
            return Reply::failed(text::needs_agent(lang, config.socket.display()));
        }
        Ask::Check {} => return handler::check(&config.policy, lang),
        Ask::FlowRecords { limit, filter } => {
            return handler::flow_records(&config.state.join(FOLDER), filter, *limit, lang);
        }
        Ask::BackCheck { listed, since, until } => {
            return handler::back_check(&config.state.join(FOLDER), listed, (*since, *until), lang);
        }
        Ask::VerifyRecords {} => return handler::verify_record(&config.state.join("records.jsonl")),
        Ask::Records { limit, filter } => {
            let path = config.state.join("records.jsonl");
            return match reader::list(&path, *limit, filter) {
                Ok(lines) => Reply::done(lines),
                Err(error) => Reply::failed(format!("{}: {error}", path.display())),
            };
        }
        _ => {}
    }
    let thrown = throw_without_agent(&config, &request.ask);
    let (was_thrown, state) = (thrown.is_some(), config.state.clone());
    let told = was_thrown.then(|| tell_if_slow(lang));
    let asked = request.ask.clone();
    let answered = runtime().and_then(|runtime| {
        runtime.block_on(async {
            let mut keeper = Keeper::open(config, Mode::Command).map_err(|error| error.to_string())?;
            keeper.revive().await;
            let peer = Peer {
                uid: nix::unistd::getuid().as_raw(),
                gid: nix::unistd::getgid().as_raw(),
                pid: nix::unistd::getpid().as_raw(),
            };
            let actor = roles::actor(peer, "operator", request.claims_from);
            let caller = Caller { actor, from: Origin::Cli, lang };
            Ok(Desk::new(keeper).answer_thrown(request.ask, &caller, thrown).await)
        })
    });
    drop(told);
    answered.unwrap_or_else(|why| match &asked {
        // Somebody else holds the instance, an agent that starts most likely: it takes the cut over.
        Ask::Cutoff(ask) if was_thrown => {
            let left = by_hand::leave(&state, ask).err().map(|error| format!("; {error}")).unwrap_or_default();
            Reply::problem(1, "unrecorded", text::cut_not_kept(lang, format!("{why}{left}")))
        }
        Ask::Cutoff(ask) if !ask.drill => Reply::failed(text::and_nothing_cut(lang, why)),
        _ => Reply::failed(why),
    })
}

/// What was cut is said after a while even if the disk keeps this command for ever; unless the answer drops this before.
fn tell_if_slow(lang: Lang) -> mpsc::Sender<()> {
    let (done, waits) = mpsc::channel();
    std::thread::spawn(move || {
        if waits.recv_timeout(CUT_PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            say(text::cut_disk_silent(lang, CUT_PATIENCE.as_secs()));
        }
    });
    done
}

/// Cuts by the pinned tables before anything else is looked at; the policy may take a while to read. Names of devices have to
/// wait for it.
fn throw_without_agent(config: &Config, ask: &Ask) -> Option<Thrown> {
    let began = Instant::now();
    let Ask::Cutoff(ask) = ask else { return None };
    if ask.drill || ask.reason.trim().is_empty() {
        return None;
    }
    let maps = config.bpffs.join("maps");
    let switch = Switch::default();
    switch.connect(Some((CutMaps::pinned(&maps).ok()?, CutMaps::pinned(&maps).ok()?)), &config.state);
    let numbers = rooms::Numbers::load(&config.state.join("registry.json")).unwrap_or_else(|_| rooms::Numbers::none());
    let nets = numbers.nets().map(|(name, id)| (name.to_owned(), id)).collect();
    switch.name(Names { policy: None, nets });
    switch.throw(&ask.objects, ask.including_management, began)
}

fn explain(policy: &std::path::Path, question: &Question, lang: Lang) -> Reply {
    match rooms::load(policy, lang) {
        (Some(read), _) => match Evaluator::new(&read.policy).and_then(|mut asked| asked.ask(question, lang)) {
            Ok(explained) => Reply::with(u8::from(!explained.pass()), explained),
            Err(why) => Reply::usage(why),
        },
        (None, findings) => {
            let mut reply = Reply::refused(text::apply_invalid(lang, findings.len()));
            reply.body = json!({ "findings": findings });
            reply.exit = 2;
            reply
        }
    }
}

/// Looks at list files, as far as possible as the agent would.
fn check_lists(place: &Place, check: &ListCheck, lang: Lang) -> Reply {
    let config = place.load();
    let path = check.policy.clone().or_else(|| config.as_ref().ok().map(|config| config.policy.clone()));
    let management = config.as_ref().map(|config| config.management.clone()).unwrap_or_default();
    let read = path.as_ref().and_then(|path| rooms::load(path, lang).0);
    if check.policy.is_some() && read.is_none() {
        return Reply::usage(text::policy_invalid(lang, path.unwrap_or_default().display()));
    }
    let protected = match &read {
        Some(read) => Protected::of(&read.policy, &management),
        None => {
            let why = match (&path, &config) {
                (Some(path), _) => text::policy_invalid(lang, path.display()),
                (None, Err(error)) => error.to_string(),
                (None, Ok(_)) => String::new(),
            };
            say(text::list_check_alone(lang, why));
            Protected::default()
        }
    };
    let rows: Vec<_> =
        check.files.iter().map(|file| threat::check_file(file, check.format, &protected, lang)).collect();
    Reply::with(u8::from(rows.iter().any(|row| !row.taken)), rows)
}

fn replay(place: &Place, replay: &Replay, lang: Lang, format: Format) -> u8 {
    let policy = match replay.policy.clone().map_or_else(|| configured_policy(place), Ok) {
        Ok(policy) => policy,
        Err(error) => {
            say(error);
            return 2;
        }
    };
    match super::replay::run(&policy, replay, format, lang) {
        Ok(exit) => exit,
        Err(why) => {
            say(why);
            2
        }
    }
}
