//! A readable `Debug` form for errors: the message and its causes. The standard library prints the `Debug` form of an
//! error that `main` returns.

use std::{error::Error, fmt};

/// Implements `Debug` for an error: `readable!(ErrorType);`. The `Debug` form is the error's `Display`, followed by the
/// causes that the `Display` does not mention.
#[doc(hidden)]
#[macro_export]
macro_rules! __readable {
    ($error:ty) => {
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::readable::write(self, f)
            }
        }
    };
}
pub use __readable as readable;

/// Writes an error and its causes. Omits a cause whose text was already written.
///
/// # Errors
///
/// The error of the formatter.
pub fn write(error: &dyn Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut text = error.to_string();
    f.write_str(&text)?;
    let mut next = error.source();
    while let Some(cause) = next {
        let what = cause.to_string();
        if !text.contains(&what) {
            write!(f, "\n  caused by: {what}")?;
            text.push_str(&what);
        }
        next = cause.source();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::readable;
    use std::{error::Error, io};

    #[derive(thiserror::Error)]
    #[error("cannot serve")]
    struct Outer(#[source] Middle);
    readable!(Outer);

    #[derive(thiserror::Error)]
    #[error("cannot read /srv: {0}")]
    struct Middle(#[source] io::Error);
    readable!(Middle);

    /// The text that a program prints if `main` returns the error.
    fn printed(error: impl Error + 'static) -> String {
        let returned: Box<dyn Error> = error.into();
        format!("Error: {returned:?}")
    }

    #[test]
    fn each_cause_is_printed_once() {
        let error = Outer(Middle(io::Error::other("disk on fire")));
        assert_eq!(printed(error), "Error: cannot serve\n  caused by: cannot read /srv: disk on fire");
    }
}
