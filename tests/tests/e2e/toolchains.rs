//! Plugins that are built by another compiler than the one in PATH. The other compiler is a script that runs the real
//! rustc. In most tests, it also writes a line each time it runs.

use replug_tests::{
    Lab, Source,
    command::{Dev, command, talk},
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

fn rustc(arguments: &[&str]) -> PathBuf {
    let output = Command::new("rustc").args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim_end().into()
}

/// Makes a compiler with libraries of its own, of which libstd differs from the real one. Returns the folder of the
/// libraries.
fn compiler(lab: &Lab) -> PathBuf {
    let (sysroot, libdir) = (rustc(&["--print", "sysroot"]), rustc(&["--print", "target-libdir"]));
    let own = lab.dir().join("toolchain");
    let own_libdir = own.join(libdir.strip_prefix(&sysroot).unwrap());
    fs::create_dir_all(&own_libdir).unwrap();
    for library in fs::read_dir(libdir).unwrap().flatten() {
        let to = own_libdir.join(library.file_name());
        if library.file_name().to_string_lossy().starts_with("libstd-")
            && to.extension() == Some("so".as_ref())
        {
            // The loader ignores what follows the sections.
            fs::write(to, [fs::read(library.path()).unwrap(), b"other".to_vec()].concat()).unwrap();
        } else {
            symlink(library.path(), to).unwrap();
        }
    }
    lab.write_script(
        "../../toolchain/rustc",
        &format!(
            "#!/bin/sh\necho \"$*\" >> {}/calls\nexec {}/bin/rustc --sysroot {} --cfg by_the_script \"$@\"\n",
            lab.dir().display(),
            sysroot.display(),
            own.display()
        ),
    );
    own_libdir
}

/// How many times the script has compiled the plugin's own crate.
fn compilations(lab: &Lab) -> usize {
    let calls = fs::read_to_string(lab.dir().join("calls")).unwrap();
    let name = lab.id().replace("dev.test.", "misbehave_").replace('-', "_");
    calls.lines().filter(|line| line.contains(&format!("--crate-name {name} "))).count()
}

fn version(lab: &Lab) -> Value {
    let output = talk(lab, &["call", &lab.id(), "version"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The shared standard libraries that the processes of this test have mapped.
fn mapped_stds(lab: &Lab) -> Vec<PathBuf> {
    let maps = lab.processes().into_iter().map(|pid| fs::read_to_string(format!("/proc/{pid}/maps")));
    let maps: String = maps.map(Result::unwrap_or_default).collect();
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    let mut stds: Vec<_> = paths.filter(|path| path.contains("/libstd-")).map(PathBuf::from).collect();
    stds.dedup();
    stds
}

/// Starts a host with a variable that names a program in the test's folder, and edits the plugin twice. Each version
/// has this source, and must return its number. Returns the host.
fn edited(lab: &mut Lab, variable: &str, program: &str, lib: fn(u64) -> String) -> Dev {
    lab.write_source(&Source::new(1));
    lab.write("src/lib.rs", lib(1));
    let mut dev = command(lab, &["dev", "--json"]);
    dev.env(variable, lab.dir().join(program));
    let mut dev = Dev::of(dev);
    for next in 1..=3 {
        dev.wait_for("reloaded");
        assert_eq!(version(lab), json!(next));
        if next < 3 {
            lab.write("src/lib.rs", lib(next + 1));
        }
    }
    dev
}

/// A source whose version is 0 if another compiler than the script has compiled it.
fn only_by_the_script(version: u64) -> String {
    let lib = Source::lib(version);
    let number = format!("        {version}\n");
    assert!(lib.contains(&number), "{lib}");
    lib.replace(&number, &format!("        if cfg!(by_the_script) {{ {version} }} else {{ 0 }}\n"))
}

#[test]
fn the_compiler_in_the_variable_rustc_builds_and_its_libstd_is_loaded() {
    for name in ["RUSTC", "CARGO_BUILD_RUSTC"] {
        let mut lab = Lab::new("other-compiler");
        let libdir = compiler(&lab);
        let dev = edited(&mut lab, name, "toolchain/rustc", only_by_the_script);
        let stds = mapped_stds(&lab);
        let [std] = stds.as_slice() else { panic!("{name}: {stds:?}") };
        let own = libdir.join(std.file_name().unwrap());
        assert!(std.starts_with(lab.state_dir()), "{name}: {std:?} is not the copy in the store");
        assert!(fs::read(std).unwrap() == fs::read(own).unwrap(), "{name}: {std:?} is another libstd");
        assert!(dev.interrupt().success());
    }
}

#[test]
fn every_edit_is_built_by_the_wrapper_of_rustc() {
    for name in ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_RUSTC_WRAPPER"] {
        let mut lab = Lab::new("wrapped-compiler");
        lab.write_script(
            "../../wrapper",
            &format!("#!/bin/sh\necho \"$*\" >> {}/calls\nexec \"$@\"\n", lab.dir().display()),
        );
        let dev = edited(&mut lab, name, "wrapper", Source::lib);
        assert_eq!(compilations(&lab), 3);
        assert!(dev.interrupt().success());
    }
}

#[test]
fn a_plugin_is_built_without_a_rustc_in_path() {
    let mut lab = Lab::new("no-rustc");
    compiler(&lab);
    lab.write_source(&Source::new(1));
    // The folder has the programs that a build needs, except rustc.
    let programs = lab.dir().join("programs");
    fs::create_dir(&programs).unwrap();
    symlink(rustc(&["--print", "sysroot"]).join("bin/cargo"), programs.join("cargo")).unwrap();
    for program in ["cc", "ld", "sh", "env", "rm"] {
        let path = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap().stdout;
        symlink(String::from_utf8(path).unwrap().trim(), programs.join(program)).unwrap();
    }
    let mut build = command(&lab, &["build", "--json"]);
    build.env("PATH", &programs).env("RUSTC", lab.dir().join("toolchain/rustc"));
    let output = build.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(compilations(&lab), 1);
}

/// Makes a toolchain in the test's folder whose compiler is the real one with `--cfg toolchain_NAME`.
fn toolchain(lab: &Lab, name: &str) {
    let (sysroot, own) = (rustc(&["--print", "sysroot"]), lab.dir().join(name));
    fs::create_dir_all(own.join("bin")).unwrap();
    symlink(sysroot.join("lib"), own.join("lib")).unwrap();
    symlink(sysroot.join("bin/cargo"), own.join("bin/cargo")).unwrap();
    let script = format!(
        "#!/bin/sh\nexec {}/bin/rustc --sysroot {} --cfg toolchain_{name} \"$@\"\n",
        sysroot.display(),
        own.display()
    );
    lab.write_script(&format!("../../{name}/bin/rustc"), &script);
}

#[test]
fn an_edit_of_the_toolchain_file_builds_with_the_other_toolchain() {
    if Command::new("rustup").arg("--version").output().is_err() {
        eprintln!("skipped: only rustup reads `rust-toolchain.toml`, and it is not installed");
        return;
    }
    let mut lab = Lab::new("toolchain-file");
    for name in ["one", "two", "three"] {
        toolchain(&lab, name);
    }
    let select = |lab: &Lab, name: &str| {
        let path = lab.dir().join(name);
        lab.write("rust-toolchain.toml", format!("[toolchain]\npath = \"{}\"\n", path.display()));
    };
    select(&lab, "one");
    let by_toolchain = "        if cfg!(toolchain_one) { 1 } else if cfg!(toolchain_two) { 2 } else { 3 }\n";
    lab.write_source(&Source::new(1).edited("        1\n", by_toolchain));
    let start = |lab: &mut Lab| {
        let mut dev = command(lab, &["dev", "--json"]);
        // A toolchain in the environment has precedence over the file.
        dev.env_remove("RUSTUP_TOOLCHAIN");
        Dev::of(dev)
    };
    let mut dev = start(&mut lab);
    dev.wait_for("reloaded");
    assert_eq!(version(&lab), json!(1));
    select(&lab, "two");
    dev.wait_for("reloaded");
    assert_eq!(version(&lab), json!(2));
    assert!(dev.interrupt().success());

    // An edit while no host runs.
    select(&lab, "three");
    let mut dev = start(&mut lab);
    while version(&lab) != json!(3) {
        dev.wait_for("reloaded");
    }
    assert!(dev.interrupt().success());
}
