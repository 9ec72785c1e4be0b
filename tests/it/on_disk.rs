//! What lies in the data folder, as other tools find it.

use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use lance::dataset::Dataset;
use serde_json::json;

use crate::support::api::Api;
use crate::support::local::Local;
use crate::support::process::Launch;

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_data_folder_is_laid_out_as_told() {
    let (server, folder) = Local::fresh().await;
    let api = server.api();
    let declared = json!({"schema": {"fields": [{"name": "a", "type": "int64"}]}});
    for (name, body) in [("plain", json!({})), ("declared", declared), ("memory", json!({"backend": "memory"}))] {
        api.put(&format!("/v1/topics/{name}"), body.to_string()).await.expect(201);
    }
    let root = folder.path().canonicalize().unwrap();
    let top = names(&root);
    for name in ["catalog.sqlite", "datasets", "topics", "wal"] {
        assert!(top.iter().any(|found| found == name), "{name}: {top:?}");
    }
    // From creation where a schema is declared, else from the first commit.
    assert_eq!(names(&root.join("topics")), ["declared.lance"]);
    let plain = api.named("plain");
    plain.append("{\"a\":1}").await;
    plain.post("flush", "").await.expect(200);
    assert_eq!(names(&root.join("topics")), ["declared.lance", "plain.lance"]);
    for name in ["plain", "declared"] {
        let description = api.get(&format!("/v1/topics/{name}")).await.json();
        let (id, link) = (description["id"].as_str().unwrap(), root.join(format!("topics/{name}.lance")));
        assert_eq!(description["dataset_uri"].as_str(), link.to_str());
        assert!(link.is_symlink() && std::fs::read_link(&link).unwrap().is_relative());
        assert_eq!(link.canonicalize().unwrap(), root.join(format!("datasets/{id}.lance")));
    }
    assert!(names(&root.join("wal")).iter().all(|name| root.join("wal").join(name).is_file()));
    plain.call("DELETE", "", &[], "").await.expect(204);
    crate::support::api::until("dataset and link are gone", async || {
        names(&root.join("topics")) == ["declared.lance"] && names(&root.join("datasets")).len() == 1
    })
    .await;
}

#[tokio::test]
async fn a_topic_is_a_dataset_that_lance_opens_in_place() {
    let (server, _folder) = Local::fresh().await;
    let api = server.api();
    for backend in ["lance", "persisting"] {
        let topic = api.topic(backend).await;
        for round in 0..3 {
            topic.append(json!({"n": round, "_offset": "own", "a.b": true}).to_string().repeat(4)).await;
            topic.post("flush", "").await.expect(200);
        }
        let uri = topic.get("").await.json()["dataset_uri"].as_str().unwrap().to_owned();
        let dataset = Dataset::open(&uri).await.unwrap();
        assert_eq!(dataset.count_rows(None).await.unwrap(), 12);
        let rows = dataset.scan().try_into_batch().await.unwrap();
        let schema = rows.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        for name in ["n", "%5Foffset", "a%2Eb", "_offset", "_timestamp"] {
            assert!(columns.contains(&name), "{name}: {columns:?}");
        }
        let values: Vec<i64> = rows.column_by_name("n").unwrap().as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(values, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2], "fragments in order are offsets in order");
        let fragments = topic.get("stats").await.json()["fragments"].as_u64();
        assert_eq!(fragments, Some(dataset.count_fragments() as u64));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_indexes_are_built_of_lies_in_the_data_folder_and_no_longer_than_its_process() {
    let folder = tempfile::tempdir().unwrap();
    let scratch = folder.path().join("scratch");
    std::fs::create_dir_all(scratch.join(".tmpLEFT")).unwrap();
    let launch = Launch::new(folder.path()).setting("TMPDIR", "/nonexistent");
    let server = launch.start_ready().await;
    assert!(names(&scratch).is_empty());
    let api = Api::new(server.base());
    let declared = json!({"fields": [{"name": "v", "type": "vector", "dim": 4}]});
    let topic = api.make(json!({"backend": "persisting", "schema": declared})).await;
    topic.append("{\"v\":[1,2,3,4]}".repeat(20)).await;
    topic.post("indexes", json!({"column": "v", "type": "ivf_flat", "name": "near"}).to_string()).await.expect(202);
    crate::support::api::until("the index has everything", async || {
        let index = topic.get("indexes/near").await.expect(200).json();
        assert_ne!(index["state"], "failed", "{index}");
        index["rows_indexed"] == 20
    })
    .await;
}
