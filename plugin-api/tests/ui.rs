//! Tests the errors of misused macros.
//!
//! To accept changed messages: `TRYBUILD=overwrite cargo test -p replug-api --test ui`.

#[test]
fn the_error_of_a_misused_macro_is_at_the_token_and_names_the_fix() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}
