//! `test`: everything that must hold, fast things first.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build::{self, Profile},
    lint, setup,
    workspace::{cargo, output_of, require_root, show},
};

/// How many tests ran, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

/// What runs the tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runner {
    Libtest,
    Nextest,
}

/// Formatting, build, lints, unit tests, behaviour; `filter` picks tests by name.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    require_root("test")?;
    lint::format()?;
    setup::run(setup::Extent::Everything)?;
    build::run(Profile::Dev)?;
    lint::clippy()?;

    let runner = match output_of("cargo", &["nextest", "--version"]) {
        Some(_) => Runner::Nextest,
        None => Runner::Libtest,
    };
    let mut total = Count::default();
    let mut clean = true;
    // Two runs, so that a mistake in pure code shows before the slower part starts.
    for packages in [&["--workspace", "--exclude", "sekimori-tests"][..], &["-p", "sekimori-tests"]] {
        let mut command = cargo();
        match runner {
            Runner::Nextest => command.args(["nextest", "run", "--no-fail-fast", "--no-tests=pass"]),
            Runner::Libtest => command.args(["test", "--no-fail-fast"]),
        };
        command.args(packages);
        match (filter, runner) {
            // A topic is a file; a file's name is the binary's.
            (Some(filter), Runner::Nextest) => command.args(["-E", &format!("test({filter}) | binary(~{filter})")]),
            (filter, _) => command.args(filter),
        };
        command
            .env("SEKIMORI_BIN", Profile::Dev.agent())
            .env("NO_COLOR", "1")
            // Errors name their causes; a backtrace of the error's birth buries them.
            .env("RUST_LIB_BACKTRACE", "0");
        let (count, success) = counted(runner, &mut command)?;
        total.passed += count.passed;
        total.failed += count.failed;
        clean &= success;
    }

    println!("{} passed, {} failed", total.passed, total.failed);
    if total.passed + total.failed == 0 {
        bail!("no test ran: a run that tries nothing proves nothing");
    }
    if !clean || total.failed > 0 {
        bail!("the tests did not pass");
    }
    Ok(())
}

/// Runs with our output, and adds up the summaries that pass by.
fn counted(runner: Runner, command: &mut Command) -> Result<(Count, bool)> {
    let shown = show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{shown}`"))?;
    let out =
        child.stdout.take().map(|stream| thread::spawn(move || pass_on(runner, stream, |line| println!("{line}"))));
    let err =
        child.stderr.take().map(|stream| thread::spawn(move || pass_on(runner, stream, |line| eprintln!("{line}"))));
    let mut count = Count::default();
    for reader in [out, err].into_iter().flatten() {
        if let Ok(part) = reader.join() {
            count.passed += part.passed;
            count.failed += part.failed;
        }
    }
    let status = child.wait().with_context(|| format!("lost `{shown}`"))?;
    Ok((count, status.success()))
}

fn pass_on(runner: Runner, stream: impl Read, print: impl Fn(&str)) -> Count {
    let mut count = Count::default();
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // Test output is not always UTF-8.
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        print(text);
        if let Some(part) = summary(runner, text) {
            count.passed += part.passed;
            count.failed += part.failed;
        }
        line.clear();
    }
    count
}

/// Reads the runner's own summary line. nextest repeats the output of failed tests, libtest's summary among it,
/// so each runner's lines are looked for alone.
fn summary(runner: Runner, line: &str) -> Option<Count> {
    let counts = match runner {
        // `test result: ok. 3 passed; 1 failed; …`
        Runner::Libtest => line.strip_prefix("test result: ")?.split_once(". ")?.1,
        // `     Summary [ 0.1s] 4 tests run: 3 passed (1 slow), 1 failed, 0 skipped`
        Runner::Nextest => line.strip_prefix("     Summary [")?.split_once(" run: ")?.1,
    };
    let mut count = Count::default();
    for part in counts.split([';', ',']) {
        let mut words = part.split_whitespace();
        let number: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        match words.next() {
            Some("passed") => count.passed += number,
            // A test that exceeds its time fails, whatever it is called.
            Some("failed" | "timed") => count.failed += number,
            _ => {}
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::{
        Count,
        Runner::{Libtest, Nextest},
        summary,
    };

    #[test]
    fn summaries_of_both_runners_are_read() {
        let count = |passed, failed| Some(Count { passed, failed });
        for (runner, line, expected) in [
            (
                Libtest,
                "test result: FAILED. 3 passed; 1 failed; 0 ignored; 2 filtered out; finished in 0.00s",
                count(3, 1),
            ),
            (Nextest, "     Summary [   0.019s] 1 test run: 1 passed, 0 skipped", count(1, 0)),
            (
                Nextest,
                "     Summary [   3.012s] 9 tests run: 5 passed (1 slow), 3 failed, 1 timed out, 2 skipped",
                count(5, 4),
            ),
            (Nextest, "     Summary [   0.000s] 0 tests run: 0 passed, 3 skipped", count(0, 0)),
            (Nextest, "    test result: FAILED. 0 passed; 1 failed; 0 ignored", None),
            (Nextest, "test result: FAILED. 0 passed; 1 failed; 0 ignored", None),
            (Libtest, "running 3 tests", None),
        ] {
            assert_eq!(summary(runner, line), expected, "{line}");
        }
    }
}
