use ::lance::index::DatasetIndexExt as _;
use lance_index::scalar::{BuiltinIndexType, ScalarIndexParams};

use super::tests::{append, bench, definition, held, inside, settled, standing, want};
use super::*;
use crate::schema::IndexType;
use crate::table::lance::tests::somebody_else;
use crate::table::lance::upkeep::files_within;
use crate::table::{IndexState, Table as _};

#[test]
fn a_look_that_is_sooner_takes_the_place_of_one_that_is_later() {
    let state = State::default();
    let soon = Instant::now();
    let late = soon + REST_MAX;
    assert!(state.time(late) && state.time(soon));
    assert!(!state.time(soon) && !state.time(late));
    assert!(!state.is_timed_for(late));
    assert!(state.is_timed_for(soon) && !state.is_timed_for(soon));
}

#[test]
fn a_build_of_what_is_wanted_no_more_stops_and_no_other() {
    let (state, all) = (State::default(), CancellationToken::new());
    let two: Arc<[IndexDefinition]> =
        vec![definition("n", IndexType::BTree, 0), definition("k", IndexType::Bitmap, 0)].into();
    state.want(&two);
    let (gone, kept) = (state.begin(two[0].id, &all), state.begin(two[1].id, &all));
    state.want(&two[1..].into());
    assert!(gone.is_cancelled() && !kept.is_cancelled() && !all.is_cancelled());
    assert!(state.begin(two[0].id, &all).is_cancelled(), "it was seen before it went");
    all.cancel();
    assert!(kept.is_cancelled());
}

#[tokio::test]
async fn what_a_build_has_written_that_came_to_no_end_goes_with_its_parts() {
    let bench = bench();
    let table = inside(&bench).await;
    append(&table, 0, 20).await;
    let segment = uuid::Uuid::now_v7();
    let folder = bench.place().dataset.join("_indices").join(segment.to_string());
    std::fs::create_dir_all(folder.join("part")).unwrap();
    let files = [folder.join("a.lance"), folder.join("part").join("b.lance")];
    for file in &files {
        std::fs::write(file, "x").unwrap();
    }
    table.inner().forget_unbuilt(segment).await;
    assert!(files.iter().all(|file| !file.exists()));
}

#[tokio::test]
async fn segments_that_were_replaced_count_as_history_and_leave_the_disk() {
    let bench = bench();
    let table = inside(&bench).await;
    append(&table, 0, 20).await;
    let indices = bench.place().dataset.join("_indices");
    let index_bytes = || -> u64 {
        let segments = std::fs::read_dir(&indices).unwrap().map(|segment| segment.unwrap().path());
        segments.flat_map(|segment| files_within(&segment).unwrap()).map(|(_, bytes, _)| bytes).sum()
    };
    let anew = async || {
        want(&table, &[definition("text", IndexType::Inverted, 20)]);
        settled(&bench, &table).await;
        bench.upkept().await;
        table.usage().await.unwrap()
    };
    assert_eq!(anew().await.dead_bytes, 0);
    let one = index_bytes();
    assert!(anew().await.dead_bytes >= one);
    for _ in 0..5 {
        anew().await;
    }
    let (all, data) = (index_bytes(), table.usage().await.unwrap().live_bytes);
    assert!(data < 3 * one && all <= 2 * one + data, "{all} of {one} and {data}");
}

#[tokio::test]
async fn an_index_that_is_always_due_keeps_no_other_waiting() {
    let bench = bench();
    let table = inside(&bench).await;
    append(&table, 0, 20).await;
    let wanted = ["n", "k", "text"].map(|name| definition(name, IndexType::BTree, 20));
    want(&table, &wanted[..2]);
    settled(&bench, &table).await;
    let _hold = held(&bench).await;
    append(&table, 20, 20).await;
    let inner = table.inner();
    let version = inner.version().await.unwrap().unwrap();
    let found = survey::survey(&version, &wanted).await.unwrap();
    let next = || match inner.next_step(&found, &version) {
        keep::Step::Build { part, .. } => part,
        keep::Step::Wait(_) => panic!("all are due"),
    };
    assert_eq!(next(), 2, "it can answer nothing yet");
    let ended = |place: usize, at| {
        let known = Known { ended: HashMap::from([(0, at)]), ..Known::default() };
        inner.indexes.known.lock().insert(wanted[place].id, known);
    };
    let found = survey::Survey { parts: found.parts.into_iter().take(2).collect(), unwanted: Vec::new() };
    let next = || match inner.next_step(&found, &version) {
        keep::Step::Build { part, .. } => part,
        keep::Step::Wait(_) => panic!("both are due"),
    };
    let now = Instant::now();
    ended(0, now);
    ended(1, now - Duration::from_secs(1));
    assert_eq!(next(), 1);
    ended(1, now + Duration::from_secs(1));
    assert_eq!(next(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_that_another_tool_has_made_of_ours_are_replaced_and_those_of_another_column_are_not() {
    let mut bench = bench();
    let table = inside(&bench).await;
    append(&table, 0, 20).await;
    drop(table);
    let mut dataset = somebody_else(&bench).await;
    let params = ScalarIndexParams::for_builtin(BuiltinIndexType::BTree);
    for (column, name) in [("n", "n_index"), ("n", "k_index")] {
        let columns = [column];
        let build = dataset.create_index_builder(&columns, lance_index::IndexType::BTree, &params);
        build.name(name.to_owned()).await.unwrap();
    }
    let foreign: Vec<_> = dataset.load_indices().await.unwrap().iter().map(|segment| segment.uuid).collect();
    drop(bench.reopened().await.unwrap());
    let table = inside(&bench).await;
    want(&table, &[definition("n", IndexType::BTree, 20), definition("k", IndexType::BTree, 20)]);
    settled(&bench, &table).await;
    let now = standing(&table).await;
    assert_eq!((now[0].state, now[0].rows, &now[0].error), (IndexState::Ready, 20, &None));
    assert_eq!(now[1].state, IndexState::Failed);
    assert!(now[1].error.as_deref().is_some_and(|error| error.ends_with("under another name.")), "{now:?}");
    let segments = somebody_else(&bench).await.load_indices().await.unwrap();
    assert_eq!(segments.len(), 2);
    assert!(segments.iter().all(|it| foreign.contains(&it.uuid) == (it.name == "k_index")), "{segments:?}");
}
