//! Servers of others that speak the protocols of buckets, on this machine.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::feast::{free_port, program};
use super::{Client, here};

/// How long a server may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs Feast's program with packages that are only in the environment of the buckets.
const FEAST: &str = "import sys\nsys.path.append(sys.argv.pop(1))\n\
                     from feast.cli.cli import cli\nsys.argv[0] = 'feast'\nsys.exit(cli())";

/// The first version of Node.js that Azurite was seen to run on.
const AZURITE_NODE: u32 = 20;

/// The first number of the version of Node.js, where there is one.
fn node_version() -> Option<u32> {
    let said = Command::new("node").arg("--version").output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    said.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// A server of buckets; killed when dropped.
#[derive(Debug)]
pub struct Emulator {
    child: Child,
    pub address: SocketAddr,
    log: PathBuf,
}

/// The Python of the environment with the servers of buckets.
fn python() -> Command {
    let path = venv().join("bin/python");
    assert!(
        path.is_file(),
        "{} is missing: run the tests with `cargo xtask test`",
        path.display()
    );
    Command::new(path)
}

fn venv() -> PathBuf {
    std::env::var_os("GALLEY_PLACES_VENV")
        .map_or_else(|| here().join("../target/places-venv"), PathBuf::from)
}

/// The folder of the packages that Feast needs beside its own for buckets and tokens.
pub fn packages() -> PathBuf {
    let lib = venv().join("lib");
    let folder = std::fs::read_dir(&lib)
        .unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask test`", lib.display()))
        .flatten()
        .map(|entry| entry.path().join("site-packages"))
        .find(|path| path.is_dir());
    folder.unwrap_or_else(|| panic!("no packages in {}", lib.display()))
}

/// Feast's program with what it needs for buckets and tokens.
pub fn feast_with_extras() -> Command {
    let mut command = program("python");
    command.arg("-c").arg(FEAST).arg(packages());
    command
}

// === impl Emulator ===

impl Emulator {
    /// The account that every Azurite has, and its key: both are public.
    pub const AZURE_ACCOUNT: (&str, &str) = (
        "devstoreaccount1",
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    );

    /// Azurite, which speaks the protocol of Azure's blobs. Where it is not installed, because npm is
    /// not there, a line says so.
    pub fn azurite(folder: &Path) -> Option<Self> {
        let installed = std::env::var_os("GALLEY_AZURITE")
            .map_or_else(|| here().join("../target/azurite"), PathBuf::from);
        let script = installed.join("node_modules/azurite/dist/src/blob/main.js");
        if !script.is_file() {
            println!(
                "skipped: no Azurite in {}; `cargo xtask test` installs it where there is npm",
                installed.display()
            );
            return None;
        }
        if node_version() < Some(AZURITE_NODE) {
            println!("skipped: Azurite needs Node.js {AZURITE_NODE} or later");
            return None;
        }
        let port = free_port();
        let mut command = Command::new("node");
        command
            .arg(script)
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
            .args([
                "--silent",
                "--skipApiVersionCheck",
                "--disableTelemetry",
                "--inMemoryPersistence",
            ]);
        let log = folder.join(format!("azurite-{port}.log"));
        Some(Self::start(command, log, port))
    }

    /// A server that speaks S3's protocol, with these buckets.
    pub fn s3(folder: &Path, buckets: &[&str]) -> Self {
        let port = free_port();
        let script = "import sys; from moto.server import main; main(sys.argv[1:])";
        let mut command = python();
        command
            .args(["-c", script, "-H", "127.0.0.1", "-p", &port.to_string()])
            .env_remove("AWS_ENDPOINT_URL");
        let server = Self::start(command, folder.join(format!("s3-{port}.log")), port);
        for bucket in buckets {
            let reply = server.client().send("PUT", &format!("/{bucket}"), &[], b"");
            assert_eq!(reply.unwrap().status, 200);
        }
        server
    }

    fn start(mut command: Command, log: PathBuf, port: u16) -> Self {
        let sink = File::create(&log).unwrap();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(sink.try_clone().unwrap())
            .stderr(sink)
            .spawn()
            .unwrap();
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{command:?} ended with {status}:\n{}", said());
            }
            assert!(Instant::now() < deadline, "{command:?}:\n{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            child,
            address: ([127, 0, 0, 1], port).into(),
            log,
        }
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How often the log has a line with all of `words`.
    pub fn logged(&self, words: &[&str]) -> usize {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log)
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)))
            .count()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
