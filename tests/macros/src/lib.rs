//! The attribute `#[test]` of the end-to-end tests: each test runs in a process of its own.

use proc_macro::TokenStream;
use quote::quote;
use syn::{ItemFn, parse_macro_input, parse_quote};

/// Like `#[test]` of the standard library, but the body runs in a separate process: see `replug_tests::own_process`.
#[proc_macro_attribute]
pub fn test(_: TokenStream, function: TokenStream) -> TokenStream {
    let mut function = parse_macro_input!(function as ItemFn);
    let (name, body) = (function.sig.ident.to_string(), &function.block);
    function.block = parse_quote!({
        ::replug_tests::own_process::run(concat!(module_path!(), "::", #name), || #body)
    });
    quote!(#[::core::prelude::v1::test] #function).into()
}
