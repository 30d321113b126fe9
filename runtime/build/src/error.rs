//! Why nothing was built.

use std::path::PathBuf;

use galley_types::{Classify, ErrorKind};

/// The result of this room.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, where, and the way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A program that is needed is not there and cannot be fetched.
    #[error("{step} needs {tool}, which is not there. {way_out}")]
    ToolMissing {
        /// The program.
        tool: String,
        /// What it is needed for.
        step: String,
        /// The command or the place to get it.
        way_out: String,
    },
    /// A program failed.
    #[error("{step}: {tool} failed.\n{output}\n{way_out}")]
    StepFailed {
        /// The program.
        tool: String,
        /// What it was doing.
        step: String,
        /// The end of what it wrote.
        output: String,
        /// What to do about it.
        way_out: String,
    },
    /// A program went on for longer than it may.
    #[error("{step}: {tool} was stopped after {seconds} s. {way_out}")]
    StepTooLong {
        /// The program.
        tool: String,
        /// What it was doing.
        step: String,
        /// The bound.
        seconds: u64,
        /// What to do about it.
        way_out: String,
    },
    /// The directory holds no project that can be built, or may not become one.
    #[error("{}: {reason}", path.display())]
    Project {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What the compiler made is not a transformation.
    #[error("{} is not a transformation: {reason}", path.display())]
    NotATransform {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        reason: String,
    },
    /// The component wants things that no transformation is given.
    #[error(
        "{} imports {}, and a transformation gets nothing but galley:transform. \
         Remove the code, or the dependency, that needs it",
        path.display(), imports.join(", ")
    )]
    ForeignImports {
        /// The file.
        path: PathBuf,
        /// What it imports.
        imports: Vec<String>,
    },
    /// An on-demand feature view cannot be wrapped.
    #[error("on-demand feature view {view} cannot be wrapped: {}", reasons.join("; "))]
    Refused {
        /// The view.
        view: String,
        /// Every reason found.
        reasons: Vec<String>,
    },
}

impl Classify for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::ToolMissing { .. } | Self::Refused { .. } => ErrorKind::Unsupported,
            Self::StepFailed { .. }
            | Self::Project { .. }
            | Self::NotATransform { .. }
            | Self::ForeignImports { .. } => ErrorKind::Invalid,
            Self::StepTooLong { .. } | Self::Io { .. } => ErrorKind::Unavailable,
        }
    }
}
