//! What all topics share.

use std::future::Future;
use std::sync::{Arc, OnceLock, Weak};

use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::backend::{BackendFactory, BackendRegistry, Capabilities, OptionValues, check_options};
use crate::catalog::Catalog;
use crate::codec::DecodeLimits;
use crate::io::Clock;
use crate::metrics::Metrics;
use crate::model::{ErrorCode, Problem};
use crate::runtime::Tasks;
use crate::tail::Budget;
use crate::topic::Quarantines;

/// Options of compression: a backend without them lacks the capability of that name.
const COMPRESSION_OPTIONS: [&str; 3] = ["compression", "compression_level", "field_compression"];

/// What all topics share.
pub(crate) struct TopicServices {
    pub(crate) catalog: Catalog,
    pub(crate) registry: Arc<BackendRegistry>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Arc<Metrics>,
    /// Work that goes on when the client that asked for it leaves.
    pub(crate) tasks: Tasks,
    /// Cancelled when the server is asked to stop.
    pub(crate) draining: CancellationToken,
    pub(crate) decode_limits: DecodeLimits,
    /// Turns to decode a large text, one for each processor: more at once take more memory and end no sooner.
    pub(crate) decoders: Arc<Semaphore>,
    /// What the runs that streams share may hold, over all topics.
    pub(crate) runs_budget: Arc<Budget>,
    /// What long reads may have ahead, over all topics.
    pub(crate) ahead_budget: Arc<Budget>,
    /// The most cursors of a topic.
    pub(crate) cursors_max: u64,
    /// Who makes and opens quarantines; set once, when the engine is put together.
    pub(crate) quarantines: OnceLock<Weak<dyn Quarantines>>,
}

impl TopicServices {
    /// Runs work on a task of its own, so that dropping the caller undoes nothing.
    pub(crate) async fn detach<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let (done, result) = tokio::sync::oneshot::channel();
        self.tasks.spawn("request", async move {
            // The caller may have gone: the work is done all the same.
            drop(done.send(work.await));
            Ok::<(), std::convert::Infallible>(())
        });
        result.await.unwrap_or_else(|_| Err(Problem::internal()))
    }

    /// Checks options as a client gave them; a null is an omitted one. The defaults are not filled in.
    ///
    /// # Errors
    /// `unsupported_by_backend` for an option that the backend lacks, with those that have it; `invalid_body` for one that
    /// nobody knows, or with a wrong value.
    pub(crate) fn check_options(
        &self,
        factory: &dyn BackendFactory,
        given: &Map<String, Value>,
    ) -> Result<OptionValues, Problem> {
        let specs = factory.options();
        for name in given.keys().filter(|name| specs.iter().all(|spec| spec.name != **name)) {
            let has = |factory: &&Arc<dyn BackendFactory>| factory.options().iter().any(|spec| spec.name == *name);
            let able: Vec<String> = self.registry.list().filter(has).map(|able| able.name().to_owned()).collect();
            let is_compression = COMPRESSION_OPTIONS.contains(&name.as_str());
            if is_compression || !able.is_empty() {
                let detail = format!("The backend {} has no option \"{name}\".", factory.name());
                let mut problem = Problem::new(ErrorCode::UnsupportedByBackend, detail).allowing(able);
                problem.capability = is_compression.then_some("compression");
                return Err(problem);
            }
        }
        check_options(&specs, given)
    }

    /// The refusal of a quarantine where there can be none.
    pub(crate) fn no_quarantine(&self) -> Problem {
        let able = self.registry.list().filter(|factory| {
            let defaults = factory.complete(&OptionValues::new());
            defaults.is_ok_and(|defaults| factory.quarantines(&defaults))
        });
        let detail = "A quarantine needs columns and the write-ahead log, which the topic has not got.";
        Problem::new(ErrorCode::UnsupportedByBackend, detail).allowing(able.map(|able| able.name().to_owned()))
    }

    /// The refusal of what a backend lacks, with the backends that have it.
    pub(crate) fn unsupported(
        &self,
        detail: &'static str,
        capability: &'static str,
        has: impl Fn(&Capabilities) -> bool,
    ) -> Problem {
        let able = self.registry.list().filter(|factory| has(&factory.capabilities()));
        let mut problem = Problem::new(ErrorCode::UnsupportedByBackend, detail)
            .allowing(able.map(|factory| factory.name().to_owned()));
        problem.capability = Some(capability);
        problem
    }
}
