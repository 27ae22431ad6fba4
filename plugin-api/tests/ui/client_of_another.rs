//! A client can only be made from a caller that is bound to its own interface, even in code that can access the
//! client's field.

use replug_api::{Caller, call::Bound};

#[replug_api::interface]
trait One {
    fn number(&self) -> u8;
}

#[replug_api::interface]
trait Other {
    fn text(&self) -> String;
}

fn from_a_caller<C: Caller>(caller: C) -> OneClient<C> {
    OneClient::from(caller)
}

fn from_another_interface<C: Caller>(bound: Bound<dyn One, C>) -> OtherClient<C> {
    OtherClient::from(bound)
}

fn out_of_another_client<C: Caller>(client: OneClient<C>) -> OtherClient<C> {
    OtherClient(client.0)
}

fn main() {}
