//! Tests of plugins of one workspace that share local crates: an edit of a shared crate rebuilds all of them.

use super::*;
use replug_model::event::BuiltBy;

const MANIFEST: &str = "[package]\nname = \"NAME\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n\
     [dependencies]\nhelper = { path = \"../helper\" }\nmacros = { path = \"../macros\" }\n";

const SOURCE: &str = r#"
#[unsafe(no_mangle)]
pub extern "C" fn text(number: usize) -> *const u8 {
    let all = ["own 1", helper::TEXT, helper::BASE, helper::INCLUDED, macros::text!()];
    all[number].as_ptr()
}
"#;

const HELPER: &str = "pub const TEXT: &str = \"helper 1\";\npub const BASE: &str = base::TEXT;\n\
     pub const INCLUDED: &str = include_str!(\"../text.txt\");\n";

const MACROS: &str = "#[proc_macro]\npub fn text(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n    \
     \"\\\"macro 1\\\"\".parse().unwrap()\n}\n";

const ANOTHER_BUILD: &str = "the build of another plugin has compiled all changes";

/// A workspace with the plugins `one`, `two` and `three`. All of them depend on `helper`, which depends on `base`, and on
/// `macros`. Only `three` depends on `other`.
fn workspace() -> Bench {
    let bench = Bench::new();
    let package = |name: &str| format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n");
    bench.write(
        "Cargo.toml",
        "[workspace]\nmembers = [\"one\", \"two\", \"three\", \"helper\", \"base\", \"macros\", \"other\"]\nresolver = \"3\"\n",
    );
    for name in ["one", "two", "three"] {
        bench.write(&format!("{name}/Cargo.toml"), &MANIFEST.replace("NAME", name));
        bench.write(&format!("{name}/src/lib.rs"), SOURCE);
        bench.write(
            &format!("{name}/plugin.toml"),
            &format!("id = 'dev.example.{name}'\n[build]\ntimeout = '60s'\n"),
        );
    }
    let of_three = MANIFEST.replace("NAME", "three") + "other = { path = \"../other\" }\n";
    for (name, content) in [
        ("three/Cargo.toml", &*of_three),
        ("helper/Cargo.toml", &(package("helper") + "[dependencies]\nbase = { path = \"../base\" }\n")),
        ("helper/src/lib.rs", HELPER),
        ("helper/text.txt", "included 1"),
        ("base/Cargo.toml", &package("base")),
        ("base/src/lib.rs", "pub const TEXT: &str = \"base 1\";"),
        ("macros/Cargo.toml", &(package("macros") + "[lib]\nproc-macro = true\n")),
        ("macros/src/lib.rs", MACROS),
        ("other/Cargo.toml", &package("other")),
        ("other/src/lib.rs", ""),
    ] {
        bench.write(name, content);
    }
    bench
}

impl Bench {
    async fn build_member(&self, name: &str) -> Built {
        self.builder.build(&manifest::read(&self.path(name)).unwrap()).await.unwrap()
    }

    /// Asserts that the library contains the same text as one that cargo builds in a new folder.
    async fn assert_contains(&self, (name, built): (&str, &Built), text: &str) {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest::read(&self.path(name)).unwrap();
        let clean = Builder::new(folder.path().to_owned()).build(&manifest).await.unwrap();
        for library in [&clean, built] {
            let library = fs::read(&library.artifact).unwrap();
            assert!(library.windows(text.len()).any(|part| part == text.as_bytes()), "{name}: no `{text}`");
        }
    }
}

/// A compiler that opens one end of a named pipe for the crate `one`, and the other end for the crate `two`, if the pipe
/// exists. This blocks until both ends are open.
const RENDEZVOUS: &str = "#!/bin/sh\ncase \"$*\" in\n*'--crate-name one '*) [ -p PIPE ] && : > PIPE;;\n\
     *'--crate-name two '*) [ -p PIPE ] && : < PIPE;;\nesac\nexec RUSTC \"$@\"\n";

#[tokio::test]
async fn plugins_that_share_an_edited_crate_compile_at_the_same_time() {
    let bench = workspace();
    let sysroot = std::process::Command::new("rustc").args(["--print", "sysroot"]).output().unwrap().stdout;
    let rustc = format!("{}/bin/rustc", String::from_utf8(sysroot).unwrap().trim_end());
    let pipe = bench.path("../pipe");
    let script = RENDEZVOUS.replace("PIPE", pipe.to_str().unwrap()).replace("RUSTC", &rustc);
    bench.write_program("../rustc.sh", &script);
    bench.write(".cargo/config.toml", "[build]\nrustc = \"../rustc.sh\"\n");
    for name in ["one", "two"] {
        assert_eq!(bench.build_member(name).await.way.by, BuiltBy::Cargo);
    }
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    bench.write("helper/src/lib.rs", &HELPER.replace("helper 1", "helper 2"));
    let (one, two) = tokio::join!(bench.build_member("one"), bench.build_member("two"));
    for (name, built) in [("one", &one), ("two", &two)] {
        let library = fs::read(&built.artifact).unwrap();
        assert!(library.windows(8).any(|part| part == b"helper 2"), "{name}");
    }
    let mut by = [one.way.by, two.way.by];
    by.sort_by_key(|by| *by == BuiltBy::Rustc);
    assert_eq!(by, [BuiltBy::Cargo, BuiltBy::Rustc]);
}

