use futures::future::join_all;

use super::*;

fn name(text: &str) -> CursorName {
    CursorName::parse(text).unwrap()
}

fn position(epoch: u64, next: u64) -> CursorPosition {
    CursorPosition { epoch: Epoch::new(epoch).unwrap(), next: offset(next) }
}

fn cursor(text: &str, next: u64) -> CursorRow {
    CursorRow { name: name(text), position: position(7, next), updated_at: Timestamp::from_micros(next as i64) }
}

async fn topic_in(catalog: &Catalog, name: &str) -> TopicId {
    let new = topic(name);
    let id = new.definition.id;
    catalog.create_topic(new).await.unwrap();
    id
}

#[tokio::test]
async fn cursors_are_there_after_a_reopen_each_with_its_topic() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let (one, other) = (topic_in(&catalog, "one").await, topic_in(&catalog, "other").await);
    for (id, row) in [(one, cursor("b", 5)), (one, cursor("a", 3)), (other, cursor("a", 9)), (one, cursor("b", 4))] {
        catalog.put_cursor(id, row, None, 10).await.unwrap();
    }
    catalog.close().await.unwrap();
    let catalog = bed.open().await;
    assert_eq!(catalog.cursors(one).await.unwrap(), [cursor("a", 3), cursor("b", 4)]);
    assert_eq!(catalog.cursor(other, &name("a")).await.unwrap(), Some(cursor("a", 9)));
    assert_eq!(catalog.cursor(other, &name("b")).await.unwrap(), None);
    assert_eq!(catalog.all_cursors().await.unwrap().values().map(Vec::len).sum::<usize>(), 3);
    assert_eq!(catalog.delete_cursor(one, name("a")).await, Ok(true));
    assert_eq!(catalog.delete_cursor(one, name("a")).await, Ok(false));
    assert_eq!(catalog.cursors(one).await.unwrap(), [cursor("b", 4)]);
}

#[tokio::test]
async fn a_cursor_moves_from_where_it_is_expected_only() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let id = topic_in(&catalog, "t").await;
    let put = |row, expected| catalog.put_cursor(id, row, Some(expected), 10);
    assert_eq!(put(cursor("c", 1), position(7, 0)).await, Err(CatalogError::CursorMoved), "it is not there");
    assert_eq!(catalog.cursors(id).await.unwrap(), []);
    catalog.put_cursor(id, cursor("c", 1), None, 10).await.unwrap();
    for wrong in [position(7, 2), position(6, 1)] {
        assert_eq!(put(cursor("c", 3), wrong).await, Err(CatalogError::CursorMoved));
    }
    // Of many in one group one wins.
    let moves = join_all((2..9).map(|next| put(cursor("c", next), position(7, 1)))).await;
    assert_eq!(moves.iter().filter(|moved| moved.is_ok()).count(), 1);
    assert_eq!(catalog.cursors(id).await.unwrap(), [cursor("c", 2)]);
}

#[tokio::test]
async fn a_topic_has_no_more_cursors_than_it_may() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let (id, other) = (topic_in(&catalog, "t").await, topic_in(&catalog, "other").await);
    let names = ["a", "b", "c", "d"];
    let made = join_all(names.map(|name| catalog.put_cursor(id, cursor(name, 1), None, 2))).await;
    assert_eq!(made, [Ok(()), Ok(()), Err(CatalogError::TooManyCursors), Err(CatalogError::TooManyCursors)]);
    // Those that are there can move, and other topics have their own.
    catalog.put_cursor(id, cursor("a", 2), None, 2).await.unwrap();
    catalog.put_cursor(other, cursor("c", 1), None, 2).await.unwrap();
    catalog.delete_cursor(id, name("b")).await.unwrap();
    catalog.put_cursor(id, cursor("c", 1), None, 2).await.unwrap();
    assert_eq!(catalog.cursors(id).await.unwrap(), [cursor("a", 2), cursor("c", 1)]);
}

#[tokio::test]
async fn cursors_go_with_their_topic() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let (old, other) = (topic_in(&catalog, "t").await, topic_in(&catalog, "other").await);
    catalog.put_cursor(old, cursor("c", 1), None, 10).await.unwrap();
    catalog.put_cursor(other, cursor("c", 2), None, 10).await.unwrap();
    catalog.bury(old).await.unwrap();
    let new = topic_in(&catalog, "t").await;
    assert_eq!(catalog.put_cursor(old, cursor("c", 3), None, 10).await, Err(CatalogError::NotFound));
    assert_eq!(catalog.delete_cursor(old, name("c")).await, Ok(false));
    assert_eq!(catalog.cursors(new).await.unwrap(), []);
    assert_eq!(catalog.all_cursors().await.unwrap(), HashMap::from([(other, vec![cursor("c", 2)])]));
}

#[tokio::test]
async fn the_file_of_a_version_without_cursors_gets_them() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let id = topic_in(&catalog, "t").await;
    catalog.close().await.unwrap();
    bed.damage("DROP TABLE cursors").await;
    bed.damage("DELETE FROM _sqlx_migrations WHERE version = 2").await;
    let catalog = bed.open().await;
    assert_eq!(catalog.load().await.unwrap().topics.len(), 1);
    catalog.put_cursor(id, cursor("c", 1), None, 10).await.unwrap();
    assert_eq!(catalog.cursors(id).await.unwrap(), [cursor("c", 1)]);
}
