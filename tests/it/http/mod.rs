//! The HTTP contract, sentence by sentence, as a stranger tests it.

mod acks;
mod append;
mod arrow;
mod bodies;
mod columns;
mod compression;
mod cursors;
mod evolve;
mod export;
mod faults;
mod filter;
mod forks;
mod hostile_filters;
mod indexes;
mod lacking;
mod load;
mod manners;
mod metrics;
mod origins;
mod outcomes;
mod patch;
mod phases;
mod quarantine;
mod races;
mod read;
mod refusals;
mod registry;
mod registry_times;
mod resume;
mod retention;
mod room;
mod schema_version;
mod search;
mod short;
mod sql;
mod sql_limits;
mod stream;
mod topics;
mod travel;
mod travel_stream;
mod upkeep;
mod writers;

/// All backends that the service brings.
pub const BACKENDS: [&str; 3] = ["memory", "lance", "persisting"];
