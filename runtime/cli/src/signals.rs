//! Stopping: SIGTERM, Ctrl-C, or a reason of our own.

use anyhow::{Context as _, Result};
use tokio::sync::watch;

/// Asks everything that waits on it to stop.
#[derive(Clone, Debug)]
pub(crate) struct Stop {
    sender: watch::Sender<bool>,
}

impl Stop {
    /// A stop nobody has asked for yet.
    pub(crate) fn new() -> Self {
        Self {
            sender: watch::Sender::new(false),
        }
    }

    /// Asks to stop.
    pub(crate) fn ask(&self) {
        self.sender.send_replace(true);
    }

    /// Whether somebody asked.
    pub(crate) fn asked(&self) -> bool {
        *self.sender.borrow()
    }

    /// Waits until somebody asks.
    pub(crate) fn wait(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut receiver = self.sender.subscribe();
        async move {
            // The sender's end is an end too.
            drop(receiver.wait_for(|asked| *asked).await);
        }
    }

    /// Asks to stop at the first SIGTERM or Ctrl-C. A second one ends the process at once.
    pub(crate) fn on_signals(&self) -> Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let stop = self.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("start the signal runtime")?;
        let (mut terminate, mut interrupt) = {
            let _entered = runtime.enter();
            (
                signal(SignalKind::terminate()).context("listen for SIGTERM")?,
                signal(SignalKind::interrupt()).context("listen for Ctrl-C")?,
            )
        };
        std::thread::Builder::new()
            .name("galley-signals".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    for seen in 0.. {
                        tokio::select! {
                            _ = terminate.recv() => {}
                            _ = interrupt.recv() => {}
                        }
                        if seen > 0 {
                            tracing::warn!("second signal, ending at once");
                            rustix::process::kill_process(
                                rustix::process::getpid(),
                                rustix::process::Signal::KILL,
                            )
                            .unwrap_or_default();
                        }
                        galley_transform::end_compiling();
                        stop.ask();
                    }
                });
            })
            .context("start the signal thread")?;
        Ok(())
    }
}
