//! The lab of a test: a plugins folder, a host, and the host's events. At the end of the test, the lab shuts the host
//! down, and fails the test if a process, a file or a socket is left behind.

mod events;
mod leaks;
mod processes;
#[cfg(test)]
mod tests;

pub use self::events::Crashed;
use self::leaks::Leftovers;
use crate::{Probe, Source, artifact::misbehave, compiled, program::program, recorder};
use replug::{
    BuildDir, CallError, DynHandle, Events, Generation, Handle, Host, HostBuilder, HostError,
    control::{Control, ControlConfig, Listening},
    manifest::{LaneKind, Mode},
};
use serde_json::Value;
use std::{
    cell::Cell,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// A test that runs longer than this counts as hanging. The first test of a run waits until the fixtures are compiled.
const PATIENCE: Duration = Duration::from_secs(900);

thread_local! {
    /// The lane that the manifests of new labs request.
    static LANE: Cell<Option<LaneKind>> = const { Cell::new(None) };
    /// Whether the manifests of new labs set `unload = "verified"`.
    static UNLOADS: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test whose labs request this lane for their own plugin.
pub fn over(lane: LaneKind, test: impl FnOnce()) {
    LANE.set(Some(lane));
    test();
    LANE.set(None);
}

/// Runs a test whose labs set `unload = "verified"` for their own plugin.
pub fn unloading(test: impl FnOnce()) {
    UNLOADS.set(true);
    test();
    UNLOADS.set(false);
}

/// The lines of a manifest, with `unload = "verified"` in the table `[reload]`.
fn with_unload(lines: &str) -> String {
    const TABLE: &str = "[reload]\n";
    let unload = format!("{TABLE}unload = \"verified\"\n");
    if lines.contains(TABLE) { lines.replacen(TABLE, &unload, 1) } else { format!("{lines}\n{unload}") }
}

/// The lines of a manifest, with this lane in the table `[process]`.
fn with_lane(lines: &str, lane: LaneKind) -> String {
    const TABLE: &str = "[process]\n";
    let lane = format!("{TABLE}lane = \"{}\"\n", lane.name());
    if lines.contains(TABLE) { lines.replacen(TABLE, &lane, 1) } else { format!("{lines}\n{lane}") }
}

/// The plugins folder of one test, with one plugin, and a host.
pub struct Lab {
    name: String,
    manifest: String,
    mode: Option<Mode>,
    /// The lane that the manifest of the test's plugin requests.
    lane: Option<LaneKind>,
    /// Whether the manifest of the test's plugin sets `unload = "verified"`.
    unloads: bool,
    host: Option<Host>,
    events: Option<Events>,
    listening: Listening,
    observed: Arc<Mutex<Vec<String>>>,
    leftovers: Leftovers,
    dir: TempDir,
    _watchdog: mpsc::Sender<()>,
}

impl Lab {
    /// A lab with an empty plugins folder. The name becomes the name of the test's plugin, so it consists of lower-case
    /// letters and dashes.
    ///
    /// # Panics
    ///
    /// If the folder cannot be created.
    pub fn new(name: &str) -> Self {
        recorder::install();
        let dir = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(dir.path().join("plugins")).expect("a plugins folder");
        let observed = Arc::default();
        Self {
            name: name.into(),
            manifest: String::new(),
            mode: None,
            lane: LANE.get(),
            unloads: UNLOADS.get(),
            host: None,
            events: None,
            listening: Listening::default(),
            leftovers: Leftovers::default(),
            _watchdog: watchdog(name, &observed),
            observed,
            dir,
        }
    }

    /// A lab whose host runs version 1 of the fixture, without misbehaviour.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn running(name: &str) -> Self {
        let mut lab = Self::new(name);
        lab.install(misbehave("version=1"));
        lab.start();
        lab
    }

    /// A lab with an empty plugins folder, for a plugin that runs in this mode. The host can run trials in child
    /// processes.
    ///
    /// # Panics
    ///
    /// If the folder cannot be created.
    pub fn in_mode(name: &str, mode: Mode) -> Self {
        let name = match mode {
            Mode::Auto => name.to_owned(),
            Mode::InProcess if UNLOADS.get() => format!("{name}-threads"),
            Mode::InProcess => format!("{name}-inside"),
            _ if LANE.get() == Some(LaneKind::Socket) => format!("{name}-socket"),
            _ => format!("{name}-outside"),
        };
        let mut lab = Self::new(&name);
        lab.mode = Some(mode);
        lab
    }

    /// The lane that the manifest of the test's plugin requests, if it requests one.
    pub fn lane(&self) -> Option<LaneKind> {
        self.lane
    }

    /// Whether the manifest of the test's plugin sets `unload = "verified"`.
    pub fn unloads(&self) -> bool {
        self.unloads
    }

    /// The id of the test's plugin.
    pub fn id(&self) -> String {
        format!("dev.test.{}", self.name)
    }

    /// The test's folder, which is removed at the end of the test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The plugins folder.
    pub fn plugins_dir(&self) -> PathBuf {
        self.dir().join("plugins")
    }

    /// The state folder of the host.
    pub fn state_dir(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// A path in the plugin's folder.
    pub fn path(&self, path: &str) -> PathBuf {
        self.plugins_dir().join(&self.name).join(path)
    }

    /// Writes a file of the plugin atomically, as a careful editor does.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, content).expect("the file");
        fs::rename(&temporary, &path).expect("the file in its place");
    }

    /// Writes an executable script.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write_script(&self, path: &str, content: &str) {
        self.write("script.tmp", content);
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        // Another process copies the script. If this process wrote it while another thread forks, the script could
        // still be open for writing in the forked child, and could not be executed.
        let temporary = path.with_extension("tmp");
        let copy =
            Command::new("install").args(["-m", "755"]).arg(self.path("script.tmp")).arg(&temporary).status();
        assert!(copy.is_ok_and(|status| status.success()), "the script is copied");
        fs::rename(&temporary, &path).expect("the script in its place");
    }

    /// Writes the manifest again, with these lines after the id.
    pub fn set_manifest(&mut self, lines: &str) {
        self.manifest = lines.into();
        let mode = match self.mode {
            Some(Mode::InProcess) => "mode = \"in-process\"\n",
            Some(Mode::Process) => "mode = \"process\"\n",
            _ => "",
        };
        let lines = self.lane.map_or_else(|| lines.to_owned(), |lane| with_lane(lines, lane));
        let lines = if self.unloads { with_unload(&lines) } else { lines };
        self.write("plugin.toml", format!("id = \"{}\"\n{mode}{lines}\n", self.id()));
    }

    /// Puts a prebuilt artifact into the plugin's folder, replacing the previous one.
    pub fn install(&mut self, artifact: impl AsRef<[u8]>) {
        self.write("plugin.so", artifact);
        if !self.path("plugin.toml").exists() {
            let lines = format!("binary = \"plugin.so\"\n{}", self.manifest);
            self.set_manifest(&lines);
        }
    }

    /// Adds another plugin in a folder of that name, next to the test's own.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn neighbour(&self, name: &str, manifest: impl AsRef<[u8]>, artifact: impl AsRef<[u8]>) {
        let dir = self.plugins_dir().join(name);
        fs::create_dir(&dir).expect("the folder");
        fs::write(dir.join("plugin.so"), artifact).expect("the artifact");
        // A running host must not find an incomplete manifest.
        let unfinished = dir.join("plugin.tmp");
        fs::write(&unfinished, manifest).expect("the manifest");
        fs::rename(&unfinished, dir.join("plugin.toml")).expect("the manifest in its place");
    }

    /// Like [`Lab::install`], with more lines in the manifest.
    pub fn install_with(&mut self, artifact: impl AsRef<[u8]>, lines: &str) {
        self.manifest = lines.into();
        self.install(artifact);
    }

    /// Writes a plugin's source. The manifest is written last, and only if there is none. The dependencies of the
    /// template are copied, not compiled.
    pub fn write_source(&mut self, source: &Source) {
        self.compile_dependencies();
        for (path, content) in source.files(&self.name) {
            self.write(&path, content);
        }
        if !self.path("plugin.toml").exists() {
            let lines = self.manifest.clone();
            self.set_manifest(&lines);
        }
    }

    /// Puts the compiled dependencies of the template where the host builds the test's plugin.
    pub fn compile_dependencies(&self) {
        self.compile_dependencies_in(&self.path(""));
    }

    /// Puts the compiled dependencies of the template where the host builds the plugins of this workspace.
    pub fn compile_dependencies_in(&self, workspace: &Path) {
        compiled::put(&BuildDir::from(self.state_dir().join("build")).target_dir(workspace));
    }

    /// Starts a host without a watcher.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(&mut self) -> &Host {
        self.start_as(|builder| builder).expect("the host starts")
    }

    /// Starts a host that reloads a plugin when its files are saved.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_watching(&mut self) -> &Host {
        self.start_as(|builder| builder.watch(true)).expect("the host starts")
    }

    /// Starts a host with further settings.
    ///
    /// # Errors
    ///
    /// The error of the host.
    pub fn start_as(&mut self, set: impl FnOnce(HostBuilder) -> HostBuilder) -> Result<&Host, HostError> {
        let mut builder = Host::builder().plugins(self.plugins_dir()).state_dir(self.state_dir());
        if self.mode.is_some() {
            builder = builder.shim_program(program());
        }
        let builder = set(builder);
        self.events = Some(builder.events());
        let host = builder.build().wait()?;
        Ok(self.host.insert(host))
    }

    /// Starts a host with a control plane and further settings.
    ///
    /// # Errors
    ///
    /// The error of the host.
    pub fn start_listening(
        &mut self,
        config: ControlConfig,
        set: impl FnOnce(HostBuilder) -> HostBuilder,
    ) -> Result<&Host, HostError> {
        let control = Control::new(config);
        self.listening = control.listening();
        self.start_as(|builder| set(builder).attach(control))
    }

    /// Where the control plane of the host listens, if it has one.
    pub fn listening(&self) -> &Listening {
        &self.listening
    }

    /// The host.
    ///
    /// # Panics
    ///
    /// If it was not started.
    pub fn host(&self) -> &Host {
        self.host.as_ref().expect("the host was started")
    }

    /// A typed handle to the fixture.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn probe(&self) -> Handle<dyn Probe> {
        self.host().get(&self.id()).expect("a typed handle")
    }

    /// A dynamic handle.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn handle(&self) -> DynHandle {
        self.host().plugin(&self.id()).expect("a handle")
    }

    /// Calls a method by name.
    ///
    /// # Errors
    ///
    /// The error of the call.
    pub fn call(&self, method: &str, arguments: Value) -> Result<Value, CallError<Value>> {
        self.handle().invoke_json(method, arguments).wait()
    }

    /// Reloads the plugin.
    ///
    /// # Errors
    ///
    /// The error of the host.
    pub fn reload(&self) -> Result<Generation, HostError> {
        self.host().reload(&self.id()).wait()
    }

    /// Installs a new artifact that fails to start, and returns the error.
    ///
    /// # Panics
    ///
    /// If it starts.
    pub fn refused(&mut self, artifact: impl AsRef<[u8]>) -> String {
        self.install(artifact);
        self.reload().expect_err("this version must not start").to_string()
    }

    /// Shuts the host down, if one runs. The end of the test does so, too.
    pub fn shut_down(&mut self) {
        if let Some(host) = self.host.take() {
            host.shutdown().wait();
        }
    }

    /// Prints the events of the host.
    fn report(&mut self) {
        self.told_since();
        eprintln!("{}", transcript(&self.name, &self.observed));
    }

    /// Drops the host without a shutdown, and checks that no process is left.
    ///
    /// # Panics
    ///
    /// If one is left.
    pub fn drop_host(mut self) {
        self.host = None;
        self.expect_leftover_files();
    }
}

