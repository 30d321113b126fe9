//! Other programs: run with a bound on their time, and quoted when they fail.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Error, Result, Workshop};

/// How much of a failed program's output goes into the error, in bytes.
const QUOTED_BYTES_MAX: usize = 8 << 10;
const POLL: Duration = Duration::from_millis(20);

/// One run of a program.
pub(crate) struct Step<'a> {
    pub(crate) command: Command,
    /// What it is doing, as an author would say it.
    pub(crate) name: &'a str,
    /// What to do when it fails.
    pub(crate) way_out: &'a str,
    pub(crate) stdin: &'a [u8],
}

impl<'a> Step<'a> {
    pub(crate) fn new(command: Command, name: &'a str, way_out: &'a str) -> Self {
        Self {
            command,
            name,
            way_out,
            stdin: &[],
        }
    }

    /// What the program wrote to stdout; an error when it failed.
    pub(crate) fn run(self, workshop: &Workshop<'_>) -> Result<Vec<u8>> {
        let (tool, name, way_out) = (self.tool(), self.name, self.way_out);
        let output = self.output(workshop)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let said = if output.stderr.is_empty() {
            output.stdout
        } else {
            output.stderr
        };
        Err(Error::StepFailed {
            tool,
            step: name.to_owned(),
            output: tail(&said),
            way_out: way_out.to_owned(),
        })
    }

    fn tool(&self) -> String {
        self.command.get_program().to_string_lossy().into_owned()
    }

    fn output(mut self, workshop: &Workshop<'_>) -> Result<Output> {
        let tool = self.tool();
        self.command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self.command.spawn().map_err(|source| Error::ToolMissing {
            tool: tool.clone(),
            step: self.name.to_owned(),
            way_out: format!("{} ({source})", self.way_out),
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input may have ended already: its status tells more.
            let _ = stdin.write_all(self.stdin);
        }
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let status = wait(&mut child, workshop.step_max).ok_or_else(|| Error::StepTooLong {
            tool,
            step: self.name.to_owned(),
            seconds: workshop.step_max.as_secs(),
            way_out: self.way_out.to_owned(),
        })?;
        Ok(Output {
            status,
            stdout: stdout.join().unwrap_or_default(),
            stderr: stderr.join().unwrap_or_default(),
        })
    }
}

/// Reads a pipe to its end beside the wait, so that the program never blocks on it.
fn drain(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What came before the failure is still worth quoting.
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// `None`: the time was up and the program was stopped.
fn wait(child: &mut Child, bound: Duration) -> Option<std::process::ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if start.elapsed() < bound => thread::sleep(POLL),
            Ok(None) | Err(_) => {
                // It may just have ended; there is nothing left to do then.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

/// The end of `bytes`, where programs put what matters.
fn tail(bytes: &[u8]) -> String {
    let start = bytes.len().saturating_sub(QUOTED_BYTES_MAX);
    let end = bytes.get(start..).unwrap_or_default();
    String::from_utf8_lossy(end).trim().to_owned()
}

/// The first line that `program` writes, if it is there and succeeds.
pub(crate) fn ask(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().next().map(|line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_step_that_takes_too_long_is_stopped() {
        let mut workshop = Workshop::new("/nonexistent", &|_| {});
        workshop.step_max = Duration::from_millis(50);
        let error = Step::new(shell("exec sleep 30"), "sleeping", "Wake up").run(&workshop);
        assert!(matches!(error, Err(Error::StepTooLong { .. })), "{error:?}");
    }

    #[test]
    fn a_failed_step_quotes_the_program() {
        let workshop = Workshop::new("/nonexistent", &|_| {});
        let step = Step::new(
            shell("echo no such thing >&2; exit 3"),
            "looking",
            "Look elsewhere",
        );
        let text = step.run(&workshop).unwrap_err().to_string();
        assert_eq!(text, "looking: sh failed.\nno such thing\nLook elsewhere");
    }

    #[test]
    fn a_missing_program_is_named_with_the_way_out() {
        let workshop = Workshop::new("/nonexistent", &|_| {});
        let command = Command::new("/nonexistent/tool");
        let error = Step::new(command, "building", "Install it")
            .run(&workshop)
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("building needs /nonexistent/tool"),
            "{error}"
        );
    }
}
