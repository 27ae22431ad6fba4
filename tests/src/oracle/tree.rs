//! One project on disk, the loop that builds it, and the clean build for comparison.

use super::{Depth, Outcome, shapes::Shape};
use replug::{
    PluginId,
    manifest::{self, Manifest},
};
use replug_builder::{
    build::Builder,
    watch::{Notice, Poll, Watcher},
};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};
use tokio::{runtime::Runtime, sync::mpsc};

/// The modification time of a file, compared with that of the file that it replaces.
#[derive(Clone, Copy, Debug)]
pub(super) enum Age {
    Newer,
    Equal,
    Older,
}

/// The result of a build: the texts in the library, or none.
type Answer = Option<BTreeSet<String>>;

pub(super) struct Tree {
    pub(super) shape: &'static Shape,
    root: PathBuf,
    /// The number of the subject's newest content.
    contents: u32,
    runtime: Runtime,
    running: Option<Running>,
    /// The result of the last build.
    built: Answer,
    builds: usize,
    /// The thread that makes a change during a build.
    in_build: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

/// The parts of a host that the loop needs.
struct Running {
    builder: Builder,
    watcher: Watcher,
    notices: mpsc::UnboundedReceiver<Notice>,
    /// How often [`Running::has_noticed`] has written the file `zz/mark`.
    marks: u32,
}

const PLUGIN: &str = "ws/plugins/p";

/// The linker of the plugin. If the file `gate` exists, the linker first waits until a change has been made. rustc has
/// already read its inputs when it runs the linker.
const LINKER: &str = "#!/bin/sh
case \"$*\" in *-shared*libp.so*|*libp.so*-shared*)
    if rm ROOT/gate 2>/dev/null; then echo > ROOT/entered; cat ROOT/go > ROOT/passed; fi;;
esac
exec cc \"$@\"
";

impl Tree {
    pub(super) fn new(shape: &'static Shape) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let root = fs::canonicalize(dir.path()).expect("it exists");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let mut tree = Self {
            shape,
            root,
            contents: 0,
            runtime: runtime.expect("a runtime can be made"),
            running: None,
            built: None,
            builds: 0,
            in_build: None,
            _dir: dir,
        };
        for folder in ["zz", "aside", PLUGIN] {
            fs::create_dir_all(tree.path(folder)).expect("a folder can be made");
        }
        for pipe in ["entered", "go"] {
            let made = rustix::fs::mknodat(
                rustix::fs::CWD,
                tree.path(pipe),
                rustix::fs::FileType::Fifo,
                0o600.into(),
                0,
            );
            made.expect("a pipe can be made");
        }
        let linker = LINKER.replace("ROOT", &tree.root.display().to_string());
        tree.write("linker.sh", &linker);
        let executable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(tree.path("linker.sh"), executable).expect("the file can be changed");
        let config = format!("[target.'cfg(unix)']\nlinker = {:?}\n", tree.path("linker.sh"));
        tree.write(".cargo/config.toml", &config);
        tree.write(&format!("{PLUGIN}/plugin.toml"), "id = 'dev.oracle.p'\n");
        for (path, text) in shape.files {
            tree.write(path, text);
        }
        for (link, target) in shape.links {
            symlink(tree.path(target), tree.path(link)).expect("a link can be made");
        }
        let text = tree.next_text();
        tree.write(shape.subject, &text);
        tree.start();
        tree
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("it is below the root")).expect("a folder can be made");
        fs::write(path, text.replace("ROOT", &self.root.display().to_string())).expect("it can be written");
    }

    /// The subject's next content.
    pub(super) fn next_text(&mut self) -> String {
        self.contents += 1;
        (self.shape.text)(self.contents)
    }

    /// Gives the subject its next content: moves a file of that age into its place.
    pub(super) fn next_content(&mut self, age: Age) {
        let text = self.next_text();
        self.place(self.shape.subject, &text, age);
    }

    /// Moves a file into place. The time of the new file is older than, equal to or newer than that of the current
    /// file.
    pub(super) fn place(&self, name: &str, text: &str, age: Age) {
        replace(&self.root, name, text, age);
    }

    /// Replaces the shape's folder by a copy in which only the content of the subject differs, not its time.
    pub(super) fn swap_folder(&mut self) {
        let Ok(name) = self.shape.folder else { return };
        let (folder, new) = (self.path(name), self.path(&format!("aside/new-{}", self.contents)));
        // If the folder is a link, this copies the link's target.
        copy(&fs::canonicalize(&folder).expect("the folder exists"), &new);
        let subject = self.path(self.shape.subject);
        let inside = new.join(subject.strip_prefix(&folder).expect("the subject is in the folder"));
        let time = fs::metadata(&inside).and_then(|metadata| metadata.modified()).expect("it was copied");
        fs::write(&inside, self.next_text()).expect("the file can be changed");
        let file = fs::File::options().append(true).open(&inside).expect("the file can be changed");
        file.set_modified(time).expect("a file has a time");
        if folder.is_symlink() {
            let link = self.path("aside/link");
            symlink(new, &link).expect("a link can be made");
            return fs::rename(link, folder).expect("it can be moved");
        }
        fs::rename(&folder, self.path(&format!("aside/old-{}", self.contents))).expect("it can be moved");
        fs::rename(new, folder).expect("it can be moved");
    }

    /// Replaces the subject by a link to a file in another folder. The file contains the next content and has an
    /// old modification time.
    pub(super) fn link_subject(&mut self) {
        let text = self.next_text();
        let target = format!("aside/target-{}", self.contents);
        self.place(&target, &text, Age::Older);
        let link = self.path("aside/link");
        symlink(self.path(&target), &link).expect("a link can be made");
        fs::rename(link, self.path(self.shape.subject)).expect("it can be moved");
    }

    /// Gives the subject its next content during the next build that links the plugin.
    pub(super) fn change_in_next_build(&mut self, age: Age) {
        self.contents += 1;
        let (root, subject, text) = (self.root.clone(), self.shape.subject, (self.shape.text)(self.contents));
        fs::write(self.path("gate"), "").expect("it can be written");
        self.in_build = Some(thread::spawn(move || {
            // Opening one end of a pipe waits until the other end is opened.
            fs::read(root.join("entered")).expect("the pipe exists");
            replace(&root, subject, &text, age);
            fs::write(root.join("go"), "").expect("the pipe exists");
        }));
    }

    pub(super) fn start(&mut self) {
        let (sender, notices) = mpsc::unbounded_channel();
        let builder = Builder::new(self.path("state"));
        let watcher =
            Watcher::new(&self.path("ws/plugins"), Poll::Never, sender).expect("the folder can be watched");
        let marks =
            replug_builder::watch::Inputs { files: [self.path("zz/mark")].into(), ..Default::default() };
        watcher.set_inputs(&mark_id(), marks).expect("a folder can be watched");
        let running = Running { builder, watcher, notices, marks: 0 };
        if let Some(manifest) = self.manifest() {
            let inputs = self.runtime.block_on(running.builder.inputs(&manifest));
            running.watcher.set_inputs(&manifest.id, inputs).expect("a folder can be watched");
        }
        self.running = Some(running);
        self.build();
    }

    pub(super) fn stop(&mut self) {
        self.settle();
        self.running = None;
        self.builds = 0;
    }

    fn manifest(&self) -> Option<Manifest> {
        manifest::read(&self.path(PLUGIN)).ok()
    }

    /// Builds once, and watches the inputs of the build.
    fn build(&mut self) {
        self.builds += 1;
        let (Some(running), Some(manifest)) = (&self.running, self.manifest()) else {
            self.built = None;
            return;
        };
        let built = self.runtime.block_on(running.builder.build(&manifest));
        let inputs = match built {
            Ok(built) => {
                self.built = Some(says(&built.artifact));
                built.inputs
            }
            Err(_) => {
                self.built = None;
                self.runtime.block_on(running.builder.inputs(&manifest))
            }
        };
        running.watcher.set_inputs(&manifest.id, inputs).expect("a folder can be watched");
    }

    /// Builds as long as there are changes.
    fn settle(&mut self) {
        // The limit ends a loop that would build forever. The number of builds then fails the check.
        while self.builds < 10 && self.running.as_mut().is_some_and(|it| it.has_noticed(&self.root)) {
            self.build();
        }
        if let Some(thread) = self.in_build.take() {
            if fs::remove_file(self.path("gate")).is_ok() {
                // No build has reached the linker, so this makes the waiting thread continue with its change.
                fs::write(self.path("entered"), "").expect("the pipe exists");
                fs::read(self.path("go")).expect("the pipe exists");
            }
            thread.join().expect("the change can be made");
            self.settle();
        }
    }

    /// Waits until the loop has settled, and compares its result with a clean build.
    pub(super) fn outcome(&mut self, most_builds: usize, depth: Depth) -> Outcome {
        self.settle();
        let (clean, why) = self.clean_build();
        // A removed file is reported only after a while.
        while self.built != clean && self.running.as_mut().is_some_and(|it| it.notices_more(&self.runtime)) {
            self.build();
            self.settle();
        }
        let builds = std::mem::take(&mut self.builds);
        if self.built != clean {
            return Outcome::Wrong(format!(
                "built {:?} in {builds} builds, but a clean build gives {clean:?} {why}",
                self.built
            ));
        }
        if builds > most_builds {
            return Outcome::Wrong(format!("{builds} builds, but at most {most_builds} are needed"));
        }
        if depth == Depth::Restart {
            let built = self.manifest().and_then(|manifest| {
                self.runtime.block_on(Builder::new(self.path("state")).build(&manifest)).ok()
            });
            let built = built.map(|built| says(&built.artifact));
            if built != clean {
                return Outcome::Wrong(format!(
                    "a restart builds {built:?}, but a clean build gives {clean:?}"
                ));
            }
        }
        Outcome::Right { builds }
    }

    /// The result of a cargo build of the tree without results of earlier builds, and cargo's messages.
    fn clean_build(&self) -> (Answer, String) {
        let target = self.path("clean");
        // The file that describes the compiler stays, because making it takes as long as the rest of the build.
        for entry in fs::read_dir(&target).into_iter().flatten() {
            let path = entry.expect("a folder can be read").path();
            if path.is_dir() {
                fs::remove_dir_all(path).expect("a folder can be removed");
            }
        }
        let Some(manifest) = self.manifest() else { return (None, "without a manifest".into()) };
        let mut cargo = Command::new("cargo");
        cargo.args(["rustc", "--quiet", "--lib", "--package", "p", "--profile", &manifest.build.profile]);
        cargo.args(["--features", &manifest.build.features.join(",")]);
        cargo.arg("--target-dir").arg(&target).current_dir(self.path(PLUGIN));
        cargo.env("CARGO_INCREMENTAL", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
        let output = cargo.args(["--", "-Cprefer-dynamic"]).output().expect("cargo can be run");
        let answer = output.status.success().then(|| says(&target.join("debug/libp.so")));
        (answer, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// How long the watcher may take to report a change before the change counts as missed. The watcher itself delays a
/// report by less than a second.
const HANG_GUARD: Duration = Duration::from_secs(20);

impl Running {
    /// Waits until the watcher reports a change of the plugin. Returns whether it did so in time.
    fn notices_more(&mut self, runtime: &Runtime) -> bool {
        let change = async {
            loop {
                match self.notices.recv().await {
                    Some(Notice::PluginsChanged) => {}
                    Some(Notice::Changed(_) | Notice::Lost(_)) => return true,
                    None => return false,
                }
            }
        };
        runtime.block_on(async { tokio::time::timeout(HANG_GUARD, change).await.unwrap_or(false) })
    }

    /// Whether the watcher has reported a change of the plugin. To find out, this writes the file `zz/mark`, and waits
    /// until the watcher reports it. All earlier changes are reported before it: reports come in the order of the
    /// changes, and changes that are reported together are ordered by file name.
    fn has_noticed(&mut self, root: &Path) -> bool {
        self.marks += 1;
        replace(root, "zz/mark", &self.marks.to_string(), Age::Newer);
        let mut noticed = false;
        loop {
            match self.notices.blocking_recv().expect("the watcher runs") {
                Notice::Changed(change) if change.plugin == mark_id() => return noticed,
                Notice::PluginsChanged => {}
                Notice::Changed(_) | Notice::Lost(_) => noticed = true,
            }
        }
    }
}

fn mark_id() -> PluginId {
    "dev.oracle.mark".parse().expect("it is an id")
}

fn replace(root: &Path, name: &str, text: &str, age: Age) {
    let (path, new) = (root.join(name), root.join(format!("aside/{}.new", name.replace('/', "-"))));
    fs::write(&new, text.replace("ROOT", &root.display().to_string())).expect("it can be written");
    let there = fs::metadata(&path).and_then(|metadata| metadata.modified());
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    let time = match (age, there) {
        (Age::Newer, _) => None,
        (Age::Equal, Ok(there)) => Some(there),
        (Age::Older, Ok(there)) => Some(there - hours(1)),
        (_, Err(_)) => Some(SystemTime::now() - hours(1000)),
    };
    if let Some(time) = time {
        let file = fs::File::options().append(true).open(&new).expect("the file can be changed");
        file.set_modified(time).expect("a file has a time");
    }
    fs::rename(new, path).expect("it can be moved");
}

/// Copies a folder, with the times of its files.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "cp failed");
}

/// The texts between two `@@` in a library.
fn says(library: &Path) -> BTreeSet<String> {
    let bytes = fs::read(library).expect("the library exists");
    let mut texts = BTreeSet::new();
    let mut rest = &bytes[..];
    while let Some(at) = find(rest) {
        rest = &rest[at + 2..];
        let Some(end) = find(rest).filter(|end| *end < 40) else { continue };
        if let Ok(text) = std::str::from_utf8(&rest[..end])
            && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        {
            texts.insert(text.to_owned());
            rest = &rest[end + 2..];
        }
    }
    texts
}

fn find(bytes: &[u8]) -> Option<usize> {
    bytes.windows(2).position(|pair| pair == b"@@")
}
