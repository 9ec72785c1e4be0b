//! Loads of any length, in pieces (`atomic=false`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::Instant;

use crate::codec::{Body, DecodeError, Form, Piece, Pieces};
use crate::model::{Ack, ErrorCode, Problem, StoredBefore, Writer};
use crate::topic::append::Refusal;
use crate::topic::{AppendRequest, InflightPermit, Receipt, Topic};

/// The most bytes of one piece; a single record may be larger.
pub(super) const PIECE_BYTES_MAX: usize = 8 << 20;
/// The most records of one piece.
pub(super) const PIECE_RECORDS_MAX: u64 = 10_000;

/// How long whole records wait for their piece to be full, where more of it has to be waited for: what writes on and on, and
/// little, can be read while it goes on.
const PIECE_WAIT: Duration = Duration::from_secs(1);

/// What a load holds room for in any case.
const HELD_AT_FIRST: u64 = 64 << 10;
/// How often it holds room for what has come: while it is read, and as a piece that is being stored.
const PIECES_HELD: u64 = 2;

/// What a load has stored so far.
#[derive(Default)]
pub(super) struct Progress {
    stored: Option<Receipt>,
}

impl Progress {
    pub(super) fn add(&mut self, receipt: Receipt) {
        self.stored = Some(match self.stored.take() {
            None => receipt,
            // A piece may have gone to the quarantine whole.
            Some(before) => Receipt {
                first_offset: if before.count > 0 { before.first_offset } else { receipt.first_offset },
                last_offset: if receipt.count > 0 { receipt.last_offset } else { before.last_offset },
                count: before.count + receipt.count,
                quarantined: before.quarantined + receipt.quarantined,
                durability: before.durability.min(receipt.durability),
                ..receipt
            },
        });
    }

    pub(super) fn count(&self) -> u64 {
        self.stored.as_ref().map_or(0, |receipt| receipt.count)
    }
}

/// A body that comes, and since when whole records of it wait to be stored.
pub(super) struct Coming<'a> {
    body: BoxStream<'a, Result<Bytes, Problem>>,
    waiting_since: Option<Instant>,
    /// How it has failed, which is still to be told.
    failed: Option<Problem>,
}

/// What comes next.
pub(super) enum Next {
    Bytes(Bytes),
    /// Nothing yet: the whole records have waited long enough.
    Pause,
    End,
}

impl<'a> Coming<'a> {
    pub(super) const fn new(body: BoxStream<'a, Result<Bytes, Problem>>) -> Self {
        Self { body, waiting_since: None, failed: None }
    }

    /// The next of the body. `waits`: whether whole records wait meanwhile.
    ///
    /// # Errors
    /// Why nothing comes any more.
    pub(super) async fn next(&mut self, waits: bool) -> Result<Next, Problem> {
        if let Some(problem) = self.failed.take() {
            return Err(problem);
        }
        let since = waits.then(|| self.waiting_since.unwrap_or_else(Instant::now));
        self.waiting_since = since;
        let next = match since.map(|since| since + PIECE_WAIT) {
            None => self.body.next().await,
            Some(until) => match tokio::time::timeout_at(until, self.body.next()).await {
                // What has waited for long enough is stored, though a busy server sees only now that the body has failed since.
                Ok(Some(Err(problem))) if Instant::now() >= until => {
                    (self.failed, self.waiting_since) = (Some(problem), None);
                    return Ok(Next::Pause);
                }
                Ok(next) => next,
                Err(_) => {
                    self.waiting_since = None;
                    return Ok(Next::Pause);
                }
            },
        };
        Ok(match next.transpose()? {
            Some(bytes) => Next::Bytes(bytes),
            None => Next::End,
        })
    }
}

