//! Parses a trait as an interface. Rejects a part that an interface cannot have, with an error at the part's token.

use crate::{
    docs,
    places::{Place, Places},
    types::{self, Passed},
};
use proc_macro2::TokenStream;
use std::collections::HashMap;
use syn::{
    Error, FnArg, Generics, Ident, ItemTrait, Pat, Receiver, Result, Signature, TraitItem, TraitItemFn, Type,
    TypeParamBound, ext::IdentExt, spanned::Spanned,
};

/// A parsed interface.
pub(crate) struct Contract {
    pub(crate) name: Ident,
    pub(crate) docs: String,
    pub(crate) methods: Vec<Method>,
    /// The places of the types of all parameters, results and errors.
    pub(crate) places: Places,
}

pub(crate) struct Method {
    pub(crate) ident: Ident,
    /// The method's name without `r#`.
    pub(crate) name: String,
    pub(crate) docs: String,
    pub(crate) doc_attributes: Vec<syn::Attribute>,
    pub(crate) params: Vec<Param>,
    pub(crate) returns: Place,
    pub(crate) error: Option<Place>,
}

pub(crate) struct Param {
    pub(crate) ident: Ident,
    /// The parameter's name without `r#`.
    pub(crate) name: String,
    pub(crate) written: Type,
    pub(crate) passed: Passed,
}

/// Parses a trait. Reports all errors at once.
pub(crate) fn read(item: &ItemTrait) -> Result<Contract> {
    let mut problems = Problems::default();
    problems.check(check_trait(item));
    let mut methods: Vec<Method> = Vec::new();
    let mut names = HashMap::new();
    let mut places = Places::default();
    for item in &item.items {
        match item {
            TraitItem::Fn(function) => {
                let name = function.sig.ident.unraw().to_string();
                if names.insert(name.clone(), ()).is_some() {
                    problems.check::<()>(Err(Error::new(
                        function.sig.ident.span(),
                        format!(
                            "an interface cannot have two methods named `{name}`: give this one another name, such as `{name}_with`"
                        ),
                    )));
                } else if let Some(method) = problems.check(method(function, &mut places)) {
                    methods.push(method);
                }
            }
            other => {
                problems.check::<()>(Err(not_a_method(other)));
            }
        }
    }
    if item.items.is_empty() {
        let message = "an interface without methods cannot be called: add one, such as `fn ping(&self);`";
        problems.check::<()>(Err(Error::new(item.ident.span(), message)));
    }
    problems.result()?;
    Ok(Contract { name: item.ident.clone(), docs: docs::of(&item.attrs), methods, places })
}

#[derive(Default)]
struct Problems(Option<Error>);

impl Method {
    /// The type whose functions convert the method's result into an outcome and back.
    pub(crate) fn result(&self) -> TokenStream {
        self.returns.result(self.error.as_ref())
    }
}

