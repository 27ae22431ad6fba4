//! A table of changes. For each, it states whether cargo has to build the change, or a repeated call of rustc. In both
//! cases, the library has to contain what a clean build by cargo would contain.

use super::*;
use replug_model::event::BuiltBy;

const SOURCE: &str = r#"
#[unsafe(no_mangle)]
pub extern "C" fn text(number: usize) -> *const u8 {
    const EXTRA: &str = if cfg!(feature = "extra") { "extra on" } else { "extra off" };
    const OTHER: &str = if cfg!(feature = "other") { "other on" } else { "other off" };
    const FLAG: &str = if cfg!(flag) { "flag on" } else { "flag off" };
    const CHECKS: &str = if cfg!(debug_assertions) { "checks on" } else { "checks off" };
    const CONFIGURED: &str = match option_env!("FROM_CONFIGURATION") { Some(text) => text, None => "configured 0" };
    const SCRIPT: &str = match option_env!("FROM_SCRIPT") { Some(text) => text, None => "script 0" };
    let all = [
        "source 1", include_str!("text.txt"), helper::TEXT, macros::text!(), EXTRA, OTHER, FLAG, CHECKS, CONFIGURED, SCRIPT,
        concat!("own shared ", include_str!(concat!(env!("ROOT"), "/shared.txt"))), helper::SHARED, helper::DEEP,
    ];
    all[number].as_ptr()
}
"#;

const MANIFEST: &str = "[package]\nname = \"tiny-one\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n\
     [dependencies]\nhelper = { path = \"../helper\" }\nmacros = { path = \"../macros\" }\n[features]\nextra = []\nother = []\n";

const SCRIPT: &str = "fn main() {\n    println!(\"cargo::rerun-if-changed=data.txt\");\n    \
     println!(\"cargo::rustc-env=FROM_SCRIPT=script {}\", std::fs::read_to_string(\"data.txt\").unwrap());\n}\n";

fn helper(number: u8) -> String {
    let shared = "concat!(\"helper's shared \", include_str!(concat!(env!(\"ROOT\"), \"/shared.txt\")))";
    format!(
        "pub const TEXT: &str = \"helper {number}\";\npub const SHARED: &str = {shared};\npub const DEEP: &str = deep::TEXT;"
    )
}

const HELPER: &str =
    "[package]\nname = \"helper\"\nedition = \"2024\"\n[dependencies]\ndeep = { path = \"../deep\" }\n";

/// The manifest of a dependency of `helper`, which is outside of the plugin's workspace, too.
fn deep(number: u8) -> String {
    format!("[package]\nname = \"deep\"\nedition = \"2024\"\ndescription = \"deep {number}\"\n")
}

fn macros(number: u8) -> String {
    format!(
        "#[proc_macro]\npub fn text(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{\n    \
         \"\\\"macro {number}\\\"\".parse().unwrap()\n}}\n"
    )
}

/// A changed file, a text that the library must contain afterwards, whether cargo or rustc alone has to build the change,
/// and the reason for that.
struct Case {
    name: &'static str,
    content: String,
    text: &'static str,
    by: BuiltBy,
    reason: &'static str,
}

