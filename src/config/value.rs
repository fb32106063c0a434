//! Values as people write them: durations, sizes, percentages, cron expressions and time zones, checked where they are read.
//!
//! Other rooms use these types in their own tables, so that `max_age = "26 hours"` is shown with its caret there too.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// A refused text: headline, then what to write instead.
pub(crate) type Refusal = (String, String);

macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident($inner:ty), $expected:literal, $pattern:literal, $parse:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct TextVisitor;
                impl Visitor<'_> for TextVisitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        $parse(text).map($name).map_err(|(headline, hint)| E::custom(format!("{headline}\n{hint}")))
                    }
                }
                deserializer.deserialize_any(TextVisitor)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "description": $expected })
            }
        }
    };
}

text_value!(
    /// `"26h"`, `"1h30m"`, `"7d"`: units `ms`, `s`, `m`, `h`, `d` and `w`, a day being 24 hours.
    DurationText(Duration),
    "a duration such as `\"90s\"`, `\"30m\"`, `\"26h\"`, `\"7d\"`",
    r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d|w))+$",
    parse_duration
);

text_value!(
    /// `"50MiB"`, `"1.5GB"`, `"512B"`: bytes; `KiB` and its like are powers of 1024, `kB` and its like of 1000.
    SizeText(u64),
    "a size such as `\"50MiB\"`",
    r"^[0-9]+(\.[0-9]+)? ?([kKMGTP]i?)?B$",
    parse_size
);

text_value!(
    /// `"30%"`, as a fraction from 0.0 to 1.0.
    PercentText(f64),
    "a percentage such as `\"30%\"`",
    r"^[0-9]+(\.[0-9]+)?%$",
    parse_percent
);

text_value!(
    /// Five fields (minute, hour, day of month, month, day of week with 0 and 7 for Sunday) or `@daily` and its like.
    CronText(String),
    "a cron expression such as `\"17 3 * * *\"` or `\"@daily\"`",
    r"^(@(hourly|daily|midnight|weekly|monthly|yearly|annually)|\S+ +\S+ +\S+ +\S+ +\S+)$",
    parse_cron
);

text_value!(
    /// A time zone by its IANA name: `"Europe/Berlin"`, `"UTC"`.
    TimeZoneText(String),
    "a time zone such as `\"Europe/Berlin\"`",
    r"^[A-Za-z][A-Za-z0-9_+/-]*$",
    parse_time_zone
);

pub(crate) fn parse_duration(text: &str) -> Result<Duration, Refusal> {
    let refusal =
        |why: &str| (format!("`{text}` is not a duration: {why}"), "write `90s`, `30m`, `26h` or `7d`".into());
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refusal("it is empty"));
    }
    while !rest.is_empty() {
        let (number, after) = leading_number(rest).ok_or_else(|| refusal("a number is missing"))?;
        let unit_length = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_length);
        let secs = match unit.trim() {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            "w" => 604_800.0,
            "" => return Err(refusal("the unit is missing")),
            _ => return Err(refusal("the units are `ms`, `s`, `m`, `h`, `d` and `w`")),
        };
        let part = Duration::try_from_secs_f64(number * secs).map_err(|_| refusal("it is too long"))?;
        total = total.checked_add(part).ok_or_else(|| refusal("it is too long"))?;
        rest = next;
    }
    Ok(total)
}

/// `1h30m` for 5,400 s: what [`DurationText`] reads back as the same duration, to the millisecond.
pub fn duration_text(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if millis >= length {
            let _infallible = write!(text, "{}{unit}", millis / length);
            millis %= length;
        }
    }
    text
}

fn parse_size(text: &str) -> Result<u64, Refusal> {
    let refusal = || (format!("`{text}` is not a size"), "write `512B`, `100KiB`, `50MiB` or `1.5GiB`".into());
    let (number, unit) = leading_number(text.trim()).ok_or_else(refusal)?;
    let factor: f64 = match unit.trim() {
        "B" => 1.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        "PB" => 1e15,
        "KiB" => 1024.0,
        "MiB" => 1024_f64.powi(2),
        "GiB" => 1024_f64.powi(3),
        "TiB" => 1024_f64.powi(4),
        "PiB" => 1024_f64.powi(5),
        _ => return Err(refusal()),
    };
    let bytes = (number * factor).round();
    // 2^63 is far beyond any store, and below it the conversion is exact enough for a limit.
    if bytes < 9.2e18 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked: from 0 to 2^63")]
        let whole = bytes as u64;
        Ok(whole)
    } else {
        Err(refusal())
    }
}

fn parse_percent(text: &str) -> Result<f64, Refusal> {
    let refusal = || (format!("`{text}` is not a percentage from 0% to 100%"), "write `30%`".into());
    let number = text.trim().strip_suffix('%').ok_or_else(refusal)?;
    match leading_number(number) {
        Some((value, "")) if value <= 100.0 => Ok(value / 100.0),
        _ => Err(refusal()),
    }
}

/// Digits with at most one point, and what follows them.
fn leading_number(text: &str) -> Option<(f64, &str)> {
    let length = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, rest) = text.split_at(length);
    number.starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
    Some((number.parse().ok()?, rest))
}

fn parse_cron(text: &str) -> Result<String, Refusal> {
    schedule(text).map(|_| text.trim().to_owned()).map_err(|why| {
        (
            format!("`{text}` is not a cron expression: {why}"),
            "write five fields: minute, hour, day of month, month, day of week; or `@daily`".into(),
        )
    })
}

