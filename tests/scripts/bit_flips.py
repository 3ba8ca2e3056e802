"""Flips bits of stored events one at a time, and counts the commands that do not notice: run by bit-flips.sh."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time

BINARY, DATA_DIR, FLIPS = sys.argv[1], sys.argv[2], int(sys.argv[3])
SEED = int(sys.argv[4]) if sys.argv[4] else time.time_ns()
ROW = "SELECT position, stream_no, revision, id, CAST(type AS BLOB), CAST(data AS BLOB), CAST(metadata AS BLOB), recorded_at, checksum FROM events"


def stored(path):
    """Every event as SQLite reads it; None if SQLite cannot read the file."""
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as file:
            return file.execute(ROW + " ORDER BY position").fetchall()
    except sqlite3.DatabaseError:
        return None


def record_of(content, event):
    """Where an event stands in the file, from the lengths and types of its columns to its checksum."""
    text = event[3] + event[4] + event[5] + event[6]
    at = content.find(text)
    # Lengths, types, stream number and revision take about 16 bytes; the time takes 8 and the checksum 4.
    return range(at - 16, at + len(text) + 8 + 4) if at >= 0 else range(0)


def notices(directory, arguments):
    return subprocess.run([BINARY, *arguments, "--data-dir", directory], capture_output=True, timeout=120).returncode == 1


def main():
    print(f"seed {SEED}")
    draw = random.Random(SEED)
    content = open(f"{DATA_DIR}/events.db", "rb").read()
    events = stored(f"{DATA_DIR}/events.db")
    missed, flips = 0, 0
    while flips < FLIPS:
        event = draw.choice(events)
        # A long event continues on other pages.
        record = record_of(content, event)
        if not record:
            continue
        at, bit = draw.choice(record), draw.randrange(8)
        with tempfile.TemporaryDirectory() as work:
            copy = f"{work}/data"
            shutil.copytree(DATA_DIR, copy)
            damaged = bytearray(content)
            damaged[at] ^= 1 << bit
            with open(f"{copy}/events.db", "wb") as file:
                file.write(damaged)
            if stored(f"{copy}/events.db") == events:
                # The byte belongs to a cell that is no longer in use.
                continue
            flips += 1
            for arguments in (["audit", "verify"], ["backup", f"{work}/backups"], ["projections", "rebuild"]):
                if not notices(copy, arguments):
                    missed += 1
                    print(f"`{' '.join(arguments[:2])}` does not notice bit {bit} of byte {at} (position {event[0]}, "
                          f"byte {at - record[0]} of {len(record)})")
    print(f"{flips} flips, {missed} not noticed")
    sys.exit(missed > 0)


main()
