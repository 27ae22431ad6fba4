//! The names of plugins, generations and artifacts.

use serde::{Deserialize, Serialize};
use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// A plugin's reverse-domain id, such as `dev.replug.calculator`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PluginId(Arc<str>);

/// A text that is not a [`PluginId`].
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "illegal plugin id {text:?}: {reason}; an id is 2 or more parts of a-z, 0-9 and `-` joined by dots, such as `dev.example.greeter`"
)]
pub struct IllegalId {
    /// The text.
    pub text: String,
    /// Why the text is not an id.
    pub reason: &'static str,
}

crate::readable::readable!(IllegalId);

impl PluginId {
    /// The maximum length of an id in bytes. It is limited because ids are used as names of folders.
    pub const MAX_LEN: usize = 128;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part, for display: `calculator` of `dev.replug.calculator`.
    pub fn short(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or(&self.0)
    }
}

/// A map with ids as keys can be searched by text. The comparisons and the hash are those of the text.
impl Borrow<str> for PluginId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl FromStr for PluginId {
    type Err = IllegalId;

    fn from_str(text: &str) -> Result<Self, IllegalId> {
        let illegal = |reason| Err(IllegalId { text: text.chars().take(200).collect(), reason });
        if text.is_empty() {
            return illegal("it is empty");
        }
        if text.len() > Self::MAX_LEN {
            return illegal("it is longer than 128 bytes");
        }
        if !text.contains('.') {
            return illegal("it has only one part");
        }
        for part in text.split('.') {
            if part.is_empty() {
                return illegal("it has an empty part");
            }
            if !part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
                return illegal("it has a character that is not allowed");
            }
            if part.starts_with('-') || part.ends_with('-') {
                return illegal("a part begins or ends with `-`");
            }
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for PluginId {
    type Error = IllegalId;
    fn try_from(text: String) -> Result<Self, IllegalId> {
        text.parse()
    }
}

impl From<PluginId> for String {
    fn from(id: PluginId) -> String {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for PluginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a loaded instance of a plugin: 1, 2, ... The next host continues the numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}", self.0)
    }
}

/// The SHA-256 of an artifact, which is also its name in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The first 12 hexadecimal digits, for display.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

/// A text that is not a [`Digest`].
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: expected 64 hexadecimal digits")]
pub struct IllegalDigest;

crate::readable::readable!(IllegalDigest);

impl FromStr for Digest {
    type Err = IllegalDigest;

    fn from_str(text: &str) -> Result<Self, IllegalDigest> {
        if text.len() != 64 || !text.is_ascii() {
            return Err(IllegalDigest);
        }
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| IllegalDigest)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| IllegalDigest)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = IllegalDigest;
    fn try_from(text: String) -> Result<Self, IllegalDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_two_or_more_parts_of_lower_case_letters_digits_and_dashes() {
        for good in ["dev.replug.calculator", "a.b", "com.example-2.x9"] {
            assert_eq!(good.parse::<PluginId>().unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", "empty"),
            ("calculator", "only one part"),
            ("dev..x", "empty part"),
            ("dev.Replug", "not allowed"),
            ("dev/../x.y", "not allowed"),
            ("dev.-x", "begins or ends"),
        ] {
            let error = bad.parse::<PluginId>().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_digest_round_trips_as_text() {
        let digest = Digest(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("xy".repeat(32).parse::<Digest>().is_err());
    }
}
