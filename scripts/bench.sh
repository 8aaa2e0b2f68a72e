#!/usr/bin/env bash
# Times whole runs of lakegate and prints a table: wall, CPU and peak resident memory, median of the runs.
# S is one file of 1,000,000 orders, T is 10,000 files of 50 (benches/generate.py). S is timed in turn with a peer, DuckDB
# doing the same job (benches/peer_duckdb.py): the machine's own speed drifts, the ratio does not.
# Usage: scripts/bench.sh [--runs N] [year] [S] [T]
set -euo pipefail
cd "$(dirname "$0")/.."
command -v python3 >/dev/null || { echo "bench: python3 is missing" >&2; exit 1; }

runs=3
if [[ "${1:-}" == --runs ]]; then runs="${2:?--runs needs a number}"; shift 2; fi
sets=("$@")
[[ ${#sets[@]} -gt 0 ]] || sets=(year S T)
for set in "${sets[@]}"; do
    [[ "$set" == year || "$set" == S || "$set" == T ]] || { echo "bench: unknown set $set (year, S, T)" >&2; exit 64; }
done

cache="${LAKEGATE_TEST_CACHE:-$HOME/.cache/lakegate}"
venv="$cache/bench"
mkdir -p "$cache"
[[ -x "$venv/bin/python" ]] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r benches/requirements.txt

cargo build --release --locked
target="${CARGO_TARGET_DIR:-target}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# The sets have five currencies; the rule of the shop's own contract names three.
cp -R contracts "$work/contracts"
sed -i.was 's/\["AUD","USD","EUR"\]/["USD","EUR","GBP","INR","JPY"]/' "$work/contracts/orders.yaml"
rm "$work/contracts/orders.yaml.was"
grep -q '"JPY"' "$work/contracts/orders.yaml" || { echo "bench: the rule on currencies was not found in contracts/orders.yaml" >&2; exit 1; }

for set in "${sets[@]}"; do
    bucket="$work/$set"
    if [[ "$set" == year ]]; then
        mkdir -p "$bucket"
        cp -R tests/data/nycflights13/landing "$bucket/landing"
    else
        "$venv/bin/python" -B benches/generate.py "$set" "$bucket" >&2
    fi
done

python3 -B - "$target/release/lakegate" "$venv/bin/python" "$work" "$runs" "${sets[@]}" <<'PY'
import json, os, pathlib, shutil, statistics, subprocess, sys, time

binary, python, work, runs, sets = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]
print(f"{'set':6}{'files':>8}{'rows in':>12}{'published':>12}{'wall s':>9}{'CPU s':>9}{'peak MiB':>10}{'files/s':>10}{'rows/s':>12}")


def timed(command, name):
    """Wall seconds, CPU seconds, peak MiB and the last line of a process."""
    log = work / "out"
    with open(log, "wb") as out:
        start = time.monotonic()
        child = subprocess.Popen(command, stdout=out)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.monotonic() - start
    child.returncode = code = os.waitstatus_to_exitcode(status)
    if code != 0:
        sys.exit(f"bench: {name} ended with {code}")
    peak = used.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return (wall, used.ru_utime + used.ru_stime, peak), log.read_text().strip().splitlines()[-1]


def told(name, files, rows, published, seen):
    wall, cpu, peak = (statistics.median(s[i] for s in seen) for i in range(3))
    print(f"{name:10}{files:8}{rows:12}{published:12}{wall:9.2f}{cpu:9.2f}{peak:10.0f}{files / wall:10.0f}{rows / wall:12.0f}")
    return wall


print(f"{'set':10}{'files':>8}{'rows in':>12}{'published':>12}{'wall s':>9}{'CPU s':>9}{'peak MiB':>10}{'files/s':>10}{'rows/s':>12}")
for name in sets:
    seen, peer = [], []
    for _ in range(runs):
        lake, state = work / "lake", work / "state"
        for folder in (lake, state):
            shutil.rmtree(folder, ignore_errors=True)
        figures, last = timed([binary, "run", "--landing", f"raw={work / name}", "--lake", str(lake), "--contracts", str(work / "contracts"),
                               "--state", str(state), "--until-idle", "--json"], name)
        totals = json.loads(last)
        rows, objects = totals["rows"], totals["objects"]
        if rows["published"] != rows["in"] or objects["published"] != objects["landed"]:
            sys.exit(f"bench: not everything of {name} was published: {totals}")
        seen.append(figures)
        if name == "S":
            figures, last = timed([python, "-B", "benches/peer_duckdb.py", str(work / name), str(work / "peer")], "the peer")
            if int(last) != rows["in"]:
                sys.exit(f"bench: the peer published {last} rows")
            peer.append(figures)
    wall = told(name, objects["landed"], rows["in"], rows["published"], seen)
    if peer:
        of_peer = told("  DuckDB", objects["landed"], rows["in"], rows["in"], peer)
        print(f"  {wall / of_peer:.2f} times as long as DuckDB")
PY
