//! Checks that host and plugin agree on the layout and the meaning of the data that they share.

use abi_stable::{
    StableAbi,
    abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals},
    library::LibHeader,
    type_layout::TypeLayout,
};
use replug_api::{
    abi::{InterfaceExport, PluginRootRef},
    describe::{self, Interface},
};

/// How a plugin's root module, the table of functions that every plugin exports, differs from the host's definition.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootMismatch {
    /// The layout differs.
    #[error(
        "the layout of the root module differs (plugin: replug-api {plugin}, host: replug-api {host})\n{report}"
    )]
    Layout {
        /// The version of `replug-api` with which the plugin was built.
        plugin: String,
        /// The host's version of `replug-api`.
        host: String,
        /// The report of `abi_stable` about the difference.
        report: String,
    },
    /// The plugin does not describe the layout.
    #[error("it does not describe the layout of its root module")]
    Unchecked,
    /// The layout is the same, but its meaning differs.
    #[error("it uses version {plugin} of the binary interface, and the host uses version {host}")]
    AbiVersion {
        /// The host's version.
        host: u32,
        /// The plugin's version.
        plugin: u32,
    },
}

replug_model::readable::readable!(RootMismatch);

/// A plugin does not offer an interface that a typed handle of the host needs, or offers an incompatible version.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum InterfaceMismatch {
    /// The plugin does not implement the interface.
    #[error("{plugin} does not implement `{wanted}`, which the host asks for; it implements {offered}")]
    Missing {
        /// The plugin's id.
        plugin: String,
        /// The interface.
        wanted: String,
        /// The interfaces that the plugin implements.
        offered: String,
    },
    /// The plugin implements an incompatible version of the interface.
    #[error(
        "`{interface}` of {plugin} differs from the host's: {difference}; build both with the same version of the interface"
    )]
    Different {
        /// The plugin's id.
        plugin: String,
        /// The interface.
        interface: String,
        /// The first method or type that differs, and how.
        difference: String,
    },
}

replug_model::readable::readable!(InterfaceMismatch);

/// Compares the layout of the plugin's root module with the host's.
pub(crate) fn check_root(header: &'static LibHeader) -> Result<(), RootMismatch> {
    let plugin = header.layout().ok_or(RootMismatch::Unchecked)?;
    compare(<PluginRootRef as StableAbi>::LAYOUT, plugin).map_err(|report| RootMismatch::Layout {
        plugin: header.version_strings().to_string(),
        host: env!("CARGO_PKG_VERSION").into(),
        report,
    })
}

/// Compares an interface that a handle of the host needs with the plugin's interface of that name. The layouts of types
/// are compared only if calls pass the values themselves and do not encode them.
///
/// The interfaces match even if one of them has additional methods at the end. A call to a method that the plugin lacks
/// returns an error.
pub(super) fn fit(
    plugin: &str,
    wanted: &InterfaceExport,
    offered: (&Interface, Option<&InterfaceExport>),
) -> Result<(), InterfaceMismatch> {
    let ours = Interface::of(wanted).expect("the host's own description is readable");
    let laid_out = || {
        wanted.methods.iter().zip(offered.1?.methods.iter()).find_map(|(ours, theirs)| {
            let report = compare(ours.layout, theirs.layout).err()?;
            Some(format!(
                "the types in the signature of `{}` are laid out differently in memory\n{report}",
                ours.name
            ))
        })
    };
    match describe::difference(&ours, offered.0).or_else(laid_out) {
        None => Ok(()),
        Some(difference) => Err(InterfaceMismatch::Different {
            plugin: plugin.to_owned(),
            interface: wanted.name.to_string(),
            difference,
        }),
    }
}

/// The error for a plugin that does not implement an interface at all.
pub(super) fn missing<'a>(
    plugin: &str,
    wanted: &InterfaceExport,
    offered: impl Iterator<Item = &'a Interface>,
) -> InterfaceMismatch {
    let offered: Vec<_> = offered.map(|interface| format!("`{}`", interface.name)).collect();
    InterfaceMismatch::Missing {
        plugin: plugin.to_owned(),
        wanted: wanted.name.to_string(),
        offered: if offered.is_empty() { "nothing".into() } else { offered.join(", ") },
    }
}

/// Compares two layouts. Keeps no reference to them, because the plugin's layout may be unmapped later.
fn compare(host: &'static TypeLayout, plugin: &'static TypeLayout) -> Result<(), String> {
    check_layout_compatibility_with_globals(host, plugin, &CheckingGlobals::new())
        .map_err(|errors| errors.to_string())
}
