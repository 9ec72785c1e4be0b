//! Tags and forks of datasets: what is synced, what Lance's own tools see, what is left of one that failed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use ::lance::Dataset;

use super::tests::{Bench, files};
use super::*;
use crate::io::RealDisk;
use crate::model::TagName;
use crate::schema::{Columns, DataType, IntType, Schema};
use crate::table::contract::{chunk, field, texts};
use crate::table::versions_contract::versions_keep_their_promises;

fn columns() -> Columns {
    Columns::plain(Schema { fields: vec![field("n", DataType::Int(IntType::I64))] })
}

fn tag() -> TagName {
    TagName::parse("v1").unwrap()
}

/// A table of some fragments with two rows each.
async fn filled(bench: &mut Bench, fragments: u64) -> Arc<dyn Table> {
    let table = bench.reopened().await.unwrap();
    for number in 0..fragments {
        let (one, two) = (format!("{{\"n\":{}}}", 2 * number), format!("{{\"n\":{}}}", 2 * number + 1));
        table.append(&columns(), vec![chunk(2 * number, 1, &[&one, &two])]).await.unwrap();
    }
    table
}

/// The names of what was synced, in order.
fn synced_names(bench: &Bench) -> Vec<String> {
    bench.disk.synced.lock().iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

fn other_place(bench: &Bench) -> TablePlace {
    let place = bench.place();
    let beside = |path: &std::path::Path, name: &str| path.with_file_name(name);
    TablePlace { dataset: beside(&place.dataset, "0199.lance"), link: beside(&place.link, "fork.lance") }
}

#[tokio::test]
async fn datasets_keep_the_promises_of_versions() {
    let bench = Bench::new();
    // This disk has no links, so that files are copied.
    versions_keep_their_promises(&bench.tables, &bench.place(), &other_place(&bench)).await;
    let tables = LanceTables::new(Arc::new(RealDisk), Handle::current(), 8);
    versions_keep_their_promises(&tables, &bench.place(), &other_place(&bench)).await;
}

#[tokio::test]
async fn a_tag_is_synced_before_it_is_answered_and_lance_knows_it() {
    let mut bench = Bench::new();
    let table = filled(&mut bench, 2).await;
    bench.disk.synced.lock().clear();
    table.put_tag(&tag(), Some(1)).await.unwrap();
    let synced = synced_names(&bench);
    assert_eq!(synced, ["tags", "_refs", "0198.lance"], "the file itself was synced before it had its name");
    let dataset = Dataset::open(&bench.uri()).await.unwrap();
    assert_eq!(dataset.tags().get_version("v1").await.unwrap(), 1);
    assert_eq!(dataset.checkout_version("v1").await.unwrap().count_rows(None).await.unwrap(), 2);
    dataset.tags().create("theirs", 2).await.unwrap();
    let names: Vec<String> = table.tags().await.unwrap().iter().map(|tag| tag.name.to_string()).collect();
    assert_eq!(names, ["theirs", "v1"]);
    bench.disk.synced.lock().clear();
    assert!(table.delete_tag(&tag()).await.unwrap());
    assert_eq!(synced_names(&bench), ["tags"]);
    assert!(dataset.tags().get("v1").await.is_err());
}

#[tokio::test]
async fn a_tag_whose_sync_fails_is_not_answered_and_can_be_set_again() {
    for part in ["_refs/tags", "_refs"] {
        let mut bench = Bench::new();
        let table = filled(&mut bench, 2).await;
        bench.disk.fail(part);
        assert!(table.put_tag(&tag(), Some(1)).await.is_err(), "{part}");
        assert_eq!(table.put_tag(&tag(), Some(2)).await.unwrap().0.about.version, 2, "{part}");
        bench.disk.fail("_refs/tags");
        assert!(table.delete_tag(&tag()).await.is_err());
        assert_eq!(
            table.tag(&tag()).await.unwrap().map(|tag| tag.about.version),
            Some(2),
            "what could not be forgotten is there"
        );
        assert!(table.delete_tag(&tag()).await.unwrap());
    }
}

#[tokio::test]
async fn a_tag_that_cannot_be_read_is_none() {
    let mut bench = Bench::new();
    let table = filled(&mut bench, 1).await;
    table.put_tag(&tag(), None).await.unwrap();
    fs::write(bench.place().dataset.join("_refs/tags/v1.json"), b"{").unwrap();
    assert!(table.tags().await.unwrap().is_empty());
    assert_eq!(table.tag(&tag()).await.unwrap(), None);
    assert!(table.put_tag(&tag(), None).await.unwrap().1);
}

#[tokio::test]
async fn a_fork_is_synced_and_linked_and_a_failed_one_leaves_no_dataset() {
    let mut bench = Bench::new();
    let table = filled(&mut bench, 3).await;
    let other = other_place(&bench);
    for part in ["0199.lance/data/", "0199.lance/data", ".manifest", "0199.lance/_versions"] {
        bench.disk.fail(part);
        assert!(table.fork(3, Offset::ZERO..offset_of(4), &other).await.is_err(), "{part}");
        bench.tables.remove(&other).await.unwrap();
        assert!(!other.dataset.exists());
    }
    bench.disk.synced.lock().clear();
    table.fork(3, Offset::ZERO..offset_of(4), &other).await.unwrap();
    let data = files(&other.dataset.join("data"));
    assert_eq!(data.len(), 2);
    let synced = synced_names(&bench);
    let manifest = synced.iter().position(|name| name.ends_with(".manifest")).unwrap();
    for file in &data {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        assert!(synced.iter().position(|it| *it == name).unwrap() < manifest, "{synced:?}");
    }
    assert_eq!(synced[manifest + 1..], ["_versions", "0199.lance", "datasets"]);
    bench.tables.remove(&other).await.unwrap();

    let linking = LanceTables::new(Arc::new(RealDisk), Handle::current(), 8);
    let table = linking.open(&bench.place(), Offset::ZERO).await.unwrap();
    table.fork(3, Offset::ZERO..offset_of(5), &other).await.unwrap();
    let links: Vec<u64> =
        files(&other.dataset.join("data")).iter().map(|path| fs::metadata(path).unwrap().nlink()).collect();
    assert_eq!(links.iter().filter(|links| **links == 2).count(), 2, "{links:?}");
    assert_eq!(links.len(), 3, "what the end cuts is written anew");
    linking.remove(&bench.place()).await.unwrap();
    let fork = linking.open(&other, Offset::ZERO).await.unwrap();
    assert_eq!(texts(&*fork, &columns()).await.len(), 5);
    let dataset = Dataset::open(other.dataset.to_str().unwrap()).await.unwrap();
    dataset.validate().await.unwrap();
    assert_eq!(dataset.count_rows(None).await.unwrap(), 5);
}

fn offset_of(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

#[tokio::test]
async fn a_version_that_is_read_outlasts_clean_up_and_one_whose_files_are_gone_says_so() {
    let mut bench = Bench::new();
    let table = filled(&mut bench, 2).await;
    let past = table.at(1).await.unwrap();
    let append = async |from: u64| {
        for number in from..from + 50 {
            table.append(&columns(), vec![chunk(number, 1, &["{}"])]).await.unwrap();
        }
    };
    append(4).await;
    bench.upkept().await;
    assert_eq!(past.view.read(&columns(), Offset::ZERO, 9, 999).await.unwrap().len(), 1);
    assert!(table.at(1).await.is_ok());
    drop(past);
    append(54).await;
    bench.upkept().await;
    assert!(matches!(table.at(1).await, Err(TableError::VersionGone { version: 1 })));
    let newest = table.versions(None, 2).await.unwrap();
    let past = table.at(newest[1].version).await.unwrap();
    for path in files(&bench.place().dataset.join("data")) {
        fs::remove_file(path).unwrap();
    }
    let read = past.view.read(&columns(), Offset::ZERO, 9, 999).await;
    assert!(matches!(read, Err(TableError::VersionGone { .. })), "{read:?}");
}
