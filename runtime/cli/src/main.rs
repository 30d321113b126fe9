//! The `galley` binary: reads the command line and the configuration, and runs one command.

mod app;
mod args;
mod client;
mod commands;
mod config;
mod demo;
mod feed;
mod http_components;
mod job_history;
mod logging;
mod memory;
mod output;
mod signals;
mod table;

use std::process::ExitCode;

use clap::Parser as _;
use galley_allocator::Allocator;
use galley_transform::{COMPILE_WORKER, compile_worker_main};

use crate::args::{Cli, Command};

/// Answers are buffers of many sizes, made and dropped by the hundred thousand a second on several
/// threads: a few percent faster than the system's allocator, and steadier in memory.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    // Before anything else: the worker sets limits that a thread or a buffer could already pass.
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|first| first == COMPILE_WORKER)
    {
        return compile_worker_main(arguments);
    }
    galley_sync::use_ring();
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(args) => commands::serve::run(&args),
        Command::Materialize(args) => commands::materialize::window(&args),
        Command::MaterializeIncremental(args) => commands::materialize::incremental(&args),
        Command::Push(args) => commands::push::run(&args),
        Command::Get(args) => commands::get::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Transform(args) => commands::transform::run(&args),
        Command::Keys(args) => commands::keys::run(&args),
        Command::Publish(args) => commands::publish::run(&args),
        Command::Sync(args) => commands::sync::once(&args),
        Command::Outbox(args) => commands::outbox::run(&args),
        Command::Rollback(args) => commands::sync::roll_back(&args),
        Command::Jobs(args) => commands::jobs::run(&args),
        Command::Status(args) => commands::status::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Version(args) => commands::version::run(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// One variable of the environment; nothing else reads it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the environment is read"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The whole environment, names and values that are text.
fn environment_all() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}
