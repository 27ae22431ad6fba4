//! Tests of artifacts with several files: C libraries that the loader finds by a run path.

use super::*;
use crate::artifact::inspect::Lookup;
use replug_model::copy::libraries_of_copy;
use rustix::fs::{FlockOperation, flock};

impl Fixture {
    /// Removes artifacts and the libraries that only they need. `prune` keeps all libraries while another process holds
    /// the lock of the store. A child process that another test has just forked also holds the lock of the last `put`,
    /// until the child executes its program. So this function first waits until no process holds the lock.
    fn prune(&self, keep: usize, in_use: &BTreeSet<Digest>) -> Vec<Digest> {
        let dir = File::open(self.store.dir()).unwrap();
        flock(&dir, FlockOperation::LockExclusive).unwrap();
        // A child process may have a copy of this descriptor, too, so closing it might not release the lock.
        flock(&dir, FlockOperation::Unlock).unwrap();
        self.store.prune(keep, in_use).unwrap()
    }

    /// Compiles C source to the file `name`.
    fn cc(&self, name: &str, source: &str, args: &[&str]) -> PathBuf {
        let file = self.path(&format!("{name}.c"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, source).unwrap();
        let mut cc = Command::new("cc");
        cc.current_dir(self.dir.path()).arg(file).args(args).arg("-o").arg(name);
        let output = cc.output().unwrap();
        assert!(output.status.success(), "{cc:?}: {}", String::from_utf8_lossy(&output.stderr));
        self.path(name)
    }

    /// Compiles a library to `path`. It has a versioned symbol `answer()`, which returns `number`.
    fn helper(&self, path: &str, number: u32) -> PathBuf {
        fs::write(self.path("map"), "V1 { global: answer; local: *; };").unwrap();
        let source = format!("int answer(void) {{ return {number}; }}");
        let soname = format!("-Wl,-soname,{}", path.rsplit('/').next().unwrap());
        self.cc(path, &source, &["-shared", "-fPIC", "-Wl,--version-script=map", &soname])
    }

    /// Compiles a library whose `ask()` calls `answer()` of `libs/libhelper.so` and adds 100.
    fn user(&self, args: &[&str]) -> PathBuf {
        let source = "int answer(void); int ask(void) { return 100 + answer(); }";
        let common = ["-shared", "-fPIC", "-Llibs", "-lhelper", "-Wl,-rpath,$ORIGIN/libs"];
        self.cc("user.so", source, &[&common, args].concat())
    }

    fn copy(&self, artifact: &Artifact, name: &str) -> PathBuf {
        let to = self.path(name);
        self.store.private_copy(artifact, &to).unwrap();
        to
    }

    /// Runs a process that opens the copies one after the other, and returns the results of their `ask()`. The last
    /// word is `shared` if the process has loaded a library with the name `libhelper.so`, and `private` otherwise.
    fn asked(&self, copies: &[&Path]) -> String {
        let source = r#"
            #include <dlfcn.h>
            #include <stdio.h>
            int main(int count, char **paths) {
                for (int i = 1; i < count; i++) {
                    void *library = dlopen(paths[i], RTLD_NOW | RTLD_LOCAL);
                    if (!library) { printf("%s", dlerror()); return 1; }
                    printf("%d ", ((int (*)(void))dlsym(library, "ask"))());
                }
                printf(dlopen("libhelper.so", RTLD_NOW | RTLD_NOLOAD) ? "shared" : "private");
            }"#;
        let program = self.cc("program", source, &["-ldl"]);
        let output = Command::new(program).args(copies).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn one_process_can_load_two_artifacts_that_differ_in_a_library() {
    let fixture = Fixture::new();
    fixture.helper("libs/libhelper.so", 1);
    let user = fixture.user(&[]);
    let first = fixture.store.put(&user).unwrap();
    assert_eq!(first.companions.libraries[0].name, "libhelper.so");
    assert_eq!(Store::digest_of(&user).unwrap(), first.digest);
    fixture.helper("libs/libhelper.so", 2);
    let second = fixture.store.put(&user).unwrap();
    assert_ne!(first.digest, second.digest, "another library makes another artifact");
    assert_eq!(first.companions.file, second.companions.file);
    // The originals are removed, so the copies come from the store alone.
    fs::remove_dir_all(fixture.path("libs")).unwrap();
    let found = fixture.store.get(first.digest).unwrap();
    assert_eq!(found.companions, first.companions);
    let copies = [fixture.copy(&first, "a.so"), fixture.copy(&second, "b.so"), fixture.copy(&found, "c.so")];
    let copies = copies.each_ref().map(PathBuf::as_path);
    assert_eq!(fixture.asked(&copies), "101 102 101 private");
}

#[test]
fn an_artifact_includes_the_libraries_that_its_libraries_need() {
    let fixture = Fixture::new();
    // `libhelper` finds `libdeep` by the RPATH of the library that needs `libhelper`, and `libdeep` calls back into
    // `libhelper`.
    let deep = |number: u32| {
        let source = format!("int two(void); int deep(void) {{ return {number} + two(); }}");
        fixture.cc("libs/libdeep.so", &source, &["-shared", "-fPIC", "-Wl,-soname,libdeep.so"]);
    };
    deep(10);
    let source = "int deep(void); int two(void) { return 2; } int answer(void) { return deep(); }";
    let args = ["-shared", "-fPIC", "-Llibs", "-ldeep", "-Wl,-soname,libhelper.so"];
    fixture.cc("libs/libhelper.so", source, &args);
    let user = fixture.user(&["-Wl,--disable-new-dtags", "-Wl,-rpath-link,libs"]);
    let first = fixture.store.put(&user).unwrap();
    let names: Vec<_> = first.companions.libraries.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["libhelper.so", "libdeep.so"]);
    deep(20);
    let second = fixture.store.put(&user).unwrap();
    assert_ne!(first.digest, second.digest);
    let copies = [fixture.copy(&first, "a.so"), fixture.copy(&second, "b.so")];
    assert_eq!(fixture.asked(&copies.each_ref().map(PathBuf::as_path)), "112 122 private");

    fs::remove_file(fixture.path("libs/libdeep.so")).unwrap();
    let lacking = fixture.store.put(&user).unwrap().inspect().unwrap();
    let [library] = lacking.libraries.as_slice() else { panic!("{lacking:?}") };
    assert_eq!(library.missing[0].name, "libdeep.so");
    assert!(matches!(library.missing[0].lookup, Lookup::Missing(_)));
}

#[test]
fn a_system_library_is_not_a_companion_of_an_artifact() {
    let fixture = Fixture::new();
    let args = ["-shared", "-fPIC", "-Wl,--no-as-needed", "-lm", "-Wl,-rpath,/usr/lib"];
    let plain = fixture.cc("plain.so", "int ask(void) { return 1; }", &args);
    let artifact = fixture.store.put(&plain).unwrap();
    assert_eq!(artifact.companions, Companions::none(artifact.digest));
    assert_eq!(Store::digest_of(&plain).unwrap(), artifact.digest);
    assert!(!fixture.names().contains("libraries"), "{:?}", fixture.names());
    let names = |artifact: &Artifact| {
        let facts = artifact.inspect().unwrap();
        facts.needed.iter().map(|it| it.name.clone()).collect::<Vec<_>>()
    };
    assert!(names(&artifact).contains(&"libm.so.6".to_owned()));
}

#[test]
fn a_damaged_or_removed_library_is_reported_and_restored_by_put() {
    let fixture = Fixture::new();
    fixture.helper("libs/libhelper.so", 1);
    let user = fixture.user(&[]);
    let artifact = fixture.store.put(&user).unwrap();
    let library = artifact.library(&artifact.companions.libraries[0]);
    fs::remove_file(&library).unwrap();
    let refused = |artifact: &Artifact| {
        let to = fixture.path("copy.so");
        let error = fixture.store.private_copy(artifact, &to).unwrap_err();
        assert!(!to.exists() && !libraries_of_copy(&to).exists());
        error.to_string()
    };
    assert!(refused(&artifact).contains("libhelper.so was removed from the store"), "{}", refused(&artifact));
    fs::write(&library, "something else").unwrap();
    assert!(refused(&artifact).contains("libhelper.so is damaged"), "{}", refused(&artifact));
    assert_eq!(fixture.store.put(&user).unwrap(), artifact);
    assert_eq!(fixture.asked(&[&fixture.copy(&artifact, "copy.so")]), "101 private");
}

#[test]
fn libraries_that_no_artifact_needs_any_more_are_pruned() {
    let fixture = Fixture::new();
    let user = |number| {
        fixture.helper("libs/libhelper.so", number);
        fixture.store.put(&fixture.user(&[])).unwrap()
    };
    let (old, new) = (user(1), user(2));
    fixture.age(&old, 100);
    assert_eq!(fixture.prune(1, &BTreeSet::new()), [old.digest]);
    let kept = fs::read_dir(fixture.store.dir().join("libraries")).unwrap();
    let kept: Vec<_> = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(kept, [new.companions.libraries[0].digest.to_string()]);
    assert!(!fixture.names().contains(&format!("{}.json", old.digest)));
    assert_eq!(fixture.asked(&[&fixture.copy(&new, "copy.so")]), "102 private");
}

#[test]
fn the_store_keeps_the_shared_libstd_after_the_toolchain_is_removed() {
    let fixture = Fixture::new();
    let toolchain = fixture.cc("toolchain/libstd-0123.so", "int std(void) { return 5; }", &["-shared"]);
    let plugin = |name: &str| {
        let source = format!("int std(void); int ask_{name}(void) {{ return std(); }}");
        let toolchain = fixture.path("toolchain");
        let run_path = format!("-Wl,-rpath,{}", toolchain.display());
        let args = ["-shared", "-fPIC", "-Ltoolchain", "-l:libstd-0123.so", run_path.as_str()];
        fixture.cc(name, &source, &args)
    };
    let (one, two) = (plugin("one"), plugin("two"));
    let [first, second] = [&one, &two].map(|plugin| fixture.store.put(plugin).unwrap());
    assert_eq!(first.digest, first.companions.file, "the artifact does not include the libstd");
    let std = first.inspect().unwrap().std_path.unwrap();
    assert!(std.starts_with(fixture.store.dir()), "{}", std.display());
    assert_eq!(second.inspect().unwrap().std_path.as_ref(), Some(&std));

    fs::remove_dir_all(toolchain.parent().unwrap()).unwrap();
    for artifact in [fixture.store.get(first.digest).unwrap(), fixture.store.put(&two).unwrap()] {
        let facts = artifact.inspect().unwrap();
        assert_eq!(facts.shared_std(), Some(&*std));
        assert!(facts.needed.iter().all(|it| matches!(it.lookup, Lookup::Found(_))), "{facts:?}");
    }
    assert_eq!(fs::metadata(&std).unwrap().mode() & 0o777, 0o444);
    fixture.prune(0, &[first.digest].into());
    assert!(std.is_file());
    fixture.prune(0, &BTreeSet::new());
    assert!(!std.exists());
}
