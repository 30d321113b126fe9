//! The commands, one a module.

pub(crate) mod check;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod materialize;
pub(crate) mod outbox;
pub(crate) mod publish;
pub(crate) mod push;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod sync;
pub(crate) mod transform;
pub(crate) mod version;
