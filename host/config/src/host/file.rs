//! [`HostConfig`]: the configuration of a host, key by key. `docs/CONFIG.md` lists the keys.

use super::keys;
use crate::manifest::{
    Defaults, ManifestError,
    fields::Fields,
    size,
    tree::{Node, Value},
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tracing::level_filters::LevelFilter;

/// The configuration of a host. [`Layers`](super::Layers) reads it from `replug.toml`, the environment and flags.
///
/// A program may also construct a `HostConfig` itself. `HostBuilder::config` sets the configuration of a new host, and
/// `Host::apply` applies a new configuration to a running host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostConfig {
    /// The folder whose subfolders are the plugins; `plugins` by default.
    pub plugins: Option<PathBuf>,
    /// The state folder, for the files that the host writes; by default, the result of `replug::default_state_dir`.
    pub state_dir: Option<PathBuf>,
    /// Whether a plugin is rebuilt and reloaded when one of its files is saved.
    pub watch: bool,
    /// When watched files are polled, in addition to the events of the file system.
    pub watch_poll: WatchPoll,
    /// For each plugin, the number of artifacts that are kept for rollbacks.
    pub keep_artifacts: usize,
    /// The maximum private memory of the mapped libraries of all generations, including retired generations, in bytes.
    pub retained_bytes_limit: u64,
    /// Defaults for manifests.
    pub defaults: Defaults,
    /// The settings of logs.
    pub log: LogSettings,
    /// The settings of the HTTP API.
    pub http: HttpSettings,
    /// The settings of the export of traces.
    pub otel: OtelSettings,
}

/// The settings of logs: the table `[log]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// The filter for the host's own logs, as directives such as `warn,replug=debug`; `warn` by default.
    pub filter: Option<String>,
    /// The most verbose level at which plugins log; by default, the level that the program's subscriber enables.
    pub plugins: Option<LevelFilter>,
    /// The format of the host's logs.
    pub format: LogFormat,
}

/// The format of the host's logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Readable text.
    #[default]
    Text,
    /// One JSON object for each line.
    Json,
}

impl LogFormat {
    /// The value in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// The settings of the HTTP API: the table `[http]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpSettings {
    /// The address and port at which the host listens. `None`: the host serves no HTTP. An address that other machines
    /// can reach requires `tls`.
    pub listen: Option<SocketAddr>,
    /// The file with the token that clients must send; `http-token` in the state folder by default.
    pub token_file: Option<PathBuf>,
    /// Additional names of this machine that a request may have in its header `Host`, and additional origins, such as
    /// `https://box.example`.
    pub allow_hosts: Vec<String>,
    /// The certificate for TLS. `None`: the host serves plain HTTP.
    pub tls: Option<TlsFiles>,
}

/// A certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain.
    pub cert: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
}

/// The settings of the export of traces: the table `[otel]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtelSettings {
    /// The collector's address for OTLP over HTTP, such as `http://127.0.0.1:4318`. `None`: no traces are exported.
    pub endpoint: Option<String>,
}

/// When watched files are polled, in addition to the events of the file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchPoll {
    /// Once a second, if a watched file is on a file system that does not report every change.
    #[default]
    Auto,
    /// Never.
    Never,
    /// At this interval, on all file systems.
    Every(Duration),
}

impl WatchPoll {
    /// The shortest allowed interval.
    const SHORTEST: Duration = Duration::from_millis(50);
}

impl fmt::Display for WatchPoll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Never => f.write_str("never"),
            Self::Every(interval) => humantime::format_duration(*interval).fmt(f),
        }
    }
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            plugins: None,
            state_dir: None,
            watch: false,
            watch_poll: WatchPoll::default(),
            keep_artifacts: 10,
            retained_bytes_limit: 1 << 30,
            defaults: Defaults::default(),
            log: LogSettings::default(),
            http: HttpSettings::default(),
            otel: OtelSettings::default(),
        }
    }
}