#[tokio::test]
async fn a_crate_that_another_build_has_compiled_needs_no_cargo() {
    let bench = workspace();
    for name in ["one", "two"] {
        bench.build_member(name).await;
    }
    for (file, content, text) in [
        ("helper/src/lib.rs", &*HELPER.replace("helper 1", "helper 2"), "helper 2"),
        ("base/src/lib.rs", "pub const TEXT: &str = \"base 2\";", "base 2"),
        ("macros/src/lib.rs", &MACROS.replace("macro 1", "macro 2"), "macro 2"),
        ("helper/text.txt", "included 2", "included 2"),
        ("helper/text.txt", "included 3", "included 3"),
    ] {
        bench.write(file, content);
        let one = bench.build_member("one").await;
        assert_eq!(one.way.by, BuiltBy::Cargo, "{file}: {}", one.way.reason);
        let two = bench.build_member("two").await;
        assert_eq!(two.way.by, BuiltBy::Rustc, "{file}: {}", two.way.reason);
        assert!(two.way.reason.contains(ANOTHER_BUILD), "{file}: {}", two.way.reason);
        bench.assert_contains(("two", &two), text).await;
    }
}

#[tokio::test]
async fn an_input_that_another_build_has_found_is_an_input_of_both() {
    let bench = workspace();
    bench.write("helper/more.txt", "more 1");
    let has_more = |built: &Built| built.inputs.files.iter().any(|file| file.ends_with("more.txt"));
    for name in ["one", "two"] {
        assert!(!has_more(&bench.build_member(name).await));
    }
    bench.write("helper/src/lib.rs", &HELPER.replace("../text.txt", "../more.txt"));
    bench.build_member("one").await;
    let two = bench.build_member("two").await;
    assert_eq!(two.way.by, BuiltBy::Rustc, "{}", two.way.reason);
    assert!(has_more(&two), "{:?}", two.inputs);
    bench.write("helper/more.txt", "more 2");
    let two = bench.build_member("two").await;
    assert_eq!(two.way.by, BuiltBy::Cargo, "{}", two.way.reason);
    bench.assert_contains(("two", &two), "more 2").await;
}

#[tokio::test]
async fn cargo_builds_what_no_other_build_has_compiled() {
    let bench = workspace();
    for name in ["one", "two", "three"] {
        bench.build_member(name).await;
    }
    let helper = |number: u8| HELPER.replace("helper 1", &format!("helper {number}"));
    bench.write("helper/src/lib.rs", &helper(2));
    bench.build_member("one").await;
    let three = bench.build_member("three").await;
    assert_eq!(three.way.by, BuiltBy::Cargo, "no other build knows the crate `other`: {}", three.way.reason);
    bench.build_member("two").await;

    bench.write("helper/src/lib.rs", &helper(3));
    bench.build_member("one").await;
    bench.write("helper/src/lib.rs", &helper(4));
    let two = bench.build_member("two").await;
    assert_eq!(two.way.by, BuiltBy::Cargo, "the crate was saved again: {}", two.way.reason);
    bench.assert_contains(("two", &two), "helper 4").await;

    for (file, content) in [
        (
            "helper/Cargo.toml",
            "[package]\nname = \"helper\"\nedition = \"2024\"\nversion = \"0.0.2\"\n[dependencies]\nbase = { path = \"../base\" }\n",
        ),
        ("two/.cargo/config.toml", "[build]\nrustflags = [\"--cfg\", \"flag\"]\n"),
    ] {
        bench.write(file, content);
        bench.write("base/src/lib.rs", &format!("pub const TEXT: &str = \"{}\";", content.len()));
        bench.build_member("one").await;
        let two = bench.build_member("two").await;
        assert_eq!(two.way.by, BuiltBy::Cargo, "{file}: {}", two.way.reason);
    }
    bench.write("base/src/lib.rs", "pub const TEXT: &str = \"base 5\";");
    bench.build_member("one").await;
    let two = bench.build_member("two").await;
    assert_eq!(two.way.by, BuiltBy::Cargo, "two has flags of its own: {}", two.way.reason);
    bench.assert_contains(("two", &two), "base 5").await;
}
