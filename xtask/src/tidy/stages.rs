//! The order of the stages: each knows those before it and the foundation, and none that comes after.
//!
//! This is what keeps the main path one path: only `reload.rs` may know all stages. Where a stage is a crate of its own,
//! cargo sees to it.

use super::{Problem, Tree, is_identifier, is_test};

/// In the order of a reload.
const STAGES: [&str; 3] = ["preflight", "load", "registry"];

/// `error` is not among them: it sums up the errors of all stages, so that it stands above them.
const FOUNDATION: [&str; 3] = ["lineage", "process_stat", "recorder"];

/// What a room of the host may import, besides itself and the foundation; none if it may import anything.
fn allowed(room: &str) -> Option<&'static [&'static str]> {
    if room == "handle" {
        return Some(&["load", "registry"]);
    }
    // A child process that runs one plugin, or none, has no use for the rest of the host.
    if room == "shim" {
        return Some(&["load", "sweep"]);
    }
    if room == "sweep" {
        return Some(&[]);
    }
    if room == "config" {
        return Some(&[]);
    }
    if FOUNDATION.contains(&room) {
        return Some(&[]);
    }
    STAGES.iter().position(|stage| *stage == room).map(|index| &STAGES[..index])
}

pub(super) fn stages_import_only_earlier_ones(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, _, source) in tree.rust().filter(|(path, ..)| !is_test(path)) {
        let Some(inside) = path.strip_prefix("host/src/") else { continue };
        let room = inside.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        let Some(allowed) = allowed(room) else { continue };
        for (line, import) in imports(&source.code) {
            let known = |rooms: &[&str]| rooms.contains(&import);
            // What is no room at all is an item of the crate's root.
            let is_room = known(&STAGES)
                || tree.exists(&format!("host/src/{import}.rs"))
                || tree.exists(&format!("host/src/{import}"));
            if !is_room || import == room || known(&FOUNDATION) || known(allowed) {
                continue;
            }
            let may = [&FOUNDATION[..], allowed].concat().join(", ");
            problems.push(Problem {
                path: path.to_owned(),
                line,
                message: format!(
                    "`{room}` must not know `crate::{import}` (only {may}): move what it needs to an earlier room, or let reload.rs hand it over"
                ),
            });
        }
    }
    problems
}

/// The modules of the crate that some code names, with the lines.
fn imports(code: &str) -> Vec<(usize, &str)> {
    const ROOT: &str = "crate::";
    let mut found = Vec::new();
    for (at, _) in code.match_indices(ROOT) {
        if code[..at].ends_with(|c| is_identifier(c) || c == '$') {
            continue;
        }
        let start = at + ROOT.len();
        let line_of = |position: usize| code[..position].matches('\n').count() + 1;
        if !code[start..].starts_with('{') {
            found.push((line_of(start), identifier(&code[start..])));
            continue;
        }
        let mut depth = 0;
        for (offset, c) in code[start..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            let begins_item = depth == 1 && (c == '{' || c == ',');
            if begins_item {
                let rest = &code[start + offset + 1..];
                let item = rest.trim_start();
                found.push((line_of(code.len() - item.len()), identifier(item)));
            }
        }
    }
    found.retain(|(_, name)| !name.is_empty());
    found
}

fn identifier(text: &str) -> &str {
    &text[..text.find(|c| !is_identifier(c)).unwrap_or(text.len())]
}