impl HostConfig {
    /// The values of all keys that are set, by key.
    fn values(&self) -> BTreeMap<String, serde_json::Value> {
        // Paths are made absolute, so that a relative path and the equivalent absolute path compare as equal.
        let path = |path: &Option<PathBuf>| {
            let path = path.as_ref().map(|path| std::path::absolute(path).unwrap_or_else(|_| path.clone()));
            path.map(|path| json!(path.to_string_lossy()))
        };
        let tls = self.http.tls.as_ref();
        let own = [
            ("plugins", path(&self.plugins)),
            ("state_dir", path(&self.state_dir)),
            ("watch", Some(json!(self.watch))),
            ("watch_poll", Some(json!(self.watch_poll.to_string()))),
            ("keep_artifacts", Some(json!(self.keep_artifacts))),
            ("retained_bytes_limit", Some(json!(self.retained_bytes_limit))),
            ("http.listen", self.http.listen.map(|it| json!(it.to_string()))),
            ("http.token_file", path(&self.http.token_file)),
            ("http.allow_hosts", Some(json!(self.http.allow_hosts))),
            ("http.tls_cert", path(&tls.map(|tls| tls.cert.clone()))),
            ("http.tls_key", path(&tls.map(|tls| tls.key.clone()))),
            ("log.filter", self.log.filter.as_ref().map(|it| json!(it))),
            ("log.plugins", self.log.plugins.map(|it| json!(it.to_string()))),
            ("log.format", Some(json!(self.log.format.name()))),
            ("otel.endpoint", self.otel.endpoint.as_ref().map(|it| json!(it))),
        ];
        let own = own.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let defaults = self.defaults.values().into_iter();
        own.chain(defaults.map(|(key, value)| (format!("defaults.{key}"), value))).collect()
    }

    /// The keys whose values differ from those in `other`.
    fn differing(&self, other: &Self) -> Vec<String> {
        let (ours, theirs) = (self.values(), other.values());
        let mut keys: Vec<_> = ours.keys().chain(theirs.keys()).cloned().collect();
        keys.sort();
        keys.dedup();
        keys.retain(|key| ours.get(key) != theirs.get(key));
        keys
    }

    /// Sets the keys that can change while a host runs to the values of `other`. Returns the changed keys, and the keys
    /// whose different values in `other` require a restart.
    pub fn apply(&mut self, other: &Self) -> (Vec<String>, Vec<String>) {
        let (live, at_start) = self.differing(other).into_iter().partition(|key| keys::is_live(key));
        self.keep_artifacts = other.keep_artifacts;
        self.retained_bytes_limit = other.retained_bytes_limit;
        self.defaults = other.defaults.clone();
        self.log = LogSettings { format: self.log.format, ..other.log.clone() };
        (live, at_start)
    }
}

/// Reads a configuration from a tree of values. `file` is the path for messages.
pub(super) fn interpret(file: &Path, tree: &Node) -> Result<HostConfig, ManifestError> {
    let empty = Node { line: 1, value: Value::Table(Vec::new()) };
    let default = HostConfig::default();
    let top = Fields::open(file, "", tree, keys::TOP)?;
    let table = |key| top.node(key).unwrap_or(&empty);
    let log = Fields::open(file, "log.", table("log"), keys::LOG)?;
    let otel = Fields::open(file, "otel.", table("otel"), keys::OTEL)?;
    let keep = top.count("keep_artifacts")?.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
    Ok(HostConfig {
        plugins: path(&top, "plugins")?,
        state_dir: path(&top, "state_dir")?,
        watch: top.bool("watch")?.unwrap_or(default.watch),
        watch_poll: poll(&top)?.unwrap_or_default(),
        keep_artifacts: keep.unwrap_or(default.keep_artifacts),
        retained_bytes_limit: size(&top, "retained_bytes_limit")?.unwrap_or(default.retained_bytes_limit),
        defaults: Defaults::of(file, table("defaults")).map_err(|error| error.within("defaults"))?,
        log: LogSettings {
            filter: filter(&log)?,
            plugins: log.word("plugins", &LEVELS)?,
            format: log
                .word("format", &[LogFormat::Text, LogFormat::Json].map(|format| (format.name(), format)))?
                .unwrap_or_default(),
        },
        http: http(&Fields::open(file, "http.", table("http"), keys::HTTP)?)?,
        otel: OtelSettings { endpoint: endpoint(&otel)? },
    })
}

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

fn path(table: &Fields<'_>, key: &str) -> Result<Option<PathBuf>, ManifestError> {
    match table.string(key)? {
        Some(text) if text.is_empty() || text.contains('\0') => {
            Err(table.illegal(key, format!("{text:?} is not a path; write one, or omit the key")))
        }
        text => Ok(text.map(PathBuf::from)),
    }
}

fn poll(table: &Fields<'_>) -> Result<Option<WatchPoll>, ManifestError> {
    const KEY: &str = "watch_poll";
    match table.string(KEY)? {
        None => Ok(None),
        Some("auto") => Ok(Some(WatchPoll::Auto)),
        Some("never") => Ok(Some(WatchPoll::Never)),
        Some(text) => match humantime::parse_duration(text) {
            Ok(interval) if interval >= WatchPoll::SHORTEST => Ok(Some(WatchPoll::Every(interval))),
            Ok(_) => Err(table.illegal(KEY, "an interval below 50ms; use a longer one, such as \"1s\"")),
            Err(error) => Err(table.illegal(
                KEY,
                format!("{text:?} is not an interval: {error}; write \"auto\", \"never\", or a duration such as \"1s\""),
            )),
        },
    }
}

