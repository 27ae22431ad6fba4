//! Runs each end-to-end test in its own process. Also contains the locks and files that these processes share.
//!
//! A host has state that belongs to the whole process: thread slots, the crash record, signal handlers. So the
//! `#[test]` of an end-to-end test starts the test program again, and reports the result of that process as its own.
//! The program still uses the harness of the standard library, with its filters and flags. If `E2E_RUN` is set, the
//! test runs in the process that was started, as a debugger needs: `E2E_RUN= rust-gdb --args target/debug/deps/e2e-…
//! --exact NAME`.

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

/// Set in the process of one test. The value is the name of the *run*, which is all tests that one program starts, or
/// empty if a person has started the process.
const RUN: &str = "E2E_RUN";

/// The exit status of a program of the standard library's harness in which a test has failed.
const FAILED: i32 = 101;

/// Runs a test in its own process. `path` is the path of the test in the crate.
///
/// # Panics
///
/// If the test fails.
pub fn run(path: &str, test: impl FnOnce()) {
    if env::var_os(RUN).is_some() {
        // If the program that waits for this process exits, the kernel kills this process. The test runs even if that
        // cannot be arranged.
        let _ = set_parent_process_death_signal(Some(Signal::KILL));
        return test();
    }
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    // Tests send SIGINT and SIGQUIT. A program that a shell starts in the background ignores these signals, and without
    // `--default-signal`, its child process would ignore them, too.
    let mut program = Command::new("env");
    program.arg("--default-signal=INT,QUIT").arg(env::current_exe().expect("this program has a path"));
    // With two threads, the harness runs the test on a thread with the test's name, and prints nothing before the test
    // has ended.
    program.args(["--exact", name, "--test-threads=2", "--include-ignored", "--color=never"]).env(RUN, id());
    // Freed memory of up to 32 MiB stays in the heap. Otherwise, a library could be mapped where a test had an artifact in
    // memory, and numbers that the test has left on its stack would look like addresses of the library.
    program.env("MALLOC_MMAP_THRESHOLD_", (32 << 20).to_string());
    let status = if shows_output() { forward(&mut program, name) } else { keep(&mut program, name) };
    let status = status.expect("this program can be started again");
    match status.code() {
        Some(0) => {}
        // The output of the test contains the reason.
        Some(FAILED) => resume_unwind(Box::new("the test failed in its process")),
        _ => panic!("the process of the test ended early: {status}"),
    }
}

/// Whether this program shows the output of all tests immediately, instead of only that of failed tests at the end.
fn shows_output() -> bool {
    env::args().any(|argument| argument == "--nocapture" || argument == "--no-capture")
        || env::var_os("RUST_TEST_NOCAPTURE").is_some_and(|value| value != "0")
}

/// Runs the program, and prints the output of the test without the lines that the harness adds.
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

/// Runs the program, and then prints the output of the test and of the processes that the test has started. The harness
/// of this program captures this output.
fn keep(program: &mut Command, name: &str) -> io::Result<ExitStatus> {
    // The output goes to files and not through pipes. A pipe ends only when all processes that can write to it have
    // ended, even those that a test leaves behind.
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

/// The lines of an output. Bytes that are not UTF-8 are replaced.
fn lines(output: impl Read) -> impl Iterator<Item = String> {
    let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
    lines.map(|line| String::from_utf8_lossy(&line).into_owned())
}

/// The name of the run that this process belongs to.
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

/// The result of `make`, which is called once in a run. The first process that needs the result calls `make`, and the
/// other processes wait for it. A program that is not an end-to-end test always calls `make`.
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

/// A lock that excludes other processes until it is dropped.
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
