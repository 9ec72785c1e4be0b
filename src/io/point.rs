//! Named points between two steps that must be safe to be cut short between.
//!
//! A test that sets `PERSISTING_KILL_AT` to the name of one ends the process there as a crash does, by SIGKILL, the first
//! time that it is passed. Builds without debug assertions have none of this.

/// Every point: what is done, and the step that has just been done.
pub const POINTS: &[(&str, &str)] = &[
    // A commit to a dataset: of rows, of changed columns, of a merge, of a retention.
    ("append", "written"),
    ("append", "synced"),
    ("append", "put"),
    ("append", "committed"),
    ("evolve", "stored"),
    ("evolve", "written"),
    ("evolve", "synced"),
    ("evolve", "put"),
    ("evolve", "committed"),
    ("compact", "written"),
    ("compact", "synced"),
    ("compact", "put"),
    ("compact", "committed"),
    ("retention", "stored"),
    ("retention", "synced"),
    ("retention", "put"),
    ("retention", "committed"),
    // The removal of old versions and of what a crash has left.
    ("clean-up", "begun"),
    ("clean-up", "removed"),
    ("clean-up", "swept"),
    // A tag.
    ("tag", "renamed"),
    ("tag", "synced"),
    // A fork.
    ("fork", "begun"),
    ("fork", "linked"),
    ("fork", "synced"),
    ("fork", "put"),
    ("fork", "committed"),
    ("fork", "stored"),
    // An index: it is defined, a segment of it is built, brought up to date or removed.
    ("index", "stored"),
    ("index", "written"),
    ("index", "synced"),
    ("index", "put"),
    ("index", "committed"),
    // The deletion of a topic.
    ("delete", "buried"),
    ("delete", "unlinked"),
    ("delete", "removed"),
];

/// A step was done: ends the process where a test wants that.
pub fn passed(what: &str, step: &str) {
    if cfg!(debug_assertions) {
        end(what, step);
    }
}

fn end(what: &str, step: &str) {
    static WANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let wanted = WANTED.get_or_init(|| std::env::var("PERSISTING_KILL_AT").ok());
    let is_here = || wanted.as_deref().and_then(|name| name.split_once('/')) == Some((what, step));
    if wanted.is_some() && is_here() {
        // It cannot be caught, so nothing of what follows is done.
        match rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL) {
            Ok(()) => loop {
                std::thread::park();
            },
            Err(_) => std::process::abort(),
        }
    }
}
