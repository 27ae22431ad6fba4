//! Suggestions for unknown names, for error messages.

/// The suggestion that an error message appends to the unknown name `wrong`: `` ; did you mean `...`? `` with the most
/// similar known name, or a list of all known names.
pub fn among<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<_> = known.collect();
    let near = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 3);
    match near {
        Some((_, name)) => format!("; did you mean `{name}`?"),
        None if known.is_empty() => "; there are none".into(),
        None => format!("; known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_gets_the_nearest_name_and_an_unknown_name_gets_all_names() {
        let known = ["add", "divide", "history"];
        assert_eq!(among("devide", known.into_iter()), "; did you mean `divide`?");
        assert_eq!(among("zzzzzz", known.into_iter()), "; known: add, divide, history");
        assert_eq!(among("x", [].into_iter()), "; there are none");
    }
}