fn case(
    (name, content): (&'static str, impl Into<String>),
    text: &'static str,
    by: BuiltBy,
    reason: &'static str,
) -> Case {
    Case { name, content: content.into(), text, by, reason }
}

fn cases() -> Vec<Case> {
    use BuiltBy::{Cargo, Rustc};
    let own = "only the sources of the plugin's own crate";
    let id = "id = 'dev.example.tiny'\n";
    vec![
        case(("src/lib.rs", SOURCE.replace("source 1", "source 2")), "source 2", Rustc, own),
        case(("src/text.txt", "included 2"), "included 2", Rustc, own),
        case(("../helper/src/lib.rs", helper(2)), "helper 2", Cargo, "helper/src/lib.rs has changed"),
        case(("src/text.txt", "included 3"), "included 3", Rustc, own),
        // The plugin's own crate and a dependency include this file.
        case(("shared.txt", "2"), "helper's shared 2", Cargo, "shared.txt has changed"),
        case(("src/text.txt", "included 1"), "helper's shared 2", Rustc, own),
        case(("../deep/Cargo.toml", deep(2)), "deep 2", Cargo, "deep/Cargo.toml has changed"),
        case(("src/text.txt", "included 2"), "deep 2", Rustc, own),
        case(("../macros/src/lib.rs", macros(2)), "macro 2", Cargo, "macros/src/lib.rs has changed"),
        case(
            ("Cargo.toml", MANIFEST.replace("[features]", "[features]\ndefault = [\"extra\"]")),
            "extra on",
            Cargo,
            "Cargo.toml has changed",
        ),
        case(("Cargo.lock", ""), "source 2", Cargo, "Cargo.lock has changed"),
        // Cargo has written the lock file again.
        case(("src/text.txt", "included 4"), "included 4", Cargo, "Cargo.lock has changed"),
        case(
            ("plugin.toml", format!("{id}[build]\nfeatures = ['other']")),
            "other on",
            Cargo,
            "`[build]` of the manifest has changed",
        ),
        case(
            ("plugin.toml", format!("{id}[build]\nprofile = 'release'")),
            "checks off",
            Cargo,
            "`[build]` of the manifest has changed",
        ),
        case(("plugin.toml", id), "checks on", Cargo, "`[build]` of the manifest has changed"),
        case(
            (".cargo/config.toml", "[build]\nrustflags = [\"--cfg\", \"flag\"]\n"),
            "flag on",
            Cargo,
            ".cargo/config.toml has changed",
        ),
        case(
            (".cargo/config.toml", "[env]\nFROM_CONFIGURATION = \"configured 1\"\n"),
            "configured 1",
            Cargo,
            ".cargo/config.toml has changed",
        ),
        case(("src/text.txt", "included 5"), "included 5", Rustc, own),
        case(("build.rs", SCRIPT), "script 1", Cargo, "build.rs has changed"),
        case(("data.txt", "2"), "script 2", Cargo, "has a build script"),
        case(("src/text.txt", "included 6"), "included 6", Cargo, "has a build script"),
    ]
}

#[tokio::test]
async fn every_change_gives_the_library_of_a_clean_build() {
    let bench = Bench::new();
    for (name, content) in [
        ("Cargo.toml", MANIFEST),
        ("src/lib.rs", SOURCE),
        ("src/text.txt", "included 1"),
        ("shared.txt", "1"),
        ("data.txt", "1"),
        ("../.cargo/config.toml", "[env]\nROOT = { value = \"plugin\", relative = true }\n"),
        ("../helper/Cargo.toml", HELPER),
        ("../deep/Cargo.toml", &deep(1)),
        ("../deep/src/lib.rs", "pub const TEXT: &str = env!(\"CARGO_PKG_DESCRIPTION\");"),
        ("../helper/src/lib.rs", &helper(1)),
        (
            "../macros/Cargo.toml",
            "[package]\nname = \"macros\"\nedition = \"2024\"\n[lib]\nproc-macro = true\n",
        ),
        ("../macros/src/lib.rs", &macros(1)),
    ] {
        bench.write(name, content);
    }
    let first = bench.build().await.unwrap();
    assert_eq!(first.way.by, BuiltBy::Cargo);
    assert_eq!(first.way.reason, "this host has not built the plugin before");
    for Case { name, content, text, by, reason } in cases() {
        bench.write(name, &content);
        let built = bench.build().await.unwrap();
        let of_clean_build = clean_build(&bench).await;
        let library = fs::read(&built.artifact).unwrap();
        assert!(contains(&library, text) && contains(&of_clean_build, text), "{name}: no `{text}`");
        assert_eq!(texts(&library), texts(&of_clean_build), "{name}");
        assert_eq!(built.way.by, by, "{name}: {}", built.way.reason);
        assert!(built.way.reason.contains(reason), "{name}: {}", built.way.reason);
    }
}

/// The library that cargo builds in a new folder.
async fn clean_build(bench: &Bench) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let built = Builder::new(folder.path().to_owned()).build(&bench.manifest()).await.unwrap();
    fs::read(built.artifact).unwrap()
}

fn contains(library: &[u8], text: &str) -> bool {
    library.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The texts of the table that the library contains.
fn texts(library: &[u8]) -> Vec<String> {
    let numbered = [
        "source",
        "included",
        "own shared",
        "helper",
        "helper's shared",
        "deep",
        "macro",
        "configured",
        "script",
    ];
    let numbered = numbered.iter().flat_map(|name| (0..7).map(move |number| format!("{name} {number}")));
    let switched = ["extra", "other", "flag", "checks"];
    let switched = switched.iter().flat_map(|name| ["on", "off"].map(|state| format!("{name} {state}")));
    numbered.chain(switched).filter(|text| contains(library, text)).collect()
}
