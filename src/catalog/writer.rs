//! The one writer: changes that are submitted while a commit is under way are committed together by the next one, so that
//! many clients share one fsync.

use async_trait::async_trait;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use crate::catalog::CatalogError;
use crate::runtime::Health;

/// Changes waiting for the writer; past them a submitter waits.
pub(super) const QUEUE_MAX: usize = 1_024;
/// The most changes in one transaction.
const GROUP_MAX: usize = 256;

/// One change, all of it or nothing.
#[async_trait]
pub(super) trait Change: Send + 'static {
    /// What it gives back.
    type Answer: Send + 'static;

    /// Makes the change within the open transaction. After an error all that it has done is undone.
    async fn apply(self, connection: &mut SqliteConnection) -> Result<Self::Answer, CatalogError>;
}

/// What the writer is sent.
pub(super) enum Message {
    /// A change and who waits for it.
    Change(Box<dyn Job>),
    /// To close the file; answered when it is closed. Nothing is taken afterwards.
    Close(oneshot::Sender<Result<(), CatalogError>>),
}

/// A [`Change`] of any type.
#[async_trait]
pub(super) trait Job: Send {
    /// Makes the change. An error has been kept for the submitter already.
    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), CatalogError>;
    /// Tells the submitter, after the fate of the whole group is known.
    fn answer(self: Box<Self>, fate: Result<(), CatalogError>);
}

/// A change with who waits for it. A submitter that is gone changes nothing: the change is made all the same.
pub(super) struct Submitted<C: Change> {
    change: Option<C>,
    outcome: Option<Result<C::Answer, CatalogError>>,
    waiting: oneshot::Sender<Result<C::Answer, CatalogError>>,
}

impl<C: Change> Submitted<C> {
    pub(super) fn new(change: C, waiting: oneshot::Sender<Result<C::Answer, CatalogError>>) -> Self {
        Self { change: Some(change), outcome: None, waiting }
    }
}

#[async_trait]
impl<C: Change> Job for Submitted<C> {
    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), CatalogError> {
        let Some(change) = self.change.take() else { return Ok(()) };
        let outcome = change.apply(connection).await;
        let made = outcome.as_ref().map(drop).map_err(CatalogError::clone);
        self.outcome = Some(outcome);
        made
    }

    fn answer(self: Box<Self>, fate: Result<(), CatalogError>) {
        // A refusal too rests on what the group has changed, so it goes out only when that is durable.
        let outcome = match fate {
            Ok(()) => self.outcome.unwrap_or_else(|| Err(CatalogError::failed("the change was not made"))),
            Err(error) => Err(error),
        };
        // Nobody may be waiting any more.
        drop(self.waiting.send(outcome));
    }
}

/// Owns the only connection that writes.
pub(super) struct WriterTask {
    connection: SqliteConnection,
    queue: mpsc::Receiver<Message>,
    health: Health,
    /// Why nothing is written any more. A failed commit is never followed by another: what the disk has of it is known only
    /// to the recovery of the next start, which reads the file anew and makes durable what it has read.
    latched: Option<CatalogError>,
}

impl WriterTask {
    pub(super) fn new(connection: SqliteConnection, queue: mpsc::Receiver<Message>, health: Health) -> Self {
        Self { connection, queue, health, latched: None }
    }

    /// Runs until it is closed or nobody can submit any more.
    pub(super) async fn run(mut self) -> Result<(), CatalogError> {
        let mut closing = None;
        while closing.is_none()
            && let Some(message) = self.queue.recv().await
        {
            let mut group = Vec::new();
            let mut next = Some(message);
            while let Some(message) = next.take() {
                match message {
                    Message::Change(job) => group.push(job),
                    Message::Close(done) => closing = Some(done),
                }
                if closing.is_none() && group.len() < GROUP_MAX {
                    next = self.queue.try_recv().ok();
                }
            }
            self.commit_group(group).await;
        }
        self.queue.close();
        while let Ok(message) = self.queue.try_recv() {
            match message {
                Message::Change(job) => job.answer(Err(CatalogError::failed("the catalog is closed"))),
                Message::Close(done) => drop(done.send(Ok(()))),
            }
        }
        let closed = self.connection.close().await.map_err(CatalogError::from);
        if let Some(done) = closing {
            drop(done.send(closed.clone()));
        }
        closed
    }

    async fn commit_group(&mut self, mut group: Vec<Box<dyn Job>>) {
        if group.is_empty() {
            return;
        }
        let fate = match &self.latched {
            Some(error) => Err(error.clone()),
            None => self.write_group(&mut group).await,
        };
        for job in group {
            job.answer(fate.clone());
        }
    }

    async fn write_group(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), CatalogError> {
        self.execute("BEGIN IMMEDIATE").await?;
        if let Err(error) = self.apply_all(group).await {
            // The transaction may be gone already: SQLite ends it by itself after some errors.
            drop(self.execute("ROLLBACK").await);
            return Err(error);
        }
        let Err(error) = self.execute("COMMIT").await else { return Ok(()) };
        drop(self.execute("ROLLBACK").await);
        // A full disk has taken no commit record, so the outcome is certain; of any other failure it is not.
        if error != CatalogError::DiskFull {
            self.health.latch("catalog", &error);
            self.latched = Some(error.clone());
        }
        Err(error)
    }

    /// Makes each change in a savepoint of its own. An error means that the whole transaction is lost.
    async fn apply_all(&mut self, group: &mut [Box<dyn Job>]) -> Result<(), CatalogError> {
        for job in group {
            self.execute("SAVEPOINT change").await?;
            if let Err(cause) = job.apply(&mut self.connection).await {
                // No savepoint to go back to: SQLite has ended the transaction for this very cause.
                self.execute("ROLLBACK TO change").await.map_err(|_| cause)?;
            }
            self.execute("RELEASE change").await?;
        }
        Ok(())
    }

    async fn execute(&mut self, statement: &'static str) -> Result<(), CatalogError> {
        sqlx::query(statement).execute(&mut self.connection).await?;
        Ok(())
    }
}
