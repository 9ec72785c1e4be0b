//! Days and microseconds as text and back, for the proleptic Gregorian calendar. Total: every `i32` day and every `i64`
//! microsecond has a text, and that text reads back as itself.

const MICROS_A_DAY: i64 = 86_400_000_000;

/// The year, month and day of a number of days since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms").
const fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400;
    (if month <= 2 { year + 1 } else { year }, month, day)
}

/// Days since 1970-01-01.
const fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn write_digits(mut number: i64, width: usize, out: &mut Vec<u8>) {
    let from = out.len();
    out.resize(from + width, b'0');
    for place in out.iter_mut().skip(from).rev() {
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn write_days(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    if (0..=9_999).contains(&year) {
        write_digits(year, 4, out);
    } else {
        // ISO 8601's expanded form, which only Arrow bodies can bring.
        out.push(if year < 0 { b'-' } else { b'+' });
        let width = year.unsigned_abs().checked_ilog10().map_or(1, |power| power as usize + 1);
        write_digits(year.abs(), width.max(4), out);
    }
    out.push(b'-');
    write_digits(month, 2, out);
    out.push(b'-');
    write_digits(day, 2, out);
}

/// Appends `YYYY-MM-DD`.
pub fn write_date(days: i32, out: &mut Vec<u8>) {
    write_days(i64::from(days), out);
}

/// Appends `YYYY-MM-DDThh:mm:ss.ffffffZ`.
pub fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    write_days(micros.div_euclid(MICROS_A_DAY), out);
    let within = micros.rem_euclid(MICROS_A_DAY);
    let seconds = within / 1_000_000;
    out.push(b'T');
    write_digits(seconds / 3_600, 2, out);
    out.push(b':');
    write_digits(seconds / 60 % 60, 2, out);
    out.push(b':');
    write_digits(seconds % 60, 2, out);
    out.push(b'.');
    write_digits(within % 1_000_000, 6, out);
    out.push(b'Z');
}

fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 8 {
        return None;
    }
    text.iter().try_fold(0_i64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

fn read_days(text: &[u8]) -> Option<i64> {
    let (rest, day) = text.split_at_checked(text.len().checked_sub(2)?)?;
    let (rest, month) = rest.strip_suffix(b"-").and_then(|rest| rest.split_at_checked(rest.len().checked_sub(2)?))?;
    let year = rest.strip_suffix(b"-")?;
    let year = match year.first()? {
        b'-' => -digits(year.get(1..)?)?,
        b'+' => digits(year.get(1..)?)?,
        _ => digits(year)?,
    };
    let (month, day) = (digits(month)?, digits(day)?);
    let days = days_of(year, month, day);
    // A day that the month lacks comes back as another one.
    (civil(days) == (year, month, day)).then_some(days)
}

/// Reads what [`write_date`] writes.
pub fn read_date(text: &[u8]) -> Option<i32> {
    i32::try_from(read_days(text)?).ok()
}

/// Reads what [`write_timestamp`] writes.
pub fn read_timestamp(text: &[u8]) -> Option<i64> {
    let (date, time) = text.split_at_checked(text.len().checked_sub("T00:00:00.000000Z".len())?)?;
    let [b'T', h1, h2, b':', m1, m2, b':', s1, s2, b'.', fraction @ .., b'Z'] = time else { return None };
    let (hour, minute, second) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?, digits(&[*s1, *s2])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let within = ((hour * 60 + minute) * 60 + second) * 1_000_000 + digits(fraction)?;
    let micros = i128::from(read_days(date)?) * i128::from(MICROS_A_DAY) + i128::from(within);
    i64::try_from(micros).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Timestamp;

    fn text_of(micros: i64) -> String {
        let mut out = Vec::new();
        write_timestamp(micros, &mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn every_day_reads_back(days in any::<i32>()) {
            let mut out = Vec::new();
            write_date(days, &mut out);
            prop_assert_eq!(read_date(&out), Some(days));
        }

        #[test]
        fn every_microsecond_reads_back(micros in any::<i64>()) {
            prop_assert_eq!(read_timestamp(text_of(micros).as_bytes()), Some(micros));
        }

        #[test]
        fn times_print_as_the_service_prints_all_times(micros in -62_167_219_200_000_000_i64..253_402_300_800_000_000) {
            prop_assert_eq!(text_of(micros), Timestamp::from_micros(micros).to_string());
        }
    }

    #[test]
    fn days_that_no_month_has_are_refused() {
        for text in ["2026-02-29", "2026-13-01", "2026-00-10", "2026-1-01", "", "-", "2026-11-31"] {
            assert_eq!(read_date(text.as_bytes()), None, "{text}");
        }
        assert_eq!(read_date(b"2024-02-29"), Some(19_782));
    }
}
