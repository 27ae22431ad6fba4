//! Tests the plugin without a host, in temporary folders.

use super::*;
use replug_interfaces::FileKind;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::os::unix::{fs::symlink, net::UnixListener};
use tempfile::TempDir;

/// A temporary data folder. The plugin may use only its subfolder `files`. The file `secret` beside that folder must
/// not be reachable.
struct World {
    dir: TempDir,
    files: Files,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temporary folder");
        fs::write(dir.path().join("secret"), "secret").expect("write");
        let files = Files::init(&context(&dir), FileOpsConfig::default()).expect("init");
        Self { dir, files }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join(inside)
    }

    fn absolute(&self, inside: &str) -> String {
        self.path(inside).to_str().expect("UTF-8").to_owned()
    }

    fn refuses_everything(&self, path: &str, code: &str, why: &str) {
        let answers = [
            self.files.read(path).err(),
            self.files.write(path, "changed").err(),
            self.files.list(path).err(),
            self.files.delete(path).err(),
        ];
        for error in answers {
            let error = error.unwrap_or_else(|| panic!("`{path}` was not refused"));
            assert_eq!((error.code.as_str(), error.details["path"].as_str()), (code, path));
            assert!(error.message.contains(why), "{path}: {}", error.message);
        }
        assert_eq!(fs::read_to_string(self.path("secret")).expect("still there"), "secret");
    }
}

fn context(dir: &TempDir) -> Context {
    Context::new("dev.replug.file-ops", 1, dir.path())
}

fn code<T>(answer: Result<T, FileError>) -> String {
    answer.err().expect("refused").code
}

#[test]
fn a_file_is_written_read_listed_and_deleted() {
    let World { files, .. } = &World::new();
    assert_eq!(files.write("b.txt", "longer at first"), Ok(15));
    assert_eq!(files.write("b.txt", "grün"), Ok(5));
    assert_eq!(files.read("./b.txt").as_deref(), Ok("grün"));
    assert_eq!(files.write("a.txt", ""), Ok(0));
    let entry = |name: &str, size_bytes| FileEntry { name: name.into(), kind: FileKind::File, size_bytes };
    assert_eq!(files.list("."), Ok(vec![entry("a.txt", 0), entry("b.txt", 5)]));
    assert_eq!(files.delete("b.txt"), Ok(()));
    assert_eq!(code(files.read("b.txt")), FileError::NOT_FOUND);
    assert_eq!(files.list(""), Ok(vec![entry("a.txt", 0)]));
}

#[test]
fn a_path_with_dot_dot_is_rejected_even_if_it_stays_inside() {
    let world = World::new();
    for path in ["../secret", "..", "x/../../secret", "x/../y", "./../new"] {
        world.refuses_everything(path, FileError::NOT_ALLOWED, "a path may not contain `..`");
    }
}

#[test]
fn an_absolute_path_is_accepted_only_inside_an_allowed_folder() {
    let world = World::new();
    let inside = world.absolute("files/a.txt");
    assert_eq!(world.files.write(&inside, "inside"), Ok(6));
    assert_eq!(world.files.read("a.txt").as_deref(), Ok("inside"));
    for outside in ["secret", "new", "files-too/a.txt"] {
        let outside = world.absolute(outside);
        world.refuses_everything(&outside, FileError::NOT_ALLOWED, "in none of the folders");
    }
}

#[test]
fn a_symlink_out_of_the_folder_is_rejected_for_new_files_too() {
    let world = World::new();
    for (link, target) in [
        ("to-file", "../secret".into()),
        ("to-new", "../new".into()),
        ("to-folder", "..".into()),
        ("absolute", world.path("secret")),
        ("twice", "to-file".into()),
        ("in-and-out", "../files/../secret".into()),
    ] {
        symlink(target, world.path("files").join(link)).expect("symlink");
    }
    for path in [
        "to-file",
        "to-new",
        "to-folder",
        "to-folder/secret",
        "to-folder/new",
        "absolute",
        "twice",
        "in-and-out",
    ] {
        world.refuses_everything(path, FileError::NOT_ALLOWED, "a symlink leads out of its folder");
    }
    assert!(!world.path("new").exists());
}

