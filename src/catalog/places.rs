//! Where datasets lie, as it is stored: what is inside the catalog's own folder relative to that, so that the folder can be
//! moved and copied as a whole. A server on a copy that kept to the paths of the original would write and delete there.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use sqlx::{Connection, SqliteConnection};

use crate::catalog::decode::Reader;
use crate::catalog::{CatalogError, DatasetPlace};
use crate::model::{TopicId, TopicName};

/// The form of a place for the file.
pub(super) fn to_stored(folder: &Path, place: DatasetPlace) -> DatasetPlace {
    let inside = |path: PathBuf| path.strip_prefix(folder).map(Path::to_path_buf).unwrap_or(path);
    DatasetPlace { dataset: inside(place.dataset), link: inside(place.link) }
}

/// The place that a row names, as long as the catalog lies in this folder.
pub(super) fn place_of(row: &Reader<'_>, folder: &Path) -> Result<Option<DatasetPlace>, CatalogError> {
    let path_of = |bytes: &[u8]| folder.join(OsStr::from_bytes(bytes));
    match (row.plain::<Option<&[u8]>>("dataset")?, row.plain::<Option<&[u8]>>("link")?) {
        (Some(dataset), Some(link)) => Ok(Some(DatasetPlace { dataset: path_of(dataset), link: path_of(link) })),
        (None, None) => Ok(None),
        _ => Err(row.damaged("dataset", "only one of folder and symlink is there")),
    }
}

/// A row of format 1, whose paths are absolute.
struct Absolute {
    id: TopicId,
    name: TopicName,
    storage_path: Option<String>,
    place: DatasetPlace,
}

/// Brings a catalog from format 1, where all paths are absolute, to format 2. Where the folder was when a path was stored is
/// not known: it may have been moved since.
pub(super) async fn leave_format_1(connection: &mut SqliteConnection, folder: &Path) -> Result<(), CatalogError> {
    let mut transaction = connection.begin().await?;
    let rows =
        sqlx::query("SELECT id, name, storage_path, dataset, link FROM topics").fetch_all(&mut *transaction).await?;
    let mut absolute = Vec::new();
    for row in &rows {
        let row = Reader::new("topics", row);
        if let Some(place) = place_of(&row, Path::new(""))? {
            let name = TopicName::parse(row.plain("name")?).map_err(|error| row.damaged("name", error))?;
            absolute.push(Absolute { id: row.topic("id")?, name, storage_path: row.plain("storage_path")?, place });
        }
    }
    let folder = folder.to_owned();
    let relating = tokio::task::spawn_blocking(move || relate(absolute, &folder));
    for (id, place) in relating.await.map_err(|error| CatalogError::failed(error.to_string()))? {
        sqlx::query("UPDATE topics SET dataset = ?, link = ? WHERE id = ?")
            .bind(place.dataset.into_os_string().into_vec())
            .bind(place.link.into_os_string().into_vec())
            .bind(id.to_string())
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("UPDATE meta SET format = 2").execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// The places of those that lie inside the catalog's folder, relative to that.
fn relate(rows: Vec<Absolute>, folder: &Path) -> Vec<(TopicId, DatasetPlace)> {
    let own = |row: &Absolute| DatasetPlace {
        dataset: PathBuf::from(format!("datasets/{}.lance", row.id)),
        link: PathBuf::from(format!("topics/{}.lance", row.name)),
    };
    // Where the folder has been: topics without a folder of their own tell.
    let mut folders = vec![folder.to_owned()];
    for row in rows.iter().filter(|row| row.storage_path.is_none() && row.place.dataset.ends_with(own(row).dataset)) {
        folders.extend(row.place.dataset.ancestors().nth(2).map(Path::to_path_buf));
    }
    folders.sort();
    folders.dedup();
    let related = rows.into_iter().filter_map(|row| {
        let place = match &row.storage_path {
            None => own(&row),
            Some(asked) => {
                let inside = inside(&row.place.dataset, Path::new(asked), folder, &folders)?;
                let link = inside.join(row.place.link.file_name()?);
                DatasetPlace { dataset: inside.join(row.place.dataset.file_name()?), link }
            }
        };
        Some((row.id, place))
    });
    related.collect()
}

/// The folder of a dataset relative to the catalog's, where it lies inside that; `folders` are those where that has been.
fn inside(dataset: &Path, asked: &Path, folder: &Path, folders: &[PathBuf]) -> Option<PathBuf> {
    let lay = dataset.parent()?;
    let deepest =
        folders.iter().filter_map(|folder| lay.strip_prefix(folder).ok()).min_by_key(|rest| rest.components().count());
    if let Some(inside) = deepest {
        return Some(inside.to_path_buf());
    }
    // What is found under a topic's identity is its dataset, and links that lead out of the folder lead to what is not inside.
    let real_inside = |path: &Path| path.canonicalize().ok()?.strip_prefix(folder).ok().map(Path::to_path_buf);
    let mut endings =
        (1..dataset.components().count()).map(|left| dataset.components().skip(left).collect::<PathBuf>());
    if let Some(found) = endings.find_map(|ending| real_inside(&folder.join(ending))) {
        return found.parent().map(Path::to_path_buf);
    }
    // It is yet to be made.
    if asked.is_absolute() {
        return None;
    }
    let asked: PathBuf = asked.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let now = folder.join(&asked);
    if now.exists() { real_inside(&now) } else { Some(asked).filter(|asked| lay.ends_with(asked)) }
}
