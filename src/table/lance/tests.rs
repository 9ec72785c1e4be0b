use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ::lance::Dataset;
use ::lance::dataset::{InsertBuilder, WriteMode, WriteParams};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::*;
use crate::codec::columns::to_batch;
use crate::io::{DiskFile, RealDisk};
use crate::schema::{DataType, IntType, Schema};
use crate::table::contract::{
    all, chunk, field, lists_of_json_are_taken_back, plain, tables_follow_what_is_posted, tables_keep_their_promises,
};

/// The real file system, noting what is synced, and failing where it is told to.
#[derive(Debug, Default)]
pub(super) struct TestDisk {
    pub(super) synced: Mutex<Vec<PathBuf>>,
    /// The sync of the next path that contains this fails.
    fails: Mutex<Option<&'static str>>,
}

impl TestDisk {
    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut fails = self.fails.lock();
        if fails.is_some_and(|part| path.to_string_lossy().contains(part)) {
            *fails = None;
            return Err(io::Error::other("the disk is going"));
        }
        self.synced.lock().push(path.to_owned());
        fs::File::open(path)?.sync_all()
    }

    pub(super) fn fail(&self, part: &'static str) {
        *self.fails.lock() = Some(part);
    }
}

impl Disk for TestDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.create(path)
    }
    fn open(&self, _: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.sync(folder)
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.sync(path)
    }
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// A data directory, and tables that have never seen it.
pub(super) struct Bench {
    folder: TempDir,
    pub(super) disk: Arc<TestDisk>,
    pub(super) tables: LanceTables,
}

impl Bench {
    pub(super) fn new() -> Self {
        // A path as users have them.
        let folder = tempfile::Builder::new().prefix("a b%20é#").tempdir().unwrap();
        let disk = Arc::new(TestDisk::default());
        let tables = LanceTables::new(Arc::clone(&disk) as _, Handle::current(), 8);
        Self { folder, disk, tables }
    }

    pub(super) fn place(&self) -> TablePlace {
        let root = self.folder.path();
        TablePlace { dataset: root.join("datasets/0198.lance"), link: root.join("topics/my.topic.lance") }
    }

    /// As after a restart.
    pub(super) async fn reopened(&mut self) -> Result<Arc<dyn Table>, TableError> {
        self.tables = LanceTables::new(Arc::clone(&self.disk) as _, Handle::current(), 8);
        self.tables.open(&self.place(), Offset::ZERO).await
    }

    /// A table with `commits` records, one a commit.
    pub(super) async fn filled(&mut self, commits: u64) -> Arc<dyn Table> {
        let table = self.tables.open(&self.place(), Offset::ZERO).await.unwrap();
        for number in table.head().next.get()..commits {
            append(&*table, number).await.unwrap();
        }
        table
    }

    /// Waits until nobody works on the dataset beside its commits.
    pub(super) async fn upkept(&self) {
        self.tables.shared.turns.ended(&self.place().dataset, |_| ()).await;
    }

    pub(super) fn manifests(&self) -> Vec<PathBuf> {
        files(&self.place().dataset.join("_versions"))
    }

    pub(super) fn uri(&self) -> String {
        self.place().dataset.to_str().unwrap().to_owned()
    }
}

pub(super) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).map(|it| it.map(|it| it.unwrap().path()).collect()).unwrap_or_default();
    files.sort();
    files
}

pub(super) fn schema() -> Schema {
    Schema { fields: vec![field("n", DataType::Int(IntType::I64))] }
}

pub(super) async fn append(table: &dyn Table, number: u64) -> Result<Arc<TableHead>, TableError> {
    let record = format!("{{\"n\":{number}}}");
    let time = i64::try_from(number).unwrap();
    table.append(&plain(&schema()), vec![chunk(number, time, &[&record])]).await
}

pub(super) async fn numbers(table: &dyn Table) -> Vec<u64> {
    let rows = all(table, &schema(), 0).await;
    assert!(rows.iter().all(|(offset, _, text)| *text == format!("{{\"n\":{offset}}}")));
    rows.into_iter().map(|(offset, ..)| offset).collect()
}

use crate::table::TableHead;

#[tokio::test]
async fn datasets_keep_the_promises_of_tables() {
    let bench = Bench::new();
    tables_keep_their_promises(&bench.tables, &bench.place()).await;
    assert!(!bench.place().dataset.exists());
    assert!(fs::symlink_metadata(bench.place().link).is_err());
    tables_follow_what_is_posted(&bench.tables, &bench.place()).await;
    lists_of_json_are_taken_back(&bench.tables, &bench.place()).await;
}

#[tokio::test]
async fn everything_is_synced_before_the_commit_counts_and_in_order() {
    let mut bench = Bench::new();
    let table = bench.filled(1).await;
    let root = fs::canonicalize(bench.folder.path()).unwrap();
    assert_eq!(fs::read_link(bench.place().link).unwrap(), Path::new("../datasets/0198.lance"));
    bench.disk.synced.lock().clear();
    append(&*table, 1).await.unwrap();
    let synced: Vec<String> = bench.disk.synced.lock().iter().map(|path| kind(path, &root)).collect();
    assert_eq!(synced, ["data file", "data", "manifest", "_versions", "0198.lance"]);
}

