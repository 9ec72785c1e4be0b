//! A machine, the engine's lives on it, and one client.

use std::collections::HashSet;
use std::sync::Arc;

use futures::future::join_all;
use parking_lot::Mutex;
use persisting::io::fault::Random;
use persisting::model::{ErrorCode, TopicId, TopicName};
use persisting::wal::WalError;

use super::check::When;
use super::figures::Figures;
use super::life::{Datasets, Life, Machine, PATIENCE};
use super::model::{Known, TopicModel};
use super::ops::{Answer, Op};

/// Starts that may fail in a row before the disk is mended.
const FAULTY_STARTS: usize = 4;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Stop,
    StopThenPowerLoss,
    Kill,
    PowerLoss,
}

/// A name, and the topic that has it now.
pub struct Slot {
    pub name: TopicName,
    pub topic: Option<TopicModel>,
    /// Topics that had it.
    pub buried: HashSet<TopicId>,
}

pub struct World {
    pub machine: Machine,
    pub random: Random,
    pub life: Option<Life>,
    pub slots: Vec<Slot>,
    pub serials: u64,
    pub log_acks: u64,
    /// Power losses of the log's disk that the datasets have gone through too.
    pub losses_played: u64,
    pub log_failed: bool,
    pub trace: Vec<String>,
    pub figures: Figures,
}

impl World {
    pub fn note(&mut self, what: impl Into<String>) {
        self.trace.push(what.into());
    }

    pub fn is_real(&self) -> bool {
        matches!(self.machine.datasets, Datasets::Lance(_))
    }

    /// Whether the process has come to its end by itself.
    pub fn has_crashed(&self) -> bool {
        self.life.as_ref().is_none_or(|life| life.generation != self.machine.disk.generation())
    }

    pub fn clear_faults(&self) {
        self.machine.disk.clear_faults();
        self.machine.disk.set_capacity(None);
        match &self.machine.datasets {
            Datasets::Model(tables) => {
                tables.fail_appends(0);
                tables.fail_reads(0);
            }
            Datasets::Lance(disk) => disk.clear_faults(),
        }
    }

    /// Asks for several things at once. With `looks` nobody waits longer than so many looks at what goes on.
    pub fn ask(&mut self, ops: Vec<Op>, looks: Option<usize>) -> Result<(), String> {
        let Some(life) = &self.life else { return Err("no engine".to_owned()) };
        let engine = Arc::clone(&life.engine);
        let answers: Arc<Mutex<Vec<Option<Answer>>>> = Arc::new(Mutex::new(ops.iter().map(|_| None).collect()));
        let in_time = life.block_on(async {
            let asked = ops.iter().cloned().enumerate().map(|(at, op)| {
                let (engine, answers) = (&engine, &answers);
                async move {
                    let answer = op.ask(engine).await;
                    answers.lock()[at] = Some(answer);
                }
            });
            let all = tokio::time::timeout(PATIENCE, join_all(asked));
            tokio::select! {
                biased;
                done = all => done.is_ok(),
                () = some_looks(looks) => true,
            }
        });
        let answers = std::mem::take(&mut *answers.lock());
        let mut pairs: Vec<(Op, Option<Answer>)> = ops.into_iter().zip(answers).collect();
        if !in_time {
            let hung: Vec<&Op> = pairs.iter().filter(|(_, answer)| answer.is_none()).map(|(op, _)| op).collect();
            return Err(format!("no answer in {PATIENCE:?}: {hung:?}"));
        }
        // Whether the topic is there decides what the other answers mean.
        pairs.sort_by_key(|(op, _)| !matches!(op, Op::Create(..) | Op::Fork(..) | Op::Delete(_)));
        pairs.into_iter().try_for_each(|(op, answer)| self.learn(&op, answer))
    }

