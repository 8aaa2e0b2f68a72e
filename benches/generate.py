#!/usr/bin/env python3
"""Writes a landing bucket of orders, the same bytes every time: S (one file of 1,000,000 rows), M (1,000 files of 1,000),
T (10,000 files of 50). Needs numpy. The columns: order_id unique over the set, customer_id of digits, amount lognormal
with two decimals, currency one of five with a fifth of them in lower case, event_ts within January 2026."""
import argparse
import hashlib
import pathlib

import numpy as np

SETS = {"S": (1, 1_000_000), "M": (1_000, 1_000), "T": (10_000, 50)}
SEED = 20260101
DAY = "2026/01/15"
CHUNK_ROWS = 500_000
LOW_48_BITS = np.uint64((1 << 48) - 1)
CURRENCIES = np.array(["USD", "EUR", "GBP", "INR", "JPY", "usd", "eur", "gbp", "inr", "jpy"])
SHARES = np.array([0.40, 0.16, 0.08, 0.08, 0.08, 0.10, 0.04, 0.02, 0.02, 0.02])


def order_ids(start, n):
    x = np.arange(start, start + n, dtype=np.uint64)
    x = (x * np.uint64(0x9E3779B97F4B)) & LOW_48_BITS
    x ^= x >> np.uint64(23)
    x = (x * np.uint64(0xC2B2AE3D27D5)) & LOW_48_BITS
    return [f"ORD-{v:012X}" for v in x.tolist()]


def text(amount):
    return f"{amount:.0f}" if amount == int(amount) else repr(amount)


def rows(rng, start, n):
    amounts = np.round(np.exp(rng.normal(4.0, 1.2, n)), 2)
    # Rates of defects that sets S, M and T do not have; the draws are kept, so that what follows is the same.
    for _ in range(4):
        rng.random(n)
    currencies = CURRENCIES[rng.choice(10, n, p=SHARES)]
    rng.random(n)
    customers = rng.integers(1_000_000, 1_200_000, n)
    seconds = rng.integers(0, 30 * 86_400, n)
    stamps = np.datetime_as_string(np.datetime64("2026-01-01T00:00:00") + seconds.astype("timedelta64[s]"), unit="s")
    columns = (order_ids(start, n), customers.tolist(), map(text, amounts.tolist()), currencies.tolist(), stamps.tolist())
    return [f"{o},{c},{a},{cur},{ts}Z\n" for o, c, a, cur, ts in zip(*columns)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("folder", type=pathlib.Path)
    args = parser.parse_args()
    files, per_file = SETS[args.set]
    rng = np.random.Generator(np.random.PCG64(SEED))
    folder = args.folder / "landing" / "orders" / DAY
    folder.mkdir(parents=True, exist_ok=True)
    start, digest = 0, hashlib.sha256()
    for number in range(files):
        with open(folder / f"orders-{number:05}.csv", "w", encoding="utf-8", newline="\n") as out:
            head = "order_id,customer_id,amount,currency,event_ts\n"
            for at in range(0, per_file, CHUNK_ROWS):
                n = min(CHUNK_ROWS, per_file - at)
                chunk = head + "".join(rows(rng, start, n))
                out.write(chunk)
                digest.update(chunk.encode())
                head, start = "", start + n
    print(f"{files} files, {start} rows under {folder}, sha256 of all {digest.hexdigest()}")


if __name__ == "__main__":
    main()
