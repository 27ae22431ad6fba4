//! Tests the messages about an interface that differs between host and plugin.

use replug_api::{Interface, describe};

/// One module for each version of the interface `Shop`.
macro_rules! versions {
    ($($name:ident { $($item:item)* })*) => {$(
        mod $name {
            $($item)*
            pub(super) fn described() -> replug_api::describe::Interface {
                replug_api::describe::Interface::of(<dyn Shop as replug_api::Interface>::EXPORT).expect("described")
            }
        }
    )*};
}

versions! {
    base {
        #[replug_api::interface]
        trait Shop {
            fn add(&self, a: f64, b: f64) -> f64;
            fn find(&self, name: &str) -> Result<Vec<Item>, String>;
        }
        #[replug_api::data]
        struct Item { name: String, kind: Kind }
        #[replug_api::data]
        enum Kind { A, B(u8) }
    }
    documented_and_longer {
        /// Only the comments and the additional methods at the end differ.
        #[replug_api::interface]
        trait Shop {
            /// Adds.
            fn add(&self, a: f64, b: f64) -> f64;
            fn find(&self, name: &str) -> Result<Vec<Item>, String>;
            fn more(&self);
        }
        /// A thing.
        #[replug_api::data]
        struct Item { name: String, kind: Kind }
        #[replug_api::data]
        enum Kind { A, B(u8) }
    }
    parameter_type {
        #[replug_api::interface]
        trait Shop { fn add(&self, a: f64, b: i32) -> f64; }
    }
    parameter_count {
        #[replug_api::interface]
        trait Shop { fn add(&self, a: f64) -> f64; }
    }
    parameter_name {
        #[replug_api::interface]
        trait Shop { fn add(&self, a: f64, c: f64) -> f64; }
    }
    result_type {
        #[replug_api::interface]
        trait Shop { fn add(&self, a: f64, b: f64) -> f32; }
    }
    fallible {
        #[replug_api::interface]
        trait Shop { fn add(&self, a: f64, b: f64) -> Result<f64, String>; }
    }
    reordered {
        #[replug_api::interface]
        trait Shop {
            fn subtract(&self, a: f64, b: f64) -> f64;
            fn add(&self, a: f64, b: f64) -> f64;
        }
    }
    field_type {
        #[replug_api::interface]
        trait Shop {
            fn add(&self, a: f64, b: f64) -> f64;
            fn find(&self, name: &str) -> Result<Vec<Item>, String>;
        }
        #[replug_api::data]
        struct Item { name: Option<String>, kind: Kind }
        #[replug_api::data]
        enum Kind { A, B(u8) }
    }
    field_missing {
        #[replug_api::interface]
        trait Shop {
            fn add(&self, a: f64, b: f64) -> f64;
            fn find(&self, name: &str) -> Result<Vec<Item>, String>;
        }
        #[replug_api::data]
        struct Item { name: String }
    }
    variant_more {
        #[replug_api::interface]
        trait Shop {
            fn add(&self, a: f64, b: f64) -> f64;
            fn find(&self, name: &str) -> Result<Vec<Item>, String>;
        }
        #[replug_api::data]
        struct Item { name: String, kind: Kind }
        #[replug_api::data]
        enum Kind { A, B(u8), C }
    }
    variant_shape {
        #[replug_api::interface]
        trait Shop {
            fn add(&self, a: f64, b: f64) -> f64;
            fn find(&self, name: &str) -> Result<Vec<Item>, String>;
        }
        #[replug_api::data]
        struct Item { name: String, kind: Kind }
        #[replug_api::data]
        enum Kind { A, B(u16) }
    }
}

fn difference(plugin: &describe::Interface) -> Option<String> {
    describe::difference(&base::described(), plugin)
}

#[test]
fn comments_and_additional_methods_at_the_end_are_no_difference() {
    assert_eq!(difference(&base::described()), None);
    assert_eq!(difference(&documented_and_longer::described()), None);
    assert_eq!(describe::difference(&documented_and_longer::described(), &base::described()), None);
}

