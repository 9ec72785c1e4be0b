//! Numbers: what a literal is, and how values print.

use std::cmp::Ordering;

use half::f16;

use crate::codec::encode::scalar::write_f64;
use crate::schema::{EXACT_INTEGER_MAX, IntType, NumberKind};

/// Whether a literal has neither fraction nor exponent.
pub(super) fn is_integer(literal: &str) -> bool {
    !literal.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'))
}

/// What a literal is, exactly: `9007199254740993.0` is that integer, though no double is.
pub(super) fn kind(literal: &str) -> NumberKind {
    let fits = |value: &i128| IntType::I64.holds(*value) || IntType::U64.holds(*value);
    if is_integer(literal) {
        return match literal.parse::<i128>().ok().filter(fits) {
            Some(value) if value.abs() <= EXACT_INTEGER_MAX => NumberKind::Integer(value),
            value if is_printed_integer(literal) => NumberKind::Printed(value),
            Some(value) => NumberKind::Integer(value),
            None => NumberKind::HugeInteger,
        };
    }
    match whole(literal).filter(fits) {
        Some(value) => NumberKind::Whole(value),
        None if float64(literal).is_finite() => NumberKind::Fraction,
        None => NumberKind::PastFloat64,
    }
}

/// A literal's parts: digits before and after the point, and the exponent.
struct Parts<'a> {
    negative: bool,
    before: &'a str,
    after: &'a str,
    exponent: i64,
}

impl<'a> Parts<'a> {
    fn of(literal: &'a str) -> Self {
        let unsigned = literal.strip_prefix('-').unwrap_or(literal);
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = exponent.trim_start_matches(['+', '-']);
        // Past eighteen digits the exponent only has to be far out of any range.
        let size: i64 = digits.trim_start_matches('0').parse().unwrap_or(if digits.contains(|c| c != '0') {
            i64::MAX / 4
        } else {
            0
        });
        let exponent = if exponent.starts_with('-') { -size.min(i64::MAX / 4) } else { size.min(i64::MAX / 4) };
        Self { negative: literal.starts_with('-'), before, after, exponent }
    }

    /// The digits without zeros at either end, and the power of ten of the first one; none for zero.
    fn significant(&self) -> Option<(Vec<u8>, i64)> {
        let digits: Vec<u8> = self.before.bytes().chain(self.after.bytes()).collect();
        let first = digits.iter().position(|digit| *digit != b'0')?;
        let last = digits.iter().rposition(|digit| *digit != b'0')?;
        let power = self.exponent + self.before.len() as i64 - 1 - first as i64;
        Some((digits.get(first..=last)?.to_vec(), power))
    }
}

