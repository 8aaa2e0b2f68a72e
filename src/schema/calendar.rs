//! Dates and timestamps as text: ISO and RFC 3339 by hand, contract formats by chrono, and the
//! candidate layouts of decisions.md 32.

use chrono::format::{Item, Parsed, StrftimeItems, parse};
use chrono::{DateTime, Datelike, NaiveDate, Offset, TimeZone, Timelike};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A point on the calendar as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Days since 1970-01-01.
    pub days: i32,
    /// Microseconds of the day, if a time was written.
    pub time: Option<i64>,
    /// Digits of the fraction of the second as written, at most 255.
    pub digits: u8,
    /// A digit other than 0 beyond the microseconds.
    pub finer: bool,
    /// Seconds east of UTC, if a zone was written.
    pub offset: Option<i32>,
}

impl Moment {
    /// Micros since the epoch of the wall clock, zone not applied.
    pub fn wall_micros(&self) -> i64 {
        i64::from(self.days) * MICROS_PER_DAY + self.time.unwrap_or(0)
    }

    /// No time, or exactly midnight.
    pub fn is_midnight(&self) -> bool {
        self.time.unwrap_or(0) == 0 && !self.finer
    }
}

/// Days since the epoch of a calendar date; `None` if there is no such day.
#[inline]
fn days_of(year: i32, month: u32, day: u32) -> Option<i32> {
    const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let longest = *LENGTHS.get((month.wrapping_sub(1)) as usize)?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if day == 0 || day > longest || (month == 2 && day == 29 && !leap) {
        return None;
    }
    // Days from civil (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (month as i32 + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day as i32 - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    Some(era * 146_097 + doe - 719_468)
}

#[inline]
fn two(bytes: &[u8], at: usize) -> Option<u32> {
    let (a, b) = (bytes.get(at)?.wrapping_sub(b'0'), bytes.get(at + 1)?.wrapping_sub(b'0'));
    (a <= 9 && b <= 9).then_some(u32::from(a) * 10 + u32::from(b))
}

/// `YYYY-MM-DD`, optionally with `T` or a space, a time and a zone.
#[inline]
pub fn iso(text: &str) -> Option<Moment> {
    let b = text.as_bytes();
    if b.len() < 10 || b[4] != b'-' || b[7] != b'-' {
        return None;
    }
    let year = two(b, 0)? * 100 + two(b, 2)?;
    let days = days_of(year as i32, two(b, 5)?, two(b, 8)?)?;
    let date = Moment { days, time: None, digits: 0, finer: false, offset: None };
    match b.get(10) {
        None => Some(date),
        Some(b'T' | b't' | b' ') => time_and_zone(date, &text[11..]),
        Some(_) => None,
    }
}

/// `HH:MM[:SS[.fraction]]`, `AM`/`PM`, then nothing, `Z` or an offset.
fn time_and_zone(date: Moment, text: &str) -> Option<Moment> {
    let b = text.as_bytes();
    let (hour, mut at) = match (two(b, 0), b.first()) {
        (Some(h), _) => (h, 2),
        (None, Some(h)) if h.is_ascii_digit() => (u32::from(h - b'0'), 1),
        _ => return None,
    };
    if b.get(at) != Some(&b':') {
        return None;
    }
    let minute = two(b, at + 1)?;
    at += 3;
    let mut second = 0;
    let (mut micros, mut digits, mut finer) = (0i64, 0usize, false);
    if b.get(at) == Some(&b':') {
        second = two(b, at + 1)?;
        at += 3;
        if matches!(b.get(at), Some(b'.' | b',')) {
            let start = at + 1;
            at = start;
            while let Some(d) = b.get(at).filter(|d| d.is_ascii_digit()) {
                if at - start < 6 {
                    micros = micros * 10 + i64::from(d - b'0');
                } else {
                    finer |= *d != b'0';
                }
                at += 1;
            }
            digits = at - start;
            if digits == 0 {
                return None;
            }
            for _ in digits..6 {
                micros *= 10;
            }
        }
    }
    let (hour, rest) = twelve_hours(hour, text.get(at..)?)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset = zone(rest)?;
    let time = i64::from(hour * 3600 + minute * 60 + second) * 1_000_000 + micros;
    Some(Moment { time: Some(time), digits: digits.min(255) as u8, finer, offset, ..date })
}

