//! The binary contract: every type that both host and plugin access.
//!
//! A plugin exports one abi_stable root module, [`PluginRoot`], through which the host reaches everything else. All
//! types of this module are `#[repr(C)]`, and abi_stable checks their layouts. No code of this module runs the author's
//! code.
//!
//! **Architecture Invariant:** no value with a destructor in the plugin outlives the call that returned it.
//! The host converts each value that it receives into its own types before it returns to its caller.

use abi_stable::{
    StableAbi,
    library::RootModule,
    package_version_strings,
    sabi_types::VersionStrings,
    std_types::{ROption, RSlice, RStr, RString, RVec},
    type_layout::TypeLayout,
};
use std::{fmt, ptr::NonNull};

/// The version of this contract. Host and plugin must agree on it.
pub const ABI_VERSION: u32 = 3;

/// A thin pointer to the target of a call: the instance, the instance as one interface, or a host's
/// [`RemoteObject`](crate::remote::RemoteObject).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub struct Object(pub *const ());

// SAFETY: an `Object` is the address of a boxed `Remote`, of a cell that holds a shared reference to an instance of a
// `Plugin`, or of a `Created`, which owns such an instance. `Plugin` and `Remote` are `Send + Sync`.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

/// A method's edge with its type erased. Its real type is `unsafe extern "C" fn(Object, Args) -> Outcome<T, E>`, and
/// [`MethodExport::layout`] has the layout of `Args` and of the outcome.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, StableAbi)]
pub struct Edge(pub *const ());

// SAFETY: the address of a function.
unsafe impl Send for Edge {}
// SAFETY: as above.
unsafe impl Sync for Edge {}

/// The outcome of a call, as an edge returns it.
#[repr(u8)]
#[derive(Debug, StableAbi)]
pub enum Outcome<T, E> {
    /// The method returned.
    Returned(T),
    /// The method returned an error of its own.
    Refused(E),
    /// The method panicked, and the panic was caught at the edge.
    Panicked(Panic),
    /// The call did not reach the method, or its answer did not come back. Only the host's own remote edges return
    /// this, and [`crate::remote::take_lost`] returns the reason.
    Lost,
}

/// A panic that was caught at an edge.
///
/// This is one thin pointer, so that an [`Outcome`] of a number still fits in registers. It owns the message: its drop
/// calls the library that allocated the message to free the memory.
#[repr(transparent)]
#[derive(StableAbi)]
pub struct Panic(NonNull<PanicText>);

/// The content of a [`Panic`].
#[doc(hidden)]
#[repr(C)]
#[derive(StableAbi)]
pub struct PanicText {
    free: unsafe extern "C" fn(NonNull<PanicText>),
    message: RString,
}

impl Panic {
    /// Stores a panic's message.
    pub fn new(message: String) -> Self {
        /// # Safety
        ///
        /// 1. `it` was made by [`Panic::new`] of this library, and is not used again.
        unsafe extern "C" fn free(it: NonNull<PanicText>) {
            // SAFETY: by 1, `it` is a box of this library, and nothing uses it after this.
            drop(unsafe { Box::from_raw(it.as_ptr()) });
        }
        Self(NonNull::from(Box::leak(Box::new(PanicText { free, message: message.into() }))))
    }

    /// The panic's message, or the kind of its payload.
    pub fn message(&self) -> &str {
        // SAFETY: the pointer comes from `Panic::new`, and only `drop` frees it.
        unsafe { self.0.as_ref() }.message.as_str()
    }
}

impl Drop for Panic {
    fn drop(&mut self) {
        // SAFETY: as in `message`.
        let free = unsafe { self.0.as_ref() }.free;
        // SAFETY: 1: `free` is the function that `Panic::new` stored with the message, and this is the last use.
        unsafe { free(self.0) }
    }
}

// SAFETY: a `Panic` owns a text that no other value refers to, and the allocator that frees it accepts frees from any
// thread.
unsafe impl Send for Panic {}
// SAFETY: a shared reference only gives access to the text.
unsafe impl Sync for Panic {}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Panic").field(&self.message()).finish()
    }
}

/// The error type of methods that cannot fail. Never constructed.
#[repr(C)]
#[derive(Clone, Copy, Debug, StableAbi)]
pub struct Nothing {
    _private: u8,
}

/// The encoding of arguments and results of [`InterfaceExport::invoke`].
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, StableAbi)]
pub enum Encoding {
    /// JSON. Arguments are an object by parameter name, or an array by position.
    Json,
    /// postcard. Arguments are a tuple by position.
    Binary,
}

