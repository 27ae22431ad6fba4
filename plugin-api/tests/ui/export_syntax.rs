//! `export!` with missing or wrong arguments.

struct Lonely;

replug_api::export!();
replug_api::export!(Lonely);
replug_api::export!(Lonely:);
replug_api::export!(Lonely, Greeter);

fn main() {}
