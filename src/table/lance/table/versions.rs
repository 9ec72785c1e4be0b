//! The versions of one dataset.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use chrono::Utc;
use lance::dataset::refs::TagContents;
use lance::dataset::{InsertBuilder, WriteMode};

use super::write::Announced;
use super::{Inner, LanceTable, ROW_BYTES_AT_FIRST};
use crate::io::point;
use crate::model::{Offset, TagName, Timestamp};
use crate::table::lance::error::blocking;
use crate::table::lance::numbers::number_appended;
use crate::table::lance::offsets::{RAW_KEY, stored};
use crate::table::lance::open::{Version, list_versions, load, torn_data};
use crate::table::lance::past::{PastVersion, layout, manifest, manifest_file, summary};
use crate::table::lance::read::{Edge, edge_row, rows_as_stored};
use crate::table::lance::{fork, tags};
use crate::table::{Cause, Past, TableError, TableHead, TablePlace, Tag, VersionSummary, Versions};

/// About how many bytes of columns a fork rewrites in one commit, where its end lies within a fragment.
const REWRITE_BYTES: usize = 64 << 20;

impl Inner {
    /// Refuses a version that is not one of ours: none yet, or one that is just being made.
    fn check_made(&self, version: u64) -> Result<(), TableError> {
        let is_made = (1..=self.head().version).contains(&version);
        if is_made { Ok(()) } else { Err(TableError::VersionGone { version }) }
    }

    async fn about(&self, version: u64) -> Result<VersionSummary, TableError> {
        self.check_made(version)?;
        let manifest = manifest(&self.place.dataset, version).await?;
        // A clean-up that a crash has cut short leaves manifests whose files are gone.
        let folder = self.place.dataset.clone();
        let (manifest, torn) = blocking(move || torn_data(&manifest, &folder).map(|torn| (manifest, torn))).await?;
        if torn.is_some() {
            return Err(TableError::VersionGone { version });
        }
        summary(&manifest)
    }

    async fn open_past(&self, number: u64) -> Result<(PastVersion, VersionSummary), TableError> {
        self.check_made(number)?;
        // Before the look, so that it stays if it is there.
        let pin = Arc::new(self.pins.pin(number));
        let about = self.about(number).await?;
        let dataset = match load(&self.site(), number).await {
            Ok(dataset) => Arc::new(dataset),
            Err(error) => {
                let path = manifest_file(&self.place.dataset, number);
                let is_there = blocking(move || path.try_exists()).await?;
                return Err(if is_there { error } else { TableError::VersionGone { version: number } });
            }
        };
        let layout = Arc::new(layout(dataset.manifest())?);
        let head = Arc::new(TableHead {
            base: layout.base,
            next: layout.next,
            version: number,
            fragments: layout.summaries(),
            last_time: None,
        });
        let past = PastVersion {
            runtime: self.shared.runtime.clone(),
            folder: self.place.dataset.clone(),
            version: Version { dataset, layout },
            head,
            row_bytes: Arc::new(AtomicU64::new(ROW_BYTES_AT_FIRST)),
            pin,
        };
        Ok((past, about))
    }

