//! The token that TCP requires: created once, kept in a file that only this user can read, shown once, and checked with
//! each request.

use super::{
    config::ListenError,
    error::{Code, ControlError},
};
use axum::http::{HeaderMap, header::AUTHORIZATION};
use rustix::{fs::OFlags, process::geteuid};
use std::{
    fs::OpenOptions,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};
use subtle::ConstantTimeEq;

/// A shorter token could be guessed.
const LEAST_LENGTH: usize = 32;

/// A token, and whether it is new. A new token has to be shown.
pub(super) struct Token {
    pub(super) text: String,
    pub(super) is_new: bool,
}

impl Token {
    /// Reads the token, or creates one.
    pub(super) fn at(file: &Path) -> Result<Self, ListenError> {
        let unusable = |reason: String| ListenError::Token { path: file.to_owned(), reason };
        match read(file) {
            Ok(text) => {
                let remedy =
                    "; or give another file with `--token-file`, or remove this one to get a new token";
                let text = text.map_err(|reason| unusable(format!("{reason}{remedy}")))?;
                Ok(Self { text, is_new: false })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let text = random().map_err(|error| unusable(error.to_string()))?;
                let folder = file.parent().unwrap_or(file).display();
                write(file, &text).map_err(|error| {
                    unusable(format!(
                        "{error}; make {folder} a writable folder, or give another file with `--token-file`"
                    ))
                })?;
                Ok(Self { text, is_new: true })
            }
            Err(error) => {
                Err(unusable(format!("{error}; make it readable, or give another file with `--token-file`")))
            }
        }
    }
}

/// The file of a token. A running host creates it again if it was removed together with the state folder. If only the
/// file was removed, the user wants another token at the next start.
pub(super) struct KeptToken {
    file: PathBuf,
    text: String,
    looks: u32,
}

impl KeptToken {
    /// How many more times to look for the file after the state folder was found missing: the folder may be in the
    /// middle of being removed.
    const LOOKS: u32 = 3;

    pub(super) fn new(file: PathBuf, token: &Token) -> Self {
        Self { file, text: token.text.clone(), looks: 0 }
    }

    /// Creates the file again if it is gone together with the state folder. The folder may have been gone a few checks
    /// ago.
    pub(super) fn look(&mut self, folder_was_gone: bool) -> io::Result<()> {
        if folder_was_gone {
            self.looks = Self::LOOKS;
        }
        let is_wanted = self.looks > 0 && self.file.symlink_metadata().is_err();
        self.looks = self.looks.saturating_sub(1);
        if is_wanted { write(&self.file, &self.text) } else { Ok(()) }
    }
}

/// A link is followed, because secrets are often mounted as links. The checks apply to the file that is opened in the
/// end.
fn read(file: &Path) -> io::Result<Result<String, String>> {
    // Opening a pipe would wait for a writer.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let mut file = OpenOptions::new().read(true).custom_flags(nonblocking).open(file)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Err("it is not a regular file".into()));
    }
    let owner = metadata.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        return Ok(Err(format!("it belongs to user {owner}, who may know the token: `chown` it")));
    }
    if metadata.mode() & 0o077 != 0 {
        return Ok(Err(format!(
            "other users may read it (mode {:o}): `chmod 600` it",
            metadata.mode() & 0o777
        )));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let text = text.trim().to_owned();
    if text.len() < LEAST_LENGTH || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(Err(format!(
            "it contains no token of at least {LEAST_LENGTH} characters, without spaces"
        )));
    }
    Ok(Ok(text))
}

/// 256 bits as hexadecimal digits.
fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// No other user can read it, not even between its creation and its first byte.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

/// Checks that a request has the token, in constant time.
pub(super) fn check(headers: &HeaderMap, token: &str) -> Result<(), ControlError> {
    let Some(given) = headers.get(AUTHORIZATION) else {
        let text =
            "missing bearer token: send `authorization: Bearer TOKEN` with the one that the host has printed";
        return Err(ControlError::new(Code::NoToken, text));
    };
    let sent =
        given.as_bytes().split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    match sent {
        Some((_, sent)) if bool::from(sent.ct_eq(token.as_bytes())) => Ok(()),
        _ => {
            let text = "the token is wrong: the host printed the right one when it created it, and keeps it in its token file";
            Err(ControlError::new(Code::WrongToken, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;
    use rustix::fs::{FileType, Mode};
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, chown, symlink},
    };

    #[test]
    fn a_token_is_created_once_and_private_to_its_user() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let made = Token::at(&file).unwrap();
        assert!(made.is_new && made.text.len() == 64, "{}", made.text);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let again = Token::at(&file).unwrap();
        assert!(!again.is_new && again.text == made.text);
        assert_ne!(Token::at(&dir.path().join("other")).unwrap().text, made.text);
    }

    #[test]
    fn a_token_file_is_recreated_only_if_the_state_folder_was_gone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let token = Token::at(&file).unwrap();
        let mut kept = KeptToken::new(file.clone(), &token);
        let again = |kept: &mut KeptToken, folder_was_gone| {
            fs::remove_file(&file).unwrap_or_default();
            kept.look(folder_was_gone).unwrap();
            fs::read_to_string(&file).is_ok_and(|text| text.trim() == token.text)
        };
        assert!(!again(&mut kept, false), "the user wants another");
        assert!(again(&mut kept, true));
        assert!(again(&mut kept, false), "the folder was in the middle of being removed");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let _ = again(&mut kept, false);
        assert!(!again(&mut kept, false), "that was long ago");
    }

    #[test]
    fn a_token_file_with_open_permissions_or_no_token_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        Token::at(&file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Token::at(&file).is_err_and(|error| error.to_string().contains("chmod 600")));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let nowhere = Token::at(&dir.path().join("nowhere/token")).err().unwrap().to_string();
        assert!(nowhere.contains("nowhere a writable folder") && !nowhere.contains("remove it"), "{nowhere}");
        fs::write(&file, "short").unwrap();
        assert!(Token::at(&file).is_err_and(|error| error.to_string().contains("at least 32")));
    }

    #[test]
    fn a_token_may_be_a_link_but_only_to_an_own_regular_file() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, pipe) = (dir.path().join("token"), dir.path().join("link"), dir.path().join("pipe"));
        let made = Token::at(&file).unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(Token::at(&link).unwrap().text, made.text);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        for other in [pipe.as_path(), dir.path()] {
            assert!(Token::at(other).is_err_and(|error| error.to_string().contains("not a regular file")));
        }
        if geteuid().is_root() {
            chown(&file, Some(65534), None).unwrap();
            assert!(Token::at(&link).is_err_and(|error| error.to_string().contains("belongs to user 65534")));
        }
    }

    #[test]
    fn a_token_is_right_or_missing_or_wrong() {
        let token = "t".repeat(43);
        let sent = |value: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
            check(&headers, &token).map_err(|error| error.code)
        };
        assert_eq!(sent(&format!("Bearer {token}")), Ok(()));
        assert_eq!(sent(&format!("bearer {token}")), Ok(()));
        for wrong in [&token[1..], &format!("{token}x"), "", &"x".repeat(43)] {
            assert_eq!(sent(&format!("Bearer {wrong}")), Err(Code::WrongToken), "{wrong}");
        }
        assert_eq!(sent("Basic dDp0"), Err(Code::WrongToken));
        assert_eq!(check(&HeaderMap::new(), &token).unwrap_err().code, Code::NoToken);
    }
}
