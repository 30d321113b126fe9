//! Where tools are kept, and what people see while they work.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{environment, output};

/// How often a running step's clock is drawn.
const TICK: Duration = Duration::from_millis(200);

/// The folder of the user's for tools and compiled code that all projects share.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let base = environment("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| environment("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("set HOME or XDG_CACHE_HOME: tools and compiled code are kept there")?;
    let dir = base.join("galley");
    std::fs::create_dir_all(&dir).map_err(|error| {
        anyhow!(
            "cannot create {}: {error}; set XDG_CACHE_HOME to a folder of yours",
            dir.display()
        )
    })?;
    Ok(dir)
}

/// Says what is going on: one line that moves on a terminal, lines elsewhere.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    /// Said before each step: which of several things it belongs to.
    what: Option<String>,
    started: Instant,
    steps: Cell<u32>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self::on(ProgressBar::new_spinner(), None)
    }

    /// On a line of its own among others.
    pub(crate) fn on(bar: ProgressBar, what: Option<String>) -> Self {
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        Self {
            bar,
            what,
            started: Instant::now(),
            steps: Cell::new(0),
        }
    }

    /// A step that may take a while begins.
    pub(crate) fn say(&self, step: &str) {
        let text = match &self.what {
            Some(what) => format!("{what}: {step}"),
            None => step.to_owned(),
        };
        self.steps.set(self.steps.get() + 1);
        if self.bar.is_hidden() {
            output::note(format!("  {text}"));
        } else {
            self.bar.enable_steady_tick(TICK);
            self.bar.reset_elapsed();
            self.bar.set_message(text);
        }
    }

    /// The line goes; what was going on is over.
    pub(crate) fn done(&self) {
        self.bar.finish_and_clear();
    }

    /// Time since it began, as people say it.
    pub(crate) fn took(&self) -> String {
        format!("{:.1} s", self.started.elapsed().as_secs_f64())
    }
}
