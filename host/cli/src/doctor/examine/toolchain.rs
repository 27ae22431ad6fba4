//! Checks of the tools that build plugins: cargo, rustc, the C compiler that runs the linker, the linker, and the
//! shared libstd.

use super::Finding;
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub(super) fn examine() -> Vec<Finding> {
    let compiler = program("RUSTC", "rustc");
    let ask = |what| run(&compiler, &["--print", what]).map(PathBuf::from);
    let version = run(&compiler, &["-vV"]);
    let libdir = ask("target-libdir");
    let bundled = ask("sysroot").zip(host(version.as_deref())).is_some_and(|(sysroot, host)| {
        sysroot.join("lib/rustlib").join(host).join("bin/gcc-ld/ld.lld").is_file()
    });
    vec![
        cargo(run(&program("CARGO", "cargo"), &["--version"])),
        rustc(version.as_deref()),
        c_compiler(run("cc", &["--version"])),
        linker(version.as_deref(), bundled, &configured_flags()),
        libstd(libdir.as_deref()),
    ]
}

fn program(variable: &str, name: &str) -> String {
    env::var(variable).unwrap_or_else(|_| name.to_owned())
}

fn run(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.trim().to_owned())
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The target triple of rustc.
fn host(version: Option<&str>) -> Option<&str> {
    version?.lines().find_map(|line| line.strip_prefix("host: "))
}

pub(super) fn cargo(version: Option<String>) -> Finding {
    match version {
        Some(version) => Finding::ok("cargo", first_line(&version)),
        None => Finding::fail("cargo", "not found")
            .costs("plugins cannot be built; prebuilt ones run")
            .remedy("install Rust from https://rustup.rs"),
    }
}

pub(super) fn rustc(version: Option<&str>) -> Finding {
    const MINOR_WANTED: u32 = 88;
    let Some(version) = version else {
        return Finding::fail("rustc", "not found")
            .costs("plugins cannot be built; prebuilt ones run")
            .remedy("install Rust from https://rustup.rs");
    };
    let found = first_line(version);
    let minor = found.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    if minor.is_some_and(|minor| minor < MINOR_WANTED) {
        return Finding::fail("rustc", found)
            .costs(format!("plugins do not compile: replug-api needs 1.{MINOR_WANTED}"))
            .remedy("run `rustup update`");
    }
    Finding::ok("rustc", found)
}

pub(super) fn c_compiler(version: Option<String>) -> Finding {
    match version {
        Some(version) => Finding::ok("C compiler", format!("cc: {}", first_line(&version))),
        None => Finding::fail("C compiler", "no `cc`")
            .costs("nothing can be linked, so no plugin can be built")
            .remedy("install gcc or clang, for example with `apt install gcc` or `dnf install gcc`"),
    }
}

/// The linker that rustc will use, according to flags and cargo's configuration. `flags` are pairs of a source and the
/// flags that it sets. The first pair that selects a linker decides.
pub(super) fn linker(version: Option<&str>, bundled_lld: bool, flags: &[(String, String)]) -> Finding {
    const NAME: &str = "linker";
    let configured = flags.iter().find_map(|(place, text)| {
        let name = text.split_once("fuse-ld=").map(|(_, rest)| {
            rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').next().unwrap_or_default()
        });
        let off = text.contains("linker-features=-lld") || text.contains("link-self-contained=-linker");
        name.or(off.then_some("bfd")).map(|name| (name, place))
    });
    let slow = |found: String| {
        Finding::warn(NAME, found)
            .costs("GNU ld takes about 100 ms longer than lld at every reload")
            .remedy("use Rust 1.90 or later on x86-64 Linux, which includes lld; or install mold and add `-C link-arg=-fuse-ld=mold` to RUSTFLAGS")
    };
    match configured {
        Some((name @ ("lld" | "mold" | "wild"), place)) => {
            Finding::ok(NAME, format!("{name} (from {place})"))
        }
        Some((name, place)) => slow(format!("{name} (from {place})")),
        None if bundled_lld && host(version) == Some("x86_64-unknown-linux-gnu") => {
            Finding::ok(NAME, "rust-lld, which comes with rustc; replug calls it without `cc` after an edit")
        }
        None => slow("the system's `ld`".to_owned()),
    }
}

pub(super) fn libstd(target_libdir: Option<&Path>) -> Finding {
    const NAME: &str = "shared libstd";
    let name = target_libdir.and_then(|dir| fs::read_dir(dir).ok()).and_then(|entries| {
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .find(|name| name.starts_with("libstd-") && name.ends_with(".so"))
    });
    match (name, target_libdir) {
        (Some(name), Some(dir)) => Finding::ok(NAME, dir.join(name).display().to_string()),
        (_, dir) => {
            let dir = dir
                .map_or("rustc's library folder, which is unknown".into(), |dir| dir.display().to_string());
            Finding::warn(NAME, format!("none in {dir}"))
                .costs("each generation contains its own copy of std; the thread-local keys and about 350 KiB of memory of each copy are never freed, so a host must be restarted after about 480 reloads")
                .remedy("use a toolchain from rustup, which contains a shared libstd for this target")
        }
    }
}

/// The sources of flags that can select a linker, the one with the highest priority first.
fn configured_flags() -> Vec<(String, String)> {
    let mut flags: Vec<(String, String)> = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.ends_with("RUSTFLAGS") && !name.ends_with("DOCFLAGS"))
        .collect();
    let mut dirs: Vec<PathBuf> = env::current_dir()
        .map(|dir| dir.ancestors().map(|dir| dir.join(".cargo")).collect())
        .unwrap_or_default();
    dirs.extend(env::var_os("CARGO_HOME").map(PathBuf::from));
    dirs.extend(env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    for path in dirs.iter().flat_map(|dir| [dir.join("config.toml"), dir.join("config")]) {
        if let Ok(text) = fs::read_to_string(&path) {
            let settings =
                text.lines().filter(|line| !line.trim_start().starts_with('#')).collect::<Vec<_>>();
            flags.push((path.display().to_string(), settings.join("\n")));
        }
    }
    flags
}
