//! The bundled inputs of `lakegate demo`: the six golden files of `orders`, two weeks of flights, and a burst.
//!
//! The files under `assets/demo/orders` are plain CSV with fixed dates; [`files`] moves those dates to the days
//! around the demo's `today`, so that only the late file is late. Flights keep their own dates.

use std::borrow::Cow;
use std::fmt::Write as _;

use chrono::{Days, NaiveDate};

/// The contracts the demo runs under: name under the contracts folder, text.
pub const CONTRACTS: &[(&str, &str)] = &[
    ("orders.yaml", include_str!("../../contracts/orders.yaml")),
    ("flights.yaml", include_str!("../../contracts/flights.yaml")),
    ("schemas/orders.avsc", include_str!("../../contracts/schemas/orders.avsc")),
    ("schemas/flights.avsc", include_str!("../../contracts/schemas/flights.avsc")),
];

/// Most files of one [`burst`]; their order ids stay distinct up to here.
pub const MAX_BURST_FILES: u32 = 10_000;
/// Rows in each file of a [`burst`].
pub const BURST_ROWS: u32 = 5;

/// The day on which the golden files' orders happened, as it stands in the assets.
const ASSET_DAY: &str = "2026-01-15";
/// The day of the late file's orders, as it stands in the asset.
const ASSET_LATE_DAY: &str = "2025-12-26";
/// How long before `today` the late orders happened: beyond the seven days of the contract.
const LATE_DAYS: u64 = 20;

macro_rules! order {
    ($name:literal) => {
        (concat!("landing/orders/{yyyy}/{MM}/{dd}/", $name), include_bytes!(concat!("../../assets/demo/orders/", $name)))
    };
}

macro_rules! flight {
    ($day:literal, $stamp:literal) => {
        (
            concat!("landing/flights/2013/", $day, "/flights_", $stamp, ".csv.gz"),
            include_bytes!(concat!("../../assets/demo/flights/flights_", $stamp, ".csv.gz")),
        )
    };
}

/// Every bundled file: the pattern of its landing key (`{yyyy}`, `{MM}`, `{dd}` stand for the day it lands under) and its bytes.
/// The duplicate stands after the file it repeats.
pub const FILES: &[(&str, &[u8])] = &[
    order!("orders_valid.csv"),
    order!("orders_missing_required.csv"),
    order!("orders_type_drift.csv"),
    order!("orders_malformed.csv"),
    order!("orders_duplicate.csv"),
    order!("orders_late.csv"),
    flight!("01/01", "20130101"),
    flight!("01/02", "20130102"),
    flight!("01/03", "20130103"),
    flight!("01/04", "20130104"),
    flight!("01/05", "20130105"),
    flight!("01/06", "20130106"),
    flight!("01/07", "20130107"),
    flight!("01/08", "20130108"),
    flight!("01/09", "20130109"),
    flight!("01/10", "20130110"),
    flight!("01/11", "20130111"),
    flight!("01/12", "20130112"),
    flight!("01/13", "20130113"),
    flight!("01/14", "20130114"),
];

/// One file as it lands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoFile {
    /// Key relative to the landing bucket.
    pub key: String,
    pub bytes: Cow<'static, [u8]>,
}

/// The bundled files as they land on `today`. Orders happened on the day before, late ones twenty days before;
/// the late file's key carries that earlier date too.
pub fn files(today: NaiveDate) -> Vec<DemoFile> {
    let before = |days| today.checked_sub_days(Days::new(days)).unwrap_or(today);
    let (day, late_day) = (before(1), before(LATE_DAYS));
    FILES
        .iter()
        .map(|&(pattern, bytes)| {
            let lands_under = if pattern.ends_with("/orders_late.csv") { late_day } else { today };
            DemoFile { key: key(pattern, lands_under), bytes: dated(bytes, day, late_day) }
        })
        .collect()
}

/// `n` tiny orders files (at most [`MAX_BURST_FILES`]) of [`BURST_ROWS`] rows each, the same for the same arguments.
/// Order ids are unique over the whole burst and meet none of the golden files'.
pub fn burst(n: u32, today: NaiveDate) -> Vec<DemoFile> {
    let day = today.checked_sub_days(Days::new(1)).unwrap_or(today);
    (0..n.min(MAX_BURST_FILES)).map(|file| burst_file(file, today, day)).collect()
}

