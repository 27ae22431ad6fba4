//! `export!` without what it needs.

struct Lonely;

replug_api::export!();
replug_api::export!(Lonely);
replug_api::export!(Lonely:);
replug_api::export!(Lonely, Greeter);

fn main() {}