/// The value of a literal that is an integer of at most 20 digits.
fn whole(literal: &str) -> Option<i128> {
    let parts = Parts::of(literal);
    let Some((digits, power)) = parts.significant() else { return Some(0) };
    let places = usize::try_from(power).ok().filter(|power| *power < 20)? + 1;
    if digits.len() > places {
        return None;
    }
    let zeros = std::iter::repeat_n(b'0', places - digits.len());
    let size = digits.iter().copied().chain(zeros).fold(0_i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    Some(if parts.negative { -size } else { size })
}

/// The nearest double; infinite past its range.
pub(super) fn float64(literal: &str) -> f64 {
    literal.parse().unwrap_or(f64::NAN)
}

/// The nearest single; infinite past its range.
pub(super) fn float32(literal: &str) -> f32 {
    literal.parse().unwrap_or(f32::NAN)
}

/// The nearest half, ties to even; infinite past its range.
pub(super) fn float16(literal: &str) -> f16 {
    let double = float64(literal);
    let size = double.abs();
    // The first guess can be off by one where it went through a single.
    let mut bits = f16::from_f64(size.min(65_504.0)).to_bits();
    while bits > 0 && compare(literal, size, midpoint(bits - 1)) == Ordering::Less {
        bits -= 1;
    }
    // Infinity follows the greatest half in bits as the next value follows in size.
    while bits < f16::INFINITY.to_bits() {
        match compare(literal, size, midpoint(bits)) {
            Ordering::Greater => bits += 1,
            Ordering::Equal => {
                bits += bits & 1;
                break;
            }
            Ordering::Less => break,
        }
    }
    let half = f16::from_bits(bits);
    if double.is_sign_negative() { -half } else { half }
}

/// The value halfway between a half and the next greater one, exact in a double.
fn midpoint(bits: u16) -> f64 {
    let next = if bits == f16::MAX.to_bits() { 65_536.0 } else { f16::from_bits(bits + 1).to_f64() };
    f16::from_bits(bits).to_f64().midpoint(next)
}

/// Compares a literal's magnitude, of which `size` is the nearest double, with a midpoint of two halves.
fn compare(literal: &str, size: f64, midpoint: f64) -> Ordering {
    match size.partial_cmp(&midpoint) {
        // The double may be the midpoint only by rounding. Thirty digits write any midpoint out in full.
        Some(Ordering::Equal) => {
            let order = |(digits, power): (Vec<u8>, i64)| (power, digits);
            let exact = format!("{midpoint:.30}");
            Parts::of(literal).significant().map(order).cmp(&Parts::of(&exact).significant().map(order))
        }
        Some(order) => order,
        None => Ordering::Equal,
    }
}

/// The double whose shortest text is the one of a finite half: the fewest digits that lead back to it.
pub(super) fn shortest_of_half(value: f16) -> f64 {
    let exact = value.to_f64();
    for places in 0..5 {
        // The nearest decimal with so many digits, then its neighbours: below a power of two halves are denser, so that
        // a neighbour can lead back where the nearest does not.
        let nearest = format!("{exact:.places$e}");
        let (digits, power) = nearest.split_once('e').unwrap_or((&nearest, "0"));
        let scaled: i64 = digits.replace('.', "").parse().unwrap_or_default();
        for step in [0, 1, -1] {
            let decimal = format!("{}e{}", scaled + step, power.parse::<i64>().unwrap_or_default() - places as i64);
            if float16(&decimal) == value {
                return float64(&decimal);
            }
        }
    }
    exact
}

/// Whether a literal is a decimal fraction of at most 15 digits that `float64` prints as it stands.
///
/// A double keeps 15 digits (IEEE 754-2019, 5.12.2), so that no shorter decimal is nearest to the same one; RFC 8785 prints
/// the shortest without an exponent from 1e-6 on. What is left to rule out is what is not the shortest: zeros at the end.
pub(super) fn is_printed_decimal(literal: &str) -> bool {
    let unsigned = literal.strip_prefix('-').unwrap_or(literal);
    if unsigned.len() > 16 {
        return false;
    }
    let Some((whole, fraction)) = unsigned.split_once('.') else { return false };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let has_magnitude = whole != "0" || fraction.bytes().take(6).any(|byte| byte != b'0');
    digits(whole) && digits(fraction) && !fraction.ends_with('0') && has_magnitude
}

/// Digits that the shortest text of a double has at most, without the zeros behind them.
const DIGITS_MAX: usize = 17;
/// From 1e21 on RFC 8785 prints an exponent.
const PLACES_MAX: usize = 21;

/// Whether an integer literal is the text that its nearest double prints as: whoever reads it back finds what was sent.
fn is_printed_integer(literal: &str) -> bool {
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    if digits.len() > PLACES_MAX || digits.trim_end_matches('0').len() > DIGITS_MAX {
        return false;
    }
    let mut printed = Vec::with_capacity(1 + PLACES_MAX);
    write_f64(float64(literal), &mut printed);
    printed == literal.as_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::encode::scalar::{write_f16, write_f32};

    proptest! {
        #[test]
        fn a_decimal_that_is_taken_as_it_stands_is_what_its_double_prints(
            literal in "-?(0|[1-9][0-9]{0,9})\\.[0-9]{1,12}"
        ) {
            let mut printed = Vec::new();
            write_f64(literal.parse().unwrap(), &mut printed);
            if is_printed_decimal(&literal) {
                prop_assert_eq!(String::from_utf8(printed).unwrap(), literal);
            }
        }
    }

    #[test]
    fn only_short_plain_decimals_are_taken_as_they_stand() {
        for (literal, taken) in [
            ("0.5", true),
            ("-12.25", true),
            ("0.000001", true),
            ("123456789.123456", true),
            ("0.0000001", false),
            ("0.50", false),
            ("-0.0", false),
            ("5", false),
            ("1e3", false),
            ("1.5e3", false),
            ("1234567890.1234567", false),
            ("1.", false),
            (".5", false),
        ] {
            assert_eq!(is_printed_decimal(literal), taken, "{literal}");
        }
    }

    #[test]
    fn literals_are_told_apart_by_their_exact_value() {
        use NumberKind::*;
        let cases = [
            ("0", Integer(0)),
            ("-0", Integer(0)),
            ("18446744073709551615", Integer(u64::MAX.into())),
            ("-9223372036854775808", Integer(i64::MIN.into())),
            ("18446744073709551616", HugeInteger),
            ("9007199254740992", Integer(1 << 53)),
            ("9007199254740993", Integer((1 << 53) + 1)),
            ("9007199254740994", Printed(Some((1 << 53) + 2))),
            ("100000000000000000", Printed(Some(100_000_000_000_000_000))),
            ("-1152921504606847000", Printed(Some(-1_152_921_504_606_847_000))),
            // The same double, exactly; but it prints as the line above.
            ("-1152921504606846976", Integer(-(1 << 60))),
            ("9223372036854776000", Printed(Some(9_223_372_036_854_776_000))),
            ("18446744073709552000", Printed(None)),
            ("-100000000000000000000", Printed(None)),
            ("999999999999999900000", Printed(None)),
            ("999999999999999999999", HugeInteger),
            ("1000000000000000000000", HugeInteger),
            ("-9223372036854775809", HugeInteger),
            ("1.0", Whole(1)),
            ("1e2", Whole(100)),
            ("100e-2", Whole(1)),
            ("100.00e-2", Whole(1)),
            ("0.5e1", Whole(5)),
            ("-0.0", Whole(0)),
            ("0e999999999999999999999", Whole(0)),
            ("0.000e-99999999999999999999", Whole(0)),
            ("9007199254740993.0", Whole(9_007_199_254_740_993)),
            ("1.0000000000000000000000001", Fraction),
            ("1.5", Fraction),
            ("1e-7", Fraction),
            ("1e-99999999999999999999", Fraction),
            ("1e20", Fraction),
            ("1.8446744073709551615E+19", Whole(u64::MAX.into())),
            ("1.8446744073709551616E+19", Fraction),
            ("1e308", Fraction),
            ("1e309", PastFloat64),
            ("-1e99999999999999999999", PastFloat64),
        ];
        for (literal, expected) in cases {
            assert_eq!(kind(literal), expected, "{literal}");
        }
        assert_eq!(kind(&"1".repeat(5_000)), HugeInteger);
    }

    fn half_text(literal: &str) -> String {
        let mut out = Vec::new();
        write_f16(float16(literal), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn halves_take_the_nearest_value_and_print_it_shortly() {
        let cases = [
            ("0.1", "0.1"),
            ("1", "1"),
            ("-0.0", "0"),
            ("65504", "65500"),
            ("65519.9999999999999999999999", "65500"),
            ("1e-8", "0"),
            ("6e-8", "6e-8"),
            ("0.333333", "0.3333"),
            // A tie goes to even, a hair more does not, though both are the same double.
            ("2049", "2048"),
            ("2049.00000000000000000000001", "2050"),
            ("2051", "2052"),
            ("2050.99999999999999999999999", "2050"),
        ];
        for (literal, text) in cases {
            assert_eq!(half_text(literal), text, "{literal}");
        }
        assert!(float16("65520").is_infinite() && float16("-1e9").is_infinite());
    }

    #[test]
    fn every_half_comes_back_from_its_text() {
        for bits in (0..f16::INFINITY.to_bits()).step_by(7) {
            let mut out = Vec::new();
            write_f16(f16::from_bits(bits), &mut out);
            let text = String::from_utf8(out).unwrap();
            assert_eq!(float16(&text).to_bits(), bits, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_double_and_single_comes_back_from_its_text(bits in any::<u64>()) {
            let (double, single) = (f64::from_bits(bits), f32::from_bits(bits as u32));
            let mut out = Vec::new();
            if double.is_finite() && double != 0.0 {
                write_f64(double, &mut out);
                prop_assert_eq!(float64(std::str::from_utf8(&out).unwrap()).to_bits(), bits);
            }
            out.clear();
            if single.is_finite() && single != 0.0 {
                write_f32(single, &mut out);
                prop_assert_eq!(float32(std::str::from_utf8(&out).unwrap()).to_bits(), bits as u32);
            }
        }
    }

    proptest! {
        #[test]
        fn what_any_double_prints_is_known_as_its_text(fraction in any::<u64>(), power in 53_u64..71, negative: bool) {
            let bits = u64::from(negative) << 63 | (1_023 + power) << 52 | fraction >> 12;
            let mut out = Vec::new();
            write_f64(f64::from_bits(bits), &mut out);
            let text = std::str::from_utf8(&out).unwrap();
            let is_known = matches!(kind(text), NumberKind::Printed(_)) || text.ends_with("9007199254740992");
            prop_assert_eq!(is_known, is_integer(text), "{}", text);
        }
    }
}
