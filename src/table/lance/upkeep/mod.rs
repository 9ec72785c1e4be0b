//! Keeping a dataset small beside its commits: fragments are merged, old versions go.
//!
//! Nobody waits for it. Rows are read and written beside everything else; the lane is held for a manifest alone, and for
//! the removal of what no version names.

mod clean;
mod merge;
mod plan;
mod turns;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lance::index::DatasetIndexExt as _;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

pub(in crate::table::lance) use self::clean::files_within;
use self::clean::{Cleaned, Tidied, VERSIONS_KEPT, VERSIONS_MAX};
use self::merge::Merged;
pub use self::plan::UpkeepPolicy;
use self::plan::{Zeal, expired_bytes};
pub(super) use self::turns::{Turn, Turns};
use super::commit::DATA_FOLDER;
use super::error::blocking;
use super::offsets::{Layout, Placed};
use super::open::Version;
use super::table::Inner;
use crate::io::point;
use crate::model::{Offset, Timestamp};
use crate::table::{Cause, TableError, TableUsage, Upkeep};

/// Of how many fragments at least what retention by bytes leaves is made up: so exact it is.
const FRAGMENTS_HELD: u64 = 16;

/// How long upkeep that has failed rests before it tries again.
const REST: Duration = Duration::from_secs(30);

/// What is known of one table's upkeep.
#[derive(Debug)]
pub(super) struct State {
    policy: UpkeepPolicy,
    opened_at: SystemTime,
    /// Whether files that no version names were looked for since it was opened.
    swept: AtomicBool,
    /// Whether everything that can be merged is asked for.
    asked: AtomicBool,
    /// Whether fragments were dropped or rewritten since the last clean-up.
    heavier: AtomicBool,
    /// Records before it are not kept.
    expired: AtomicU64,
    /// The size from which on a fragment is left as it is.
    whole_bytes: AtomicU64,
    /// How many versions there are.
    versions: AtomicU64,
    /// How many of them the last clean-up has left: more where tags or readers hold some.
    left: AtomicU64,
    resting_until: Mutex<Option<Instant>>,
    last: Mutex<Option<Upkeep>>,
}

impl State {
    pub(super) fn new(policy: UpkeepPolicy) -> Self {
        Self {
            policy,
            opened_at: SystemTime::now(),
            swept: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            heavier: AtomicBool::new(false),
            expired: AtomicU64::new(0),
            whole_bytes: AtomicU64::new(policy.whole_bytes),
            versions: AtomicU64::new(0),
            left: AtomicU64::new(0),
            resting_until: Mutex::default(),
            last: Mutex::default(),
        }
    }

    /// A version was made. Where it left out or rewrote what the one before had, older versions hold that alone.
    pub(super) fn committed(&self, cause: Cause) {
        self.versions.fetch_add(1, Ordering::Relaxed);
        if !matches!(cause, Cause::Create | Cause::Append | Cause::Index) {
            self.heavier.store(true, Ordering::Relaxed);
        }
    }

    /// How many versions were found.
    pub(super) fn found(&self, versions: u64) {
        self.versions.store(versions, Ordering::Relaxed);
    }

    /// Whether there are more versions than a clean-up would leave.
    fn has_many_versions(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed).max(VERSIONS_KEPT as u64);
        self.versions.load(Ordering::Relaxed) > left + (VERSIONS_MAX - VERSIONS_KEPT as u64)
    }

    pub(super) fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        *self.resting_until.lock() = None;
    }

    pub(super) fn expire(&self, before: Offset) {
        self.expired.fetch_max(before.get(), Ordering::Relaxed);
    }

    pub(super) fn hold(&self, bytes: Option<u64>) {
        let whole = bytes.map_or(u64::MAX, |bytes| (bytes / FRAGMENTS_HELD).max(self.policy.tiny_bytes));
        self.whole_bytes.store(whole.min(self.policy.whole_bytes), Ordering::Relaxed);
    }

    fn policy(&self) -> UpkeepPolicy {
        UpkeepPolicy { whole_bytes: self.whole_bytes.load(Ordering::Relaxed), ..self.policy }
    }

    fn note(&self, mut done: Upkeep) {
        let mut last = self.last.lock();
        if let Some(before) = &*last {
            done.total_merges += before.total_merges;
            done.total_versions_removed += before.total_versions_removed;
            done.total_bytes_removed += before.total_bytes_removed;
        }
        *last = Some(done);
    }

    pub(super) fn expired(&self) -> Offset {
        Offset::new(self.expired.load(Ordering::Relaxed)).unwrap_or(Offset::ZERO)
    }

    fn is_resting(&self) -> bool {
        self.resting_until.lock().is_some_and(|until| Instant::now() < until)
    }
}

impl Inner {
    fn next_run(&self, layout: &Layout, expired: Offset, zeal: Zeal) -> Option<Range<usize>> {
        let policy = self.upkeep.policy();
        policy.next_run(&self.indexes.for_merges(layout, policy.whole_bytes), expired, zeal)
    }

