use super::*;
use crate::http::record::chunk_of;

fn epoch() -> Epoch {
    Epoch::new(7).unwrap()
}

fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

fn run(framing: Framing, draining: CancellationToken) -> Run {
    Run {
        framing,
        heartbeat: Duration::from_secs(15),
        instance: "r-1".into(),
        metrics: Arc::default(),
        draining,
        next_offset: Offset::ZERO,
        positioned: false,
        rest: None,
        _slot: None,
    }
}

fn position(next: u64) -> StreamItem {
    StreamItem::Position { epoch: epoch(), next_offset: offset(next), tail_offset: offset(3) }
}

fn records(first: u64, values: &[&str]) -> StreamItem {
    StreamItem::Records { epoch: epoch(), chunk: chunk_of(first, values) }
}

fn end(reason: EndReason, next: u64) -> StreamItem {
    StreamItem::End { reason, next_offset: offset(next) }
}

async fn written(framing: Framing, items: Vec<StreamItem>) -> Vec<String> {
    let frames = run(framing, CancellationToken::new()).frames(futures::stream::iter(items).boxed());
    frames.map(|frame| String::from_utf8(frame.to_vec()).unwrap()).collect().await
}

#[test]
fn last_event_ids_are_an_end_an_offset_or_a_position() {
    let after = |resume| Some(LastEventId::After(resume));
    for (text, expected) in [
        ("end", Some(LastEventId::End)),
        ("5", after(Resume::Offset(offset(5)))),
        ("7:5", after(Resume::Position(epoch(), Some(offset(5))))),
        ("7:-1", after(Resume::Position(epoch(), None))),
        ("-1", None),
        ("7:-2", None),
        ("7:", None),
        (":5", None),
        ("7:5:1", None),
        ("7: 5", None),
        ("End", None),
        ("", None),
        ("9007199254740992", None),
    ] {
        assert_eq!(parse_last_event_id(text), expected, "{text}");
    }
}

#[tokio::test]
async fn what_is_there_already_shares_a_frame() {
    let items = vec![position(0), records(0, &["{}", "{}"]), records(2, &["{}"]), end(EndReason::Tail, 3)];
    let frames = written(Framing::Sse, items).await;
    assert_eq!(frames.len(), 1);
    assert!(frames[0].starts_with("event: position\nid: 7:-1\n"));
    assert!(frames[0].ends_with("event: end\nid: end\ndata: {\"reason\":\"tail\",\"next_offset\":3}\n\n"));
    for id in ["id: 7:0\n", "id: 7:1\n", "id: 7:2\n"] {
        assert!(frames[0].contains(id), "{id}");
    }
}

#[tokio::test]
async fn a_large_run_is_sent_in_bounded_frames_and_whole() {
    let value = format!("{{\"a\":\"{}\"}}", "x".repeat(10_000));
    let values = vec![value.as_str(); 40];
    let frames = written(Framing::Ndjson, vec![records(0, &values), end(EndReason::Limit, 40)]).await;
    assert!(frames.iter().all(|frame| frame.len() < FRAME_BYTES + value.len() + 100));
    let lines: Vec<String> = frames.concat().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 41);
    for (at, line) in lines[..40].iter().enumerate() {
        assert!(line.starts_with(&format!("{{\"offset\":{at},")), "{at}");
    }
}

#[tokio::test]
async fn lines_end_with_end_or_problem() {
    let problem = || StreamItem::Problem(Box::new(Problem::internal()));
    let last = |frames: Vec<String>| frames.concat().lines().last().unwrap().to_owned();
    let ended = last(written(Framing::Ndjson, vec![position(0), end(EndReason::Closed, 0)]).await);
    assert!(ended.starts_with("{\"event\":\"end\""));
    let failed = last(written(Framing::Ndjson, vec![position(0), problem(), records(0, &["{}"])]).await);
    assert!(failed.starts_with("{\"event\":\"problem\""));
    let cut = last(written(Framing::Ndjson, vec![position(0)]).await);
    assert!(cut.starts_with("{\"event\":\"problem\""));
    let goes_on = written(Framing::Sse, vec![position(0), problem(), records(0, &["{}"])]).await.concat();
    assert!(goes_on.contains("event: problem\n") && goes_on.contains("id: 7:0\n"));
}

#[tokio::test]
async fn an_idle_stream_shows_that_it_lives() {
    let items = futures::stream::iter([position(0)]).chain(futures::stream::pending()).boxed();
    let mut run = run(Framing::Sse, CancellationToken::new());
    run.heartbeat = Duration::from_millis(1);
    let frames = run.frames(items);
    tokio::pin!(frames);
    assert!(frames.next().await.unwrap().starts_with(b"event: position"));
    for _ in 0..3 {
        assert_eq!(frames.next().await.unwrap(), ":\n\n");
    }
}

#[tokio::test]
async fn a_draining_server_ends_a_stream_where_the_client_stands() {
    let value = format!("{{\"a\":\"{}\"}}", "x".repeat(FRAME_BYTES));
    let draining = CancellationToken::new();
    let items = futures::stream::iter([position(0), records(0, &[&value, &value, &value])])
        .chain(futures::stream::pending())
        .boxed();
    let frames = run(Framing::Sse, draining.clone()).frames(items);
    tokio::pin!(frames);
    assert!(frames.next().await.unwrap().starts_with(b"event: position\n"));
    assert!(frames.next().await.unwrap().starts_with(b"id: 7:1\n"));
    draining.cancel();
    assert_eq!(frames.next().await.unwrap(), "event: end\ndata: {\"reason\":\"shutdown\",\"next_offset\":2}\n\n");
    assert!(frames.next().await.is_none());
}

#[test]
fn slots_are_bounded_and_given_back() {
    let slots = StreamSlots::new(1, Arc::default());
    let slot = slots.take().unwrap();
    assert!(slots.take().is_none());
    assert_eq!(slots.metrics.streams_open.get(), 1);
    drop(slot);
    assert!(slots.take().is_some());
    assert_eq!(slots.metrics.streams_open.get(), 0);
}
