//! The build oracle (`tests/src/oracle`) for all its projects and changes, without the restarts of `cargo xtask
//! oracle`.

use replug_tests::oracle::{self, Depth, Outcome};

#[test]
fn after_every_change_the_loop_builds_the_same_as_a_clean_build() {
    let pairs = oracle::run(("", ""), Depth::Loop, |pair| println!("{pair}"));
    assert!(pairs.len() > 200, "{}", pairs.len());
    let wrong: Vec<_> = pairs.iter().filter(|pair| matches!(pair.outcome, Outcome::Wrong(_))).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
