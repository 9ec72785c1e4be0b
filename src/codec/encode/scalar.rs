//! The one form of each scalar: what every reader gets, and what the decoder writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use half::f16;

use crate::codec::number::shortest_of_half;

/// Appends an integer by its digits.
pub fn write_int(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a double as RFC 8785 (ECMAScript) prints it, −0.0 as `0`, what is not finite as `null`.
pub fn write_f64(value: f64, out: &mut Vec<u8>) {
    if let Some(decimal) = Decimal::of(value) {
        decimal.write(value < 0.0, out);
    } else if value.is_finite() {
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Digits after the point that a [`Decimal`] has at most.
const PLACES: usize = 6;
/// Ten to the power of [`PLACES`].
const SCALE: u64 = 1_000_000;

/// The magnitude of a double that has few digits, as prices and measurements do: found by a multiplication and a division, where
/// the shortest text of any double takes a search.
struct Decimal {
    whole: u64,
    /// In units of 1 / [`SCALE`].
    part: u64,
}

impl Decimal {
    /// A double that is the nearest one to a decimal of at most 15 digits, [`PLACES`] of them after the point. No two such
    /// decimals have the same nearest double, so there is none with fewer digits that reads back as it.
    fn of(value: f64) -> Option<Self> {
        let magnitude = value.abs();
        if magnitude.is_nan() || magnitude >= 1e9 {
            return None;
        }
        // Both are below 2^53 and exact, so that the quotient is the double nearest to the decimal.
        let scaled = (magnitude * SCALE as f64 + 0.5) as u64;
        let is_it = scaled as f64 / SCALE as f64 == magnitude;
        is_it.then_some(Self { whole: scaled / SCALE, part: scaled % SCALE })
    }

    fn write(&self, is_negative: bool, out: &mut Vec<u8>) {
        if is_negative {
            out.push(b'-');
        }
        write_int(self.whole, out);
        if self.part == 0 {
            return;
        }
        let mut text = [b'.'; PLACES + 1];
        let mut rest = self.part;
        for digit in text.iter_mut().skip(1).rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let zeros = text.iter().rev().take_while(|digit| **digit == b'0').count();
        out.extend_from_slice(text.get(..text.len() - zeros).unwrap_or(&text));
    }
}

/// Appends a float of 32 bits with the fewest digits that read back as it, otherwise like [`write_f64`].
pub fn write_f32(value: f32, out: &mut Vec<u8>) {
    if value.is_finite() {
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Appends a float of 16 bits with the fewest digits that read back as it, otherwise like [`write_f64`].
pub fn write_f16(value: f16, out: &mut Vec<u8>) {
    if value.is_finite() {
        write_f64(shortest_of_half(value), out);
    } else {
        out.extend_from_slice(b"null");
    }
}

/// How a byte of a string is written: as itself, or after a backslash as this, or (`u`) by its number.
const ESCAPES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0A] = b'n';
    table[0x0C] = b'f';
    table[0x0D] = b'r';
    table[0x22] = b'"';
    table[0x5C] = b'\\';
    table
};

/// Bytes that are looked at together: a register's worth.
const BLOCK: usize = 16;

/// Where the first byte is that cannot be written as itself.
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    // Without a branch for each byte, so that a block is a few instructions.
    let is_plain = |block: &&[u8]| {
        !block.iter().fold(false, |any, byte| any | (*byte < 0x20) | (*byte == b'"') | (*byte == b'\\'))
    };
    let plain = bytes.chunks_exact(BLOCK).take_while(is_plain).count() * BLOCK;
    let rest = bytes.get(plain..)?;
    rest.iter().position(|byte| ESCAPES[usize::from(*byte)] != 0).map(|at| plain + at)
}

/// Appends a string in double quotes with the shortest escapes.
pub fn write_str(value: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = value.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = bytes;
    while let Some(at) = first_escaped(rest) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((special, tail)) = tail.split_first() else { break };
        match ESCAPES[usize::from(*special)] {
            b'u' => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(special >> 4)]);
                out.push(HEX[usize::from(special & 15)]);
            }
            letter => out.extend_from_slice(&[b'\\', letter]),
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends bytes as padded base64 in double quotes.
pub fn write_binary(value: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let from = out.len();
    out.resize(from + value.len().div_ceil(3) * 4, 0);
    let written = out.get_mut(from..).and_then(|room| STANDARD.encode_slice(value, room).ok()).unwrap_or(0);
    debug_assert_eq!(from + written, out.len());
    out.truncate(from + written);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_print_as_ecmascript_prints_them() {
        for (value, expected) in [
            (1.0, "1"),
            (-0.0, "0"),
            (0.1, "0.1"),
            (1e21, "1e+21"),
            (1e20, "100000000000000000000"),
            (1e-7, "1e-7"),
            (9_007_199_254_740_992.0, "9007199254740992"),
            (f64::NAN, "null"),
            (f64::NEG_INFINITY, "null"),
        ] {
            assert_eq!(text(|out| write_f64(value, out)), expected);
        }
        assert_eq!(text(|out| write_f32(0.1, out)), "0.1");
        assert_eq!(text(|out| write_f32(16_777_216.0, out)), "16777216");
    }

    /// What is told of a double by who searches for its shortest text.
    fn searched(value: f64) -> String {
        ryu_js::Buffer::new().format_finite(value).to_owned()
    }

    #[test]
    fn doubles_of_few_digits_print_like_all_others() {
        let edges = [
            0.000_001,
            0.000_000_1,
            999_999_999.999_999,
            1e9,
            1e9 - 0.1,
            0.1 + 0.2,
            123_456_789.123_456_7,
            0.3,
            5e-324,
        ];
        for value in edges {
            assert_eq!(text(|out| write_f64(value, out)), searched(value));
        }
        let mut short = 0;
        for number in 0..200_000_u32 {
            for scale in [1.0, 7.0, 10.0, 100.0, 1e3, 1e6, 1e7] {
                for value in [f64::from(number) / scale, -f64::from(number) * 4_099.0 / scale] {
                    short += usize::from(Decimal::of(value).is_some());
                    assert_eq!(text(|out| write_f64(value, out)), searched(value));
                }
            }
        }
        assert!(short > 1_500_000, "{short}");
    }

    proptest::proptest! {
        #[test]
        fn any_double_prints_as_its_shortest_text(bits: u64, digits in 0_u64..1_000_000_000_000_000, places in 0_i32..12) {
            for value in [f64::from_bits(bits), digits as f64 / 10_f64.powi(places), -(digits as f64) * 10_f64.powi(-places)] {
                if value.is_finite() {
                    proptest::prop_assert_eq!(text(|out| write_f64(value, out)), searched(value));
                }
            }
        }

        #[test]
        fn escapes_are_found_wherever_they_stand(value in "[a-z\u{e9}]{0,40}[\u{0}-\u{1f}\"\\\\]?[a-z\u{1f600}]{0,40}[\"\n]?") {
            let written = text(|out| write_str(&value, out));
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), value);
        }
    }

    #[test]
    fn all_16_bit_floats_read_back_from_at_most_five_digits() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits);
            let text = text(|out| write_f16(value, out));
            if value.is_finite() {
                assert_eq!(f16::from_f64(text.parse().unwrap()), value, "{text}");
                let digits = text.split('e').next().unwrap().replace(['-', '.'], "");
                assert!(digits.trim_matches('0').len() <= 5, "{text}");
            } else {
                assert_eq!(text, "null");
            }
        }
        assert_eq!(text(|out| write_f16(f16::from_f64(0.1), out)), "0.1");
        assert_eq!(text(|out| write_f16(f16::from_f64(0.015_625), out)), "0.01563");
    }

    #[test]
    fn strings_take_the_shortest_escapes() {
        let value = "a\u{8}\t\n\u{c}\r\"\\/\u{0}\u{1f}\u{7f}é\u{2028}😀";
        assert_eq!(text(|out| write_str(value, out)), "\"a\\b\\t\\n\\f\\r\\\"\\\\/\\u0000\\u001f\u{7f}é\u{2028}😀\"");
    }

    #[test]
    fn binary_is_padded_base64() {
        for (value, expected) in [(&b""[..], "\"\""), (b"a", "\"YQ==\""), (b"\xff\xfe\xfd", "\"//79\"")] {
            assert_eq!(text(|out| write_binary(value, out)), expected);
        }
    }
}
