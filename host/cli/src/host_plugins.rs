//! Requests the plugins of a running host, and finds the one that the user has named.

use super::{client::Client, error::CliError, named::Named};
use replug::{
    PluginId,
    control::{
        Command,
        answer::{Configuration, Plugin},
        command::List,
    },
};

/// The answer of a running host about all its plugins.
pub(super) struct HostPlugins {
    /// All plugins, the registered ones first.
    pub(super) plugins: Vec<Plugin>,
    /// The settings that the host has not applied.
    pub(super) configuration: Configuration,
}

/// Requests all plugins from a running host.
pub(super) async fn listed(client: &Client) -> Result<HostPlugins, CliError> {
    let mut plugins = Vec::new();
    let mut page_no = 1;
    loop {
        let page = client.send(Command::list(List { page_no: Some(page_no), ..List::default() })).await?;
        let before = plugins.len();
        plugins.extend(page.registered.into_iter().chain(page.unregistered));
        if plugins.len() >= page.total || plugins.len() == before {
            return Ok(HostPlugins { plugins, configuration: page.configuration });
        }
        page_no += 1;
    }
}

/// The id of the plugin with this name. Sends a request to the host only if the name is not an id.
pub(super) async fn id_of(named: &Named, client: &Client) -> Result<PluginId, CliError> {
    match named.whole()? {
        Some(id) => Ok(id),
        None => {
            let plugins = listed(client).await?.plugins;
            named.among(plugins.iter().map(|plugin| plugin.id.as_str()))
        }
    }
}

/// Like [`id_of`], for an optional name.
pub(super) async fn optional_id_of(
    named: Option<&Named>,
    client: &Client,
) -> Result<Option<PluginId>, CliError> {
    match named {
        Some(named) => id_of(named, client).await.map(Some),
        None => Ok(None),
    }
}
