//! The layout is what it says it is: who may import whom, where each heavy dependency lives, how long a file may be.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The parts, from the top down: a part imports only from rows below its own.
const ROWS: [&[&str]; 15] = [
    &["cli"],
    &["server"],
    &["http"],
    &["sql"],
    &["engine"],
    &["search"],
    &["topic"],
    &["backend"],
    &["wal", "tail", "table", "catalog"],
    &["filter"],
    &["codec"],
    &["schema"],
    &["bench"],
    &["io", "runtime", "metrics", "config"],
    &["model"],
];

/// Who imports from its own row or above all the same, and why.
const UPWARDS: [(&str, &str, &str); 0] = [];

/// What each heavy dependency is used in, by the start of paths.
const HOMES: [(&str, &[&str]); 10] = [
    ("axum", &["src/http/"]),
    ("hyper", &["src/http/", "src/bench/client.rs", "src/bench/subscriber.rs"]),
    ("hyper_util", &["src/http/", "src/bench/client.rs"]),
    ("tower", &["src/http/"]),
    ("tower_http", &["src/http/"]),
    ("sqlx", &["src/catalog/"]),
    ("lance", &["src/table/lance/", "src/search/"]),
    ("datafusion", &["src/filter/", "src/sql/", "src/table/lance/"]),
    ("prometheus", &["src/metrics/"]),
    ("clap", &["src/cli/", "src/config/", "src/bench/options.rs", "src/bench/testing.rs"]),
];

/// What changes files, and goes through the seam of `io`, which tests can make fail.
const WRITES: [&str; 14] = [
    "fs::write(",
    "fs::rename(",
    "fs::remove_file(",
    "fs::remove_dir(",
    "fs::remove_dir_all(",
    "fs::create_dir(",
    "fs::create_dir_all(",
    "fs::copy(",
    "fs::hard_link(",
    "fs::set_permissions(",
    "unix::fs::symlink(",
    "File::create(",
    "OpenOptions::new(",
    ".sync_all(",
];

/// Who does so all the same, and why.
const WRITERS: [(&str, &str); 6] = [
    ("src/io/", "the seam itself"),
    ("src/bench/disk.rs", "measures the disk itself, with files of its own"),
    ("src/bench/report.rs", "writes the file of --json"),
    ("src/catalog/open.rs", "syncs the folder of a file that SQLite writes by itself"),
    ("src/table/lance/open.rs", "notes what is durable already: a note that is lost costs a second look"),
    ("src/table/lance/place.rs", "removes the folder of a deleted topic, which Lance has written by itself"),
];

const LINES_MAX: usize = 400;

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    assert!(found.len() > 100, "the sources are found");
    found
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("tests.rs")
}

/// The code of a file, without comments and what only tests have.
fn code(text: &str) -> String {
    let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    own.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn row(part: &str) -> Option<usize> {
    ROWS.iter().position(|row| row.contains(&part))
}

fn part(path: &str) -> Option<&str> {
    let name = path.strip_prefix("src/")?.split('/').next()?;
    Some(name.strip_suffix(".rs").unwrap_or(name)).filter(|part| !["main", "allocator", "lib"].contains(part))
}

/// The words that follow `before` in a text.
fn words_after<'t>(text: &'t str, before: &'t str) -> impl Iterator<Item = &'t str> {
    text.split(before).skip(1).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

#[test]
fn every_part_has_a_row() {
    let parts: BTreeSet<String> = sources().iter().filter_map(|(path, _)| part(path).map(str::to_owned)).collect();
    let rows: BTreeSet<String> = ROWS.concat().iter().map(|part| (*part).to_owned()).collect();
    assert_eq!(parts, rows);
}

#[test]
fn a_part_imports_only_from_rows_below_its_own() {
    let mut unused: BTreeSet<(&str, &str)> = UPWARDS.iter().map(|(path, other, _)| (*path, *other)).collect();
    for (path, text) in sources() {
        assert!(!text.contains("use crate::{"), "{path}: one part an import, so that this test can read them");
        let Some(own) = part(&path) else { continue };
        for other in words_after(&code(&text), "crate::") {
            let Some(below) = row(other) else { continue };
            let allowed = UPWARDS.iter().any(|(file, upward, _)| *file == path && *upward == other);
            assert!(other == own || below > row(own).unwrap() || allowed, "{path} imports from {other}");
            unused.retain(|exception| *exception != (path.as_str(), other));
        }
    }
    assert!(unused.is_empty(), "exceptions that nobody needs: {unused:?}");
}

#[test]
fn each_heavy_dependency_has_one_home() {
    for (path, text) in sources() {
        let text = code(&text);
        for (name, homes) in HOMES {
            let used = text.lines().any(|line| {
                words_before(line, "::").any(|word| word == name || (name == "lance" && word.starts_with("lance_")))
            });
            assert!(!used || homes.iter().any(|home| path.starts_with(home)), "{path} uses {name}");
        }
    }
}

/// The words that stand before `after`, where they begin a path.
fn words_before<'t>(line: &'t str, after: &'t str) -> impl Iterator<Item = &'t str> {
    line.match_indices(after).filter_map(move |(at, _)| {
        let before = &line[..at];
        let begin =
            before.rfind(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').map_or(0, |at| at + 1);
        Some(&before[begin..]).filter(|word| !word.is_empty() && !before[..begin].ends_with("::"))
    })
}

#[test]
fn files_are_written_through_the_seam() {
    for (path, text) in sources().iter().filter(|(path, _)| !is_test(path)) {
        let text = code(text);
        for write in WRITES {
            let exempt = WRITERS.iter().any(|(home, _)| path.starts_with(home));
            assert!(exempt || !text.contains(write), "{path} calls {write}");
        }
    }
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{path} has {lines} lines, more than {LINES_MAX}");
    }
}

#[test]
fn every_file_and_test_that_the_architecture_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let named = text.split('`').skip(1).step_by(2).filter(|word| {
        ["src/", "tests/", "tools/", "examples/", "migrations/"].iter().any(|folder| word.starts_with(folder))
    });
    let mut tests = 0;
    for word in named {
        let (path, test) = word.split_once("::").map_or((word, None), |(path, test)| (path, Some(test)));
        assert!(root.join(path).exists(), "{path} is not there");
        if let Some(test) = test {
            let code = fs::read_to_string(root.join(path)).unwrap();
            assert!(code.contains(&format!("fn {test}(")), "{path} has no test {test}");
            tests += 1;
        }
    }
    assert!(tests > 50, "only {tests} tests are named");
}

#[test]
fn every_invariant_of_the_architecture_names_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let section = text.split("\n## ").find(|section| section.starts_with("Invariants\n")).unwrap();
    let mut invariants: Vec<String> = Vec::new();
    for line in section.lines() {
        let begins = line.trim_start().split_once(". ").is_some_and(|(number, _)| number.parse::<u32>().is_ok());
        match invariants.last_mut() {
            Some(last) if !begins => last.push_str(line),
            _ if begins => invariants.push(line.to_owned()),
            _ => {}
        }
    }
    let bare: Vec<&String> = invariants.iter().filter(|text| !text.contains(".rs")).collect();
    assert!(invariants.len() > 50 && bare.is_empty(), "without a test: {bare:#?}");
}
