//! Reading ahead: one pull is begun before what came before it is used.

use std::task::Poll;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt as _, StreamExt as _};

/// An item and what follows it.
type Pulled<T> = Option<(T, BoxStream<'static, T>)>;

/// What comes next of a stream.
enum Coming<T> {
    /// Nobody is at it yet.
    Asked(BoxStream<'static, T>),
    /// It has been begun: what it waits for goes on by itself, as reads of a dataset do on Lance's runtime.
    Begun(BoxFuture<'static, Pulled<T>>),
    /// It was there at once, as what lies in memory is.
    There(Pulled<T>),
}

/// The same items, each but the first begun before the one before it is used: a long read takes its rows from the dataset on
/// one processor while another sends those that came before. At most one item is ahead; dropping the stream ends the work
/// on it.
pub(super) fn ahead<T: Send + 'static>(items: BoxStream<'static, T>) -> BoxStream<'static, T> {
    stream::unfold(Coming::Asked(items), |coming| async {
        let (item, rest) = match coming {
            Coming::Asked(items) => pull(items).await,
            Coming::Begun(pulling) => pulling.await,
            Coming::There(pulled) => pulled,
        }?;
        let mut pulling = pull(rest).boxed();
        let coming = match futures::poll!(&mut pulling) {
            Poll::Ready(pulled) => Coming::There(pulled),
            Poll::Pending => Coming::Begun(pulling),
        };
        Some((item, coming))
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
        let mut items = ahead(items.boxed());
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
        let mut items = ahead(slow.boxed());
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
        let mut items = ahead(endless.boxed());
        assert_eq!(items.next().await, Some(0));
        drop(items);
        assert!(gone.upgrade().is_none());
    }
}