    fn is_upkeep_due(&self) -> bool {
        if self.upkeep.is_resting() {
            return false;
        }
        let is_merge_due = || {
            let expired = self.upkeep.expired();
            let open = self.open_version();
            open.is_some_and(|version| {
                let layout = &version.layout;
                !layout.wholly_before(expired).is_empty() || self.next_run(layout, expired, Zeal::Due).is_some()
            })
        };
        self.upkeep.asked.load(Ordering::Acquire) || self.is_clean_up_due() || is_merge_due()
    }

    /// Starts what is due, if nobody does it.
    pub(super) fn look_after(self: &Arc<Self>) {
        if self.is_upkeep_due()
            && let Some(turn) = self.shared.turns.begin(&self.place.dataset)
        {
            self.shared.runtime.spawn(Arc::clone(self).keep_up(turn));
        }
    }

    /// The same where whole fragments have expired: a stop may have come before they were dropped, and nothing may be appended
    /// any more.
    pub(super) fn look_after_expired(self: &Arc<Self>) {
        if self.has_expired_fragments() {
            self.look_after();
        }
    }

    fn has_expired_fragments(&self) -> bool {
        let expired = self.upkeep.expired();
        self.open_version().is_some_and(|version| !version.layout.wholly_before(expired).is_empty())
    }

    /// The same where older versions alone hold what has gone from the newest.
    pub(super) fn look_after_history(self: &Arc<Self>) {
        self.upkeep.heavier.store(true, Ordering::Relaxed);
        self.look_after();
    }

    /// Whether merges are due and somebody makes them.
    pub(super) fn is_merging(&self) -> bool {
        self.is_upkeep_due() && self.shared.turns.is_taken(&self.place.dataset)
    }

    async fn keep_up(self: Arc<Self>, turn: Turn) {
        while self.is_upkeep_due() && !turn.stop.is_cancelled() {
            if let Err(error) = self.keep_up_once(&turn.stop).await
                && !turn.stop.is_cancelled()
            {
                warn!(dataset = %self.place.dataset.display(), error = %error, "the upkeep of a dataset failed");
                *self.upkeep.resting_until.lock() = Some(Instant::now() + REST);
            }
        }
        let stopped = turn.stop.is_cancelled();
        drop(turn);
        // Who came between the last look and the end of the turn has left it to this task.
        if !stopped {
            self.look_after();
            self.look_after_indexes();
        }
    }

    async fn keep_up_once(self: &Arc<Self>, stop: &CancellationToken) -> Result<(), TableError> {
        let before = self.head();
        // First what makes room, and again whatever becomes of merges, which need some. They are made also where it fails: what
        // hinders a clean-up may hinder it for long.
        let mut tidied = Tidied::default();
        self.tidy(&mut tidied).await;
        let asked = self.upkeep.asked.swap(false, Ordering::AcqRel).then_some(before.next);
        let (mut merges, mut bytes_merged) = (0, 0);
        let merging = async {
            self.drop_what_has_expired().await?;
            for zeal in asked.map(Zeal::All).into_iter().chain([Zeal::Due]) {
                while let Some(bytes) = self.merge_next(zeal, stop).await? {
                    merges += 1;
                    bytes_merged += bytes;
                    // Between merges: where commits come fast, there is always one more due.
                    self.tidy(&mut tidied).await;
                }
            }
            Ok(())
        };
        let merged: Result<(), TableError> = merging.await;
        if merged.is_err() && asked.is_some() {
            self.upkeep.asked.store(true, Ordering::Release);
        }
        self.tidy(&mut tidied).await;
        let Tidied { cleaned, failed } = tidied;
        if merges > 0 || cleaned != Cleaned::default() {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let done = Upkeep {
                at: Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
                fragments_before: before.fragments.len() as u64,
                fragments_after: self.head().fragments.len() as u64,
                merges,
                bytes_merged,
                versions_removed: cleaned.versions,
                bytes_removed: cleaned.bytes,
                total_merges: merges,
                total_versions_removed: cleaned.versions,
                total_bytes_removed: cleaned.bytes,
            };
            debug!(dataset = %self.place.dataset.display(), ?done, "upkeep");
            self.upkeep.note(done);
        }
        merged.and(failed.map_or(Ok(()), Err))
    }

    /// Drops fragments that had expired before they were committed.
    async fn drop_what_has_expired(self: &Arc<Self>) -> Result<(), TableError> {
        if self.has_expired_fragments() {
            let _lane = self.enter_lane().await?;
            self.drop_before(self.upkeep.expired()).await?;
        }
        Ok(())
    }

