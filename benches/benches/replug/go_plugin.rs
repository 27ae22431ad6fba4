//! HashiCorp's go-plugin, over net/rpc and over gRPC: a Go program in `benches/peers/go`, which is compiled if Go and the
//! libraries are installed.

use anyhow::{Context, Result, bail, ensure};
use replug_tests::{target_dir, workspace};
use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    rc::Rc,
};

/// Where Debian's packages of Go libraries are.
const LIBRARIES: &str = "/usr/share/gocode";
/// The folder of go-plugin below `LIBRARIES`.
const GO_PLUGIN: &str = "src/github.com/hashicorp/go-plugin";

/// The name of each protocol in the commands to the program, and the name of its row in the tables of results.
pub(crate) const PROTOCOLS: [(&str, &str); 2] =
    [("rpc", "go-plugin, over net/rpc"), ("grpc", "go-plugin, over gRPC")];

/// The running program, and its plugins.
#[derive(Clone)]
pub(crate) struct GoPlugin(Rc<RefCell<Running>>);

struct Running {
    child: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl GoPlugin {
    /// Compiles and starts the program.
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new(build()?).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("no pipe")?);
        Ok(Self(Rc::new(RefCell::new(Running { child, commands, answers }))))
    }

    /// The nanoseconds of each of `count` calls of a method that takes a number.
    pub(crate) fn call(&self, protocol: &str, count: u64) -> Result<Vec<u64>> {
        self.0.borrow_mut().ask(&format!("call {protocol} {count}"))
    }

    /// The nanoseconds of each of `count` calls of a method that returns its text.
    pub(crate) fn text(&self, protocol: &str, count: u64, len: usize) -> Result<Vec<u64>> {
        self.0.borrow_mut().ask(&format!("text {protocol} {count} {len}"))
    }

    /// The nanoseconds until a new process of the plugin has answered a call.
    pub(crate) fn start_plugin(&self, protocol: &str) -> Result<u64> {
        let times = self.0.borrow_mut().ask(&format!("start {protocol}"))?;
        times.first().copied().context("the Go program gave no time")
    }
}

impl Running {
    fn ask(&mut self, command: &str) -> Result<Vec<u64>> {
        writeln!(self.commands.as_mut().context("the pipe is closed")?, "{command}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        if let Some(error) = line.strip_prefix("error: ") {
            bail!("{}", error.trim());
        }
        let times: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        ensure!(!times.is_empty(), "the Go program has stopped");
        Ok(times)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // At the end of its input, the program ends its plugins and itself.
        self.commands.take();
        let _ = self.child.wait();
    }
}

fn build() -> Result<PathBuf> {
    let install = "`cargo xtask bench --install` installs it on Debian and Ubuntu";
    ensure!(Command::new("go").arg("version").output().is_ok(), "Go is not installed: {install}");
    let library = PathBuf::from(LIBRARIES).join(GO_PLUGIN);
    ensure!(library.exists(), "{} does not exist: {install}", library.display());
    let program = target_dir().join("peers/go-plugin");
    let output = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(workspace().join("benches/peers/go"))
        .env("GO111MODULE", "off")
        .env("GOPATH", LIBRARIES)
        .env("GOFLAGS", "")
        .env("GOCACHE", target_dir().join("peers/go-cache"))
        .output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let first = stderr.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
    ensure!(output.status.success(), "`go build` failed: {first}");
    Ok(program)
}
