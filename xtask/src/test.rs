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

/// Formatting, build, lints, unit tests, behaviour; `filter` picks tests by name.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    require_root("test")?;
    lint::format()?;
    setup::run(setup::Extent::Everything)?;
    build::run(Profile::Dev)?;
    lint::clippy()?;

    let nextest = output_of("cargo", &["nextest", "--version"]).is_some();
    let mut total = Count::default();
    let mut clean = true;
    // Two runs, so that a mistake in pure code shows before the slower part starts.
    for packages in [
        &["--workspace", "--exclude", "sekimori-tests"][..],
        &["-p", "sekimori-tests"],
    ] {
        let mut command = cargo();
        if nextest {
            command.args(["nextest", "run", "--no-fail-fast", "--no-tests=pass"]);
        } else {
            command.args(["test", "--no-fail-fast"]);
        }
        command
            .args(packages)
            .args(filter)
            .env("SEKIMORI_BIN", Profile::Dev.agent())
            .env("NO_COLOR", "1");
        let (count, success) = counted(&mut command)?;
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
fn counted(command: &mut Command) -> Result<(Count, bool)> {
    let shown = show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{shown}`"))?;
    let out = child
        .stdout
        .take()
        .map(|stream| thread::spawn(|| pass_on(stream, |line| println!("{line}"))));
    let err = child
        .stderr
        .take()
        .map(|stream| thread::spawn(|| pass_on(stream, |line| eprintln!("{line}"))));
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

fn pass_on(stream: impl Read, print: impl Fn(&str)) -> Count {
    let mut count = Count::default();
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // Test output is not always UTF-8.
    while reader
        .read_until(b'\n', &mut line)
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        print(text);
        if let Some(part) = summary(text) {
            count.passed += part.passed;
            count.failed += part.failed;
        }
        line.clear();
    }
    count
}

/// Reads `test result: ok. 3 passed; 1 failed; …` (libtest) or
/// `Summary [ 0.1s] 4 tests run: 3 passed (1 slow), 1 failed, 0 skipped` (nextest).
fn summary(line: &str) -> Option<Count> {
    let line = line.trim_start();
    let counts = match line.strip_prefix("test result: ") {
        Some(rest) => rest.split_once(". ")?.1,
        None if line.starts_with("Summary [") => line.split_once(" run: ")?.1,
        None => return None,
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
    use super::{Count, summary};

    #[test]
    fn summaries_of_both_runners_are_read() {
        let count = |passed, failed| Some(Count { passed, failed });
        assert_eq!(
            summary(
                "test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 2 filtered out; finished in 0.00s"
            ),
            count(3, 1)
        );
        assert_eq!(
            summary("     Summary [   0.019s] 1 test run: 1 passed, 0 skipped"),
            count(1, 0)
        );
        assert_eq!(
            summary(
                "     Summary [   3.012s] 9 tests run: 5 passed (1 slow), 3 failed, 1 timed out, 2 skipped"
            ),
            count(5, 4)
        );
        assert_eq!(
            summary("     Summary [   0.000s] 0 tests run: 0 passed, 3 skipped"),
            count(0, 0)
        );
        assert_eq!(summary("running 3 tests"), None);
    }
}
