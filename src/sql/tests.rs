//! Queries over topics, without HTTP.
