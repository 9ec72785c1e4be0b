//! Hits that an index has far from the query.

use std::sync::Arc;

use arrow_array::FixedSizeListArray;
use arrow_array::types::Float32Type;
use lance::dataset::Dataset;
use lance::index::DatasetIndexExt;
use lance::index::vector::VectorIndexParams;
use lance_index::IndexType;
use lance_index::vector::ivf::IvfBuildParams;
use lance_linalg::distance::DistanceType;
use serde_json::{Value, json};

use crate::support::local::{Local, Setup};

const ROWS: usize = 3_000;
const CLUSTERS: usize = 50;

#[tokio::test]
async fn an_index_finds_as_many_hits_as_pass_wherever_they_lie() {
    let (server, folder) = Local::fresh().await;
    let fields = json!([{"name": "v", "type": "vector", "dim": 2, "item": "float32"}, {"name": "n", "type": "int64"}]);
    let topic = server.api().make(json!({"backend": "persisting", "schema": {"fields": fields}})).await;
    let row = |n: usize| {
        let (cluster, within) = (n / (ROWS / CLUSTERS), n % (ROWS / CLUSTERS));
        json!({"v": [cluster * 50, within], "n": n}).to_string()
    };
    topic.append((0..ROWS).map(row).collect::<Vec<_>>().join("\n")).await;
    topic.post("flush", "").await.expect(200);
    let (name, uri) = (topic.name.clone(), topic.get("").await.json()["dataset_uri"].as_str().unwrap().to_owned());
    server.stop().await;
    // Centres that are found by chance may part a cluster, or leave two together.
    let centres = (0..CLUSTERS).map(|cluster| Some([Some(cluster as f32 * 50.0), Some(29.5)]));
    let centres = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(centres, 2);
    let partitions = IvfBuildParams::try_with_centroids(CLUSTERS, Arc::new(centres)).unwrap();
    let params = VectorIndexParams::with_ivf_flat_params(DistanceType::L2, partitions);
    let mut dataset = Dataset::open(&uri).await.unwrap();
    dataset.create_index(&["v"], IndexType::Vector, Some("of_v".to_owned()), &params, false).await.unwrap();
    let server = Setup::new(folder.path()).start().await;
    let topic = server.api().named(&name);

    let search = async |vector: Value, k: usize, filter: &str| {
        let ask = json!({"vector": vector, "k": k, "filter": filter, "fields": "n"});
        topic.post("search", ask.to_string()).await.expect(200).json()
    };
    let near = json!({"column": "v", "query": [0, 0]});
    let far = search(near.clone(), 10, "n >= 2880").await;
    let offsets: Vec<u64> = far["hits"].as_array().unwrap().iter().map(|hit| hit["offset"].as_u64().unwrap()).collect();
    assert_eq!((offsets, &far["index"]), ((2880..2890).collect(), &json!("of_v")));
    // Fewer than are asked for, which Lance names without measuring them.
    let few = search(near.clone(), 10, "n >= 2995").await;
    assert_eq!((few["hits"].as_array().unwrap().len(), &few["index"]), (5, &json!("of_v")));
    assert_eq!(few["hits"][0]["_distance"].as_f64(), Some(2450.0 * 2450.0 + 55.0 * 55.0));
    let all = search(near, ROWS, "n >= 0").await;
    assert_eq!(all["hits"].as_array().unwrap().len(), ROWS);
    // No more room is made than rows need.
    let large = json!({"column": "v", "query": [0, 0], "refine_factor": 100, "ef": 100_000});
    assert_eq!(search(large, 10_000, "n >= 0").await["hits"].as_array().unwrap().len(), ROWS);
    // What is asked for is all that is looked into.
    let bounded = search(json!({"column": "v", "query": [0, 0], "nprobes": 1}), 10, "n >= 2880").await;
    assert_eq!(bounded["hits"], json!([]));
    server.stop().await;
}
