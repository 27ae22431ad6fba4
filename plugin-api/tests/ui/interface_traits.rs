//! Traits that cannot be interfaces.

#[replug_api::interface]
trait Generic<T> {
    fn get(&self) -> T;
}

#[replug_api::interface]
trait Borrowing<'a> {
    fn get(&self) -> u8;
}

#[replug_api::interface]
trait Above: Into<u8> {
    fn get(&self) -> u8;
}

#[replug_api::interface]
trait Bounded
where
    u8: Copy,
{
    fn get(&self) -> u8;
}

#[replug_api::interface]
unsafe trait Careful {
    fn get(&self) -> u8;
}

#[replug_api::interface]
trait More {
    const LIMIT: u8;
    type Item;
    fn get(&self) -> u8;
}

#[replug_api::interface]
trait Empty {}

#[replug_api::interface(fast)]
trait Arguments {
    fn get(&self) -> u8;
}

#[replug_api::interface]
struct NotATrait;

fn main() {}
