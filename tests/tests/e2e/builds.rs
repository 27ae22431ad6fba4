//! Builds that write to their own inputs, builds whose inputs do not exist yet, and changes of many files at the same
//! time.

use replug::{Event, EventKind, Handle};
use replug_tests::{Lab, Source, Tally, misbehave, skipped, source::PROFILE};
use std::{fs, path::Path, process::Command};

/// The maximum number of builds for one change, even if each build changes its inputs.
const MOST_BUILDS: usize = 8;
/// The same if the host does not know that the build writes the file. How many builds such a file causes depends on when
/// its events arrive: each build can be superseded four times (`Overlap::EDITS`), two builds can follow it
/// (`Overlap::REPEATS`), and one build checks the file.
const MOST_BUILDS_OF_UNKNOWN_WRITES: usize = (4 + 1) * (2 + 1) + 1;

fn begins(event: &Event) -> bool {
    matches!(event.kind, EventKind::BuildStarted { .. })
}

/// Reloads twice, which waits for all running builds and pending changes. Returns how many other builds have begun
/// since the last call.
fn builds_until_settled(lab: &mut Lab) -> usize {
    for _ in 0..2 {
        lab.reload().unwrap();
    }
    lab.told_since().iter().filter(|event| begins(event)).count() - 2
}

fn version(lab: &Lab) -> u64 {
    let tally: Handle<dyn Tally> = lab.host().get(&lab.id()).unwrap();
    tally.version().unwrap()
}

