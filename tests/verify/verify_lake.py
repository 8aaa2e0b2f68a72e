#!/usr/bin/env python3
"""Independent reader of a lake: DuckDB and PyArrow read what was published, csv and gzip read what landed.

  verify_lake.py year --lake LAKE --landing LANDING [--rows 336776]
  verify_lake.py demo --lake LAKE --report REPORT.jsonl

Exit 0 when everything holds, 1 with one line per fault, 2 when it cannot look at all.
"""
import argparse
import csv
import datetime
import gzip
import hashlib
import json
import pathlib
import sys

import duckdb
import pyarrow.parquet

PROVENANCE = ["_source_object", "_source_generation", "_source_row"]
OPERATIONAL = ["pipeline_run_id", "dataset_name", "processed_at_utc", "ingest_date", "replay_id"] + PROVENANCE
FLIGHTS = ("year month day dep_time sched_dep_time dep_delay arr_time sched_arr_time arr_delay carrier flight tailnum "
           "origin dest air_time distance hour minute time_hour").split()
TEXTS = {"carrier", "tailnum", "origin", "dest"}
SAMPLE = 97  # every 97th row of a file is compared value by value
faults = []


def fault(text):
    faults.append(text)


def finish():
    for text in faults[:50]:
        print(f"FAULT {text}")
    if len(faults) > 50:
        print(f"FAULT … and {len(faults) - 50} more")
    print("lake verified" if not faults else f"lake NOT verified: {len(faults)} faults")
    sys.exit(1 if faults else 0)


def open_table(lake, dataset):
    """A view over the plain glob, as any reader of the lake would write it."""
    folder = pathlib.Path(lake, "curated", dataset)
    files = sorted(folder.glob("**/*.parquet"))
    if not files:
        print(f"FAULT no Parquet file under {folder}")
        sys.exit(1)
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    glob = f"{folder}/**/*.parquet".replace("'", "''")
    db.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet('{glob}', hive_partitioning = true, union_by_name = true, filename = true)")
    present = {r[0] for r in db.execute("DESCRIBE t").fetchall()}
    missing = [c for c in OPERATIONAL if c not in present]
    if missing:
        fault(f"{dataset}: operational columns missing: {missing}")
    return db, files, present


def check_files(db, files):
    """Both readers agree, the glob sees exactly the published files, and nothing of a temporary file."""
    seen = {r[0] for r in db.execute("SELECT DISTINCT filename FROM t").fetchall()}
    for path in files:
        if any(part.startswith((".", "_")) or ".tmp" in part or part.endswith("#") for part in path.parts[-3:]):
            fault(f"a temporary file stands in the glob: {path}")
    empty = {str(p) for p in files if pyarrow.parquet.ParquetFile(p).metadata.num_rows == 0}
    if {str(p) for p in files} - seen - empty:
        fault(f"files of the glob that were not read: {sorted({str(p) for p in files} - seen - empty)[:3]}")
    by_arrow = sum(pyarrow.parquet.ParquetFile(p).metadata.num_rows for p in files)
    by_duckdb = db.execute("SELECT count(*) FROM t").fetchone()[0]
    if by_arrow != by_duckdb:
        fault(f"PyArrow counts {by_arrow} rows, DuckDB {by_duckdb}")
    return by_duckdb


def check_unique(db, present):
    if not set(PROVENANCE) <= present:
        return
    keys = ", ".join(PROVENANCE)
    for row in db.execute(f"SELECT {keys}, count(*) FROM t GROUP BY ALL HAVING count(*) > 1 LIMIT 5").fetchall():
        fault(f"published {row[3]} times: {row[:3]}")
    nulls = db.execute("SELECT count(*) FROM t WHERE " + " OR ".join(f"{c} IS NULL" for c in PROVENANCE)).fetchone()[0]
    if nulls:
        fault(f"{nulls} rows without provenance")
    several = db.execute("SELECT _source_object FROM t GROUP BY 1 HAVING count(DISTINCT _source_generation) > 1 LIMIT 5").fetchall()
    for (name,) in several:
        fault(f"rows of two generations at once: {name}")


def typed(column, text):
    if text in ("", "NA"):
        return None
    if column in TEXTS:
        return text
    if column == "time_hour":
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return int(text)


def plain(value):
    """Published values in the form of `typed`: timestamps in UTC without a zone."""
    if isinstance(value, datetime.datetime) and value.tzinfo:
        return value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    return value


def digest(values):
    h = hashlib.sha256()
    for value in values:
        h.update(repr(value).encode())
        h.update(b"\x1e")
    return h.hexdigest()


def source_of(name, landed):
    """The landed key that a `_source_object` URI ends with."""
    parts = name.split("/")
    for start in range(len(parts)):
        key = "/".join(parts[start:])
        if key in landed:
            return key
    return None


