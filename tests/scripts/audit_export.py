#!/usr/bin/env python3
"""Reads an export of `orderly audit export` again, and checks every figure of its manifest.

usage: audit_export.py DIRECTORY
"""

import csv
import hashlib
import json
import sys
from collections import defaultdict
from pathlib import Path

# The largest event has 1,000,000 bytes of data.
csv.field_size_limit(1 << 24)


def rows(path):
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)
    else:
        with path.open(encoding="utf-8") as file:
            yield from (json.loads(line) for line in file)


def group(name, row):
    """The group of a row, and its figures besides the number of rows."""
    if name == "events":
        return row["event_type"], "events", []
    if name == "stock_ledger":
        return "all", "rows", ["on_hand_change", "reserved_change"]
    money = ["captured", "refunded", "disputed"]
    columns = ["total", "owed", "amount_due"] if name == "orders" else ["amount", "authorized"]
    return row["currency"] or "", "rows", columns + money


def check_file(path, entry):
    content = path.read_bytes()
    found = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "rows": 0}
    sums = defaultdict(lambda: defaultdict(int))
    levels = {}
    for row in rows(path):
        found["rows"] += 1
        name, count, columns = group(path.stem, row)
        sums[name][count] += 1
        for column in columns:
            sums[name][column] += int(row[column])
        if path.stem == "stock_ledger":
            after = (int(row["on_hand"]), int(row["reserved"]))
            change = (int(row["on_hand_change"]), int(row["reserved_change"]))
            before = (after[0] - change[0], after[1] - change[1])
            if levels.setdefault(row["sku"], before) != before:
                sys.exit(f"{path.name}: the levels of {row['sku']} jump at revision {row['revision']}")
            levels[row["sku"]] = after
    found["sums"] = {name: dict(columns) for name, columns in sums.items()}
    for figure, value in found.items():
        if entry[figure] != value:
            sys.exit(f"{path.name}: {figure} is {value}, and the manifest says {entry[figure]}")
    return found["rows"]


def main():
    directory = Path(sys.argv[1])
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    listed = {entry["name"] for entry in manifest["files"]}
    present = {path.name for path in directory.iterdir()} - {"manifest.json"}
    if listed != present:
        sys.exit(f"the manifest lists {sorted(listed)}, and there are {sorted(present)}")
    for entry in manifest["files"]:
        print(entry["name"], check_file(directory / entry["name"], entry), "rows")


if __name__ == "__main__":
    main()
