//! `export!(Type: Interface, OtherInterface);`: the one symbol that makes a crate a plugin.

use crate::quoted::quoted;
use proc_macro2::TokenStream;
use quote::quote_spanned;
use syn::{
    Error, Path, Result, Token, Type,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
    spanned::Spanned,
};

struct Export {
    plugin: Type,
    interfaces: Vec<Path>,
}

impl Parse for Export {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Err(
                input.error("write the plugin's type and its interfaces: `export!(MyPlugin: Interface);`")
            );
        }
        let plugin = input.parse()?;
        if input.is_empty() {
            return Err(Error::new_spanned(
                plugin,
                "name the interfaces that the plugin implements: `export!(MyPlugin: Interface);`",
            ));
        }
        input.parse::<Token![:]>()?;
        let interfaces = Punctuated::<Path, Token![,]>::parse_terminated(input)?;
        if interfaces.is_empty() {
            return Err(input.error("name an interface after the `:`"));
        }
        Ok(Self { plugin, interfaces: interfaces.into_iter().collect() })
    }
}

pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let Export { plugin, interfaces } = syn::parse2(input)?;
    let exports = interfaces
        .iter()
        .map(|path| quote_spanned!(path.span()=> <dyn #path as ::replug_api::Interface>::EXPORT));
    let it = quoted!(it);
    let bound = interfaces
        .iter()
        .map(|path| quote_spanned!(path.span()=> <dyn #path as ::replug_api::Interface>::bind(#it)));
    let created = quote_spanned!(plugin.span()=> ::replug_api::hooks::Created::new::<#plugin>);
    Ok(quoted! {
        const _: () = {
            fn bind(#it: &'static #plugin) -> ::std::vec::Vec<::replug_api::abi::BoundInterface> {
                ::std::vec![#(#bound),*]
            }

            fn create(
                context: &::replug_api::Context,
                config: &str,
            ) -> ::core::result::Result<::replug_api::hooks::Created, ::replug_api::PluginError> {
                // SAFETY: obligation 1 of `Created::new`: `bind` passes its reference only to `Interface::bind`, which
                // by obligation 4 of `Interface` keeps it in the object.
                unsafe { #created(context, config, bind) }
            }

            // SAFETY: no other crate defines this name, and a library contains one plugin.
            #[unsafe(export_name = "__replug_plugin_hooks")]
            static HOOKS: ::replug_api::hooks::Hooks = ::replug_api::hooks::Hooks {
                package: ::core::env!("CARGO_PKG_NAME"),
                version: ::core::env!("CARGO_PKG_VERSION"),
                panic_unwinds: ::core::cfg!(panic = "unwind"),
                stateful: ::replug_api::hooks::stateful::<#plugin>,
                state_version: <#plugin as ::replug_api::Plugin>::STATE_VERSION,
                interfaces: &[#(#exports),*],
                create,
            };
        };
    })
}
