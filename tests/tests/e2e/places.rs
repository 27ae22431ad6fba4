//! The default folders of a host in a cargo workspace whose members are the packages in the plugins folder.

use replug_tests::{
    Lab,
    command::{Dev, command_to_host},
    misbehave,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A workspace with `members = ["plugins/*"]`. The test's plugin is also a package, and so a member.
fn workspace(name: &str) -> Lab {
    let mut lab = Lab::new(name);
    lab.install(misbehave("version=1"));
    lab.write("src/lib.rs", "");
    lab.write("Cargo.toml", format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n"));
    fs::write(lab.dir().join("Cargo.toml"), "[workspace]\nmembers = [\"plugins/*\"]\nresolver = \"3\"\n")
        .unwrap();
    fs::create_dir_all(lab.dir().join("crates/core/src")).unwrap();
    lab
}

/// Makes a command run in a folder, without environment variables that set the build folder, the state folder or the
/// plugins folder.
fn in_folder(lab: &Lab, mut command: Command, folder: &str) -> Command {
    command.current_dir(lab.dir().join(folder)).stdin(Stdio::null());
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR", "REPLUG_STATE_DIR", "REPLUG_PLUGINS"] {
        command.env_remove(name);
    }
    command
}

fn replug(lab: &Lab, folder: &str, args: &[&str]) -> Output {
    in_folder(lab, command_to_host(lab, args), folder).output().unwrap()
}

#[track_caller]
fn cargo_reads(lab: &Lab) {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--no-deps", "--format-version", "1", "--offline"]);
    let output = in_folder(lab, cargo, ".").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The paths in `folder` whose file names begin with `prefix`.
fn names(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|it| it.file_name().unwrap().to_string_lossy().starts_with(prefix)).collect()
}

#[test]
fn a_host_and_cargo_share_a_workspace_with_a_glob_of_members() {
    let lab = workspace("glob");
    let run = in_folder(&lab, command_to_host(&lab, &["run", "--json"]), ".");
    let mut host = Dev::of(run);
    host.wait_for("host_started");
    cargo_reads(&lab);
    for folder in [".", "plugins", "plugins/glob", "plugins/glob/src", "crates/core/src"] {
        let output = replug(&lab, folder, &["status", "--json"]);
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && told.contains(&lab.id()), "{folder}: {output:?}");
        let called = replug(&lab, folder, &["call", "--json", &lab.id(), "version"]);
        let answer: Value = serde_json::from_slice(&called.stdout).unwrap_or_else(|_| panic!("{called:?}"));
        assert_eq!(answer["result"], 1, "{folder}");
    }
    assert!(host.interrupt().success());
    let states = lab.dir().join("target/replug");
    assert_eq!(names(&states, "").len(), 1, "there is more than one state folder: {:?}", names(&states, ""));
    assert_eq!(names(&states, "plugins-").len(), 1);
    assert_eq!(names(&lab.plugins_dir(), "."), Vec::<PathBuf>::new());
    assert!(!lab.dir().join("user-state").exists());
}

/// All folders of the workspace.
const FOLDERS: [&str; 5] = [".", "plugins", "plugins/settled", "plugins/settled/src", "crates/core/src"];

#[test]
fn settings_at_the_workspace_root_apply_in_all_its_folders() {
    let lab = workspace("settled");
    let settings = lab.dir().join("replug.toml");
    fs::write(&settings, "state_dir = \"kept\"\nkeep_artifacts = 3\n").unwrap();
    // While no host runs, each call starts its own host.
    for folder in FOLDERS {
        let called = replug(&lab, folder, &["call", &lab.id(), "version"]);
        assert!(called.status.success(), "{folder}: {called:?}");
    }
    let run = in_folder(&lab, command_to_host(&lab, &["run", "--json"]), "plugins/settled/src");
    let mut host = Dev::of(run);
    let started = host.wait_for("host_started");
    let plugins = fs::canonicalize(lab.plugins_dir()).unwrap();
    assert_eq!(started["plugins_dir"].as_str().map(Path::new), Some(plugins.as_path()));
    fs::write(&settings, "state_dir = \"kept\"\nkeep_artifacts = 4\n").unwrap();
    assert_eq!(host.wait_for("config_changed")["applied"][0], "keep_artifacts");
    // A command finds the running host by the state folder in the file, even if the rest of the file is invalid.
    for text in ["state_dir = \"kept\"\n", "state_dir = \"kept\"\nno_such = 1\n"] {
        fs::write(&settings, text).unwrap();
        for folder in FOLDERS {
            let output = replug(&lab, folder, &["status", "--json"]);
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && told.contains(&lab.id()), "{folder}: {output:?}");
        }
    }
    assert!(host.interrupt().success());
    assert!(lab.dir().join("kept/artifacts").is_dir());
    assert_eq!(names(&lab.dir().join("target"), ""), Vec::<PathBuf>::new());
    assert!(!lab.dir().join("user-state").exists());
}

#[test]
fn the_state_of_an_earlier_replug_is_moved_out_of_the_plugins_folder() {
    let lab = workspace("moved");
    let former = lab.plugins_dir().join(".replug");
    fs::create_dir_all(former.join("run")).unwrap();
    fs::create_dir_all(former.join("data").join(lab.id())).unwrap();
    fs::write(former.join("data").join(lab.id()).join("kept"), "precious").unwrap();
    let listed = replug(&lab, ".", &["list"]);
    assert!(listed.status.success() && former.exists(), "`list` moves nothing: {listed:?}");
    let called = replug(&lab, "crates/core", &["call", &lab.id(), "version"]);
    let told = String::from_utf8_lossy(&called.stderr).into_owned();
    assert!(called.status.success(), "{called:?}");
    assert!(told.contains("moved ") && told.contains("plugins/.replug"), "{told}");
    cargo_reads(&lab);
    let states = names(&lab.dir().join("target/replug"), "plugins-");
    let kept = states[0].join("data").join(lab.id()).join("kept");
    assert_eq!(fs::read_to_string(kept).unwrap(), "precious");
    let again = replug(&lab, ".", &["call", &lab.id(), "version"]);
    assert!(again.status.success() && again.stderr.is_empty(), "{again:?}");
}

#[test]
fn a_workspace_has_one_build_folder_for_all_working_directories() {
    let lab = workspace("one-target");
    fs::remove_file(lab.path("plugin.so")).unwrap();
    lab.write("plugin.toml", format!("id = \"{}\"\n", lab.id()));
    let package = "[package]\nname = \"one-target\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n";
    lab.write("Cargo.toml", package);
    lab.write("src/lib.rs", "#[unsafe(no_mangle)]\npub extern \"C\" fn answer() -> i32 {\n    41\n}\n");
    for (folder, args) in
        [(".", &["build"][..]), (".", &["build", "plugins/one-target"]), ("plugins/one-target", &["build"])]
    {
        // The package is built, and then rejected because it is not a plugin.
        let output = replug(&lab, folder, args);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !told.contains("could not compile") && told.contains("replug-api"),
            "{folder} {args:?}: {told}"
        );
    }
    let built = lab.dir().join("target/replug/build");
    assert_eq!(names(&built, "").len(), 1, "{:?}", names(&built, ""));
    assert!(names(&built, "")[0].join("debug/libone_target.so").exists());
}