impl Topic {
    /// Loads a body of any length in consecutive pieces, each whole or not at all and at the asked level; memory is bounded
    /// by a piece, which `permit` counts: as much of it as has come, so that one who sends little and seldom is in nobody's way.
    /// Whole records are stored a second after they came, if not before.
    ///
    /// # Errors
    /// What stopped it, with what *is* stored.
    pub async fn load(
        self: &Arc<Self>,
        body: BoxStream<'_, Result<Bytes, Problem>>,
        form: Form,
        mut permit: InflightPermit,
        ack: Option<Ack>,
    ) -> Result<Receipt, Problem> {
        self.check_append(ack, &Writer::Plain)?;
        let record_bytes_max = self.services.decode_limits.record_bytes_max;
        // A piece is one append, so that a lower bound of those is one of pieces, and never one of the load.
        let piece_records_max = PIECE_RECORDS_MAX.min(self.services.decode_limits.records_max);
        let mut pieces = Pieces::new(form, PIECE_BYTES_MAX, piece_records_max, record_bytes_max);
        let mut progress = Progress::default();
        let mut coming = Coming::new(body);
        let outcome = async {
            loop {
                let line = pieces.line();
                let here = |mut problem: Problem| {
                    problem.line = Some(line);
                    problem
                };
                let bytes = match coming.next(pieces.has_whole()).await.map_err(here)? {
                    Next::Bytes(bytes) => bytes,
                    Next::Pause => {
                        if let Some(piece) = pieces.cut() {
                            self.store(piece, ack, &mut permit, &mut progress).await?;
                        }
                        permit.shrink_to(HELD_AT_FIRST + pieces.held() as u64 * PIECES_HELD);
                        continue;
                    }
                    Next::End => break,
                };
                let held = HELD_AT_FIRST + (pieces.held() + bytes.len()) as u64 * PIECES_HELD;
                permit.grow(held.saturating_sub(permit.held())).await.map_err(here)?;
                let complete = pieces.push(&bytes).map_err(DecodeError::into_problem);
                for piece in complete? {
                    self.store(piece, ack, &mut permit, &mut progress).await?;
                }
                permit.shrink_to(HELD_AT_FIRST + pieces.held() as u64 * PIECES_HELD);
            }
            for piece in pieces.finish().map_err(DecodeError::into_problem)? {
                self.store(piece, ack, &mut permit, &mut progress).await?;
            }
            Ok(())
        }
        .await;
        self.loaded(outcome, &progress)
    }

    /// The answer to a load.
    pub(super) fn loaded(&self, outcome: Result<(), Problem>, progress: &Progress) -> Result<Receipt, Problem> {
        match (outcome, progress.stored.clone()) {
            (Ok(()), Some(receipt)) => Ok(receipt),
            (Ok(()), None) => {
                let problem = Problem::new(ErrorCode::EmptyBatch, "The body holds no record.");
                Err(self.stopped(problem, progress))
            }
            (Err(problem), _) => Err(self.stopped(problem, progress)),
        }
    }

    async fn store(
        self: &Arc<Self>,
        piece: Piece,
        ack: Option<Ack>,
        permit: &mut InflightPermit,
        progress: &mut Progress,
    ) -> Result<(), Problem> {
        let ask = AppendRequest { ack, ..AppendRequest::plain(Body::text(piece.body.clone(), piece.form)) };
        match self.append_or_fault(ask, permit).await {
            Ok(receipt) => progress.add(receipt),
            Err(Refusal::Body(DecodeError::EmptyBatch)) => {}
            Err(refusal) => {
                let first_line = piece.first_line;
                let mut problem = match refusal {
                    Refusal::Body(error) => piece.place(error).into_problem(),
                    Refusal::Problem(problem) => problem,
                };
                problem.line.get_or_insert(first_line);
                return Err(problem);
            }
        }
        Ok(())
    }

    fn stopped(&self, mut problem: Problem, progress: &Progress) -> Problem {
        let next_offset = match &progress.stored {
            Some(receipt) => receipt.next_offset(),
            None => self.log.lock().next,
        };
        let stored = progress.stored.as_ref().filter(|receipt| receipt.count > 0);
        let first_offset = stored.map(|receipt| receipt.first_offset);
        let (count, aside) = (progress.count(), progress.stored.as_ref().map_or(0, |receipt| receipt.quarantined));
        if count + aside > 0 {
            let what = if aside > 0 { "stored or quarantined" } else { "stored" };
            problem.detail =
                format!("{} The first {} records are {what}: go on with the next.", problem.detail, count + aside)
                    .into();
        }
        problem.stored = Some(StoredBefore { first_offset, next_offset, count: progress.count() });
        problem
    }
}
