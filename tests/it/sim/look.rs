//! Looks at what is served.

use std::sync::Arc;

use persisting::model::{ErrorCode, TopicName};

use super::check::{Look, When};
use super::life::PATIENCE;
use super::model::Known;
use super::ops::{Answer, Op, Way, observe};
use super::world::World;

impl World {
    /// Looks at every topic.
    pub fn look_at_all(&mut self, when: When) -> Result<(), String> {
        for at in 0..self.slots.len() {
            self.look_at(at, when).map_err(|broken| format!("{}: {broken}", self.slots[at].name))?;
        }
        self.look_at_list()
    }

    fn look_at_list(&mut self) -> Result<(), String> {
        let Some(life) = &self.life else { return Ok(()) };
        let listed = || life.block_on(life.engine.list("", None, 100));
        // Topics are opened for it, which a fault that was planned can keep from going well.
        let list = listed().or_else(|_| {
            self.clear_faults();
            listed()
        });
        if self.has_crashed() {
            return Ok(());
        }
        let list = list.map_err(|problem| format!("there is no list: {problem:?}"))?;
        let expected: Vec<&TopicName> =
            self.slots.iter().filter(|slot| slot.topic.is_some()).map(|slot| &slot.name).collect();
        // A quarantine comes and goes with its topic.
        let listed = list.topics.iter().map(|topic| &topic.topic);
        let names: Vec<&TopicName> = listed.filter(|name| name.quarantined().is_none()).collect();
        if names != expected {
            return Err(format!("the list is {names:?} instead of {expected:?}"));
        }
        Ok(())
    }

    /// Looks at a topic; what is hidden until it is committed, after a flush.
    pub fn look_at(&mut self, at: usize, when: When) -> Result<(), String> {
        let hides = self.slots[at].topic.as_ref().is_some_and(|topic| topic.kind.hides_uncommitted());
        self.observe(at, Look { when, first: true, all: !hides, log_acks: self.log_acks })?;
        let Some(topic) = self.slots[at].topic.as_ref().filter(|_| hides) else { return Ok(()) };
        let flush = Op::Flush(topic.name.clone(), topic.tail());
        let Some(life) = &self.life else { return Ok(()) };
        let answer = life.block_on(async { tokio::time::timeout(PATIENCE, flush.clone().ask(&life.engine)).await });
        let answer = answer.map_err(|_| "a flush is not answered".to_owned())?;
        let flushed = matches!(answer, Answer::Flushed(Ok(_)));
        self.learn(&flush, Some(answer))?;
        if flushed && !self.has_crashed() {
            self.observe(at, Look { when, first: false, all: true, log_acks: self.log_acks })?;
        }
        Ok(())
    }

    fn observe(&mut self, at: usize, look: Look) -> Result<(), String> {
        self.figures.looks += 1;
        let way = match self.random.below(3) {
            0 => Way::Pages(1 + self.random.below(7) as u64),
            1 => Way::All,
            _ => Way::Stream,
        };
        let name = self.slots[at].name.clone();
        for attempt in 0.. {
            let Some(life) = &self.life else { return Ok(()) };
            let engine = Arc::clone(&life.engine);
            let seen = life.block_on(async {
                let topic = engine.topic(&name).await?;
                observe(&engine, &topic, way).await
            });
            let slot = &mut self.slots[at];
            match (seen, &mut slot.topic) {
                (Ok(seen), None) => return Err(format!("it is there, topic {}, though nobody has made it", seen.id)),
                (Ok(seen), Some(topic)) => {
                    if slot.buried.contains(&seen.id) {
                        return Err(format!("it is topic {} again, which was deleted", seen.id));
                    }
                    // A deletion may still be under way.
                    if look.when != When::Running {
                        topic.exists = Known::Yes;
                    }
                    return topic.check(seen, look);
                }
                (Err(problem), topic) if problem.code == ErrorCode::TopicNotFound => {
                    if topic.as_ref().is_some_and(|topic| topic.exists == Known::Yes) {
                        return Err("it is gone, though nobody has deleted it".to_owned());
                    }
                    slot.buried.extend(topic.take().and_then(|topic| topic.id));
                    return Ok(());
                }
                (Err(problem), _) if attempt == 4 => return Err(format!("it cannot be read: {problem:?}")),
                // A fault that was planned; the next try may meet another one.
                (Err(problem), _) => {
                    self.note(format!("    {name} cannot be read: {}", problem.code.as_str()));
                    if attempt == 2 {
                        self.clear_faults();
                    }
                    if self.has_crashed() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}
