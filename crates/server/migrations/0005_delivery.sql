-- The MLS group of a room's call: the epoch it is in, and what newcomers need of it.
CREATE TABLE mls_groups (
    call    BLOB    NOT NULL PRIMARY KEY,
    room    BLOB    NOT NULL REFERENCES rooms (room),
    suite   INTEGER NOT NULL,
    epoch   INTEGER NOT NULL,
    info    BLOB    NOT NULL,
    -- How many nodes its ratchet tree has, blank ones among them.
    length  INTEGER NOT NULL,
    -- The oldest epoch whose commit is kept.
    oldest  INTEGER NOT NULL,
    -- The device that began it, and SHA-256 of what it began it with: it may ask again.
    creator BLOB    NOT NULL,
    hash    BLOB    NOT NULL,
    -- When somebody last had to do with it.
    used    INTEGER NOT NULL
);
CREATE INDEX mls_groups_by_room ON mls_groups (room);
CREATE INDEX mls_groups_by_use ON mls_groups (used);

-- The nodes of its ratchet tree that are not blank.
CREATE TABLE mls_nodes (
    call  BLOB    NOT NULL REFERENCES mls_groups (call) ON DELETE CASCADE,
    place INTEGER NOT NULL,
    node  BLOB    NOT NULL,
    PRIMARY KEY (call, place)
);

-- The commit that ended each epoch: one, whoever else brought another (rule RLY-6).
CREATE TABLE mls_commits (
    call   BLOB    NOT NULL REFERENCES mls_groups (call) ON DELETE CASCADE,
    epoch  INTEGER NOT NULL,
    -- Who brought it, and its SHA-256: whoever did not get the answer may bring it again.
    device BLOB    NOT NULL,
    hash   BLOB    NOT NULL,
    message BLOB   NOT NULL,
    PRIMARY KEY (call, epoch)
);

-- Welcomes, each for one device or several, that came with a commit.
CREATE TABLE mls_welcomes (
    call    BLOB    NOT NULL REFERENCES mls_groups (call) ON DELETE CASCADE,
    epoch   INTEGER NOT NULL,
    number  INTEGER NOT NULL,
    welcome BLOB    NOT NULL,
    PRIMARY KEY (call, epoch, number)
);

-- For whom they are, as long as that device has not shown that it has its own.
CREATE TABLE mls_welcomed (
    call   BLOB    NOT NULL,
    device BLOB    NOT NULL,
    user   TEXT    NOT NULL,
    epoch  INTEGER NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (call, device),
    FOREIGN KEY (call, epoch, number) REFERENCES mls_welcomes (call, epoch, number) ON DELETE CASCADE
);
CREATE INDEX mls_welcomed_by_welcome ON mls_welcomed (call, epoch, number);

-- Key packages of devices. They go with the device's token. One that was handed out leaves its hash until it would be good no
-- more, so that it is not taken again.
CREATE TABLE key_packages (
    id          INTEGER NOT NULL PRIMARY KEY,
    token       BLOB    NOT NULL REFERENCES tokens (hash) ON DELETE CASCADE,
    suite       INTEGER NOT NULL,
    last_resort INTEGER NOT NULL,
    hash        BLOB    NOT NULL,
    package     BLOB,
    expires     INTEGER NOT NULL,
    UNIQUE (token, hash)
);
CREATE INDEX key_packages_by_suite ON key_packages (token, suite, last_resort, expires);
CREATE INDEX key_packages_by_time ON key_packages (expires);
