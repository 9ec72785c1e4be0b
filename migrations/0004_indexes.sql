-- The indexes that topics are to have. What is built of them is in the datasets.

CREATE TABLE indexes (
    topic        TEXT NOT NULL REFERENCES topics (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    id           TEXT NOT NULL,
    kind         TEXT NOT NULL,
    -- JSON: the paths of the columns, under the schema version that follows.
    columns      TEXT NOT NULL,
    schema       INTEGER,
    -- JSON: the parameters that were given.
    params       TEXT NOT NULL,
    -- It is complete for the first time when it has the records before this offset.
    from_offset  INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    PRIMARY KEY (topic, name)
) STRICT, WITHOUT ROWID;