/// The schedule of a cron expression as Unix knows it.
pub fn schedule(text: &str) -> Result<cron::Schedule, String> {
    let text = text.trim();
    let five = match text {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        other if other.starts_with('@') => return Err(format!("`{other}` is unknown")),
        other => other,
    };
    let fields: Vec<&str> = five.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(format!("it has {} fields, not 5", fields.len()));
    };
    let weekday = weekdays(weekday)?;
    format!("0 {minute} {hour} {day} {month} {weekday}").parse().map_err(|_: cron::error::Error| {
        // The parser's own message spans several lines; which field is wrong says as much.
        let alone = [
            (format!("0 {minute} * * * *"), "minute", minute, "0 to 59"),
            (format!("0 * {hour} * * *"), "hour", hour, "0 to 23"),
            (format!("0 * * {day} * *"), "day of month", day, "1 to 31"),
            (format!("0 * * * {month} *"), "month", month, "1 to 12, or `jan`"),
        ];
        alone.iter().find(|(expression, ..)| expression.parse::<cron::Schedule>().is_err()).map_or_else(
            || "its fields do not fit together".to_owned(),
            |(_, field, written, range)| format!("`{written}` is not a {field} ({range})"),
        )
    })
}

/// The day-of-week field with names: Unix counts from Sunday = 0 (and 7), the `cron` crate from Sunday = 1.
fn weekdays(field: &str) -> Result<String, String> {
    const NAMES: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    if field == "*" || field == "?" {
        return Ok("*".to_owned());
    }
    let day = |text: &str| -> Result<usize, String> {
        let named = text.get(..3).and_then(|short| NAMES.iter().position(|name| name.eq_ignore_ascii_case(short)));
        match (named, text.parse::<usize>()) {
            (Some(day), _) => Ok(day),
            (None, Ok(day)) if day <= 7 => Ok(day),
            _ => Err(format!("`{text}` is not a day of the week (0 to 7, or `mon`)")),
        }
    };
    let mut days = Vec::new();
    for item in field.split(',') {
        let (range, step) = item.split_once('/').map_or((item, Ok(1)), |(range, step)| (range, step.parse::<usize>()));
        let step = step.ok().filter(|step| *step >= 1).ok_or_else(|| format!("`{item}` has a bad step"))?;
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (0, 6),
            Some((first, last)) => (day(first)?, day(last)?),
            None if step > 1 => (day(range)?, 6),
            None => (day(range)?, day(range)?),
        };
        // `fri-sun` runs over the end of the week.
        let last = if last < first { last + 7 } else { last };
        days.extend((first..=last).step_by(step).map(|day| day % 7));
    }
    days.sort_unstable();
    days.dedup();
    Ok(days.iter().map(|day| NAMES[*day]).collect::<Vec<_>>().join(","))
}

fn parse_time_zone(text: &str) -> Result<String, Refusal> {
    if jiff::tz::TimeZone::get(text).is_ok() {
        return Ok(text.to_owned());
    }
    let names: Vec<String> = jiff::tz::db().available().map(|name| name.to_string()).collect();
    let hint = match super::explain::did_you_mean(text, names.iter().map(String::as_str)) {
        Some(name) => format!("did you mean `{name}`?"),
        None if names.is_empty() => "this machine has no time zones; install `tzdata`".to_owned(),
        None => "use an IANA name such as `Europe/Berlin` or `UTC`".to_owned(),
    };
    Err((format!("unknown time zone `{text}`"), hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_print_back() {
        let cases = [
            ("90s", 90_000),
            ("30m", 1_800_000),
            ("26h", 93_600_000),
            ("7d", 604_800_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1.5h", 5_400_000),
            ("2w", 1_209_600_000),
        ];
        for (text, millis) in cases {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(parse_duration(&duration_text(duration)).unwrap(), duration, "{text}");
        }
        assert_eq!(duration_text(Duration::from_hours(26)), "1d2h");
        for bad in ["", "30", "h", "30 x", "-5m", "1e9h", "5m-", "99999999999999999999w"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_percentages_have_units_and_bounds() {
        assert_eq!(parse_size("50MiB").unwrap(), 50 << 20);
        assert_eq!(parse_size("1.5 GiB").unwrap(), 3 << 29);
        assert_eq!(parse_size("10MB").unwrap(), 10_000_000);
        assert_eq!(parse_size("0B").unwrap(), 0);
        for bad in ["50", "MiB", "50 mib", "99999999999PiB", "-1B"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert!((parse_percent("30%").unwrap() - 0.3).abs() < 1e-12);
        for bad in ["30", "101%", "-1%", "%", "1.2.3%"] {
            assert!(parse_percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn cron_counts_days_of_the_week_as_unix_does() {
        let cases = [
            ("0", "SUN"),
            ("7", "SUN"),
            ("1-5", "MON,TUE,WED,THU,FRI"),
            ("fri-sun", "SUN,FRI,SAT"),
            ("*/2", "SUN,TUE,THU,SAT"),
            ("0,sat", "SUN,SAT"),
            ("5-7", "SUN,FRI,SAT"),
            ("*", "*"),
        ];
        for (field, names) in cases {
            assert_eq!(weekdays(field).unwrap(), names, "{field}");
        }
        for good in ["17 3 * * *", "0 6 * * 0", "*/15 * * * mon-fri", "@daily", "@hourly", "0 0 1 jan *"] {
            assert!(schedule(good).is_ok(), "{good}");
        }
        for bad in ["", "* * * *", "60 3 * * *", "0 24 * * *", "0 0 * * 8", "@dayly", "0 0 * * * *", "0 0 * * mon/0"] {
            assert!(schedule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_time_zone_gets_its_neighbour() {
        assert!(parse_time_zone("Europe/Berlin").is_ok());
        assert_eq!(parse_time_zone("Europe/Berlim").unwrap_err().1, "did you mean `Europe/Berlin`?");
    }
}
