-- Named positions of readers.

CREATE TABLE cursors (
    topic        TEXT NOT NULL REFERENCES topics (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    -- The epoch in which the position was set: a later one may have voided it.
    epoch        INTEGER NOT NULL,
    next_offset  INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    PRIMARY KEY (topic, name)
) STRICT, WITHOUT ROWID;
