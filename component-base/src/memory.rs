//! The allocator of all daemons.

use std::time::Duration;

/// With static glibc's, large lists cost a sixth more. It must not ask for huge pages, which nearly double what an idle
/// daemon takes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longer than the allocator keeps what was freed, in case that it is wanted again.
const KEPT: Duration = Duration::from_millis(1500);

/// Gives what a large piece of work has freed back to the system, a little later.
///
/// A daemon that has little to do afterwards would keep it for good: the allocator looks for what has been free for
/// long only when it takes or gives up whole pages, and when a thread ends.
pub async fn give_back() {
    tokio::time::sleep(KEPT).await;
    // One that never allocated isn't known to the allocator.
    let thread = std::thread::Builder::new().spawn(|| drop(std::hint::black_box(Box::new(0u8))));
    if let Err(error) = thread {
        tracing::debug!(%error, "Memory isn't given back");
    }
}
