//! Data folders that are copied and moved while no server has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::api::{Api, Topic, until};
use crate::support::local::{Local, Setup};
use crate::support::process::Launch;

/// The topics of a test, with the folders that they are asked for in; some inside of this data folder by its own path.
fn topics(data: &Path) -> [(&'static str, Value); 7] {
    let absolute = data.join("own/deep");
    // Nothing is committed that nobody asks for.
    let with = |backend: &str, path: Option<&str>| json!({"backend": backend, "storage_path": path, "backend_options": {"flush_interval_ms": 3_600_000}});
    [
        ("lance", with("lance", None)),
        ("persisting", with("persisting", None)),
        ("relative", with("persisting", Some("own"))),
        ("absolute", with("lance", absolute.to_str())),
        ("gone", with("persisting", None)),
        ("gone-too", with("lance", Some("own"))),
        ("log-only", with("persisting", None)),
    ]
}

/// `cp -a`
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), target).unwrap();
        } else if kind.is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Every file and link of a folder, with all its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_symlink() {
                let target = fs::read_link(entry.path()).unwrap();
                found.insert(entry.path(), target.to_str().unwrap().as_bytes().to_vec());
            } else if kind.is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path(), fs::read(entry.path()).unwrap());
            }
        }
    }
    found
}

/// A folder with topics of three records each, of which the last one may be in the log alone.
async fn filled(data: &Path) {
    let server: Local = Setup::new(data).start().await;
    let api = server.api();
    for (name, configuration) in topics(data) {
        api.put(&format!("/v1/topics/{name}"), configuration.to_string()).await.expect(201);
        let topic = api.named(name);
        topic.append("[{\"n\":0},{\"n\":1}]").await;
        if name != "log-only" {
            topic.post("flush", "").await.expect(200);
        }
        topic.append("{\"n\":2}").await;
    }
    let fork = json!({"topic": "fork", "at": {"offset": 2}}).to_string();
    api.post("/v1/topics/absolute/fork", fork).await.expect(201);
    assert_eq!(server.stop().await, 0);
}

async fn holds(topic: &Topic, count: usize) {
    let expected: Vec<String> = (0..count).map(|n| format!("{{\"n\":{n}}}")).collect();
    assert_eq!(topic.values(0).await, expected, "{}", topic.name);
}

/// That every topic is whole, takes records and keeps them, in the data folder where it is now; and that two can be deleted.
async fn works(api: &Api, data: &Path, written_at: &Path) {
    for (name, configuration) in topics(written_at) {
        let topic = api.named(name);
        holds(&topic, 3).await;
        // What every start script sends.
        let described = api.put(&topic.path, configuration.to_string()).await.expect(200).json();
        assert!(Path::new(described["dataset_uri"].as_str().unwrap()).starts_with(data), "{described}");
        topic.append("{\"n\":3}").await;
        topic.post("flush", "").await.expect(200);
        holds(&topic, 4).await;
        let link = PathBuf::from(described["dataset_uri"].as_str().unwrap());
        assert!(link.canonicalize().unwrap().starts_with(data), "{link:?}");
    }
    // By the path that its folder has now, it is the same one.
    for (name, configuration) in topics(data) {
        api.put(&format!("/v1/topics/{name}"), configuration.to_string()).await.expect(200);
    }
    holds(&api.named("fork"), 2).await;
    let again = json!({"topic": "fork-again", "at": {"offset": 2}}).to_string();
    let fork = api.post("/v1/topics/absolute/fork", again).await.expect(201).json();
    assert_eq!(fork["dataset_uri"].as_str(), data.join("own/deep/fork-again.lance").to_str());
    holds(&api.named("fork-again"), 2).await;
    for name in ["gone", "gone-too"] {
        let topic = api.named(name);
        let described = topic.get("").await.expect(200).json();
        let link = PathBuf::from(described["dataset_uri"].as_str().unwrap());
        let dataset = link.canonicalize().unwrap();
        topic.call("DELETE", "", &[], "").await.expect(204);
        until("the dataset is gone", async || !link.is_symlink() && !dataset.exists()).await;
    }
}

#[tokio::test]
async fn a_server_on_a_copy_leaves_the_original_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (original, copied) = (root.join("original"), root.join("copy"));
    filled(&original).await;
    copy(&original, &copied);
    let before = contents(&original);
    assert!(before.len() > 40, "{}", before.len());

    let server = Setup::new(&copied).start().await;
    works(&server.api(), &copied, &original).await;
    assert_eq!(server.stop().await, 0);
    let after = contents(&original);
    let is_new = |(path, bytes): &(&PathBuf, &Vec<u8>)| before.get(*path) != Some(*bytes);
    let changed: Vec<&PathBuf> = after.iter().filter(is_new).map(|(path, _)| path).collect();
    assert!(changed.is_empty() && before.len() == after.len(), "{changed:?}");

    // Both at once, each in its own.
    let (server, other) = (Setup::new(&original).start().await, Setup::new(&copied).start().await);
    works(&server.api(), &original, &original).await;
    holds(&other.api().named("persisting"), 4).await;
    holds(&other.api().named("log-only"), 4).await;
    assert_eq!((server.stop().await, other.stop().await), (0, 0));
}

#[tokio::test]
async fn a_folder_that_was_moved_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (was, is) = (root.join("was"), root.join("deep/er"));
    filled(&was).await;
    fs::create_dir(root.join("deep")).unwrap();
    fs::rename(&was, &is).unwrap();
    let server = Setup::new(&is).start().await;
    works(&server.api(), &is, &was).await;
    assert_eq!(server.stop().await, 0);
    assert!(!was.exists());
}

#[tokio::test]
async fn a_copy_touches_no_dataset_outside_unless_its_folder_is_allowed_there_too() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (original, copied, outside) = (root.join("original"), root.join("copy"), root.join("outside"));
    fs::create_dir(&outside).unwrap();
    let allowed = ["--disk-floor-bytes", "0", "--storage-root", outside.to_str().unwrap()];
    let server = Launch::new(&original).with(&allowed).start_ready().await;
    let topic = Api::new(server.base()).make(json!({"backend": "lance", "storage_path": outside.join("here")})).await;
    topic.call("POST", "records?ack=committed", &[], "{\"n\":0}").await.expect(200);
    assert!(server.stop().success());
    copy(&original, &copied);
    let before = contents(&root.join("outside"));
    let mut refused = Launch::new(&copied).with(&allowed[..2]).start();
    assert_eq!(refused.wait().code(), Some(1));
    assert_eq!(contents(&outside), before);
    // The operator's word counts.
    let server = Launch::new(&copied).with(&allowed).start_ready().await;
    holds(&Api::new(server.base()).named(&topic.name), 1).await;
    assert!(server.stop().success());
}
