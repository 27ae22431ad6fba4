//! Safe code cannot call functions that have undefined behaviour with a wrong object or a wrong edge.

use replug_api::{
    Caller, Context, Interface, Plugin, PluginError,
    abi::{Encoding, InterfaceExport, Object, PluginRootRef},
    call::Bound,
    hooks::Created,
    remote,
};

#[replug_api::interface]
trait Greeter {
    fn greet(&self, name: &str) -> String;
}

struct Hello;

impl Plugin for Hello {
    type Config = ();
    type State = ();

    fn init(_: &Context, (): ()) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

fn a_caller_is_bound<C: Caller>(caller: C) -> GreeterClient<C> {
    GreeterClient::from(Bound::new(caller))
}

fn an_interface_is_invoked(export: &InterfaceExport, object: Object) {
    (export.invoke)(object, 0, Encoding::Json, b"".as_slice().into());
}

fn a_remote_interface_is_invoked(object: Object) {
    remote::invoke(object, 0, Encoding::Json, b"".as_slice().into());
}

fn an_instance_is_led_through_its_life(root: PluginRootRef, object: Object) {
    root.start()(object);
    root.stop()(object);
    root.health()(object);
    root.configure()(object, "{}".into());
    root.save()(object);
    root.restore()(object, 1, b"".as_slice().into());
    root.destroy()(object);
}

fn an_instance_is_made(context: &Context) -> Result<Created, PluginError> {
    Created::new::<Hello>(context, "", |_| Vec::new())
}

fn main() {
    let _ = <dyn Greeter as Interface>::EXPORT;
}
