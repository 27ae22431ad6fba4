//! The messages of the compiler, as events carry them.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A message of the compiler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The level of the message.
    pub level: DiagnosticLevel,
    /// The message in one line.
    pub message: String,
    /// The source file to which the message refers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The line number in that file. The first line is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The message as rustc prints it, with ANSI colours.
    pub rendered: String,
}

/// The level of a [`Diagnostic`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiagnosticLevel {
    /// A fault of the compiler itself.
    #[serde(rename = "error: internal compiler error")]
    CompilerBug,
    /// An error, which prevents a result.
    #[serde(rename = "error")]
    Error,
    /// A warning.
    #[serde(rename = "warning")]
    Warning,
    /// An explanation.
    #[serde(rename = "note")]
    Note,
    /// A suggestion.
    #[serde(rename = "help")]
    Help,
}

impl DiagnosticLevel {
    /// The name, as rustc prints it.
    pub fn name(self) -> &'static str {
        match self {
            Self::CompilerBug => "error: internal compiler error",
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
            Self::Help => "help",
        }
    }

    /// Whether a message of this level prevents a result.
    pub fn is_error(self) -> bool {
        matches!(self, Self::CompilerBug | Self::Error)
    }
}
