-- In which epoch of the key directory each list was published, 0 for none yet. What the directory does not have is published at
-- the next start, in the order of its versions: also what it had once, if an older copy of it was put in its place.
ALTER TABLE device_lists ADD COLUMN published INTEGER NOT NULL DEFAULT 0;
CREATE INDEX device_lists_by_epoch ON device_lists (published);
