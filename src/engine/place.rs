//! Where datasets may lie.

use std::path::{Component, Path, PathBuf};

use crate::catalog::DatasetPlace;
use crate::io::SCRATCH_FOLDER;
use crate::model::{ErrorCode, Problem, TopicId, TopicName};
use crate::table::TablePlace;

/// The longest name of a folder, as of Linux's file systems.
const NAME_BYTES_MAX: usize = 255;

/// The folders of the data folder, and those that the operator has allowed.
#[derive(Clone, Debug)]
pub(super) struct Places {
    data_dir: PathBuf,
    roots: Vec<PathBuf>,
}

impl Places {
    pub(super) const WAL: &'static str = "wal";
    pub(super) const DATASETS: &'static str = "datasets";
    pub(super) const TOPICS: &'static str = "topics";

    /// Places under these folders, whose links are resolved already.
    pub(super) const fn new(data_dir: PathBuf, roots: Vec<PathBuf>) -> Self {
        Self { data_dir, roots }
    }

    pub(super) fn wal(&self) -> PathBuf {
        self.data_dir.join(Self::WAL)
    }

    /// Every folder whose file system records go to.
    pub(super) fn on_disk(&self) -> Vec<PathBuf> {
        std::iter::once(self.wal()).chain(self.roots.iter().cloned()).collect()
    }

    /// Where the dataset of a topic lies, and its symlink for other tools.
    ///
    /// # Errors
    /// `invalid_body` for a folder that is not allowed.
    pub(super) fn of(&self, id: TopicId, name: &TopicName, folder: Option<&str>) -> Result<DatasetPlace, Problem> {
        let (datasets, links) = match folder {
            None => (self.data_dir.join(Self::DATASETS), self.data_dir.join(Self::TOPICS)),
            Some(folder) => {
                let folder = self.resolve(folder)?;
                if TablePlace::is_foreign(&folder.join(format!("{name}.lance"))) {
                    let detail =
                        format!("In \"storage_path\" there is something else already under the name \"{name}.lance\".");
                    return Err(Problem::new(ErrorCode::InvalidBody, detail));
                }
                (folder.clone(), folder)
            }
        };
        Ok(DatasetPlace { dataset: datasets.join(format!("{id}.lance")), link: links.join(format!("{name}.lance")) })
    }

    /// Where the dataset of another topic lies in the folder of this one.
    ///
    /// # Errors
    /// `internal` for one that lies in no folder.
    pub(super) fn beside(place: &DatasetPlace, id: TopicId, name: &TopicName) -> Result<DatasetPlace, Problem> {
        let (Some(datasets), Some(links)) = (place.dataset.parent(), place.link.parent()) else {
            return Err(Problem::new(ErrorCode::Internal, "The topic's dataset lies in no folder."));
        };
        Ok(DatasetPlace { dataset: datasets.join(format!("{id}.lance")), link: links.join(format!("{name}.lance")) })
    }

    /// Whether a stored place is this server's: one that was outside of the data folder may be another server's where that
    /// was copied. Links that the operator has put into the data folder are his own affair.
    pub(super) fn is_ours(&self, place: &DatasetPlace) -> bool {
        let allowed =
            |path: &Path| std::iter::once(&self.data_dir).chain(&self.roots).any(|root| path.starts_with(root));
        [&place.dataset, &place.link].into_iter().all(|path| {
            // A root may have been moved behind a link since.
            let resolved = || path.ancestors().skip(1).find_map(|folder| folder.canonicalize().ok());
            allowed(path) || resolved().is_some_and(|folder| allowed(&folder))
        })
    }

