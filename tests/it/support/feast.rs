//! Feast's own servers, started from its own program.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use super::certificate::Certificate;
use super::here;

/// How long one of Feast's servers may take to listen: Python reads much before it does.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Feast's own programs; the commands that need them take minutes less when they are prepared once.
pub fn program(name: &str) -> Command {
    let venv = std::env::var_os("GALLEY_FEAST_VENV")
        .map_or_else(|| here().join("../target/feast-venv"), PathBuf::from);
    let path = venv.join("bin").join(name);
    assert!(
        path.is_file(),
        "{} is missing: run the tests with `cargo xtask test`",
        path.display()
    );
    let mut command = Command::new(path);
    command.env("TZ", "UTC").env("FEAST_USAGE", "False");
    command
}

/// One of Feast's servers; killed when dropped.
#[derive(Debug)]
pub struct FeastServer {
    child: Child,
    pub port: u16,
}

impl FeastServer {
    /// `feast serve_registry`, or whatever `what` is, for the repo, on `port` or a free one.
    #[track_caller]
    pub fn start(what: &str, repo: &Path, port: Option<u16>, tls: Option<&Certificate>) -> Self {
        Self::start_with(program("feast"), what, repo, port, tls)
    }

    /// As [`Self::start`], by another way to run Feast's program.
    #[track_caller]
    pub fn start_with(
        mut command: Command,
        what: &str,
        repo: &Path,
        port: Option<u16>,
        tls: Option<&Certificate>,
    ) -> Self {
        command.arg(what).current_dir(repo);
        let port = port.unwrap_or_else(free_port);
        command.args(["--port", &port.to_string()]);
        if let Some(tls) = tls {
            command
                .arg("--key")
                .arg(&tls.key)
                .arg("--cert")
                .arg(&tls.chain);
        }
        Self::listening(command, what, repo, port)
    }

    /// A server of Feast's that `command` starts on `port`; its log is in `repo`.
    #[track_caller]
    pub fn listening(mut command: Command, what: &str, repo: &Path, port: u16) -> Self {
        let log = repo.join(format!("{what}-{port}.log"));
        let sink = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(sink.try_clone().unwrap())
            .stderr(sink)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = child.try_wait().unwrap() {
                panic!("feast {what} ended with {status}:\n{}", said());
            }
            assert!(
                Instant::now() < deadline,
                "feast {what} does not listen:\n{}",
                said()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Self { child, port }
    }
}

impl Drop for FeastServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of this machine that nobody listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
