#!/bin/sh
# Lands a small file of orders every second; every thirtieth is torn. Needs a shell and curl.
set -eu
n=0
while :; do
  day="$(date -u +%Y/%m/%d)"
  now="$(date -u +%Y-%m-%dT%H:%M:%SZ)"
  file="/tmp/orders.csv"
  echo "order_id,customer_id,amount,currency,event_ts" >"$file"
  i=0
  while [ "$i" -lt 50 ]; do
    echo "ORD-$now-$i,$((1000 + i)),$i.50,EUR,$now" >>"$file"
    i=$((i + 1))
  done
  [ $((n % 30)) -ne 29 ] || printf 'PK\003\004 no table' >"$file"
  curl --silent --show-error --fail --upload-file "$file" "$S3_ENDPOINT/landing/landing/orders/$day/orders_$n.csv" || true
  n=$((n + 1))
  sleep 1
done
