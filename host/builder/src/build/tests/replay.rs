//! Tests which edits are replayed (built without cargo), and which edits cargo builds.

use super::{inputs::contains_text, *};
use crate::artifact::comment;
use units::{Nested, files_below};

impl Bench {
    /// Writes `content` to the file `name` and builds. Returns whether the build ran without cargo, and its result.
    async fn replays(&self, name: &str, content: &str) -> (bool, Built) {
        self.write(name, content);
        let built = self.build().await.unwrap();
        (built.artifact.components().any(|part| part.as_os_str() == "replay"), built)
    }

    /// The recorded call of the only plugin that this builder has built.
    fn template(&self) -> Arc<Template> {
        self.builder.templates.lock().values().next().unwrap().clone().unwrap()
    }
}

#[tokio::test]
async fn a_build_without_cargo_gives_the_same_library_as_with_cargo() {
    for types in ["[\"cdylib\"]", "[\"rlib\", \"cdylib\"]", "[\"cdylib\", \"staticlib\"]"] {
        let bench = Bench::package();
        bench.write("Cargo.toml", &CARGO_TOML.replace("[\"cdylib\"]", types));
        bench.build().await.unwrap();
        let links_without_cc = || bench.template().links_without_cc();
        let before = links_without_cc();
        let edit = GOOD.replace("41", "42");
        let (replayed, built) = bench.replays("src/lib.rs", &edit).await;
        assert!(replayed, "{types}: {}", built.way.reason);
        assert_eq!(links_without_cc(), before, "{types}: the link without `cc` has failed");
        let without = fs::read(built.artifact).unwrap();
        bench.builder.templates.lock().clear();
        let (replayed, built) = bench.replays("src/lib.rs", &edit).await;
        assert!(!replayed, "{types}");
        assert!(without == fs::read(built.artifact).unwrap(), "{types}: the two libraries differ");
    }
}

#[tokio::test]
async fn a_waiting_rustc_builds_the_same_library_as_with_cargo() {
    let bench = Bench::package();
    let by_cargo = bench.build().await.unwrap().artifact;
    // A compiler before 1.90 links with `ld` by default.
    let by_lld = String::from_utf8_lossy(&comment(&by_cargo).unwrap()).contains("Linker: LLD");
    assert!(bench.replays("src/lib.rs", &GOOD.replace("41", "42")).await.0);
    let template = bench.template();
    assert_eq!(template.links_without_cc(), by_lld);
    template.warm().ready().await;
    drop(template);
    let edit = GOOD.replace("41", "43");
    let (replayed, built) = bench.replays("src/lib.rs", &edit).await;
    assert!(replayed);
    let without = fs::read(built.artifact).unwrap();
    bench.builder.templates.lock().clear();
    let (_, built) = bench.replays("src/lib.rs", &edit).await;
    assert!(without == fs::read(built.artifact).unwrap(), "the two libraries differ");
}

#[tokio::test]
async fn only_the_plugin_that_was_edited_last_keeps_a_waiting_rustc() {
    let (one, other) = (Bench::package(), Bench::package());
    one.build().await.unwrap();
    assert!(one.replays("src/lib.rs", &GOOD.replace("41", "42")).await.0);
    let template = one.template();
    template.warm().ready().await;
    one.builder.build(&other.manifest()).await.unwrap();
    assert!(template.warm().is_ready(), "cargo has built the other plugin");
    other.write("src/lib.rs", &GOOD.replace("41", "43"));
    one.builder.build(&other.manifest()).await.unwrap();
    assert!(!template.warm().is_ready());
}

#[tokio::test]
async fn a_replayed_edit_adds_new_modules_and_files_to_the_inputs() {
    let bench = Bench::package();
    bench.build().await.unwrap();
    bench.write("src/more.rs", "pub const TEXT: &str = include_str!(\"text.txt\");");
    bench.write("src/text.txt", "one");
    let edit = format!("mod more;\n{}", GOOD.replace("\"x\"", "\"{}\", more::TEXT"));
    let (replayed, built) = bench.replays("src/lib.rs", &edit).await;
    assert!(replayed);
    for name in ["src/more.rs", "src/text.txt", "src/lib.rs", "Cargo.toml"] {
        assert!(built.inputs.files.contains(&bench.path(name)), "{name}: {:?}", built.inputs);
    }
    let before = fs::read(&built.artifact).unwrap();
    let (replayed, built) = bench.replays("src/text.txt", "two").await;
    assert!(replayed && before != fs::read(&built.artifact).unwrap());
}

