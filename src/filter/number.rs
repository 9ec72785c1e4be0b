//! Numbers as they are written: compared with a column without being rounded first.

/// The most digits before the point that are looked at: no integer column holds more.
const INTEGER_DIGITS_MAX: i64 = 38;

/// A number literal, exactly as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Number {
    /// As the float parser reads it.
    text: String,
    negative: bool,
    /// Its digits without zeros at either end; none for zero.
    digits: Vec<u8>,
    /// Where the point stands: the value is `0.digits` times ten to this power.
    scale: i64,
    /// Whether it has neither fraction nor exponent.
    integral: bool,
}

/// The greatest value of a column's type that is not above a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut<T> {
    /// The number itself.
    At(T),
    /// The number lies above this one and below the next.
    Above(T),
    /// All values of the type are greater.
    BelowAll,
}

impl Number {
    /// Reads `[+-]digits[.digits][e[+-]digits]`, where the digits before the point may be left out.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let (whole, fraction) = match mantissa.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (mantissa, None),
        };
        let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let is_sound = are_digits(whole)
            && fraction.is_none_or(|fraction| !fraction.is_empty() && are_digits(fraction))
            && (fraction.is_some() || !whole.is_empty());
        if !is_sound {
            return None;
        }
        let power = match exponent {
            None => 0,
            Some(exponent) => {
                let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
                if digits.is_empty() || !are_digits(digits) {
                    return None;
                }
                // Past the range of any type it is all the same how far.
                let size = digits.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
                if exponent.starts_with('-') { -size } else { size }
            }
        };
        let fraction_text = fraction.unwrap_or_default();
        let all: Vec<u8> = whole.bytes().chain(fraction_text.bytes()).collect();
        let leading = all.iter().take_while(|digit| **digit == b'0').count();
        let mut digits = all.get(leading..).unwrap_or_default().to_vec();
        while digits.last() == Some(&b'0') {
            digits.pop();
        }
        let scale = (whole.len() as i64).saturating_sub(leading as i64).saturating_add(power);
        Some(Self {
            text: text.strip_prefix('+').unwrap_or(text).to_owned(),
            negative: text.starts_with('-'),
            digits,
            scale,
            integral: fraction.is_none() && exponent.is_none(),
        })
    }

    /// Whether it is less than zero.
    pub(super) fn is_negative(&self) -> bool {
        self.negative && !self.digits.is_empty()
    }

    /// The number with the other sign.
    pub(super) fn negated(&self) -> Self {
        let text = match self.text.strip_prefix('-') {
            Some(positive) => positive.to_owned(),
            None => format!("-{}", self.text),
        };
        Self { text, negative: !self.negative, ..self.clone() }
    }

    /// Where it stands among the integers from `min` to `max`.
    pub(super) fn among_integers(&self, min: i128, max: i128) -> Cut<i128> {
        let (floor, exact) = self.floor();
        if floor < min {
            Cut::BelowAll
        } else if floor > max {
            Cut::Above(max)
        } else if exact {
            Cut::At(floor)
        } else {
            Cut::Above(floor)
        }
    }

    /// The greatest integer that is not above it, and whether that is the number itself. What `i128` cannot hold is its
    /// end, inexactly.
    fn floor(&self) -> (i128, bool) {
        if self.digits.is_empty() {
            return (0, true);
        }
        if self.scale > INTEGER_DIGITS_MAX {
            return (if self.negative { i128::MIN } else { i128::MAX }, false);
        }
        let places = usize::try_from(self.scale).unwrap_or(0);
        let whole = (0..places).fold(0_i128, |whole, place| {
            whole * 10 + self.digits.get(place).map_or(0, |digit| i128::from(digit - b'0'))
        });
        let exact = self.scale >= 0 && self.digits.len() <= places;
        match (self.negative, exact) {
            (false, _) => (whole, exact),
            (true, true) => (-whole, true),
            (true, false) => (-whole - 1, false),
        }
    }

    /// Where it stands among the doubles. As in a record, a literal with a fraction or an exponent is the nearest double, and
    /// an integer is itself.
    pub(super) fn among_f64(&self) -> Cut<f64> {
        let nearest: f64 = self.text.parse().unwrap_or(f64::NAN);
        if nearest == f64::INFINITY {
            return Cut::Above(f64::MAX);
        }
        if nearest == f64::NEG_INFINITY {
            return Cut::Above(f64::NEG_INFINITY);
        }
        let (whole, exact) = self.floor();
        if self.integral && exact && nearest.abs() < 1e38 {
            // A double this large has no fraction.
            let back = nearest as i128;
            if back > whole {
                return Cut::Above(nearest.next_down());
            }
            if back < whole {
                return Cut::Above(nearest);
            }
        }
        Cut::At(nearest)
    }

    /// The same among single floats, of which any number is the nearest: that is what a record's number becomes in such a
    /// column, and what is printed of it.
    pub(super) fn among_f32(&self) -> Cut<f32> {
        let nearest: f32 = self.text.parse().unwrap_or(f32::NAN);
        match nearest {
            f32::INFINITY => Cut::Above(f32::MAX),
            f32::NEG_INFINITY => Cut::Above(f32::NEG_INFINITY),
            _ => Cut::At(nearest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn numbers_are_written_as_in_json_or_with_a_bare_point() {
        for text in ["0", "-0", "007", "1.5", ".5", "-.5", "1e3", "1E+3", "1.5e-3", "+5"] {
            assert!(Number::parse(text).is_some(), "{text}");
        }
        for text in ["", "-", "1.", ".", "1e", "1e+", "e5", "--1", "1.2.3", "0x1", "1_000", "NaN", "inf", "٣"] {
            assert!(Number::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_number_is_placed_among_integers_exactly() {
        let (min, max) = (i128::from(i64::MIN), i128::from(i64::MAX));
        let cases = [
            ("9007199254740993", Cut::At(9_007_199_254_740_993)),
            ("9007199254740993.0", Cut::At(9_007_199_254_740_993)),
            ("9007199254740993.5", Cut::Above(9_007_199_254_740_993)),
            ("-9007199254740993.5", Cut::Above(-9_007_199_254_740_994)),
            ("1e2", Cut::At(100)),
            ("1.5e1", Cut::At(15)),
            ("1500e-2", Cut::At(15)),
            ("1.55e1", Cut::Above(15)),
            ("0.1", Cut::Above(0)),
            ("-0.1", Cut::Above(-1)),
            ("-0.0", Cut::At(0)),
            ("0e99999999999999999999", Cut::At(0)),
            ("1e-99999999999999999999", Cut::Above(0)),
            ("-1e-400", Cut::Above(-1)),
            ("9223372036854775807", Cut::At(max)),
            ("9223372036854775807.1", Cut::Above(max)),
            ("9223372036854775808", Cut::Above(max)),
            ("1e400", Cut::Above(max)),
            ("-9223372036854775808", Cut::At(min)),
            ("-9223372036854775808.5", Cut::BelowAll),
            ("-1e99999999999999999999", Cut::BelowAll),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text).among_integers(min, max), expected, "{text}");
        }
        assert_eq!(number("-1").among_integers(0, 255), Cut::BelowAll);
    }

    #[test]
    fn a_number_is_placed_among_floats_as_a_record_would_have_it() {
        let edge = 9_007_199_254_740_992.0_f64;
        let cases = [
            ("0.1", Cut::At(0.1)),
            ("9007199254740992", Cut::At(edge)),
            ("9007199254740993", Cut::Above(edge)),
            ("9007199254740995", Cut::Above(edge + 2.0)),
            ("9007199254740993.0", Cut::At(edge)),
            ("1e400", Cut::Above(f64::MAX)),
            ("-1e400", Cut::Above(f64::NEG_INFINITY)),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text).among_f64(), expected, "{text}");
        }
        assert_eq!(number("0.1").among_f32(), Cut::At(0.1_f32));
        assert_eq!(number("1e39").among_f32(), Cut::Above(f32::MAX));
        assert_eq!(number("-5").negated(), number("5"));
        assert_eq!(number("5").negated().negated(), number("5"));
    }
}
