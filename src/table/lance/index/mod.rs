//! Indexes, built and brought up to date beside commits and readers.
//!
//! Which there are to be is told by the table's settings; what is there is in the dataset's manifest, with a note of which
//! segments are ours ([`notes`]). Whatever differs is made so, one step at a time: a crash between two of them leaves a
//! dataset that is searched all the same, and the next process goes on from there. Only a manifest is committed in the lane.

mod build;
mod cells;
mod keep;
mod make;
mod notes;
mod plan;
mod progress;
mod standing;
mod survey;
mod vectors;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use self::progress::Progress;
use self::survey::{Part, Survey};
pub(super) use self::survey::{has, name_of};
use super::offsets::Layout;
use super::open::Version;
use crate::model::{IndexId, Offset};
use crate::table::{Cause, IndexDefinition};

/// Builds of less than usual take at most one part in so many of the time.
const IDLE_SHARE: u32 = 10;
/// How long a build that has failed rests before it is tried again, at first and at last.
const REST_FIRST: Duration = Duration::from_secs(5);
const REST_MAX: Duration = Duration::from_secs(15 * 60);
/// How many fragments that an index cannot have are kept apart from merges.
const APART_MAX: usize = 16;

/// What is known of one table's indexes.
#[derive(Debug)]
pub(super) struct State {
    wanted: ArcSwap<Arc<[IndexDefinition]>>,
    /// How often somebody has asked to look after them.
    asked: AtomicU64,
    /// How often a build has waited for merges.
    waited: AtomicU64,
    /// When the next look is, where one is arranged.
    timed: Mutex<Option<Instant>>,
    /// Whether segments have gone since the last clean-up was asked for: older versions hold them alone.
    heavier: AtomicBool,
    pace: Mutex<Pace>,
    known: Mutex<HashMap<IndexId, Known>>,
}

#[derive(Debug)]
struct Pace {
    /// When rows came, or went elsewhere, for the last time.
    changed: Instant,
    /// When the last build ended, and how long it took.
    built: Option<(Instant, Duration)>,
}

/// What is known of one index.
#[derive(Debug, Default)]
struct Known {
    /// What is being built.
    progress: Option<Arc<Progress>>,
    /// Tells the build to stop.
    build: CancellationToken,
    trouble: Option<Trouble>,
    /// When the last step of each column ended.
    ended: HashMap<usize, Instant>,
    /// Columns that had nothing to index.
    hollow: HashMap<usize, Hollow>,
    /// Fragments that no index of the kind can have, by column: what is in them is looked at row by row.
    unfit: HashMap<i32, BTreeSet<u64>>,
}

/// Where a column had nothing to index.
#[derive(Clone, Copy, Debug)]
struct Hollow {
    /// The version where that was seen.
    version: u64,
    /// The column, where no segment had any of it.
    bare: Option<i32>,
    /// Where that version ended.
    next: Offset,
}

#[derive(Clone, Debug)]
struct Trouble {
    error: String,
    tries: u32,
    until: Instant,
}

impl Default for State {
    fn default() -> Self {
        let pace = Pace { changed: Instant::now(), built: None };
        Self {
            wanted: ArcSwap::from_pointee(Arc::default()),
            asked: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            timed: Mutex::default(),
            heavier: AtomicBool::new(false),
            pace: Mutex::new(pace),
            known: Mutex::default(),
        }
    }
}

impl Trouble {
    /// After so many failures in a row.
    fn after(tries: u32, error: String) -> Self {
        let rest = REST_FIRST.saturating_mul(1 << tries.clamp(1, 16).saturating_sub(1)).min(REST_MAX);
        Self { error, tries, until: Instant::now() + rest }
    }
}

impl State {
    /// Says which indexes there are to be.
    pub(super) fn want(&self, wanted: &Arc<[IndexDefinition]>) {
        // First, so that who begins a build is either told to stop or sees that it is not wanted.
        self.wanted.store(Arc::new(Arc::clone(wanted)));
        self.known.lock().retain(|id, known| {
            let is_wanted = wanted.iter().any(|definition| definition.id == *id);
            if !is_wanted {
                known.build.cancel();
            }
            is_wanted
        });
    }

    /// A build of an index begins: what tells it to stop, by itself or together with `all`.
    fn begin(&self, id: IndexId, all: &CancellationToken) -> CancellationToken {
        let build = all.child_token();
        self.with(id, |known| known.build = build.clone());
        if !self.wanted().iter().any(|definition| definition.id == id) {
            build.cancel();
            self.known.lock().remove(&id);
        }
        build
    }

    /// A version was made.
    pub(super) fn committed(&self, cause: Cause) {
        if cause != Cause::Index {
            self.pace.lock().changed = Instant::now();
        }
    }

    fn wanted(&self) -> Arc<[IndexDefinition]> {
        Arc::clone(&self.wanted.load())
    }

