//! Tests a plugin's whole lifecycle through its root module, which a host uses, too: steps, contained panics, events.
//!
//! This test is a plugin itself: `export!` defines the hooks, and the root module comes from `replug-api`.

use abi_stable::library::LibHeader;
use replug_api::{
    Interface,
    abi::{
        ABI_VERSION, CreateParams, ErrorReport, HostServices, Instance, LogRecord, Outcome, PanicRecord,
        PluginRootRef,
    },
    prelude::*,
    serde::{Deserialize, Serialize},
};
use std::sync::{Mutex, MutexGuard, Once, PoisonError, atomic::AtomicU64, atomic::Ordering};

#[replug_api::interface]
trait Ask {
    fn ask(&self, what: &str) -> String;
}

/// Fails or panics in the step that its configuration names.
struct Actor {
    config: Mutex<Config>,
    total: AtomicU64,
}

#[derive(Clone, Default, Deserialize)]
#[serde(crate = "replug_api::serde", default)]
struct Config {
    fail: String,
    panic: String,
}

#[derive(Serialize, Deserialize)]
#[serde(crate = "replug_api::serde")]
struct Total {
    total: u64,
}

impl Actor {
    fn turn(&self, name: &str) -> Result<(), PluginError> {
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert!(config.panic != name, "{name} panicked as told");
        if config.fail == name {
            return Err(PluginError::new("told_to", format!("{name} failed")).with("turn", name));
        }
        Ok(())
    }
}

impl Plugin for Actor {
    type Config = Config;
    type State = Total;

    const STATE_VERSION: u32 = 3;

    fn init(context: &Context, config: Config) -> Result<Self, PluginError> {
        assert_eq!((context.id(), context.generation()), ("dev.test.actor", 7));
        assert_eq!(context.data_dir(), std::path::Path::new("/data"));
        assert!(context.is_trial());
        let actor = Self { config: Mutex::new(config), total: AtomicU64::new(0) };
        actor.turn("init").map(|()| actor)
    }

    fn start(&self) -> Result<(), PluginError> {
        self.turn("start")
    }

    fn stop(&self) -> Result<(), PluginError> {
        self.turn("stop")
    }

    fn health(&self) -> Health {
        match self.turn("health") {
            Ok(()) => Health::ok().with_message("well"),
            Err(error) => Health::failing(error.message),
        }
    }

    fn on_config(&self, config: Config) -> Result<(), PluginError> {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        self.turn("on_config")
    }

    fn save(&self) -> Result<Total, PluginError> {
        self.turn("save")?;
        Ok(Total { total: self.total.load(Ordering::Relaxed) })
    }

    fn restore(&self, from_version: u32, state: SavedState) -> Result<(), PluginError> {
        self.turn("restore")?;
        assert_eq!(from_version, 3);
        self.total.store(state.decode::<Total>()?.total, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let panic = self.config.lock().is_ok_and(|config| config.panic == "drop");
        assert!(!panic, "drop panicked as told");
    }
}

impl Ask for Actor {
    fn ask(&self, what: &str) -> String {
        let total = self.total.fetch_add(1, Ordering::Relaxed) + 1;
        let outer = tracing::info_span!("outer", asked = what);
        let _outer = outer.enter();
        let inner = tracing::debug_span!("inner", total, late = tracing::field::Empty);
        inner.record("late", true);
        let _inner = inner.enter();
        info!(target: "asked", total, ratio = 0.5, debugged = ?Some(1), "asked for {what}");
        total.to_string()
    }
}

replug_api::export!(Actor: Ask);

mod header {
    use super::LibHeader;

