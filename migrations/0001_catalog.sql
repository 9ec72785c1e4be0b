-- What the service knows about its topics. Records are not here: they are in the log and in the datasets.
--
-- Times are microseconds since 1970-01-01T00:00:00Z, offsets count from 0, identities are hyphenated UUIDs, paths are bytes.

CREATE TABLE meta (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    -- The form of this file, raised by a change that an older server would misread.
    format  INTEGER NOT NULL,
    -- Whether the last server stopped in order. A new catalog has nothing to recover.
    clean   INTEGER NOT NULL,
    -- No record that the checkpoints know of has a later time: the next server's clock begins there at the earliest.
    newest  INTEGER NOT NULL
) STRICT;

INSERT INTO meta (one, format, clean, newest) VALUES (1, 1, 1, 0);

CREATE TABLE topics (
    id               TEXT PRIMARY KEY NOT NULL,
    name             TEXT NOT NULL,
    backend          TEXT NOT NULL,
    options          TEXT NOT NULL,
    storage_path     TEXT,
    dataset          BLOB,
    link             BLOB,
    declared_schema  TEXT,
    schema_mode      TEXT,
    -- The newest version in `schemas`, kept here so that a start need not read them all.
    schema_version   INTEGER,
    retention        TEXT NOT NULL,
    created_at       INTEGER NOT NULL,
    closed           INTEGER NOT NULL DEFAULT 0,
    earliest_offset  INTEGER NOT NULL DEFAULT 0,
    -- The offset past the last record of the dataset's synced head.
    next_offset      INTEGER NOT NULL DEFAULT 0,
    wide             TEXT NOT NULL DEFAULT '',
    -- A tombstone: the name is free, the folder is still to be removed.
    deleted          INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE UNIQUE INDEX topics_living_name ON topics (name) WHERE deleted = 0;

-- AUTOINCREMENT: a number is never given out again, not even when its topic is gone.
CREATE TABLE epochs (
    epoch         INTEGER PRIMARY KEY AUTOINCREMENT,
    topic         TEXT NOT NULL REFERENCES topics (id) ON DELETE CASCADE,
    start_offset  INTEGER NOT NULL
) STRICT;

CREATE INDEX epochs_topic ON epochs (topic);

CREATE TABLE schemas (
    topic        TEXT NOT NULL REFERENCES topics (id) ON DELETE CASCADE,
    version      INTEGER NOT NULL,
    fields       TEXT NOT NULL,
    fingerprint  TEXT NOT NULL,
    cause        TEXT NOT NULL,
    changes      TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    UNIQUE (topic, version)
) STRICT;

CREATE TABLE producers (
    topic      TEXT NOT NULL REFERENCES topics (id) ON DELETE CASCADE,
    producer   TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    last_seq   INTEGER NOT NULL,
    -- The answers to the last requests, oldest first: [[first offset, count, schema version or null], …].
    receipts   TEXT NOT NULL,
    last_used  INTEGER NOT NULL,
    PRIMARY KEY (topic, producer)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
    topic           TEXT NOT NULL REFERENCES topics (id) ON DELETE CASCADE,
    key             TEXT NOT NULL,
    body_hash       BLOB NOT NULL,
    first_offset    INTEGER NOT NULL,
    count           INTEGER NOT NULL,
    schema_version  INTEGER,
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (topic, key)
) STRICT, WITHOUT ROWID;
