//! Tests the errors of misused macros. The valid forms are tests of their own: `allowed`, `own_types` and `unsafe_code`.
//! As cases of trybuild, they would not only be checked: trybuild would build them, and all dependencies, one after the
//! other.
//!
//! To accept changed messages: `TRYBUILD=overwrite cargo test -p replug-api --test ui`.

#[test]
fn the_error_of_a_misused_macro_is_at_the_token_and_names_the_fix() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