#[tokio::test]
async fn cargo_builds_every_change_outside_the_crates_own_source() {
    let bench = Bench::package();
    let needs = format!("{CARGO_TOML}[dependencies]\nhelper = {{ path = \"../helper\" }}\n");
    bench.write("Cargo.toml", &needs);
    bench.write("../helper/Cargo.toml", "[package]\nname = \"helper\"\nedition = \"2024\"\n");
    bench.write("../helper/src/lib.rs", "pub const N: i32 = 1;");
    bench.write("src/lib.rs", &GOOD.replace("41", "helper::N"));
    bench.build().await.unwrap();
    assert!(bench.replays("src/lib.rs", &GOOD.replace("41", "helper::N + 1")).await.0);
    for (name, content) in [
        ("../helper/src/lib.rs", "pub const N: i32 = 2;"),
        ("Cargo.toml", &format!("{needs}[profile.dev]\nopt-level = 1\n")),
        (".cargo/config.toml", "[build]\nrustflags = [\"--cfg\", \"x\"]\n"),
        ("../.cargo/config.toml", "[build]\nrustdocflags = [\"--cfg\", \"above\"]\n"),
        ("plugin.toml", "id = 'dev.example.tiny'\n[build]\nprofile = 'release'"),
    ] {
        assert!(!bench.replays(name, content).await.0, "{name}");
    }
}

#[tokio::test]
async fn cargo_builds_after_a_dependency_was_saved_during_a_build() {
    let bench = Bench::package();
    bench.write(
        "Cargo.toml",
        &format!(
            "{CARGO_TOML}[dependencies]\nhelper = {{ path = \"../helper\" }}\nmacros = {{ path = \"../macros\" }}\n"
        ),
    );
    bench.write("../helper/Cargo.toml", "[package]\nname = \"helper\"\nedition = \"2024\"\n");
    bench.write("../helper/src/lib.rs", "pub const N: i32 = 1;");
    bench.write(
        "../macros/Cargo.toml",
        "[package]\nname = \"macros\"\nedition = \"2024\"\n[lib]\nproc-macro = true\n",
    );
    // While rustc compiles the plugin, this macro saves the crate that cargo has compiled before.
    let macros = format!(
        "#[proc_macro]\npub fn save(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{\n    \
         std::fs::write({:?}, \"pub const N: i32 = 2;\").unwrap();\n    Default::default()\n}}\n",
        bench.path("../helper/src/lib.rs")
    );
    bench.write("../macros/src/lib.rs", &macros);
    let source = |answer: &str| format!("macros::save!();\n{}", GOOD.replace("41", answer));
    bench.write("src/lib.rs", &source("helper::N"));
    bench.build().await.unwrap();
    let (replayed, built) = bench.replays("src/lib.rs", &source("helper::N + 1")).await;
    assert!(!replayed);
    assert!(
        built.way.reason.contains("helper/src/lib.rs was saved while cargo built"),
        "{}",
        built.way.reason
    );
    assert!(
        bench.replays("src/lib.rs", &source("helper::N + 2")).await.0,
        "the macro has not changed the file"
    );
}

#[tokio::test]
async fn cargo_builds_after_a_dependency_was_changed_and_restored_in_a_build() {
    let bench = Bench::with_helper(
        "[dependencies]\nhelper = { path = \"../helper\" }\nmacros = { path = \"../macros\" }\n",
    );
    let package = |name: &str| format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
    bench.write("../macros/Cargo.toml", &(package("macros") + "[lib]\nproc-macro = true\n"));
    let macros = format!(
        "#[proc_macro]\npub fn save(text: proc_macro::TokenStream) -> proc_macro::TokenStream {{\n    \
         std::fs::write({:?}, format!(\"pub const SAYS: &str = {{text}};\")).unwrap();\n    Default::default()\n}}\n",
        bench.path("../helper/src/lib.rs")
    );
    bench.write("../macros/src/lib.rs", &macros);
    // Cargo compiles `first` before `helper`, and `helper` before the plugin.
    let needs = "[dependencies]\nmacros = { path = \"../macros\" }\n";
    bench.write("../first/Cargo.toml", &(package("first") + needs));
    bench.write("../first/src/lib.rs", "macros::save!(\"<two>\");");
    let needs = "[dependencies]\nfirst = { path = \"../first\" }\n";
    bench.write("../helper/Cargo.toml", &(package("helper") + needs));
    let source = |own: &str| format!("macros::save!(\"<one>\");\n{}", GOOD.replace("\"x\"", own));
    bench.write("src/lib.rs", &source("\"{}\", helper::SAYS"));
    assert!(contains_text(&bench.build().await.unwrap(), "<two>"));

    let (replayed, built) = bench.replays("src/lib.rs", &source("\"own {}\", helper::SAYS")).await;
    assert!(!replayed && contains_text(&built, "<one>"), "{}", built.way.reason);
    let reason = "helper/src/lib.rs was saved while cargo built";
    assert!(built.way.reason.contains(reason), "{}", built.way.reason);
    assert!(bench.replays("src/lib.rs", &source("\"own again {}\", helper::SAYS")).await.0);
}

