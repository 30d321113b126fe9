//! Processes pinned to a core, and what /proc says of them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{Result, client};

/// The core servers run on, and the one the load comes from.
pub const SERVER_CPU: usize = 0;
/// See [`SERVER_CPU`].
pub const LOAD_CPU: usize = 1;

/// A server that listens; stopped when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A command pinned to a core where the machine has that many.
pub fn pinned(cpu: usize, program: &Path) -> Command {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut command = Command::new(if cores > cpu {
        Path::new("taskset")
    } else {
        program
    });
    // Whatever starts with GALLEY_ is a setting of the product; ours are not.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GALLEY_") {
            command.env_remove(name);
        }
    }
    if cores <= cpu {
        return command;
    }
    command.arg("-c").arg(cpu.to_string()).arg(program);
    command
}

impl Server {
    /// Starts `galley serve` and waits until it answers look-ups; says how long that took.
    pub fn galley(binary: &Path, repo: &Path, data: &Path) -> Result<(Self, Duration)> {
        let mut command = pinned(SERVER_CPU, binary);
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--repo"])
            .arg(repo);
        Self::launch(command, data)
    }

    /// Starts a node that follows a feed, on all cores, and waits until it serves.
    pub fn follower(binary: &Path, data: &Path, settings: &[(&str, String)]) -> Result<Self> {
        let mut command = Command::new(binary);
        command.args(["serve", "--listen", "127.0.0.1:0"]);
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        Ok(Self::launch(command, data)?.0)
    }

    fn launch(mut command: Command, data: &Path) -> Result<(Self, Duration)> {
        let announced = data.join("galley.json");
        let _ = fs::remove_file(&announced);
        let log = fs::File::create(data.with_extension("log"))?;
        command.arg("--data-dir").arg(data);
        let begun = Instant::now();
        let child = command
            .env("GALLEY_LOG_LEVEL", "warn")
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut server = Self {
            child,
            address: ([127, 0, 0, 1], 0).into(),
        };
        loop {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!(
                    "galley serve ended with {status}: see {}.log",
                    data.display()
                )
                .into());
            }
            let address = fs::read(&announced)
                .ok()
                .and_then(|text| serde_json::from_slice::<Value>(&text).ok())
                .and_then(|value| value["address"].as_str()?.parse().ok());
            if let Some(address) = address
                && client::call(address, "GET", "/ready", "").is_ok_and(|(status, _)| status == 200)
            {
                server.address = address;
                return Ok((server, begun.elapsed()));
            }
            if begun.elapsed() > Duration::from_secs(120) {
                return Err("galley serve is not ready after 120 s".into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Starts the bare server with the bytes it answers.
    pub fn bare(binary: &Path, answer: &Path) -> Result<Self> {
        let mut child = pinned(SERVER_CPU, binary)
            .arg(answer)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("no output of the bare server")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line)?;
        Ok(Self {
            child,
            address: line.trim().parse()?,
        })
    }

    /// Processor time it used so far, in microseconds.
    pub fn cpu_us(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let after_name = stat.rsplit_once(')').ok_or("odd /proc stat")?.1;
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        Ok(ticks * 1e6 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Memory it holds, in MiB.
    pub fn resident_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .ok_or("no VmRSS")?;
        let kib: f64 = line.split_whitespace().nth(1).ok_or("no VmRSS")?.parse()?;
        Ok(kib / 1024.0)
    }

    /// SIGTERM, and until it is gone.
    pub fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("the server ended with {status}").into())
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
