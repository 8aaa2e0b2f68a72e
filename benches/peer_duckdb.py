"""What a data engineer would write by hand for set S: DuckDB reads the CSV, casts, judges the six rules of
contracts/orders.yaml and writes Parquet. No ledger, no sync, no quarantine of rows, no letter, no replay.

Usage: peer_duckdb.py LANDING OUT
"""

import pathlib
import shutil
import sys

import duckdb

landing, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
shutil.rmtree(out, ignore_errors=True)
staged = out / "staged" / "ingest_date=2026-01-15"
staged.mkdir(parents=True)
file = staged / "part-0.parquet"
con = duckdb.connect()
con.execute("SET threads=2")
con.execute("SET preserve_insertion_order=false")
con.execute(f"""
    COPY (
        SELECT CAST(order_id AS VARCHAR) order_id, CAST(customer_id AS VARCHAR) customer_id,
               TRY_CAST(amount AS DOUBLE) amount, upper(currency) currency,
               try_strptime(event_ts, '%Y-%m-%dT%H:%M:%SZ') event_ts,
               'run' pipeline_run_id, 'orders' dataset_name, now() processed_at_utc
        FROM read_csv('{landing}/**/*.csv', header=true, auto_detect=false, delim=',', quote='"', escape='"',
             columns={{'order_id': 'VARCHAR', 'customer_id': 'VARCHAR', 'amount': 'VARCHAR', 'currency': 'VARCHAR', 'event_ts': 'VARCHAR'}})
    ) TO '{file}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)""")
rows, no_id, repeated, other_currency, type_of_amount = con.execute(f"""
    SELECT count(*), count(*) - count(order_id), count(order_id) - count(DISTINCT order_id),
           count(*) - count(*) FILTER (currency IN ('USD', 'EUR', 'GBP', 'INR', 'JPY')), any_value(typeof(amount))
    FROM read_parquet('{file}')""").fetchone()
columns = [row[0] for row in con.execute(f"DESCRIBE SELECT * FROM read_parquet('{file}')").fetchall()]
passed = rows > 0 and no_id == 0 and repeated == 0 and "event_ts" in columns and other_currency == 0 and type_of_amount == "DOUBLE"
if not passed:
    sys.exit("peer: a rule failed")
staged.rename(out / "published")
print(rows)
