#!/usr/bin/env python3
"""Re-reads a lake with DuckDB and PyArrow, never with lakegate's own reader, and compares it with what landed.

  verify_lake.py year --lake LAKE --landing FOLDER --totals run.json
  verify_lake.py demo --lake LAKE --lines demo.jsonl
"""
import argparse
import csv
import datetime
import glob
import gzip
import json
import os
import sys
from collections import defaultdict

import duckdb
import pyarrow.parquet as pq


def fail(message):
    sys.exit(f"verify: {message}")


def check(ok, message):
    if not ok:
        fail(message)


def files(lake, dataset):
    found = sorted(glob.glob(os.path.join(lake, "curated", dataset, "**", "*.parquet"), recursive=True))
    check(found, f"no file of {dataset} was published under {lake}")
    for path in found:
        meta = pq.ParquetFile(path).metadata
        entry = json.loads((meta.metadata or {})[b"lakegate"])
        counted = sum(o["rows"] for o in entry["objects"])
        check(counted == meta.num_rows, f"{path}: footer counts {counted} rows, the file has {meta.num_rows}")
    return found


def table(lake, dataset):
    pattern = os.path.join(lake, "curated", dataset, "**", "*.parquet")
    return f"read_parquet('{pattern}', hive_partitioning=true, union_by_name=true)"


OPERATIONAL = ["pipeline_run_id", "dataset_name", "processed_at_utc", "ingest_date", "replay_id",
               "_source_object", "_source_generation", "_source_row"]


def unique(con, rel):
    twice = con.sql(f"select count(*) - count(distinct (_source_object, _source_generation, _source_row)) from {rel}").fetchall()[0][0]
    check(twice == 0, f"{twice} rows stand twice")


def typed(name, text):
    """A landed cell as the value that a reader of the lake must find."""
    if text == "NA":
        return None
    if name in ("carrier", "tailnum", "origin", "dest"):
        return text
    if name == "time_hour":
        return int(datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp())
    return int(text)


def every_cell(con, rel, landing, header):
    """Each object's rows, in order, equal its landed file in every cell."""
    cells = ", ".join('epoch(time_hour)::bigint' if c == "time_hour" else f'"{c}"' for c in header)
    published = defaultdict(list)
    cursor = con.execute(f"select _source_object, {cells} from {rel} order by _source_object, _source_row")
    while block := cursor.fetchmany(50_000):
        for row in block:
            published[row[0]].append(row[1:])
    for path in sorted(glob.glob(os.path.join(landing, "**", "*.csv.gz"), recursive=True)):
        obj = "raw/" + os.path.relpath(path, landing)
        with gzip.open(path, "rt", newline="") as f:
            landed = [tuple(typed(c, row[c]) for c in header) for row in csv.DictReader(f)]
        for i, (want, got) in enumerate(zip(landed, published[obj])):
            check(want == got, f"{obj} row {i}: landed as {want}, is published as {got}")


