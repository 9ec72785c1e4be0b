//! Tables as Lance datasets, one folder each.
//!
//! Lance syncs nothing, lets any two appends through and trusts the newest manifest. So every commit of ours passes a
//! [`commit::Fence`], which admits the one that was announced, writes the offsets into the same manifest and syncs in
//! order; and every open checks the head before it is believed (`open`). What is read from a dataset is always one
//! version that was synced before.

mod at_once;
mod candidates;
mod commit;
mod encoding;
mod error;
mod evolve;
mod fork;
mod held;
mod index;
mod numbers;
mod offsets;
mod open;
mod passing;
mod past;
mod pins;
mod place;
mod posted;
mod read;
mod search;
mod shelf;
mod table;
mod tags;
mod take;
mod upkeep;
mod vouch;

pub use self::upkeep::UpkeepPolicy;

use std::sync::Arc;

use async_trait::async_trait;
use lance::session::Session;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use self::error::{blocking, joined};
use self::held::Held;
use self::shelf::Shelf;
use self::table::LanceTable;
use self::upkeep::Turns;
use super::{Table, TableError, TablePlace, Tables};
use crate::io::Disk;
use crate::model::Offset;

/// What is kept of indexes unless told otherwise.
const INDEX_CACHE_BYTES: usize = 256 << 20;
/// What merges and builds of indexes leave free on the disk at least, beside twice of what they read.
const ROOM_LEFT_MIN: u64 = 64 << 20;
const METADATA_CACHE_BYTES: usize = 64 << 20;

/// What all tables share.
#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    runtime: Handle,
    session: Arc<Session>,
    shelf: Shelf,
    turns: Arc<Turns>,
    /// Builds of indexes, of which one reads and writes at a time as well.
    index_turns: Arc<Turns>,
    /// The tables that somebody holds. A dataset has one at a time: two would each take the head that they know for the newest.
    held: Held,
    upkeep_policy: UpkeepPolicy,
    /// What merges and builds of indexes leave free on the disk.
    room_left: u64,
    /// A link is made or removed by one at a time: a name can be that of a deleted topic and of a new one.
    links: Mutex<()>,
}

/// Tables as Lance datasets. All work of Lance runs on one runtime, whoever calls; a call that is dropped goes on there.
#[derive(Clone, Debug)]
pub struct LanceTables {
    shared: Arc<Shared>,
}

impl LanceTables {
    /// Tables whose syncs go through `disk` and whose work runs on `runtime`. At most `open_max` datasets stay open; the
    /// least recently used one is closed and opens again when it is needed.
    pub fn new(disk: Arc<dyn Disk>, runtime: Handle, open_max: usize) -> Self {
        Self::with_policy(disk, runtime, open_max, UpkeepPolicy::default())
    }

    /// The same with other rules for their upkeep.
    pub fn with_policy(disk: Arc<dyn Disk>, runtime: Handle, open_max: usize, upkeep_policy: UpkeepPolicy) -> Self {
        let session = session(INDEX_CACHE_BYTES);
        let shelf = Shelf::new(open_max);
        let (turns, index_turns) = (Arc::default(), Arc::default());
        let (held, links) = (Held::default(), Mutex::default());
        Self {
            shared: Arc::new(Shared {
                disk,
                runtime,
                session,
                shelf,
                turns,
                index_turns,
                held,
                upkeep_policy,
                room_left: ROOM_LEFT_MIN,
                links,
            }),
        }
    }

    /// The same, keeping at most so many bytes of indexes in memory. Called before any table is opened, or without effect.
    #[must_use]
    pub fn with_index_cache(mut self, bytes: usize) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.session = session(bytes);
        }
        self
    }

    /// The same, with at least half of so many bytes left free on the disk by merges and builds of indexes: below the whole of
    /// them nothing is appended, and what has been is still to be committed. Called before any table is opened, or without effect.
    #[must_use]
    pub fn with_disk_floor(mut self, bytes: u64) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.room_left = (bytes / 2).max(ROOM_LEFT_MIN);
        }
        self
    }

    /// Ends the work on datasets that goes on beside their commits, for good; returns when it has ended. What it has not
    /// committed is as if it had never been.
    pub async fn stop_upkeep(&self) {
        let shared = &self.shared;
        tokio::join!(shared.turns.stop_all(), shared.index_turns.stop_all());
    }
}

fn session(index_bytes: usize) -> Arc<Session> {
    Arc::new(Session::new(index_bytes, METADATA_CACHE_BYTES, Arc::default()))
}

#[async_trait]
impl Tables for LanceTables {
    async fn open(&self, place: &TablePlace, base: Offset) -> Result<Arc<dyn Table>, TableError> {
        if let Some(table) = self.shared.held.find(&place.dataset) {
            return Ok(Arc::new(table));
        }
        let (shared, place) = (Arc::clone(&self.shared), place.clone());
        let opening = async move {
            let turn = shared.held.turn(&place.dataset);
            let _alone = turn.lock().await;
            if let Some(table) = shared.held.find(&place.dataset) {
                return Ok(table);
            }
            let table = LanceTable::open(Arc::clone(&shared), place.clone(), base).await?;
            shared.held.keep(&place.dataset, &table);
            Ok(table)
        };
        Ok(Arc::new(joined(self.shared.runtime.spawn(opening).await)?))
    }

    async fn remove(&self, place: &TablePlace) -> Result<(), TableError> {
        let (shared, place) = (Arc::clone(&self.shared), place.clone());
        let removal = async move {
            let turn = shared.held.turn(&place.dataset);
            let _alone = turn.lock().await;
            let _stopped = shared.turns.stop(&place.dataset).await;
            let _unindexed = shared.index_turns.stop(&place.dataset).await;
            blocking(move || {
                let _alone = shared.links.lock();
                place::remove(&*shared.disk, &place)
            })
            .await
        };
        joined(self.shared.runtime.spawn(removal).await)
    }
}

#[cfg(test)]
mod open_tests;
#[cfg(test)]
mod passing_tests;
#[cfg(test)]
mod posted_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod versions_tests;