    async fn list(&self, below: Option<u64>, limit: usize) -> Result<Vec<VersionSummary>, TableError> {
        let below = below.unwrap_or(u64::MAX).min(self.head().version + 1);
        let dataset = self.place.dataset.clone();
        let listed = blocking(move || list_versions(&dataset)).await?;
        let mut found = Vec::new();
        for listed in listed.iter().filter(|listed| listed.version < below) {
            if found.len() == limit {
                break;
            }
            match self.about(listed.version).await {
                Ok(about) => found.push(about),
                // Cleaned up meanwhile.
                Err(TableError::VersionGone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    async fn read_tag(&self, name: TagName) -> Result<Option<TagContents>, TableError> {
        let dataset = self.place.dataset.clone();
        blocking(move || tags::read(&dataset, &name)).await
    }

    async fn all_tags(&self) -> Result<Vec<Tag>, TableError> {
        let dataset = self.place.dataset.clone();
        let mut found = Vec::new();
        for name in blocking(move || tags::names(&dataset)).await? {
            let Some(contents) = self.read_tag(name.clone()).await? else { continue };
            match self.about(contents.version).await {
                Ok(about) => found.push(tag_of(name, &contents, about)),
                // Somebody else has named what is not there.
                Err(TableError::VersionGone { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    async fn write_tag(&self, name: TagName, version: Option<u64>) -> Result<(Tag, bool), TableError> {
        let about = self.about(version.unwrap_or(self.head().version)).await?;
        let before = self.read_tag(name.clone()).await?;
        let now = Utc::now();
        let path = manifest_file(&self.place.dataset, about.version);
        let bytes = blocking(move || path.metadata()).await?.len();
        let contents = TagContents {
            branch: None,
            version: about.version,
            created_at: before.as_ref().and_then(|before| before.created_at).or(Some(now)),
            updated_at: Some(now),
            manifest_size: usize::try_from(bytes).unwrap_or(usize::MAX),
            metadata: before.as_ref().map(|before| before.metadata.clone()).unwrap_or_default(),
        };
        let tag = tag_of(name.clone(), &contents, about);
        let (disk, dataset) = (Arc::clone(&self.shared.disk), self.place.dataset.clone());
        blocking(move || tags::write(&*disk, &dataset, &name, &contents)).await?;
        Ok((tag, before.is_none()))
    }

    /// Becomes the fork of a version, up to an offset.
    async fn begin_as(&self, source: &PastVersion, until: Offset) -> Result<(), TableError> {
        let version = &source.version;
        let fragments = fork::whole_fragments(version, until);
        let next = version.layout.wholly_before(until).last().map_or(version.layout.base, |placed| placed.next);
        let last_time = version.time_before(next).await?;
        self.link().await?;
        let dataset = &self.place.dataset;
        fork::link_files(&self.shared.disk, &source.folder, dataset, &fragments).await?;
        point::passed("fork", "linked");
        let base = version.layout.base;
        let text = text_of(version, base, next);
        let announced = Announced { next, base, text, last_time, ..Announced::of(Cause::Fork, &self.head()) };
        let now = Timestamp::from_micros(Utc::now().timestamp_micros());
        self.commit(announced, None, || async {
            fork::commit_first(&self.fence, dataset, &version.dataset, fragments, now).await?;
            load(&self.site(), 1).await
        })
        .await?;
        self.copy_rest(version, until).await
    }

    /// Adds the rows before `until` of the fragment that it lies in.
    async fn copy_rest(&self, source: &Version, until: Offset) -> Result<(), TableError> {
        loop {
            let at = self.head().next;
            let Some(placed) = source.layout.holding(at).filter(|_| at < until) else { return Ok(()) };
            let (from, rows) = (at.since(placed.first), until.min(placed.next).since(at));
            let batches = rows_as_stored(&source.dataset, placed, from, rows, REWRITE_BYTES).await?;
            self.append_copied(source, batches).await?;
        }
    }

    async fn append_copied(&self, source: &Version, batches: Vec<RecordBatch>) -> Result<(), TableError> {
        let head = self.head();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let next = head.next.after(rows as u64).filter(|_| rows > 0);
        let next = next.ok_or_else(|| TableError::Failed { cause: "rows to be copied are not there".to_owned() })?;
        let Some(present) = self.version().await? else {
            return Err(TableError::Failed { cause: "the dataset is gone".to_owned() });
        };
        let params = self.write_params(WriteMode::Append);
        let insert = InsertBuilder::new(Arc::clone(&present.dataset)).with_params(&params);
        let mut transaction = insert.execute_uncommitted(batches).await?;
        number_appended(&mut transaction, &present.dataset);
        let (text, last_time) = (text_of(source, head.next, next), source.time_before(next).await?);
        let announced = Announced { next, text, last_time, ..Announced::of(Cause::Fork, &head) };
        self.add_version(&present, transaction, announced).await?;
        Ok(())
    }
}

impl Version {
    /// When the last row before `next` was appended; none where there is none.
    async fn time_before(&self, next: Offset) -> Result<Option<Timestamp>, TableError> {
        if next <= self.layout.base {
            return Ok(None);
        }
        let last = next.saturating_before(1);
        let Some(placed) = self.layout.holding(last) else { return Ok(None) };
        let row = last.since(placed.first);
        Ok(Some(edge_row(&self.dataset, placed, Edge::Row(row)).await?.time))
    }
}

/// About how many bytes of text the rows between two offsets had when they came.
fn text_of(version: &Version, from: Offset, to: Offset) -> u64 {
    let rows = version.layout.next.since(version.layout.base).max(1);
    let text = stored(version.dataset.manifest(), RAW_KEY).unwrap_or(0);
    u64::try_from(u128::from(text) * u128::from(to.since(from)) / u128::from(rows)).unwrap_or(text)
}

fn tag_of(name: TagName, contents: &TagContents, about: VersionSummary) -> Tag {
    let created_at = contents.created_at.or(contents.updated_at).map(|time| time.timestamp_micros());
    Tag { name, created_at: created_at.map_or(about.created_at, Timestamp::from_micros), about }
}

#[async_trait]
impl Versions for LanceTable {
    async fn at(&self, version: u64) -> Result<Past, TableError> {
        let (past, about) = self.run(|inner| async move { inner.open_past(version).await }).await?;
        Ok(Past { view: Arc::new(past), about })
    }

    async fn versions(&self, below: Option<u64>, limit: usize) -> Result<Vec<VersionSummary>, TableError> {
        self.run(|inner| async move { inner.list(below, limit).await }).await
    }

    async fn tags(&self) -> Result<Vec<Tag>, TableError> {
        self.run(|inner| async move { inner.all_tags().await }).await
    }

    async fn tag(&self, name: &TagName) -> Result<Option<Tag>, TableError> {
        let name = name.clone();
        self.run(|inner| async move {
            let Some(contents) = inner.read_tag(name.clone()).await? else { return Ok(None) };
            let about = inner.about(contents.version).await?;
            Ok(Some(tag_of(name, &contents, about)))
        })
        .await
    }

    async fn put_tag(&self, name: &TagName, version: Option<u64>) -> Result<(Tag, bool), TableError> {
        let name = name.clone();
        // Where versions are made and cleaned up, so that what is named stays.
        self.run_in_lane(move |inner| async move { inner.write_tag(name, version).await }).await
    }

    async fn delete_tag(&self, name: &TagName) -> Result<bool, TableError> {
        let name = name.clone();
        self.run_in_lane(move |inner| async move {
            let (disk, dataset) = (Arc::clone(&inner.shared.disk), inner.place.dataset.clone());
            blocking(move || tags::remove(&*disk, &dataset, &name)).await
        })
        .await
    }

    async fn fork(&self, version: u64, range: Range<Offset>, to: &TablePlace) -> Result<Arc<TableHead>, TableError> {
        let (to, Range { start: earliest, end: until }) = (to.clone(), range);
        self.run_to_its_end(move |inner| async move {
            let (source, _) = inner.open_past(version).await?;
            let base = source.head.base;
            if until < base || until > source.head.next {
                return Err(TableError::Failed { cause: format!("version {version} does not reach to {until}") });
            }
            let fork = LanceTable::open(Arc::clone(&inner.shared), to, base).await?;
            if fork.inner.head().version > 0 {
                return Err(TableError::Failed { cause: "there is a dataset already".to_owned() });
            }
            fork.inner.upkeep.expire(earliest);
            source.told(fork.inner.begin_as(&source, until).await).await?;
            Ok(fork.inner.head())
        })
        .await
    }
}
