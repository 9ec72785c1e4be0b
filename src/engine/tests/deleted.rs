//! Topics that are deleted while they are read.

use std::io::Write;

use futures::{StreamExt, TryStreamExt};

use super::upkeep::topic_of;
use super::*;
use crate::codec::FieldSelection;
use crate::filter::Filter;
use crate::model::{ErrorCode, Problem};
use crate::table::model::ModelTables;
use crate::topic::{EndReason, ReadRequest, Start, Step, StreamItem, StreamRequest, Topic};

/// What is logged.
#[derive(Clone, Debug, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Said {
    /// The errors since the last look.
    fn errors(&self) -> Vec<String> {
        let said = String::from_utf8(std::mem::take(&mut *self.0.lock())).unwrap();
        said.lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect()
    }
}

fn ask(filter: Option<&str>, fields: Option<&str>) -> ReadRequest {
    ReadRequest {
        start: Start::Earliest,
        epoch: None,
        limit: None,
        bytes_max: None,
        wait: None,
        version: None,
        fields: fields.map(|fields| FieldSelection::parse(fields).unwrap()),
        filter: filter.map(|filter| Filter::parse(filter).unwrap()),
        at: None,
    }
}

fn code<T>(outcome: Result<T, Problem>) -> Option<ErrorCode> {
    outcome.err().map(|problem| problem.code)
}

/// What readers are told whose reads fail, those first that began before.
async fn told(tables: &ModelTables, topic: &Arc<Topic>, between: impl AsyncFnOnce()) -> Vec<Option<ErrorCode>> {
    let (cut, step) = (topic.cut_at(topic.mark()).unwrap(), Step { rows: 10, bytes: 1 << 20 });
    let (from, until) = (Offset::ZERO, cut.mark().tail);
    let all = || cut.columns(|_| true);
    let forwards = cut.read(all(), from, until, step);
    let backwards = cut.read_back(all(), from, until, step);
    let records = topic.read_all(ask(None, None)).await;
    let passing = topic.read_all(ask(Some("n > 0"), None)).await;
    between().await;
    tables.fail_reads(u32::MAX);
    let mut codes = vec![code(forwards.try_collect::<Vec<_>>().await), code(backwards.try_collect::<Vec<_>>().await)];
    for begun in [records, passing] {
        codes.push(match begun {
            Ok(begun) => code(begun.try_collect::<Vec<_>>().await),
            Err(problem) => Some(problem.code),
        });
    }
    for (filter, fields) in [(None, None), (None, Some("n")), (Some("n > 0"), None)] {
        codes.push(code(topic.read(ask(filter, fields)).await));
        codes.push(match topic.read_columns(ask(filter, fields)).await {
            Ok(read) => code(read.batches.try_collect::<Vec<_>>().await),
            Err(problem) => Some(problem.code),
        });
    }
    tables.fail_reads(0);
    codes
}

#[tokio::test]
async fn whoever_reads_a_topic_that_is_deleted_is_told_so() {
    let said = Said::default();
    let log = said.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish();
    let _logged = tracing::subscriber::set_default(subscriber);
    let folder = tempfile::tempdir().unwrap();
    let tables = Arc::new(ModelTables::default());
    let engine = engine_with(&folder, Arc::new(RealDisk), Arc::clone(&tables) as _).await;
    let topic = topic_of(&engine, "t", CreateTopic::default()).await;
    topic.append(record()).await.unwrap();
    topic.flush().await.unwrap();

    // One that is there, and cannot be read.
    let codes = told(&tables, &topic, async || ()).await;
    assert!(codes.iter().all(|code| *code == Some(ErrorCode::Internal)), "{codes:?}");
    assert!(said.errors().len() >= codes.len());

    let ask = StreamRequest {
        start: Start::Earliest,
        resume: None,
        limit: None,
        block: true,
        at: None,
        fields: None,
        filter: None,
    };
    let stream = topic.stream(ask).await.unwrap();
    let codes = told(&tables, &topic, async || engine.delete(topic.name(), None).await.unwrap()).await;
    assert!(codes.iter().all(|code| *code == Some(ErrorCode::TopicNotFound)), "{codes:?}");
    tables.fail_reads(u32::MAX);
    let items: Vec<StreamItem> = stream.collect().await;
    let is_end = |item: &StreamItem| matches!(item, StreamItem::End { reason: EndReason::Deleted, .. });
    assert!(items.last().is_some_and(is_end), "{items:?}");
    assert!(!items.iter().any(|item| matches!(item, StreamItem::Problem(_))), "{items:?}");
    assert_eq!(said.errors(), Vec::<String>::new());
    engine.shut_down(Instant::now() + PATIENCE).await;
}
