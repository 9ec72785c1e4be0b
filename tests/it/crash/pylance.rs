//! What other tools see: pylance opens the dataset where it lies.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::client::Checked;
use super::random::Random;
use super::world::{Load, Topic, count};
use super::{keepers, values};

/// Values that are compared one by one; offsets are looked at all.
const SAMPLE: usize = 1_500;

/// The interpreter that has pylance; none where there is none.
pub fn interpreter() -> Option<String> {
    let given = std::env::var("PERSISTING_PYLANCE").ok().filter(|given| !given.is_empty());
    if given.is_none() {
        println!("PERSISTING_PYLANCE is not set to an interpreter with pylance: datasets are not checked from outside");
    }
    given
}

/// Flushes a topic and has its dataset checked.
pub async fn check(topic: &Topic, load: &Load, data: &Path, python: &str, random: &mut Random) -> Checked {
    if topic.ledger.lock().life.is_none() {
        return Ok(());
    }
    keepers::flush(topic, load).await?;
    let expected = data.with_file_name("expected.json");
    let told = {
        let ledger = topic.ledger.lock();
        let Some(life) = &ledger.life else { return Ok(()) };
        if life.tail == 0 {
            return Ok(());
        }
        let (earliest, tail) = (life.earliest.0, life.tail);
        let mut sample: Vec<u64> = (0..SAMPLE).map(|_| earliest + random.below((tail - earliest).max(1))).collect();
        sample.extend(tail.saturating_sub(200).max(earliest)..tail);
        sample.sort_unstable();
        sample.dedup();
        let records: Vec<Value> = sample
            .iter()
            .filter_map(|offset| Some((offset, serde_json::from_str::<Value>(life.seen.get(offset)?).ok()?)))
            .map(|(offset, record)| json!([offset, record["timestamp"], values::plain(&record["value"])]))
            .collect();
        json!({"dataset": data.join("topics").join(format!("{}.lance", topic.name)), "earliest": earliest,
               "tail": tail, "records": records})
    };
    std::fs::write(&expected, told.to_string()).map_err(|err| format!("{}: {err}", expected.display()))?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/crash/check.py");
    let (python, argument) = (python.to_owned(), expected.clone());
    let ran = tokio::task::spawn_blocking(move || Command::new(python).arg(script).arg(argument).output()).await;
    let output = ran.map_err(|err| err.to_string())?.map_err(|err| format!("PERSISTING_PYLANCE: {err}"))?;
    count(&load.counters.pylance);
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "topic {}: pylance sees something else:\n{said}{}",
        topic.name,
        String::from_utf8_lossy(&output.stdout)
    ))
}
