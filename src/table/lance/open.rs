//! Finding the newest version that can be believed.
//!
//! Lance believes the highest number in `_versions`, whatever the file holds: a zeroed manifest opens as version 0 without
//! fields, and a missing data file shows when it is read. A power loss between writing and syncing leaves exactly these.
//! Such a head was never acknowledged, so it is moved out of `_versions`, and the one before counts.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lance::Dataset;
use lance::dataset::builder::DatasetBuilder;
use lance::session::Session;
use lance_io::object_store::ObjectStore;
use lance_table::format::{IndexMetadata, Manifest};
use lance_table::io::commit::{ManifestLocation, ManifestNamingScheme};
use lance_table::io::manifest::{read_manifest, read_manifest_indexes};
use object_store::path::Path as StorePath;
use tracing::warn;
use uuid::Uuid;

use super::commit::{DATA_FOLDER, Fence, INDICES_FOLDER, VERSIONS_FOLDER, manifest_path, new_files};
use super::error::{blocking, foreign};
use super::offsets::{BASE_KEY, Layout, NEXT_KEY, VERSION_KEY, stored};
use super::read::{Edge, edge_row};
use super::vouch::{forget_settled, is_settled, note_settled, write_anew};
use crate::codec::columns::{OFFSET_COLUMN, TIMESTAMP_COLUMN};
use crate::io::Disk;
use crate::model::{Offset, Timestamp};
use crate::table::TableError;

/// Where heads that cannot be believed are kept for whoever wants to look at them.
pub(super) const TORN_FOLDER: &str = "_torn";

/// How far back a sound version is looked for. Every commit is synced before the next one begins, so one torn head is
/// all that a power loss leaves; commits by others, who do not sync, may add some.
const HEADS_LOOKED_AT: usize = 8;

/// Magic at the end of each manifest.
const MAGIC: &[u8; 4] = b"LANC";

/// Where a dataset lies and how it is opened.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dataset: PathBuf,
    pub(super) fence: Arc<Fence>,
    pub(super) session: Arc<Session>,
}

/// A version that was checked.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) dataset: Arc<Dataset>,
    pub(super) layout: Arc<Layout>,
}

/// The newest version and the time of its last row.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) version: Version,
    pub(super) last_time: Option<Timestamp>,
    /// How many versions there are.
    pub(super) versions: u64,
}

/// A manifest by its file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) version: u64,
    file_name: String,
}

/// The manifests in `_versions`, newest first.
pub(super) fn list_versions(dataset: &Path) -> io::Result<Vec<Listed>> {
    let entries = match fs::read_dir(dataset.join(VERSIONS_FOLDER)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut listed = Vec::new();
    for entry in entries {
        let Ok(file_name) = entry?.file_name().into_string() else { continue };
        let scheme = ManifestNamingScheme::detect_scheme(&file_name);
        if let Some(version) = scheme.and_then(|scheme| scheme.parse_version(&file_name)) {
            listed.push(Listed { version, file_name });
        }
    }
    listed.sort_by_key(|listed| std::cmp::Reverse(listed.version));
    Ok(listed)
}

/// Why the file cannot be a manifest; `None` where it ends like one.
fn torn_file(path: &Path) -> io::Result<Option<String>> {
    let mut file = fs::File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes <= 16 {
        return Ok(Some(format!("it has {bytes} bytes")));
    }
    let mut magic = [0; MAGIC.len()];
    file.seek(SeekFrom::End(-4))?;
    file.read_exact(&mut magic)?;
    Ok((&magic != MAGIC).then(|| "it does not end as a manifest does".to_owned()))
}

/// Which of the manifest's data files is missing or has another size.
pub(super) fn torn_data(manifest: &Manifest, dataset: &Path) -> io::Result<Option<String>> {
    let folder = dataset.join(DATA_FOLDER);
    for file in manifest.fragments.iter().flat_map(|fragment| &fragment.files) {
        if file.base_id.is_some() {
            return Ok(Some(format!("data file {} lies in another dataset", file.path)));
        }
        let found = match fs::metadata(folder.join(&file.path)) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Some(format!("data file {} is missing", file.path)));
            }
            Err(error) => return Err(error),
        };
        let expected = file.file_size_bytes.get().map(u64::from);
        if expected.is_some_and(|expected| expected != found) {
            return Ok(Some(format!("data file {} has {found} bytes", file.path)));
        }
    }
    Ok(None)
}

