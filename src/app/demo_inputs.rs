//! What the demo lands: the golden files of `orders`, a burst of tiny ones, and two weeks of real
//! flights (nycflights13, CC0).

use std::fmt::Write;

use chrono::{Days, NaiveDate};

/// A file to land.
pub struct Input {
    pub key: String,
    pub bytes: Vec<u8>,
}

macro_rules! flights {
    ($($day:literal),*) => {
        &[$(($day, include_bytes!(concat!("../../assets/demo/flights/flights_201301", $day, ".csv.gz")))),*]
    };
}

const FLIGHTS: &[(&str, &[u8])] = flights!("01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12", "13", "14");

/// The two contracts and their schemas, as they stand under `contracts/`: path and text.
pub const CONTRACTS: [(&str, &str); 4] = [
    ("orders.yaml", include_str!("../../contracts/orders.yaml")),
    ("flights.yaml", include_str!("../../contracts/flights.yaml")),
    ("schemas/orders.avsc", include_str!("../../contracts/schemas/orders.avsc")),
    ("schemas/flights.avsc", include_str!("../../contracts/schemas/flights.avsc")),
];

const CURRENCIES: [&str; 3] = ["AUD", "USD", "EUR"];

/// Key of an orders file that lands on `day`.
pub fn orders_key(day: NaiveDate, name: &str) -> String {
    format!("landing/orders/{}/{name}", day.format("%Y/%m/%d"))
}

/// `n` orders of `day` numbered from `first`; `amount` spells the amount of an order.
fn orders(day: NaiveDate, first: u64, n: u64, amount: impl Fn(u64) -> String) -> String {
    let mut text = "order_id,customer_id,amount,currency,event_ts\n".to_owned();
    for i in first..first + n {
        let currency = CURRENCIES[usize::try_from(i % 3).expect("below 3")];
        let currency = if i % 5 == 0 { currency.to_lowercase() } else { currency.to_owned() };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "ORD-{i:06},{},{},{currency},{day}T{:02}:{:02}:00Z", 1000 + i % 97, amount(i), i % 24, i % 60);
    }
    text
}

fn plain(i: u64) -> String {
    format!("{}.{:02}", 5 + i * 7 % 400, i * 13 % 100)
}

/// The golden files of the original design but the duplicate: valid, missing required column, type
/// drift, malformed, late-arriving.
pub fn golden(today: NaiveDate) -> Vec<Input> {
    let valid = orders(today, 1, 40, plain);
    let missing: String = orders(today, 101, 20, plain).lines().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{}", line.rsplit_once(',').map_or(line, |(rest, _)| rest));
        text
    });
    let drifted = orders(today, 201, 30, |i| format!("\"{}\"", plain(i).replace('.', ",")));
    let malformed =
        "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>\n<body>upstream timed out</body></html>\n".to_owned();
    let late_day = today.checked_sub_days(Days::new(30)).unwrap_or(today);
    let late = orders(late_day, 401, 25, plain);
    let file = |day, name, text: String| Input { key: orders_key(day, name), bytes: text.into_bytes() };
    vec![
        file(today, "orders_valid.csv", valid),
        file(today, "orders_missing_required.csv", missing),
        file(today, "orders_type_drift.csv", drifted),
        file(today, "orders_malformed.csv", malformed),
        file(late_day, "orders_late.csv", late),
    ]
}

/// The bytes of the valid file once more, under another key.
pub fn duplicate(today: NaiveDate) -> Input {
    Input { key: orders_key(today, "orders_duplicate.csv"), bytes: orders(today, 1, 40, plain).into_bytes() }
}

/// `files` tiny files of five orders each.
pub fn burst(today: NaiveDate, files: u64) -> Vec<Input> {
    (0..files)
        .map(|n| Input {
            key: orders_key(today, &format!("burst_{n:04}.csv")),
            bytes: orders(today, 10_000 + n * 5, 5, plain).into_bytes(),
        })
        .collect()
}

/// Two weeks of flights.
pub fn flights() -> Vec<Input> {
    FLIGHTS
        .iter()
        .map(|(day, bytes)| Input { key: format!("landing/flights/2013/01/{day}/flights_201301{day}.csv.gz"), bytes: bytes.to_vec() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_golden_files_are_what_their_names_say() {
        let today = NaiveDate::from_ymd_opt(2026, 1, 15).unwrap();
        let golden = golden(today);
        let text = |name: &str| String::from_utf8(golden.iter().find(|f| f.key.ends_with(name)).unwrap().bytes.clone()).unwrap();
        assert!(text("orders_valid.csv").starts_with("order_id,customer_id,amount,currency,event_ts\n"));
        assert!(text("orders_missing_required.csv").starts_with("order_id,customer_id,amount,currency\n"));
        assert!(text("orders_type_drift.csv").lines().nth(1).unwrap().contains(",\""));
        assert_eq!(golden[4].key, "landing/orders/2025/12/16/orders_late.csv");
        assert_eq!(duplicate(today).bytes, golden[0].bytes);
        assert_eq!((burst(today, 3).len(), flights().len()), (3, 14));
    }
}
