//! The shapes of projects. Each shape has one subject: the file that is changed or replaced.

/// A shape of a project. Its plugin is the package `p` in `ws/plugins/p`.
#[derive(Debug)]
pub struct Shape {
    /// The name of the shape in the report.
    pub name: &'static str,
    /// The file that is changed.
    pub(super) subject: &'static str,
    /// The subject's contents by number: 1 at first, then 2, and so on.
    pub(super) text: fn(u32) -> String,
    pub(super) files: &'static [(&'static str, &'static str)],
    /// Links to folders, and their targets.
    pub(super) links: &'static [(&'static str, &'static str)],
    pub(super) new_file: NewFile,
    /// The folder that contains the subject and can be replaced as a whole, or the reason why no folder can be.
    pub(super) folder: Result<&'static str, &'static str>,
    /// `Ok` if the subject can be removed or replaced by a link, and otherwise the reason why it cannot be.
    pub(super) whole_subject: Result<(), &'static str>,
    /// How many further builds a build causes because it writes files among its own sources.
    pub(super) own_builds: usize,
}

/// A file that the change "new file" adds.
#[derive(Clone, Copy, Debug)]
pub(super) enum NewFile {
    /// A file in this folder, in which every file is an input of the build.
    Listed(&'static str),
    /// A module, and a `mod` declaration in `lib.rs`.
    Module,
    /// None, because no added file would be an input of the build.
    None(&'static str),
}

/// The kinds of projects that have no shape, and why.
pub const LEFT_OUT: &[(&str, &str)] = &[
    (
        "C library, shared",
        "the library is a file next to the artifact: tests/tests/e2e/own_libraries.rs tests this case",
    ),
    ("toolchain file", "only rustup reads it: tests/tests/e2e/toolchains.rs tests this case"),
    ("binary, script", "replug does not know how they are built: the author declares the inputs"),
];

macro_rules! lib {
    ($says:literal) => {
        concat!(
            "// more\n#[unsafe(no_mangle)]\npub extern \"C\" fn says() -> usize {\n    [",
            $says,
            ", \"-\"].iter().map(|it| std::hint::black_box(*it).len()).sum()\n}\n"
        )
    };
}

macro_rules! package {
    ($rest:literal) => {
        concat!("[package]\nname = \"p\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n", $rest)
    };
}

const CARGO_TOML: (&str, &str) = ("ws/plugins/p/Cargo.toml", package!("[workspace]\n"));
const SAYS_ENV: (&str, &str) = ("ws/plugins/p/src/lib.rs", lib!("env!(\"SAYS\")"));
const PART: &str = "[package]\nname = \"part\"\nversion = \"1.0.0\"\nedition = \"2024\"\n";

fn part(n: u32) -> String {
    format!("pub const SAYS: &str = \"@@part {n}@@\";\n")
}

fn text(n: u32) -> String {
    format!("@@text {n}@@\n")
}

const NO_FOLDER: &str = "its folder is the plugin's folder, and these changes do not move the plugin";
const ONE_FILE: &str = "no other file in that folder is an input of the build";

const PLAIN: Shape = Shape {
    name: "plain",
    subject: "ws/plugins/p/src/lib.rs",
    text: |n| lib!("\"@@lib N@@\"").replace('N', &n.to_string()),
    files: &[CARGO_TOML],
    links: &[],
    new_file: NewFile::Module,
    folder: Ok("ws/plugins/p/src"),
    whole_subject: Ok(()),
    own_builds: 0,
};

/// A build script that reads a file and prints lines for cargo.
macro_rules! script {
    ($asks:literal) => {
        script!("ws/plugins/p/build.rs", $asks, "cargo::rustc-env=SAYS")
    };
    ($path:literal, $asks:literal, $sets:literal) => {
        (
            $path,
            concat!(
                "fn main() {\n",
                $asks,
                "\n    let texts = std::fs::read_dir(\"data\").unwrap().map(|entry| entry.unwrap().path());
    let mut texts: Vec<_> = texts.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    texts.sort();
    println!(\"",
                $sets,
                "={}\", texts.concat().replace('\\n', \"\"));\n}\n"
            ),
        )
    };
}

const SCRIPT: Shape = Shape {
    name: "script, silent",
    subject: "ws/plugins/p/data/text.txt",
    text,
    files: &[CARGO_TOML, SAYS_ENV, script!("")],
    new_file: NewFile::Listed("ws/plugins/p/data"),
    folder: Ok("ws/plugins/p/data"),
    ..PLAIN
};

/// All shapes.
pub const SHAPES: &[Shape] = &[
    PLAIN,
    Shape {
        name: "module",
        subject: "ws/plugins/p/src/part.rs",
        text: part,
        files: &[CARGO_TOML, ("ws/plugins/p/src/lib.rs", concat!("mod part;\n", lib!("part::SAYS")))],
        ..PLAIN
    },
    Shape {
        name: "workspace",
        subject: "ws/libs/part/src/lib.rs",
        text: part,
        files: &[
            ("ws/Cargo.toml", "[workspace]\nmembers = [\"plugins/*\", \"libs/*\"]\nresolver = \"3\"\n"),
            ("ws/plugins/p/Cargo.toml", package!("[dependencies]\npart = { path = \"../../libs/part\" }\n")),
            ("ws/libs/part/Cargo.toml", PART),
            ("ws/plugins/p/src/lib.rs", lib!("part::SAYS")),
        ],
        folder: Ok("ws/libs/part"),
        ..PLAIN
    },
    Shape {
        name: "outside",
        subject: "outside/part/src/lib.rs",
        text: part,
        files: &[
            (
                "ws/plugins/p/Cargo.toml",
                package!("[dependencies]\npart = { path = \"../../../outside/part\" }\n[workspace]\n"),
            ),
            ("outside/part/Cargo.toml", PART),
            ("ws/plugins/p/src/lib.rs", lib!("part::SAYS")),
        ],
        folder: Ok("outside/part/src"),
        ..PLAIN
    },
    Shape {
        name: "patched",
        subject: "outside/part/src/lib.rs",
        text: part,
        files: &[
            (
                "ws/plugins/p/Cargo.toml",
                package!(
                    "[dependencies]\nmiddle = \"1.0.0\"\n[workspace]\n[patch.crates-io]\npart = { path = \"../../../outside/part\" }\n"
                ),
            ),
            ("outside/part/Cargo.toml", PART),
            ("ws/plugins/p/src/lib.rs", lib!("middle::SAYS")),
            (
                "vendor/middle/Cargo.toml",
                "[package]\nname = \"middle\"\nversion = \"1.0.0\"\nedition = \"2024\"\n[dependencies]\npart = \"1.0.0\"\n",
            ),
            ("vendor/middle/src/lib.rs", "pub use part::SAYS;\n"),
            ("vendor/middle/.cargo-checksum.json", "{\"files\":{},\"package\":\"00\"}"),
            (
                "ws/plugins/p/.cargo/config.toml",
                "[source.crates-io]\nreplace-with = \"here\"\n[source.here]\ndirectory = \"ROOT/vendor\"\n",
            ),
        ],
        folder: Ok("outside/part/src"),
        ..PLAIN
    },
    SCRIPT,
    Shape {
        name: "script, folder",
        files: &[CARGO_TOML, SAYS_ENV, script!("    println!(\"cargo::rerun-if-changed=data\");")],
        ..SCRIPT
    },
    Shape {
        name: "script, file",
        files: &[CARGO_TOML, SAYS_ENV, script!("    println!(\"cargo::rerun-if-changed=data/text.txt\");")],
        new_file: NewFile::None("the script declares only one file as its input"),
        ..SCRIPT
    },
    Shape {
        name: "script, metadata",
        subject: "ws/libs/part/data/text.txt",
        files: &[
            (
                "ws/plugins/p/Cargo.toml",
                package!("[dependencies]\npart = { path = \"../../libs/part\" }\n[workspace]\n"),
            ),
            SAYS_ENV,
            (
                "ws/plugins/p/build.rs",
                "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    println!(\"cargo::rustc-env=SAYS={}\", std::env::var(\"DEP_PART_SAYS\").unwrap());\n}\n",
            ),
            ("ws/libs/part/Cargo.toml", "[package]\nname = \"part\"\nedition = \"2024\"\nlinks = \"part\"\n"),
            ("ws/libs/part/src/lib.rs", ""),
            script!(
                "ws/libs/part/build.rs",
                "    println!(\"cargo::rerun-if-changed=data\");",
                "cargo::metadata=SAYS"
            ),
        ],
        new_file: NewFile::Listed("ws/libs/part/data"),
        folder: Ok("ws/libs/part/data"),
        ..SCRIPT
    },
    Shape {
        name: "script, variable",
        subject: "ws/plugins/p/.cargo/config.toml",
        text: |n| format!("[env]\nTEXT = \"@@env {n}@@\"\n"),
        files: &[
            CARGO_TOML,
            SAYS_ENV,
            (
                "ws/plugins/p/build.rs",
                "fn main() {\n    println!(\"cargo::rerun-if-env-changed=TEXT\");\n    println!(\"cargo::rustc-env=SAYS={}\", std::env::var(\"TEXT\").unwrap_or_default());\n}\n",
            ),
        ],
        new_file: NewFile::None(ONE_FILE),
        folder: Ok("ws/plugins/p/.cargo"),
        ..PLAIN
    },
    Shape {
        name: "procedural macro",
        subject: "ws/macros/src/lib.rs",
        text: |n| {
            format!(
                "#[proc_macro]\npub fn says(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{\n    \"\\\"@@macro {n}@@\\\"\".parse().unwrap()\n}}\n"
            )
        },
        files: &[
            (
                "ws/plugins/p/Cargo.toml",
                package!("[dependencies]\nmacros = { path = \"../../macros\" }\n[workspace]\n"),
            ),
            (
                "ws/macros/Cargo.toml",
                "[package]\nname = \"macros\"\nedition = \"2024\"\n[lib]\nproc-macro = true\n",
            ),
            ("ws/plugins/p/src/lib.rs", lib!("macros::says!()")),
        ],
        folder: Ok("ws/macros/src"),
        ..PLAIN
    },
    Shape {
        name: "included file",
        subject: "ws/plugins/p/texts/text.txt",
        text,
        files: &[CARGO_TOML, ("ws/plugins/p/src/lib.rs", lib!("include_str!(\"../texts/text.txt\")"))],
        folder: Ok("ws/plugins/p/texts"),
        ..PLAIN
    },
    Shape {
        name: "generated source",
        subject: "ws/plugins/p/data/text.txt",
        text,
        files: &[
            CARGO_TOML,
            ("ws/plugins/p/src/lib.rs", concat!("mod made;\n", lib!("made::SAYS"))),
            (
                "ws/plugins/p/build.rs",
                "fn main() {
    println!(\"cargo::rerun-if-changed=data\");
    let text = std::fs::read_to_string(\"data/text.txt\").unwrap();
    std::fs::write(\"src/made.rs\", format!(\"pub const SAYS: &str = {text:?};\")).unwrap();\n}\n",
            ),
        ],
        new_file: NewFile::Module,
        folder: Ok("ws/plugins/p/data"),
        own_builds: 1,
        ..PLAIN
    },
    Shape {
        name: "C library, static",
        subject: "ws/plugins/p/c/part.c",
        text: |n| format!("const char *part_says(void) {{ return \"@@C {n}@@\"; }}\n"),
        files: &[
            CARGO_TOML,
            (
                "ws/plugins/p/src/lib.rs",
                concat!(
                    "unsafe extern \"C\" { safe fn part_says() -> *const u8; }\n#[unsafe(no_mangle)]\npub extern \"C\" fn part() -> *const u8 { part_says() }\n",
                    lib!("\"\"")
                ),
            ),
            (
                "ws/plugins/p/build.rs",
                "fn main() {
    println!(\"cargo::rerun-if-changed=c\");
    let out = std::env::var(\"OUT_DIR\").unwrap();
    let run = |line: String| {
        let mut words = line.split(' ');
        let mut command = std::process::Command::new(words.next().unwrap());
        assert!(command.args(words).status().unwrap().success());
    };
    run(format!(\"cc -c -fPIC -o {out}/part.o c/part.c\"));
    run(format!(\"ar crs {out}/libpart.a {out}/part.o\"));
    println!(\"cargo::rustc-link-search=native={out}\");
    println!(\"cargo::rustc-link-lib=static=part\");\n}\n",
            ),
        ],
        folder: Ok("ws/plugins/p/c"),
        ..PLAIN
    },
    Shape {
        name: "configuration",
        subject: "ws/plugins/p/.cargo/config.toml",
        text: |n| format!("[env]\nSAYS = \"@@env {n}@@\"\n"),
        files: &[CARGO_TOML, ("ws/plugins/p/src/lib.rs", lib!("option_env!(\"SAYS\").unwrap_or(\"\")"))],
        folder: Ok("ws/plugins/p/.cargo"),
        ..PLAIN
    },
    Shape {
        name: "configuration, included",
        subject: "ws/plugins/p/.cargo/more/env.toml",
        text: |n| format!("[env]\nSAYS = \"@@env {n}@@\"\n"),
        files: &[
            CARGO_TOML,
            (
                "ws/plugins/p/.cargo/config.toml",
                "include = [{ path = \"more/env.toml\", optional = true }]\n",
            ),
            ("ws/plugins/p/src/lib.rs", lib!("option_env!(\"SAYS\").unwrap_or(\"\")")),
        ],
        folder: Ok("ws/plugins/p/.cargo/more"),
        ..PLAIN
    },
    Shape {
        name: "features",
        subject: "ws/plugins/p/plugin.toml",
        text: |n| {
            let feature = if n % 2 == 0 { "even" } else { "odd" };
            format!("id = 'dev.oracle.p'\nbuild = {{ features = ['{feature}'] }}\n")
        },
        files: &[
            ("ws/plugins/p/Cargo.toml", package!("[features]\nodd = []\neven = []\n[workspace]\n")),
            (
                "ws/plugins/p/src/lib.rs",
                lib!("if cfg!(feature = \"odd\") { \"@@odd@@\" } else { \"@@even@@\" }"),
            ),
        ],
        folder: Err(NO_FOLDER),
        whole_subject: Err("a folder without a manifest is not a plugin"),
        ..PLAIN
    },
    Shape {
        name: "profile",
        subject: "ws/plugins/p/Cargo.toml",
        text: |n| {
            let on = n % 2 == 0;
            format!("{}[profile.dev]\ndebug-assertions = {on}\n", CARGO_TOML.1)
        },
        files: &[(
            "ws/plugins/p/src/lib.rs",
            lib!("if cfg!(debug_assertions) { \"@@on@@\" } else { \"@@off@@\" }"),
        )],
        folder: Err(NO_FOLDER),
        ..PLAIN
    },
    Shape {
        name: "linked folder",
        subject: "ws/plugins/p/src/part/mod.rs",
        text: part,
        files: &[
            CARGO_TOML,
            ("ws/plugins/p/src/lib.rs", concat!("mod part;\n", lib!("part::SAYS"))),
            ("aside/v1/note.txt", ""),
        ],
        links: &[("ws/plugins/p/src/part", "aside/v1")],
        folder: Ok("ws/plugins/p/src/part"),
        ..PLAIN
    },
];
