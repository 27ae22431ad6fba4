//! The colours and the labels of charts. `benches/plot` compiles this file, too, so that all charts look alike.

/// The colours of a page, as `#rrggbb`.
pub(crate) struct Theme {
    /// The background.
    pub(crate) back: &'static str,
    /// Titles and labels.
    pub(crate) text: &'static str,
    /// Less important text.
    pub(crate) dim: &'static str,
    /// The lines behind the data.
    pub(crate) grid: &'static str,
    /// Lines that lead to data or connect it.
    pub(crate) range: &'static str,
    /// The colours of data, the most important first.
    pub(crate) data: [&'static str; 3],
}

/// For light pages.
pub(crate) const LIGHT: Theme = Theme {
    back: "#ffffff",
    text: "#1f2328",
    dim: "#59636e",
    grid: "#d1d9e0",
    range: "#8c959f",
    data: ["#0969da", "#bc4c00", "#a40e26"],
};

/// For dark pages.
pub(crate) const DARK: Theme = Theme {
    back: "#0d1117",
    text: "#f0f6fc",
    dim: "#9198a1",
    grid: "#3d444d",
    range: "#656c76",
    data: ["#4493f8", "#db6d28", "#f85149"],
};

/// The label of a power of ten, such as `10 us`.
pub(crate) fn tick(ns: f64) -> String {
    let (value, unit) = scaled(ns);
    format!("{value:.0} {unit}")
}

/// A duration in nanoseconds, in the unit in which its value has at most three digits before the point.
pub(crate) fn scaled(ns: f64) -> (f64, &'static str) {
    match ns {
        ns if ns < 999.5 => (ns, "ns"),
        ns if ns < 999.5e3 => (ns / 1e3, "us"),
        ns if ns < 999.5e6 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    }
}

/// The exponents of the first and the last power of ten on the smallest logarithmic axis that contains all these
/// values. A value below 1 counts as 1.
pub(crate) fn decades(values: impl Iterator<Item = f64>) -> (i32, i32) {
    let (least, most) =
        values.fold((f64::MAX, 1.0_f64), |(least, most), value| (least.min(value.max(1.0)), most.max(value)));
    let first = exponent(least.min(most).log10().floor());
    (first, exponent(most.log10().ceil()).max(first + 1))
}

#[expect(clippy::cast_possible_truncation, reason = "the logarithm of a duration is small")]
fn exponent(log: f64) -> i32 {
    log as i32
}