fn kind(path: &Path, _root: &Path) -> String {
    match path.extension().and_then(|it| it.to_str()) {
        Some("lance") if path.is_file() => "data file".to_owned(),
        Some("manifest") => "manifest".to_owned(),
        _ => path.file_name().unwrap().to_string_lossy().into_owned(),
    }
}

#[tokio::test]
async fn a_torn_head_is_set_aside_and_the_one_before_counts() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 3] = [
        ("empty", |path| fs::write(path, b"").unwrap()),
        ("cut", |path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("zeroed", |path| fs::write(path, vec![0; fs::read(path).unwrap().len()]).unwrap()),
    ];
    for (name, harm) in harms {
        let mut bench = Bench::new();
        drop(bench.filled(3).await);
        harm(&bench.manifests()[0]);
        let table = bench.reopened().await.unwrap();
        assert_eq!(numbers(&*table).await, [0, 1], "{name}");
        assert_eq!(files(&bench.place().dataset.join("_torn")).len(), 1, "{name}");
        append(&*table, 2).await.unwrap();
        assert_eq!(numbers(&*table).await, [0, 1, 2], "{name}");
        assert_eq!(numbers(&*bench.reopened().await.unwrap()).await, [0, 1, 2], "{name}");
    }
}

#[tokio::test]
async fn a_head_zeroed_inside_its_manifest_is_torn() {
    let mut bench = Bench::new();
    drop(bench.filled(2).await);
    let head = bench.manifests()[0].clone();
    let mut bytes = fs::read(&head).unwrap();
    let end = bytes.len() - 16;
    bytes[..end].fill(0);
    fs::write(&head, bytes).unwrap();
    assert_eq!(numbers(&*bench.reopened().await.unwrap()).await, [0]);
}

#[tokio::test]
async fn a_head_whose_data_file_is_missing_or_cut_is_torn() {
    for missing in [true, false] {
        let mut bench = Bench::new();
        let table = bench.filled(2).await;
        let data = bench.place().dataset.join("data");
        let before = files(&data);
        append(&*table, 2).await.unwrap();
        drop(table);
        let newest = files(&data).into_iter().find(|path| !before.contains(path)).unwrap();
        if missing {
            fs::remove_file(newest).unwrap();
        } else {
            fs::File::options().write(true).open(newest).unwrap().set_len(10).unwrap();
        }
        let table = bench.reopened().await.unwrap();
        assert_eq!(numbers(&*table).await, [0, 1], "missing: {missing}");
    }
}

#[tokio::test]
async fn a_first_commit_that_is_torn_leaves_an_empty_table() {
    let mut bench = Bench::new();
    drop(bench.filled(1).await);
    fs::write(&bench.manifests()[0], b"").unwrap();
    let table = bench.reopened().await.unwrap();
    assert_eq!((table.head().version, table.head().next), (0, Offset::ZERO));
    append(&*table, 0).await.unwrap();
    assert_eq!(numbers(&*table).await, [0]);
}

#[tokio::test]
async fn an_old_data_file_that_is_missing_is_no_torn_head() {
    let mut bench = Bench::new();
    drop(bench.filled(1).await);
    let oldest = files(&bench.place().dataset.join("data")).remove(0);
    drop(bench.filled(12).await);
    fs::remove_file(oldest).unwrap();
    let versions = bench.manifests();
    assert!(matches!(bench.reopened().await, Err(TableError::Foreign { .. })));
    assert_eq!(bench.manifests(), versions, "nothing is set aside");
}

#[tokio::test]
async fn a_sync_that_fails_fails_the_commit_and_the_next_try_writes_new_files() {
    for (part, data_files) in [("/data/", 3), ("/data", 3), (".manifest", 3), ("_versions", 3)] {
        let mut bench = Bench::new();
        let table = bench.filled(1).await;
        bench.disk.fail(part);
        let before = table.head();
        assert!(matches!(append(&*table, 1).await, Err(TableError::Failed { .. })), "{part}");
        assert_eq!(table.head().next, before.next, "{part}");
        assert_eq!(numbers(&*table).await, [0], "{part}");
        append(&*table, 1).await.unwrap();
        assert_eq!(numbers(&*table).await, [0, 1], "{part}");
        assert_eq!(files(&bench.place().dataset.join("data")).len(), data_files, "{part}");
        append(&*table, 2).await.unwrap();
        assert_eq!(numbers(&*bench.reopened().await.unwrap()).await, [0, 1, 2], "{part}");
    }
}

