use futures::future::join_all;

use super::*;

#[tokio::test]
async fn everything_of_a_topic_is_there_after_a_reopen() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let mut new = topic("events");
    new.schema = Some(schema(1));
    let id = new.definition.id;
    let epoch = catalog.create_topic(new.clone()).await.unwrap();
    catalog.insert_schema(id, schema(2)).await.unwrap();
    catalog.set_closed(id).await.unwrap();
    catalog.set_closed(id).await.unwrap();
    catalog.checkpoint(&[checkpoint(id)], Timestamp::from_micros(9), LogMark::default()).await.unwrap();
    catalog.set_earliest(id, offset(2)).await.unwrap();
    catalog.set_earliest(id, offset(1)).await.unwrap();
    let options = json!({"ack": "committed"}).as_object().unwrap().clone();
    catalog
        .set_config(id, Retention::default(), options.clone(), Some(SchemaMode::Strict), OnInvalid::Reject)
        .await
        .unwrap();
    let bare = TopicDefinition {
        place: None,
        storage_path: None,
        declared_schema: None,
        schema_mode: None,
        ..topic("bare").definition
    };
    catalog.create_topic(NewTopic { definition: bare.clone(), schema: None }).await.unwrap();
    catalog.close().await.unwrap();

    let catalog = bed.open().await;
    let loaded = catalog.load().await.unwrap();
    let mut definition = new.definition;
    (definition.options, definition.retention) = (options, Retention::default());
    definition.on_invalid = OnInvalid::Reject;
    definition.schema_mode = Some(SchemaMode::Strict);
    let expected = TopicRow {
        definition,
        closed: true,
        earliest: offset(2),
        next: offset(6),
        wide: "[\"a\"]".to_owned(),
        epochs: vec![EpochStart { epoch, start: Offset::ZERO }],
        schema_version: SchemaVersion::new(2),
    };
    assert_eq!(loaded.topics[0], expected);
    assert_eq!(loaded.topics[1].definition, bare);
    assert_eq!(catalog.schemas(id).await.unwrap(), [schema(1), schema(2)]);
    assert_eq!(catalog.newest_schema(id).await.unwrap(), Some(schema(2)));
    let texts = async |after, versions, bytes| {
        let (texts, more) = catalog.schema_texts(id, after, versions, bytes).await.unwrap();
        (texts.iter().map(|text| text.version.get()).collect::<Vec<_>>(), more)
    };
    assert_eq!(texts(None, 9, 1 << 20).await, (vec![1, 2], false));
    assert_eq!(texts(None, 1, 1 << 20).await, (vec![1], true));
    assert_eq!(texts(None, 9, 1).await, (vec![1], true), "one at least");
    assert_eq!(texts(SchemaVersion::new(1), 1, 1).await, (vec![2], false));
    let text = async |version| catalog.schema_text(id, version).await.unwrap().map(|text| text.fields.get().to_owned());
    for (version, row) in [(SchemaVersion::new(1), 1), (SchemaVersion::new(2), 2), (None, 2)] {
        assert_eq!(text(version).await, Some(schema(row).fields.to_string()));
    }
    assert_eq!(text(SchemaVersion::new(3)).await, None);
    let writers = catalog.writers(id).await.unwrap();
    assert_eq!(writers.producers, checkpoint(id).producers);
    assert_eq!(writers.keys, [key("k'2", 3), key("k1", 0)]);
    assert_eq!(catalog.all_writers().await.unwrap(), HashMap::from([(id, writers)]));
    assert!(catalog.load().await.unwrap().was_clean);
}

#[tokio::test]
async fn a_name_is_free_after_a_bury_and_the_tombstone_stays_until_forgotten() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let (first, second) = (topic("a"), topic("a"));
    let (old, new) = (first.definition.id, second.definition.id);
    let place = first.definition.place.clone();
    let old_epoch = catalog.create_topic(NewTopic { schema: Some(schema(1)), ..first.clone() }).await.unwrap();
    assert_eq!(catalog.create_topic(second.clone()).await, Err(CatalogError::NameTaken));
    catalog.checkpoint(&[checkpoint(old)], Timestamp::from_micros(9), LogMark::default()).await.unwrap();
    assert_eq!(catalog.forget(old).await, Err(CatalogError::NotFound));
    catalog.bury(old).await.unwrap();
    assert_eq!(catalog.bury(old).await, Err(CatalogError::NotFound));
    let new_epoch = catalog.create_topic(second).await.unwrap();
    assert!(new_epoch > old_epoch);

    let loaded = catalog.load().await.unwrap();
    assert_eq!(loaded.tombstones, [Tombstone { id: old, name: first.definition.name.clone(), place }]);
    assert_eq!(loaded.topics.iter().map(|topic| topic.definition.id).collect::<Vec<_>>(), [new]);
    // What comes late for a buried topic leaves nothing behind.
    catalog.checkpoint(&[checkpoint(old)], Timestamp::from_micros(9), LogMark::default()).await.unwrap();
    assert_eq!(catalog.all_writers().await.unwrap(), HashMap::new());
    assert_eq!(catalog.schemas(old).await.unwrap(), []);
    for refused in [
        catalog.insert_schema(old, schema(1)).await,
        catalog.set_closed(old).await,
        catalog.set_earliest(old, offset(1)).await,
        catalog.set_config(old, Retention::default(), serde_json::Map::new(), None, OnInvalid::Reject).await,
        catalog.begin_epochs(&[(new, offset(0)), (old, offset(0))]).await.map(drop),
    ] {
        assert_eq!(refused, Err(CatalogError::NotFound));
    }
    catalog.forget(old).await.unwrap();
    assert_eq!(catalog.load().await.unwrap().tombstones, []);
    assert_eq!(catalog.forget(new).await, Err(CatalogError::NotFound));
}

