//! Plugins with their own C library. Each version of a plugin keeps the library with which it was built.

use replug::{
    BuildDir, Handle,
    event::Stage,
    manifest::{self, Mode},
};
use replug_builder::build::Builder;
use replug_tests::{Lab, Source, Tally, artifact::replaced, compiled, misbehave};
use std::{fs, io::Write as _, path::Path, process::Command};

/// A plugin whose method `version` calls a C library. The build script builds the library. The loader finds the library
/// by `run_path`.
fn source(run_path: &str) -> Source {
    let build = r#"//! Makes the C library.
fn main() {
    println!("cargo::rerun-if-changed=answer.c");
    let out = std::env::var("OUT_DIR").unwrap();
    let library = format!("{out}/libanswer.so");
    let args = ["-shared", "-fPIC", "-Wl,-soname,libanswer.so", "answer.c", "-o", &library];
    assert!(std::process::Command::new("cc").args(args).status().unwrap().success());
    println!("cargo::rustc-link-search=native={out}");
    println!("cargo::rustc-link-arg=-Wl,-rpath,RUN_PATH");
}
"#;
    Source::new(1)
        .edited("        1\n", "        unsafe { answer() }\n")
        .edited(
            "struct Template;",
            "#[link(name = \"answer\")]\nunsafe extern \"C\" {\n    fn answer() -> u64;\n}\n\nstruct Template;",
        )
        .with("build.rs", build.replace("RUN_PATH", run_path))
        .with("answer.c", answer(1))
}

fn answer(number: u32) -> String {
    format!("unsigned long answer(void) {{ return {number}; }}\n")
}

/// Replaces the library atomically.
fn put_library(lab: &Lab, number: u32) {
    let (c, made) = (lab.dir().join("answer.c"), lab.dir().join("libanswer.so"));
    fs::write(&c, answer(number)).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-Wl,-soname,libanswer.so", "-o"]).arg(&made).arg(c);
    assert!(cc.status().unwrap().success());
    lab.write("libanswer.so", fs::read(made).unwrap());
}

fn version(lab: &Lab) -> u64 {
    let tally: Handle<dyn Tally> = lab.host().get(&lab.id()).unwrap();
    tally.version().unwrap()
}

/// The number of generations whose private copies of libraries still exist.
fn copies(lab: &Lab) -> usize {
    let runs = fs::read_dir(lab.state_dir().join("run")).unwrap().flatten();
    let folders = runs.flat_map(|run| fs::read_dir(run.path()).unwrap().flatten());
    folders.filter(|entry| entry.path().extension().is_some_and(|it| it == "libs")).count()
}

#[test]
fn an_edit_of_a_c_library_is_served_in_every_mode() {
    for mode in [Mode::InProcess, Mode::Process] {
        let mut lab = Lab::in_mode("built-library", mode);
        lab.write_source(&source("{out}"));
        lab.start_watching();
        lab.reloaded();
        assert_eq!(version(&lab), 1);
        for number in 2..5 {
            lab.write("answer.c", answer(number));
            lab.reloaded();
            assert_eq!(version(&lab), u64::from(number), "{mode:?}");
        }
        lab.host().rollback(&lab.id(), None).wait().unwrap();
        assert_eq!(version(&lab), 3, "a rollback also brings back the library of that version");
        // The host removes the copies of a replaced generation when the generation retires.
        while copies(&lab) > 1 {
            lab.retired();
        }
        assert_eq!(copies(&lab), 1);
    }
}

#[test]
fn a_library_next_to_a_prebuilt_plugin_is_found_and_watched() {
    for mode in [Mode::InProcess, Mode::Process] {
        let mut lab = Lab::in_mode("library-beside", mode);
        let plugin = ready_made(&lab);
        put_library(&lab, 1);
        lab.install(&plugin);
        lab.start_watching();
        lab.reloaded();
        assert_eq!(version(&lab), 1);
        put_library(&lab, 2);
        lab.reloaded();
        assert_eq!(version(&lab), 2, "{mode:?}");

        fs::remove_file(lab.path("libanswer.so")).unwrap();
        let (stage, error) = lab.reload_failed();
        assert_eq!(stage, Stage::Preflight);
        assert!(error.contains("needs `libanswer.so`, which was not found (searched "), "{error}");
        let folder = lab.path("").canonicalize().unwrap();
        assert!(error.contains(folder.to_str().unwrap()), "{error}");
        assert_eq!(version(&lab), 2);
        put_library(&lab, 3);
        lab.reloaded();
        assert_eq!(version(&lab), 3);
    }
}

