//! The real `galley` binary: start, wait until ready, stop, kill, run a command.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Client, root};

/// How long a start may take, on a machine that runs the other tests as well.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The binary under test: `GALLEY_BIN`, else built once by this run.
pub fn galley() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("GALLEY_BIN") {
            return path.into();
        }
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--package",
                "galley-cli",
                "--message-format=json",
            ])
            .current_dir(root())
            .stderr(Stdio::inherit())
            .output()
            .expect("run cargo build");
        assert!(
            built.status.success(),
            "cargo build --package galley-cli failed"
        );
        let text = String::from_utf8(built.stdout).unwrap();
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .find_map(|message| message["executable"].as_str().map(PathBuf::from))
            .expect("cargo names the executable it built")
    })
}

/// A command whose environment holds none of our own variables: whatever starts with `GALLEY_` is a
/// setting of the product, and a wrong one is an error.
pub fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GALLEY_") {
            command.env_remove(name);
        }
    }
    command
}

/// How to start a server.
#[derive(Debug, Clone)]
pub struct Launch {
    pub repo: PathBuf,
    pub data_dir: PathBuf,
    pub env: Vec<(String, String)>,
    /// Flags of `unshare` and the size in MiB: the data folder becomes a tmpfs only the server sees.
    small_disk: Option<(Vec<String>, u64)>,
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Galley {
    child: Child,
    pub address: SocketAddr,
    pub log: PathBuf,
    /// Where this process's part of the log begins: restarts share one file.
    log_at: usize,
    /// Whether panics that the server survives are expected: redb panics on some damaged files.
    pub may_panic: bool,
}

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("not JSON ({error}): {:?}\n{}", self.stdout, self.stderr)
        })
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(
            self.status.success(),
            "{}\nstdout: {}\nstderr: {}",
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }
}

impl Launch {
    pub fn new(repo: &Path, data_dir: &Path) -> Self {
        Self {
            repo: repo.to_owned(),
            data_dir: data_dir.to_owned(),
            env: Vec::new(),
            small_disk: None,
        }
    }

    /// A setting by its environment variable, as users set it.
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.push((name.to_owned(), value.to_string()));
        self
    }

    /// Puts the data folder on a tmpfs of `mib` MiB, in a mount namespace of the server's own.
    pub fn on_small_disk(mut self, unshare: &[&str], mib: u64) -> Self {
        self.small_disk = Some((unshare.iter().map(ToString::to_string).collect(), mib));
        self
    }

    /// Starts the server on a free port and waits until it answers look-ups.
    #[track_caller]
    pub fn start(&self) -> Galley {
        self.try_start()
            .unwrap_or_else(|(status, log)| panic!("galley serve ended with {status}:\n{log}"))
    }

    /// As [`Self::start`]; a server that ended before it was ready is the error, with its log.
    pub fn try_start(&self) -> Result<Galley, (ExitStatus, String)> {
        std::fs::create_dir_all(&self.data_dir).unwrap();
        let _ = std::fs::remove_file(self.data_dir.join("galley.json"));
        let log = self.data_dir.with_extension("log");
        let log_at = std::fs::read(&log).map_or(0, |text| text.len());
        let sink = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut child = self
            .command(&["serve", "--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(sink.try_clone().unwrap())
            .stderr(sink)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", galley().display()));
        let deadline = Instant::now() + START_TIMEOUT;
        let mut address = None;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                let whole = std::fs::read(&log).unwrap_or_default();
                let own = whole.get(log_at..).unwrap_or_default();
                return Err((status, String::from_utf8_lossy(own).into_owned()));
            }
            address = address.or_else(|| self.announced(child.id()));
            if let Some(address) = address
                && Client::new(address)
                    .get("/ready")
                    .is_ok_and(|reply| reply.status == 200)
            {
                return Ok(Galley {
                    child,
                    address,
                    log,
                    log_at,
                    may_panic: false,
                });
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!(
                    "galley serve was not ready in {START_TIMEOUT:?} (address {address:?}):\n{}",
                    std::fs::read_to_string(&log).unwrap_or_default()
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs another command with the same repo, data folder and settings.
    pub fn run(&self, args: &[&str]) -> Output {
        let output = self.command(args).stdin(Stdio::null()).output().unwrap();
        Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Makes components of the repo's own on-demand feature views, all of them.
    pub fn wrap(&self) {
        let mut command = clean(galley());
        command.args(["transform", "wrap", "--strict", "--repo"]);
        let output = command
            .arg(&self.repo)
            .env("GALLEY_STORE_DATA_DIR", &self.data_dir)
            .stdin(Stdio::null())
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "galley transform wrap: {said}");
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = match &self.small_disk {
            None => clean(galley()),
            // Both unshare and the shell replace themselves: the process id stays the server's.
            Some((flags, mib)) => {
                let mut command = clean("unshare");
                command.args(flags).args(["sh", "-c"]).arg(format!(
                    "mount -t tmpfs -o size={mib}m tmpfs \"$0\" && exec \"$@\""
                ));
                command.arg(&self.data_dir).arg(galley());
                command
            }
        };
        command
            .args(args)
            .arg("--repo")
            .arg(&self.repo)
            .arg("--data-dir")
            .arg(&self.data_dir)
            .env("TZ", "UTC")
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The address this very process wrote down.
    fn announced(&self, pid: u32) -> Option<SocketAddr> {
        let dir = match &self.small_disk {
            None => self.data_dir.clone(),
            Some(_) => {
                Path::new(&format!("/proc/{pid}/root")).join(self.data_dir.strip_prefix("/").ok()?)
            }
        };
        let text = std::fs::read(dir.join("galley.json")).ok()?;
        let value: Value = serde_json::from_slice(&text).ok()?;
        (value["pid"].as_u64() == Some(u64::from(pid)))
            .then(|| value["address"].as_str()?.parse().ok())?
    }
}

impl Galley {
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        let whole = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(whole.get(self.log_at..).unwrap_or_default()).into_owned()
    }

    /// SIGKILL, and wait until the process is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM, and the status it ended with.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(Duration::from_secs(20))
            .expect("galley ends within 20 s after SIGTERM")
    }

    pub fn wait(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Galley {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let log = self.log();
        if log.contains("panicked at") && !self.may_panic && !std::thread::panicking() {
            panic!("the server panicked:\n{log}");
        }
    }
}
