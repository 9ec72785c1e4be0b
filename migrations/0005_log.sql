-- How far the write-ahead log has come: a start whose log has less is refused. NULL where nobody has noted it yet.

-- The log position before which everything may be gone.
ALTER TABLE meta ADD COLUMN log_released INTEGER;
-- The log position before which everything was durable.
ALTER TABLE meta ADD COLUMN log_end INTEGER;