#[tokio::test]
async fn a_first_commit_whose_sync_fails_leaves_nothing() {
    for part in ["/data/", ".manifest", "_versions"] {
        let mut bench = Bench::new();
        let table = bench.tables.open(&bench.place(), Offset::ZERO).await.unwrap();
        bench.disk.fail(part);
        assert!(append(&*table, 0).await.is_err(), "{part}");
        assert_eq!(table.head().version, 0, "{part}");
        append(&*table, 0).await.unwrap();
        assert_eq!(numbers(&*bench.reopened().await.unwrap()).await, [0], "{part}");
    }
}

pub(super) async fn somebody_else(bench: &Bench) -> Dataset {
    Dataset::open(&bench.uri()).await.unwrap()
}

#[tokio::test]
async fn rows_of_somebody_else_are_told_and_not_continued() {
    let mut bench = Bench::new();
    let table = bench.filled(2).await;
    let batch = to_batch(&schema(), &[chunk(2, 9, &[r#"{"n":9}"#])]).unwrap();
    let params = WriteParams { mode: WriteMode::Append, ..WriteParams::default() };
    let dataset = Arc::new(somebody_else(&bench).await);
    InsertBuilder::new(dataset).with_params(&params).execute(vec![batch]).await.unwrap();
    assert!(matches!(append(&*table, 2).await, Err(TableError::Foreign { .. })));
    assert!(matches!(append(&*table, 2).await, Err(TableError::Foreign { .. })), "and stays so");
    assert!(matches!(bench.reopened().await, Err(TableError::Foreign { .. })));
}

#[tokio::test]
async fn rows_deleted_by_somebody_else_are_told() {
    let mut bench = Bench::new();
    drop(bench.filled(3).await);
    somebody_else(&bench).await.delete("_offset = 1").await.unwrap();
    assert!(matches!(bench.reopened().await, Err(TableError::Foreign { .. })));
}

#[tokio::test]
async fn a_commit_of_somebody_else_that_left_the_rows_alone_is_adopted() {
    let mut bench = Bench::new();
    let table = bench.filled(2).await;
    let mut dataset = somebody_else(&bench).await;
    dataset.update_config([("theirs", Some("yes"))]).await.unwrap();
    append(&*table, 2).await.unwrap();
    assert_eq!(numbers(&*table).await, [0, 1, 2]);
    let mut dataset = somebody_else(&bench).await;
    assert_eq!(dataset.config().get("theirs").map(String::as_str), Some("yes"));
    dataset.update_config([("theirs", Some("no"))]).await.unwrap();
    let table = bench.reopened().await.unwrap();
    append(&*table, 3).await.unwrap();
    assert_eq!(numbers(&*table).await, [0, 1, 2, 3]);
}

#[tokio::test]
async fn the_manifest_of_an_append_names_the_offsets() {
    let mut bench = Bench::new();
    drop(bench.filled(2).await);
    let dataset = somebody_else(&bench).await;
    let stored = &dataset.manifest().table_metadata;
    assert_eq!(stored.get("queue.next_offset").map(String::as_str), Some("2"));
    assert_eq!(stored.get("queue.base_offset").map(String::as_str), Some("0"));
}

#[tokio::test]
async fn versions_stay_few_and_those_with_a_tag_stay() {
    let mut bench = Bench::new();
    let table = bench.filled(3).await;
    somebody_else(&bench).await.tags().create("mine", 2).await.unwrap();
    drop(table);
    let table = bench.filled(90).await;
    append(&*table, 90).await.unwrap();
    bench.upkept().await;
    assert!(bench.manifests().len() <= 27, "{} versions", bench.manifests().len());
    assert!(somebody_else(&bench).await.checkout_version("mine").await.is_ok());
    assert_eq!(numbers(&*table).await, (0..91).collect::<Vec<_>>());
}

#[tokio::test]
async fn datasets_past_the_limit_are_closed_and_open_again() {
    let bench = Bench::new();
    let shared = Shared {
        disk: Arc::clone(&bench.disk) as _,
        runtime: Handle::current(),
        session: Arc::default(),
        shelf: Shelf::new(2),
        turns: Arc::default(),
        index_turns: Arc::default(),
        held: Held::default(),
        room_left: 0,
        upkeep_policy: UpkeepPolicy::default(),
        links: parking_lot::Mutex::default(),
    };
    let tables = LanceTables { shared: Arc::new(shared) };
    let mut open = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let root = bench.folder.path();
        let place =
            TablePlace { dataset: root.join(format!("{name}.lance")), link: root.join(format!("l/{name}.lance")) };
        let table = tables.open(&place, Offset::ZERO).await.unwrap();
        append(&*table, 0).await.unwrap();
        open.push(table);
        assert!(tables.shared.shelf.len() <= 2);
    }
    for table in &open {
        assert_eq!(numbers(&**table).await, [0]);
        append(&**table, 1).await.unwrap();
        assert_eq!(numbers(&**table).await, [0, 1]);
        assert!(tables.shared.shelf.len() <= 2);
    }
}
