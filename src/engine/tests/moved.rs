//! A data folder in another place than the one where it was written.

use serde_json::json;
use tempfile::TempDir;

use super::super::testing::start;
use super::upkeep::topic_of;
use super::*;
use crate::catalog::testing::put_into_format_1;
use crate::engine::{Engine, StartError};
use crate::table::Tables;

fn tables() -> Arc<dyn Tables> {
    Arc::new(LanceTables::new(Arc::new(RealDisk), tokio::runtime::Handle::current(), 16))
}

/// What `mv` does.
fn moved(from: &TempDir) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from.path()).unwrap().flatten() {
        std::fs::rename(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

fn ask(backend: &str, storage_path: Option<&str>) -> CreateTopic {
    let mut ask = CreateTopic { backend: Some(backend.to_owned()), ..CreateTopic::default() };
    ask.storage_path = storage_path.map(str::to_owned);
    ask.backend_options.insert("flush_interval_ms".to_owned(), json!(3_600_000));
    ask
}

/// One record in the dataset of each topic and one more, which is in the log where there is one.
async fn fill(engine: &Arc<Engine>, asks: &[(&str, CreateTopic)]) {
    for (name, ask) in asks {
        let topic = topic_of(engine, name, ask.clone()).await;
        topic.append(record()).await.unwrap();
        topic.flush().await.unwrap();
        topic.append(record()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_an_older_server_is_whole_after_it_has_moved() {
    let from = tempfile::tempdir().unwrap();
    let was = from.path().canonicalize().unwrap();
    let absolute = was.join("b/c").to_str().unwrap().to_owned();
    let asks = [
        ("lance", ask("lance", None)),
        ("persisting", ask("persisting", None)),
        ("relative", ask("persisting", Some("a"))),
        ("absolute", ask("persisting", Some(&absolute))),
        ("deleted", ask("persisting", None)),
    ];
    let engine = engine_with(&from, Arc::new(RealDisk), tables()).await;
    fill(&engine, &asks).await;
    engine.shut_down(Instant::now() + PATIENCE).await;
    drop(engine);
    put_into_format_1(&was, &was).await;

    let to = moved(&from);
    let root = to.path().canonicalize().unwrap();
    let engine = engine_with(&to, Arc::new(RealDisk), tables()).await;
    for (name, ask) in &asks {
        let (name, folder) = (TopicName::parse(name).unwrap(), ask.storage_path.as_deref());
        let (description, made) = engine.create(&name, ask.clone()).await.unwrap();
        assert!(!made && description.storage_path.as_deref() == folder, "{name}");
        let links = root.join(folder.map_or("topics", |folder| if folder == "a" { "a" } else { "b/c" }));
        assert_eq!(description.dataset_uri.unwrap(), links.join(format!("{name}.lance")).to_str().unwrap());
        let topic = engine.topic(&name).await.unwrap();
        topic.append(record()).await.unwrap();
        assert_eq!(topic.flush().await.unwrap().committed_offset.unwrap().get(), 3, "{name}");
        let dataset = links.join(format!("{name}.lance")).canonicalize().unwrap();
        assert!(dataset.starts_with(&root) && dataset.join("_versions").is_dir(), "{name}");
    }
    let (name, core) = (TopicName::parse("deleted").unwrap(), engine.core().unwrap());
    engine.delete(&name, None).await.unwrap();
    core.clear_remains().await;
    assert_eq!(std::fs::read_dir(root.join("datasets")).unwrap().count(), 2);
    assert!(!root.join("topics/deleted.lance").is_symlink());
    // Nothing was written where the folder was.
    assert_eq!(std::fs::read_dir(&was).unwrap().count(), 0);
    engine.shut_down(Instant::now() + PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dataset_outside_is_not_touched_where_its_folder_is_not_allowed() {
    let from = tempfile::tempdir().unwrap();
    let absolute = from.path().canonicalize().unwrap().join("b").to_str().unwrap().to_owned();
    let engine = engine_with(&from, Arc::new(RealDisk), tables()).await;
    fill(&engine, &[("absolute", ask("persisting", Some(&absolute)))]).await;
    engine.shut_down(Instant::now() + PATIENCE).await;
    drop(engine);
    // As if it lay there by leave of `--storage-root`.
    std::fs::remove_dir_all(&absolute).unwrap();
    put_into_format_1(from.path(), Path::new("/somewhere")).await;
    let refused = start(&from, Arc::new(RealDisk), tables()).await.unwrap_err();
    assert!(matches!(refused, StartError::Outside { .. }), "{refused}");
}
