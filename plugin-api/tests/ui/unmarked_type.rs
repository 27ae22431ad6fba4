//! A type that is not marked `#[replug_api::data]`.

struct Plain;

#[replug_api::interface]
trait Takes {
    fn take(&self, it: Plain);
}

fn main() {}
