use super::*;

#[tokio::test]
async fn what_this_server_has_not_written_is_an_error_that_names_it() {
    for (statement, named) in [
        ("UPDATE topics SET name = '../x'", "topics.name"),
        ("UPDATE topics SET id = 'x'", "topics.id"),
        ("UPDATE topics SET retention = '{'", "topics.retention"),
        ("UPDATE topics SET earliest_offset = -1", "topics.earliest_offset"),
        ("UPDATE topics SET schema_mode = 'odd'", "topics.schema_mode"),
        ("UPDATE topics SET schema_version = 0", "topics.schema_version"),
        ("UPDATE topics SET link = NULL", "topics.dataset"),
        ("UPDATE epochs SET start_offset = 9007199254740992", "epochs.start_offset"),
        ("DELETE FROM epochs", "topics.id"),
        ("UPDATE schemas SET cause = 'odd'", "schemas.cause"),
        ("UPDATE producers SET receipts = '[]'", "producers.receipts"),
        ("UPDATE idempotency_keys SET body_hash = x'00'", "idempotency_keys.body_hash"),
        ("UPDATE cursors SET name = '../x'", "cursors.name"),
        ("UPDATE cursors SET epoch = -1", "cursors.epoch"),
        ("UPDATE cursors SET next_offset = 9007199254740992", "cursors.next_offset"),
    ] {
        let bed = Bed::new();
        let catalog = bed.open().await;
        let mut new = topic("t");
        new.schema = Some(schema(1));
        let id = new.definition.id;
        catalog.create_topic(new).await.unwrap();
        catalog.checkpoint(&[checkpoint(id)], Timestamp::from_micros(9), LogMark::default()).await.unwrap();
        let name = CursorName::parse("c").unwrap();
        let position = CursorPosition { epoch: Epoch::new(1).unwrap(), next: offset(4) };
        let cursor = CursorRow { name, position, updated_at: Timestamp::from_micros(9) };
        catalog.put_cursor(id, cursor, None, 10).await.unwrap();
        let mut connection = bed.sql().await;
        sqlx::query("PRAGMA foreign_keys = off").execute(&mut connection).await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        let read = [
            catalog.load().await.map(drop),
            catalog.schemas(id).await.map(drop),
            catalog.schema_texts(id, None, 9, 1 << 20).await.map(drop),
            catalog.writers(id).await.map(drop),
            catalog.cursors(id).await.map(drop),
        ];
        let error = read.into_iter().find_map(Result::err).unwrap_or_else(|| panic!("{statement} was not noticed"));
        let CatalogError::Damaged { what } = error else { panic!("{statement}: {error}") };
        assert!(what.starts_with(named), "{statement}: {what}");
    }
}

#[tokio::test]
async fn the_file_of_a_newer_version_is_not_touched() {
    for statement in [
        "UPDATE meta SET format = 3",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (999, 'later', 1, x'00', 0)",
    ] {
        let bed = Bed::new();
        bed.open().await.close().await.unwrap();
        bed.damage(statement).await;
        let refused = Catalog::open(&bed.path(), &bed.tasks).await.unwrap_err();
        assert!(matches!(refused, CatalogError::Unsupported { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_commit_left_in_the_log_by_a_killed_process_is_taken_over() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    catalog.create_topic(topic("t")).await.unwrap();
    // A copy of the files as they lie is what a kill leaves behind.
    let copy = Bed::new();
    for name in ["catalog.sqlite", "catalog.sqlite-wal"] {
        std::fs::copy(bed.folder.path().join(name), copy.folder.path().join(name)).unwrap();
    }
    let recovered = copy.open().await;
    assert_eq!(recovered.load().await.unwrap().topics.len(), 1);
    let log = std::fs::metadata(copy.folder.path().join("catalog.sqlite-wal")).unwrap().len();
    assert_eq!(log, 0, "the log was not checkpointed");
}
