use async_trait::async_trait;
use futures::future::join_all;

use super::*;

#[tokio::test]
async fn one_failed_change_of_a_group_leaves_the_others_alone() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    // All are in the queue before the writer sees the first: on this runtime it runs only when we wait.
    let creations = (0..60).map(|number| catalog.create_topic(topic(&format!("t{}", number % 40))));
    let outcomes = join_all(creations).await;
    let taken: Vec<_> = outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).map(|(at, _)| at).collect();
    assert_eq!(taken, (40..60).collect::<Vec<_>>());
    assert!(outcomes[40..].iter().all(|outcome| *outcome == Err(CatalogError::NameTaken)));
    assert_eq!(catalog.load().await.unwrap().topics.len(), 40);
}

#[tokio::test]
async fn changes_submitted_together_share_a_commit() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let before = commits(&bed).await;
    join_all((0..64).map(|number| catalog.create_topic(topic(&format!("t{number}"))))).await;
    let after = commits(&bed).await;
    assert_eq!(catalog.load().await.unwrap().topics.len(), 64);
    assert!(after - before <= 4, "64 creations took {} commits", after - before);
}

/// How many commits the log holds: in a frame's header the database size is other than 0 where it ends a transaction.
async fn commits(bed: &Bed) -> usize {
    let log = std::fs::read(bed.folder.path().join("catalog.sqlite-wal")).unwrap();
    let Some(frames) = log.get(32..) else { return 0 };
    frames.chunks(24 + 4_096).filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test]
async fn many_clients_make_and_load_many_topics() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let clients = (0..32).map(|client| {
        let catalog = catalog.clone();
        async move {
            for number in 0..40 {
                catalog.create_topic(topic(&format!("t-{client}-{number}"))).await.unwrap();
            }
        }
    });
    join_all(clients).await;
    let loaded = catalog.load().await.unwrap();
    let epochs: std::collections::BTreeSet<_> = loaded.topics.iter().map(|topic| topic.epochs[0].epoch.get()).collect();
    assert_eq!((loaded.topics.len(), epochs.len()), (1_280, 1_280));
    let marks: Vec<_> = loaded.topics.iter().map(|topic| checkpoint(topic.definition.id)).collect();
    catalog.checkpoint(&marks, Timestamp::from_micros(9), LogMark::default()).await.unwrap();
    assert!(catalog.load().await.unwrap().topics.iter().all(|topic| topic.next == offset(6)));
    assert_eq!(catalog.all_writers().await.unwrap().len(), 1_280);
}

#[tokio::test]
async fn a_closed_catalog_refuses_and_closing_again_is_nothing() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    let (first, second) = tokio::join!(catalog.close(), catalog.close());
    assert_eq!((first, second), (Ok(()), Ok(())));
    assert!(matches!(catalog.set_clean(true, LogMark::default()).await, Err(CatalogError::Failed { .. })));
    assert!(matches!(catalog.load().await, Err(CatalogError::Failed { .. })));
    bed.tasks.finish().await;
    assert!(bed.tasks.health().is_sound());
}

#[tokio::test]
async fn a_commit_that_fails_fails_its_whole_group_and_latches() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    // A deferred constraint is looked at by COMMIT alone, so it stands for a disk that fails there.
    bed.damage("CREATE TABLE broken (topic TEXT REFERENCES topics (id) DEFERRABLE INITIALLY DEFERRED)").await;
    bed.damage(
        "CREATE TRIGGER breaks AFTER INSERT ON topics WHEN new.name = 'breaking'
         BEGIN INSERT INTO broken VALUES ('nobody'); END",
    )
    .await;
    let outcomes = join_all(["good", "breaking", "better"].map(|name| catalog.create_topic(topic(name)))).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(CatalogError::Failed { .. }))), "{outcomes:?}");
    assert!(matches!(catalog.create_topic(topic("later")).await, Err(CatalogError::Failed { .. })));
    assert_eq!(bed.tasks.health().faults()[0].part, "catalog");
    assert_eq!(catalog.load().await.unwrap().topics, []);
}

/// Bounds the file as a full disk would.
struct LimitPages(u32);

#[async_trait]
impl Change for LimitPages {
    type Answer = ();

    async fn apply(self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        let statement = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {}", self.0));
        sqlx::query(statement).execute(connection).await?;
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_is_told_as_such_and_the_catalog_goes_on_when_there_is_room() {
    let bed = Bed::new();
    let catalog = bed.open().await;
    catalog.submit(LimitPages(60)).await.unwrap();
    let mut made = 0;
    let refused = loop {
        match catalog.create_topic(topic(&format!("t{made}"))).await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, CatalogError::DiskFull);
    assert_eq!(catalog.load().await.unwrap().topics.len(), made);
    catalog.submit(LimitPages(1_000_000)).await.unwrap();
    catalog.create_topic(topic("more")).await.unwrap();
    assert_eq!(catalog.load().await.unwrap().topics.len(), made + 1);
    assert!(bed.tasks.health().is_sound());
}
