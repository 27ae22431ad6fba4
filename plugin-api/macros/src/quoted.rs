//! The macro with which expansions are written.

/// `quote!` with local names that cannot collide with those of the author.
macro_rules! quoted {
    ($($tokens:tt)*) => { ::quote::quote_spanned! {::proc_macro2::Span::mixed_site()=> $($tokens)*} };
}
pub(crate) use quoted;
