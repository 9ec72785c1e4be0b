//! Cursors: named positions of readers, kept in the catalog. They hold no record back, and reading moves none.
//!
//! A cursor keeps the epoch in which it was set. Where the topic has begun a later one, it stands where a reader of that epoch
//! would go on ([`Epochs::stand`](crate::topic::Epochs)): never on a record that has taken the place of one dealt with.

use crate::catalog::{CatalogError, CursorPosition, CursorRow};
use crate::model::{CursorName, ErrorCode, Offset, Problem};
use crate::topic::epoch::Resumption;
use crate::topic::read::past_tail;
use crate::topic::{Cursor, PutCursor, Topic};

impl Topic {
    /// Every cursor, by name.
    ///
    /// # Errors
    /// `internal`.
    pub async fn cursors(&self) -> Result<Vec<Cursor>, Problem> {
        let rows = self.services.catalog.cursors(self.id).await.map_err(|err| self.catalog_problem(&err))?;
        Ok(rows.into_iter().map(|row| self.standing(row)).collect())
    }

    /// One cursor.
    ///
    /// # Errors
    /// `not_found`, `internal`.
    pub async fn cursor(&self, name: &CursorName) -> Result<Cursor, Problem> {
        self.cursor_row(name).await?.map(|row| self.standing(row)).ok_or_else(|| unknown(name))
    }

    /// Sets a cursor, durably, making it where it is not there. Dropping the future undoes nothing.
    ///
    /// # Errors
    /// `offset_out_of_range` past the tail; `precondition_failed` where it does not stand where it must;
    /// `invalid_parameter` where the topic has as many cursors as it may; `topic_not_found`, `disk_full`, `internal`. The
    /// cursor is as before then.
    pub async fn put_cursor(&self, name: &CursorName, ask: PutCursor) -> Result<Cursor, Problem> {
        let next = self.resolve(&ask.to).await?;
        let levels = self.backend.levels().now();
        if next > levels.readable {
            return Err(past_tail(next, levels.readable));
        }
        let position = CursorPosition { epoch: self.epoch(), next };
        let row = CursorRow { name: name.clone(), position, updated_at: self.services.clock.now() };
        let cursors_max = self.services.cursors_max;
        loop {
            let expected = match ask.expected {
                Some(offset) => Some(self.position_at(name, offset).await?),
                None => None,
            };
            match self.services.catalog.put_cursor(self.id, row.clone(), expected, cursors_max).await {
                Ok(()) => return Ok(self.standing(row)),
                // Between the look and the change; somebody else has come further, so this ends.
                Err(CatalogError::CursorMoved) => {}
                Err(CatalogError::TooManyCursors) => {
                    let detail = format!("The topic has {cursors_max} cursors, as many as it may: delete one first.");
                    return Err(Problem::new(ErrorCode::InvalidParameter, detail).with_limit(cursors_max));
                }
                Err(err) => return Err(self.catalog_problem(&err)),
            }
        }
    }

    /// Forgets a cursor.
    ///
    /// # Errors
    /// `not_found`; `disk_full`, `internal`: it is as before then.
    pub async fn delete_cursor(&self, name: &CursorName) -> Result<(), Problem> {
        let gone = self.services.catalog.delete_cursor(self.id, name.clone()).await;
        if gone.map_err(|err| self.catalog_problem(&err))? { Ok(()) } else { Err(unknown(name)) }
    }

    /// Where a reader goes on at a cursor, and what it must be told before.
    pub(super) async fn go_on_at(&self, name: &CursorName) -> Result<Resumption, Problem> {
        let row = self.cursor_row(name).await?.ok_or_else(|| unknown(name))?;
        Ok(self.epochs.stand(row.position.epoch, row.position.next, self.backend.levels().now().earliest))
    }

    /// How many records lie from a position to the tail.
    pub(crate) fn lag(&self, position: CursorPosition) -> u64 {
        let levels = self.backend.levels().now();
        levels.readable.since(self.epochs.stand(position.epoch, position.next, levels.earliest).next)
    }

    async fn cursor_row(&self, name: &CursorName) -> Result<Option<CursorRow>, Problem> {
        self.services.catalog.cursor(self.id, name).await.map_err(|err| self.catalog_problem(&err))
    }

    /// What the catalog has of a cursor that stands at an offset.
    async fn position_at(&self, name: &CursorName, expected: Offset) -> Result<CursorPosition, Problem> {
        let failed = |detail: String| Problem::new(ErrorCode::PreconditionFailed, detail);
        let row = self.cursor_row(name).await?.ok_or_else(|| {
            failed(format!("There is no cursor \"{name}\" yet, so it stands nowhere: leave out expected to make it."))
        })?;
        let position = row.position;
        match self.standing(row).offset {
            offset if offset == expected => Ok(position),
            offset => Err(failed(format!("The cursor stands at offset {offset}, not at {expected}."))),
        }
    }

    fn standing(&self, row: CursorRow) -> Cursor {
        let levels = self.backend.levels().now();
        let offset = self.epochs.stand(row.position.epoch, row.position.next, levels.earliest).next;
        Cursor { name: row.name, offset, lag: levels.readable.since(offset), updated_at: row.updated_at }
    }
}

fn unknown(name: &CursorName) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("The topic has no cursor \"{name}\"."))
}