def year(args):
    con = duckdb.connect()
    rel = table(args.lake, "flights")
    n_files = len(files(args.lake, "flights"))
    totals = json.loads(open(args.totals).read().strip().splitlines()[-1])
    columns = {r[0]: r[1] for r in con.sql(f"describe select * from {rel}").fetchall()}
    for name in OPERATIONAL:
        check(name in columns, f"operational column {name} is missing")
    unique(con, rel)

    # What landed, read by Python's own csv module.
    rows, sums, per_object, sample, header = 0, defaultdict(float), {}, [], None
    for path in sorted(glob.glob(os.path.join(args.landing, "**", "*.csv.gz"), recursive=True)):
        with gzip.open(path, "rt", newline="") as f:
            reader = csv.DictReader(f)
            header = reader.fieldnames
            n = 0
            for i, row in enumerate(reader):
                n += 1
                for name, value in row.items():
                    if value != "NA" and name not in ("carrier", "tailnum", "origin", "dest", "time_hour"):
                        sums[name] += float(value)
                    elif value == "NA":
                        sums[name + " nulls"] += 1
                if i % 397 == 0:
                    sample.append(("raw/" + os.path.relpath(path, args.landing), i, row))
        per_object["raw/" + os.path.relpath(path, args.landing)] = n
        rows += n
    for name in header:
        check(name in columns, f"source column {name} was lost")
    got = con.sql(f"select count(*) from {rel}").fetchall()[0][0]
    check(got == rows, f"{rows} rows landed, {got} are published")
    check(totals["rows"] == {"in": rows, "published": rows, "quarantined": 0, "deduplicated": 0}, f"run counted {totals['rows']}")
    check(totals["objects"]["published"] == len(per_object) == totals["objects"]["landed"], f"run counted {totals['objects']}")
    for name in header:
        nulls = con.sql(f'select count(*) filter (where "{name}" is null) from {rel}').fetchall()[0][0]
        check(nulls == sums[name + " nulls"], f"{name}: {sums[name + ' nulls']:.0f} nulls landed, {nulls} are published")
        if name not in ("carrier", "tailnum", "origin", "dest", "time_hour"):
            total = con.sql(f'select sum("{name}")::double from {rel}').fetchall()[0][0]
            check(abs(total - sums[name]) < 1e-6 * max(1, abs(sums[name])), f"sum of {name}: landed {sums[name]}, published {total}")
    for obj, n in con.sql(f"select _source_object, count(*) from {rel} group by 1").fetchall():
        check(per_object.get(obj) == n, f"{obj}: {per_object.get(obj)} rows landed, {n} are published")
    for obj, row, expected in sample[:300]:
        cells = ", ".join(f'"{c}"::varchar' for c in header if c != "time_hour")
        found = con.execute(f"select {cells}, strftime(time_hour, '%Y-%m-%dT%H:%M:%SZ') from {rel} where _source_object = ? and _source_row = ?", [obj, row]).fetchall()
        check(len(found) == 1, f"{obj} row {row} stands {len(found)} times")
        names = [c for c in header if c != "time_hour"] + ["time_hour"]
        for name, value in zip(names, found[0]):
            want = None if expected[name] == "NA" else expected[name]
            same = value == want or (want is not None and value is not None and name != "time_hour" and value.replace(".0", "") == want)
            check(same, f"{obj} row {row}: {name} landed as {want!r}, is published as {value!r}")
    every_cell(con, rel, args.landing, header)
    dates = con.sql(f"select count(distinct ingest_date) from {rel}").fetchall()[0][0]
    check(dates == len(per_object), f"{dates} partitions, expected {len(per_object)}")
    print(f"verified: {rows} rows of {len(per_object)} objects in {n_files} files, {len(header)} columns, every cell compared")


def demo(args):
    con = duckdb.connect()
    lines = [json.loads(l) for l in open(args.lines) if l.strip()]
    check(lines, "the demo printed no line")
    by_dataset = defaultdict(lambda: defaultdict(int))
    statuses = defaultdict(int)
    for line in lines:
        statuses[line["status"]] += 1
        if line["status"] == "PUBLISHED":
            by_dataset[line["dataset"]][line["uri"]] += line["rows"]["published"]
    for dataset, objects in sorted(by_dataset.items()):
        files(args.lake, dataset)
        rel = table(args.lake, dataset)
        unique(con, rel)
        found = dict(con.sql(f"select _source_object, count(*) from {rel} group by 1").fetchall())
        expected = {uri: n for uri, n in objects.items() if n > 0}
        check(found == expected, f"{dataset}: published {sorted(set(found.items()) ^ set(expected.items()))[:5]}")
    names = {l["uri"].rsplit("/", 1)[-1]: [] for l in lines}
    for l in lines:
        names[l["uri"].rsplit("/", 1)[-1]].append((l["status"], l["reason"]))
    want = {
        "orders_valid.csv": ["PUBLISHED"],
        "orders_missing_required.csv": ["QUARANTINED"],
        "orders_type_drift.csv": ["QUARANTINED", "PUBLISHED"],
        "orders_malformed.csv": ["QUARANTINED"],
        "orders_duplicate.csv": ["DUPLICATE"],
        "orders_late.csv": ["PUBLISHED"],
    }
    for name, expected in want.items():
        got = [s for s, _ in names.get(name, [])]
        check(got == expected, f"{name}: {names.get(name)}, expected {expected}")
    letters = glob.glob(os.path.join(args.lake, "quarantine", "**", "*.json"), recursive=True)
    check(len(letters) == statuses["QUARANTINED"], f"{statuses['QUARANTINED']} objects quarantined, {len(letters)} letters")
    check(glob.glob(os.path.join(args.lake, "dq-results", "**", "*.json"), recursive=True), "no quality report")
    print(f"verified: {dict(statuses)}, {sum(sum(o.values()) for o in by_dataset.values())} rows, {len(letters)} letters")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = parser.add_subparsers(dest="what", required=True)
    y = sub.add_parser("year")
    y.add_argument("--lake", required=True)
    y.add_argument("--landing", required=True)
    y.add_argument("--totals", required=True)
    d = sub.add_parser("demo")
    d.add_argument("--lake", required=True)
    d.add_argument("--lines", required=True)
    args = parser.parse_args()
    year(args) if args.what == "year" else demo(args)


main()
