//! Tasks with an owner: who spawns them waits for them.

use std::any::Any;
use std::fmt::Display;
use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::runtime::Health;

/// The tasks of one owner, on one runtime. Clones share them; [`Tasks::child`] makes an owner below.
#[derive(Clone, Debug)]
pub struct Tasks {
    handle: Handle,
    tracker: TaskTracker,
    stop: CancellationToken,
    health: Health,
}

impl Tasks {
    /// An owner without tasks, on a runtime. A panic of a task is latched into `health`.
    pub fn new(handle: Handle, health: Health) -> Self {
        Self { handle, tracker: TaskTracker::new(), stop: CancellationToken::new(), health }
    }

    /// An owner of its own, on the same runtime, told to stop when this one is. Waiting for this one does not wait for it.
    #[must_use]
    pub fn child(&self) -> Self {
        self.child_on(self.handle.clone())
    }

    /// As [`Tasks::child`], on another runtime.
    #[must_use]
    pub fn child_on(&self, handle: Handle) -> Self {
        Self { handle, tracker: TaskTracker::new(), stop: self.stop.child_token(), health: self.health.clone() }
    }

    /// Cancelled when the owner stops. A task that has more to do than to be dropped waits on it.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Where faults are latched.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// The runtime.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// How many tasks run.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether no task runs.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Runs a future to its end; it is not dropped when the owner stops, but waited for. An error is logged, a panic is
    /// latched under `name`.
    pub fn spawn<E: Display>(
        &self,
        name: &'static str,
        future: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> JoinHandle<()> {
        let health = self.health.clone();
        let watched = async move {
            match AssertUnwindSafe(future).catch_unwind().await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(task = name, %error, "task {name} failed"),
                Err(panic) => health.latch(name, format_args!("a panic: {}", message_of(&*panic))),
            }
        };
        self.tracker.spawn_on(watched, &self.handle)
    }

    /// Tells every task to stop and waits until all have ended.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.finish().await;
    }

    /// Waits until all tasks have ended of themselves.
    pub async fn finish(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> Tasks {
        Tasks::new(Handle::current(), Health::new())
    }

    #[tokio::test]
    async fn a_panic_latches_and_an_error_does_not() {
        let tasks = tasks();
        tasks.spawn("failing", async { Err::<(), _>("refused") });
        tasks.finish().await;
        assert!(tasks.health().is_sound());
        tasks.spawn("panicking", async {
            if tokio::task::try_id().is_some() {
                panic!("lost {}", 1);
            }
            Ok::<(), &str>(())
        });
        tasks.finish().await;
        let faults = tasks.health().faults();
        assert_eq!((faults[0].part, &*faults[0].cause), ("panicking", "a panic: lost 1"));
    }

    #[tokio::test]
    async fn stop_tells_children_and_waits_for_its_own() {
        let parent = tasks();
        let child = parent.child();
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let (parent_token, child_token) = (parent.stopping(), child.stopping());
        parent.spawn("own", async move {
            parent_token.cancelled().await;
            sender.send("ended in order")
        });
        child.spawn("below", async move {
            child_token.cancelled().await;
            Ok::<(), &str>(())
        });
        parent.stop().await;
        assert_eq!(receiver.await, Ok("ended in order"));
        assert!(parent.is_empty());
        child.finish().await;
        assert!(child.is_empty());
    }
}
