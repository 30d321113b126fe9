//! Following a file: its folder is watched and it is looked at every now and then besides, since
//! network folders say nothing. What is elsewhere is only looked at every now and then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    stop: Arc<AtomicBool>,
    /// Ends with the thread.
    ended: Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

/// How long a look may take to end when the node stops: it changes nothing that lasts, and the place
/// that it waits for may never answer.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// Look now, or see that it is time to stop.
#[derive(Debug)]
struct Wake;

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
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let (ending, ended) = sync_channel::<()>(0);
        let run = move || {
            // Dropped when the thread ends, however it does.
            let _ending = ending;
            let watcher = file.as_ref().map(|file| watch(file, wake));
            if let (Some(file), Some(Err(error))) = (&file, &watcher) {
                let path = file.display();
                // A release without components has no such folder: nothing is wrong.
                if matches!(error.kind, notify::ErrorKind::PathNotFound) {
                    tracing::debug!(%path, "the folder is not there to be watched, polling only");
                } else {
                    tracing::warn!(%path, %error, "the folder cannot be watched, polling only");
                }
            }
            let mut changed = true;
            while !stopping.load(Ordering::Relaxed) {
                let wait = look(changed);
                changed = match receiver.recv_timeout(wait) {
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => false,
                    Ok(Wake) => stopping.load(Ordering::Relaxed) || settle(&receiver),
                };
            }
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .map_err(|source| Error::Thread { name, source })?;
        Ok(Self {
            wake: Some(sender),
            stop,
            ended,
            thread: Some(thread),
        })
    }

    /// Looks at the file now, without waiting for the watch or the clock.
    pub fn poke(&self) {
        if let Some(wake) = &self.wake {
            // A full channel means that a look is due anyway.
            let _ = wake.try_send(Wake);
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(wake) = self.wake.take() {
            // A full channel means that the thread wakes up anyway.
            let _ = wake.try_send(Wake);
        }
        if matches!(
            self.ended.recv_timeout(STOP_WAIT),
            Err(RecvTimeoutError::Timeout)
        ) {
            tracing::warn!("a look at a file elsewhere is left waiting, the place does not answer");
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread that follows a file had panicked");
        }
    }
}

/// Waits until the file has been quiet for a moment; `false` when nobody is left to tell of it.
fn settle(receiver: &Receiver<Wake>) -> bool {
    for _ in 0..EVENTS_MAX {
        match receiver.recv_timeout(QUIET) {
            Ok(Wake) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
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
            let _ = wake.try_send(Wake);
        }
    })?;
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}
