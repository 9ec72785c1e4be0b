//! Changes since the last sync, and what a power loss makes of them.

use super::random::Random;

/// How sure it is that a change survives a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Not synced yet.
    Pending,
    /// A sync of it has failed. The kernel then takes the page for clean, so no later sync writes it: it may or may not
    /// have reached the disk, for ever.
    Doubtful,
    /// Synced, but above a doubtful change.
    Sure,
}

/// What a power loss does to one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was synced, so it is there.
    Sure,
    /// It is there.
    Kept,
    /// It is there in part.
    Damaged,
    /// It is gone.
    Lost,
}

/// The changes on top of what is durable, oldest first.
#[derive(Debug)]
pub(super) struct Unsynced<C> {
    changes: Vec<(C, Standing)>,
}

impl<C> Default for Unsynced<C> {
    fn default() -> Self {
        Self { changes: Vec::new() }
    }
}

impl<C> Unsynced<C> {
    pub(super) fn push(&mut self, change: C) {
        self.changes.push((change, Standing::Pending));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &C> {
        self.changes.iter().map(|(change, _)| change)
    }

    /// A sync has worked: gives the changes that are now part of what is durable, oldest first.
    pub(super) fn settle(&mut self) -> Vec<C> {
        for (_, standing) in &mut self.changes {
            if *standing == Standing::Pending {
                *standing = Standing::Sure;
            }
        }
        // A sure change above a doubtful one stays, so that the two are replayed in order.
        let settled = self.changes.iter().take_while(|(_, standing)| *standing == Standing::Sure).count();
        self.changes.drain(..settled).map(|(change, _)| change).collect()
    }

    /// A sync has failed.
    pub(super) fn doubt(&mut self) {
        for (_, standing) in &mut self.changes {
            if *standing == Standing::Pending {
                *standing = Standing::Doubtful;
            }
        }
    }

    /// Empties the list at a power loss and says what becomes of each change, oldest first.
    pub(super) fn resolve(&mut self, random: &mut Random) -> Vec<(C, Fate)> {
        let open = self.changes.iter().filter(|(_, standing)| *standing != Standing::Sure).count();
        let mut fates = fates(open, random).into_iter();
        let changes = std::mem::take(&mut self.changes);
        let mut fate = |standing| match standing {
            Standing::Sure => Fate::Sure,
            Standing::Pending | Standing::Doubtful => fates.next().unwrap_or(Fate::Lost),
        };
        changes.into_iter().map(|(change, standing)| (change, fate(standing))).collect()
    }
}

/// Any pattern can come; those where all, none or a first part survives come more often than single draws would give.
fn fates(count: usize, random: &mut Random) -> Vec<Fate> {
    if count == 0 {
        return Vec::new();
    }
    match random.below(8) {
        0 => vec![Fate::Kept; count],
        1 => vec![Fate::Lost; count],
        2 | 3 => {
            let cut = random.below(count);
            let fate = |at: usize| match at.cmp(&cut) {
                std::cmp::Ordering::Less => Fate::Kept,
                std::cmp::Ordering::Equal => Fate::Damaged,
                std::cmp::Ordering::Greater => Fate::Lost,
            };
            (0..count).map(fate).collect()
        }
        _ => (0..count)
            .map(|_| match random.below(5) {
                0 | 1 => Fate::Kept,
                2 => Fate::Damaged,
                _ => Fate::Lost,
            })
            .collect(),
    }
}