fn filter(log: &Fields<'_>) -> Result<Option<String>, ManifestError> {
    let Some(text) = log.string("filter")? else { return Ok(None) };
    match super::filter::check(text) {
        Ok(()) => Ok(Some(text.to_owned())),
        Err(error) => Err(log.illegal(
            "filter",
            format!(
                "{text:?} is not a filter: {error}; write a level, or directives such as \"warn,replug=debug\""
            ),
        )),
    }
}

fn http(table: &Fields<'_>) -> Result<HttpSettings, ManifestError> {
    let port = table.count("listen").ok().flatten().map(|port| port.to_string());
    let listen = match port.as_deref().map_or_else(|| table.string("listen"), |port| Ok(Some(port)))? {
        None => None,
        Some(text) => Some(address(text).ok_or_else(|| {
            table.illegal(
                "listen",
                format!("{text:?} is not an address; write one with its port, such as \"127.0.0.1:7777\""),
            )
        })?),
    };
    let allow_hosts = table.strings("allow_hosts")?;
    if let Some(name) = allow_hosts.iter().find(|name| !is_host_name(name) && !is_origin(name)) {
        let reason = format!(
            "{name:?} is not a valid `Host` name; write a name or an address without its port, such \
             as \"box.example\", or, behind a proxy, the origin of its page, such as \"https://box.example\""
        );
        return Err(table.illegal("allow_hosts", reason));
    }
    let tls = path(table, "tls_cert")?.zip(path(table, "tls_key")?).map(|(cert, key)| TlsFiles { cert, key });
    Ok(HttpSettings { listen, token_file: path(table, "token_file")?, allow_hosts, tls })
}

/// Checks the keys in the merged tree that are valid only in combination, such as `tls_cert` and `tls_key`. The tree of
/// a single layer is not checked, because another layer may set the missing keys.
pub(super) fn agree(file: &Path, tree: &Node) -> Result<(), ManifestError> {
    let Some(node) = Fields::open(file, "", tree, keys::TOP)?.node("http") else { return Ok(()) };
    let table = Fields::open(file, "http.", node, keys::HTTP)?;
    match (table.node("tls_cert"), table.node("tls_key"), http(&table)?.listen) {
        (Some(_), None, _) => Err(table.illegal("tls_cert", "has no key; set `tls_key`")),
        (None, Some(_), _) => Err(table.illegal("tls_key", "has no certificate; set `tls_cert`")),
        (None, None, Some(address)) if !address.ip().is_loopback() => {
            let reason = format!(
                "{address} can be reached from other machines, and without TLS others can read and change the traffic; \
                 name a certificate in `tls_cert` and `tls_key`, or listen at 127.0.0.1"
            );
            Err(table.illegal("listen", reason))
        }
        _ => Ok(()),
    }
}

/// Whether a text has the form of the header `Origin`, such as `https://box.example`.
fn is_origin(text: &str) -> bool {
    let authority = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    authority.is_some_and(|authority| match authority.split_once(':') {
        Some((name, port)) => is_host_name(name) && port.parse::<u16>().is_ok(),
        None => is_host_name(authority),
    })
}

fn is_host_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    name.parse::<IpAddr>().is_ok() || !name.is_empty() && name.bytes().all(plain)
}

/// Parses an address with its port. A port alone means that port at 127.0.0.1.
fn address(text: &str) -> Option<SocketAddr> {
    let port = text.strip_prefix("localhost:").unwrap_or(text).parse::<u16>().ok();
    port.map(|port| SocketAddr::from(([127, 0, 0, 1], port))).or_else(|| text.parse().ok())
}

fn endpoint(otel: &Fields<'_>) -> Result<Option<String>, ManifestError> {
    let Some(text) = otel.string("endpoint")? else { return Ok(None) };
    if !text.starts_with("http://") {
        let reason =
            format!("{text:?} is not a plain HTTP address of a collector; write \"http://127.0.0.1:4318\"");
        return Err(otel.illegal("endpoint", reason));
    }
    if !cfg!(feature = "otel") {
        let reason =
            "this replug was built without OpenTelemetry; build it with `--features otel`, or omit the key";
        return Err(otel.illegal("endpoint", reason));
    }
    Ok(Some(text.to_owned()))
}
