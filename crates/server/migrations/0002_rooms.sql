-- Every version of every room's access list, as its signer signed it.
CREATE TABLE room_access (
    room    BLOB    NOT NULL,
    version INTEGER NOT NULL,
    access  BLOB    NOT NULL,
    PRIMARY KEY (room, version)
);

-- What the newest version says: who made the room and who may come in.
CREATE TABLE rooms (
    room    BLOB    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    creator TEXT    NOT NULL REFERENCES accounts (user),
    closed  INTEGER NOT NULL,
    -- The call that members are in or may find each other in, and when a grant for it was last signed.
    call    BLOB,
    granted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX rooms_by_creator ON rooms (creator);

CREATE TABLE room_members (
    user TEXT NOT NULL,
    room BLOB NOT NULL REFERENCES rooms (room),
    PRIMARY KEY (user, room)
);
CREATE INDEX room_members_by_room ON room_members (room);
