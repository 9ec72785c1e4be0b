//! What was done, in words.

use persisting::codec::Body;
use persisting::model::Problem;

use super::ops::{Answer, Op};

pub fn of_op(op: &Op) -> String {
    match op {
        Op::Create(name, ask) => {
            format!("create {name} {:?} {:?} {:?}", ask.backend, ask.backend_options, ask.storage_path)
        }
        Op::Delete(name) => format!("delete {name}"),
        Op::Append(name, number, ask) => {
            let Body::Text { text, .. } = &ask.body else { return "rows".to_owned() };
            let body = String::from_utf8_lossy(&text[..text.len().min(60)]).replace('\n', " ");
            let (ack, close, writer) = (ask.ack, ask.close, &ask.writer);
            format!("append {name} #{number} {ack:?} close={close} {writer:?} {body}")
        }
        Op::Load(name, number, body, _, ack) => format!("load {name} #{number} {ack:?} {} bytes", body.len()),
        Op::Flush(name, before) => format!("flush {name} {before}"),
        Op::Trim(name, before) => format!("trim {name} {before}"),
        Op::Close(name) => format!("close {name}"),
        Op::Tag(name, tag) => format!("tag {name} {tag}"),
        Op::Fork(from, name, at) => format!("fork {from} to {name} at {at:?}"),
    }
}

pub fn of_answer(answer: Option<&Answer>) -> String {
    let refused = |problem: &Problem| format!("{} ({})", problem.code.as_str(), problem.detail);
    match answer {
        None => "?".to_owned(),
        Some(Answer::Created(Ok((made, new)))) => format!("topic {} epoch {} new={new}", made.id, made.epoch),
        Some(Answer::Deleted(Ok(()))) => "done".to_owned(),
        Some(Answer::Appended(Ok(receipt))) => {
            let (first, last, level) = (receipt.first_offset, receipt.last_offset, receipt.durability);
            format!("{first} to {last} {level} duplicate={}", receipt.duplicate)
        }
        Some(Answer::Flushed(Ok(flushed))) => format!("{:?} {:?}", flushed.committed_offset, flushed.version),
        Some(Answer::Trimmed(Ok(offset)) | Answer::Closed(Ok(offset))) => offset.to_string(),
        Some(Answer::Tagged(Ok(tag))) => format!("version {} up to {}", tag.about.version, tag.about.next),
        Some(Answer::Created(Err(problem)) | Answer::Tagged(Err(problem))) => refused(problem),
        Some(Answer::Deleted(Err(problem))) => refused(problem),
        Some(Answer::Appended(Err(problem))) => refused(problem),
        Some(Answer::Flushed(Err(problem))) => refused(problem),
        Some(Answer::Trimmed(Err(problem)) | Answer::Closed(Err(problem))) => refused(problem),
    }
}