impl Drop for Lab {
    /// Shuts the host down, and fails the test if anything is left behind. If the test has failed already, this prints
    /// the events instead.
    fn drop(&mut self) {
        if !thread::panicking() {
            self.shut_down();
            let leaks = self.leaks();
            if leaks.is_empty() {
                return;
            }
            self.report();
            panic!("the test of `{}` leaves behind: {}", self.name, leaks.join("; "));
        }
        self.report();
    }
}

fn transcript(name: &str, observed: &Mutex<Vec<String>>) -> String {
    let observed = observed.lock().unwrap_or_else(PoisonError::into_inner);
    format!("events of the host of `{name}`:\n{}", observed.join("\n"))
}

/// Ends the program if the test does not drop the returned sender in time. Otherwise, a hanging test would print
/// nothing.
fn watchdog(name: &str, observed: &Arc<Mutex<Vec<String>>>) -> mpsc::Sender<()> {
    let (alive, ended) = mpsc::channel();
    let (name, observed) = (name.to_owned(), observed.clone());
    thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            // The test harness would hold back the output of `eprintln!` until the end of the test, but this test does
            // not end.
            let _ = writeln!(io::stderr(), "the test hangs; {}", transcript(&name, &observed));
            std::process::abort();
        }
    });
    alive
}