/// A prebuilt plugin that looks for its library in its own folder.
fn ready_made(lab: &Lab) -> Vec<u8> {
    let folder = lab.dir().join("elsewhere");
    for (path, content) in source("$ORIGIN").files("library-beside") {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::write(folder.join("plugin.toml"), "id = \"dev.test.elsewhere\"").unwrap();
    fs::read(built(&folder, &lab.dir().join("elsewhere-target"))).unwrap()
}

fn built(folder: &Path, target: &Path) -> std::path::PathBuf {
    let manifest = manifest::read(folder).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    compiled::put(&BuildDir::from(target.to_owned()).target_dir(folder));
    runtime.block_on(Builder::new(target.to_owned()).build(&manifest)).unwrap().artifact
}

/// A plugin that finds the shared libstd in this folder. The libstd is copied there from the toolchain.
fn of_toolchain(folder: &Path, directives: &str) -> Vec<u8> {
    let rustc = Command::new("rustc").args(["--print", "target-libdir"]).output().unwrap();
    let libdir = String::from_utf8(rustc.stdout).unwrap().trim().to_owned();
    fs::create_dir(folder).unwrap();
    for library in fs::read_dir(&libdir).unwrap().flatten() {
        if library.file_name().to_string_lossy().starts_with("libstd-") {
            fs::copy(library.path(), folder.join(library.file_name())).unwrap();
        }
    }
    let mut run_path = folder.to_str().unwrap().as_bytes().to_vec();
    assert!(run_path.len() <= libdir.len(), "the path is not longer than the one it replaces");
    run_path.resize(libdir.len(), 0);
    replaced(misbehave(directives), libdir.as_bytes(), &run_path)
}

#[test]
fn a_plugin_runs_without_the_toolchain_that_has_built_it() {
    for mode in [Mode::InProcess, Mode::Process] {
        let mut lab = Lab::in_mode("toolchain-gone", mode);
        let toolchain = lab.dir().join("toolchain");
        lab.install_with(of_toolchain(&toolchain, "version=1"), "[process]\nrestart_wait = \"10m\"");
        lab.start();
        assert_eq!(lab.probe().increment(1), Ok(1));
        fs::remove_dir_all(&toolchain).unwrap();
        if lab.host().info(&lab.id()).unwrap().process_id.is_some() {
            lab.kill();
            lab.crashed();
            assert_eq!(lab.probe().version(), Ok(1), "the plugin is started again");
        }
        lab.reload().unwrap();
        assert_eq!(lab.probe().version(), Ok(1));
        lab.host().stop(&lab.id()).wait().unwrap();
        lab.host().start(&lab.id()).wait().unwrap();
        assert_eq!(lab.probe().version(), Ok(1), "{mode:?}");
    }
}

/// A plugin that finds a libstd in this folder that differs from the toolchain's libstd and has the same name.
fn of_rebuilt_toolchain(folder: &Path) -> Vec<u8> {
    let plugin = of_toolchain(folder, "version=2");
    for library in fs::read_dir(folder).unwrap() {
        // The loader ignores what follows the sections.
        let mut library = fs::File::options().append(true).open(library.unwrap().path()).unwrap();
        library.write_all(b"rebuilt").unwrap();
    }
    plugin
}

#[test]
fn a_plugin_with_another_libstd_of_the_same_name_is_not_loaded() {
    for mode in [Mode::Auto, Mode::InProcess] {
        let mut lab = Lab::in_mode("rebuilt-std", mode);
        lab.install_with(misbehave("version=1"), "[reload]\npreflight = \"off\"");
        lab.start();
        assert_eq!(lab.host().info(&lab.id()).unwrap().runs_in, Some(Mode::InProcess));
        lab.install(of_rebuilt_toolchain(&lab.dir().join("toolchain")));
        match (mode, lab.reload()) {
            (Mode::Auto, reloaded) => {
                reloaded.unwrap();
                let info = lab.host().info(&lab.id()).unwrap();
                assert_eq!((lab.probe().version(), info.runs_in), (Ok(2), Some(Mode::Process)));
                assert!(info.detail.contains("a different library of that name"), "{}", info.detail);
            }
            (_, reloaded) => {
                let error = reloaded.unwrap_err().to_string();
                assert!(error.contains("build all plugins with the same toolchain"), "{error}");
                assert_eq!(lab.probe().version(), Ok(1));
            }
        }
    }
}
