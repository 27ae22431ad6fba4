//! The token that TCP requires. It is created once, kept in a file that only this user can read, shown once, and
//! checked with each request.

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
use subtle::{Choice, ConstantTimeEq};

/// The minimum length of a token, in characters. A shorter token could be guessed.
const LEAST_LENGTH: usize = 32;

/// A token, and whether it is new. The program shows a new token to the user.
pub(super) struct Token {
    pub(super) text: String,
    pub(super) is_new: bool,
}

impl Token {
    /// Reads the token from its file, or creates the file with a new token.
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

/// The file of a token, which a running host creates again if it was removed together with the state folder. If a user
/// removed only the file, the next start of the host creates a new token.
pub(super) struct KeptToken {
    file: PathBuf,
    text: String,
    looks: u32,
}

impl KeptToken {
    /// The number of checks in which a missing file is created again, counted from the check that finds the state
    /// folder missing. One check is not enough, because the removal of the folder may still be in progress.
    const LOOKS: u32 = 3;

    pub(super) fn new(file: PathBuf, token: &Token) -> Self {
        Self { file, text: token.text.clone(), looks: 0 }
    }

    /// Creates the file again if it is missing and the state folder was missing in one of the last checks.
    pub(super) fn look(&mut self, folder_was_gone: bool) -> io::Result<()> {
        if folder_was_gone {
            self.looks = Self::LOOKS;
        }
        let is_wanted = self.looks > 0 && self.file.symlink_metadata().is_err();
        self.looks = self.looks.saturating_sub(1);
        if is_wanted { write(&self.file, &self.text) } else { Ok(()) }
    }
}

/// Reads the token. The inner error is the reason for rejecting the file. A link is followed, because secrets are often
/// mounted as links. The checks apply to the opened file.
fn read(file: &Path) -> io::Result<Result<String, String>> {
    // Without this flag, opening a named pipe would block until a writer opens it.
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

/// A new token: 256 random bits as hexadecimal digits.
fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes the token to a new file. The file is created with mode 0600, so that no other user can read it at any time.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(file, "{text}")?;
    file.sync_all()
}

/// Checks that a request has the token, in constant time.
pub(super) fn check(headers: &HeaderMap, token: &str) -> Result<(), ControlError> {
    let Some(given) = headers.get(AUTHORIZATION) else {
        let text = "missing bearer token: send `authorization: Bearer TOKEN` with the token from the host's token file";
        return Err(ControlError::new(Code::NoToken, text));
    };
    let sent =
        given.as_bytes().split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
    match sent {
        Some((_, sent)) if is_same(sent, token.as_bytes()) => Ok(()),
        _ => {
            let text = "the token is wrong: send the token from the host's token file";
            Err(ControlError::new(Code::WrongToken, text))
        }
    }
}

/// Compares two texts. The time depends only on their lengths. Eight bytes are compared at once, because a comparison
/// in constant time takes as long for one byte as for eight.
fn is_same(sent: &[u8], token: &[u8]) -> bool {
    let ((sent, sent_end), (token, token_end)) = (sent.as_chunks::<8>(), token.as_chunks::<8>());
    let word = |chunk: &[u8; 8]| u64::from_ne_bytes(*chunk);
    let pairs = sent.iter().zip(token).map(|(sent, token)| word(sent).ct_eq(&word(token)));
    let same = pairs.fold(Choice::from(u8::from(sent.len() == token.len())), |all, pair| all & pair);
    bool::from(same & sent_end.ct_eq(token_end))
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
        assert!(!again(&mut kept, false), "the user removed only the file");
        assert!(again(&mut kept, true));
        assert!(again(&mut kept, false), "the removal of the folder was in progress");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        let _ = again(&mut kept, false);
        assert!(!again(&mut kept, false), "the folder was missing too many checks ago");
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
    fn a_token_file_may_be_a_link_to_a_regular_file_of_this_user() {
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
    fn check_distinguishes_a_missing_token_from_a_wrong_token() {
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