def verify_year(args):
    db, files, present = open_table(args.lake, "flights")
    rows = check_files(db, files)
    if rows != args.rows:
        fault(f"curated/flights holds {rows} rows, expected {args.rows}")
    check_unique(db, present)
    lacking = [c for c in FLIGHTS if c not in present]
    if lacking:
        fault(f"source columns missing: {lacking}")
    if lacking or not set(PROVENANCE) <= present:
        finish()
    root = pathlib.Path(args.landing)
    landed = {str(p.relative_to(root)): p for p in sorted(root.glob("**/flights/**/*.csv*"))}
    if not landed:
        fault(f"no landed flights under {root}")
    published = {}
    for (name,) in db.execute("SELECT DISTINCT _source_object FROM t").fetchall():
        key = source_of(name, landed)
        if key is None:
            fault(f"published rows name an object that never landed: {name}")
        elif key in published:
            fault(f"two names of one object: {name} and {published[key]}")
        else:
            published[key] = name
    columns = ", ".join(f'"{c}"' for c in FLIGHTS)
    rows_of = {}
    cursor = db.execute(f"SELECT _source_object, _source_row, {columns} FROM t ORDER BY _source_object, _source_row")
    while batch := cursor.fetchmany(50_000):
        for row in batch:
            rows_of.setdefault(row[0], []).append(row[1:])
    for key, path in landed.items():
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as f:
            reader = csv.DictReader(f)
            if reader.fieldnames != FLIGHTS:
                fault(f"{key}: landed header is not the expected one")
                continue
            expected = [[typed(c, r[c]) for c in FLIGHTS] for r in reader]
        got = rows_of.get(published.get(key), [])
        if len(got) != len(expected):
            fault(f"{key}: {len(got)} rows published, {len(expected)} landed")
            continue
        ids = [r[0] for r in got]
        if ids and ids != list(range(ids[0], ids[0] + len(ids))):
            fault(f"{key}: _source_row is not one run of row numbers")
        for i, column in enumerate(FLIGHTS):
            ours, theirs = [plain(r[i + 1]) for r in got], [r[i] for r in expected]
            if column not in TEXTS and column != "time_hour":
                if sum(v or 0 for v in ours) != sum(v or 0 for v in theirs):
                    fault(f"{key}: sum of {column} is {sum(v or 0 for v in ours)}, landed {sum(v or 0 for v in theirs)}")
            if digest(ours) != digest(theirs):
                at = next((n for n, (a, b) in enumerate(zip(ours, theirs)) if a != b), 0)
                fault(f"{key}: {column} differs from the landed file, first at row {at}: {ours[at]!r} instead of {theirs[at]!r}")
        for n in range(0, len(got), SAMPLE):
            if [plain(v) for v in got[n][1:]] != expected[n]:
                fault(f"{key}: row {n} differs: {got[n][1:]} instead of {expected[n]}")
    print(f"{rows} rows of {len(published)} objects in {len(files)} files, {len(landed)} landed files re-read")
    finish()


def verify_demo(args):
    lines = [json.loads(t) for t in pathlib.Path(args.report).read_text(encoding="utf-8").splitlines() if t.strip().startswith("{")]
    objects = [o for o in lines if "uri" in o and "status" in o]
    if not objects:
        print(f"FAULT no object in {args.report}")
        sys.exit(1)
    for o in objects:
        r = o["rows"]
        if o["status"] == "published" and r["in"] != r["published"] + r["quarantined"] + r["deduplicated"]:
            fault(f"{o['uri']}: rows in {r['in']} are not published + quarantined + deduplicated: {r}")
        if o["status"] != "published" and (r.get("published") or 0) != 0:
            fault(f"{o['uri']}: {o['status']}, yet {r['published']} rows published")
        if o["status"] == "quarantined" and not o.get("reason"):
            fault(f"{o['uri']}: quarantined without a reason")
    for dataset in sorted({o["dataset"] for o in objects if o["status"] == "published"}):
        db, files, present = open_table(args.lake, dataset)
        check_files(db, files)
        check_unique(db, present)
        if "_source_object" not in present:
            continue
        counts = dict(db.execute("SELECT _source_object, count(*) FROM t GROUP BY 1").fetchall())
        for o in (o for o in objects if o["dataset"] == dataset and o["status"] == "published"):
            tail = {n: c for n, c in counts.items() if n == o["uri"] or o["uri"].endswith("/" + n)}
            for name in tail:
                counts.pop(name)
            if sum(tail.values()) != o["rows"]["published"]:
                fault(f"{o['uri']}: {sum(tail.values())} rows in the lake, {o['rows']['published']} reported")
        for name, n in counts.items():
            fault(f"{dataset}: {n} rows of {name}, which the report does not call published")
    print(f"{len(objects)} objects of the report compared")
    finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_subparsers(dest="mode", required=True)
    year = modes.add_parser("year", help="the flights table against the landed files")
    year.add_argument("--lake", required=True)
    year.add_argument("--landing", required=True)
    year.add_argument("--rows", type=int, default=336_776)
    demo = modes.add_parser("demo", help="the demo's lake against its --json lines")
    demo.add_argument("--lake", required=True)
    demo.add_argument("--report", required=True)
    args = parser.parse_args()
    (verify_year if args.mode == "year" else verify_demo)(args)


if __name__ == "__main__":
    main()
