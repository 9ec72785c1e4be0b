//! Reading ahead: one pull is begun before what came before it is used.

use std::sync::Arc;
use std::task::Poll;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};

use crate::tail::{Budget, Reservation};

/// What all reads together may have ahead.
pub(crate) const AHEAD_BYTES_MAX: u64 = 64 << 20;

/// An item and what follows it.
type Pulled<T> = Option<(T, BoxStream<'static, T>)>;

/// What comes next of a stream.
enum Coming<T> {
    /// Nobody is at it yet.
    Asked(BoxStream<'static, T>),
    /// It has been begun: what it waits for goes on by itself, as reads of a dataset do on Lance's runtime.
    Begun(BoxFuture<'static, Pulled<T>>, Reservation),
    /// It was there at once, as what lies in memory is.
    There(Pulled<T>, Reservation),
}

/// The same items, of about so many bytes each, each but the first begun before the one before it is used: a long read takes its
/// rows from the dataset on one processor while another sends those that came before. At most one item is ahead, and none
/// where the budget has no room for it; dropping the stream ends the work on it.
pub(super) fn ahead<T: Send + 'static>(
    items: BoxStream<'static, T>,
    budget: Arc<Budget>,
    bytes: usize,
) -> BoxStream<'static, T> {
    stream::unfold((Coming::Asked(items), budget), move |(coming, budget)| async move {
        let (item, rest) = match coming {
            Coming::Asked(items) => pull(items).await,
            Coming::Begun(pulling, _held) => pulling.await,
            Coming::There(pulled, _held) => pulled,
        }?;
        let Ok(held) = budget.try_reserve(bytes as u64) else { return Some((item, (Coming::Asked(rest), budget))) };
        let mut pulling = pull(rest).boxed();
        let coming = match futures::poll!(&mut pulling) {
            Poll::Ready(pulled) => Coming::There(pulled, held),
            Poll::Pending => Coming::Begun(pulling, held),
        };
        Some((item, (coming, budget)))
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

    use super::*;

    #[tokio::test]
    async fn one_item_is_begun_ahead_and_not_two() {
        let made = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&made);
        let items = stream::iter(0..5).inspect(move |item| counted.store(item + 1, Ordering::SeqCst));
        let mut items = ahead(items.boxed(), Budget::new(10), 10);
        assert_eq!(made.load(Ordering::SeqCst), 0);
        assert_eq!(items.next().await, Some(0));
        assert_eq!(made.load(Ordering::SeqCst), 2);
        assert_eq!(items.collect::<Vec<_>>().await, [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn what_takes_time_is_under_way_before_it_is_asked_for() {
        let (begin, begun) = tokio::sync::oneshot::channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        let slow = stream::once(async { 0 }).chain(stream::once(async move {
            begin.send(()).unwrap();
            ended.await.unwrap()
        }));
        let mut items = ahead(slow.boxed(), Budget::new(10), 10);
        assert_eq!(items.next().await, Some(0));
        begun.await.unwrap();
        end.send(1).unwrap();
        assert_eq!(items.collect::<Vec<_>>().await, [1]);
    }

    #[tokio::test]
    async fn who_goes_away_ends_the_work() {
        let held = Arc::new(());
        let gone = Arc::downgrade(&held);
        let endless = stream::once(async { 0 }).chain(stream::once(async move {
            let _held = held;
            std::future::pending::<i32>().await
        }));
        let budget = Budget::new(10);
        let mut items = ahead(endless.boxed(), Arc::clone(&budget), 10);
        assert_eq!(items.next().await, Some(0));
        assert_eq!(budget.used(), 10);
        drop(items);
        assert!(gone.upgrade().is_none());
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn without_room_nothing_is_ahead() {
        let budget = Budget::new(10);
        let others = budget.try_reserve(5).unwrap();
        let made = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&made);
        let items = stream::iter(0..5).inspect(move |item| counted.store(item + 1, Ordering::SeqCst));
        let mut items = ahead(items.boxed(), Arc::clone(&budget), 10);
        assert_eq!((items.next().await, made.load(Ordering::SeqCst)), (Some(0), 1));
        drop(others);
        assert_eq!((items.next().await, made.load(Ordering::SeqCst)), (Some(1), 3));
        assert_eq!(items.collect::<Vec<_>>().await, [2, 3, 4]);
        assert_eq!(budget.used(), 0);
    }
}
