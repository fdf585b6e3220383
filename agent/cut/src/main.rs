//! Cuts off, and nothing else: for a button at the wall, for a login that may do no more, and for a box whose agent is dead.
//!
//! It writes the pinned tables itself, then leaves a note for the agent, which takes the cut over with its reason and its
//! record: at once if it runs, else when it is back. Nothing can be lifted with it.

mod aside;
mod map;
mod note;
mod object;

use std::{
    fmt,
    fs::File,
    io::{self, Write},
    os::{fd::AsRawFd as _, unix::fs::OpenOptionsExt as _},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use object::Object;

const USAGE: &str = "usage: sekimori-cut [--bpffs DIR] [--state DIR] --reason TEXT [--including-management] OBJECT...
OBJECT: network NAME | zone NAME | host ADDRESS-OR-MAC | prefix P | all
Cuts off at once by the pinned tables, whether an agent runs or not. Restore with `sekimori restore`.
関守の表に直接書き込み、直ちに遮断します(エージェントの有無を問いません)。復旧は `sekimori restore` で行います。";

/// What was asked for.
struct Order {
    bpffs: PathBuf,
    state: PathBuf,
    reason: String,
    including_management: bool,
    objects: Vec<Object>,
}

fn main() -> ExitCode {
    let began = Instant::now();
    // A name that is no text names nothing, and must not end this in the middle.
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if matches!(words.as_slice(), [word] if word == "--help" || word == "-h") {
        say(io::stdout(), USAGE);
        return ExitCode::SUCCESS;
    }
    let order = match read(words.into_iter()) {
        Ok(order) => order,
        Err(why) => {
            say(io::stderr(), format_args!("sekimori-cut: NOTHING WAS CUT OFF / 何も遮断していません: {why}\n{USAGE}"));
            return ExitCode::from(2);
        }
    };
    match cut(&order) {
        Ok(()) => {}
        Err(why) => {
            let what = "Pull the cable / 遮断できません。ケーブルを抜いてください";
            say(io::stderr(), format_args!("sekimori-cut: NOT cut off: {why}. {what}"));
            return ExitCode::from(2);
        }
    }
    let took = began.elapsed();
    let names: Vec<String> = order.objects.iter().map(ToString::to_string).collect();
    say(
        io::stdout(),
        format_args!(
            "{} cut off, from this packet on, {} us after the start of this command; written to the tables directly / 遮断しました(表へ直接書込み)",
            names.join(", "),
            took.as_micros()
        ),
    );
    match note::leave(&order.state, &order.reason, order.including_management, &names) {
        Ok(()) => {
            say(
                io::stdout(),
                "A note for the agent is left: it takes the cut over / エージェントへの引継ぎを残しました",
            );
            ExitCode::SUCCESS
        }
        Err(why) => {
            say(
                io::stderr(),
                format_args!(
                    "sekimori-cut: the cut stands, but no note could be left: {why}. Write down who, when and why / 遮断は有効ですが引継ぎを残せません。実施者・時刻・理由を控えてください"
                ),
            );
            ExitCode::from(1)
        }
    }
}

/// A line to whoever may be listening. That nobody is changes nothing of what is done, and must not end it.
fn say(mut to: impl Write, what: impl fmt::Display) {
    let _ = writeln!(to, "{what}");
}

fn read(mut words: impl Iterator<Item = String>) -> Result<Order, String> {
    let mut order = Order {
        bpffs: "/sys/fs/bpf/sekimori".into(),
        state: "/var/lib/sekimori".into(),
        reason: String::new(),
        including_management: false,
        objects: Vec::new(),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--bpffs" => order.bpffs = value()?.into(),
            "--state" => order.state = value()?.into(),
            // It becomes one line of lists and records.
            "--reason" => order.reason = value()?.replace(char::is_control, " "),
            "--including-management" => order.including_management = true,
            "all" => order.objects.push(Object::All),
            kind => {
                let kind = kind.to_owned();
                order.objects.push(Object::read(&kind, &value()?)?);
            }
        }
    }
    if order.reason.trim().is_empty() {
        return Err("say why with --reason".into());
    }
    if order.objects.is_empty() {
        return Err("nothing to cut off".into());
    }
    if order.including_management && order.objects != [Object::All] {
        return Err("--including-management goes with `all` alone".into());
    }
    Ok(order)
}

/// Everything is understood before anything is written; the word that makes it count comes last.
fn cut(order: &Order) -> Result<(), String> {
    let nets = object::numbers(&order.state, &order.objects)?;
    let maps = order.bpffs.join("maps");
    let _held = hold(&order.state);
    map::close(&maps, &order.objects, &nets, order.including_management)
        .map_err(|error| format!("{}: {error}", maps.display()))
}

/// Others who write the tables wait for this, and this for them, but not for long: a cut is worth more than order. Held until
/// the file is closed.
fn hold(state: &std::path::Path) -> Option<File> {
    let path = state.join("cut.lock");
    // A disk that answers no write still opens what is there.
    let made = || File::options().create(true).append(true).mode(0o600).open(&path);
    let file = File::open(&path).or_else(|_| made()).ok()?;
    for _ in 0..200 {
        // SAFETY: a descriptor that is open as long as the file lives.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Some(file)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn order(line: &str) -> Result<Order, String> {
        read(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn ipv4_has_one_name_and_no_prefix_means_everything() {
        let one = |words: &str| order(&format!("--reason worm {words}")).map(|order| order.objects[0].to_string());
        assert_eq!(one("host ::ffff:192.0.2.1").as_deref(), Ok("host 192.0.2.1"));
        assert_eq!(one("prefix ::ffff:10.1.0.0/112").as_deref(), Ok("prefix 10.1.0.0/16"));
        assert_eq!(one("prefix 2000::/3").as_deref(), Ok("prefix 2000::/3"));
        for all in ["0.0.0.0/0", "::/0", "::/64", "::/1", "::ffff:0:0/96"] {
            assert!(one(&format!("prefix {all}")).is_err_and(|why| why.contains("every address")), "{all}");
        }
        for nobody in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "::"] {
            assert!(one(&format!("host {nobody}")).is_err(), "{nobody}");
        }
    }

    #[test]
    fn a_reason_is_one_line() {
        let words = ["--reason", "worm\n\u{1b}[2Jon pc-017", "all"].map(str::to_owned);
        assert_eq!(read(words.into_iter()).unwrap().reason, "worm  [2Jon pc-017");
    }

    #[test]
    fn it_needs_objects_and_a_reason() {
        let good =
            order("--reason worm network internet host 192.0.2.1 host 02:00:00:00:10:17 prefix 2001:db8::/32 all");
        assert_eq!(good.unwrap().objects.len(), 5);
        for bad in [
            "network internet",
            "--reason worm",
            "--reason worm network",
            "--reason worm planet earth",
            "--reason worm host pc-017",
            "--reason worm prefix 10.0.0.1/8",
            "--reason worm prefix 0.0.0.0/0",
            "--reason worm prefix 10.0.0.0/33",
            "--reason worm --including-management network internet",
            "network internet --reason",
        ] {
            assert!(order(bad).is_err(), "{bad}");
        }
    }
}