fn twelve_hours(hour: u32, rest: &str) -> Option<(u32, &str)> {
    let trimmed = rest.trim_start_matches(' ');
    let is = |half: &str| trimmed.get(..2).is_some_and(|t| t.eq_ignore_ascii_case(half));
    let later = match (is("am"), is("pm")) {
        (false, false) => return Some((hour, rest)),
        (true, _) => 0,
        (_, true) => 12,
    };
    (1..=12).contains(&hour).then(|| (hour % 12 + later, &trimmed[2..]))
}

/// Outer `None`: not a zone. Inner `None`: nothing written.
fn zone(text: &str) -> Option<Option<i32>> {
    let text = text.strip_prefix(' ').unwrap_or(text);
    match text {
        "" => return Some(None),
        "Z" | "z" | "UTC" => return Some(Some(0)),
        _ => {}
    }
    offset(text).map(Some)
}

/// `+HH:MM`, `+HHMM` or `+HH` as seconds.
fn offset(text: &str) -> Option<i32> {
    let b = text.as_bytes();
    let sign = match b.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let hours = two(b, 1)?;
    let minutes = match b.len() {
        3 => 0,
        5 => two(b, 3)?,
        6 if b[3] == b':' => two(b, 4)?,
        _ => return None,
    };
    (hours <= 18 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60) as i32)
}

/// `columns.timezone`: where timestamps without a zone were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// Seconds east of UTC.
    Fixed(i32),
    /// A region of the IANA database.
    Region(chrono_tz::Tz),
}

impl Zone {
    pub const UTC: Zone = Zone::Fixed(0);

    /// `UTC`, an offset such as `+01:00`, or a region's name.
    pub fn new(text: &str) -> Option<Zone> {
        match text {
            "UTC" | "Etc/UTC" | "GMT" | "Z" => Some(Zone::UTC),
            _ => offset(text).map(Zone::Fixed).or_else(|| text.parse().ok().map(Zone::Region)),
        }
    }

    /// Seconds east of UTC when the clock on the wall showed `micros`: the earlier of two in autumn,
    /// `None` for a time that was skipped in spring.
    pub fn offset_of_wall(self, micros: i64) -> Option<i32> {
        match self {
            Zone::Fixed(seconds) => Some(seconds),
            Zone::Region(region) => {
                let wall = DateTime::from_timestamp_micros(micros)?.naive_utc();
                region.offset_from_local_datetime(&wall).earliest().map(|o| o.fix().local_minus_utc())
            }
        }
    }

    /// Seconds east of UTC at a point in time.
    pub fn offset_at(self, micros: i64) -> i32 {
        match self {
            Zone::Fixed(seconds) => seconds,
            Zone::Region(region) => DateTime::from_timestamp_micros(micros)
                .map_or(0, |t| region.offset_from_utc_datetime(&t.naive_utc()).fix().local_minus_utc()),
        }
    }
}

/// A format a contract declares.
#[derive(Debug, Clone)]
pub enum Format {
    Rfc3339,
    Strftime(Vec<Item<'static>>),
}

impl Format {
    /// `RFC3339` or a strftime pattern; `None` if the pattern has an unknown specifier.
    pub fn new(text: &str) -> Option<Format> {
        if text.eq_ignore_ascii_case("rfc3339") || text.eq_ignore_ascii_case("iso8601") {
            return Some(Format::Rfc3339);
        }
        let items = StrftimeItems::new(text).parse_to_owned().ok()?;
        Some(Format::Strftime(items))
    }

    /// Whether values of this format have a time of day.
    pub fn has_time(&self) -> bool {
        use chrono::format::{Fixed, Numeric};
        match self {
            Format::Rfc3339 => true,
            Format::Strftime(items) => items.iter().any(|i| {
                matches!(
                    i,
                    Item::Numeric(Numeric::Hour | Numeric::Hour12 | Numeric::Timestamp, _) | Item::Fixed(Fixed::RFC3339 | Fixed::RFC2822)
                )
            }),
        }
    }

    pub fn parse(&self, text: &str) -> Option<Moment> {
        match self {
            Format::Rfc3339 => iso(text),
            Format::Strftime(items) => strftime(text, items),
        }
    }

