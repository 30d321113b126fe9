//! How much memory the machine, or the control group it runs in, gives us, and giving it back.

use std::time::Duration;

use galley_allocator::give_back;

/// How often memory is given back that was freed and not used again for a while.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(2);

/// Starts the thread that gives freed memory back to the system.
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
