-- What becomes of records that do not fit: `reject` or `quarantine`.
ALTER TABLE topics ADD COLUMN on_invalid TEXT NOT NULL DEFAULT 'reject';

-- How many records of the request went to the quarantine. In `producers` an answer has a fourth number then.
ALTER TABLE idempotency_keys ADD COLUMN quarantined INTEGER NOT NULL DEFAULT 0;
