//! The changes that the oracle makes to a project. Each changes, replaces, removes or restores the subject, which is
//! one file of the project (see `shapes.rs`), or adds a file.

use super::{
    shapes::{NewFile, Shape},
    tree::{Age, Tree},
};
use std::fs;

/// A kind of change.
#[derive(Debug)]
pub struct Change {
    /// The name of the change in the report.
    pub name: &'static str,
    /// The maximum number of builds that the change may cause.
    pub most_builds: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// A file with the next content ([`Tree::next_text`]) replaces the subject. The file has this age.
    Content(Age),
    /// The next content is written into the subject, whose modification time stays the same.
    InPlace,
    /// A file is added.
    NewFile,
    /// The subject is removed.
    Removed,
    /// The removed subject exists again, with the next content.
    CameBack,
    /// Another folder replaces the folder of the subject.
    Folder,
    /// A link replaces the subject, and then another link replaces the first.
    Link,
    /// The subject changes during a build.
    WhileBuilding(Age),
    /// The subject changes while no host runs.
    WhileDown(Age),
}

const fn change(name: &'static str, most_builds: usize, kind: Kind) -> Change {
    Change { name, most_builds, kind }
}

/// All kinds of change, in the order in which they are made.
pub const CHANGES: &[Change] = &[
    change("newer", 2, Kind::Content(Age::Newer)),
    change("equal", 2, Kind::Content(Age::Equal)),
    change("older", 2, Kind::Content(Age::Older)),
    change("equal, in place", 3, Kind::InPlace),
    change("new file", 3, Kind::NewFile),
    change("removed", 2, Kind::Removed),
    change("came back", 2, Kind::CameBack),
    change("folder renamed", 3, Kind::Folder),
    change("link swapped", 3, Kind::Link),
    change("while building", 3, Kind::WhileBuilding(Age::Newer)),
    change("old while building", 3, Kind::WhileBuilding(Age::Older)),
    change("while down", 2, Kind::WhileDown(Age::Newer)),
    change("old while down", 2, Kind::WhileDown(Age::Older)),
];

impl Change {
    /// Why the change does not apply to that shape; `None` if it applies.
    pub fn senseless(&self, shape: &Shape) -> Option<&'static str> {
        match self.kind {
            Kind::NewFile => match shape.new_file {
                NewFile::None(why) => Some(why),
                NewFile::Listed(_) | NewFile::Module => None,
            },
            Kind::Folder => shape.folder.err(),
            Kind::Removed | Kind::CameBack | Kind::Link => shape.whole_subject.err(),
            Kind::Content(_) | Kind::InPlace | Kind::WhileBuilding(_) | Kind::WhileDown(_) => None,
        }
    }

    pub(super) fn make(&self, tree: &mut Tree) {
        let subject = tree.path(tree.shape.subject);
        match self.kind {
            Kind::Content(age) => tree.next_content(age),
            Kind::InPlace => {
                let time = fs::metadata(&subject).and_then(|metadata| metadata.modified());
                fs::write(&subject, tree.next_text()).expect("the subject is a file");
                let file = fs::File::options().append(true).open(&subject).expect("the subject is a file");
                file.set_modified(time.expect("the subject exists")).expect("a file has a time");
            }
            Kind::NewFile => match tree.shape.new_file {
                NewFile::Listed(folder) => {
                    let text = tree.next_text();
                    tree.place(&format!("{folder}/new.txt"), &text, Age::Older);
                }
                NewFile::Module => {
                    tree.place(
                        "ws/plugins/p/src/more.rs",
                        "pub const SAYS: &str = \"@@more@@\";\n",
                        Age::Older,
                    );
                    let lib = "ws/plugins/p/src/lib.rs";
                    let text = fs::read_to_string(tree.path(lib)).expect("it exists");
                    let text = text.replace("// more", "mod more;").replace("\"-\"", "more::SAYS");
                    tree.place(lib, &text, Age::Older);
                }
                NewFile::None(_) => {}
            },
            Kind::Removed => fs::remove_file(subject).expect("the subject exists"),
            Kind::CameBack => tree.next_content(Age::Older),
            Kind::Folder => tree.swap_folder(),
            Kind::Link => {
                // The first link replaces the subject, and the second replaces the first.
                for _ in 0..2 {
                    tree.link_subject();
                }
            }
            Kind::WhileBuilding(age) => {
                tree.change_in_next_build(age);
                tree.next_content(Age::Newer);
            }
            Kind::WhileDown(age) => {
                tree.stop();
                tree.next_content(age);
                tree.start();
            }
        }
    }
}