    pub fn learn(&mut self, op: &Op, answer: Option<Answer>) -> Result<(), String> {
        self.note(format!("    {} -> {}", super::trace::of_op(op), super::trace::of_answer(answer.as_ref())));
        if let Some(Answer::Appended(Err(problem)) | Answer::Flushed(Err(problem))) = &answer
            && problem.code == ErrorCode::LogFailed
        {
            self.figures.log_failures += u64::from(!self.log_failed);
            self.log_failed = true;
        }
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.name == *op.name()) else { return Ok(()) };
        let Some(topic) = slot.topic.as_mut() else { return Ok(()) };
        let figures = &mut self.figures;
        let outcome = match (op, answer) {
            (Op::Create(..), Some(Answer::Created(Ok((made, _))))) => {
                figures.creations += 1;
                topic.created(&made)
            }
            (Op::Fork(..), Some(Answer::Created(Ok((made, _))))) => {
                figures.forks += 1;
                topic.created(&made)
            }
            (Op::Fork(..), answer) => {
                topic.exists = Known::Maybe;
                expect_fault(answer)
            }
            (Op::Tag(_, tag), answer) => {
                let answer = match answer {
                    Some(Answer::Tagged(answer)) => Some(answer),
                    _ => None,
                };
                figures.tags += u64::from(matches!(answer, Some(Ok(_))));
                topic.tagged(tag, answer)
            }
            (Op::Create(..), answer) => {
                topic.exists = Known::Maybe;
                expect_fault(answer)
            }
            (Op::Delete(_), Some(Answer::Deleted(Ok(())))) => {
                figures.deletions += 1;
                slot.buried.extend(topic.id);
                slot.topic = None;
                return Ok(());
            }
            (Op::Delete(_), answer) => {
                topic.exists = Known::Maybe;
                expect_fault(answer)
            }
            (Op::Append(_, number, _) | Op::Load(_, number, ..), Some(Answer::Appended(answer))) => {
                figures.appends += 1;
                match &answer {
                    Ok(receipt) => {
                        figures.acknowledged += 1;
                        figures.duplicates += u64::from(receipt.duplicate);
                    }
                    Err(_) => figures.refused += 1,
                }
                topic.appended(*number, answer).map(|acknowledged| self.log_acks += u64::from(acknowledged))
            }
            (Op::Append(_, number, _) | Op::Load(_, number, ..), _) => {
                figures.open += 1;
                topic.unanswered(*number);
                Ok(())
            }
            (Op::Flush(_, before), Some(Answer::Flushed(Ok(flushed)))) => {
                figures.flushes += 1;
                topic.flushed(*before, flushed.committed_offset.map_or(0, |offset| offset.get()))
            }
            (Op::Trim(_, before), Some(Answer::Trimmed(Ok(earliest)))) => {
                figures.trims += 1;
                topic.trimmed(*before, earliest.get())
            }
            (Op::Close(_), Some(Answer::Closed(Ok(next)))) => {
                figures.closes += 1;
                topic.learn_closed(next.get())
            }
            _ => Ok(()),
        };
        outcome.map_err(|broken| format!("{}: {broken}", op.name()))
    }

    /// Ends this life and begins the next, then compares what is served with what was promised.
    pub fn restart(&mut self, end: End) -> Result<(), String> {
        let when = self.end(end)?;
        self.start()?;
        self.look_at_all(when)
    }

    fn end(&mut self, end: End) -> Result<When, String> {
        let Some(life) = self.life.take() else { return Err("no engine".to_owned()) };
        let had_crashed = life.generation != self.machine.disk.generation();
        let folder = self.machine.data_dir.clone();
        let when = match end {
            _ if had_crashed => {
                self.note("-- has crashed");
                life.end(&folder);
                When::AfterCrash
            }
            End::Stop | End::StopThenPowerLoss => {
                self.figures.stops += 1;
                let generation = life.generation;
                let report = life.stop(&folder);
                let in_order = report.unflushed_records == 0 && generation == self.machine.disk.generation();
                self.note(format!("-- {end:?}: {report:?}, in order: {in_order}"));
                match end {
                    End::StopThenPowerLoss => drop(self.machine.disk.power_loss()),
                    _ => self.machine.disk.kill(),
                }
                if in_order { When::AfterStop } else { When::AfterTrouble }
            }
            End::Kill | End::PowerLoss => {
                self.note(format!("-- {end:?}"));
                match end {
                    End::Kill => self.machine.disk.kill(),
                    _ => drop(self.machine.disk.power_loss()),
                }
                life.end(&folder);
                When::AfterCrash
            }
        };
        self.figures.kills += u64::from(when == When::AfterCrash);
        self.slots.iter_mut().filter_map(|slot| slot.topic.as_mut()).for_each(TopicModel::crash);
        self.log_failed = false;
        self.play_loss()?;
        Ok(when)
    }

    /// The datasets lose the power when the log's disk has.
    fn play_loss(&mut self) -> Result<(), String> {
        let losses = self.machine.disk.counters().power_losses;
        if losses == self.losses_played {
            return Ok(());
        }
        self.figures.power_losses += losses - self.losses_played;
        self.losses_played = losses;
        if let Datasets::Lance(disk) = &self.machine.datasets {
            let lost = disk.lose_power().map_err(|error| format!("the simulation failed: {error}"))?;
            self.note(format!("-- the power was lost: {lost:?}"));
            self.figures.files_lost += lost.files;
            self.figures.names_lost += lost.names;
            self.check_links()?;
        }
        Ok(())
    }

    /// A dataset that holds what was acknowledged can be found by others.
    fn check_links(&self) -> Result<(), String> {
        for topic in self.slots.iter().filter_map(|slot| slot.topic.as_ref()) {
            let (Some(link), Some(id), Known::Yes) = (&topic.link, topic.id, topic.exists) else { continue };
            let leads = std::fs::canonicalize(link).is_ok_and(|to| to.ends_with(format!("{id}.lance")));
            if topic.committed > topic.earliest && !leads {
                return Err(format!("{}: its symlink does not lead to its dataset", topic.name));
            }
        }
        Ok(())
    }

    /// Begins a life, however often that is cut off.
    pub fn start(&mut self) -> Result<(), String> {
        for attempt in 0.. {
            if attempt == FAULTY_STARTS {
                self.clear_faults();
            }
            match Life::start(&self.machine) {
                Ok(life) => {
                    self.life = Some(life);
                    self.note("-- started");
                    return Ok(());
                }
                Err(persisting::engine::StartError::Wal(WalError::Open { cause })) if attempt < 2 * FAULTY_STARTS => {
                    self.figures.failed_starts += 1;
                    self.note(format!("-- cannot start: {cause}"));
                }
                Err(error) => return Err(format!("the engine cannot start: {error}")),
            }
            if self.random.below(4) == 0 {
                self.machine.disk.power_loss();
            } else {
                self.machine.disk.kill();
            }
            self.play_loss()?;
        }
        Ok(())
    }
}

/// What is not answered with success was not done for sure, or may come to light; a client's fault it was not.
fn expect_fault(answer: Option<Answer>) -> Result<(), String> {
    match answer {
        Some(Answer::Created(Err(problem)) | Answer::Deleted(Err(problem))) if problem.code.status() < 500 => {
            Err(format!("refused: {problem:?}"))
        }
        _ => Ok(()),
    }
}

/// Ends after so many turns of everything else; never where there is no number.
async fn some_looks(looks: Option<usize>) {
    let Some(looks) = looks else { return std::future::pending().await };
    for _ in 0..looks {
        tokio::task::yield_now().await;
    }
}
