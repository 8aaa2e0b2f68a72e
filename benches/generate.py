#!/usr/bin/env python3
"""Writes a landing bucket of orders, the same bytes for the same arguments: set S (many small files) or T (few large ones)."""
import argparse
import pathlib
import random

SETS = {"S": (2_000, 500), "T": (4, 1_000_000)}
DAY = "2026-01-15"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the rows of each file")
    args = parser.parse_args()
    files, rows = SETS[args.set]
    rows = max(1, int(rows * args.scale))
    rng = random.Random(f"lakegate {args.set}")
    folder = args.folder / "landing" / "orders" / DAY.replace("-", "/")
    folder.mkdir(parents=True, exist_ok=True)
    order = 0
    for n in range(files):
        with open(folder / f"orders_{n:05}.csv", "w", encoding="utf-8", newline="\n") as out:
            out.write("order_id,customer_id,amount,currency,event_ts\n")
            for _ in range(rows):
                order += 1
                second = rng.randrange(86_400)
                customer = "" if rng.random() < 0.02 else f"cus-{rng.randrange(100_000):06}"
                out.write(f"ord-{order:09},{customer},{rng.randrange(99, 50_000) / 100:.2f},{rng.choice(('EUR', 'USD', 'AUD'))},"
                          f"{DAY}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z\n")
    print(f"{files} files, {files * rows} rows under {folder}")


if __name__ == "__main__":
    main()