/// Why an [`InterfaceExport::invoke`] returned no result.
#[repr(u8)]
#[derive(Debug, StableAbi)]
pub enum Refusal {
    /// The arguments do not fit the method; the text names the argument and the reason.
    BadArguments(RString),
    /// The method returned an error of its own, in the encoding of the call.
    Error(RVec<u8>),
    /// The result cannot be encoded; the text is the reason.
    BadResult(RString),
}

/// One method of an interface, as the plugin exports it.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct MethodExport {
    /// The method's name.
    pub name: RStr<'static>,
    /// The edge.
    pub edge: Edge,
    /// The layout of [`crate::edge::Signature`] with the types of the method's arguments, value and error.
    pub layout: &'static TypeLayout,
}

/// One interface that a plugin implements.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct InterfaceExport {
    /// The trait's name.
    pub name: RStr<'static>,
    /// The methods in declaration order. A later version of an interface may only add methods at the end.
    pub methods: RSlice<'static, MethodExport>,
    /// The [`crate::describe::Interface`] as JSON.
    pub describe: extern "C" fn() -> RString,
    /// Calls a method by its index with encoded arguments.
    ///
    /// # Safety
    ///
    /// 1. The object is the [`BoundInterface::object`] of a [`BoundInterface`] with this export.
    /// 2. Its instance has not been dropped, and is not dropped before the call has returned.
    pub invoke: unsafe extern "C" fn(Object, u32, Encoding, RSlice<'_, u8>) -> Outcome<RVec<u8>, Refusal>,
}

/// An interface of one live instance.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct BoundInterface {
    /// The interface, with its edges.
    pub export: &'static InterfaceExport,
    /// The first argument of each edge. Valid until the instance is dropped.
    pub object: Object,
}

/// An error that crosses the boundary: a code, a message and details.
#[repr(C)]
#[derive(Clone, Debug, PartialEq, Eq, StableAbi)]
pub struct ErrorReport {
    /// The code of the error, for programs.
    pub code: RString,
    /// The message, for people.
    pub message: RString,
    /// The details as JSON, or empty.
    pub details: RString,
}

/// A plugin's description of itself before an instance is created.
#[repr(C)]
#[derive(Clone, Copy, Debug, StableAbi)]
pub struct Descriptor {
    /// [`ABI_VERSION`] of the plugin.
    pub abi_version: u32,
    /// The version of `replug-api` with which the plugin was built.
    pub api_version: RStr<'static>,
    /// The plugin's package name.
    pub package: RStr<'static>,
    /// The plugin's package version.
    pub version: RStr<'static>,
    /// Whether a panic in the plugin unwinds. If it does not, a panic of the plugin in the host's process aborts the
    /// host.
    pub panic_unwinds: bool,
    /// Whether the plugin has state to hand over (its `State` is not `()`).
    pub stateful: bool,
    /// `Plugin::STATE_VERSION`.
    pub state_version: u32,
}

/// The parameters of a new instance. See [`crate::Context`].
#[repr(C)]
#[derive(Clone, Debug, StableAbi)]
pub struct CreateParams {
    /// The plugin's id.
    pub id: RString,
    /// The number of this generation.
    pub generation: u64,
    /// The folder for the plugin's own data, which outlives every generation.
    pub data_dir: RString,
    /// `[config]` of the manifest as JSON.
    pub config: RString,
    /// Whether the instance is created for a trial and then discarded.
    pub trial: bool,
}

/// A new instance.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Instance {
    /// The argument for the lifecycle functions of [`PluginRoot`].
    pub object: Object,
    /// The interfaces of the instance, in the order of `export!`.
    pub interfaces: RSlice<'static, BoundInterface>,
}

/// The health of an instance.
#[repr(C)]
#[derive(Clone, Debug, StableAbi)]
pub struct HealthReport {
    /// Whether the instance can do its work.
    pub healthy: bool,
    /// The reason, for people; may be empty.
    pub message: RString,
}

/// One `tracing` event of the plugin.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct LogRecord<'a> {
    /// The level: 1 for `ERROR`, 2 for `WARN`, 3 for `INFO`, 4 for `DEBUG`, 5 for `TRACE`.
    pub level: u8,
    /// The event's target, usually its module path.
    pub target: RStr<'a>,
    /// The event's message.
    pub message: RStr<'a>,
    /// The event's other fields as a JSON object.
    pub fields: RStr<'a>,
    /// The spans around the event, the outermost first, as a JSON array of `{"name", "fields"}`.
    pub spans: RStr<'a>,
    /// The source file, if it is known.
    pub file: ROption<RStr<'a>>,
    /// The line in that file; 0 if it is unknown.
    pub line: u32,
}