/// The manifest, or why it cannot be believed.
async fn inspect(dataset: &Path, listed: &Listed) -> Result<Result<Manifest, String>, TableError> {
    let path = manifest_path(dataset, &listed.file_name);
    let file = path.clone();
    if let Some(reason) = blocking(move || torn_file(&file)).await? {
        return Ok(Err(reason));
    }
    let store_path =
        StorePath::from_absolute_path(&path).map_err(|error| TableError::Failed { cause: error.to_string() })?;
    let manifest = match read_manifest(&ObjectStore::local(), &store_path, None).await {
        Ok(manifest) => manifest,
        Err(error @ (lance_core::Error::IO { .. } | lance_core::Error::NotFound { .. })) if !is_short(&error) => {
            return Err(error.into());
        }
        Err(error) => return Ok(Err(error.to_string())),
    };
    if manifest.version != listed.version {
        return Ok(Err(format!("it says that it is version {}", manifest.version)));
    }
    let dataset = dataset.to_owned();
    let (manifest, torn) = blocking(move || torn_data(&manifest, &dataset).map(|torn| (manifest, torn))).await?;
    Ok(torn.map_or(Ok(manifest), Err))
}

/// A version's manifest, as it is on the disk.
pub(super) async fn manifest_of(dataset: &Path, listed: &Listed) -> Result<Manifest, TableError> {
    let path = manifest_path(dataset, &listed.file_name);
    let path = StorePath::from_absolute_path(&path).map_err(|error| TableError::Failed { cause: error.to_string() })?;
    Ok(read_manifest(&ObjectStore::local(), &path, None).await?)
}

/// The segments of indexes that a version has.
pub(super) async fn indices_of(
    dataset: &Path,
    listed: &Listed,
    manifest: &Manifest,
) -> Result<Vec<IndexMetadata>, TableError> {
    let path = manifest_path(dataset, &listed.file_name);
    let path = StorePath::from_absolute_path(&path).map_err(|error| TableError::Failed { cause: error.to_string() })?;
    let location = ManifestLocation {
        version: listed.version,
        path,
        size: None,
        naming_scheme: ManifestNamingScheme::V2,
        e_tag: None,
        identity: None,
    };
    Ok(read_manifest_indexes(&ObjectStore::local(), &location, manifest).await?)
}

/// The files of a segment of an index.
pub(super) fn segment_files(dataset: &Path, segment: &IndexMetadata) -> Vec<PathBuf> {
    let folder = dataset.join(INDICES_FOLDER).join(segment.uuid.to_string());
    segment.files.iter().flatten().map(|file| folder.join(&file.path)).collect()
}

/// Whether Lance took the length of a part for more than the file has, which it reports like a failed read.
fn is_short(error: &lance_core::Error) -> bool {
    error.to_string().contains("file size is too small")
}

