//! Tests of the output and the exit status of the command `replug`, for commands that build no plugins.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

struct Run {
    status: i32,
    out: String,
    err: String,
}

fn replug(dir: &Path, args: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replug"));
    command
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG")
        .env_remove("CLICOLOR_FORCE")
        .env("XDG_RUNTIME_DIR", dir)
        .env("XDG_STATE_HOME", dir.join("state"));
    let Output { status, stdout, stderr } = command.output().expect("the command was built with this test");
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    Run { status: status.code().expect("no signal kills the command"), out: text(stdout), err: text(stderr) }
}

fn json(run: &Run) -> serde_json::Value {
    serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {}{}", run.out, run.err))
}

/// Creates a plugins folder with one plugin that could be built, and one plugin with an invalid manifest.
fn plugins(dir: &Path) {
    let write = |file: &str, text: &str| {
        let path = dir.join("plugins").join(file);
        fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a temporary folder");
        fs::write(path, text).expect("a temporary folder");
    };
    write("greeter/plugin.toml", "id = \"dev.example.greeter\"\nversion = \"1.2.0\"\n");
    write("greeter/Cargo.toml", "[package]\nname = \"greeter\"\n");
    write("wrong/plugin.toml", "id = \"dev.example.wrong\"\nnane = \"x\"\n");
}

#[test]
fn replug_without_arguments_exits_with_2_and_suggests_new() {
    let dir = tempfile::tempdir().unwrap();
    let run = replug(dir.path(), &[]);
    assert_eq!(run.status, 2);
    assert!(run.err.contains("replug new my-plugin"), "{}", run.err);
    assert_eq!(replug(dir.path(), &["--version"]).out, format!("replug {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_subcommand_has_a_help_text() {
    let dir = tempfile::tempdir().unwrap();
    for name in [
        "dev",
        "run",
        "new",
        "build",
        "list",
        "call",
        "bench",
        "status",
        "reload",
        "rollback",
        "start",
        "stop",
        "logs",
        "events",
        "inspect",
        "doctor",
        "completions",
        "man",
    ] {
        let run = replug(dir.path(), &[name, "--help"]);
        assert_eq!(run.status, 0, "{name}: {}", run.err);
        assert!(run.out.contains("Usage: replug"), "{}", run.out);
    }
}

#[test]
fn an_unknown_command_exits_with_2_and_suggests_a_known_one() {
    let dir = tempfile::tempdir().unwrap();
    let run = replug(dir.path(), &["lsit"]);
    assert_eq!(run.status, 2);
    assert!(run.err.contains("list"), "{}", run.err);
}

#[test]
fn invalid_json_is_reported_before_any_build() {
    let dir = tempfile::tempdir().unwrap();
    let wrong = r#"{"a":10 "b":5}"#;
    for args in [
        &["call", "a.b", "add", wrong][..],
        &["bench", "a.b", "add", wrong],
        &["dev", "--call", "a.b", "add", wrong],
    ] {
        let run = replug(dir.path(), args);
        assert_eq!(run.status, 2, "{}", run.err);
        assert_eq!(
            run.err,
            "error: the arguments are not JSON: expected `,` or `}`\n  {\"a\":10 \"b\":5}\n          ^\n"
        );
    }
}

#[test]
fn commands_without_a_plugins_folder_suggest_new() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["dev"][..], &["run"], &["build"], &["list"], &["call", "a.b", "c"], &["bench", "a.b", "c"]]
    {
        let run = replug(dir.path(), args);
        assert_eq!(run.status, 1);
        assert!(run.err.starts_with("error: there is no folder `plugins` here"), "{}", run.err);
        assert!(run.err.contains("new my-plugin"), "{}", run.err);
    }
}

#[test]
fn a_list_prints_valid_plugins_and_the_errors_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    plugins(dir.path());
    let run = replug(dir.path(), &["list"]);
    assert_eq!(run.status, 1);
    let row = run.out.lines().nth(1).unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells, ["dev.example.greeter", "greeter", "1.2.0", "provider", "source_only", "greeter"]);
    assert!(run.err.contains("plugin.toml:2: unknown key `nane`; did you mean `name`?"), "{}", run.err);

    let listed = json(&replug(dir.path(), &["list", "--json"]));
    assert_eq!(listed["plugins"][0]["id"], "dev.example.greeter");
    assert_eq!(listed["plugins"][0]["status"], "source_only");
    assert_eq!(listed["problems"].as_array().unwrap().len(), 1);
    assert!(!dir.path().join("state").exists(), "`list` does not create the state folder");
    assert_eq!(
        fs::read_dir(dir.path().join("plugins")).unwrap().count(),
        2,
        "`list` creates nothing in the plugins folder"
    );

    fs::remove_dir_all(dir.path().join("plugins/greeter")).unwrap();
    let run = replug(dir.path(), &["list"]);
    assert_eq!(run.out, "no usable plugins in plugins (1 cannot be used)\n");
}

