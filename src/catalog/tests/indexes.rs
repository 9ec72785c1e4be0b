use serde_json::json;

use super::*;
use crate::model::{IndexId, IndexName};
use crate::schema::{FieldPath, IndexSpec, IndexType};

fn name(text: &str) -> IndexName {
    IndexName::parse(text).unwrap()
}

fn index(text: &str) -> IndexRow {
    let params = json!({"metric": "dot", "num_partitions": 3});
    IndexRow {
        id: IndexId::fresh(),
        name: name(text),
        columns: vec![FieldPath(vec!["a".to_owned(), "odd \"name\", it is".to_owned()])],
        spec: IndexSpec::new(IndexType::IvfFlat, params.as_object().cloned().unwrap()).unwrap(),
        schema: SchemaVersion::new(3),
        from: offset(7),
        created_at: Timestamp::from_micros(9),
    }
}

async fn topic_in(catalog: &Catalog, name: &str) -> TopicId {
    let new = topic(name);
    let id = new.definition.id;
    catalog.create_topic(new).await.unwrap();
    id
}

#[tokio::test]
async fn indexes_are_there_after_a_reopen_as_they_were_and_go_with_their_topic() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let (one, other) = (topic_in(&catalog, "one").await, topic_in(&catalog, "other").await);
    let rows = [index("a"), index("b")];
    for row in rows.iter().rev() {
        catalog.put_index(one, row.clone(), 2).await.unwrap();
    }
    assert_eq!(catalog.put_index(one, index("c"), 2).await, Err(CatalogError::TooManyIndexes));
    assert_eq!(catalog.put_index(TopicId::fresh(), index("a"), 2).await, Err(CatalogError::NotFound));
    catalog.close().await.unwrap();
    let catalog = bed.open().await;
    assert_eq!(catalog.indexes(one).await.unwrap(), rows);
    assert_eq!(catalog.indexes(other).await.unwrap(), []);
    assert_eq!(catalog.indexed_topics().await.unwrap(), [one].into());
    // In place of one of the name, however many there may be.
    let newer = index("b");
    catalog.put_index(one, newer.clone(), 2).await.unwrap();
    assert_eq!(catalog.delete_index(one, name("a")).await, Ok(true));
    assert_eq!(catalog.delete_index(one, name("a")).await, Ok(false));
    assert_eq!(catalog.indexes(one).await.unwrap(), [newer]);
    catalog.bury(one).await.unwrap();
    assert_eq!(catalog.indexed_topics().await.unwrap(), [].into());
}
