//! The types that a signature or a `#[data]` type may have, and the replacements that errors suggest for others.

use crate::places::{Place, Places};
use syn::{
    Error, Path, Result, ReturnType, Type, TypeReference,
    spanned::Spanned,
    visit::{self, Visit},
};

/// How a parameter is passed.
pub(crate) enum Passed {
    /// `&str`
    Text,
    /// `&[u8]`
    Bytes,
    /// By value.
    Owned(Box<Place>),
}

/// Reads a parameter's type.
pub(crate) fn parameter(ty: &Type, places: &mut Places) -> Result<Passed> {
    match bare(ty) {
        Type::Reference(reference) => borrowed(reference),
        owned => {
            check_owned(owned)?;
            Ok(Passed::Owned(Box::new(places.add(owned))))
        }
    }
}

/// Whether JSON contains a value of the type as text, judging by the type's name: `String`, `Arc<str>`, `Box<str>` or
/// `PathBuf`.
pub(crate) fn is_string(ty: &Type) -> bool {
    let Type::Path(path) = bare(ty) else { return false };
    let Some(last) = path.path.segments.last() else { return false };
    match last.ident.to_string().as_str() {
        "String" | "PathBuf" => true,
        "Arc" | "Box" => {
            matches!(types_of(&path.path).as_slice(), [Type::Path(of)] if of.path.is_ident("str"))
        }
        _ => false,
    }
}

/// Whether a type consists of names of the standard library that are known to this macro. These are names that an author
/// hardly gives to a type of their own; so `Duration` is not among them.
pub(crate) fn has_known_names(ty: &Type) -> bool {
    const KNOWN: [&str; 24] = [
        "BTreeMap", "BTreeSet", "Box", "HashMap", "HashSet", "Option", "Result", "String", "Vec", "bool",
        "char", "f32", "f64", "i16", "i32", "i64", "i8", "isize", "str", "u16", "u32", "u64", "u8", "usize",
    ];
    struct Names(bool);

    impl Visit<'_> for Names {
        fn visit_path(&mut self, path: &Path) {
            self.0 &= path.segments.last().is_some_and(|last| KNOWN.iter().any(|known| last.ident == known));
            visit::visit_path(self, path);
        }
    }

    let mut names = Names(true);
    names.visit_type(ty);
    names.0
}

/// The return type of a method: the value, and the error if it is a `Result`.
pub(crate) fn returned(output: &ReturnType) -> Result<(Type, Option<Type>)> {
    let ReturnType::Type(_, ty) = output else { return Ok((syn::parse_quote!(()), None)) };
    if let Type::Reference(reference) = bare(ty) {
        return Err(Error::new(
            reference.and_token.span,
            "a method of an interface cannot return a reference: return it by value (`String`, `Vec<..>`)",
        ));
    }
    check_owned(ty)?;
    let Type::Path(path) = bare(ty) else { return Ok(((**ty).clone(), None)) };
    match path.path.segments.last() {
        Some(last) if last.ident == "Result" => match types_of(&path.path).as_slice() {
            [ok, error] => Ok(((*ok).clone(), Some((*error).clone()))),
            _ => Err(Error::new_spanned(
                path,
                "write the `Result` out with both types, such as `Result<T, E>`: an alias hides the error type",
            )),
        },
        _ => Ok(((**ty).clone(), None)),
    }
}

/// The type of the elements of a `Box<[T]>`, judging by names.
fn boxed_slice(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last()?;
    match types_of(&path.path).as_slice() {
        [Type::Slice(slice)] if last.ident == "Box" => Some(&slice.elem),
        _ => None,
    }
}

/// Whether a type is a list or a set of `()`, judging by names.
fn is_list_of_nothing(path: &Path) -> bool {
    let lists = ["Vec", "HashSet", "BTreeSet"];
    path.segments.last().is_some_and(|last| lists.iter().any(|list| last.ident == list))
        && matches!(types_of(path).as_slice(), [Type::Tuple(unit)] if unit.elems.is_empty())
}

fn types_of(path: &Path) -> Vec<&Type> {
    let Some(syn::PathArguments::AngleBracketed(arguments)) =
        path.segments.last().map(|last| &last.arguments)
    else {
        return Vec::new();
    };
    let types = arguments.args.iter();
    types
        .filter_map(|argument| if let syn::GenericArgument::Type(ty) = argument { Some(ty) } else { None })
        .collect()
}