#[test]
fn a_difference_names_the_method_or_type_and_both_sides() {
    let cases = [
        (parameter_type::described(), "`add`: parameter `b` is f64 in the host and i32 in the plugin"),
        (parameter_count::described(), "`add` takes (a, b) in the host and (a) in the plugin"),
        (parameter_name::described(), "`add`: parameter `b` of the host is `c` in the plugin"),
        (result_type::described(), "`add`: the result is f64 in the host and f32 in the plugin"),
        (fallible::described(), "`add`: cannot fail in the host and returns a Result in the plugin"),
        (
            reordered::described(),
            "where the host has the method `add`, the plugin has `subtract` (methods may only be added at the end)",
        ),
        (
            field_type::described(),
            "type `Item`: field `name` is String in the host and Option<String> in the plugin",
        ),
        (field_missing::described(), "type `Item`: field `kind` is missing in the plugin"),
        (variant_more::described(), "type `Kind`: variant `C` is not known to the host"),
        (
            variant_shape::described(),
            "type `Kind`: variant `B`: field 0 is u8 in the host and u16 in the plugin",
        ),
    ];
    for (plugin, expected) in cases {
        assert_eq!(difference(&plugin).as_deref(), Some(expected));
    }
}

#[test]
fn the_fingerprint_depends_on_the_contract_and_not_on_comments() {
    let base = base::described();
    let mut documented = documented_and_longer::described();
    assert_ne!(base.fingerprint(), documented.fingerprint());
    documented.methods.pop();
    assert_eq!(base.fingerprint(), documented.fingerprint());
    assert_ne!(base.fingerprint(), field_type::described().fingerprint());
}

#[test]
fn the_layouts_differ_if_a_recursive_type_differs() {
    use abi_stable::abi_stability::abi_checking::check_layout_compatibility;
    use layouts::{Apart, Same};
    let layout = |export: &replug_api::abi::InterfaceExport| export.methods[0].layout;
    let same = layout(<dyn Same as Interface>::EXPORT);
    assert!(check_layout_compatibility(same, layout(<dyn Same as Interface>::EXPORT)).is_ok());
    assert!(check_layout_compatibility(same, layout(<dyn Apart as Interface>::EXPORT)).is_err());
}

/// Two interfaces whose methods differ deep inside a recursive type.
mod layouts {
    #[replug_api::interface]
    pub(super) trait Same {
        fn take(&self, it: A);
    }

    #[replug_api::interface]
    pub(super) trait Apart {
        fn take(&self, it: B);
    }

    #[replug_api::data]
    pub(super) struct A {
        next: Option<Box<A>>,
        value: (u8, f32),
    }

    #[replug_api::data]
    pub(super) struct B {
        next: Option<Box<B>>,
        value: (u8, u32),
    }
}

/// Types that a signature could contain from the beginning.
mod known {
    #[replug_api::interface]
    pub(super) trait Known {
        fn all(
            &self,
            a: u8,
            text: &str,
            list: Vec<Option<std::time::Duration>>,
            map: std::collections::HashMap<String, [bool; 2]>,
        ) -> Result<(char, Item), String>;
    }

    #[replug_api::data]
    pub(super) struct Item {
        size: i64,
    }
}

/// A host reads and compares the descriptions that libraries contain which were built earlier.
#[test]
fn the_description_of_known_types_stays_the_same() {
    let known = (<dyn known::Known as Interface>::EXPORT.describe)();
    let expected = concat!(
        r#"{"name":"Known","methods":[{"name":"all","params":[{"name":"a","type":{"number":"u8"}},"#,
        r#"{"name":"text","type":"string","borrowed":true},{"name":"list","type":{"list":{"option":"duration"}}},"#,
        r#"{"name":"map","type":{"map":["string",{"array":["bool",2]}]}}],"returns":{"tuple":["char",{"named":"Item"}]},"#,
        r#""error":"string"}],"types":{"Item":{"shape":{"struct":[{"name":"size","type":{"number":"i64"}}]}}}}"#,
    );
    assert_eq!(known, expected);
}
