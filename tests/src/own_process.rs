//! A process of its own for each test, and what these processes share.
//!
//! A host keeps state that belongs to the whole process: thread slots, the crash record, signal handlers. The `#[test]` of
//! the end-to-end tests therefore starts the test program again for each test, and reports the result as its own. The
//! program keeps the harness of the standard library, with its filters and flags. With `E2E_RUN` set, a test runs in the
//! process that was started. A debugger needs that: `E2E_RUN= rust-gdb --args target/debug/deps/e2e-… --exact NAME`.

use crate::target_dir;
use rustix::{
    fs::{FlockOperation, flock},
    process::{Signal, set_parent_process_death_signal},
};
use std::{
    env,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek},
    panic::resume_unwind,
    path::PathBuf,
    process::{self, Command, ExitStatus, Stdio},
    sync::OnceLock,
    time::{SystemTime, UNIX_EPOCH},
};

/// Set in the process of one test: the run of which the test is a part, or nothing if a person has started it.
const RUN: &str = "E2E_RUN";

/// The exit status of a program of the standard library's harness in which a test has failed.
const FAILED: i32 = 101;

/// Runs a test, named by its path in the crate, in a process of its own.
///
/// # Panics
///
/// If the test fails.
pub fn run(path: &str, test: impl FnOnce()) {
    if env::var_os(RUN).is_some() {
        // The end of the program that waits for this process ends the test. If that cannot be set, the test still runs.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        return test();
    }
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    // A shell ignores these signals in a program that it starts in the background, and the tests send them.
    let mut program = Command::new("env");
    program.arg("--default-signal=INT,QUIT").arg(env::current_exe().expect("this program has a path"));
    // With two threads, the harness runs the test on a thread with the test's name, and prints no line before its end.
    program.args(["--exact", name, "--test-threads=2", "--include-ignored", "--color=never"]).env(RUN, id());
    let status = if shows_output() { forward(&mut program, name) } else { keep(&mut program, name) };
    let status = status.expect("this program can be started again");
    match status.code() {
        Some(0) => {}
        // The output of the test says why.
        Some(FAILED) => resume_unwind(Box::new("the test failed in its process")),
        _ => panic!("the process of the test ended early: {status}"),
    }
}

/// Whether this program shows what tests print, and does not keep it for those that fail.
fn shows_output() -> bool {
    env::args().any(|argument| argument == "--nocapture" || argument == "--no-capture")
        || env::var_os("RUST_TEST_NOCAPTURE").is_some_and(|value| value != "0")
}

/// Runs the program, and prints what the test prints, without what the harness adds to it.
fn forward(program: &mut Command, name: &str) -> io::Result<ExitStatus> {
    let mut program = program.arg("--nocapture").stdout(Stdio::piped()).spawn()?;
    let outcome = format!("test {name} ... ");
    let mut of_test = false;
    for line in lines(program.stdout.take().expect("a pipe")) {
        of_test &= !line.starts_with(&outcome);
        if of_test {
            println!("{line}");
        }
        of_test |= line == "running 1 test";
    }
    program.wait()
}

/// Runs the program, and then prints the output of the test and of the processes that it has started, for the harness of
/// this program.
fn keep(program: &mut Command, name: &str) -> io::Result<ExitStatus> {
    // A file, unlike a pipe, ends when the test does, even if a process is left that could still write.
    let (mut output, mut errors) = (tempfile::tempfile()?, tempfile::tempfile()?);
    program.arg("--show-output").stdout(output.try_clone()?).stderr(errors.try_clone()?);
    let status = program.status()?;
    output.rewind()?;
    errors.rewind()?;
    lines(errors).for_each(|line| println!("{line}"));
    let heading = format!("---- {name} stdout ----");
    let kept: Vec<_> = lines(output).skip_while(|line| *line != heading).skip(1).collect();
    let summary = kept.iter().rposition(|line| line == "failures:" || line == "successes:");
    println!("{}", kept[..summary.unwrap_or(kept.len())].join("\n").trim_end());
    Ok(status)
}

/// The lines of an output, which need not be text in full.
fn lines(output: impl Read) -> impl Iterator<Item = String> {
    let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
    lines.map(|line| String::from_utf8_lossy(&line).into_owned())
}

/// The run of which this process is a part: all tests that one program starts.
fn id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    // Nextest starts this program once for each test, and names the run.
    ID.get_or_init(|| {
        env::var("NEXTEST_RUN_ID").unwrap_or_else(|_| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
            format!("{}-{}", process::id(), now.as_nanos())
        })
    })
}

/// What `make` returns, which is called once in a run: the first process that needs it calls it, and the others wait for
/// that. A program that is no end-to-end test calls it itself.
///
/// # Panics
///
/// If the target folder cannot be written.
pub fn once_in_run(name: &str, make: impl FnOnce() -> String) -> String {
    let Some(run) = env::var(RUN).ok().filter(|run| !run.is_empty()) else { return make() };
    let _alone = lock(name);
    let file = folder().join(format!("{name}.made"));
    let made = fs::read_to_string(&file).unwrap_or_default();
    if let Some((of, made)) = made.split_once('\n')
        && of == run
    {
        return made.to_owned();
    }
    let made = make();
    fs::write(file, format!("{run}\n{made}")).expect("the target folder can be written");
    made
}

/// A lock between processes, until it is dropped.
///
/// # Panics
///
/// If the target folder cannot be written.
pub fn lock(name: &str) -> File {
    fs::create_dir_all(folder()).expect("the target folder can be written");
    let lock = File::create(folder().join(format!("{name}.lock"))).expect("the target folder can be written");
    flock(&lock, FlockOperation::LockExclusive).expect("a lock");
    lock
}

fn folder() -> PathBuf {
    target_dir().join("e2e")
}