#[tokio::test]
async fn an_epoch_is_never_used_again_even_when_all_topics_are_gone() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let one = topic("one");
    let id = one.definition.id;
    let first = catalog.create_topic(one).await.unwrap();
    let more = catalog.begin_epochs(&[(id, offset(4)), (id, offset(5))]).await.unwrap();
    catalog.bury(id).await.unwrap();
    catalog.forget(id).await.unwrap();
    catalog.close().await.unwrap();
    let catalog = bed.open().await;
    let again = catalog.create_topic(topic("one")).await.unwrap();
    let all = [first, more[0], more[1], again];
    assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "{all:?}");
}

#[tokio::test]
async fn epochs_begin_in_the_order_asked_and_void_what_lies_past_them() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let topics: Vec<_> = (0..20).map(|number| topic(&format!("t{number}"))).collect();
    let mut first = Vec::new();
    for topic in &topics {
        first.push(catalog.create_topic(topic.clone()).await.unwrap());
        catalog
            .checkpoint(&[checkpoint(topic.definition.id)], Timestamp::from_micros(9), LogMark::default())
            .await
            .unwrap();
    }
    catalog.set_earliest(topics[0].definition.id, offset(3)).await.unwrap();
    let starts: Vec<_> = topics.iter().rev().map(|topic| (topic.definition.id, offset(2))).collect();
    let epochs = catalog.begin_epochs(&starts).await.unwrap();
    let rows = catalog.load().await.unwrap().topics;
    for (at, topic) in topics.iter().enumerate() {
        let row = rows.iter().find(|row| row.definition.id == topic.definition.id).unwrap();
        let new = EpochStart { epoch: epochs[topics.len() - 1 - at], start: offset(2) };
        let old = EpochStart { epoch: first[at], start: Offset::ZERO };
        // The first topic's older epoch is void from its earliest offset on, so it is dropped.
        assert_eq!(row.epochs, if at == 0 { vec![new] } else { vec![old, new] });
        assert_eq!((row.next, row.earliest), (offset(2), if at == 0 { offset(2) } else { Offset::ZERO }));
    }
}

#[tokio::test]
async fn a_topic_without_records_to_keep_does_not_gather_epochs() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let volatile = topic("m");
    let id = volatile.definition.id;
    catalog.create_topic(volatile).await.unwrap();
    let mut last = Vec::new();
    for _ in 0..5 {
        last = catalog.begin_epochs(&[(id, Offset::ZERO)]).await.unwrap();
    }
    let rows = catalog.load().await.unwrap().topics;
    assert_eq!(rows[0].epochs, [EpochStart { epoch: last[0], start: Offset::ZERO }]);
}

#[tokio::test]
async fn of_two_that_store_the_same_version_one_wins() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let new = topic("t");
    let id = new.definition.id;
    catalog.create_topic(new).await.unwrap();
    assert_eq!(catalog.insert_schema(id, schema(2)).await, Err(CatalogError::VersionTaken));
    let both = join_all([catalog.insert_schema(id, schema(1)), catalog.insert_schema(id, schema(1))]).await;
    assert_eq!(both, [Ok(()), Err(CatalogError::VersionTaken)]);
    catalog.insert_schema(id, schema(2)).await.unwrap();
    assert_eq!(catalog.load().await.unwrap().topics[0].schema_version, SchemaVersion::new(2));
}

#[tokio::test]
async fn a_checkpoint_replaces_and_removes_writers_and_never_lowers_the_offset() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let new = topic("t");
    let id = new.definition.id;
    catalog.create_topic(new).await.unwrap();
    catalog.checkpoint(&[checkpoint(id)], Timestamp::from_micros(9), LogMark::default()).await.unwrap();
    let second = TopicCheckpoint {
        id,
        next: offset(5),
        wide: "[\"b\"]".to_owned(),
        producers: vec![producer("p2", 7)],
        removed_producers: vec!["p\"1".into(), "never known".into()],
        keys: vec![key("k1", 9)],
        removed_keys: vec!["k'2".into()],
    };
    catalog.checkpoint(&[second], Timestamp::from_micros(9), LogMark::default()).await.unwrap();
    let writers = catalog.writers(id).await.unwrap();
    assert_eq!(writers, WriterRows { producers: vec![producer("p2", 7)], keys: vec![key("k1", 9)] });
    let row = &catalog.load().await.unwrap().topics[0];
    assert_eq!((row.next, row.wide.as_str()), (offset(6), "[\"b\"]"));
}

#[tokio::test]
async fn the_note_of_a_clean_stop_is_kept() {
    let bed = Bed::new();
    for clean in [false, true, false] {
        let catalog = bed.open().await;
        catalog.set_clean(clean, LogMark::default()).await.unwrap();
        catalog.close().await.unwrap();
        let catalog = bed.open().await;
        assert_eq!(catalog.load().await.unwrap().was_clean, clean);
        catalog.close().await.unwrap();
    }
}

#[tokio::test]
async fn how_far_the_log_has_come_is_kept_and_never_goes_back() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    assert_eq!(catalog.load().await.unwrap().log, None);
    let at = |released, end| LogMark { released, end };
    catalog.set_clean(false, at(0, 0)).await.unwrap();
    assert_eq!(catalog.load().await.unwrap().log, Some(at(0, 0)));
    catalog.checkpoint(&[], Timestamp::from_micros(9), at(3, 700)).await.unwrap();
    catalog.checkpoint(&[], Timestamp::from_micros(9), at(0, 900)).await.unwrap();
    catalog.set_clean(true, at(2, 800)).await.unwrap();
    catalog.close().await.unwrap();
    assert_eq!(bed.open().await.load().await.unwrap().log, Some(at(3, 900)));
}
