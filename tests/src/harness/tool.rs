//! Foreign programs: where they are, and running them with a deadline.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// The program's path: PATH, the system folders a PATH may leave out, then what `cargo xtask setup` unpacked. A name
/// that is nowhere comes back as it is, for the error of whoever starts it.
pub fn find(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return program.to_path_buf();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .chain(cache.map(|folder| folder.join("sekimori/tools/bin")))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| program.to_path_buf())
}

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// Exit code; `None` if it was killed, by the deadline among others.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// How long it took.
    pub took: Duration,
}

impl Said {
    /// Whether it ended with 0.
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }
}

/// Runs to the end, or kills the program at the deadline.
pub fn run(command: &mut Command, within: Duration) -> Result<Said> {
    let name = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {name} (`cargo xtask setup` installs what the tests run)"))?;
    let out = collect(child.stdout.take());
    let err = collect(child.stderr.take());
    let code = wait(&mut child, within)?;
    let text = |reader: thread::JoinHandle<Vec<u8>>| {
        reader.join().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    Ok(Said { code, out: text(out), err: text(err), took: start.elapsed() })
}

/// Runs to the end; anything but success is an error that carries what the program said.
pub fn must(command: &mut Command, within: Duration) -> Result<Said> {
    let said = run(command, within)?;
    if !said.ok() {
        bail!("{command:?} failed ({:?}):\n{}{}", said.code, said.out, said.err);
    }
    Ok(said)
}

/// Waits, then kills; the exit code if it ended by itself.
pub fn wait(child: &mut Child, within: Duration) -> Result<Option<i32>> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Asks again until the answer is there; the error says what was waited for and the last answer.
pub fn until<T>(what: &str, within: Duration, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        let answer = ask();
        match answer {
            Ok(Some(value)) => return Ok(value),
            Ok(None) if Instant::now() >= deadline => bail!("waited {within:?} in vain for {what}"),
            Err(error) if Instant::now() >= deadline => {
                return Err(error.context(format!("waited {within:?} in vain for {what}")));
            }
            Ok(None) | Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn collect(stream: Option<impl std::io::Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            // A broken pipe ends the output; what came before it is still worth having.
            stream.read_to_end(&mut bytes).ok();
        }
        bytes
    })
}