impl Problems {
    fn check<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                match &mut self.0 {
                    Some(all) => all.combine(error),
                    none => *none = Some(error),
                }
                None
            }
        }
    }

    fn result(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

fn check_trait(item: &ItemTrait) -> Result<()> {
    if let Some(token) = &item.unsafety {
        return Err(Error::new(token.span, "an interface cannot be unsafe: remove `unsafe`"));
    }
    not_generic(
        &item.generics,
        "an interface cannot have a lifetime: arguments are borrowed only for the length of a call; remove the lifetime, and take `&str`, `&[u8]` or owned values",
        "an interface cannot be generic: both sides must agree on one set of types; name the types",
    )?;
    no_where_clause(&item.generics)?;
    for bound in &item.supertraits {
        if let TypeParamBound::Trait(bound) = bound
            && bound.path.segments.iter().any(|segment| !segment.arguments.is_none())
        {
            return Err(Error::new_spanned(
                bound,
                "an interface cannot have a generic supertrait: callers can call only the interface's own methods; declare the needed methods here",
            ));
        }
    }
    Ok(())
}

/// Rejects generic parameters: with the message `lifetime` if one of them is a lifetime, else with `generic`.
fn not_generic(generics: &Generics, lifetime: &str, generic: &str) -> Result<()> {
    match (generics.lifetimes().next(), generics.params.is_empty()) {
        (Some(param), _) => Err(Error::new(param.lifetime.span(), lifetime)),
        (None, false) => Err(Error::new(generics.params.span(), generic)),
        (None, true) => Ok(()),
    }
}

fn no_where_clause(generics: &Generics) -> Result<()> {
    match &generics.where_clause {
        Some(clause) => Err(Error::new(
            clause.where_token.span,
            "an interface has no type parameters to bound: remove the `where` clause",
        )),
        None => Ok(()),
    }
}

fn not_a_method(item: &TraitItem) -> Error {
    match item {
        TraitItem::Const(constant) => Error::new(
            constant.const_token.span,
            "an interface cannot have constants, which differ from plugin to plugin: make it a method that returns the value",
        ),
        TraitItem::Type(ty) => Error::new(
            ty.type_token.span,
            "an interface cannot have associated types, which differ from plugin to plugin: name one type and mark it `#[replug_api::data]`",
        ),
        other => {
            Error::new_spanned(other, "an interface has only methods, such as `fn name(&self, ..) -> ..;`")
        }
    }
}

fn method(function: &TraitItemFn, places: &mut Places) -> Result<Method> {
    let signature = &function.sig;
    check_signature(signature)?;
    if let Some(attribute) = function.attrs.iter().find(|attribute| attribute.path().is_ident("cfg")) {
        return Err(Error::new_spanned(
            attribute,
            "a method cannot depend on `cfg`: host and plugin must see the same interface",
        ));
    }
    if let Some(body) = &function.default {
        return Err(Error::new(
            body.brace_token.span.join(),
            "a method of an interface cannot have a default body, which would differ between host and plugin: end it with `;` and write the body in the plugins",
        ));
    }
    let mut inputs = signature.inputs.iter();
    match inputs.next() {
        Some(FnArg::Receiver(receiver)) => check_receiver(receiver)?,
        _ => {
            return Err(Error::new(
                signature.ident.span(),
                "a method of an interface needs `&self` as its first parameter",
            ));
        }
    }
    let params = inputs.map(|input| param(input, places)).collect::<Result<Vec<_>>>()?;
    let (returns, error) = types::returned(&signature.output)?;
    Ok(Method {
        ident: signature.ident.clone(),
        name: signature.ident.unraw().to_string(),
        docs: docs::of(&function.attrs),
        doc_attributes: function.attrs.iter().filter(|a| a.path().is_ident("doc")).cloned().collect(),
        params,
        returns: places.add(&returns),
        error: error.map(|error| places.add(&error)),
    })
}

fn check_signature(signature: &Signature) -> Result<()> {
    if let Some(token) = &signature.asyncness {
        return Err(Error::new(
            token.span,
            "a method of an interface cannot be `async`, since a future cannot outlive a reload: remove `async`, and block or start a thread in the plugin",
        ));
    }
    if let Some(token) = &signature.unsafety {
        return Err(Error::new(token.span, "a method of an interface cannot be `unsafe`: remove `unsafe`"));
    }
    if let Some(token) = &signature.constness {
        return Err(Error::new(token.span, "a method of an interface cannot be `const`: remove `const`"));
    }
    if let Some(abi) = &signature.abi {
        return Err(Error::new_spanned(
            abi,
            "write a plain `fn`: the macro generates the `extern \"C\"` edge",
        ));
    }
    if let Some(variadic) = &signature.variadic {
        return Err(Error::new_spanned(
            variadic,
            "a method takes a fixed number of parameters: use `Vec<..>`",
        ));
    }
    not_generic(
        &signature.generics,
        "a method of an interface cannot have a lifetime of its own: arguments are borrowed only for the length of a call; remove the lifetime, and take `&str`, `&[u8]` or owned values",
        "a method of an interface cannot be generic: it is one function in the plugin; name the types",
    )?;
    no_where_clause(&signature.generics)
}

fn check_receiver(receiver: &Receiver) -> Result<()> {
    if let (Some((_, lifetime)), None) = (&receiver.reference, &receiver.colon_token) {
        // The plugin could keep a receiver that it borrows for longer than the call, even after the instance is
        // dropped.
        if let Some(lifetime) = lifetime {
            return Err(Error::new(
                lifetime.span(),
                "the host borrows the plugin for the length of the call, and drops it at the next reload: remove the lifetime and write `&self`",
            ));
        }
        return match &receiver.mutability {
            Some(token) => Err(Error::new(
                token.span,
                "calls arrive on many threads at once: write `&self`, and keep mutable data in a `Mutex` or an atomic",
            )),
            None => Ok(()),
        };
    }
    Err(Error::new_spanned(receiver, "the host keeps using the plugin after the call: write `&self`"))
}

fn param(input: &FnArg, places: &mut Places) -> Result<Param> {
    let FnArg::Typed(typed) = input else {
        return Err(Error::new_spanned(input, "`self` must be the first parameter"));
    };
    let ident = match &*typed.pat {
        Pat::Ident(pat) if pat.by_ref.is_none() && pat.mutability.is_none() && pat.subpat.is_none() => {
            pat.ident.clone()
        }
        pat => {
            return Err(Error::new_spanned(
                pat,
                "a parameter of an interface needs a plain name: callers pass arguments by name",
            ));
        }
    };
    Ok(Param {
        name: ident.unraw().to_string(),
        ident,
        written: (*typed.ty).clone(),
        passed: types::parameter(&typed.ty, places)?,
    })
}
