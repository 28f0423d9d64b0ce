-- Streams, their keys, and their sessions.
--
-- Times are milliseconds since 1970-01-01T00:00:00Z, without leap seconds. Ids are lower-case base32 without i, l, o, u.
-- A migration that has been released is never edited: a new file follows it.

-- A channel that somebody owns. Lives for years.
CREATE TABLE streams (
    -- Public: it stands in playback URLs. 12 characters, random. Knowing it never helps to publish.
    id           TEXT    NOT NULL PRIMARY KEY,
    -- What people and the command line call it.
    name         TEXT    NOT NULL UNIQUE,
    -- What viewers read. May be empty.
    title        TEXT    NOT NULL,
    -- 0: publishing is refused.
    enabled      INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    -- The stream's own policies. NULL: the daemon's configuration decides.
    preset       TEXT,
    grace_ms     INTEGER CHECK (grace_ms BETWEEN 0 AND 1800000),
    on_unpublish TEXT    CHECK (on_unpublish IN ('hold', 'end')),
    conflict     TEXT    CHECK (conflict IN ('takeover', 'reject')),
    created_at   INTEGER NOT NULL
) STRICT;

-- Secrets that may publish to one stream. A revoked key's row stays: it tells when and that it was.
CREATE TABLE stream_keys (
    id           TEXT    NOT NULL PRIMARY KEY,
    stream_id    TEXT    NOT NULL REFERENCES streams (id) ON DELETE CASCADE,
    -- Who or what holds the key. May be empty.
    label        TEXT    NOT NULL,
    -- SHA-256 of the secret. The secret itself is nowhere. It has 160 random bits, so no salt and no slow hash is needed.
    secret_hash  BLOB    NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    created_at   INTEGER NOT NULL,
    -- From this moment on the key is refused. NULL: never.
    expires_at   INTEGER,
    revoked_at   INTEGER,
    -- When a publisher was last admitted with it, within a second or so.
    last_used_at INTEGER
) STRICT;

CREATE INDEX stream_keys_by_stream ON stream_keys (stream_id, created_at);

-- Broadcasts: from the first publish to the end, over reconnections and restarts.
CREATE TABLE sessions (
    -- 16 characters; sorts by the time of the first publish.
    id         TEXT    NOT NULL PRIMARY KEY,
    -- No foreign key: a session outlives its stream, because its stored objects do.
    stream_id  TEXT    NOT NULL,
    -- Part of every object name. Raised durably at each start of the daemon, so that no name is ever written twice.
    epoch      INTEGER NOT NULL CHECK (epoch BETWEEN 1 AND 4294967295),
    state      TEXT    NOT NULL CHECK (state IN ('starting', 'live', 'reconnecting', 'ended')),
    started_at INTEGER NOT NULL,
    -- When the state became what it is.
    changed_at INTEGER NOT NULL,
    ended_at   INTEGER CHECK ((ended_at IS NOT NULL) = (state = 'ended'))
) STRICT;

-- A stream has at most one session that has not ended.
CREATE UNIQUE INDEX sessions_open_by_stream ON sessions (stream_id) WHERE state <> 'ended';