#[tokio::test]
async fn an_edit_right_after_that_of_a_dependency_is_built_without_cargo() {
    let bench = Bench::package();
    bench.write("Cargo.toml", &format!("{CARGO_TOML}[dependencies]\nhelper = {{ path = \"../helper\" }}\n"));
    bench.write("../helper/Cargo.toml", "[package]\nname = \"helper\"\nedition = \"2024\"\n");
    bench.write("../helper/src/lib.rs", "pub const N: i32 = 1;");
    bench.write("src/lib.rs", &GOOD.replace("41", "helper::N"));
    bench.build().await.unwrap();
    for number in 2..5 {
        assert!(!bench.replays("../helper/src/lib.rs", &format!("pub const N: i32 = {number};")).await.0);
        assert!(bench.replays("src/lib.rs", &GOOD.replace("41", &format!("helper::N + {number}"))).await.0);
    }
}

#[tokio::test]
async fn cargo_builds_if_a_parent_folder_configures_a_rustc_wrapper() {
    let bench = Bench::package();
    bench.write_program("../wrap.sh", "#!/bin/sh\nexec \"$@\"\n");
    let wrapper = fs::canonicalize(bench.path("../wrap.sh")).unwrap();
    bench.write("../.cargo/config.toml", &format!("[build]\nrustc-wrapper = {wrapper:?}\n"));
    bench.build().await.unwrap();
    assert!(!bench.replays("src/lib.rs", &GOOD.replace("41", "42")).await.0);
}

#[tokio::test]
async fn cargo_builds_every_edit_of_a_package_with_a_build_script() {
    let bench = Bench::package();
    bench.write("build.rs", "fn main() { println!(\"cargo::rerun-if-changed=data\"); }");
    bench.build().await.unwrap();
    assert!(!bench.replays("src/lib.rs", &GOOD.replace("41", "42")).await.0);
}

#[tokio::test]
async fn a_build_script_added_after_the_first_build_is_run() {
    let bench = Bench::package();
    bench.write(
        "src/lib.rs",
        &GOOD.replace("\"x\"", "\"{}\", option_env!(\"FROM_SCRIPT\").unwrap_or(\"none\")"),
    );
    let before = bench.build().await.unwrap();
    assert!(before.inputs.files.contains(&bench.path("build.rs")), "{:?}", before.inputs);
    let before = fs::read(before.artifact).unwrap();
    let script = "fn main() { println!(\"cargo::rustc-env=FROM_SCRIPT=some\"); }";
    let (replayed, built) = bench.replays("build.rs", script).await;
    assert!(!replayed && fs::read(built.artifact).unwrap() != before, "the script has no effect");
}

