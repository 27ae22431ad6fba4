//! Methods that cannot be part of an interface.

#[replug_api::interface]
trait Receivers {
    fn changes(&mut self);
    fn consumes(self);
    fn shares(self: std::sync::Arc<Self>);
    fn keeps(&'static self);
    fn without();
    fn without_but_parameters(a: u8);
}

#[replug_api::interface]
trait Qualifiers {
    async fn later(&self);
    unsafe fn careful(&self);
    extern "C" fn foreign(&self);
    fn generic<T>(&self, value: T);
    fn lifetimes<'a>(&self, text: &'a str);
    fn both<'a, T>(&'a self, value: T);
    fn numbered<const N: usize>(&self);
    fn bounded(&self)
    where
        u8: Copy;
}

#[replug_api::interface]
trait Bodies {
    fn with_a_default(&self) -> u8 {
        1
    }
    #[cfg(unix)]
    fn sometimes(&self);
}

#[replug_api::interface]
trait Names {
    fn add(&self, a: u8) -> u8;
    fn subtract(&self, a: u8) -> u8;
    fn add(&self, a: u8, b: u8) -> u8;
    fn pattern(&self, (a, b): (u8, u8));
    fn unnamed(&self, _: u8);
    fn changed(&self, mut a: u8);
}

fn main() {}