/// A type without the parentheses and invisible groups around it.
pub(crate) fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        other => other,
    }
}

fn borrowed(reference: &TypeReference) -> Result<Passed> {
    if let Some(token) = &reference.mutability {
        return Err(Error::new(
            token.span,
            "a plugin cannot change a value of its caller: take it by value and return the changed value",
        ));
    }
    if let Some(lifetime) = &reference.lifetime {
        return Err(Error::new(
            lifetime.span(),
            "an argument is borrowed for the length of the call: remove the lifetime",
        ));
    }
    match bare(&reference.elem) {
        Type::Path(path) if path.path.is_ident("str") => Ok(Passed::Text),
        Type::Slice(slice) if matches!(bare(&slice.elem), Type::Path(path) if path.path.is_ident("u8")) => {
            Ok(Passed::Bytes)
        }
        Type::Slice(slice) => {
            let element = words(&slice.elem);
            Err(refuse_reference(reference, &format!("take it by value: `Vec<{element}>`")))
        }
        Type::TraitObject(object) => Err(Error::new_spanned(object, OBJECT)),
        other => Err(refuse_reference(reference, &format!("take it by value: `{}`", words(other)))),
    }
}

fn refuse_reference(reference: &TypeReference, instead: &str) -> Error {
    Error::new(
        reference.and_token.span,
        format!("only `&str` and `&[u8]` can be lent across the plugin boundary; {instead}"),
    )
}

/// A type in Rust syntax.
fn words(ty: &Type) -> String {
    let tokens = quote::quote!(#ty).to_string();
    [
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        (" ::", "::"),
        (":: ", "::"),
        ("& ", "&"),
        (" ;", ";"),
    ]
    .iter()
    .fold(tokens, |text, (from, to)| text.replace(from, to))
}

const OBJECT: &str =
    "a trait object cannot cross the plugin boundary: pass data, or make it an interface of its own";

/// Returns an error if `ty` is or contains a type that has no owned data form.
pub(crate) fn check_owned(ty: &Type) -> Result<()> {
    let mut check = Owned(None);
    check.visit_type(ty);
    check.0.map_or(Ok(()), Err)
}

struct Owned(Option<Error>);

impl Visit<'_> for Owned {
    fn visit_type(&mut self, ty: &Type) {
        let problem = match ty {
            Type::Reference(reference) => Some((
                reference.and_token.span,
                "a reference inside another type cannot cross the plugin boundary: use an owned type (`String`, `Vec<..>`)",
            )),
            Type::Slice(_) => Some((ty.span(), "a slice has no size: use `Vec<..>` or `Box<[..]>`")),
            Type::Ptr(pointer) => Some((
                pointer.star_token.span,
                "a raw pointer means nothing on the other side of the boundary: pass the value itself",
            )),
            Type::BareFn(_) => Some((
                ty.span(),
                "a function cannot cross the plugin boundary: make it a method of an interface",
            )),
            Type::ImplTrait(_) => {
                Some((ty.span(), "`impl Trait` is another type for every caller: name one type"))
            }
            Type::TraitObject(_) => Some((ty.span(), OBJECT)),
            Type::Never(_) => Some((ty.span(), "a method must return: use `()`")),
            Type::Infer(_) => Some((ty.span(), "write the type out")),
            Type::Macro(_) => Some((ty.span(), "write the type out: a macro hides it")),
            Type::Path(path) if is_list_of_nothing(&path.path) => {
                Some((ty.span(), "a list of `()` contains only a length: pass the length, as a `u64`"))
            }
            Type::Path(path) if path.path.segments.first().is_some_and(|first| first.ident == "Self") => {
                Some((ty.span(), "`Self` is another type in every plugin: name one type"))
            }
            _ => None,
        };
        match problem {
            Some((span, what)) => self.keep(Error::new(span, what)),
            None => match boxed_slice(ty) {
                Some(element) => self.visit_type(element),
                None => visit::visit_type(self, ty),
            },
        }
    }

    fn visit_lifetime(&mut self, lifetime: &syn::Lifetime) {
        self.keep(Error::new(
            lifetime.span(),
            "a type with a lifetime borrows, and a borrowed value cannot cross the plugin boundary: use an owned type (`String`, `Vec<..>`)",
        ));
    }
}

impl Owned {
    fn keep(&mut self, error: Error) {
        self.0.get_or_insert(error);
    }
}
