//! Tests of the inspection, with libraries that `cc` and `rustc` build here, and with corrupted files.

use super::*;
use crate::artifact::relink::Names;
use std::process::Command;

struct Context {
    dir: tempfile::TempDir,
}

impl Context {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn run(&self, command: &mut Command) {
        let output = command.current_dir(self.dir.path()).output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Compiles C source to the file `name`, with these arguments for `cc`.
    fn cc(&self, name: &str, source: &str, args: &[&str]) -> PathBuf {
        let file = self.write(&format!("{name}.c"), source);
        self.run(Command::new("cc").arg(file).args(args).arg("-o").arg(name));
        self.path(name)
    }

    fn plugin(&self, args: &[&str]) -> PathBuf {
        let source = format!("int {ROOT_MODULE_LOADER_NAME} = 1; int data[10000];");
        self.cc("plugin.so", &source, &[&["-shared", "-fPIC"], args].concat())
    }
}

fn rejection(path: &Path) -> String {
    inspect(path).unwrap_err().to_string()
}

#[test]
fn inspect_reads_the_facts_of_a_plugin() {
    let context = Context::new();
    let path = context.plugin(&["-g", "-Wl,-soname,me.so", "-Wl,-z,nodelete", "-Wl,--build-id=0xfeed"]);
    let facts = inspect(&path).unwrap();
    assert_eq!(facts.root, RootSymbol::Exported);
    assert_eq!(facts.soname.as_deref(), Some("me.so"));
    assert_eq!(facts.build_id.as_deref(), Some("feed"));
    assert!(facts.nodelete);
    assert!(facts.debug_info);
    assert_eq!(facts.std, StdLinkage::Static);
    assert_eq!(facts.file_bytes, fs::metadata(&path).unwrap().len());
    assert!(facts.private_bytes >= 40_000 && facts.private_bytes.is_multiple_of(PAGE_BYTES), "{facts:?}");
    assert!(facts.mapped_bytes > facts.private_bytes, "{facts:?}");
    assert!((1..facts.file_bytes).contains(&facts.loaded_file_bytes), "{facts:?}");

    let plain = inspect(&context.plugin(&["-Wl,--build-id=none"])).unwrap();
    assert!(
        !plain.nodelete
            && !plain.tls_destructors
            && !plain.debug_info
            && plain.build_id.is_none()
            && plain.soname.is_none()
    );
}

#[test]
fn the_reasons_for_which_the_loader_keeps_a_library_are_found() {
    let context = Context::new();
    let inspected = |source: &str| inspect(&context.cc("kept.so", source, &["-shared", "-fPIC"])).unwrap();
    let unique =
        inspected("__asm__(\".globl it; .type it, %gnu_unique_object; .data; it: .quad 1; .size it, 8\");");
    assert!(unique.nodelete && !unique.tls_destructors, "{unique:?}");
    let registers = inspected(
        "int __cxa_thread_atexit_impl(void (*)(void *), void *, void *);
        int it(void) { return __cxa_thread_atexit_impl(0, 0, 0); }",
    );
    assert!(!registers.nodelete && registers.tls_destructors, "{registers:?}");
}

#[test]
fn facts_serialize_to_json() {
    let context = Context::new();
    let json = serde_json::to_value(inspect(&context.plugin(&["-Wl,--no-as-needed"])).unwrap()).unwrap();
    assert_eq!(json["root"], "exported");
    assert_eq!(json["std"], "static");
    assert_eq!(json["needed"][0]["name"], "libc.so.6");
    assert!(json["needed"][0]["found"].as_str().unwrap().ends_with("libc.so.6"), "{json}");
}

#[test]
fn inspect_distinguishes_a_missing_root_symbol_from_a_missing_export() {
    let context = Context::new();
    let args = ["-shared", "-fPIC"];
    let absent = context.cc("absent.so", "int other;", &args);
    assert_eq!(inspect(&absent).unwrap().root, RootSymbol::Absent);
    let source = format!("extern int {HOOKS_SYMBOL}; int *{ROOT_MODULE_LOADER_NAME} = &{HOOKS_SYMBOL};");
    let nothing = context.cc("nothing.so", &source, &args);
    assert_eq!(inspect(&nothing).unwrap().root, RootSymbol::NothingExported);
    let user = context.cc(
        "user.so",
        &format!("extern int {ROOT_MODULE_LOADER_NAME}; int *p = &{ROOT_MODULE_LOADER_NAME};"),
        &args,
    );
    assert_eq!(
        inspect(&user).unwrap().root,
        RootSymbol::Absent,
        "the object imports the symbol, but does not define it"
    );
}

#[test]
fn inspect_finds_needed_libraries_by_the_run_path() {
    let context = Context::new();
    fs::create_dir(context.path("libs")).unwrap();
    let helper = context.cc("libs/libhelper.so", "int help(void) { return 1; }", &["-shared", "-fPIC"]);
    let source = "int help(void); int f(void) { return help(); }";
    for (name, tags) in [("runpath.so", "--enable-new-dtags"), ("rpath.so", "--disable-new-dtags")] {
        let flags = format!("-Wl,{tags},-rpath,$ORIGIN/libs");
        let args = ["-shared", "-fPIC", "-Llibs", flags.as_str(), "-lhelper"];
        let facts = inspect(&context.cc(name, source, &args)).unwrap();
        assert_eq!(facts.runpath, ["$ORIGIN/libs"]);
        assert_eq!(facts.needed[0].name, "libhelper.so");
        let Lookup::Found(found) = &facts.needed[0].lookup else { panic!("{facts:?}") };
        assert_eq!(found.canonicalize().unwrap(), helper.canonicalize().unwrap());
    }
    fs::remove_file(&helper).unwrap();
    let facts = inspect(&context.path("runpath.so")).unwrap();
    let Lookup::Missing(sought) = &facts.needed[0].lookup else { panic!("{facts:?}") };
    assert!(sought.contains(&context.dir.path().canonicalize().unwrap().join("libs")), "{sought:?}");
}

#[test]
fn inspect_reports_how_std_is_linked() {
    let context = Context::new();
    context.write("lib.rs", "#[unsafe(no_mangle)] pub extern \"C\" fn f() { println!(\"hello\") }");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let build = |name: &str, args: &[&str]| {
        let fixed = ["--crate-type=cdylib", "--edition=2024", "lib.rs", "-o", name];
        context.run(Command::new(&rustc).args(fixed).args(args));
        inspect(&context.path(name)).unwrap()
    };
    assert_eq!(build("own.so", &[]).std, StdLinkage::Static);

    let libdir = Command::new(&rustc).args(["--print", "target-libdir"]).output().unwrap().stdout;
    let libdir = String::from_utf8(libdir).unwrap();
    let rpath = format!("link-arg=-Wl,-rpath,{}", libdir.trim());
    let shared = build("shared.so", &["-Cprefer-dynamic", "-C", &rpath]);
    let StdLinkage::Shared { library } = &shared.std else { panic!("{shared:?}") };
    let needed = shared.needed.iter().find(|needed| needed.name == *library).unwrap();
    assert!(matches!(&needed.lookup, Lookup::Found(path) if path.starts_with(libdir.trim())), "{needed:?}");
}

#[test]
fn the_error_for_a_file_that_is_not_elf_names_its_format() {
    let context = Context::new();
    for (content, looks_like) in [
        (&b""[..], "is empty"),
        (b"fn main() {}\n", "looks like text"),
        (b"#!/bin/sh\n", "looks like a script"),
        (b"MZ\x90\0", "Windows"),
        (b"\xcf\xfa\xed\xfe\x07\0\0\x01", "macOS"),
        (b"!<arch>\n", "archive"),
        (b"\0asm\x01\0\0\0", "WebAssembly"),
        (b"\0\x01\x02\x03", "an unknown format"),
    ] {
        let error = rejection(&context.write("it.so", content));
        assert!(error.contains("it.so is not an ELF file") && error.contains(looks_like), "{error}");
        assert!(error.contains("cdylib"), "{error}");
    }
    assert!(rejection(&context.path("nowhere.so")).contains("cannot read"));
}

#[test]
fn the_error_for_a_file_for_another_machine_names_both_machines() {
    let context = Context::new();
    let mut bytes = fs::read(context.plugin(&[])).unwrap();
    let machine = bytes[18];
    bytes[18] = if machine == 183 { 62 } else { 183 };
    let error = rejection(&context.write("other.so", &bytes));
    let (other, ours) = if machine == 183 { ("x86-64", "AArch64") } else { ("AArch64", "x86-64") };
    assert!(error.contains(&format!("is for {other}, and this host runs on {ours}")), "{error}");
    bytes[18] = machine;
    bytes[4] = 1;
    assert!(rejection(&context.write("other.so", &bytes)).contains("32-bit"));
    bytes[4] = 2;
    bytes[5] = 2;
    bytes.swap(18, 19);
    assert!(rejection(&context.write("other.so", &bytes)).contains("big-endian"));
}

#[test]
fn inspect_rejects_executables_and_object_files() {
    let context = Context::new();
    let main = "int main(void) { return 0; }";
    for (name, args, found) in [
        ("pie", &["-pie", "-fPIE"][..], "an executable"),
        ("fixed", &["-no-pie"], "an executable"),
        ("unlinked.o", &["-c"], "an object file"),
    ] {
        let error = rejection(&context.cc(name, main, args));
        assert!(error.contains(found) && error.contains("not a shared object"), "{error}");
    }
}

#[test]
fn inspect_rejects_a_file_truncated_at_any_length() {
    let context = Context::new();
    let path = context.plugin(&["-g"]);
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        let error = read(&path, &bytes[..length], (&path, &Known::new())).unwrap_err();
        match &error {
            InspectError::NotElf { .. } if length < 4 => {}
            InspectError::Truncated { present, promised, .. } => {
                assert!(*present == length as u64 && promised > present, "{error}");
            }
            _ => panic!("{length} of {} bytes: {error}", bytes.len()),
        }
    }
    read(&path, &bytes, (&path, &Known::new())).unwrap();
}

#[test]
fn inspect_of_corrupted_bytes_never_panics() {
    let context = Context::new();
    let path = context.plugin(&["-g"]);
    let original = fs::read(&path).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let (mut facts, mut errors) = (0, 0);
    for round in 0..3000 {
        let mut bytes = original.clone();
        // Half of the rounds change only the header, where a changed byte has the largest effect.
        let below = if round % 2 == 0 { 64 } else { bytes.len() };
        for _ in 0..=random(4) {
            bytes[random(below)] = random(256) as u8;
        }
        match read(&path, &bytes, (&path, &Known::new())) {
            Ok(found) => {
                facts += 1;
                let needed = found.needed.into_iter().map(|it| (it.name, "another".to_owned())).collect();
                let _ = Names { needed: &needed, own: Some("it") }.put_into(&mut bytes);
            }
            Err(_) => errors += 1,
        }
    }
    assert!(
        facts > 0 && errors > 0,
        "all corrupted files have the same result: {facts} facts, {errors} errors"
    );
}