#[tokio::test]
async fn a_build_script_added_to_an_indirect_dependency_is_run() {
    let bench = Bench::package();
    let needs = |name: &str| format!("[dependencies]\n{name} = {{ path = \"../{name}\" }}\n");
    let package = |name: &str| format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
    bench.write("Cargo.toml", &format!("{CARGO_TOML}{}", needs("helper")));
    bench.write("src/lib.rs", &GOOD.replace("\"x\"", "\"{}\", helper::SAYS"));
    bench.write("../helper/Cargo.toml", &format!("{}{}", package("helper"), needs("deep")));
    bench.write("../helper/src/lib.rs", "pub use deep::SAYS;");
    bench.write("../deep/Cargo.toml", &package("deep"));
    bench.write(
        "../deep/src/lib.rs",
        "pub const SAYS: &str = match option_env!(\"SET\") { Some(text) => text, None => \"<none>\" };",
    );
    let built = bench.build().await.unwrap();
    let deep = fs::canonicalize(bench.path("../deep")).unwrap();
    for name in ["Cargo.toml", "build.rs"] {
        assert!(built.inputs.files.contains(&deep.join(name)), "{name}: {:?}", built.inputs);
    }
    let edit = GOOD.replace("\"x\"", "\"own {}\", helper::SAYS");
    assert!(bench.replays("src/lib.rs", &edit).await.0);
    let script = "fn main() { println!(\"cargo::rustc-env=SET=<some>\"); }";
    let (replayed, built) = bench.replays("../deep/build.rs", script).await;
    assert!(!replayed && contains_text(&built, "<some>"), "{}", built.way.reason);
}

#[tokio::test]
async fn a_replayed_compile_error_equals_the_error_from_cargo() {
    let bench = Bench::package();
    bench.build().await.unwrap();
    bench.write("src/lib.rs", "pub fn f() -> i32 { \"text\" }");
    let without = bench.build().await.unwrap_err();
    bench.builder.templates.lock().clear();
    let with = bench.build().await.unwrap_err();
    assert_eq!(without.to_string(), with.to_string());
    assert_eq!(without.diagnostics(), with.diagnostics());
    bench.write("src/lib.rs", GOOD);
    bench.build().await.unwrap();
    bench.write("src/lib.rs", "fn broken(");
    bench.build().await.unwrap_err();
    assert!(bench.replays("src/lib.rs", &GOOD.replace("41", "43")).await.0);
}

#[tokio::test]
async fn builders_that_share_a_target_folder_replay_in_folders_of_their_own() {
    let bench = Bench::package();
    let other = Builder::new(bench.builder.dir().clone());
    bench.build().await.unwrap();
    other.build(&bench.manifest()).await.unwrap();
    let (replayed, first) = bench.replays("src/lib.rs", &GOOD.replace("41", "42")).await;
    let second = other.build(&bench.manifest()).await.unwrap();
    assert!(replayed);
    assert_ne!(first.artifact, second.artifact);
    assert!(
        fs::read(first.artifact).unwrap() == fs::read(second.artifact).unwrap(),
        "the two libraries differ"
    );
}

#[tokio::test]
async fn a_replayed_edit_recompiles_only_changed_modules() {
    use std::os::unix::fs::MetadataExt;
    let bench = Bench::package();
    bench.write("src/calm.rs", "#[unsafe(no_mangle)]\npub extern \"C\" fn calm() -> i32 {\n    7\n}\n");
    let source = |answer: &str| format!("mod calm;\n{}", GOOD.replace("41", answer));
    bench.write("src/lib.rs", &source("41"));
    bench.build().await.unwrap();
    assert!(bench.replays("src/lib.rs", &source("42")).await.0);
    // rustc makes a folder for each run, and links an object file that it uses again into the folder of the next run.
    let objects_of_last_run = || {
        let mut files = BTreeSet::new();
        files_below(bench.builder.dir().rest(), Nested::Included, &mut files);
        files.retain(|path| {
            path.extension().is_some_and(|it| it == "o")
                && path.components().any(|it| it.as_os_str() == "incremental")
        });
        let run = |path: &PathBuf| path.parent().unwrap().metadata().unwrap().modified().unwrap();
        let last = files.iter().map(run).max();
        let of_last = files.iter().filter(|path| Some(run(path)) == last);
        of_last.map(|path| fs::File::open(path).unwrap()).collect::<Vec<_>>()
    };
    let inodes = |files: &[fs::File]| -> BTreeSet<_> {
        files.iter().map(|file| file.metadata().unwrap().ino()).collect()
    };
    // As long as the files are open, no new file gets one of their inode numbers.
    let before = objects_of_last_run();
    assert!(bench.replays("src/lib.rs", &source("43")).await.0);
    let (before, after) = (inodes(&before), inodes(&objects_of_last_run()));
    assert!(before.len() > 1, "the crate has only one codegen unit");
    assert_ne!(before, after, "no object file is new");
    assert!(!before.is_disjoint(&after), "no object file was used again");
}