fn burst_file(file: u32, today: NaiveDate, day: NaiveDate) -> DemoFile {
    let mut text = String::from("order_id,customer_id,amount,currency,event_ts\n");
    for row in 0..BURST_ROWS {
        let n = file * BURST_ROWS + row;
        // Steps that share no factor with their moduli: values look scattered and repeat late.
        let (customer, cents, second) = (n * 37 % 400, n * 7_919 % 20_000 + 99, n * 13 % 86_400);
        let currency = ["EUR", "USD", "AUD"][(n % 3) as usize];
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        writeln!(
            text,
            "brs-{n:06},cus-{customer:04},{}.{:02},{currency},{day}T{hour:02}:{minute:02}:{second:02}Z",
            cents / 100,
            cents % 100
        )
        .expect("writing to a String cannot fail");
    }
    let pattern = format!("landing/orders/{{yyyy}}/{{MM}}/{{dd}}/orders_burst_{file:04}.csv");
    DemoFile { key: key(&pattern, today), bytes: Cow::Owned(text.into_bytes()) }
}

fn key(pattern: &str, day: NaiveDate) -> String {
    let (year, month, of_month) = (day.format("%Y"), day.format("%m"), day.format("%d"));
    pattern.replace("{yyyy}", &year.to_string()).replace("{MM}", &month.to_string()).replace("{dd}", &of_month.to_string())
}

/// Text files with the assets' days moved; anything else (a broken or compressed file) as it is.
fn dated(bytes: &'static [u8], day: NaiveDate, late_day: NaiveDate) -> Cow<'static, [u8]> {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            let moved = text.replace(ASSET_DAY, &day.to_string()).replace(ASSET_LATE_DAY, &late_day.to_string());
            Cow::Owned(moved.into_bytes())
        }
        Err(_) => Cow::Borrowed(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn today() -> NaiveDate {
        NaiveDate::from_ymd_opt(2031, 3, 9).unwrap()
    }

    fn named(name: &str) -> DemoFile {
        files(today()).into_iter().find(|f| f.key.ends_with(name)).unwrap()
    }

    #[test]
    fn golden_files_land_today_and_the_late_one_twenty_days_ago() {
        assert_eq!(named("orders_valid.csv").key, "landing/orders/2031/03/09/orders_valid.csv");
        assert_eq!(named("orders_late.csv").key, "landing/orders/2031/02/17/orders_late.csv");
        assert_eq!(named("flights_20130114.csv.gz").key, "landing/flights/2013/01/14/flights_20130114.csv.gz");
    }

    #[test]
    fn event_times_follow_today_and_no_asset_day_is_left() {
        for file in files(today()) {
            let Ok(text) = std::str::from_utf8(&file.bytes) else { continue };
            assert!(!text.contains(ASSET_DAY) && !text.contains(ASSET_LATE_DAY), "{}", file.key);
        }
        let valid = named("orders_valid.csv");
        assert!(std::str::from_utf8(&valid.bytes).unwrap().lines().skip(1).all(|row| row.contains(",2031-03-08T")));
        let late = named("orders_late.csv");
        assert!(std::str::from_utf8(&late.bytes).unwrap().lines().skip(1).all(|row| row.contains(",2031-02-17T")));
    }

    #[test]
    fn the_duplicate_has_the_bytes_of_the_valid_file_under_another_key() {
        let (valid, duplicate) = (named("orders_valid.csv"), named("orders_duplicate.csv"));
        assert_eq!(valid.bytes, duplicate.bytes);
        assert_ne!(valid.key, duplicate.key);
    }

    #[test]
    fn the_malformed_file_is_gzip_that_ends_early() {
        let file = named("orders_malformed.csv");
        assert!(file.bytes.starts_with(&[0x1f, 0x8b]));
        let read = std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&file.bytes[..]), &mut Vec::new());
        assert!(read.is_err());
    }

    #[test]
    fn a_burst_repeats_itself_and_never_an_order_id() {
        let first = burst(200, today());
        assert_eq!(first, burst(200, today()));
        assert_eq!(first.iter().map(|f| &f.key).collect::<BTreeSet<_>>().len(), 200);
        let mut ids = BTreeSet::new();
        for file in &first {
            for row in std::str::from_utf8(&file.bytes).unwrap().lines().skip(1) {
                assert!(ids.insert(row.split(',').next().unwrap().to_owned()), "{row}");
            }
        }
        assert_eq!(ids.len(), 1_000);
    }
}