/// A panic, as the panic hook reports it before the panic unwinds.
#[repr(C)]
#[derive(Debug, StableAbi)]
pub struct PanicRecord<'a> {
    /// The panic's message.
    pub message: RStr<'a>,
    /// The path of the source file, as it was passed to the compiler.
    pub file: RStr<'a>,
    /// The line in that file.
    pub line: u32,
    /// The column in that line.
    pub column: u32,
    /// The address of the panic's `Location`, which is inside the library that panicked.
    pub location: Object,
    /// The name of the thread; may be empty.
    pub thread: RStr<'a>,
    /// The backtrace; empty if `RUST_BACKTRACE` does not request one.
    pub backtrace: RStr<'a>,
}

/// The host's functions for a plugin. They may be called on any thread, and never unwind.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct HostServices {
    /// The first argument of [`HostServices::log`]: identifies the plugin and generation.
    pub reporter: u64,
    /// The most verbose level of the log, from 0 (no events) to 5 (`TRACE`).
    pub max_level: u8,
    /// Receives a `tracing` event.
    pub log: extern "C" fn(u64, &LogRecord<'_>),
    /// Receives a panic. Called by the panic hook, on the thread that panics.
    pub panicked: extern "C" fn(&PanicRecord<'_>),
    /// Whether the calling thread is inside a call whose caller no longer waits.
    pub cancelled: extern "C" fn() -> bool,
}

/// Everything that a plugin exports.
///
/// Every function catches the author's panics.
///
/// # Safety
///
/// For each function that takes an [`Object`]:
///
/// 1. The object is the [`Instance::object`] that [`PluginRoot::create`] of the same library made.
/// 2. [`PluginRoot::destroy`] has not been called with it, and is not called before the function has returned. Before
///    `destroy` is called, every call of the instance's interfaces has returned, and none is made from then on.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = PluginRootRef)))]
#[sabi(missing_field(panic))]
pub struct PluginRoot {
    /// The plugin's description of itself. Runs none of the author's code.
    pub descriptor: extern "C" fn() -> Descriptor,
    /// The plugin's interfaces, which are known before an instance exists.
    pub interfaces: extern "C" fn() -> RVec<&'static InterfaceExport>,
    /// Connects `tracing` and the panic hook to the host. Called once, before `create`.
    pub attach: extern "C" fn(HostServices),
    /// Creates an instance with `Plugin::init`. If this fails, no instance exists.
    pub create: extern "C" fn(CreateParams) -> Outcome<Instance, ErrorReport>,
    /// Calls `Plugin::start`.
    pub start: unsafe extern "C" fn(Object) -> Outcome<(), ErrorReport>,
    /// Calls `Plugin::stop`.
    pub stop: unsafe extern "C" fn(Object) -> Outcome<(), ErrorReport>,
    /// Calls `Plugin::health`.
    pub health: unsafe extern "C" fn(Object) -> Outcome<HealthReport, ErrorReport>,
    /// Calls `Plugin::on_config` with the new `[config]` as JSON.
    pub configure: unsafe extern "C" fn(Object, RStr<'_>) -> Outcome<(), ErrorReport>,
    /// Calls `Plugin::save`. Returns the state as MessagePack.
    pub save: unsafe extern "C" fn(Object) -> Outcome<RVec<u8>, ErrorReport>,
    /// Calls `Plugin::restore` with the state version in which the state was saved, and the state.
    pub restore: unsafe extern "C" fn(Object, u32, RSlice<'_, u8>) -> Outcome<(), ErrorReport>,
    /// Drops the instance. The object and its interfaces are invalid afterwards, whatever the outcome.
    pub destroy: unsafe extern "C" fn(Object) -> Outcome<(), ErrorReport>,
    /// Sets the most verbose level of the log, 0 to 5.
    pub set_max_level: extern "C" fn(u8),
    /// Installs the plugin's panic hook (`true`) or removes it (`false`). The host removes the hook before it unmaps
    /// the library.
    #[sabi(last_prefix_field)]
    pub hook_panics: extern "C" fn(bool),
}

impl RootModule for PluginRootRef {
    abi_stable::declare_root_module_statics! {PluginRootRef}
    const BASE_NAME: &'static str = "replug_plugin";
    const NAME: &'static str = "replug_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}