    /// With the layouts the text could be read in as well, as a hint.
    #[inline]
    pub fn parse_hinted(&self, text: &str) -> Option<(Moment, u64)> {
        let moment = self.parse(text)?;
        let is_iso = matches!(self, Format::Rfc3339) && layout::is_iso_only(text);
        Some((moment, if is_iso { 1 << layout::ISO } else { layout::sight(text).hint() }))
    }
}

fn strftime(text: &str, items: &[Item<'static>]) -> Option<Moment> {
    let mut parsed = Parsed::new();
    parse(&mut parsed, text, items.iter()).ok()?;
    let digits = fraction_digits(text);
    if parsed.timestamp().is_some() {
        let at = parsed.to_naive_datetime_with_offset(0).ok()?;
        return moment(at.date(), Some((at.time().num_seconds_from_midnight(), at.time().nanosecond())), digits, Some(0));
    }
    let date = parsed.to_naive_date().ok()?;
    let time = parsed.to_naive_time().ok().map(|t| (t.num_seconds_from_midnight(), t.nanosecond()));
    moment(date, time, digits, parsed.offset())
}

/// Digits after the last point of a text, the fraction of a second where the format has one.
fn fraction_digits(text: &str) -> u8 {
    let Some(at) = text.rfind('.') else { return 0 };
    text[at + 1..].bytes().take_while(u8::is_ascii_digit).count().min(255) as u8
}

fn moment(date: NaiveDate, time: Option<(u32, u32)>, digits: u8, offset: Option<i32>) -> Option<Moment> {
    let days = date.num_days_from_ce() - 719_163;
    // A leap second (nanoseconds of 10^9 and more) is no time of any column.
    let time = match time {
        Some((_, nanos)) if nanos >= 1_000_000_000 => return None,
        Some((seconds, nanos)) => Some((i64::from(seconds) * 1_000_000 + i64::from(nanos / 1000), nanos % 1000 != 0)),
        None => None,
    };
    Some(Moment { days, time: time.map(|t| t.0), digits, finer: time.is_some_and(|t| t.1), offset })
}

/// Layouts: which parts in which order, joined by what, with two or four digits of the year.
///
/// A layout is a bit of a hint: `((separator × 3) + order) × 2 + short_year`, plus 24 with month names.
pub mod layout {
    use super::{Moment, days_of, time_and_zone};

    /// Bits a hint of layouts can have.
    pub const COUNT: u8 = 48;
    /// Year-month-day with `-` and four digits: ISO.
    pub const ISO: u8 = 0;
    const NAMES: u8 = 24;
    const MONTHS: [&str; 12] =
        ["january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"];

    #[derive(Clone, Copy)]
    enum Order {
        Ymd = 0,
        Dmy = 1,
        Mdy = 2,
    }

    fn bit(separator: u8, order: Order, short: bool) -> u8 {
        (separator * 3 + order as u8) * 2 + u8::from(short)
    }

    /// What a person calls a layout: `DD/MM/YYYY`, `Mon DD, YYYY`.
    pub fn name(layout: u8) -> String {
        let (named, at) = (layout >= NAMES, layout % NAMES);
        let separator = match (at / 6, named) {
            (0, _) => "-",
            (1, _) => "/",
            (2, _) => ".",
            (_, true) => " ",
            (_, false) => "",
        };
        let year = if at % 2 == 1 { "YY" } else { "YYYY" };
        let month = if named { "Mon" } else { "MM" };
        match (at / 2) % 3 {
            0 => [year, month, "DD"].join(separator),
            1 => ["DD", month, year].join(separator),
            _ => [month, "DD", year].join(separator),
        }
    }

    /// Readings of a text, at most one per order.
    pub struct Sighting {
        found: [Option<(u8, Moment)>; 3],
    }

    impl Sighting {
        /// The layouts as a hint.
        pub fn hint(&self) -> u64 {
            self.found.iter().flatten().fold(0, |m, (bit, _)| m | 1 << bit)
        }

        /// The reading in one layout.
        pub fn under(&self, layout: u8) -> Option<Moment> {
            self.found.iter().flatten().find(|(bit, _)| *bit == layout).map(|(_, m)| *m)
        }
    }

    /// Longest date: "September 30, 2024" and a time with zone.
    const TEXT_MAX: usize = 64;

    /// Whether a text that reads as ISO has no other layout: neither day nor month has four digits, and its
    /// letters name no month.
    #[inline]
    pub fn is_iso_only(text: &str) -> bool {
        text.len() <= TEXT_MAX && text.as_bytes().get(10) != Some(&b't')
    }

    /// Reads a text in every layout that fits it.
    pub fn sight(text: &str) -> Sighting {
        let mut sighting = Sighting { found: [None; 3] };
        if text.len() > TEXT_MAX {
            return sighting;
        }
        if let Some(moment) = super::iso(text).filter(|_| is_iso_only(text)) {
            sighting.found[Order::Ymd as usize] = Some((ISO, moment));
            return sighting;
        }
        if text.bytes().any(|b| b.is_ascii_alphabetic()) {
            named(text, &mut sighting);
        }
        if sighting.found.iter().all(Option::is_none) {
            numeric(text, &mut sighting);
        }
        sighting
    }

    fn digits(text: &str) -> (&str, &str) {
        let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
        text.split_at(end)
    }

    fn add(sighting: &mut Sighting, base: u8, separator: u8, order: Order, parts: (&str, u32, &str), rest: &str) {
        let (year, month, day) = parts;
        let short = match year.len() {
            2 => true,
            4 => false,
            _ => return,
        };
        let (Ok(mut y), Ok(d)) = (year.parse::<i32>(), day.parse::<u32>()) else { return };
        if day.len() > 2 {
            return;
        }
        if short {
            // POSIX: 69 to 99 are of the last century.
            y += if y >= 69 { 1900 } else { 2000 };
        }
        let Some(days) = days_of(y, month, d) else { return };
        let date = Moment { days, time: None, digits: 0, finer: false, offset: None };
        let moment = match rest.as_bytes().first() {
            None => Some(date),
            Some(b' ' | b'T' | b',') => time_and_zone(date, rest[1..].trim_start()),
            Some(_) => None,
        };
        if let Some(moment) = moment {
            sighting.found[order as usize] = Some((base + bit(separator, order, short), moment));
        }
    }

    fn month_number(text: &str) -> Option<u32> {
        if text.len() > 2 { None } else { text.parse().ok() }
    }

    fn numeric(text: &str, sighting: &mut Sighting) {
        let (a, rest) = digits(text);
        let separator = match rest.as_bytes().first() {
            Some(b'-') => 0,
            Some(b'/') => 1,
            Some(b'.') => 2,
            _ => return compact(a, rest, sighting),
        };
        let (b, rest2) = digits(&rest[1..]);
        if rest2.as_bytes().first() != rest.as_bytes().first() {
            return;
        }
        let (c, tail) = digits(&rest2[1..]);
        three(a, b, c, separator, tail, sighting);
    }

    fn three(a: &str, b: &str, c: &str, separator: u8, tail: &str, sighting: &mut Sighting) {
        if let Some(month) = month_number(b) {
            add(sighting, 0, separator, Order::Ymd, (a, month, c), tail);
            add(sighting, 0, separator, Order::Dmy, (c, month, a), tail);
        }
        if let Some(month) = month_number(a) {
            add(sighting, 0, separator, Order::Mdy, (c, month, b), tail);
        }
    }

    fn compact(all: &str, rest: &str, sighting: &mut Sighting) {
        let year = match all.len() {
            8 => 4,
            6 => 2,
            _ => return,
        };
        let mut add_cut = |order: Order, y: (usize, usize), m: usize, d: usize| {
            if let Some(month) = month_number(&all[m..m + 2]) {
                add(sighting, 0, 3, order, (&all[y.0..y.1], month, &all[d..d + 2]), rest);
            }
        };
        add_cut(Order::Ymd, (0, year), year, year + 2);
        add_cut(Order::Dmy, (4, 4 + year), 2, 0);
        add_cut(Order::Mdy, (4, 4 + year), 0, 2);
    }

    fn month_name(text: &str) -> Option<(u32, &str)> {
        let end = text.bytes().position(|b| !b.is_ascii_alphabetic()).unwrap_or(text.len());
        let word = text[..end].to_ascii_lowercase();
        let month =
            MONTHS.iter().position(|m| *m == word || (word.len() == 3 && m.starts_with(&word)) || (word == "sept" && *m == "september"))?;
        Some((month as u32 + 1, &text[end..]))
    }

    fn separated(text: &str) -> Option<(u8, &str)> {
        let first = text.chars().next()?;
        let code = match first {
            '-' => 0,
            '/' => 1,
            '.' => 2,
            ' ' | ',' => 3,
            _ => return None,
        };
        Some((code, text[1..].trim_start_matches(' ')))
    }

    fn named(text: &str, sighting: &mut Sighting) {
        if let Some((month, rest)) = month_name(text) {
            // Mon DD, YYYY
            let Some((s1, rest)) = separated(rest) else { return };
            let (day, rest) = digits(rest);
            let Some((s2, rest)) = separated(rest) else { return };
            let (year, tail) = digits(rest);
            if s1 == s2 {
                add(sighting, NAMES, s1, Order::Mdy, (year, month, day), tail);
            }
            return;
        }
        let (a, rest) = digits(text);
        let Some((s1, rest)) = separated(rest) else { return };
        let Some((month, rest)) = month_name(rest) else { return };
        let Some((s2, rest)) = separated(rest) else { return };
        let (c, tail) = digits(rest);
        if s1 == s2 && !a.is_empty() {
            add(sighting, NAMES, s1, Order::Ymd, (a, month, c), tail);
            add(sighting, NAMES, s1, Order::Dmy, (c, month, a), tail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn days(y: i32, m: u32, d: u32) -> i32 {
        NaiveDate::from_ymd_opt(y, m, d).expect("valid").num_days_from_ce() - 719_163
    }

    #[test]
    fn iso_texts_are_read_by_hand() {
        let m = iso("2013-01-01T05:00:00Z").expect("valid");
        assert_eq!((m.days, m.time, m.offset), (15_706, Some(18_000_000_000), Some(0)));
        assert_eq!(iso("2024-02-29").map(|m| m.days), Some(days(2024, 2, 29)));
        assert_eq!(iso("2024-03-05 01:02:03.1234567+05:30").map(|m| (m.digits, m.finer, m.offset)), Some((7, true, Some(19_800))));
        for text in [
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-1-1",
            "2024-01-01T",
            "2024-01-01T25:00:00Z",
            "2024-01-01T10:60Z",
            "2024-01-01T10:00:60Z",
            "2024-01-01x",
            "é024-01-01",
        ] {
            assert_eq!(iso(text), None, "{text}");
        }
    }

    #[test]
    fn layouts_are_named_and_ambiguity_is_seen() {
        let names = |t: &str| (0..layout::COUNT).filter(|l| layout::sight(t).hint() >> l & 1 == 1).map(layout::name).collect::<Vec<_>>();
        assert_eq!(names("Mar 25, 2024"), ["Mon DD YYYY"]);
        assert_eq!(names("25/03/2024"), ["DD/MM/YYYY"]);
        assert_eq!(names("05/03/2024"), ["DD/MM/YYYY", "MM/DD/YYYY"]);
        assert_eq!(names("01-02-03"), ["YY-MM-DD", "DD-MM-YY", "MM-DD-YY"]);
        assert_eq!(names("20240305"), ["YYYYMMDD"]);
        assert_eq!(names("25-Mar-2024 10:30 PM"), ["DD-Mon-YYYY"]);
        assert_eq!(names("5.3.2024 08:00"), ["DD.MM.YYYY", "MM.DD.YYYY"]);
        assert_eq!(names("2024/03/05"), ["YYYY/MM/DD"]);
        for text in ["31/02/2024", "2024", "1/2", "a/b/c", "05/03-2024", "Foo 3, 2024", "123456789", "12:30"] {
            assert!(names(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn zones_know_their_summer() {
        let berlin = Zone::new("Europe/Berlin").expect("a region");
        let wall = |t: &str| berlin.offset_of_wall(iso(t).expect("valid").wall_micros());
        assert_eq!(wall("2024-01-15T12:00:00"), Some(3600));
        assert_eq!(wall("2024-07-15T12:00:00"), Some(7200));
        assert_eq!(wall("2024-10-27T02:30:00"), Some(7200), "the earlier of two");
        assert_eq!(wall("2024-03-31T02:30:00"), None, "no clock showed that");
        assert_eq!(Zone::new("+05:30"), Some(Zone::Fixed(19_800)));
        assert_eq!(Zone::new("Mars/Olympus"), None);
    }

    #[test]
    fn contract_formats_are_read_by_chrono() {
        let f = Format::new("%Y-%m-%d %H:%M:%S%.fZ").expect("valid");
        let m = f.parse("2024-03-05 01:02:03.5Z").expect("fits");
        assert_eq!((m.days, m.time, m.offset, m.digits), (days(2024, 3, 5), Some(3_723_500_000), None, 1));
        assert_eq!(Format::new("%d/%m/%Y").and_then(|f| f.parse("25/03/2024")).map(|m| (m.days, m.time)), Some((days(2024, 3, 25), None)));
        assert!(Format::new("%Q").is_none());
        assert_eq!(Format::new("%s").and_then(|f| f.parse("86400")).map(|m| m.days), Some(1));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "\\PC{0,40}|[-+0-9:.,/TZ ]{0,40}|[A-Za-z]{3,9}[-/., ]{1,2}[0-9]{1,2}[-/., ]{1,2}[0-9]{2,4}") {
            let _ = (iso(&text), layout::sight(&text).hint(), Format::new(&text));
        }

        #[test]
        fn days_agree_with_chrono(n in -100_000i32..1_000_000) {
            let date = NaiveDate::from_num_days_from_ce_opt(n + 719_163).expect("in range");
            prop_assert_eq!(days_of(date.year(), date.month(), date.day()), Some(n));
        }
    }
}
