//! What is in a file: durable, on the way there, and as read.

use super::Loss;
use super::image::Image;
use super::random::Random;
use super::unsynced::{Fate, Unsynced};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

#[derive(Debug)]
enum Change {
    Write { position: usize, bytes: Vec<u8> },
    Length(usize),
}

/// The contents and length of a file.
#[derive(Debug, Default)]
pub(super) struct Contents {
    durable: Image,
    unsynced: Unsynced<Change>,
    now: Image,
}

impl Contents {
    /// The file as read.
    pub(super) fn now(&self) -> &Image {
        &self.now
    }

    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.now.write(position, bytes);
            self.unsynced.push(Change::Write { position, bytes: bytes.to_vec() });
        }
    }

    pub(super) fn set_len(&mut self, length: usize) {
        if length != self.now.len() {
            self.now.set_len(length);
            self.unsynced.push(Change::Length(length));
        }
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.settle() {
            apply(&mut self.durable, &change);
        }
    }

    pub(super) fn fail_sync(&mut self) {
        self.unsynced.doubt();
    }

    /// Leaves what a power loss leaves.
    pub(super) fn lose_power(&mut self, random: &mut Random, loss: &mut Loss) {
        for (change, fate) in self.unsynced.resolve(random) {
            match (fate, &change) {
                (Fate::Sure, _) => apply(&mut self.durable, &change),
                (Fate::Kept, _) => {
                    loss.kept += 1;
                    apply(&mut self.durable, &change);
                }
                (Fate::Lost, _) => loss.lost += 1,
                (Fate::Damaged, Change::Write { position, bytes }) => {
                    damage(&mut self.durable, *position, bytes, random, loss);
                }
                (Fate::Damaged, Change::Length(_)) if random.coin() => {
                    loss.kept += 1;
                    apply(&mut self.durable, &change);
                }
                (Fate::Damaged, Change::Length(_)) => loss.lost += 1,
            }
        }
        self.now = self.durable.clone();
    }
}

fn apply(image: &mut Image, change: &Change) {
    match change {
        Change::Write { position, bytes } => image.write(*position, bytes),
        Change::Length(length) => image.set_len(*length),
    }
}

/// Writes a part of the bytes. The file's length may or may not have come through with it.
fn damage(image: &mut Image, position: usize, bytes: &[u8], random: &mut Random, loss: &mut Loss) {
    let end = position + bytes.len();
    match random.below(4) {
        0 => {
            loss.zeroed += 1;
            image.write(position, &vec![0; bytes.len()]);
            return;
        }
        1 => {
            let cut = random.below(bytes.len());
            image.write(position, bytes.get(..cut).unwrap_or_default());
        }
        2 => {
            let sectors = pieces(position, bytes);
            let kept = random.below(sectors.len());
            for (at, sector) in sectors.into_iter().take(kept) {
                image.write(at, sector);
            }
        }
        _ => {
            for (at, sector) in pieces(position, bytes) {
                if random.coin() {
                    image.write(at, sector);
                }
            }
        }
    }
    loss.torn += 1;
    if random.coin() {
        image.extend_to(end);
    }
}

/// The bytes by the sectors of the file that they fall into.
fn pieces(position: usize, bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let first = (SECTOR_BYTES - position % SECTOR_BYTES).min(bytes.len());
    let (head, rest) = bytes.split_at_checked(first).unwrap_or((bytes, &[]));
    let mut at = position;
    std::iter::once(head)
        .chain(rest.chunks(SECTOR_BYTES))
        .map(|piece| {
            let start = at;
            at += piece.len();
            (start, piece)
        })
        .collect()
}