/// A plugin whose build script writes twelve files to the source folder. Each file contains the value of the expression
/// `content`.
fn generating(content: &str) -> Source {
    let script = format!(
        "fn main() {{
    println!(\"cargo::rerun-if-changed=build.rs\");
    println!(\"cargo::rerun-if-changed=proto\");
    std::fs::create_dir_all(\"src/pb\").unwrap();
    for number in 0..12 {{
        std::fs::write(format!(\"src/pb/file{{number}}.rs\"), format!(\"// {{}}\\n{{}}\", {content}, \"// long\\n\".repeat(9999))).unwrap();
    }}
}}
"
    );
    Source::new(1).with("build.rs", script).with("proto/it.proto", "one")
}

#[test]
fn a_build_script_that_rewrites_equal_sources_causes_few_builds() {
    let mut lab = Lab::new("rewrites-sources");
    lab.write_source(&generating("1"));
    lab.start_watching();
    assert_eq!(version(&lab), 1);
    let first = builds_until_settled(&mut lab);
    assert!(first <= MOST_BUILDS, "{first} builds");
    // The first edit makes the script run again. The second edit is in a file that the script never writes.
    lab.write("proto/it.proto", "two");
    lab.write("src/lib.rs", Source::lib(2));
    lab.reloaded();
    assert_eq!(version(&lab), 2);
    let second = builds_until_settled(&mut lab);
    assert!(second <= MOST_BUILDS, "{second} builds");
}

#[test]
fn a_build_script_that_writes_new_content_each_time_causes_few_builds() {
    let mut lab = Lab::new("writes-other-sources");
    let source = generating("format!(\"{:?}\", std::time::SystemTime::now())");
    let script = source.others.iter().find(|(path, _)| path == "build.rs").unwrap().1.clone();
    // Without these lines, cargo runs the script whenever a file of the package has changed. The script itself changes
    // such files, so cargo runs it in every build.
    let script = script.lines().filter(|line| !line.contains("rerun-if")).collect::<Vec<_>>().join("\n");
    lab.write_source(&source.with("build.rs", script));
    lab.start_watching();
    assert_eq!(version(&lab), 1);
    let first = builds_until_settled(&mut lab);
    assert!(first <= MOST_BUILDS, "{first} builds");
    lab.write("src/lib.rs", Source::lib(2));
    lab.reloaded();
    assert_eq!(version(&lab), 2);
    let second = builds_until_settled(&mut lab);
    assert!(second <= MOST_BUILDS, "{second} builds");
}

/// A plugin with a procedural macro. Each expansion of the macro writes a file to the source folder and includes that
/// file. `name` is a Rust expression for the name of the file.
fn stamped_by_a_macro(name: &str) -> Source {
    let macros = format!(
        "use proc_macro::TokenStream;

#[proc_macro]
pub fn stamp(_: TokenStream) -> TokenStream {{
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let folder = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../src/made\");
    let file = format!(\"{{folder}}/{{}}\", {name});
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(&file, format!(\"{{now}}\")).unwrap();
    format!(\"const _: &str = include_str!({{file:?}});\").parse().unwrap()
}}
"
    );
    let manifest = "[package]\nname = \"stamped\"\nedition = \"2024\"\n\n[lib]\nproc-macro = true\n";
    let mut source = Source::new(1).with("stamped/Cargo.toml", manifest).with("stamped/src/lib.rs", macros);
    source.cargo_toml =
        source.cargo_toml.replace("[dependencies]\n", "[dependencies]\nstamped = { path = \"stamped\" }\n");
    source.lib.push_str("stamped::stamp!();\n");
    source
}

#[test]
fn a_macro_that_rewrites_a_source_in_each_build_causes_few_builds() {
    let mut lab = Lab::new("macro-writes");
    let source = stamped_by_a_macro("\"stamp\"");
    lab.write_source(&source);
    lab.start_watching();
    assert_eq!(version(&lab), 1);
    let first = builds_until_settled(&mut lab);
    assert!(first <= MOST_BUILDS, "{first} builds");
    lab.write("src/lib.rs", source.lib.replace("        1\n", "        2\n"));
    lab.reloaded();
    assert_eq!(version(&lab), 2);
    let second = builds_until_settled(&mut lab);
    assert!(second <= MOST_BUILDS, "{second} builds");
}

#[test]
fn a_macro_that_adds_a_source_in_each_build_causes_few_builds() {
    let mut lab = Lab::new("macro-adds");
    lab.write_source(&stamped_by_a_macro("now"));
    lab.start_watching();
    assert_eq!(version(&lab), 1);
    let first = builds_until_settled(&mut lab);
    assert!(first <= MOST_BUILDS, "{first} builds");
}

#[test]
fn a_shell_script_that_changes_its_sources_causes_few_builds() {
    let mut lab = Lab::new("script-writes");
    lab.write("ready.so", misbehave("version=1"));
    lab.write("src/input.txt", "one");
    lab.write_script(
        "scripts/build.sh",
        "#!/bin/sh\nset -e\nmkdir -p out src/made\ndate +%s%N > src/made/stamp\ncp ready.so out/plugin.so\n\
         date +%s%N > src/made/stamp\n",
    );
    lab.set_manifest("binary = \"out/plugin.so\"");
    lab.start_watching();
    let first = builds_until_settled(&mut lab);
    assert!(first <= MOST_BUILDS, "{first} builds");
    lab.write("ready.so", misbehave("version=2"));
    lab.write("src/input.txt", "two");
    lab.reloaded();
    assert_eq!(lab.probe().version().unwrap(), 2);
}

#[test]
fn a_shell_script_that_changes_its_manifest_causes_few_builds() {
    let mut lab = Lab::new("writes-its-manifest");
    lab.write("src/ready.so", misbehave("version=1"));
    lab.write_script(
        "scripts/build.sh",
        "#!/bin/sh\nset -e\nmkdir -p out\ncp src/ready.so out/plugin.so\n\
         printf 'id = \"dev.test.writes-its-manifest\"\\nbinary = \"out/plugin.so\"\\ndescription = \"built at %s\"\\n' \
         \"$(date +%s%N)\" > new.toml\nmv new.toml plugin.toml\n",
    );
    lab.set_manifest("binary = \"out/plugin.so\"");
    lab.start_watching();
    let first = builds_until_settled(&mut lab);
    assert!(first <= MOST_BUILDS_OF_UNKNOWN_WRITES, "{first} builds");
    lab.write("src/ready.so", misbehave("version=2"));
    lab.reloaded();
    assert_eq!(lab.probe().version().unwrap(), 2);
    let second = builds_until_settled(&mut lab);
    assert!(second <= MOST_BUILDS_OF_UNKNOWN_WRITES, "{second} builds");
}

#[test]
fn an_edit_supersedes_a_build_with_a_running_build_script() {
    let mut lab = Lab::new("edit-while-it-runs");
    let source = generating("1");
    // If the file `hold` exists, it contains the path of a pipe. The build script opens the pipe, which waits until the
    // other end is opened.
    let slow = "fn main() { if let Ok(pipe) = std::fs::read_to_string(\"hold\") { std::fs::File::open(pipe).unwrap(); } }";
    let pipe = lab.dir().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    lab.write_source(&source.with("build.rs", slow));
    lab.start_watching();
    assert_eq!(version(&lab), 1);
    lab.told_since();
    lab.write("hold", pipe.to_str().unwrap());
    lab.write("build.rs", format!("{slow} // again"));
    lab.wait_for(|event| begins(event).then_some(()));
    // Without this edit, the running build would not end.
    lab.write("src/lib.rs", Source::lib(2));
    lab.wait_for(|event| matches!(event.kind, EventKind::BuildSuperseded).then_some(()));
    lab.wait_for(|event| begins(event).then_some(()));
    fs::remove_file(lab.path("hold")).unwrap();
    let _other_end = fs::File::options().read(true).write(true).open(&pipe).unwrap();
    lab.reloaded();
    assert_eq!(version(&lab), 2);
}

#[test]
fn a_build_that_lacks_an_included_file_runs_again_when_it_appears() {
    let mut lab = Lab::new("included-later");
    lab.write_source(&Source::new(1));
    lab.start_watching();
    lab.told_since();
    lab.write("src/lib.rs", Source::lib(2) + "const _: &str = include_str!(\"../data/words.txt\");\n");
    let (error, _) = lab.build_failed();
    assert!(error.contains("words.txt"), "{error}");
    assert_eq!(version(&lab), 1);
    // Neither the file nor its folder existed before.
    lab.write("data/words.txt", "words");
    lab.reloaded();
    assert_eq!(version(&lab), 2);
}

#[test]
fn a_missing_path_dependency_is_built_when_it_appears() {
    let mut lab = Lab::new("dependency-later");
    let mut source = Source::new(1);
    let dependency = lab.dir().join("vendor/dep");
    source.cargo_toml = source
        .cargo_toml
        .replace("[dependencies]\n", &format!("[dependencies]\nlater = {{ path = {dependency:?} }}\n"));
    lab.write_source(&source);
    lab.start_watching();
    lab.build_failed();
    fs::create_dir_all(dependency.join("src")).unwrap();
    fs::write(dependency.join("src/lib.rs"), "").unwrap();
    // A rename, so that no build reads an empty manifest.
    fs::write(lab.dir().join("later.toml"), "[package]\nname = \"later\"\n").unwrap();
    fs::rename(lab.dir().join("later.toml"), dependency.join("Cargo.toml")).unwrap();
    lab.reloaded();
    assert_eq!(version(&lab), 1);
}

#[test]
fn a_plugin_is_built_when_a_siblings_broken_manifest_is_repaired() {
    let mut lab = Lab::new("sibling-repaired");
    let mut source = Source::new(1);
    // The plugin and a broken sibling are members of a workspace around the plugins folder.
    source.cargo_toml = source.cargo_toml.replace("\n[workspace]\n", "\n");
    let root = lab.dir().to_owned();
    let members = "[workspace]\nmembers = [\"plugins/sibling-repaired\", \"sibling\"]\nresolver = \"3\"\n";
    // Cargo ignores the profile in a member's manifest, so the profile moves to the root's manifest. With another
    // profile, cargo could not use the compiled dependencies.
    source.cargo_toml = source.cargo_toml.replace(PROFILE, "");
    fs::write(root.join("Cargo.toml"), format!("{members}\n{PROFILE}")).unwrap();
    fs::create_dir_all(root.join("sibling/src")).unwrap();
    fs::write(root.join("sibling/src/lib.rs"), "").unwrap();
    fs::write(root.join("sibling/Cargo.toml"), "[package]\nname \"sibling\"\n").unwrap();
    lab.write_source(&source);
    fs::rename(lab.path("Cargo.lock"), root.join("Cargo.lock")).unwrap();
    lab.compile_dependencies_in(&root);
    lab.start_watching();
    let (error, _) = lab.build_failed();
    assert!(error.contains("sibling"), "{error}");
    // A rename, so that no build reads an empty manifest.
    fs::write(root.join("repaired.toml"), "[package]\nname = \"sibling\"\n").unwrap();
    fs::rename(root.join("repaired.toml"), root.join("sibling/Cargo.toml")).unwrap();
    lab.reloaded();
    assert_eq!(version(&lab), 1);
}

/// Waits for the next reload. Until then, no build may fail.
fn reloaded_without_failure(lab: &mut Lab) {
    lab.wait_for(|event| match &event.kind {
        EventKind::BuildFailed { error, .. } => panic!("{error}"),
        EventKind::ReloadFailed { error, .. } => panic!("{error}"),
        EventKind::Reloaded { .. } => Some(()),
        _ => None,
    });
}

#[test]
fn files_missing_briefly_during_an_edit_cause_no_failed_build() {
    let mut lab = Lab::new("missing-for-a-moment");
    lab.write_source(&Source::new(1));
    lab.start_watching();
    lab.told_since();
    for next in 2..5 {
        let missing = if next % 2 == 0 { "Cargo.toml" } else { "src/tally.rs" };
        fs::rename(lab.path(missing), lab.dir().join("aside")).unwrap();
        lab.write("src/lib.rs", Source::lib(next));
        lab.wait_for(|event| begins(event).then_some(()));
        fs::rename(lab.dir().join("aside"), lab.path(missing)).unwrap();
        while version(&lab) != next {
            reloaded_without_failure(&mut lab);
        }
    }
}

fn git(folder: &Path, arguments: &[&str]) -> bool {
    let mut git = Command::new("git");
    git.current_dir(folder).args(["-c", "user.name=test", "-c", "user.email=test@example.org"]);
    git.args(arguments).output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_branch_switch_causes_no_failed_build_and_the_branch_is_served() {
    let mut lab = Lab::new("branch-switch");
    lab.write_source(&Source::new(1));
    let folder = lab.path("");
    if !git(&folder, &["init", "--quiet", "--initial-branch", "one"]) {
        skipped("git is not installed");
        return;
    }
    lab.write(".gitignore", "target\n");
    let commit = |lab: &Lab| {
        for number in 0..200 {
            let text =
                format!("//! {}\n", fs::read_to_string(lab.path("src/lib.rs")).unwrap().len() + number);
            lab.write(&format!("src/many/file{number}.rs"), text);
        }
        assert!(git(&folder, &["add", "."]) && git(&folder, &["commit", "--quiet", "-m", "it"]));
    };
    commit(&lab);
    assert!(git(&folder, &["checkout", "--quiet", "-b", "two"]));
    lab.write("Cargo.toml", fs::read_to_string(lab.path("Cargo.toml")).unwrap() + "# Of the other branch.\n");
    lab.write("src/lib.rs", Source::lib(2) + "// Of the other branch.\n");
    commit(&lab);
    lab.start_watching();
    lab.told_since();
    for (branch, wanted) in [("one", 1), ("two", 2), ("one", 1), ("two", 2)] {
        assert!(git(&folder, &["checkout", "--quiet", branch]));
        while version(&lab) != wanted {
            reloaded_without_failure(&mut lab);
        }
    }
}
