//! Tests of each rule with files that follow it and files that break it, and of all rules with this workspace.

use super::*;

fn tree(files: &[(&str, &str)]) -> Tree {
    let mut tree = Tree::default();
    for (path, text) in files {
        tree.add(path, (*text).to_owned());
    }
    tree
}

/// The problems that a rule finds in a single file: the line and the message of each.
fn judge(rule: Rule, path: &str, text: &str) -> Vec<(usize, String)> {
    rule(&tree(&[(path, text)])).into_iter().map(|problem| (problem.line, problem.message)).collect()
}

fn lines(rule: Rule, path: &str, text: &str) -> Vec<usize> {
    judge(rule, path, text).into_iter().map(|(line, _)| line).collect()
}

#[test]
fn this_workspace_is_tidy() {
    run(crate::root()).unwrap();
}

#[test]
fn a_file_without_a_module_comment_is_reported() {
    let rule = layout::files_say_what_they_are_for;
    assert!(lines(rule, "host/src/a.rs", "//! A room.\n").is_empty());
    assert_eq!(lines(rule, "host/src/a.rs", "use std::fs;\n//! Late."), [1]);
    assert_eq!(lines(rule, "tests/tests/a.rs", ""), [1]);
    assert!(lines(rule, "tests/fixtures/bad/src/lib.rs", "fn f() {}").is_empty());
    assert!(lines(rule, "plugin-api/tests/ui/bad.rs", "fn f() {}").is_empty());
}

#[test]
fn a_file_longer_than_400_lines_is_reported_unless_it_is_a_test() {
    let rule = layout::files_are_short;
    let long = "x\n".repeat(401);
    assert!(lines(rule, "host/src/a.rs", &"x\n".repeat(400)).is_empty());
    assert_eq!(judge(rule, "host/src/a.rs", &long)[0].1.split(' ').next(), Some("401"));
    for exempt in ["host/src/a/tests.rs", "tests/tests/a.rs", "benches/benches/a.rs"] {
        assert!(lines(rule, exempt, &long).is_empty(), "{exempt}");
    }
}

#[test]
fn an_error_with_a_derived_debug_is_reported() {
    let rule = language::errors_are_shown_in_words;
    let derived = "//! Errors.\n#[derive(Clone, Debug, thiserror::Error)]\npub enum E {}";
    assert_eq!(lines(rule, "host/src/error.rs", derived), [2]);
    assert_eq!(lines(rule, "plugin-api/src/call.rs", derived), [2]);
    let in_words = "//! Errors.\n#[derive(Clone, thiserror::Error)]\n#[derive(Debug)]\npub enum E {}";
    assert!(lines(rule, "host/src/error.rs", in_words).is_empty());
    for exempt in ["host/src/cli/error.rs", "host/cli/src/error.rs", "tests/src/lib.rs"] {
        assert!(lines(rule, exempt, derived).is_empty(), "{exempt}");
    }
}