    /// How long until less than usual may be indexed; none where it may.
    fn idle_in(&self, idle: Duration, now: Instant) -> Option<Duration> {
        let pace = self.pace.lock();
        let idle_from = pace.changed + idle;
        let rest = pace.built.filter(|_| !idle.is_zero()).map(|(at, took)| at + took * IDLE_SHARE);
        let from = rest.map_or(idle_from, |rest| rest.max(idle_from));
        from.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// Notes that there is to be a look at `at`; false where there is one by then anyway.
    fn time(&self, at: Instant) -> bool {
        let mut timed = self.timed.lock();
        if timed.is_some_and(|earlier| earlier <= at) {
            return false;
        }
        *timed = Some(at);
        true
    }

    /// Whether the look that is arranged is the one at `at`, which it is no longer then.
    fn is_timed_for(&self, at: Instant) -> bool {
        self.timed.lock().take_if(|timed| *timed == at).is_some()
    }

    fn with<T>(&self, id: IndexId, change: impl FnOnce(&mut Known) -> T) -> T {
        change(self.known.lock().entry(id).or_default())
    }

    /// The same where something is known of it: it may have gone.
    fn with_known(&self, id: IndexId, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.known.lock().get_mut(&id) {
            change(known);
        }
    }

    /// What hinders an index now: how long still.
    fn rest_of(&self, id: IndexId, now: Instant) -> Option<Duration> {
        let known = self.known.lock();
        let until = known.get(&id)?.trouble.as_ref()?.until;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    /// When the last step of a column ended.
    fn ended(&self, id: IndexId, column: usize) -> Option<Instant> {
        self.known.lock().get(&id)?.ended.get(&column).copied()
    }

    fn fail(&self, id: IndexId, error: String) {
        self.with(id, |known| {
            let tries = known.trouble.as_ref().map_or(0, |trouble| trouble.tries).saturating_add(1);
            known.trouble = Some(Trouble::after(tries, error));
        });
    }

    /// Notes fragments that an index of a column cannot have.
    fn leave_out_from_now_on(&self, id: IndexId, field: i32, unfit: impl IntoIterator<Item = u64>) {
        self.with_known(id, |known| known.unfit.entry(field).or_default().extend(unfit));
    }

    /// Notes that a column has nothing to index.
    fn note_nothing(&self, part: &Part<'_>, version: &Version) {
        let number = version.dataset.manifest().version;
        let field = part.column.as_ref().map(|column| column.field);
        self.with_known(part.definition.id, |known| {
            // What was left out may come again in other fragments, which are looked at then.
            let has_unfit = field.and_then(|field| known.unfit.get(&field)).is_some_and(|unfit| !unfit.is_empty());
            let bare = field.filter(|_| part.segments.is_empty() && !has_unfit);
            known.hollow.insert(part.place, Hollow { version: number, bare, next: version.layout.next });
        });
    }

    /// Leaves out the fragments that an index cannot have: nothing is due because of them.
    fn leave_out(&self, found: &mut Survey<'_>, version: &Version) {
        let mut known = self.known.lock();
        for part in &mut found.parts {
            let Some(column) = &part.column else { continue };
            let known = known.get_mut(&part.definition.id);
            let Some(unfit) = known.and_then(|known| known.unfit.get_mut(&column.field)) else { continue };
            unfit.retain(|id| version.layout.fragments.binary_search_by_key(id, |placed| placed.id).is_ok());
            part.leave_out(unfit);
        }
    }

    /// The fragments as merges are to see them: what an index cannot have is left as large enough, or whatever was merged with it
    /// would be in no index either. A few of these are; where there are many, merges matter more.
    pub(super) fn for_merges<'l>(&self, layout: &'l Layout, whole_bytes: u64) -> Cow<'l, Layout> {
        let known = self.known.lock();
        let unfit: BTreeSet<u64> = known.values().flat_map(|known| known.unfit.values().flatten()).copied().collect();
        if unfit.is_empty() || unfit.len() > APART_MAX {
            return Cow::Borrowed(layout);
        }
        let mut layout = layout.clone();
        for placed in layout.fragments.iter_mut().filter(|placed| unfit.contains(&placed.id)) {
            placed.bytes = placed.bytes.max(whole_bytes);
        }
        Cow::Owned(layout)
    }

    fn hollow(&self, part: &Part<'_>) -> Option<Hollow> {
        self.known.lock().get(&part.definition.id)?.hollow.get(&part.place).copied()
    }

    /// Up to where a column that has no segment has nothing to index: whatever is merged, its rows are what they were.
    fn hollow_to(&self, part: &Part<'_>) -> Offset {
        let field = part.column.as_ref().filter(|_| part.segments.is_empty()).map(|column| column.field);
        let hollow = self.hollow(part).filter(|hollow| field.is_some() && hollow.bare == field);
        hollow.map_or(Offset::ZERO, |hollow| hollow.next)
    }

    /// Whether a column has nothing to index in a version.
    fn is_hollow(&self, part: &Part<'_>, version: &Version) -> bool {
        let number = version.dataset.manifest().version;
        let seen = self.hollow(part).is_some_and(|hollow| hollow.version == number);
        let to = self.hollow_to(part);
        seen || (to > Offset::ZERO && to >= version.layout.next)
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod state_tests;

#[cfg(test)]
mod limits_tests;
