//! The `replug` command as users run it.

pub use crate::program::program;

use crate::Lab;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    env,
    io::{BufRead, BufReader, Lines, Write},
    os::unix::process::CommandExt,
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
};

/// The command, built from the current sources.
///
/// # Panics
///
/// If it does not build.
pub fn replug() -> Command {
    Command::new(program())
}

/// Runs the command on the lab's plugins until it ends.
///
/// # Panics
///
/// If it cannot be run.
pub fn run(lab: &Lab, args: &[&str]) -> Output {
    command(lab, args).output().expect("the command runs")
}

/// A command that runs in the lab's folder, with the lab's state folder and without environment variables that affect
/// it.
///
/// # Panics
///
/// If it does not build.
pub fn command(lab: &Lab, args: &[&str]) -> Command {
    let mut command = replug();
    command.args(args).arg("--state-dir").arg(lab.state_dir()).current_dir(lab.dir());
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text == "RUST_LOG" || name_text.starts_with("REPLUG_") {
            command.env_remove(&name);
        }
    }
    talking(lab, &mut command);
    command
}

/// Runs a command that talks to the lab's running host. Such commands have no `--state-dir`.
///
/// # Panics
///
/// If it cannot be run.
pub fn talk(lab: &Lab, args: &[&str]) -> Output {
    command_to_host(lab, args).output().expect("the command runs")
}

/// A command that talks to the lab's running host.
///
/// # Panics
///
/// If it does not build.
pub fn command_to_host(lab: &Lab, args: &[&str]) -> Command {
    let mut command = replug();
    talking(lab, command.args(args));
    command
}

/// Sets the folder in which the lab's commands run, and the variables by which they find the socket of the lab's host.
fn talking(lab: &Lab, command: &mut Command) {
    command.current_dir(lab.dir()).env_remove("RUST_LOG").env("XDG_RUNTIME_DIR", lab.dir());
    // Outside of a workspace, the default state folder is in the user's home folder.
    command.env("XDG_STATE_HOME", lab.dir().join("user-state"));
}

/// A running `replug dev --json` or `replug run --json`.
pub struct Dev {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Dev {
    /// Starts `replug dev` on the lab's plugins.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start(lab: &Lab, args: &[&str]) -> Self {
        Self::start_as(lab, "dev", args)
    }

    /// Starts `replug dev` or `replug run` on the lab's plugins.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn start_as(lab: &Lab, subcommand: &str, args: &[&str]) -> Self {
        let mut command = command(lab, &[&[subcommand, "--json"], args].concat());
        command.stdin(Stdio::null());
        Self::of(command)
    }

    /// Starts a test program on the lab's plugins: `src/bin/embedder.rs`, or one with the same arguments.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn embedder(lab: &Lab, program: &str) -> Self {
        let mut command = Command::new(program);
        command.arg(lab.plugins_dir()).arg(lab.state_dir()).current_dir(lab.dir()).stdin(Stdio::piped());
        // The program gets a process group of its own. The group is not orphaned, because the test, which starts the
        // program, is in another group of the same session. So a signal such as SIGTSTP suspends the program, as from a
        // terminal.
        command.process_group(0);
        Self::of(command)
    }

    /// Starts a command that prints events.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command starts");
        let output = child.stdout.take().expect("its output is a pipe");
        Self { child, lines: BufReader::new(output).lines() }
    }

    /// Sends a line to a test program.
    ///
    /// # Panics
    ///
    /// If the program has closed its input.
    pub fn send(&mut self, command: &str) {
        let input = self.child.stdin.as_mut().expect("its input is a pipe");
        writeln!(input, "{command}").expect("the program reads its input");
    }

    /// Sends a line to a test program, and waits for the answer.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    pub fn ask(&mut self, command: &str) -> Value {
        self.send(command);
        self.wait_for("answer")
    }

    /// Closes the input of a test program, and waits until the program has shut its host down and ended.
    ///
    /// # Panics
    ///
    /// If it cannot be waited for.
    pub fn leave(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        self.wait_for("host_stopped");
        self.child.wait().expect("it ends")
    }

    /// The pid of the process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the end of the process, and ignores its remaining output.
    ///
    /// # Panics
    ///
    /// If it cannot be waited for.
    pub fn ended(mut self) -> ExitStatus {
        self.lines.by_ref().for_each(drop);
        self.child.wait().expect("it ends")
    }

    /// The next event of this kind; earlier events are skipped.
    ///
    /// # Panics
    ///
    /// If the output ends before such an event, or a line is not JSON.
    pub fn wait_for(&mut self, kind: &str) -> Value {
        self.wait_for_any(&[kind])
    }

    /// The next event of one of these kinds; earlier events are skipped.
    ///
    /// # Panics
    ///
    /// If the output ends before such an event, or a line is not JSON.
    pub fn wait_for_any(&mut self, kinds: &[&str]) -> Value {
        loop {
            let line = self.lines.next().unwrap_or_else(|| panic!("the output ends before one of {kinds:?}"));
            let event: Value = serde_json::from_str(&line.expect("text")).expect("each line is JSON");
            if event["event"].as_str().is_some_and(|kind| kinds.contains(&kind)) {
                return event;
            }
        }
    }

    /// Interrupts the process as Ctrl-C does, and waits for its end.
    ///
    /// # Panics
    ///
    /// If it cannot be waited for.
    pub fn interrupt(mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it is running");
        self.wait_for("host_stopped");
        self.child.wait().expect("it ends")
    }
}

impl Dev {
    /// Kills the process, so that it cannot clean up what it has started, and waits for its end.
    ///
    /// # Panics
    ///
    /// If it cannot be waited for.
    pub fn kill(mut self) {
        self.child.kill().expect("it is running");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // An error means that the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
