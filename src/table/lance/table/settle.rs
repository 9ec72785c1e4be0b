//! What is on disk, where that is not sure: after a commit whose outcome is not known, and before the next one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lance::session::Session;

use super::Inner;
use crate::table::TableError;
use crate::table::lance::commit::manifest_path;
use crate::table::lance::error::{blocking, foreign};
use crate::table::lance::open::{Newest, newest, set_version_aside};
use crate::table::lance::place;

/// The caches of a table whose version numbers were used twice: the shared ones may hold the version set aside.
const PRIVATE_CACHE_BYTES: usize = 8 << 20;

impl Inner {
    /// Refuses to write where the dataset's folder is gone: a commit would make it anew, around files that are not there.
    pub(super) async fn check_in_place(&self) -> Result<(), TableError> {
        let version = self.head().version;
        if version == 0 {
            return Ok(());
        }
        let manifest = manifest_path(&self.place.dataset, &format!("{:020}.manifest", u64::MAX - version));
        let is_there = blocking(move || manifest.try_exists()).await?;
        if is_there { Ok(()) } else { Err(TableError::Failed { cause: "its folder is not where it was".to_owned() }) }
    }

    /// After a commit whose outcome is not known: what is on disk decides, less what was not acknowledged.
    pub(super) async fn settle(&self) -> Result<(), TableError> {
        if !self.unsettled.load(Ordering::Acquire) {
            return Ok(());
        }
        let outcome = self.fence.disarm();
        let head = self.head();
        if let Some(version) = outcome.attempted {
            if head.version == 0 {
                // Nothing was ever committed here, and names of folders whose sync has failed are not believed later.
                self.begin_anew().await?;
            } else {
                set_version_aside(&self.site(), version).await?;
            }
            self.session.store(Arc::new(Session::new(PRIVATE_CACHE_BYTES, PRIVATE_CACHE_BYTES, Arc::default())));
        }
        match newest(&self.site()).await? {
            Some(Newest { version, .. }) if version.layout.next != head.next || version.layout.base != head.base => {
                return Err(foreign(format!("the rows end at {} instead of {}", version.layout.next, head.next)));
            }
            Some(Newest { version, last_time, versions }) => {
                self.upkeep.found(versions);
                self.publish(version, last_time.or(head.last_time));
            }
            None if head.version == 0 => {}
            None => return Err(foreign("the dataset is gone")),
        }
        self.moved.store(outcome.moved, Ordering::Release);
        self.unsettled.store(false, Ordering::Release);
        Ok(())
    }

    /// Removes what a failed first commit has left.
    async fn begin_anew(&self) -> Result<(), TableError> {
        let dataset = self.place.dataset.clone();
        blocking(move || place::remove_dataset(&dataset).map(drop)).await
    }

    pub(super) async fn link(&self) -> Result<(), TableError> {
        let (shared, place) = (Arc::clone(&self.shared), self.place.clone());
        blocking(move || {
            let _alone = shared.links.lock();
            place::link(&*shared.disk, &place)
        })
        .await
    }
}
