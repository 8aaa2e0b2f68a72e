#!/usr/bin/env python3
"""Latency landed -> published over Kafka, and the memory of an idle replica.

  scripts/latency.py --binary target/release/lakegate --kafka HOST:PORT [--rate 10] [--files 700] [--warm 100]

Files of 1,000 orders (set M of benches/generate.py) are landed on a fixed schedule, whatever lakegate does meanwhile:
each is renamed into the landing folder and its notification posted to the webhook. One file is one batch
(`batch.max_files: 1`), so each has a Parquet of its own. The clock starts at the rename and ends when the Parquet
stands under its published name (the file system's own time, a tick of some milliseconds). Exactly-once on, every
commit of the lake synced. Needs numpy and pyarrow (tests/verify/requirements.txt, benches/requirements.txt).
Without --kafka the embedded log is measured.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

import pyarrow.parquet

ROOT = pathlib.Path(__file__).resolve().parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def memory(pid):
    """Resident memory, and the part of it that is the process's own, in MB."""
    rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    own = sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.M))
    return int(re.search(r"^Rss:\s+(\d+) kB", rollup, re.M)[1]) * 1024 / 1e6, own * 1024 / 1e6


def notice(key, size):
    at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    # No eTag: the folder's own is not known here, and another one would name another version.
    thing = {"key": key, "size": size, "sequencer": f"{time.time_ns():020X}"}
    record = {"eventVersion": "2.1", "eventSource": "aws:s3", "eventTime": at, "eventName": "ObjectCreated:Put",
              "s3": {"bucket": {"name": "raw"}, "object": thing}}
    return json.dumps({"Records": [record]}).encode()


def wait_for(url, seconds):
    end = time.monotonic() + seconds
    while True:
        try:
            return urllib.request.urlopen(url, timeout=2).read()
        except OSError as e:
            if time.monotonic() > end:
                sys.exit(f"latency: {url}: {e}")
            time.sleep(0.1)


def land(files, landing, webhook, rate):
    """Lands on a schedule; answers key -> the moment it became visible."""
    landed, start = {}, time.time() + 0.5
    for n, source in enumerate(files):
        time.sleep(max(0.0, start + n / rate - time.time()))
        key = f"landing/orders/2026/01/15/{source.name}"
        target = landing / key
        landed[key] = time.time()
        os.replace(source, target)
        urllib.request.urlopen(urllib.request.Request(webhook, notice(key, target.stat().st_size)), timeout=10).read()
    return landed


def published(lake):
    """Key -> the moment its Parquet stood under its name."""
    found = {}
    for path in (lake / "curated").rglob("*.parquet"):
        keys = pyarrow.parquet.ParquetFile(path).read(columns=["_source_object"]).column(0).unique().to_pylist()
        for key in keys:
            found[key.removeprefix("raw/")] = path.stat().st_ctime
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--kafka")
    parser.add_argument("--rate", type=float, default=10, help="files a second")
    parser.add_argument("--files", type=int, default=700)
    parser.add_argument("--warm", type=int, default=100, help="first files that are not counted")
    parser.add_argument("--idle", type=float, default=20, help="seconds before memory is read")
    parser.add_argument("--log-level", default="warn")
    args = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="lakegate-latency-"))
    generate = ROOT / "benches/generate.py"
    subprocess.run([sys.executable, "-B", generate, "M", work / "made"], check=True, stdout=sys.stderr)
    files = sorted(p for p in (work / "made").rglob("*.csv"))[: args.files]
    landing, lake = work / "raw", work / "lake"
    (landing / "landing/orders/2026/01/15").mkdir(parents=True)
    contracts = work / "contracts"
    shutil.copytree(ROOT / "contracts", contracts)
    orders = (contracts / "orders.yaml").read_text()
    orders = orders.replace('["AUD","USD","EUR"]', '["USD","EUR","GBP","INR","JPY"]').replace("max_files: 1000", "max_files: 1")
    (contracts / "orders.yaml").write_text(orders)
    web, seen = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    command = [args.binary, "run", "--landing", f"raw={landing}", "--lake", str(lake), "--contracts", str(contracts),
               "--state", str(work / "state"), "--webhook", web, "--metrics", seen, "--poll", "60s", "--log-level", args.log_level]
    environment = dict(os.environ, LAKEGATE__KAFKA__PREFIX=f"l{uuid.uuid4().hex[:12]}.")
    if args.kafka:
        command += ["--kafka", args.kafka]
    with open(work / "log", "wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_for(f"http://{seen}/readyz", 60)
        time.sleep(args.idle)
        idle = memory(process.pid)
        landed = land(files, landing, f"http://{web}/notices", args.rate)
        for _ in range(300):
            if len(list((lake / "curated").rglob("*.parquet"))) >= len(files):
                break
            time.sleep(0.1)
        busy = memory(process.pid)
        transactions = [line for line in wait_for(f"http://{seen}/metrics", 5).decode().splitlines()
                        if "transactions_total" in line and not line.startswith("#") and "committed" in line]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    found = published(lake)
    missing = [key for key in landed if key not in found]
    if missing:
        sys.exit(f"latency: {len(missing)} of {len(landed)} files were not published, see {work}/log")
    order = list(landed)
    counted = sorted((found[k] - landed[k]) * 1000 for k in order[args.warm:])
    share = lambda p: counted[min(len(counted) - 1, int(len(counted) * p))]
    first = (found[order[0]] - landed[order[0]]) * 1000
    print(f"{len(counted)} files of 1,000 rows at {args.rate:g}/s: p50 {statistics.median(counted):.0f} ms  p90 {share(.9):.0f}  "
          f"p99 {share(.99):.0f}  max {counted[-1]:.0f}  first file {first:.0f}")
    print(f"memory: idle {idle[0]:.0f} MB (own {idle[1]:.0f}), after the load {busy[0]:.0f} MB (own {busy[1]:.0f})")
    print("\n".join(transactions))
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
