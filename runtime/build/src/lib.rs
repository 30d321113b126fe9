//! The authors' side: new projects, builds, and wrapping of Feast's own on-demand feature views.
//!
//! Everything here runs on an author's machine, never in a serving node. A [`Workshop`] knows where
//! downloaded tools are kept and whom to tell about long steps; [`build`] turns a project into a
//! component whatever its language, [`new`] lays out a project, [`wrap`] turns the source text that
//! a Feast registry keeps into a Python project.
//!
//! Tools are found or fetched when they are first needed: rustup's target, or Debian's compiler
//! with the standard library built from source; componentize-py in a virtual environment of its
//! own; componentize-js in a directory of its own.

mod component;
mod embedded;
mod error;
mod files;
mod interpreter;
mod javascript;
mod project;
mod python;
mod run;
mod rust;
mod scaffold;
mod skeleton;
mod stamp;
mod types;
mod workshop;
mod wrap;

pub use component::{BuiltComponent, componentize, from_core_module, is_core_module};
pub use error::{Error, Result};
pub use project::{Built, Language, build, language};
pub use rust::{RustToolchain, find_or_install_rust};
pub use scaffold::{NewProject, Scaffold, ViewColumns, new};
pub use types::type_tag;
pub use workshop::{Sign, Workshop};
pub use wrap::{View, ViewInput, Wrapped, wrap};

/// The contract that components are built against.
pub const TRANSFORM_WIT: &str = include_str!("../../../wit/transform.wit");
