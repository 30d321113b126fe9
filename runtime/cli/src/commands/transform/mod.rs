//! `galley transform`: the authors' commands, one a module.

mod bench;
mod build;
mod check;
mod golden;
mod host;
mod inspect;
mod list;
mod new;
mod registry;
mod run;
mod subject;
mod test;
mod tools;
mod values;
mod wrap;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{TransformArgs, TransformCommand};

pub(crate) fn run(args: &TransformArgs) -> Result<ExitCode> {
    match &args.command {
        TransformCommand::New(args) => new::run(args),
        TransformCommand::Build(args) => build::run(args),
        TransformCommand::Check(args) => check::run(args),
        TransformCommand::Test(args) => test::run(args),
        TransformCommand::Run(args) => run::run(args),
        TransformCommand::Bench(args) => bench::run(args),
        TransformCommand::Inspect(args) => inspect::run(args),
        TransformCommand::List(args) => list::run(args),
        TransformCommand::Wrap(args) => wrap::run(args),
    }
}
