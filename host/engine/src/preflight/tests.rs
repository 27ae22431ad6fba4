//! Tests each reason for which an artifact is rejected, and the message of the rejection.

use super::*;
use crate::{
    artifact::{inspect::Needed, store::Companions},
    id::Digest,
};

fn artifact() -> Artifact {
    Artifact {
        digest: Digest([7; 32]),
        path: "/store/0707.so".into(),
        bytes: 1,
        copy_of: "/target/libit.so".into(),
        companions: Companions { file: Digest([7; 32]), libraries: Vec::new(), std: None },
    }
}

fn facts() -> Facts {
    Facts {
        kind: "64-bit ELF shared object",
        machine: "x86-64".to_owned(),
        soname: None,
        runpath: Vec::new(),
        libraries: Vec::new(),
        std_path: None,
        mixes_allocators: false,
        static_tls_bytes: 0,
        needed: vec![Needed { name: "libc.so.6".to_owned(), lookup: Lookup::Found("/lib/libc.so.6".into()) }],
        std: StdLinkage::Shared { library: "libstd-1.so".to_owned() },
        root: RootSymbol::Exported,
        nodelete: false,
        tls_destructors: false,
        build_id: None,
        debug_info: false,
        file_bytes: 1,
        mapped_bytes: 640 << 10,
        private_bytes: 64 << 10,
        loaded_file_bytes: 200 << 10,
    }
}

fn refusal(facts: &Facts) -> String {
    check(&artifact(), facts).unwrap_err().to_string()
}

fn over_budget(facts: &Facts, budget: &Budget) -> String {
    check_budget(&artifact(), facts, budget).unwrap_err().to_string()
}

#[test]
fn a_loadable_plugin_passes() {
    check(&artifact(), &facts()).unwrap();
    check_budget(&artifact(), &facts(), &Budget::default()).unwrap();
}

#[test]
fn the_error_for_a_missing_root_module_or_export_names_the_fix() {
    let absent = refusal(&Facts { root: RootSymbol::Absent, ..facts() });
    assert!(absent.contains("/target/libit.so is not a replug plugin"), "{absent}");
    assert!(absent.contains("replug_api::export!"), "{absent}");
    let nothing = refusal(&Facts { root: RootSymbol::NothingExported, ..facts() });
    assert!(nothing.contains("exports no plugin") && nothing.contains("replug_api::export!"), "{nothing}");
}

#[test]
fn the_error_for_a_missing_library_lists_the_searched_folders() {
    let lookup = Lookup::Missing(vec!["/opt/lib".into(), "/usr/lib".into()]);
    let needed = vec![Needed { name: "libssl.so.9".to_owned(), lookup }];
    let error = refusal(&Facts { needed, ..facts() });
    assert!(error.contains("needs `libssl.so.9`"), "{error}");
    assert!(error.contains("searched /opt/lib, /usr/lib"), "{error}");
}

#[test]
fn a_static_std_is_rejected_when_thread_local_keys_run_short() {
    let own = Facts { std: StdLinkage::Static, ..facts() };
    let last = Budget { tls_keys_used: 1024 - 64 - 2, ..Budget::default() };
    check_budget(&artifact(), &own, &last).unwrap();
    let full = Budget { tls_keys_used: last.tls_keys_used + 1, ..last };
    let error = over_budget(&own, &full);
    for words in ["959 of 1024 thread-local keys", "never released", "shared libstd", "restart the host"] {
        assert!(error.contains(words), "{error}");
    }
    check_budget(&artifact(), &facts(), &full).unwrap();
}

#[test]
fn a_plugin_past_the_memory_limit_is_rejected_with_help() {
    let facts = Facts { private_bytes: 2 << 20, ..facts() };
    let at = Budget { bytes_retained: (1 << 30) - (2 << 20), ..Budget::default() };
    check_budget(&artifact(), &facts, &at).unwrap();
    let error = over_budget(&facts, &Budget { bytes_retained: at.bytes_retained + 1, ..at });
    for words in ["keep 1022.0 MiB", "it takes 2.0 MiB", "1024.0 MiB is the limit", "restart the host"] {
        assert!(error.contains(words), "{error}");
    }
    over_budget(&Facts { private_bytes: u64::MAX, ..facts }, &at);
}

#[test]
fn the_error_names_the_library_whose_dependency_is_missing() {
    let lookup = Lookup::Missing(vec!["/opt/lib".into()]);
    let missing = vec![Needed { name: "libdeep.so".to_owned(), lookup }];
    let library = OwnLibrary { name: "libhelper.so".into(), path: "/store/libhelper.so".into(), missing };
    let refused = refusal(&Facts { libraries: vec![library], ..facts() });
    assert!(
        refused.contains("/store/libhelper.so needs `libdeep.so`") && refused.contains("/opt/lib"),
        "{refused}"
    );
}

#[test]
fn two_allocators_in_one_plugin_are_rejected() {
    let refused = refusal(&Facts { mixes_allocators: true, ..facts() });
    assert!(refused.contains("mixes two allocators") && refused.contains("`-C prefer-dynamic`"), "{refused}");
}

#[test]
fn static_tls_is_limited_except_for_the_first_library_that_uses_it() {
    let takes = |static_tls_bytes| Facts { static_tls_bytes, ..facts() };
    let used = |static_tls_used| Budget { static_tls_used, ..Budget::default() };
    check_budget(&artifact(), &takes(4096), &used(0)).unwrap();
    check_budget(&artifact(), &takes(256), &used(256)).unwrap();
    check_budget(&artifact(), &takes(0), &used(4096)).unwrap();
    let refused = over_budget(&takes(257), &used(256));
    assert!(refused.contains("257 bytes") && refused.contains("keep 256, and 512 is the limit"), "{refused}");
    assert!(refused.contains("optional_static_tls=4096"), "{refused}");
}