/// Moves a manifest out of `_versions`, for good: synced before the version before it counts.
pub(super) fn set_aside(disk: &dyn Disk, dataset: &Path, file_name: &str) -> io::Result<()> {
    // Its number is used again: what was noted of it must not be believed of the next.
    forget_settled(disk, dataset)?;
    let torn = dataset.join(TORN_FOLDER);
    disk.create_folder(&torn)?;
    let kept = torn.join(format!("{file_name}.{}", Uuid::now_v7()));
    match disk.rename(&manifest_path(dataset, file_name), &kept) {
        // Its put failed before it had a name.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    disk.sync_folder(&torn)?;
    disk.sync_folder(&dataset.join(VERSIONS_FOLDER))?;
    disk.sync_folder(dataset)
}

/// Sets the manifest of a version aside, if there is one.
pub(super) async fn set_version_aside(site: &Site, version: u64) -> Result<(), TableError> {
    let site = site.clone();
    blocking(move || {
        let listed = list_versions(&site.dataset)?.into_iter().find(|listed| listed.version == version);
        // Also where an earlier try has renamed it: that is not known to be durable.
        let file_name =
            listed.map_or_else(|| format!("{:020}.manifest", u64::MAX - version), |listed| listed.file_name);
        set_aside(&*site.disk, &site.dataset, &file_name)
    })
    .await
}

/// The newest version that can be believed, after everything newer was set aside; none where no commit was ever
/// completed.
async fn believed(site: &Site) -> Result<Option<(Listed, Manifest)>, TableError> {
    let folder = site.dataset.clone();
    let versions = blocking(move || list_versions(&folder)).await?;
    let mut torn = Vec::new();
    let mut sound = None;
    for listed in versions.iter().take(HEADS_LOOKED_AT) {
        match inspect(&site.dataset, listed).await? {
            Ok(manifest) => {
                sound = Some((listed.clone(), manifest));
                break;
            }
            Err(reason) => torn.push((listed.clone(), reason)),
        }
    }
    // A first commit that was cut short leaves nothing before it. Otherwise what is wrong is older than the head, and
    // setting heads aside would mend nothing.
    if let Some((newest, reason)) = torn.first() {
        let from_the_first = versions.len() == torn.len() && versions.last().is_some_and(|first| first.version == 1);
        if sound.is_none() && !from_the_first {
            return Err(foreign(format!("version {} cannot be read: {reason}", newest.version)));
        }
    }
    for (listed, reason) in torn {
        warn!(
            dataset = %site.dataset.display(), version = listed.version, reason,
            "a torn head of a dataset is set aside"
        );
        let (disk, folder) = (Arc::clone(&site.disk), site.dataset.clone());
        blocking(move || set_aside(&*disk, &folder, &listed.file_name)).await?;
    }
    Ok(sound)
}

/// The files of a version that nothing vouches for: those that the version before, which was durable when this one was
/// made, does not have.
async fn unsure_files(site: &Site, head: &Listed, manifest: &Manifest) -> Result<Vec<PathBuf>, TableError> {
    let (dataset, version) = (site.dataset.clone(), head.version);
    let listed = blocking(move || {
        let settled = is_settled(&dataset, version);
        if settled { Ok(None) } else { list_versions(&dataset).map(Some) }
    });
    let Some(listed) = listed.await? else { return Ok(Vec::new()) };
    let (mut known, mut indexed) = (Arc::default(), Vec::new());
    if let Some(earlier) = listed.iter().find(|listed| listed.version < version)
        && let Ok(before) = inspect(&site.dataset, earlier).await?
    {
        indexed = indices_of(&site.dataset, earlier, &before).await?;
        known = before.fragments;
    }
    let data = site.dataset.join(DATA_FOLDER);
    let mut files: Vec<PathBuf> = new_files(manifest, &known).into_iter().map(|file| data.join(file)).collect();
    let segments = indices_of(&site.dataset, head, manifest).await?;
    let new = segments.iter().filter(|segment| indexed.iter().all(|known| known.uuid != segment.uuid));
    // One whose files are gone hinders searches by it, nothing else.
    files.extend(new.flat_map(|segment| segment_files(&site.dataset, segment)).filter(|file| file.exists()));
    files.push(manifest_path(&site.dataset, &head.file_name));
    Ok(files)
}

/// Syncs the files and folders of a version, which whoever wrote them may not have lived to do.
fn make_durable(disk: &dyn Disk, dataset: &Path, file_name: &str, files: &[String]) -> io::Result<()> {
    let data = dataset.join(DATA_FOLDER);
    files.iter().try_for_each(|file| disk.sync_file(&data.join(file)))?;
    if !files.is_empty() {
        disk.sync_folder(&data)?;
    }
    disk.sync_file(&manifest_path(dataset, file_name))?;
    disk.sync_folder(&dataset.join(VERSIONS_FOLDER))?;
    disk.sync_folder(dataset)?;
    dataset.parent().map_or(Ok(()), |above| disk.sync_folder(above))
}

/// Opens one version.
pub(super) async fn load(site: &Site, version: u64) -> Result<Dataset, TableError> {
    let uri = site.dataset.to_str().ok_or_else(|| TableError::Failed { cause: "the path is not UTF-8".to_owned() })?;
    let builder = DatasetBuilder::from_uri(uri)
        .with_session(Arc::clone(&site.session))
        .with_commit_handler(Arc::clone(&site.fence) as _)
        .with_version(version);
    Ok(builder.load().await?)
}

/// Finds, checks, syncs and opens the newest version; none where no commit was ever completed.
pub(super) async fn newest(site: &Site) -> Result<Option<Newest>, TableError> {
    let Some((listed, manifest)) = believed(site).await? else { return Ok(None) };
    let files = manifest.fragments.iter().flat_map(|fragment| &fragment.files).map(|file| file.path.clone());
    let files: Vec<String> = files.collect();
    let unsure = unsure_files(site, &listed, &manifest).await?;
    let (disk, folder, name) = (Arc::clone(&site.disk), site.dataset.clone(), listed.file_name);
    blocking(move || {
        unsure.iter().try_for_each(|file| write_anew(&*disk, &folder, file))?;
        let indices = folder.join(INDICES_FOLDER);
        for above in unsure.iter().filter(|file| file.starts_with(&indices)).filter_map(|file| file.parent()) {
            disk.sync_folder(above)?;
            disk.sync_folder(&indices)?;
        }
        make_durable(&*disk, &folder, &name, &files)?;
        note_settled(&*disk, &folder, listed.version);
        Ok::<(), io::Error>(())
    })
    .await?;
    let dataset = load(site, listed.version).await?;
    let folder = site.dataset.clone();
    let versions = blocking(move || list_versions(&folder)).await?.len() as u64;
    check(Arc::new(dataset), versions).await.map(Some)
}

/// Checks that rows, order and offsets are what this server has written, whoever committed last.
async fn check(dataset: Arc<Dataset>, versions: u64) -> Result<Newest, TableError> {
    let manifest = dataset.manifest();
    for column in [OFFSET_COLUMN, TIMESTAMP_COLUMN] {
        if dataset.schema().field(column).is_none() {
            return Err(foreign(format!("the column {column} is gone")));
        }
    }
    let number = |key| {
        let number = stored(manifest, key).and_then(Offset::new);
        number.ok_or_else(|| foreign(format!("version {} does not say its {key}", manifest.version)))
    };
    let layout = Layout::of(manifest, number(BASE_KEY)?)?;
    let next = number(NEXT_KEY)?;
    if layout.next != next {
        return Err(foreign(format!("the rows end at {} instead of {next}", layout.next)));
    }
    let ours = stored(manifest, VERSION_KEY) == Some(manifest.version);
    let mut last_time = None;
    // Of a version of ours the last row proves the rest; in one of somebody else's each fragment is looked at.
    for placed in layout.fragments.iter().rev().filter(|placed| placed.rows() > 0) {
        let last = edge_row(&dataset, *placed, Edge::Last).await?;
        if last.offset.after(1) != Some(placed.next) {
            return Err(foreign(format!("the last row of fragment {} has offset {}", placed.id, last.offset)));
        }
        last_time = last_time.or(Some(last.time));
        if ours {
            break;
        }
        let first = edge_row(&dataset, *placed, Edge::First).await?;
        if first.offset != placed.first {
            return Err(foreign(format!("the first row of fragment {} has offset {}", placed.id, first.offset)));
        }
    }
    Ok(Newest { version: Version { dataset, layout: Arc::new(layout) }, last_time, versions })
}
