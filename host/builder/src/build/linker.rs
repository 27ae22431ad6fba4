//! Calls the linker without the C compiler. By default, rustc calls `cc` to link. `cc` starts `collect2`, which starts
//! a wrapper, which starts `rust-lld`. `cc` only adds the start files, its library folders and some options. This
//! module asks `cc` once what it adds, and lets rustc call a script that adds the same and runs `rust-lld`.
//!
//! **Never allowed:** a library that differs from the one that rustc links with `cc`. If it is not certain that the same
//! linker would get the same arguments, `cc` is called.

use super::{
    process::{Ended, LockFile, Process},
    toolchain,
};
use crate::artifact::comment;
use parking_lot::Mutex;
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    process::Command,
};

/// The linker that rustc runs by default, and what `cc` adds to its arguments.
#[derive(Clone, Debug)]
pub(super) struct Linker {
    program: PathBuf,
    /// The note that the linker writes into the section `.comment` of its output.
    note: String,
    before: Vec<String>,
    after: Vec<String>,
}

impl Linker {
    /// Asks `cc` what it adds, in the folder `root`. Returns `None` if the answer cannot be used.
    pub(super) async fn find(libdir: &Path, root: &Path) -> Option<Self> {
        let bin = libdir.parent()?.join("bin");
        let program = bin.join("rust-lld");
        let mut version = Command::new(&program);
        version.args(["-flavor", "gnu", "--version"]);
        let (version, calls) = tokio::try_join!(output(version), added_by_cc(&bin, root)).ok()?;
        let version = version.lines().next()?.strip_suffix(" (compatible with GNU linkers)")?.to_owned();
        let (before, after) = calls.lines().find_map(|line| around_the_mark(&words(line)))?;
        Some(Self { program, note: format!("Linker: {version}"), before, after })
    }

    /// Whether this linker has made the library at `path`.
    pub(super) fn has_made(&self, path: &Path) -> bool {
        let comment = comment(path).unwrap_or_default();
        comment.split(|byte| *byte == 0).any(|note| note == self.note.as_bytes())
    }

    /// A shell script that rustc can call as a linker of the flavor `ld.lld`.
    ///
    /// The linker uses one thread. The library of a plugin is small, so that the linker would spend more time on
    /// starting its threads than it saves.
    pub(super) fn script(&self) -> String {
        let quoted = |words: &[String]| words.iter().map(|word| quoted(word) + " ").collect::<String>();
        format!(
            "#!/bin/sh\n# rustc passes `-flavor gnu` first.\n[ $# -gt 2 ] || exit 0\nshift 2\nexec {} -flavor gnu --threads=1 {}\"$@\" {}\n",
            self::quoted(&self.program.to_string_lossy()),
            quoted(&self.before),
            quoted(&self.after)
        )
    }
}

/// The name of the object file in the question to `cc`.
const MARK: &str = "mark.o";

/// Lets `cc` print the command with which it would link a shared library.
async fn added_by_cc(bin: &Path, root: &Path) -> io::Result<String> {
    let folder = tempfile::tempdir()?;
    let mark = folder.path().join(MARK);
    fs::write(&mark, [])?;
    let mut prefix = OsString::from("-B");
    prefix.push(bin.join("gcc-ld"));
    let mut cc = toolchain::command("cc");
    cc.current_dir(root).args(["-###", "-m64", "-shared", "-nodefaultlibs"]).arg(mark);
    cc.arg(prefix).args(["-fuse-ld=lld", "-o"]).arg(folder.path().join("mark.so"));
    output(cc).await
}

/// Runs a program, and returns the lines that it has written to its standard output and to its standard error.
async fn output(command: Command) -> io::Result<String> {
    let lines = Mutex::new(String::new());
    let add = |line: &str| lines.lock().extend([line, "\n"]);
    let ended = Process::start(command, LockFile::Unwritten)?.read(add, |line| {
        add(line);
        ControlFlow::Continue(())
    });
    match ended.await? {
        Ended::Exited(it) if it.status.success() => Ok(lines.into_inner()),
        _ => Err(io::Error::other("it has failed")),
    }
}

/// The words before and after the object file in a command of `cc`, without those that rustc itself passes to the linker.
fn around_the_mark(command: &[String]) -> Option<(Vec<String>, Vec<String>)> {
    let mark = command.iter().position(|word| Path::new(word).file_name() == Some(OsStr::new(MARK)))?;
    let mut before = Vec::new();
    let mut words = command[..mark].iter().skip(1);
    while let Some(word) = words.next() {
        match &**word {
            // The value of these options is the next word. rustc passes `-o` itself, and `rust-lld` ignores plugins.
            "-o" | "-plugin" => drop(words.next()?),
            "-shared" => {}
            _ if word.starts_with("-plugin-opt=") || word.starts_with("-fuse-ld=") => {}
            _ => before.push(word.clone()),
        }
    }
    Some((before, command[mark + 1..].to_vec()))
}

