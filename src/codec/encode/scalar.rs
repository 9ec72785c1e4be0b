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
    if value.is_finite() {
        out.extend_from_slice(ryu_js::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(b"null");
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

/// Appends a string in double quotes with the shortest escapes.
pub fn write_str(value: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = value.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| ESCAPES[usize::from(*byte)] != 0) {
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