    /// A folder as a client named it, links resolved as far as it exists.
    fn resolve(&self, asked: &str) -> Result<PathBuf, Problem> {
        let refuse = |detail: &'static str| Problem::new(ErrorCode::InvalidBody, detail);
        const WHERE: &str = "\"storage_path\" is a folder inside the data directory, but none of the service's own there, or inside one that \
                             --storage-root allows.";
        let path = Path::new(asked);
        // Lance opens no path with a control character.
        if asked.is_empty() || asked.chars().any(char::is_control) || asked.len() > 1_024 {
            return Err(refuse(WHERE));
        }
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(refuse("\"storage_path\" must not contain \"..\"."));
        }
        if path.components().any(|part| part.as_os_str().len() > NAME_BYTES_MAX) {
            return Err(refuse("A folder of \"storage_path\" has a longer name than file systems take."));
        }
        let whole: PathBuf = self.data_dir.join(path).components().collect();
        let mut existing = whole.as_path();
        let mut rest = Vec::new();
        let resolved = loop {
            match existing.canonicalize() {
                Ok(resolved) => break resolved,
                Err(_) if existing.is_symlink() => return Err(refuse(WHERE)),
                Err(_) => match (existing.parent(), existing.file_name()) {
                    (Some(parent), Some(name)) => {
                        rest.push(name.to_owned());
                        existing = parent;
                    }
                    _ => return Err(refuse(WHERE)),
                },
            }
        };
        if !resolved.is_dir() {
            return Err(refuse("\"storage_path\" names something that is no folder."));
        }
        let folder = rest.into_iter().rev().fold(resolved, |folder, name| folder.join(name));
        let inside = std::iter::once(&self.data_dir).chain(&self.roots).find_map(|root| folder.strip_prefix(root).ok());
        let own = [Self::WAL, Self::DATASETS, Self::TOPICS, SCRATCH_FOLDER].map(|name| self.data_dir.join(name));
        let inside = inside.filter(|_| !own.iter().any(|own| folder.starts_with(own)));
        let Some(inside) = inside else { return Err(refuse(WHERE)) };
        // What lies in a dataset goes when its topic is deleted.
        if inside.components().any(|part| Path::new(&part).extension().is_some_and(|ending| ending == "lance")) {
            return Err(refuse("\"storage_path\" lies in a topic's dataset."));
        }
        Ok(folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_that_are_allowed_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().canonicalize().unwrap().join("data");
        let outside = folder.path().canonicalize().unwrap().join("outside");
        std::fs::create_dir_all(data.join("wal")).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::fs::write(data.join("file"), b"x").unwrap();
        std::os::unix::fs::symlink(&outside, data.join("leak")).unwrap();
        std::os::unix::fs::symlink("nowhere", data.join("dangling")).unwrap();
        let places = Places::new(data.clone(), vec![]);
        let inside = data.join("mine");
        for good in ["mine", "a/b/c", inside.to_str().unwrap(), "./mine"] {
            assert!(places.resolve(good).is_ok(), "{good}");
        }
        let foreign = outside.to_str().unwrap().to_owned();
        for bad in [
            "",
            "..",
            "a/../b",
            "wal",
            "wal/x",
            "./wal",
            "datasets",
            "datasets/x",
            "topics",
            "scratch",
            "scratch/x",
            "a/0.lance",
            "a/0.lance/b",
            "/etc",
            &*foreign,
            "leak",
            "leak/x",
            "dangling",
            "file",
            "file/x",
            "a\0b",
            "a\nb",
            "a\u{7f}",
        ] {
            assert!(places.resolve(bad).is_err(), "{bad}");
        }
        assert!(Places::new(data, vec![outside]).resolve(&foreign).is_ok());
    }

    #[test]
    fn what_is_somebody_elses_stays_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().canonicalize().unwrap();
        let mine = data.join("mine");
        std::fs::create_dir_all(mine.join("folder.lance")).unwrap();
        std::fs::write(mine.join("file.lance"), b"x").unwrap();
        std::os::unix::fs::symlink("elsewhere.lance", mine.join("link.lance")).unwrap();
        std::os::unix::fs::symlink(format!("{}.lance", TopicId::fresh()), mine.join("old.lance")).unwrap();
        let places = Places::new(data, vec![]);
        let of = |name: &str| places.of(TopicId::fresh(), &TopicName::parse(name).unwrap(), Some("mine"));
        for taken in ["folder", "file", "link"] {
            assert_eq!(of(taken).unwrap_err().code, ErrorCode::InvalidBody, "{taken}");
        }
        assert!(of("old").is_ok() && of("new").is_ok());
    }

    #[test]
    fn a_stored_place_outside_is_ours_only_where_it_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let (data, old, new) = (root.join("data"), root.join("old"), root.join("new"));
        std::fs::create_dir_all(new.join("deep")).unwrap();
        std::os::unix::fs::symlink(&new, &old).unwrap();
        let is_ours = |roots: &[&PathBuf], folder: PathBuf| {
            let place = DatasetPlace { dataset: folder.join("1.lance"), link: folder.join("t.lance") };
            Places::new(data.clone(), roots.iter().map(|root| (*root).clone()).collect()).is_ours(&place)
        };
        assert!(is_ours(&[], data.join("not/yet/there")));
        assert!(!is_ours(&[], old.join("deep")) && !is_ours(&[], root.join("data-of-another/a")));
        // The root is where it was, or has been moved behind a link.
        assert!(is_ours(&[&new], new.join("deep")) && is_ours(&[&new], old.join("deep/er")));
    }
}
