//! Reads whole numbers in JSON, the most frequent values, without a general parser.

/// The digits of every number with this many digits fit a `u64`.
const MOST_DIGITS: usize = 19;

/// The whole number at the beginning of JSON, and the bytes after it. `None` if the JSON begins with anything else: a
/// general parser then reads it. So every number that this function finds is one that JSON permits, without a sign, a
/// fraction or an exponent, and with at most 19 digits.
#[inline]
pub(super) fn leading(json: &[u8]) -> Option<(u64, &[u8])> {
    let (mut number, mut length) = (0_u64, 0);
    while let Some(digit @ 0..=9) = json.get(length).map(|byte| byte.wrapping_sub(b'0')) {
        if length == MOST_DIGITS {
            return None;
        }
        number = number * 10 + u64::from(digit);
        length += 1;
    }
    let rest = json.get(length..)?;
    let ends = matches!(rest.first(), None | Some(b',' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
    // JSON permits a leading zero only in the number 0.
    let is_written_well = length == 1 || (length > 1 && json[0] != b'0');
    (ends && is_written_well).then_some((number, rest))
}

/// The whole number that is all of this JSON. `None` if the JSON is anything else.
#[inline]
pub(crate) fn entire(json: &[u8]) -> Option<u64> {
    leading(json).filter(|(_, rest)| rest.is_empty()).map(|(number, _)| number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_read_like_serde_json_reads_it() {
        for json in ["0", "7", "10", "409600", "9999999999999999999"] {
            assert_eq!(entire(json.as_bytes()), serde_json::from_str(json).ok(), "{json}");
            assert!(entire(json.as_bytes()).is_some(), "{json}");
        }
    }

    #[test]
    fn other_json_is_left_to_the_general_parser() {
        let others =
            ["", "-1", "1.5", "1e3", "01", "00", "10000000000000000000", "\"1\"", "null", "[1]", "1]", " 1"];
        for json in others {
            assert_eq!(entire(json.as_bytes()), None, "{json}");
        }
        assert_eq!(entire("1".repeat(1 << 20).as_bytes()), None);
    }

    #[test]
    fn a_number_in_an_array_ends_at_a_comma_a_bracket_or_space() {
        for rest in [",2]", "]", " ]", "\n,", "\r", "\t", ""] {
            let json = format!("12{rest}");
            assert_eq!(leading(json.as_bytes()), Some((12, rest.as_bytes())), "{json}");
        }
        for json in ["12:", "12x", "12\"", "12}", "12{", "12[", "12.", "12-", "12\u{b}"] {
            assert_eq!(leading(json.as_bytes()), None, "{json}");
        }
    }
}