/// Splits a line that `cc -###` has written into its words. `cc` quotes as a shell does, with `"` and `\`.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The arguments of rustc with which it calls the linker `script`, without `cc`. Returns `None` if the arguments choose a
/// linker, or contain an argument for `cc` that the linker might understand differently.
pub(super) fn without_cc(args: &[OsString], script: &Path) -> Option<Vec<OsString>> {
    let mut direct = Vec::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let text = arg.to_str()?;
        if text.starts_with("-Z") || text.starts_with("--target") {
            return None;
        }
        let option = match text {
            "-C" | "--codegen" => rest.next()?.to_str()?,
            _ => match text.strip_prefix("-C").or_else(|| text.strip_prefix("--codegen=")) {
                Some(option) => option,
                None => {
                    direct.push(arg.clone());
                    continue;
                }
            },
        };
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "link-arg" => for_linker(value, &mut direct)?,
            "link-args" => value.split_ascii_whitespace().try_for_each(|arg| for_linker(arg, &mut direct))?,
            "linker"
            | "linker-flavor"
            | "link-self-contained"
            | "linker-plugin-lto"
            | "lto"
            | "target-feature" => {
                return None;
            }
            _ => direct.extend(["-C".into(), option.into()]),
        }
    }
    let mut linker = OsString::from("linker=");
    linker.push(script);
    direct.extend(["-C".into(), linker, "-C".into(), "linker-flavor=ld.lld".into()]);
    Some(direct)
}

/// Adds an argument for `cc` to `direct` as `cc` passes it to the linker.
fn for_linker(arg: &str, direct: &mut Vec<OsString>) -> Option<()> {
    let mut add = |arg: &str| direct.extend(["-C".into(), format!("link-arg={arg}").into()]);
    if let Some(list) = arg.strip_prefix("-Wl,") {
        list.split(',').for_each(add);
    } else if arg.len() > 2 && (arg.starts_with("-L") || arg.starts_with("-l")) {
        add(arg);
    } else {
        return None;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_that_cc_adds_surround_the_object_file() {
        let line = r#" /usr/lib/collect2 -plugin /x.so "-plugin-opt=/y" --build-id -m elf_x86_64 "--hash-style=gnu" -shared "-fuse-ld=lld" -o a.so /c/crti.o "-L/with space" -L/d\ e /tmp/mark.o /c/crtn.o"#;
        let (before, after) = around_the_mark(&words(line)).unwrap();
        let expected =
            ["--build-id", "-m", "elf_x86_64", "--hash-style=gnu", "/c/crti.o", "-L/with space", "-L/d e"];
        assert_eq!(before, expected);
        assert_eq!(after, ["/c/crtn.o"]);
        assert_eq!(around_the_mark(&words("Target: x86_64-linux-gnu")), None);
    }

    #[test]
    fn the_script_quotes_every_word_for_the_shell() {
        let linker = Linker {
            program: "/a b/rust-lld".into(),
            note: String::new(),
            before: vec!["-L/it's".into()],
            after: vec!["$x".into()],
        };
        assert!(
            linker
                .script()
                .ends_with("exec '/a b/rust-lld' -flavor gnu --threads=1 '-L/it'\\''s' \"$@\" '$x' \n")
        );
    }

    #[test]
    fn without_cc_passes_the_arguments_of_the_author_to_the_linker() {
        let of = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(Into::into).collect();
            without_cc(&args, Path::new("/s")).map(|args| {
                let args: Vec<_> = args.into_iter().map(|it| it.into_string().unwrap()).collect();
                args.join(" ")
            })
        };
        let linker = "-C linker=/s -C linker-flavor=ld.lld";
        for (args, direct) in [
            (&["--cfg", "x", "-Cprefer-dynamic"][..], "--cfg x -C prefer-dynamic "),
            (&["-C", "link-arg=-Wl,-rpath,/l"], "-C link-arg=-rpath -C link-arg=/l "),
            (
                &["-Clink-args=-lz  -L/d -Wl,--as-needed"],
                "-C link-arg=-lz -C link-arg=-L/d -C link-arg=--as-needed ",
            ),
        ] {
            assert_eq!(of(args), Some(format!("{direct}{linker}")), "{args:?}");
        }
        for args in [
            &["-C", "linker=clang"][..],
            &["-Clinker-flavor=gcc"],
            &["-Clink-arg=-fuse-ld=mold"],
            &["-Clink-args=-Wl,-z,now -static-libgcc"],
            &["-C", "lto=fat"],
            &["-Zsanitizer=address"],
            &["--target", "x86_64-unknown-linux-musl"],
        ] {
            assert_eq!(of(args), None, "{args:?}");
        }
    }
}
