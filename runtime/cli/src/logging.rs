//! Log lines go to standard error, so that what a command prints can be piped.

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat, Origin};

/// What a command logs unless the level is set: a server tells what it does, a tool prints its
/// outcome and lets `galley check` tell what is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Default {
    Server,
    Tool,
}

/// Starts logging; later calls change nothing.
pub(crate) fn start(config: &Config, default: Default) {
    let unset = config.origin("log.level") == Origin::Default;
    let level = match default {
        Default::Tool if unset => "error",
        _ => &config.log_level,
    };
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match config.log_format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.with_ansi(false).with_target(false).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started already");
    }
}
