//! The clock of an engine.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

use wasmtime::EngineWeak;

/// How long nobody calls before the clock thread goes to sleep.
const QUIET: Duration = Duration::from_millis(100);
/// How long it sleeps at most: when the engine is gone it ends within this time.
const SLEEP: Duration = Duration::from_secs(1);

/// Moves an engine's time on while calls run, and sleeps while there are none. One thread for each
/// engine, however many calls run.
#[derive(Debug, Default)]
pub struct Ticker {
    running: AtomicU32,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

/// Keeps the time of an engine moving while it is there.
#[derive(Debug)]
pub struct Running<T: Deref<Target = Ticker>>(T);

impl Ticker {
    /// Starts the thread that moves the epoch of `engine` on after every `tick`. It ends when the last
    /// clone of the engine is gone.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(engine: &wasmtime::Engine, tick: Duration) -> std::io::Result<Arc<Self>> {
        let ticker = Arc::new(Self::default());
        let weak = engine.weak();
        let kept = Arc::clone(&ticker);
        let thread = std::thread::Builder::new()
            .name("galley-ticks".to_owned())
            .spawn(move || kept.run(&weak, tick))?;
        // Set once, here; a call that comes before finds the thread awake.
        drop(ticker.thread.set(thread.thread().clone()));
        Ok(ticker)
    }

    /// To be held during every call into a guest: without it, no deadline strikes.
    pub fn running<T: Deref<Target = Self>>(ticker: T) -> Running<T> {
        ticker.running.fetch_add(1, SeqCst);
        if ticker.asleep.load(SeqCst)
            && let Some(thread) = ticker.thread.get()
        {
            thread.unpark();
        }
        Running(ticker)
    }

    fn run(&self, engine: &EngineWeak, tick: Duration) {
        let mut quiet = Duration::ZERO;
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            quiet = if self.running.load(SeqCst) == 0 {
                quiet + tick
            } else {
                Duration::ZERO
            };
            if quiet < QUIET {
                std::thread::sleep(tick);
                continue;
            }
            // Either a call that begins now sees that this thread sleeps, or it is seen here.
            self.asleep.store(true, SeqCst);
            if self.running.load(SeqCst) == 0 {
                std::thread::park_timeout(SLEEP);
            }
            self.asleep.store(false, SeqCst);
            quiet = Duration::ZERO;
        }
    }
}

impl<T: Deref<Target = Ticker>> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}
