//! How much memory the machine, or the control group it runs in, gives us, and giving it back.

use std::time::Duration;

/// How often memory is given back that was freed and not used again for a while.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(2);

#[expect(unsafe_code, reason = "a function of the allocator's own library")]
unsafe extern "C" {
    /// Of the allocator this program is linked with.
    fn mi_collect(force: bool);
}

/// Starts the thread that gives freed memory back to the system. The allocator does so by itself as long as
/// threads go on asking it for memory; after a large load has ended nobody does.
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn give_back_now_and_then() -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("galley-memory".to_owned())
        .spawn(|| {
            loop {
                std::thread::sleep(GIVE_BACK_EVERY);
                give_back();
            }
        })
        .map(drop)
}

#[expect(unsafe_code, reason = "a function of the allocator's own library")]
fn give_back() {
    // SAFETY: the function takes any value and may be called by any thread at any time.
    unsafe { mi_collect(false) };
}

/// Bytes of memory this process may use; `None` where the system does not tell.
pub(crate) fn total_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
            line.split_whitespace()
                .nth(1)?
                .parse::<u64>()
                .ok()?
                .checked_mul(1024)
        });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    match (machine, group) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (machine, group) => machine.or(group),
    }
}
