//! The catalog in a folder that is moved and copied.

use std::path::Path;

use super::*;
use crate::catalog::testing::put_into_format_1;

impl Bed {
    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    /// A server's catalog: its folder has no links in its name.
    async fn open_resolved(&self) -> Catalog {
        Catalog::open(&self.root().join(Catalog::FILE_NAME), &self.tasks).await.unwrap()
    }

    /// The catalog as it lies, in another folder.
    fn copied(&self) -> Self {
        let copy = Self::new();
        std::fs::copy(self.path(), copy.path()).unwrap();
        copy
    }
}

/// A topic that was asked for in a folder, and its dataset's.
fn lying(name: &str, asked: Option<&str>, (datasets, links): (PathBuf, PathBuf)) -> TopicDefinition {
    let definition = topic(name).definition;
    let dataset = datasets.join(format!("{}.lance", definition.id));
    let place = Some(DatasetPlace { dataset, link: links.join(format!("{name}.lance")) });
    TopicDefinition { storage_path: asked.map(str::to_owned), place, ..definition }
}

fn both(folder: impl Into<PathBuf>) -> (PathBuf, PathBuf) {
    let folder = folder.into();
    (folder.clone(), folder)
}

fn plain(name: &str, root: &Path) -> TopicDefinition {
    lying(name, None, (root.join("datasets"), root.join("topics")))
}

async fn make(catalog: &Catalog, definition: &TopicDefinition) {
    catalog.create_topic(NewTopic { definition: definition.clone(), schema: None }).await.unwrap();
}

/// The places of all topics, living and deleted, by name.
async fn places(catalog: &Catalog) -> HashMap<String, DatasetPlace> {
    let loaded = catalog.load().await.unwrap();
    let living = loaded.topics.into_iter().map(|row| (row.definition.name, row.definition.place));
    let deleted = loaded.tombstones.into_iter().map(|tombstone| (tombstone.name, tombstone.place));
    living.chain(deleted).map(|(name, place)| (name.to_string(), place.unwrap())).collect()
}

fn moved(definition: &TopicDefinition, from: &Path, to: &Path) -> DatasetPlace {
    let place = definition.place.as_ref().unwrap();
    let moved = |path: &Path| to.join(path.strip_prefix(from).unwrap());
    DatasetPlace { dataset: moved(&place.dataset), link: moved(&place.link) }
}

#[tokio::test]
async fn a_place_inside_of_the_folder_is_where_the_folder_is() {
    let bed = Bed::new();
    let root = bed.root();
    let inside = [
        plain("plain", &root),
        plain("deleted", &root),
        lying("own", Some("a/b"), both(root.join("a/b"))),
        lying("top", Some("."), both(&root)),
        plain("fork", &root),
    ];
    let outside = lying("outside", Some("/far"), both("/far"));
    let catalog = bed.open_resolved().await;
    for definition in inside[..4].iter().chain([&outside]) {
        make(&catalog, definition).await;
    }
    catalog.begin_fork(inside[4].clone()).await.unwrap();
    catalog.bury(inside[1].id).await.unwrap();
    let here = places(&catalog).await;
    assert!(inside.iter().all(|one| here[one.name.as_str()] == *one.place.as_ref().unwrap()), "{here:?}");
    catalog.close().await.unwrap();

    let copy = bed.copied();
    let there = places(&copy.open_resolved().await).await;
    assert_eq!(there.len(), 6);
    for definition in &inside {
        assert_eq!(there[definition.name.as_str()], moved(definition, &root, &copy.root()));
    }
    assert_eq!(there["outside"], outside.place.unwrap());
}

#[tokio::test]
async fn what_an_older_server_has_stored_is_found_after_its_folder_has_moved() {
    let was = Path::new("/was/data");
    let elsewhere = tempfile::tempdir().unwrap();
    let ext = elsewhere.path().canonicalize().unwrap().join("ext");
    std::fs::create_dir(&ext).unwrap();
    let stays = [
        lying("far", Some("/far"), both("/far")),
        // By a link that the operator has put into the data folder.
        lying("linked-out", Some("ext"), both(&ext)),
    ];
    let relative = [
        lying("own", Some("./a//b"), both(was.join("a/b"))),
        lying("linked", Some("short"), both(was.join("real/long"))),
    ];
    let absolute = lying("absolute", Some("/was/data/c"), both(was.join("c")));
    let plain = [plain("plain", was), plain("deleted", was)];
    // With and without a topic that tells where the folder was; with and without a dataset to be found.
    for (has_plain, has_dataset) in [(true, false), (false, true), (false, false)] {
        let bed = Bed::new();
        let catalog = bed.open_resolved().await;
        let all: Vec<_> = stays.iter().chain(&relative).chain([&absolute]).collect();
        for definition in all.iter().copied().chain(plain.iter().filter(|_| has_plain)) {
            make(&catalog, definition).await;
        }
        if has_plain {
            catalog.bury(plain[1].id).await.unwrap();
        }
        catalog.close().await.unwrap();
        put_into_format_1(bed.folder.path(), was).await;

        let copy = bed.copied();
        let root = copy.root();
        std::fs::create_dir_all(root.join("real/long")).unwrap();
        std::os::unix::fs::symlink("real/long", root.join("short")).unwrap();
        std::os::unix::fs::symlink(&ext, root.join("ext")).unwrap();
        if has_dataset {
            std::fs::create_dir_all(moved(&absolute, was, &root).dataset).unwrap();
            std::fs::create_dir_all(&stays[1].place.as_ref().unwrap().dataset).unwrap();
        }
        let moving = relative.iter().chain([&absolute].into_iter().filter(|_| has_plain || has_dataset));
        let moving: Vec<_> = moving.chain(plain.iter().filter(|_| has_plain)).collect();
        let catalog = copy.open_resolved().await;
        let there = places(&catalog).await;
        for definition in all.iter().copied().chain(plain.iter().filter(|_| has_plain)) {
            let stayed = definition.place.clone().unwrap();
            let is_moving = moving.iter().any(|one| one.id == definition.id);
            let expected = if is_moving { moved(definition, was, &root) } else { stayed };
            assert_eq!(there[definition.name.as_str()], expected, "{has_plain} {has_dataset}");
        }
        catalog.close().await.unwrap();
        // Once and for all.
        let again = copy.copied();
        assert_eq!(places(&again.open_resolved().await).await["own"], moved(&relative[0], was, &again.root()));
    }
}

#[tokio::test]
async fn what_an_older_server_has_stored_is_found_where_it_has_not_moved() {
    let bed = Bed::new();
    let root = bed.root();
    let asked = root.join("c");
    let lone = lying("lone", asked.to_str(), both(asked.clone()));
    let catalog = bed.open_resolved().await;
    make(&catalog, &lone).await;
    catalog.close().await.unwrap();
    put_into_format_1(&root, &root).await;
    let catalog = bed.open_resolved().await;
    assert_eq!(places(&catalog).await["lone"], *lone.place.as_ref().unwrap());
    catalog.close().await.unwrap();
    let copy = bed.copied();
    assert_eq!(places(&copy.open_resolved().await).await["lone"], moved(&lone, &root, &copy.root()));
}