#[test]
fn a_call_to_an_unknown_plugin_suggests_the_nearest_id() {
    let dir = tempfile::tempdir().unwrap();
    plugins(dir.path());
    let run = replug(dir.path(), &["call", "dev.example.greter", "greet"]);
    assert_eq!(run.status, 1);
    assert_eq!(run.err, "error: no plugin `dev.example.greter`; did you mean `dev.example.greeter`?\n");
}

#[test]
fn inspect_of_a_file_needs_no_plugins_folder() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.so"), "not a library").unwrap();
    let run = replug(dir.path(), &["inspect", "./notes.so"]);
    assert_eq!(run.status, 1);
    assert!(run.err.contains("is not an ELF file"), "{}", run.err);

    // An executable is an ELF file, too, but not a library.
    let run = replug(dir.path(), &["inspect", env!("CARGO_BIN_EXE_replug")]);
    assert_eq!(run.status, 1);
    assert!(run.err.starts_with("error: ") && run.err.contains("replug"), "{}", run.err);
}

#[test]
fn new_creates_a_plugin_and_rejects_an_existing_folder() {
    let dir = tempfile::tempdir().unwrap();
    let run = replug(dir.path(), &["new", "my-plugin", "--dir", "plugins"]);
    assert_eq!(run.status, 0, "{}", run.err);
    assert!(run.out.contains("cd plugins/my-plugin\n  cargo test\n"), "{}", run.out);
    assert!(run.out.contains("dev --call dev.example.my-plugin greet '{\"name\":\"World\"}'"), "{}", run.out);
    for file in ["Cargo.toml", "plugin.toml", "src/lib.rs", ".gitignore"] {
        assert!(dir.path().join("plugins/my-plugin").join(file).is_file(), "{file}");
    }
    let listed = json(&replug(dir.path(), &["list", "--json"]));
    assert_eq!(listed["plugins"][0]["id"], "dev.example.my-plugin");

    let again = replug(dir.path(), &["new", "my-plugin", "--dir", "plugins"]);
    assert_eq!(again.status, 1);
    assert!(again.err.contains("exists already"), "{}", again.err);
    let wrong = replug(dir.path(), &["new", "My Plugin"]);
    assert_eq!(wrong.status, 2);
    assert!(wrong.err.contains("try `my-plugin`"), "{}", wrong.err);
}

#[test]
fn new_adds_a_plugin_to_the_workspace_and_cargo_accepts_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("app/src")).unwrap();
    fs::write(dir.path().join("app/Cargo.toml"), "[package]\nname = \"app\"\nedition = \"2024\"\n").unwrap();
    fs::write(dir.path().join("app/src/main.rs"), "fn main() {}\n").unwrap();
    let root = dir.path().join("Cargo.toml");
    fs::write(&root, "[workspace]\nmembers = [\"app\"]\nresolver = \"3\"\n").unwrap();
    let run = replug(dir.path(), &["new", "my-plugin", "--dir", "plugins"]);
    assert!(
        run.err.contains("added `plugins/my-plugin` to `workspace.members` in Cargo.toml"),
        "{}",
        run.err
    );
    assert!(fs::read_to_string(&root).unwrap().contains("members = [\"app\", \"plugins/my-plugin\"]"));
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(dir.path());
    let output = cargo.output().unwrap();
    assert!(
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("my-plugin"),
        "{output:?}"
    );
}

#[test]
fn doctor_prints_its_findings_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let found = json(&replug(dir.path(), &["doctor", "--json"]));
    let names: Vec<_> =
        found.as_array().unwrap().iter().map(|finding| finding["name"].as_str().unwrap()).collect();
    for name in ["rustc", "linker", "shared libstd", "inotify watches", "thread-local keys", "memory"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
}

#[test]
fn completions_and_man_pages_are_generated() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let run = replug(dir.path(), &["completions", shell]);
        assert!(run.status == 0 && run.out.contains("rollback"), "{shell}: {}", run.err);
    }
    let run = replug(dir.path(), &["man"]);
    assert!(run.out.contains(".TH replug 1") && run.out.contains("rollback"), "{}", run.out);
    let run = replug(dir.path(), &["man", "dev"]);
    assert!(run.out.contains("\\-\\-http"), "{}", run.out);
    assert_eq!(replug(dir.path(), &["man", "dve"]).status, 2);
}

#[test]
fn an_invalid_http_address_is_rejected_before_any_build() {
    let dir = tempfile::tempdir().unwrap();
    plugins(dir.path());
    let run = replug(dir.path(), &["dev", "--http", "plugins"]);
    assert_eq!(run.status, 2);
    assert!(
        run.err.contains("`--http plugins` is not an address") && run.err.contains("`--http` last"),
        "{}",
        run.err
    );
    let run = replug(dir.path(), &["run", "--http", "0.0.0.0:0"]);
    assert_eq!(run.status, 1);
    assert!(run.err.contains("`tls_cert`"), "{}", run.err);
}

#[test]
fn output_to_a_pipe_has_no_colours() {
    let dir = tempfile::tempdir().unwrap();
    plugins(dir.path());
    let run = replug(dir.path(), &["list"]);
    assert!(!run.out.contains('\u{1b}') && !run.err.contains('\u{1b}'), "{}{}", run.out, run.err);
}
