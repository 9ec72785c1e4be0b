//! Reading ahead: one pull is made while what came before it is used.

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use tokio_util::task::AbortOnDropHandle;

/// The items of a stream and the rest of it.
type Pulled<T> = Option<(T, BoxStream<'static, T>)>;

/// What comes next of a stream.
enum Coming<T> {
    /// Nobody is at it yet.
    Asked(BoxStream<'static, T>),
    /// It is being made on the runtime.
    Begun(AbortOnDropHandle<Pulled<T>>),
}

/// The same items, each but the first made beside the use of the one before it: a long read takes its rows from the dataset
/// on one processor and sends them from another. At most one item is ahead; dropping the stream ends the work on it.
pub(super) fn ahead<T: Send + 'static>(items: BoxStream<'static, T>) -> BoxStream<'static, T> {
    stream::unfold(Coming::Asked(items), |coming| async {
        let (item, rest) = match coming {
            Coming::Asked(items) => pull(items).await,
            Coming::Begun(task) => match task.await {
                Ok(pulled) => pulled,
                // It must not look like the end of the items.
                Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
                // The runtime ends, and with it whoever waits here.
                Err(_) => std::future::pending().await,
            },
        }?;
        Some((item, Coming::Begun(AbortOnDropHandle::new(tokio::spawn(pull(rest))))))
    })
    .boxed()
}

async fn pull<T>(mut items: BoxStream<'static, T>) -> Pulled<T> {
    items.next().await.map(|item| (item, items))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt as _;
    use tokio::sync::Semaphore;

    use super::*;

    /// Counts how many items have been made.
    fn counting(made: &Arc<AtomicUsize>, count: usize) -> BoxStream<'static, usize> {
        let made = Arc::clone(made);
        stream::iter(0..count).inspect(move |_| drop(made.fetch_add(1, Ordering::SeqCst))).boxed()
    }

    #[tokio::test]
    async fn one_item_is_made_ahead_and_not_two() {
        let made = Arc::new(AtomicUsize::new(0));
        let mut items = ahead(counting(&made, 5));
        assert_eq!(made.load(Ordering::SeqCst), 0);
        assert_eq!(items.next().await, Some(0));
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(made.load(Ordering::SeqCst), 2);
        assert_eq!(items.collect::<Vec<_>>().await, [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn a_panic_is_not_the_end_of_the_items() {
        let breaking = stream::iter(0..3).inspect(|item| assert!(*item < 1, "for the test")).boxed();
        let mut items = ahead(breaking);
        assert_eq!(items.next().await, Some(0));
        assert!(std::panic::AssertUnwindSafe(items.next()).catch_unwind().await.is_err());
    }

    #[tokio::test]
    async fn who_goes_away_ends_the_work() {
        struct Held(Arc<Semaphore>);
        impl Drop for Held {
            fn drop(&mut self) {
                self.0.add_permits(1);
            }
        }
        let gone = Arc::new(Semaphore::new(0));
        let held = Held(Arc::clone(&gone));
        let endless = stream::once(async { 0 }).chain(stream::once(async move {
            let _held = held;
            std::future::pending::<i32>().await
        }));
        let mut items = ahead(endless.boxed());
        assert_eq!(items.next().await, Some(0));
        drop(items);
        drop(gone.acquire().await.unwrap());
    }
}
