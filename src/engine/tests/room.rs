//! What waits in memory, and for how long.

use super::upkeep::topic_of;
use super::*;
use crate::model::ErrorCode;

fn body(text: Bytes) -> AppendRequest {
    AppendRequest { body: Body::text(text, Form::Json), ..record() }
}

/// Text that tells when it goes.
struct Tracked(Arc<AtomicBool>);

impl AsRef<[u8]> for Tracked {
    fn as_ref(&self) -> &[u8] {
        b"{\"n\":2}"
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_tail_turns_bodies_away_before_they_are_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine_on(&folder, Arc::new(RealDisk)).await;
    let topic = topic_of(&engine, "full", CreateTopic::default()).await;
    topic.append(record()).await.unwrap();
    let core = engine.core().unwrap();
    let everything = core.admission.tail().force(core.admission.tail().limit());
    let broken = || body(Bytes::from_static(b"{\"n\":"));
    assert_eq!(topic.append(broken()).await.unwrap_err().code, ErrorCode::Overloaded);
    drop(everything);
    assert_eq!(topic.append(broken()).await.unwrap_err().code, ErrorCode::InvalidJson);
    engine.shut_down(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_goes_while_its_records_are_on_their_way_to_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Gated::default());
    let engine = engine_on(&folder, Arc::clone(&disk) as _).await;
    let topic = topic_of(&engine, "waiting", CreateTopic::default()).await;
    topic.append(record()).await.unwrap();
    disk.log.set_closed(true);
    let gone = Arc::new(AtomicBool::new(false));
    let ask = body(Bytes::from_owner(Tracked(Arc::clone(&gone))));
    let appending = tokio::spawn(async move { topic.append(ask).await });
    let until = Instant::now() + PATIENCE;
    while !gone.load(Ordering::SeqCst) {
        assert!(Instant::now() < until, "the body stays");
        tokio::task::yield_now().await;
    }
    assert!(!appending.is_finished());
    disk.log.set_closed(false);
    appending.await.unwrap().unwrap();
    engine.shut_down(Instant::now() + PATIENCE).await;
}