#[test]
fn an_inner_symlink_is_followed_but_delete_removes_the_link_itself() {
    let world = World::new();
    world.files.write("a.txt", "inside").expect("write");
    symlink("a.txt", world.path("files/link")).expect("symlink");
    assert_eq!(world.files.read("link").as_deref(), Ok("inside"));
    assert_eq!(world.files.list(".").expect("list")[1].kind, FileKind::Symlink);
    assert_eq!(world.files.delete("link"), Ok(()));
    assert_eq!(world.files.read("a.txt").as_deref(), Ok("inside"));
}

#[test]
fn only_files_are_read_written_and_deleted_and_only_folders_listed() {
    let world = World::new();
    fs::create_dir(world.path("files/folder")).expect("folder");
    for path in ["folder", "."] {
        assert_eq!(code(world.files.read(path)), FileError::NOT_A_FILE);
        assert_eq!(code(world.files.write(path, "")), FileError::NOT_A_FILE);
        assert_eq!(code(world.files.delete(path)), FileError::NOT_A_FILE);
    }
    let _listener = UnixListener::bind(world.path("files/socket")).expect("socket");
    assert_eq!(code(world.files.write("socket", "")), FileError::NOT_A_FILE);
    assert_eq!(code(world.files.delete("socket")), FileError::NOT_A_FILE);
    mknodat(CWD, world.path("files/pipe"), FileType::Fifo, Mode::RWXU, 0).expect("pipe");
    assert_eq!(code(world.files.read("pipe")), FileError::NOT_A_FILE);
    world.files.write("a.txt", "").expect("write");
    assert_eq!(code(world.files.list("a.txt")), FileError::NOT_A_FOLDER);
    assert_eq!(code(world.files.write("missing/a.txt", "")), FileError::NOT_FOUND);
    let kinds: Vec<FileKind> = world.files.list(".").expect("list").iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [FileKind::File, FileKind::Folder, FileKind::Other, FileKind::Other]);
}

#[test]
fn a_file_that_is_too_large_or_not_text_is_rejected_and_unchanged() {
    let world = World::new();
    world.files.write("a.txt", "12345").expect("write");
    let smaller = FileOpsConfig { max_file_size: 4, ..FileOpsConfig::default() };
    world.files.on_config(smaller).expect("takes effect immediately");
    let error = world.files.write("a.txt", "123456").expect_err("too large");
    assert_eq!((error.code.as_str(), error.details["max_file_size"].as_str()), (FileError::TOO_LARGE, "4"));
    assert_eq!(code(world.files.read("a.txt")), FileError::TOO_LARGE);
    assert_eq!(fs::read(world.path("files/a.txt")).expect("read"), b"12345");
    assert_eq!(world.files.write("a.txt", "1234"), Ok(4));
    fs::write(world.path("files/bytes"), [0xff]).expect("write");
    assert_eq!(code(world.files.read("bytes")), FileError::NOT_TEXT);
}

#[test]
fn a_valid_configuration_is_applied_and_an_invalid_one_is_rejected() {
    let world = World::new();
    fs::create_dir(world.path("elsewhere")).expect("folder");
    let allow = |path: String| FileOpsConfig { allowed_paths: vec![path.into()], ..FileOpsConfig::default() };
    world.files.on_config(allow(world.absolute("elsewhere"))).expect("a folder that is there");
    assert_eq!(world.files.write("a.txt", "here"), Ok(4));
    assert!(world.path("elsewhere/a.txt").exists());
    assert_eq!(code(world.files.list(&world.absolute("files"))), FileError::NOT_ALLOWED);
    for (bad, why) in [
        (world.absolute("missing"), "cannot be used: No such file"),
        (world.absolute("secret"), "cannot be used: Not a directory"),
        ("../elsewhere".to_owned(), "contains `..`: write the target as an absolute path"),
    ] {
        let error = world.files.on_config(allow(bad)).expect_err(why);
        assert_eq!((error.code.as_str(), &error.details["key"]), ("bad_config", &"allowed_paths".into()));
        assert!(error.message.contains(why), "{}", error.message);
        assert_eq!(world.files.read("a.txt").as_deref(), Ok("here"));
    }
    let none = FileOpsConfig { allowed_paths: Vec::new(), ..FileOpsConfig::default() };
    world.files.on_config(none).expect("no folder at all");
    assert_eq!(code(world.files.read("a.txt")), FileError::NOT_ALLOWED);
}
