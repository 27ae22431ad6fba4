//! Tests of the inputs of an artifact: the builder misses none, and compares contents instead of mtimes.

use super::*;
use std::os::unix::fs::symlink;

/// Whether the built library contains this text.
pub(super) fn contains_text(built: &Built, text: &str) -> bool {
    let bytes = fs::read(&built.artifact).unwrap();
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

const SCRIPT_OF_ONE_FILE: &str = "fn main() { println!(\"cargo::rerun-if-changed=build.rs\"); }";

impl Bench {
    /// A package whose library prints the constant `SAYS` of the path dependency `helper`. `needs` declares the
    /// dependency.
    pub(super) fn with_helper(needs: &str) -> Self {
        let bench = Self::package();
        bench.write("Cargo.toml", &format!("{CARGO_TOML}{needs}"));
        bench.write("src/lib.rs", &GOOD.replace("\"x\"", "\"{}\", helper::SAYS"));
        bench.write("../helper/Cargo.toml", "[package]\nname = \"helper\"\nedition = \"2024\"\n");
        bench.write("../helper/src/lib.rs", "pub const SAYS: &str = \"<one>\";");
        bench
    }

    /// Replaces a file with a new file that has this content. The mtime of the new file is `age` older than that of the
    /// previous file.
    fn replace(&self, name: &str, content: &str, age: Duration) {
        let before = fs::metadata(self.path(name)).unwrap().modified().unwrap();
        let new = self.path("../new");
        fs::write(&new, content).unwrap();
        fs::File::options().append(true).open(&new).unwrap().set_modified(before - age).unwrap();
        fs::rename(new, self.path(name)).unwrap();
    }

    /// The result of a build by a new builder, as after a restart of the host.
    pub(super) async fn restarted(&self) -> Built {
        Builder::new(self.builder.dir().clone()).build(&self.manifest()).await.unwrap()
    }
}

pub(super) const ON_HELPER: &str = "[dependencies]\nhelper = { path = \"../helper\" }\n[workspace]\n";

#[tokio::test]
async fn a_changed_source_with_an_older_or_equal_mtime_causes_a_rebuild() {
    for script in ["", SCRIPT_OF_ONE_FILE] {
        let bench = Bench::with_helper(ON_HELPER);
        if !script.is_empty() {
            bench.write("build.rs", script);
        }
        assert!(contains_text(&bench.build().await.unwrap(), "<one>"));
        bench.replace("../helper/src/lib.rs", "pub const SAYS: &str = \"<two>\";", Duration::ZERO);
        assert!(
            contains_text(&bench.build().await.unwrap(), "<two>"),
            "a change of a dependency with an equal time is built: {script}"
        );
        let edit = fs::read_to_string(bench.path("src/lib.rs")).unwrap().replace("{}", "own {}");
        bench.replace("src/lib.rs", &edit, Duration::from_secs(3600));
        assert!(
            contains_text(&bench.build().await.unwrap(), "own "),
            "a change of the source with an older time is built: {script}"
        );
        assert!(
            contains_text(&bench.restarted().await, "own "),
            "the change is built after a restart, too: {script}"
        );
        bench.replace("../helper/src/lib.rs", "pub const SAYS: &str = \"<three>\";", Duration::from_secs(1));
        assert!(
            contains_text(&bench.restarted().await, "<three>"),
            "a change while no host ran is built: {script}"
        );
    }
}

#[tokio::test]
async fn a_changed_script_input_with_an_older_mtime_causes_a_rebuild() {
    let scripts = [
        "",
        "println!(\"cargo::rerun-if-changed=data\");",
        "println!(\"cargo:rerun-if-changed=data/text\");",
    ];
    for asks in scripts {
        let bench = Bench::package();
        let source = GOOD.replace("\"x\"", "\"{}\", env!(\"SAYS\")");
        bench.write("src/lib.rs", &source);
        bench.write("data/text", "<one>");
        let reads =
            "println!(\"cargo::rustc-env=SAYS={}\", std::fs::read_to_string(\"data/text\").unwrap());";
        bench.write("build.rs", &format!("fn main() {{ {asks}\n{reads} }}"));
        let built = bench.build().await.unwrap();
        assert!(contains_text(&built, "<one>"), "{asks}");
        let is_noticed = |inputs: &Inputs| {
            let data = bench.path("data");
            inputs.files.contains(&data.join("text")) || inputs.dirs.iter().any(|dir| data.starts_with(dir))
        };
        assert!(is_noticed(&built.inputs), "{asks}: {:?}", built.inputs);
        let restarted = Builder::new(bench.builder.dir().clone()).inputs(&bench.manifest()).await;
        assert!(is_noticed(&restarted), "{asks}: {restarted:?}");
        bench.replace("data/text", "<two>", Duration::from_secs(3600));
        assert!(contains_text(&bench.build().await.unwrap(), "<two>"), "{asks}");
        assert!(contains_text(&bench.restarted().await, "<two>"), "{asks}");
    }
}

#[tokio::test]
async fn changed_metadata_of_another_packages_script_causes_a_rebuild() {
    for asks in ["", "println!(\"cargo::rerun-if-changed=text\");"] {
        let bench = Bench::with_helper(ON_HELPER);
        bench.write(
            "../helper/Cargo.toml",
            "[package]\nname = \"helper\"\nedition = \"2024\"\nlinks = \"helper\"\n",
        );
        bench.write("../helper/src/lib.rs", "");
        bench.write("../helper/text", "<one>");
        let reads = "println!(\"cargo::metadata=SAYS={}\", std::fs::read_to_string(\"text\").unwrap());";
        bench.write("../helper/build.rs", &format!("fn main() {{ {asks}\n{reads} }}"));
        bench.write("src/lib.rs", &GOOD.replace("\"x\"", "\"{}\", env!(\"SAYS\")"));
        let sets = "println!(\"cargo::rustc-env=SAYS={}\", std::env::var(\"DEP_HELPER_SAYS\").unwrap());";
        bench.write("build.rs", &SCRIPT_OF_ONE_FILE.replace("; }", &format!("; {sets} }}")));
        assert!(contains_text(&bench.build().await.unwrap(), "<one>"), "{asks}");
        bench.write("../helper/text", "<two>");
        assert!(contains_text(&bench.build().await.unwrap(), "<two>"), "{asks}");
        bench.replace("../helper/text", "<three>", Duration::from_secs(3600));
        assert!(contains_text(&bench.build().await.unwrap(), "<three>"), "{asks}");
        bench.replace("../helper/text", "<four>", Duration::from_secs(3600));
        assert!(contains_text(&bench.restarted().await, "<four>"), "{asks}");
    }
}

#[tokio::test]
async fn a_new_file_in_a_rerun_if_changed_folder_causes_a_rebuild() {
    let bench = Bench::package();
    bench.write("src/lib.rs", &GOOD.replace("\"x\"", "\"{}\", env!(\"SAYS\")"));
    bench.write("data/a", "");
    let count = "println!(\"cargo::rustc-env=SAYS=<{}>\", std::fs::read_dir(\"data\").unwrap().count());";
    bench.write("build.rs", &format!("fn main() {{ println!(\"cargo::rerun-if-changed=data\"); {count} }}"));
    assert!(contains_text(&bench.build().await.unwrap(), "<1>"));
    let time = fs::metadata(bench.path("data")).unwrap().modified().unwrap();
    bench.write("data/b", "");
    for path in ["data/b", "data"] {
        fs::File::open(bench.path(path)).unwrap().set_modified(time).unwrap();
    }
    assert!(contains_text(&bench.build().await.unwrap(), "<2>"));
}

#[tokio::test]
async fn a_folder_behind_a_link_in_a_scripts_input_folder_is_an_input() {
    for asks in ["", "println!(\"cargo::rerun-if-changed=data\");"] {
        let bench = Bench::package();
        bench.write("src/lib.rs", &GOOD.replace("\"x\"", "\"{}\", env!(\"SAYS\")"));
        bench.write("data/own", "");
        bench.write("../one/deep/text", "<one>");
        bench.write("../other/deep/text", "<other>");
        symlink("../../one", bench.path("data/shared")).unwrap();
        symlink("..", bench.path("data/round")).unwrap();
        let reads = "std::fs::read_to_string(\"data/shared/deep/text\").unwrap()";
        let sets = format!("println!(\"cargo::rustc-env=SAYS={{}}\", {reads});");
        bench.write("build.rs", &format!("fn main() {{ {asks}\n{sets} }}"));
        assert!(contains_text(&bench.build().await.unwrap(), "<one>"), "{asks}");
        bench.replace("../one/deep/text", "<two>", Duration::from_secs(3600));
        let built = bench.build().await.unwrap();
        assert!(contains_text(&built, "<two>"), "{asks}");
        let link = bench.path("data/shared");
        let inputs = built.inputs;
        assert!(inputs.dirs.contains(&link) && inputs.files.contains(&link), "{asks}: {inputs:?}");
        fs::remove_file(&link).unwrap();
        symlink("../../other", &link).unwrap();
        assert!(contains_text(&bench.build().await.unwrap(), "<other>"), "{asks}");
    }
}

#[tokio::test]
async fn redirecting_a_link_to_other_sources_causes_a_rebuild() {
    let bench = Bench::with_helper(ON_HELPER);
    fs::rename(bench.path("../helper"), bench.path("../v1")).unwrap();
    bench.write("../v2/Cargo.toml", "[package]\nname = \"helper\"\nedition = \"2024\"\n");
    bench.write("../v2/src/lib.rs", "pub const SAYS: &str = \"<two>\";");
    for version in ["v1", "v2"] {
        let file = fs::File::open(bench.path(&format!("../{version}/src/lib.rs"))).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    }
    symlink("v1", bench.path("../helper")).unwrap();
    assert!(contains_text(&bench.build().await.unwrap(), "<one>"));
    fs::remove_file(bench.path("../helper")).unwrap();
    symlink("v2", bench.path("../helper")).unwrap();
    assert!(contains_text(&bench.build().await.unwrap(), "<two>"));
}

#[tokio::test]
async fn a_folder_that_replaces_a_crate_of_a_registry_is_an_input() {
    // The folder `vendor` replaces the registry, as `cargo vendor` sets it up. Its crate `middle` needs the crate
    // `helper`, which `paths` or `patch` replaces.
    for replace in ["paths = [\"../helper\"]\n", "[patch.crates-io]\nhelper = { path = \"../helper\" }\n"] {
        let bench = Bench::with_helper("[dependencies]\nmiddle = \"1.0.0\"\n[workspace]\n");
        bench.write(
            "../helper/Cargo.toml",
            "[package]\nname = \"helper\"\nversion = \"1.0.0\"\nedition = \"2024\"\n",
        );
        bench.write("src/lib.rs", &GOOD.replace("\"x\"", "\"{}\", middle::SAYS"));
        for (name, needs, says) in [
            ("middle", "[dependencies]\nhelper = \"1.0.0\"\n", "helper::SAYS"),
            ("helper", "", "\"<registry>\""),
        ] {
            let package =
                format!("[package]\nname = {name:?}\nversion = \"1.0.0\"\nedition = \"2024\"\n{needs}");
            bench.write(&format!("../vendor/{name}/Cargo.toml"), &package);
            let source = format!("pub const SAYS: &str = {says};");
            bench.write(&format!("../vendor/{name}/src/lib.rs"), &source);
            // The file lists no checksums of files, so cargo does not reject edited files.
            bench.write(
                &format!("../vendor/{name}/.cargo-checksum.json"),
                "{\"files\":{},\"package\":\"00\"}",
            );
        }
        // Cargo checks these sums only for a crate that the folder `vendor` contains.
        bench.write(
            "../helper/.cargo-checksum.json",
            "{\"files\":{\"src/lib.rs\":\"00\"},\"package\":\"00\"}",
        );
        let vendored =
            "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"../vendor\"\n";
        bench.write(".cargo/config.toml", &format!("{replace}{vendored}"));
        let built = bench.build().await.unwrap();
        assert!(contains_text(&built, "<one>"), "{replace}");
        let helper = fs::canonicalize(bench.path("../helper/src/lib.rs")).unwrap();
        let is_helper = |file: &PathBuf| fs::canonicalize(file).is_ok_and(|file| file == helper);
        assert!(built.inputs.files.iter().any(is_helper), "{replace}: {:?}", built.inputs);
        bench.write("../helper/src/lib.rs", "pub const SAYS: &str = \"<two>\";");
        assert!(contains_text(&bench.build().await.unwrap(), "<two>"), "{replace}");
        bench.replace("../helper/src/lib.rs", "pub const SAYS: &str = \"<three>\";", Duration::from_secs(9));
        assert!(contains_text(&bench.build().await.unwrap(), "<three>"), "{replace}");
        // The vendored crates have no checksums of files, so their files may be edited.
        let edit = "pub const SAYS: &str = \"<middle>\";";
        bench.replace("../vendor/middle/src/lib.rs", edit, Duration::ZERO);
        assert!(contains_text(&bench.build().await.unwrap(), "<middle>"), "{replace}");
    }
}

#[tokio::test]
async fn a_script_of_a_vendored_crate_without_checksums_runs_again() {
    let bench = Bench::with_helper("[dependencies]\nmiddle = \"1.0.0\"\n[workspace]\n");
    bench.write(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"../vendor\"\n",
    );
    bench.write("src/lib.rs", &GOOD.replace("\"x\"", "\"{}\", middle::SAYS"));
    let count = "println!(\"cargo::rustc-env=SAYS=<{}>\", std::fs::read_dir(\"data\").unwrap().count());";
    for (name, content) in [
        ("Cargo.toml", "[package]\nname = \"middle\"\nversion = \"1.0.0\"\nedition = \"2024\"\n"),
        ("src/lib.rs", "pub const SAYS: &str = env!(\"SAYS\");"),
        ("build.rs", &format!("fn main() {{ println!(\"cargo::rerun-if-changed=data\"); {count} }}")),
        ("data/a", ""),
        (".cargo-checksum.json", "{\"files\":{},\"package\":\"00\"}"),
    ] {
        bench.write(&format!("../vendor/middle/{name}"), content);
    }
    assert!(contains_text(&bench.build().await.unwrap(), "<1>"));
    bench.write("../vendor/middle/data/b", "");
    assert!(contains_text(&bench.build().await.unwrap(), "<2>"));
}

#[tokio::test]
async fn an_edit_of_an_included_cargo_configuration_causes_a_rebuild() {
    let bench = Bench::package();
    bench.write(
        "src/lib.rs",
        &GOOD.replace("\"x\"", "\"{}\", if cfg!(loud) { \"<loud>\" } else { \"<quiet>\" }"),
    );
    bench.write(".cargo/config.toml", "include = [\"more.toml\"]\n");
    bench.write(".cargo/more.toml", "");
    let built = bench.build().await.unwrap();
    assert!(built.inputs.files.contains(&bench.path(".cargo/more.toml")), "{:?}", built.inputs);
    bench.write(".cargo/more.toml", "[build]\nrustflags = [\"--cfg\", \"loud\"]\n");
    assert!(contains_text(&bench.build().await.unwrap(), "<loud>"));
}

#[tokio::test]
async fn an_edit_saved_during_a_cancelled_build_is_built_next() {
    let bench = Bench::with_helper(ON_HELPER);
    // The build script waits until the test reads the pipe. At that time, the dependency is already built.
    let pipe = bench.path("wait");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    bench.write(
        "Cargo.toml",
        &format!(
            "{CARGO_TOML}{ON_HELPER}{}",
            ON_HELPER.replace("[dependencies]", "[build-dependencies]").replace("[workspace]\n", "")
        ),
    );
    bench.write("build.rs", "fn main() { println!(\"cargo::rerun-if-changed=build.rs\"); let _ = helper::SAYS; std::fs::write(\"wait\", \"x\").unwrap(); }");
    let opened = tokio::task::spawn_blocking(move || fs::read(pipe).unwrap());
    let manifest = bench.manifest();
    tokio::select! {
        built = bench.builder.build(&manifest) => panic!("{built:?}"),
        read = opened => drop(read.unwrap()),
    }
    bench.write("build.rs", SCRIPT_OF_ONE_FILE);
    bench.replace("../helper/src/lib.rs", "pub const SAYS: &str = \"<two>\";", Duration::from_secs(9));
    let built = bench.build().await.unwrap();
    assert!(contains_text(&built, "<two>"));
    assert_eq!(built.way.reason, "the last build by cargo did not finish");
}

#[tokio::test]
async fn a_profile_with_lto_in_the_cargo_configuration_is_built() {
    let bench = Bench::package();
    bench.write("plugin.toml", "id = 'dev.example.tiny'\nbuild = { profile = 'fancy' }");
    bench.write(".cargo/config.toml", "include = [\"profiles.toml\"]\n");
    bench.write(".cargo/profiles.toml", "[profile.fancy]\ninherits = \"release\"\nlto = \"fat\"\n");
    assert!(bench.build().await.unwrap().artifact.ends_with("fancy/libtiny_one.so"));
}

#[tokio::test]
async fn a_plugin_with_lto_in_rustflags_is_built_with_a_warning() {
    let bench = Bench::package();
    bench.write(".cargo/config.toml", "[build]\nrustflags = [\"-Clto=fat\", \"-Cembed-bitcode=yes\"]\n");
    let warnings = bench.build().await.unwrap().warnings;
    assert!(warnings.iter().any(|it| it.message.contains("rustflags ask for LTO")), "{warnings:?}");
    bench.write("src/lib.rs", "#[unsafe(no_mangle)]\npub extern \"C\" fn two() -> u8 {\n    2\n}\n");
    bench.build().await.unwrap();
}

#[tokio::test]
async fn the_compiler_of_the_cargo_configuration_determines_the_run_path() {
    let bench = Bench::package();
    let compiler = "#!/bin/sh\ncase \"$*\" in *target-libdir*) echo /other/sysroot; echo /other/lib;; *) exec rustc \"$@\";; esac\n";
    bench.write_program("bin/rustc", compiler);
    bench.write(".cargo/config.toml", "[build]\nrustc = \"bin/rustc\"\n");
    assert!(contains_text(&bench.build().await.unwrap(), "/other/lib"));
}

#[tokio::test]
async fn a_build_does_not_use_the_authors_build_folder() {
    let bench = Bench::package();
    bench.write(".cargo/config.toml", "[build]\nbuild-dir = \"elsewhere\"\n");
    bench.build().await.unwrap();
    assert!(!bench.path("elsewhere").exists());
}

#[tokio::test]
async fn a_script_does_not_inherit_the_toolchain_of_the_hosts_cargo() {
    let bench = Bench::script("#!/bin/sh\nmkdir -p out\nenv > out/tiny.so\n");
    let built = bench.build().await.unwrap();
    let by_user = std::env::var_os("RUSTUP_TOOLCHAIN_SOURCE").is_some_and(|source| source == "env");
    assert!(by_user || !contains_text(&built, "RUSTUP_TOOLCHAIN="));
    assert!(!contains_text(&built, "CARGO_PKG_NAME=") && contains_text(&built, "PATH="));
}
