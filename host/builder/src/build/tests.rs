//! Tests of the builder, with small crates without dependencies and with scripts that succeed, fail or hang.

mod changes;
mod inputs;
mod replay;
mod shared;
mod toolchains;
mod workspaces;

use super::*;
use crate::watch;
use replug_config::manifest;
use replug_model::event::DiagnosticLevel;
use std::{fs, io::Read, os::unix::fs::PermissionsExt};

struct Bench {
    builder: Builder,
    root: PathBuf,
    _dir: tempfile::TempDir,
}

const CARGO_TOML: &str =
    "[package]\nname = \"tiny-one\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n";
const GOOD: &str =
    "#[unsafe(no_mangle)]\npub extern \"C\" fn answer() -> i32 {\n    println!(\"x\");\n    41\n}\n";

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap().join("plugin");
        let bench = Self { builder: Builder::new(dir.path().join("build")), root, _dir: dir };
        bench.write("plugin.toml", "id = 'dev.example.tiny'");
        bench
    }

    fn package() -> Self {
        let bench = Self::new();
        bench.write("Cargo.toml", CARGO_TOML);
        bench.write("src/lib.rs", GOOD);
        bench
    }

    fn script(content: &str) -> Self {
        let bench = Self::new();
        bench.write("plugin.toml", "id = 'dev.example.tiny'\nbinary = 'out/tiny.so'");
        bench.write_program("scripts/build.sh", content);
        bench
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes an executable script. Another process writes the file: if this process had the file open for writing, a
    /// child process that another test has just forked could still have it open, and the kernel would not execute it.
    fn write_program(&self, name: &str, content: &str) {
        let from = self.root.with_file_name("program.tmp");
        fs::write(&from, content).unwrap();
        let to = self.path(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        let mut install = std::process::Command::new("install");
        let copied = install.args(["-m", "755"]).args([from, to]).status();
        assert!(copied.unwrap().success(), "{name} was not copied");
    }

    fn chmod(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn manifest(&self) -> Manifest {
        manifest::read(&self.root).unwrap()
    }

    async fn build(&self) -> Result<Built, BuildError> {
        self.builder.build(&self.manifest()).await
    }

    async fn build_error(&self) -> String {
        self.build().await.unwrap_err().to_string()
    }
}

#[tokio::test]
async fn a_package_builds_to_a_library_that_links_the_shared_libstd() {
    let bench = Bench::package();
    bench.write("src/text with space.txt", "hello");
    bench.write(
        "src/lib.rs",
        &format!(
            "{GOOD}pub fn unused() -> &'static str {{ let x = 1; include_str!(\"text with space.txt\") }}"
        ),
    );
    let first = bench.build().await.unwrap();
    assert!(first.artifact.starts_with(bench.builder.dir().rest()));
    let bytes = fs::read(&first.artifact).unwrap();
    use object::read::elf::{Dyn, ElfFile64, FileHeader};
    let file = ElfFile64::<object::Endianness>::parse(&*bytes).unwrap();
    let sections = file.elf_header().sections(file.endian(), &*bytes).unwrap();
    let (entries, link) = sections.dynamic(file.endian(), &*bytes).unwrap().unwrap();
    let strings = sections.strings(file.endian(), &*bytes, link).unwrap();
    let texts: Vec<_> = entries
        .iter()
        .filter(|it| it.is_string(file.endian()))
        .map(|it| String::from_utf8_lossy(it.string(file.endian(), strings).unwrap()).into_owned())
        .collect();
    assert!(texts.iter().any(|it| it.starts_with("libstd-")), "{texts:?}");
    assert!(texts.iter().any(|it| it.ends_with("/lib")), "no runpath: {texts:?}");

    assert_eq!(first.warnings.len(), 1, "{:?}", first.warnings);
    assert!(first.warnings[0].message.contains("unused variable"));
    for name in ["plugin.toml", "Cargo.toml", "Cargo.lock", "src/text with space.txt", "src/lib.rs"] {
        assert!(first.inputs.files.contains(&bench.path(name)), "{name}: {:?}", first.inputs);
    }
    assert_eq!(first.inputs.dirs, [bench.path("src")].into());
    assert!(!bench.path("target").exists(), "the author's own target folder was used");

    bench.write("src/lib.rs", &GOOD.replace("41", "42"));
    let second = bench.build().await.unwrap();
    assert_ne!(fs::read(&second.artifact).unwrap(), bytes);
    assert!(second.warnings.is_empty());
}

#[tokio::test]
async fn a_compile_error_has_its_position_and_its_rendered_text() {
    let bench = Bench::package();
    bench.write("src/lib.rs", "pub fn f() -> i32 {\n    \"text\"\n}\nfn g() { unknown() }\n");
    let error = bench.build().await.unwrap_err();
    let message = error.to_string();
    assert!(message.ends_with("(and 1 more error)"), "{message}");
    assert!(message.starts_with("src/lib.rs:"), "{message}");
    let mismatch = error.diagnostics().iter().find(|it| it.message == "mismatched types").unwrap();
    assert_eq!((mismatch.level, mismatch.line), (DiagnosticLevel::Error, Some(2)));
    assert_eq!(mismatch.file, Some(bench.path("src/lib.rs")));
    assert!(mismatch.rendered.contains("\u{1b}[") && mismatch.rendered.contains("E0308"));
    assert_eq!(error.diagnostics().len(), 2, "{error:?}");

    bench.write("src/lib.rs", GOOD);
    assert_eq!(bench.build().await.unwrap().way.reason, "the last build by cargo has failed");
}

#[tokio::test]
async fn inputs_before_the_first_build_include_path_dependencies() {
    let bench = Bench::package();
    bench.write(
        "Cargo.toml",
        &format!("{CARGO_TOML}[dependencies]\nhelper = {{ path = \"../helper\" }}\n[workspace]\n"),
    );
    bench.write("../helper/Cargo.toml", "[package]\nname = \"helper\"\nedition = \"2024\"\n");
    bench.write("../helper/src/lib.rs", "pub mod deep;\npub fn help() -> i32 { deep::N }");
    bench.write("../helper/src/deep.rs", "pub const N: i32 = 3;");
    bench.write("src/lib.rs", "#[unsafe(no_mangle)]\npub extern \"C\" fn answer() -> i32 { helper::help() }");
    let helper = fs::canonicalize(bench.path("../helper")).unwrap();
    let before = bench.builder.inputs(&bench.manifest()).await;
    assert!(
        before.dirs.contains(&bench.path("src")) && before.dirs.contains(&helper.join("src")),
        "{before:?}"
    );
    assert!(before.files.contains(&helper.join("Cargo.toml")));
    let built = bench.build().await.unwrap();
    assert!(built.inputs.files.contains(&helper.join("src/deep.rs")), "{:?}", built.inputs);
    assert!(built.inputs.as_of.is_some());
}

#[tokio::test]
async fn the_watcher_reports_an_edit_after_a_build_but_not_the_build() {
    let bench = Bench::package();
    let (sender, mut notices) = tokio::sync::mpsc::unbounded_channel();
    let watcher = watch::Watcher::new(bench.root.parent().unwrap(), watch::Poll::Never, sender).unwrap();
    let manifest = bench.manifest();
    watcher.set_inputs(&manifest.id, bench.builder.inputs(&manifest).await).unwrap();
    let built = bench.build().await.unwrap();
    watcher.set_inputs(&manifest.id, built.inputs).unwrap();
    bench.write("src/new.tmp", &GOOD.replace("41", "42"));
    fs::rename(bench.path("src/new.tmp"), bench.path("src/lib.rs")).unwrap();
    loop {
        // The builder creates its folder below the watched folder. Only this change may precede the edit.
        match notices.recv().await.unwrap() {
            watch::Notice::PluginsChanged => {}
            watch::Notice::Changed(change) => break assert_eq!(change.path, bench.path("src/lib.rs")),
            lost => panic!("{lost:?}"),
        }
    }
}

#[tokio::test]
async fn the_error_for_a_package_without_a_cdylib_names_the_line_to_add() {
    let bench = Bench::package();
    bench.write("Cargo.toml", "[package]\nname = \"tiny-one\"\nedition = \"2024\"\n");
    let message = bench.build_error().await;
    assert!(
        message.contains("`tiny-one` is not a cdylib; add `crate-type = [\"cdylib\"]` under `[lib]`"),
        "{message}"
    );
    // After the manifest is corrected, the builder finds the facts again.
    bench.write("Cargo.toml", CARGO_TOML);
    bench.build().await.unwrap();
    bench.write("Cargo.toml", "[package]\nname = \"tiny-one\"\nedition = \"2024\"\n");
    assert!(bench.build_error().await.contains("is not a cdylib"));
}

#[tokio::test]
async fn a_workspace_with_two_cdylibs_needs_a_package_in_the_manifest() {
    let bench = Bench::new();
    bench.write("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\"]\nresolver = \"3\"\n");
    for name in ["a", "b"] {
        bench.write(&format!("{name}/Cargo.toml"), &CARGO_TOML.replace("tiny-one", name));
        bench.write(&format!("{name}/src/lib.rs"), GOOD);
    }
    let message = bench.build_error().await;
    assert!(message.contains("2 packages are cdylibs: `a`, `b`; name the plugin"), "{message}");
    bench.write("plugin.toml", "id = 'dev.example.tiny'\nbuild = { package = 'c' }");
    let message = bench.build_error().await;
    assert!(message.contains("no package `c` here; valid values of `build.package`: `a`, `b`"), "{message}");
    bench.write("plugin.toml", "id = 'dev.example.tiny'\nbuild = { package = 'b' }");
    let built = bench.build().await.unwrap();
    assert_eq!(built.artifact.file_name().unwrap(), "libb.so");
    assert!(built.inputs.dirs.contains(&bench.path("b/src")));
}

#[tokio::test]
async fn an_error_of_cargo_about_a_broken_manifest_is_forwarded() {
    let bench = Bench::package();
    bench.write("Cargo.toml", "[package]\nname = \n");
    let message = bench.build_error().await;
    assert!(message.contains("Cargo.toml: cargo failed") && message.contains("name = "), "{message}");
    let inputs = bench.builder.inputs(&bench.manifest()).await;
    assert_eq!(inputs.dirs, [bench.root.clone()].into());
    bench.write("Cargo.toml", CARGO_TOML);
    bench.write("plugin.toml", "id = 'dev.example.tiny'\nbuild = { profile = 'fancy' }");
    let message = bench.build_error().await;
    assert!(message.contains("`fancy` is not defined"), "{message}");
}

#[tokio::test]
async fn a_profile_with_lto_is_built_and_one_with_panic_abort_is_rejected() {
    let bench = Bench::package();
    bench.write(
        "plugin.toml",
        "id = 'dev.example.tiny'\nbuild = { profile = 'my-release', features = ['loud'] }",
    );
    let profile = "[features]\nloud = []\n[profile.my-release]\ninherits = \"release\"\nlto = \"fat\"\n";
    bench.write("Cargo.toml", &format!("{CARGO_TOML}{profile}"));
    let built = bench.build().await.unwrap();
    assert!(built.artifact.ends_with("my-release/libtiny_one.so"));
    bench.write("Cargo.toml", &format!("{CARGO_TOML}{profile}panic = \"abort\"\n"));
    let error = bench.build().await.unwrap_err();
    assert!(matches!(error, BuildError::PanicAborts { .. }), "{error}");
    assert!(error.to_string().contains("`my-release` has `panic = \"abort\"`"), "{error}");
}

#[tokio::test]
async fn a_folder_with_nothing_to_build_is_rejected() {
    let message = Bench::new().build_error().await;
    assert!(message.contains("nothing to build: no Cargo.toml and no scripts/build.sh"), "{message}");
}

#[tokio::test]
async fn a_script_gets_its_environment_and_its_library_is_found() {
    let script = "#!/bin/sh\nset -e\nmkdir -p out\ntest -d \"$REPLUG_TARGET_DIR\"\n\
        echo \"$PWD $REPLUG_PLUGIN_ID $REPLUG_PROFILE\" > out/tiny.so\n";
    let bench = Bench::script(script);
    let built = bench.build().await.unwrap();
    assert_eq!(built.artifact, bench.path("out/tiny.so"));
    let content = fs::read_to_string(&built.artifact).unwrap();
    assert_eq!(content, format!("{} dev.example.tiny dev\n", bench.root.display()));
    assert!(built.inputs.files.contains(&bench.path("scripts/build.sh")));
    assert_eq!(built.inputs.dirs, [bench.root.clone()].into());
    assert_eq!(built.inputs.except, [bench.path("out")].into());
}

#[tokio::test]
async fn the_error_of_a_failed_script_names_the_cause_and_the_remedy() {
    let bench = Bench::script("#!/bin/sh\necho so far >&1; echo no such tool >&2; exit 3\n");
    let message = bench.build_error().await;
    assert!(message.contains("failed (exit status: 3):\nso far\nno such tool"), "{message}");
    bench.write("scripts/build.sh", "#!/bin/sh\n");
    assert!(
        bench
            .build_error()
            .await
            .contains("out/tiny.so: no such file; the build script succeeded, but put no")
    );
    bench.chmod("scripts/build.sh", 0o644);
    assert!(bench.build_error().await.contains("make it executable: chmod +x"));
    bench.chmod("scripts/build.sh", 0o755);
    bench.write("scripts/build.sh", "#!/no/such/shell\n");
    assert!(bench.build_error().await.contains("an interpreter that does not exist"));
    bench.write("scripts/build.sh", "true");
    assert!(bench.build_error().await.contains("such as #!/bin/sh"));
    bench.write("plugin.toml", "id = 'dev.example.tiny'");
    assert!(bench.build_error().await.contains("add `binary` to the manifest"));
}

#[tokio::test]
async fn a_prebuilt_library_outside_of_the_plugins_folder_is_rejected() {
    let bench = Bench::package();
    bench.write("plugin.toml", "id = 'dev.example.tiny'\nbinary = 'lib/tiny.so'");
    assert!(bench.build_error().await.contains("lib/tiny.so: no such file; put the library there"));
    bench.write("lib/tiny.so", "x");
    let built = bench.build().await.unwrap();
    assert_eq!(built.artifact, bench.path("lib/tiny.so"));
    assert_eq!(built.inputs.files, [bench.path("lib/tiny.so"), bench.path("plugin.toml")].into());
    fs::remove_file(bench.path("lib/tiny.so")).unwrap();
    bench.write("../outside.so", "x");
    std::os::unix::fs::symlink("../../outside.so", bench.path("lib/tiny.so")).unwrap();
    assert!(bench.build_error().await.contains("points outside of the plugin's folder"));
}

/// A plugin whose build script hangs and has child processes. All of them hold the write end of the returned pipe.
fn hanging() -> (Bench, PathBuf) {
    let bench = Bench::script("#!/bin/sh\nexec 3> alive\nsleep 1000 &\nsh -c 'sleep 1000; true'\n");
    let pipe = bench.path("alive");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    (bench, pipe)
}

#[tokio::test]
async fn dropping_a_build_kills_all_its_processes() {
    let (bench, pipe) = hanging();
    // Opening waits until the script has opened the write end. Reading returns when the last process that holds the
    // write end has exited.
    let opened = tokio::task::spawn_blocking(move || fs::File::open(pipe).unwrap());
    let manifest = bench.manifest();
    let mut pipe = tokio::select! {
        built = bench.builder.build(&manifest) => panic!("{built:?}"),
        pipe = opened => pipe.unwrap(),
    };
    let read = tokio::task::spawn_blocking(move || pipe.read_to_end(&mut Vec::new()).unwrap());
    let hang_guard = Duration::from_secs(60);
    assert_eq!(tokio::time::timeout(hang_guard, read).await.expect("all processes exit").unwrap(), 0);
}

#[tokio::test]
async fn a_build_without_output_times_out_and_its_processes_are_killed() {
    let (bench, pipe) = hanging();
    bench.write("plugin.toml", "id = 'dev.example.tiny'\nbinary = 'x.so'\nbuild = { timeout = '300ms' }");
    let mut pipe = tokio::net::unix::pipe::OpenOptions::new().open_receiver(pipe).unwrap();
    let message = bench.build_error().await;
    assert!(message.contains("build timed out after 300ms without output (`build.timeout`)"), "{message}");
    // Reading returns when no process holds the write end any more.
    let mut rest = Vec::new();
    let all_gone = tokio::io::AsyncReadExt::read_to_end(&mut pipe, &mut rest);
    tokio::time::timeout(Duration::from_secs(60), all_gone).await.expect("all processes exit").unwrap();
}

#[tokio::test]
async fn a_script_with_a_background_process_finishes() {
    let bench = Bench::script("#!/bin/sh\nmkdir -p out; echo x > out/tiny.so\nsleep 1000 &\n");
    bench.build().await.unwrap();
}

#[tokio::test]
async fn an_included_file_outside_src_stays_an_input_while_it_is_broken() {
    let bench = Bench::package();
    bench.write("tables.rs", "pub const N: i32 = 1;");
    bench.write("src/lib.rs", &format!("include!(\"../tables.rs\");\n{}", GOOD.replace("41", "N")));
    bench.build().await.unwrap();
    bench.write("tables.rs", "pub const N: i32 = \"text\";");
    bench.build().await.unwrap_err();
    // rustc names the file by the path in the `include`.
    let is_tables = |file: &PathBuf| fs::canonicalize(file).is_ok_and(|file| file == bench.path("tables.rs"));
    let inputs = bench.builder.inputs(&bench.manifest()).await;
    assert!(inputs.files.iter().any(is_tables), "{inputs:?}");
    assert!(inputs.dirs.contains(&bench.path("src")), "{inputs:?}");

    // A file that no build has read becomes an input because the compiler's error names it.
    let bench = Bench::package();
    bench.write("tables.rs", "pub const N: i32 = \"text\";");
    bench.write("src/lib.rs", "include!(\"../tables.rs\");");
    bench.build().await.unwrap_err();
    let is_tables = |file: &PathBuf| fs::canonicalize(file).is_ok_and(|file| file == bench.path("tables.rs"));
    let inputs = bench.builder.inputs(&bench.manifest()).await;
    assert!(inputs.files.iter().any(is_tables), "{inputs:?}");
}
