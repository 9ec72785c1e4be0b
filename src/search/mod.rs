//! Search over everything that a topic has: nearest neighbours, words, and both.
//!
//! A search sees one cut of Table and Tail: every record that was readable when it began. Without an index the answer is
//! exact and depends on the records alone, not on where they lie.

mod ask;
mod columns;
mod few;
mod fuse;
mod hits;
mod kernel;
mod run;
mod scan;
pub mod text;
mod top;
mod vector;
mod words;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

pub use crate::table::search::{Effort, Metric};
pub use ask::{
    EFFORT_MAX, HITS, HITS_MAX, REFINE_MAX, REFINED_MAX, SearchRequest, TEXT_COLUMNS_MAX, TextAsk, VectorAsk,
};
pub use hits::{Found, Hit};
pub use run::refused_filter;

use crate::model::{ErrorCode, Problem};
use crate::search::run::{Asker, Served};
use crate::search::scan::failed;
use crate::topic::Topic;

/// How long a search waits for its turn.
const TURN_PATIENCE: Duration = Duration::from_secs(2);

/// Bounds of searches.
#[derive(Clone, Copy, Debug)]
pub struct SearchLimits {
    /// The most searches at a time; more wait for their turn.
    pub at_once: usize,
    /// How long one may take.
    pub time: Duration,
}

impl Default for SearchLimits {
    fn default() -> Self {
        Self { at_once: 8, time: Duration::from_secs(30) }
    }
}

/// All searches of a server.
#[derive(Debug)]
pub struct Searches {
    turns: Arc<Semaphore>,
    time: Duration,
    /// Where they run: what one is doing may take long before it lets others run.
    runtime: Handle,
}

impl Searches {
    /// Searches within limits, on the runtime of queries.
    pub fn new(limits: SearchLimits, runtime: Handle) -> Self {
        Self { turns: Arc::new(Semaphore::new(limits.at_once)), time: limits.time, runtime }
    }

    /// Searches a topic. Dropping the future ends the work.
    ///
    /// # Errors
    /// `invalid_parameter` for what cannot be searched so, with what is allowed; `not_found`, `version_expired` for a moment
    /// that is not kept; `overloaded` where no turn comes or the search takes too long; `columns_changed` and `offset_expired`
    /// where the topic changes under every try; `internal`.
    pub async fn search(&self, topic: &Arc<Topic>, ask: SearchRequest) -> Result<Found, Problem> {
        let turn = tokio::time::timeout(TURN_PATIENCE, Arc::clone(&self.turns).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::new(
                ErrorCode::Overloaded,
                "Too many searches run at present; ask again in a moment.",
            ));
        };
        let served = Arc::new(Served::default());
        let _asker = Asker(Arc::clone(&served));
        let (topic, served_by) = (Arc::clone(topic), Arc::clone(&served));
        let search = async move {
            // The turn is over when the work is.
            let _turn = turn;
            run::search(&topic, &ask, &served_by).await
        };
        let search = AbortOnDropHandle::new(self.runtime.spawn(search));
        match tokio::time::timeout(self.time, search).await {
            Ok(found) => found.unwrap_or_else(|error| Err(failed("a search ended early", &error))),
            Err(_) => {
                let seconds = self.time.as_secs();
                let detail = format!("The search took longer than {seconds} s; {}.", served.advice());
                Err(Problem::new(ErrorCode::Overloaded, detail))
            }
        }
    }
}

/// A search that cannot be done as it is asked.
fn bad(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(ErrorCode::InvalidParameter, detail)
}
