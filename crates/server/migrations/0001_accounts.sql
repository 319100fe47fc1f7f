CREATE TABLE accounts (
    user          TEXT    NOT NULL PRIMARY KEY,
    opaque        BLOB    NOT NULL,
    by_passphrase BLOB    NOT NULL,
    by_recovery   BLOB    NOT NULL,
    created       INTEGER NOT NULL
);

-- Every version of every device list: the history is what the directory will prove.
CREATE TABLE device_lists (
    user    TEXT    NOT NULL REFERENCES accounts (user),
    version INTEGER NOT NULL,
    list    BLOB    NOT NULL,
    PRIMARY KEY (user, version)
);

-- One token per device, by its SHA-256.
CREATE TABLE tokens (
    hash    BLOB    NOT NULL PRIMARY KEY,
    user    TEXT    NOT NULL REFERENCES accounts (user),
    device  BLOB    NOT NULL UNIQUE,
    created INTEGER NOT NULL
);

-- Invite tokens by their SHA-256; used ones are gone.
CREATE TABLE invites (
    hash    BLOB    NOT NULL PRIMARY KEY,
    created INTEGER NOT NULL
);