#[test]
fn a_fixture_that_no_test_mentions_is_reported() {
    let rule = layout::fixtures_are_used;
    let fixture = ("tests/fixtures/bad-init/Cargo.toml", "");
    let with = |path, text| rule(&tree(&[fixture, (path, text)])).len();
    assert_eq!(with("tests/tests/life.rs", r#"build("bad-init")"#), 0);
    assert_eq!(with("tests/tests/life.rs", r#"build("bad-init-2"), build("very-bad-init")"#), 1);
    assert_eq!(with("tests/fixtures/other/src/lib.rs", "// bad-init"), 2);
}

#[test]
fn a_link_to_a_missing_file_is_reported() {
    let rule = layout::links_lead_somewhere;
    let judge = |text: &str| {
        let files = [("docs/A.md", text), ("README.md", ""), ("host/src/lib.rs", ""), ("docs/B.md", "")];
        rule(&tree(&files)).into_iter().map(|problem| problem.message).collect::<Vec<_>>()
    };
    let good =
        "[a](B.md#part) [b](../README.md) [c](../host/src) [d](https://x.org/y) [e](#here) `host/src/lib.rs`";
    assert_eq!(judge(good), [""; 0]);
    let bad = judge("[a](C.md) `host/src/gone.rs` `host/src/<stage>.rs` [b](../../x)");
    assert_eq!(bad.len(), 3, "{bad:?}");
    assert!(bad[0].starts_with("`docs/C.md` does not exist"), "{bad:?}");
    assert!(bad[2].starts_with("`host/src/gone.rs`"), "{bad:?}");
}

#[test]
fn unsafe_code_outside_its_places_is_reported_and_comments_are_not() {
    let rule = language::unsafe_stays_in_its_places;
    let code = "//! A\n// unsafe\nconst T: &str = \"unsafe\";\nunsafe fn f() {}";
    assert_eq!(lines(rule, "host/src/watch/mod.rs", code), [4]);
    assert!(lines(rule, "host/runtime/src/registry/slot.rs", code).is_empty());
    assert!(lines(rule, "host/runtime/src/load/in_process/open.rs", code).is_empty());
    assert_eq!(lines(rule, "host/runtime/src/load/process/open.rs", code), [4]);
    assert!(lines(rule, "host/src/watch/mod.rs", "#![deny(unsafe_op_in_unsafe_fn)]").is_empty());
    assert_eq!(lines(rule, "host/examples/a.rs", code), [4]);
    assert!(lines(rule, "host/examples/a.rs", &format!("// SAFETY: 1.\n{code}")).is_empty());
}

#[test]
fn unsafe_code_that_the_safety_page_does_not_list_is_reported() {
    let rule = language::unsafe_is_listed;
    let code = ("host/runtime/src/registry/slot.rs", "unsafe {}");
    assert_eq!(rule(&tree(&[code])).len(), 1);
    assert_eq!(rule(&tree(&[code, ("docs/SAFETY.md", "`host/runtime/src/registry/other.rs`")])).len(), 1);
    assert!(rule(&tree(&[code, ("docs/SAFETY.md", "`host/runtime/src/registry/slot.rs`: why")])).is_empty());
    assert!(rule(&tree(&[("host/runtime/src/registry/mod.rs", "fn f() {}")])).is_empty());
}

#[test]
fn unfinished_work_is_reported() {
    let rule = language::nothing_is_left_undone;
    let code = "#[ignore]\nfn f() { todo!() }\n// FIXME: later\n/* TODO */\nfn g() { unimplemented!() }";
    let mut found = lines(rule, "tests/tests/a.rs", code);
    found.sort_unstable();
    assert_eq!(found, [1, 2, 3, 4, 5]);
    assert!(lines(rule, "a.rs", "const T: &str = \"TODO\"; // todo, in prose\n#[derive(X)]").is_empty());
    assert_eq!(lines(rule, "docs/A.md", "fine\nTODO: write"), [2]);
}

#[test]
fn a_test_that_sleeps_is_reported() {
    let rule = language::tests_do_not_sleep;
    let code =
        "fn f() { std::thread::sleep(D) }\n#[cfg(test)]\nmod tests {\n    fn t() { sleep(D).await }\n}";
    assert_eq!(lines(rule, "host/src/a.rs", code), [4]);
    assert_eq!(lines(rule, "tests/tests/a.rs", code), [1, 4]);
    assert!(
        lines(rule, "tests/tests/a.rs", "fn never_sleep() {}\nno_sleep(D);\nf(\"sleep(1)\");").is_empty()
    );
    assert!(lines(rule, "tests/fixtures/slow/src/lib.rs", code).is_empty());
    assert!(lines(rule, "benches/benches/a.rs", "sleep(D);").is_empty());
    assert!(
        lines(rule, "tests/src/bin/kill/moments.rs", "sleep(D);").is_empty(),
        "this file may sleep: it waits for random moments"
    );
    assert_eq!(lines(rule, "tests/src/bin/kill/a.rs", "sleep(D);").len(), 1);
    assert_eq!(lines(rule, "tests/src/a.rs", "sleep(D);").len(), 1);
    assert_eq!(lines(rule, "tests/src/a.rs", "thread::park_timeout(D);").len(), 1);
    assert!(lines(rule, "tests/src/wait.rs", "sleep(D);").is_empty(), "the helper may sleep");
}

#[test]
fn a_test_name_of_71_characters_is_rejected_and_one_of_70_is_not() {
    let rule = language::test_names_are_short;
    let (allowed, long) = ("a".repeat(70), "a".repeat(71));
    for attributes in ["#[test]\n", "#[test] ", "#[tokio::test(flavor = \"x\")]\n#[cfg(unix)]\nasync "] {
        let test = |name: &str| format!("//! A.\n{attributes}fn {name}() {{}}\n");
        assert!(lines(rule, "host/src/a.rs", &test(&allowed)).is_empty(), "{attributes}");
        let at = 2 + attributes.matches('\n').count();
        assert_eq!(lines(rule, "host/src/a.rs", &test(&long)), [at], "{attributes}");
        assert_eq!(lines(rule, "tests/tests/a.rs", &test(&long)), [at], "{attributes}");
    }
    let helper = format!(
        "#[test]\nfn a() {{}}\nfn {long}() {{}}\n// #[test]\nfn {long}() {{}}\n#[cfg(test)]\nfn {long}() {{}}"
    );
    assert!(lines(rule, "host/src/a.rs", &helper).is_empty());
    assert_eq!(lines(rule, "tests/tests/a.rs", &format!("//! A.\nfn {long}(mode: Mode) {{}}")), [2]);
}

#[test]
fn split_separates_code_comments_and_quotes() {
    let source = "a /* b /* c */ d */ e \"f \\\" g\" h r#\"i \" j\"# k 'l' '\\'' '\"' m<'n> // o \"\np b\"q\" br\"r\" s";
    let split = Split::of(source);
    let words = |text: &str| {
        text.split_whitespace().filter(|word| word.chars().all(char::is_alphanumeric)).collect::<String>()
    };
    assert_eq!(words(&split.comments), "bcdo");
    for inside in ["f", "g", "i", "j", "l", "q", "o"] {
        assert!(!has_word(&split.code, inside), "{inside} in {}", split.code);
    }
    for outside in ["a", "e", "h", "k", "m", "n", "p", "s"] {
        assert!(has_word(&split.code, outside), "{outside} not in {}", split.code);
    }
    assert_eq!(split.code.lines().count(), source.lines().count());
}

#[test]
fn a_page_that_could_inject_markup_or_run_inline_code_is_reported() {
    let rule = language::pages_make_no_markup;
    let script = "host/control/src/http/page/a.js";
    assert!(lines(rule, script, "node.textContent = name;").is_empty());
    assert_eq!(lines(rule, script, "let a;\nnode.innerHTML = name;\neval(name);"), [2, 3]);
    let page = "host/control/src/http/page/index.html";
    assert!(lines(rule, page, "<p id=\"a\">go on</p><script src=\"/assets/a.js\"></script>").is_empty());
    assert_eq!(
        lines(rule, page, "<p onclick=\"x()\">\n<p style=\"\">\n<img src=\"https://a.example\">"),
        [1, 2, 3]
    );
    assert!(lines(rule, "host/src/b.js", "eval(x)").is_empty());
}

/// The cycles that the rule finds in the crate `a`, each as a list of its imports, such as
/// `one imports two at one.rs:2`.
fn cycles(files: &[(&str, &str)]) -> Vec<String> {
    let mut tree =
        tree(&[("a/Cargo.toml", "[package]\nname = \"crate-a\"\n"), ("a/src/lib.rs", "mod one;\nmod two;")]);
    for (path, text) in files {
        tree.add(&format!("a/src/{path}"), (*text).to_owned());
    }
    let problems = cycles::no_cycle_spans_top_level_modules(&tree);
    let edges = |problem: Problem| {
        let (_, rest) = problem.message.split_once("the crate `crate-a` import each other: ").unwrap();
        let (edges, _) = rest.split_once(": remove").unwrap();
        edges.replace(['`', ','], "").replace("a/src/", "")
    };
    problems.into_iter().map(edges).collect()
}

#[test]
fn a_cycle_of_two_modules_is_reported_with_the_place_of_each_import() {
    let (one, two) =
        (("one.rs", "//! One.\nuse crate::two::Two;"), ("two.rs", "fn f() {\n\n    crate::one::g()\n}"));
    assert_eq!(cycles(&[one, two]), ["one imports two at one.rs:2 two imports one at two.rs:3"]);
    assert_eq!(
        cycles(&[one, ("two.rs", "use std::one; // crate::one\nconst T: &str = \"crate::one\";")]),
        [""; 0]
    );
    let tree = tree(&[("a/src/main.rs", ""), ("a/src/one.rs", one.1), ("a/src/two.rs", two.1)]);
    let [problem] = &cycles::no_cycle_spans_top_level_modules(&tree)[..] else { panic!("one problem") };
    assert_eq!((problem.path.as_str(), problem.line), ("a/src/one.rs", 2));
}

#[test]
fn a_cycle_of_three_modules_is_reported_once() {
    let files = [
        ("one.rs", "use crate::two;\nuse crate::four;"),
        ("two/mod.rs", "mod deep;"),
        ("two/deep.rs", "use crate::{three as other, four};"),
        ("three.rs", "use crate::one;"),
        ("four.rs", "use std::fs;"),
    ];
    let cycle =
        "one imports two at one.rs:1 two imports three at two/deep.rs:1 three imports one at three.rs:1";
    assert_eq!(cycles(&files), [cycle]);
    assert_eq!(
        cycles(&files[..4]),
        [cycle],
        "without `four.rs`, `four` is no module, and an import of it is ignored"
    );
    assert_eq!(cycles(&[&files[..3], &files[4..]].concat()), [""; 0]);
}

#[test]
fn an_import_through_super_counts_if_it_leaves_the_module() {
    let cycle = |path: &str, text: &str| cycles(&[("one.rs", "use super::two;"), (path, text)]).len();
    assert_eq!(cycle("two.rs", "use super::one;"), 1);
    assert_eq!(cycle("two/deep.rs", "use super::super::one::One;"), 1);
    assert_eq!(cycle("two/deep/mod.rs", "use super::{super::{one}, deeper};"), 1);
    assert_eq!(cycle("two/deep/deeper.rs", "fn f() { self::super::super::super::one::g() }"), 1);
    assert_eq!(cycle("two/deep.rs", "use super::one;"), 0, "this is `two::one`");
    assert_eq!(cycle("two.rs", "mod inner {\n    use super::one;\n}"), 0, "this is `two::one`");
    assert_eq!(cycle("two.rs", "mod inner {\n    fn f() { super::super::one::g() }\n}"), 1);
    assert_eq!(cycle("two.rs", "mod inner {}\nuse super::one;"), 1);
}

#[test]
fn each_path_of_a_group_of_imports_counts() {
    let imports = |text| cycles(&[("one.rs", text), ("two.rs", "use crate::one::{self, A};")]);
    assert_eq!(imports("use crate::{three, two::{self, B}};").len(), 1);
    assert_eq!(
        imports("use {std::fs, crate::{\n    three::{A, B},\n    two,\n}};"),
        ["one imports two at one.rs:3 two imports one at two.rs:1"]
    );
    assert_eq!(imports("use crate::{three::{two}, four::two::{A, B}};"), [""; 0]);
    assert_eq!(imports("pub(in crate::two) fn f() {}\nuse a::crate_two;"), imports("use crate::two;"));
}

#[test]
fn an_import_of_a_name_that_the_root_re_exports_counts() {
    let imports = |root, path| {
        let one = format!("use crate::{path};");
        cycles(&[("lib.rs", root), ("one.rs", &one), ("two.rs", "use crate::one;\npub struct Two;")]).len()
    };
    assert_eq!(imports("pub use two::Two;", "Two"), 1);
    assert_eq!(imports("pub use crate::two::{Other as Alias, Two};", "{fs, Alias}"), 1);
    assert_eq!(imports("pub use self::two::*;", "Two"), 1);
    assert_eq!(imports("pub use self::two::*;\npub struct Own;", "Own"), 0);
    assert_eq!(imports("use two as three;\npub use three::Two;", "Two"), 1);
    assert_eq!(imports("pub use other::two::Two;\npub use other;", "Two"), 0);
    assert_eq!(imports("pub use two::Two;", "Other"), 0);
    assert_eq!(imports("pub mod prelude {\n    pub use crate::two::Two;\n}", "prelude::Two"), 1);
}

#[test]
fn an_import_that_only_tests_or_docs_compile_does_not_count() {
    let one = ("one.rs", "use crate::two;");
    let cycle = |path: &str, text: &str| cycles(&[("one.rs", "use crate::two;"), (path, text)]).len();
    for text in [
        "#[cfg(test)]\nuse crate::{one};",
        "#[cfg(doc)]\n#[allow(unused)]\nuse crate::one;",
        "#[cfg(test)]\nmod tests {\n    use crate::one;\n    fn f() { {} }\n}",
        "#[cfg(all(test, unix))]\npub(crate) fn f<A, B>(a: [u8; 2]) -> A { crate::one::g() }",
        "struct S {\n    #[cfg(test)]\n    seen: crate::one::T<[u8; 2]>,\n}",
    ] {
        assert_eq!(cycle("two.rs", text), 0, "{text}");
        assert_eq!(cycle("two.rs", &format!("{text}\nuse crate::one;")), 1, "{text}");
    }
    assert_eq!(cycle("two.rs", "#[cfg(not(test))]\nuse crate::one;"), 1);
    assert_eq!(cycle("two/tests.rs", "use crate::one;"), 0);
    assert_eq!(cycle("two/tests/deep.rs", "use crate::one;"), 0);
    let simulated =
        [one, ("two/mod.rs", "#[cfg(test)]\nmod simulated;"), ("two/simulated/a.rs", "use crate::one;")];
    assert_eq!(cycles(&simulated), [""; 0]);
}

#[test]
fn modules_of_different_programs_form_no_cycle() {
    let cycle = "use crate::two;";
    assert_eq!(cycles(&[("one.rs", cycle), ("bin/main.rs", "use crate::one;")]), [""; 0]);
    let programs = [
        ("bin/p/main.rs", ""),
        ("one.rs", cycle),
        ("bin/p/two.rs", "use crate::one;"),
        ("bin/q.rs", "use crate::one;"),
    ];
    assert_eq!(cycles(&programs), [""; 0]);
    let program = tree(&[
        ("a/Cargo.toml", "name = \"crate-a\""),
        ("a/src/bin/p/main.rs", ""),
        ("a/src/bin/p/one.rs", cycle),
        ("a/src/bin/p/two.rs", "use crate::one;"),
    ]);
    let problems = cycles::no_cycle_spans_top_level_modules(&program);
    assert!(problems[0].message.contains("the crate `crate-a (bin p)`"), "{problems:?}");
}
