-- The revision of the last event of each command, for the commands of streams that have a snapshot.
-- `stream` is a hash of the stream's name.
CREATE TABLE IF NOT EXISTS commands (
    stream INTEGER NOT NULL,
    command_id BLOB NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (stream, command_id)
) WITHOUT ROWID;

-- One row: the id of this index, and of the log that it belongs to.
CREATE TABLE IF NOT EXISTS identity (index_id BLOB NOT NULL, store_id BLOB NOT NULL);
