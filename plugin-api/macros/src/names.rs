//! The names that fields and variants have in encodings, according to serde's `rename` and `rename_all`.

use syn::{Attribute, Error, Ident, LitStr, Result, ext::IdentExt};

/// The case in which `rename_all` writes names.
#[derive(Clone, Copy)]
pub(crate) enum Case {
    AsWritten,
    Lower,
    Upper,
    Pascal,
    Camel,
    Snake,
    ScreamingSnake,
    Kebab,
    ScreamingKebab,
}

impl Case {
    /// The `rename_all` among an item's attributes.
    pub(crate) fn of(attributes: &[Attribute]) -> Result<Self> {
        let Some(written) = value_of(attributes, "rename_all") else { return Ok(Self::AsWritten) };
        Ok(match written.value().as_str() {
            "lowercase" => Self::Lower,
            "UPPERCASE" => Self::Upper,
            "PascalCase" => Self::Pascal,
            "camelCase" => Self::Camel,
            "snake_case" => Self::Snake,
            "SCREAMING_SNAKE_CASE" => Self::ScreamingSnake,
            "kebab-case" => Self::Kebab,
            "SCREAMING-KEBAB-CASE" => Self::ScreamingKebab,
            _ => {
                return Err(Error::new(
                    written.span(),
                    "serde does not know this case: write one that it knows, such as `snake_case`",
                ));
            }
        })
    }

    /// The name of a field, which is in snake_case and may have a `rename` of its own.
    pub(crate) fn field(self, ident: &Ident, attributes: &[Attribute]) -> String {
        let name = ident.unraw().to_string();
        value_of(attributes, "rename").map_or_else(
            || match self {
                Self::AsWritten | Self::Lower | Self::Snake => name.clone(),
                Self::Upper | Self::ScreamingSnake => name.to_ascii_uppercase(),
                Self::Pascal => pascal(&name),
                Self::Camel => beginning_small(&pascal(&name)),
                Self::Kebab => name.replace('_', "-"),
                Self::ScreamingKebab => name.to_ascii_uppercase().replace('_', "-"),
            },
            |own| own.value(),
        )
    }

    /// The name of a variant, which is in PascalCase and may have a `rename` of its own.
    pub(crate) fn variant(self, ident: &Ident, attributes: &[Attribute]) -> String {
        let name = ident.unraw().to_string();
        value_of(attributes, "rename").map_or_else(
            || match self {
                Self::AsWritten | Self::Pascal => name.clone(),
                Self::Lower => name.to_ascii_lowercase(),
                Self::Upper => name.to_ascii_uppercase(),
                Self::Camel => beginning_small(&name),
                Self::Snake => snake(&name),
                Self::ScreamingSnake => snake(&name).to_ascii_uppercase(),
                Self::Kebab => snake(&name).replace('_', "-"),
                Self::ScreamingKebab => snake(&name).to_ascii_uppercase().replace('_', "-"),
            },
            |own| own.value(),
        )
    }
}

/// snake_case to PascalCase.
fn pascal(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let (first, rest) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        first.to_ascii_uppercase() + rest
    });
    words.collect()
}

/// PascalCase to snake_case: every capital letter begins a word.
fn snake(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

fn beginning_small(name: &str) -> String {
    let (first, rest) = name.split_at(name.chars().next().map_or(0, char::len_utf8));
    first.to_ascii_lowercase() + rest
}

/// The text of `#[serde(key = "text")]`.
fn value_of(attributes: &[Attribute], key: &str) -> Option<LitStr> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        // Errors are ignored here: serde itself reports an attribute that cannot be parsed.
        let _ = attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident(key) {
                found = Some(meta.value()?.parse::<LitStr>()?);
            } else if let Ok(value) = meta.value() {
                value.parse::<syn::Expr>()?;
            }
            Ok(())
        });
    }
    found
}
