-- The key that shows that the recovery key is at hand (rule ID-6). Accounts that were made before this have none.
ALTER TABLE accounts ADD COLUMN recovery BLOB;

-- Devices that were revoked a short while ago: a relay that starts is told, for as long as there may be grants of theirs.
CREATE TABLE revoked_devices (
    device BLOB    NOT NULL,
    user   TEXT    NOT NULL REFERENCES accounts (user),
    at     INTEGER NOT NULL,
    PRIMARY KEY (device, user)
);
CREATE INDEX revoked_devices_by_time ON revoked_devices (at);

-- Tokens of the operator's by which an account may begin anew (rule ID-7), by their SHA-256: one for an account.
CREATE TABLE anew_tokens (
    hash    BLOB    NOT NULL PRIMARY KEY,
    user    TEXT    NOT NULL UNIQUE REFERENCES accounts (user),
    created INTEGER NOT NULL
);

-- Accounts that are announced to begin anew: what takes the place of the account's own when the time has come.
CREATE TABLE anew_waiting (
    user          TEXT    NOT NULL PRIMARY KEY REFERENCES accounts (user),
    -- The announcement among the user's lists.
    version       INTEGER NOT NULL,
    -- The token that was used up.
    token         BLOB    NOT NULL,
    opaque        BLOB    NOT NULL,
    by_passphrase BLOB    NOT NULL,
    by_recovery   BLOB    NOT NULL,
    recovery      BLOB    NOT NULL,
    -- When it takes effect; not known before the announcement is published.
    effective     INTEGER
);