    // SAFETY: the header of the root module, which is linked into every plugin by `export!`.
    unsafe extern "Rust" {
        #[link_name = "_1as_0lib_1header_0root_bmodule_bloader"]
        pub(super) safe static HEADER: LibHeader;
    }
}

static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

extern "C" fn log(reporter: u64, record: &LogRecord<'_>) {
    // The host's subscriber may call the plugin: the events of that call must not arrive here again.
    info!(target: "asked", "from inside the host's log");
    locked(&LOGGED).push(format!(
        "{reporter} {} {} {} {} {} {}",
        record.level,
        record.target,
        record.message,
        record.fields,
        record.spans,
        record.line > 0
    ));
}

extern "C" fn cancelled() -> bool {
    false
}

extern "C" fn panicked(record: &PanicRecord<'_>) {
    assert!(!record.location.0.is_null());
    let line = format!("{} at {}:{}", record.message, record.file, record.line > 0 && record.column > 0);
    // The hook replaces the default one, so a failed assertion of the tests themselves must be printed here.
    eprintln!("{line} (line {})", record.line);
    locked(&PANICS).push(line);
}

fn root() -> PluginRootRef {
    static ATTACH: Once = Once::new();
    let root = header::HEADER.init_root_module::<PluginRootRef>().expect("the root module fits");
    ATTACH.call_once(|| root.attach()(HostServices { reporter: 42, max_level: 4, log, panicked, cancelled }));
    root
}

fn create(config: &str) -> Outcome<Instance, ErrorReport> {
    let params = CreateParams {
        id: "dev.test.actor".into(),
        generation: 7,
        data_dir: "/data".into(),
        config: config.into(),
        trial: true,
    };
    root().create()(params)
}

fn created(config: &str) -> Instance {
    match create(config) {
        Outcome::Returned(instance) => instance,
        Outcome::Refused(error) => panic!("{error:?}"),
        Outcome::Panicked(panic) => panic!("{panic:?}"),
        Outcome::Lost => panic!("lost"),
    }
}

fn told<T>(outcome: Outcome<T, ErrorReport>) -> String {
    match outcome {
        Outcome::Returned(_) => "fine".into(),
        Outcome::Refused(error) => {
            let error = PluginError::from_report(error);
            assert_eq!((error.code.as_str(), error.details["turn"].is_string()), ("told_to", true));
            error.message
        }
        Outcome::Panicked(panic) => panic.message().into(),
        Outcome::Lost => "lost".into(),
    }
}

/// Calls a function of the root module with an instance.
macro_rules! turn {
    ($function:ident, $($argument:expr),+) => {
        // SAFETY: 1: `create` of the same root made the object. 2: a test destroys an instance once, and last.
        unsafe { root().$function()($($argument),+) }
    };
}

/// Calls `ask` without a client.
fn ask(instance: Instance) -> String {
    let bound = instance.interfaces[0];
    let arguments = b"\"x\"".as_slice().into();
    // SAFETY: 1: `bound` has both the object and the export. 2: a test destroys an instance once, and last.
    match unsafe { (bound.export.invoke)(bound.object, 0, replug_api::abi::Encoding::Json, arguments) } {
        Outcome::Returned(json) => String::from_utf8(json.into()).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plugin_describes_itself_before_create() {
    let descriptor = root().descriptor()();
    assert_eq!(descriptor.abi_version, ABI_VERSION);
    assert_eq!(descriptor.package, env!("CARGO_PKG_NAME"));
    assert_eq!(descriptor.version, env!("CARGO_PKG_VERSION"));
    assert!(descriptor.panic_unwinds && descriptor.stateful);
    assert_eq!(descriptor.state_version, 3);
    let interfaces = root().interfaces()();
    assert_eq!(interfaces.iter().map(|export| export.name.as_str()).collect::<Vec<_>>(), ["Ask"]);
    assert!(std::ptr::eq(interfaces[0], <dyn Ask as Interface>::EXPORT));
}

#[test]
fn an_instance_runs_all_steps_and_hands_over_its_state() {
    let old = created("{}");
    assert_eq!(told(turn!(start, old.object)), "fine");
    assert_eq!((ask(old), ask(old)), ("\"1\"".into(), "\"2\"".into()));
    let Outcome::Returned(health) = turn!(health, old.object) else { panic!("no health") };
    assert_eq!((health.healthy, health.message.as_str()), (true, "well"));
    let Outcome::Returned(state) = turn!(save, old.object) else { panic!("not saved") };

    let new = created("");
    assert_eq!(told(turn!(restore, new.object, 3, state.as_rslice())), "fine");
    assert_eq!(ask(new), "\"3\"");
    for instance in [old, new] {
        assert_eq!(told(turn!(stop, instance.object)), "fine");
        assert_eq!(told(turn!(destroy, instance.object)), "fine");
    }
}

#[test]
fn a_step_that_fails_or_panics_is_reported() {
    assert_eq!(told(create(r#"{"fail":"init"}"#)), "init failed");
    assert_eq!(told(create(r#"{"panic":"init"}"#)), "init panicked as told");
    for (fault, verb) in [("fail", "failed"), ("panic", "panicked as told")] {
        let instance = created("{}");
        let tell = |turn: &str| {
            let config = format!(r#"{{"{fault}":"{turn}"}}"#);
            turn!(configure, instance.object, config.as_str().into())
        };
        let nothing = [].as_slice().into();
        assert_eq!(told(tell("on_config")), format!("on_config {verb}"));
        assert_eq!(told(tell("start")), "fine");
        assert_eq!(told(turn!(start, instance.object)), format!("start {verb}"));
        tell("stop");
        assert_eq!(told(turn!(stop, instance.object)), format!("stop {verb}"));
        tell("save");
        assert_eq!(told(turn!(save, instance.object)), format!("save {verb}"));
        tell("restore");
        assert_eq!(told(turn!(restore, instance.object, 3, nothing)), format!("restore {verb}"));
        tell("health");
        match turn!(health, instance.object) {
            Outcome::Returned(health) => {
                assert_eq!((health.healthy, health.message.as_str()), (false, "health failed"))
            }
            outcome => assert_eq!(told(outcome), "health panicked as told"),
        }
        tell("drop");
        let dropped = told(turn!(destroy, instance.object));
        assert_eq!(dropped, if fault == "panic" { "drop panicked as told" } else { "fine" });
    }
}

#[test]
fn a_state_of_another_shape_and_an_invalid_config_are_rejected() {
    let instance = created("{}");
    let Outcome::Refused(error) = turn!(restore, instance.object, 3, [0xc3].as_slice().into()) else {
        panic!("restored")
    };
    assert_eq!(error.code, "state_mismatch");
    let Outcome::Refused(error) = turn!(configure, instance.object, r#"{"fail":7}"#.into()) else {
        panic!("configured")
    };
    assert_eq!(error.message, "[config] fail: invalid type: integer `7`, expected a string");
    assert_eq!(told(turn!(destroy, instance.object)), "fine");
}

#[test]
fn events_up_to_the_max_level_reach_the_host_with_fields_and_spans() {
    let root = root();
    let instance = created("{}");
    // Another test may log at the same time. The events of this test are distinguished by their `total`.
    let Outcome::Returned(state) = turn!(save, created("{}").object) else { panic!("not saved") };
    drop(state);
    let thousand = SavedState::encode(&Total { total: 1000 }).expect("encodes").into_bytes();
    assert_eq!(told(turn!(restore, instance.object, 3, thousand.as_slice().into())), "fine");
    let said = |total: u64| {
        let lines = locked(&LOGGED);
        lines.iter().filter(|line| line.contains(&format!("\"total\":{total}"))).cloned().collect::<Vec<_>>()
    };
    ask(instance);
    assert_eq!(
        said(1001),
        [concat!(
            "42 3 asked asked for x {\"debugged\":\"Some(1)\",\"ratio\":0.5,\"total\":1001} ",
            "[{\"fields\":{\"asked\":\"x\"},\"name\":\"outer\"},",
            "{\"fields\":{\"late\":true,\"total\":1001},\"name\":\"inner\"}] true"
        )]
    );
    root.set_max_level()(2);
    ask(instance);
    root.set_max_level()(4);
    assert!(said(1002).is_empty());
    ask(instance);
    assert_eq!(said(1003).len(), 1);
    assert!(!locked(&LOGGED).iter().any(|line| line.contains("from inside")));
    turn!(destroy, instance.object);
}

#[test]
fn the_hook_reports_panics_to_the_host_while_it_is_installed() {
    let root = root();
    assert_eq!(told(create(r#"{"panic":"init"}"#)), "init panicked as told");
    let told_before = |what: &str| locked(&PANICS).iter().filter(|line| line.starts_with(what)).count();
    assert!(locked(&PANICS).iter().any(|line| {
        line.starts_with("init panicked as told at ") && line.ends_with("lifecycle.rs:true")
    }));
    root.hook_panics()(false);
    let quiet = std::panic::catch_unwind(|| panic!("not for the host"));
    root.hook_panics()(true);
    assert!(quiet.is_err());
    assert_eq!(told_before("not for the host"), 0);
    let loud = std::panic::catch_unwind(|| panic!("for the host"));
    assert!(loud.is_err());
    assert_eq!(told_before("for the host"), 1);
}