    /// Makes the next merge that is due: how many bytes were read for it; none where none was due.
    async fn merge_next(self: &Arc<Self>, zeal: Zeal, stop: &CancellationToken) -> Result<Option<u64>, TableError> {
        let Some(version) = self.version().await? else { return Ok(None) };
        let next_run = |version: &Version| {
            let expired = self.upkeep.expired();
            Some((self.next_run(&version.layout, expired, zeal)?, expired))
        };
        if next_run(&version).is_none() {
            return Ok(None);
        }
        // One reads and writes at a time, of all tables; meanwhile this one may have been merged or may be going.
        let _alone = tokio::select! {
            alone = self.shared.turns.merging.acquire() => alone,
            () = stop.cancelled() => return Ok(None),
        };
        let Some(version) = self.version().await? else { return Ok(None) };
        let Some((run, expired)) = next_run(&version).filter(|_| !stop.is_cancelled()) else { return Ok(None) };
        self.check_room(run.clone(), &version).await?;
        let merged =
            merge::write_merged(&version, run, expired, self.merge_params(version.dataset.schema()), stop).await?;
        point::passed("compact", "written");
        drop(version);
        let committed = match self.sync_merged(&merged).await {
            Ok(()) => self.commit_merged(&merged, stop).await,
            Err(error) => Err(error),
        };
        if !matches!(committed, Ok(true)) {
            self.forget_merged(&merged).await;
        }
        // One that came too late is planned anew.
        committed.map(|_| Some(merged.bytes_read))
    }

    /// Refuses a merge for which there may be no room on the disk: what it replaces goes later.
    async fn check_room(&self, run: Range<usize>, version: &Version) -> Result<(), TableError> {
        self.check_room_beside(version.layout.fragments.get(run).unwrap_or_default()).await
    }

    /// Refuses work that reads fragments, and may write twice of what they have, where too little would be left on the disk.
    pub(super) async fn check_room_beside(&self, read: &[Placed]) -> Result<(), TableError> {
        let bytes: u64 = read.iter().map(|placed| placed.bytes).sum();
        let (disk, dataset) = (Arc::clone(&self.shared.disk), self.place.dataset.clone());
        let free = blocking(move || disk.free_bytes(&dataset)).await?;
        let wanted = bytes.saturating_mul(2).saturating_add(self.shared.room_left);
        if free < wanted { Err(TableError::DiskFull) } else { Ok(()) }
    }

    /// Outside the lane, so that the commit has little left to sync.
    async fn sync_merged(&self, merged: &Merged) -> Result<(), TableError> {
        let (disk, folder) = (Arc::clone(&self.shared.disk), self.place.dataset.join(DATA_FOLDER));
        let files: Vec<String> = merged.files().map(str::to_owned).collect();
        blocking(move || files.iter().try_for_each(|file| disk.sync_file(&folder.join(file)))).await
    }

    async fn commit_merged(self: &Arc<Self>, merged: &Merged, stop: &CancellationToken) -> Result<bool, TableError> {
        let _lane = self.enter_lane().await?;
        if stop.is_cancelled() {
            return Ok(false);
        }
        let Some(present) = self.version().await? else { return Ok(false) };
        let Some(transaction) = merged.transaction(&present.dataset) else { return Ok(false) };
        self.commit_rewrite(&present, transaction, (merged.base, merged.renumbered())).await?;
        Ok(true)
    }

    /// Removes what a merge has written that was not committed.
    async fn forget_merged(&self, merged: &Merged) {
        // Where it is not known what the dataset names, they stay until the next start looks for strays.
        let Ok(Some(version)) = self.version().await else { return };
        let named: Vec<_> = version.dataset.fragments().iter().flat_map(|it| it.files.clone()).collect();
        let (disk, folder) = (Arc::clone(&self.shared.disk), self.place.dataset.join(DATA_FOLDER));
        let files: Vec<String> =
            merged.files().filter(|file| named.iter().all(|named| named.path != *file)).map(str::to_owned).collect();
        let removed = blocking(move || files.iter().try_for_each(|file| disk.remove(&folder.join(file)))).await;
        if let Err(error) = removed {
            warn!(dataset = %self.place.dataset.display(), error = %error, "files of a merge that came to nothing stay");
        }
    }

    /// Bytes of files of indexes that the newest version does not name.
    async fn dead_index_bytes(&self) -> Result<u64, TableError> {
        let Some(version) = self.open_version() else { return Ok(0) };
        let named = version.dataset.load_indices().await?.iter().map(|segment| segment.uuid.to_string()).collect();
        let path = self.place.dataset.clone();
        blocking(move || clean::unnamed_index_bytes(&path, &named)).await
    }

    /// What the dataset takes on the disk.
    pub(super) async fn usage(&self) -> Result<TableUsage, TableError> {
        let head = self.head();
        let stored: u64 = head.fragments.iter().map(|fragment| fragment.bytes).sum();
        let first = self.open_version().and_then(|version| version.layout.fragments.first().copied());
        let expired = first.map_or(0, |first| expired_bytes(first, self.upkeep.expired()));
        let (bytes, versions) = clean::usage(self.place.dataset.clone()).await?;
        let live_bytes = stored.saturating_sub(expired);
        let dead_bytes = bytes.saturating_sub(live_bytes) + self.dead_index_bytes().await?;
        let last_upkeep = *self.upkeep.last.lock();
        let raw_bytes = self.raw_bytes.load(Ordering::Relaxed);
        Ok(TableUsage { versions, raw_bytes, live_bytes, dead_bytes, last_upkeep })
    }
}

#[cfg(test)]
mod tests;
