//! Numbers as text, for the table, the chart and the advice of `replug bench`.

use super::style::scaled;

/// A duration in nanoseconds as text with three significant digits, such as `850 ns`, `1.15 us` or `37.2 ms`.
pub(super) fn duration(ns: f64) -> String {
    let (value, unit) = scaled(ns);
    format!("{} {unit}", three_digits(value))
}

fn three_digits(value: f64) -> String {
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// A mean count, such as `3` or `2.5`.
pub(super) fn count(mean: f64) -> String {
    let text = format!("{mean:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// A factor, such as `1.4` or `35`.
pub(super) fn times(factor: f64) -> String {
    if factor < 9.95 { format!("{factor:.1}") } else { format!("{factor:.0}") }
}

pub(super) fn percent(share: f64) -> String {
    format!("{} %", times(share * 1e2))
}

/// A number without decimals, with a space between groups of three digits.
pub(super) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_units() {
        let shown = [7.126, 99.96, 999.6, 37_249.0, 1_200_000.0, 2.5e9].map(duration);
        assert_eq!(shown, ["7.13 ns", "100 ns", "1.00 us", "37.2 us", "1.20 ms", "2.50 s"]);
        assert_eq!([0.0, 3.02, 2.5, 1_000.0].map(count), ["0", "3", "2.5", "1000"]);
        assert_eq!([7.0, 1_234.4, 812_345.6, 1e6].map(grouped), ["7", "1 234", "812 346", "1 000 000"]);
    }
}
