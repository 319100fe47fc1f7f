-- What a group was in the epoch before its newest, and who ended that one: it can be given back, once.
ALTER TABLE mls_groups ADD COLUMN before_info BLOB;
ALTER TABLE mls_groups ADD COLUMN before_length INTEGER;
ALTER TABLE mls_groups ADD COLUMN before_by TEXT;

-- The nodes that its tree had then at the places that are different since; nothing where it was blank.
CREATE TABLE mls_nodes_before (
    call  BLOB    NOT NULL REFERENCES mls_groups (call) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    node  BLOB,
    PRIMARY KEY (call, place)
);
