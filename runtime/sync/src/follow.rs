//! Following a file: its folder is watched and it is looked at every now and then besides, since
//! network folders say nothing. What is elsewhere is only looked at every now and then.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use notify::{RecursiveMode, Watcher as _};

use crate::error::{Error, Result};

/// How long the file must be quiet before it is looked at after a change was noticed.
const QUIET: Duration = Duration::from_millis(100);
/// Wake-ups that may wait for the thread: one says all.
const WAKE_MAX: usize = 1;
/// Events that are waited out, so that a file that never rests is looked at all the same.
const EVENTS_MAX: usize = 10;

/// A thread that looks at a file until this is dropped.
#[derive(Debug)]
pub struct Follow {
    wake: Option<SyncSender<Wake>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Wake {
    Changed,
    Stop,
}

/// What the file system says of a file: enough to see that it may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    /// `None` when the file is not there.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            modified: metadata.modified().ok(),
            length: metadata.len(),
            inode: metadata.ino(),
        })
    }
}

impl Follow {
    /// Starts a thread called `name` that calls `look` at once, whenever the watch of `file` tells of
    /// a change (its argument is `true` then), and when the time that it returned is over.
    ///
    /// # Errors
    /// [`Error::Thread`].
    pub fn start(
        name: &'static str,
        file: Option<PathBuf>,
        mut look: impl FnMut(bool) -> Duration + Send + 'static,
    ) -> Result<Self> {
        let (sender, receiver) = sync_channel(WAKE_MAX);
        let wake = sender.clone();
        let run = move || {
            let watcher = file.as_ref().map(|file| watch(file, wake));
            if let (Some(file), Some(Err(error))) = (&file, &watcher) {
                let path = file.display();
                tracing::warn!(%path, %error, "the folder cannot be watched, polling only");
            }
            let mut wait = look(true);
            loop {
                match receiver.recv_timeout(wait) {
                    Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                    Ok(Wake::Changed) => {
                        if !settle(&receiver) {
                            return;
                        }
                        wait = look(true);
                    }
                    Err(RecvTimeoutError::Timeout) => wait = look(false),
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|source| Error::Thread { name, source })?;
        Ok(Self {
            wake: Some(sender),
            thread: Some(thread),
        })
    }

    /// Looks at the file now, without waiting for the watch or the clock.
    pub fn poke(&self) {
        if let Some(wake) = &self.wake {
            // A full channel means that a look is due anyway.
            let _ = wake.try_send(Wake::Changed);
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        if let Some(wake) = self.wake.take() {
            // Blocks only while the thread is busy with the wake-up before; it then goes.
            let _ = wake.send(Wake::Stop);
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread that follows a file had panicked");
        }
    }
}

/// Waits until the file has been quiet for a moment; `false` when it is time to stop.
fn settle(receiver: &Receiver<Wake>) -> bool {
    for _ in 0..EVENTS_MAX {
        match receiver.recv_timeout(QUIET) {
            Ok(Wake::Changed) => {}
            Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) => return true,
        }
    }
    true
}

/// Watches the folder: the file itself may be replaced by another with its name.
fn watch(file: &Path, wake: SyncSender<Wake>) -> notify::Result<notify::RecommendedWatcher> {
    let name = file.file_name().map(ToOwned::to_owned);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let ours = event.is_ok_and(|event| {
            !event.kind.is_access()
                && event
                    .paths
                    .iter()
                    .any(|path| path.file_name() == name.as_deref())
        });
        if ours {
            let _ = wake.try_send(Wake::Changed);
        }
    })?;
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
