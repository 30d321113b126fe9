//! `galley transform`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::OutputArgs;

/// Write, try and bind on-demand transformations: functions of yours that run sandboxed inside the
/// node.
///
/// From an idea to serving:
///
///   galley transform new my_view --repo my_repo   a project for the view my_view of the registry
///   galley transform test my_repo/transforms/my_view    build it, run its golden rows
///   galley serve --repo my_repo                   it answers
///
/// Feast's own Python functions, unchanged:
///
///   galley transform wrap --repo my_repo          every on-demand view of the registry
///
/// Tools that are missing are installed once into ~/.cache/galley.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct TransformArgs {
    #[command(subcommand)]
    pub(crate) command: TransformCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TransformCommand {
    /// Lay out a project that builds, passes its golden rows and serves as it is
    New(NewArgs),
    /// Build a project, or all components of a spin.toml
    Build(BuildArgs),
    /// Compare what a component takes and gives with its view in the registry, field by field
    Check(CheckTransformArgs),
    /// Run golden rows and show what differs
    Test(TestArgs),
    /// Run rows and print what comes out
    Run(RunArgs),
    /// Measure calls, with an instance each and with instances kept
    Bench(BenchArgs),
    /// Show what a component is: digest, size, imports, signature, limits
    Inspect(InspectArgs),
    /// Show what a folder's spin.toml binds, and in what state it is
    List(ListArgs),
    /// Turn the registry's own Python views into components and bind them in spin.toml
    Wrap(WrapArgs),
}

/// What a project is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lang {
    /// A Rust crate: small and fastest
    Rust,
    /// A Python module
    #[value(alias = "py")]
    Python,
    /// A JavaScript module
    #[value(alias = "javascript")]
    Js,
    /// A TypeScript module
    #[value(alias = "typescript")]
    Ts,
}

/// Lay out a project.
///
/// Examples:
///
///   galley transform new my_view                          an example in Rust, in ./my_view
///   galley transform new my_view --lang python
///   galley transform new my_view --repo my_repo --lang ts   inputs and outputs from the registry,
///                                                         bound in my_repo/spin.toml
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct NewArgs {
    /// The on-demand feature view it answers, or with --view what the project is called
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The language
    #[arg(long, value_enum, default_value_t = Lang::Rust)]
    pub(crate) lang: Lang,
    /// Where to put it [default: ./NAME, with --repo transforms/NAME in the repo]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Take inputs and outputs from this Feast repo's registry, and bind it in the repo's spin.toml
    #[arg(long, value_name = "DIR")]
    pub(crate) repo: Option<PathBuf>,
    /// The view in the registry, where it is not called NAME
    #[arg(long, value_name = "VIEW", requires = "repo")]
    pub(crate) view: Option<String>,
}

/// Which component, for commands that run one.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct TargetArgs {
    /// A component (.wasm), a project's folder, or a folder with spin.toml; projects are built first
    #[arg(value_name = "TARGET", default_value = ".")]
    pub(crate) target: PathBuf,
    /// Of a spin.toml with several components, only this view or component (repeat for more)
    #[arg(long = "only", value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Install no tools
    #[arg(long)]
    pub(crate) no_install: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Build a project, or all components of a spin.toml.
///
/// A component goes to target/galley/ in its project. A core module that cargo made becomes a
/// component too. Other components of a spin.toml are built by
/// their own build commands, as `spin build` does.
///
/// Examples:
///
///   galley transform build                    the project in this folder
///   galley transform build my_repo            everything in my_repo/spin.toml
///   galley transform build -o my_view.wasm    and a copy of it here
///   galley transform build target/wasm32-unknown-unknown/release/my_view.wasm
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct BuildArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Put a copy of the component here
    #[arg(short, long = "output", value_name = "FILE")]
    pub(crate) copy_to: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct CheckTransformArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// The Feast repo whose registry to compare with [default: the folder of spin.toml, or .]
    #[arg(long, value_name = "DIR")]
    pub(crate) repo: Option<PathBuf>,
    /// The view, where the component says another name
    #[arg(long, value_name = "VIEW")]
    pub(crate) view: Option<String>,
}

/// Run golden rows and show what differs.
///
/// A golden row is a JSON object on a line of its own:
///
///   {"input": {"rate": 0.5, "plus": 1}, "expected": {"sum": 1.5}}
///   {"input": {"rate": null, "plus": 1}, "expected": {"sum": null}}
///   {"input": {"rate": -1.0, "plus": 1}, "rejected": "negative"}
///
/// A row is rejected, or makes the function fail ("failed"), with a part of the message; it may have "now" (an RFC 3339 time), "seed", and "tolerance" (relative, for numbers).
/// Instants are RFC 3339 texts, bytes are base64.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// The golden rows [default: as spin.toml says, else golden.jsonl of the project]
    #[arg(long, value_name = "FILE")]
    pub(crate) golden: Option<PathBuf>,
}

/// Run rows and print what comes out, a JSON object a row. What the function logs goes to stderr.
///
/// Examples:
///
///   galley transform run --input '{"rate": 0.5, "plus": 1}'
///   galley transform run --input rows.jsonl my_view.wasm
///   galley transform run                      the rows of golden.jsonl
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) input: InputArgs,
}

/// The rows of a command.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct InputArgs {
    /// Rows: a JSON object, a JSON array of them, a file of either or of one object a line; - is
    /// stdin [default: the inputs of the golden rows]
    #[arg(short, long, value_name = "JSON|FILE")]
    pub(crate) input: Option<String>,
    /// The time of the request (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) now: Option<String>,
    /// The seed of the request
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// A variable of the component (repeat for more); else those of spin.toml
    #[arg(long = "variable", value_name = "NAME=VALUE")]
    pub(crate) variables: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) input: InputArgs,
    /// Rows of a call (repeat for more, or separate by commas)
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1_u32, 100, 1_000])]
    pub(crate) rows: Vec<u32>,
    /// Seconds for each figure
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) seconds: f64,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// A folder with spin.toml; a Feast repo's registry is looked at too
    #[arg(value_name = "DIR", default_value = ".")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Turn the registry's own on-demand feature views into components and bind them in spin.toml.
///
/// The source text that the registry keeps is what runs: python mode (lists and singleton) as it
/// is, pandas mode as far as it works on columns. What cannot be wrapped is named with the reason.
/// Each view becomes a project in transforms/<view> of the repo; only what changed is built again.
///
/// Examples:
///
///   galley transform wrap --repo my_repo
///   galley transform wrap --repo my_repo --view my_view --strict
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct WrapArgs {
    /// The Feast repo [default: .]
    #[arg(long, value_name = "DIR")]
    pub(crate) repo: Option<PathBuf>,
    /// Only this view (repeat for more)
    #[arg(short, long = "view", value_name = "VIEW")]
    pub(crate) views: Vec<String>,
    /// Where the projects go [default: transforms in the repo]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Fail when any view cannot be wrapped, instead of only when none can
    #[arg(long)]
    pub(crate) strict: bool,
    /// Wrap again what a project of another origin is bound to
    #[arg(long)]
    pub(crate) replace: bool,
    /// Views to build at the same time [default: as many as there are cores]
    #[arg(short, long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
    /// Install no tools
    #[arg(long)]
    pub(crate) no_install: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
