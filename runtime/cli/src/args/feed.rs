//! The arguments of `galley keys` and `galley publish`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::OutputArgs;

#[derive(Args, Debug)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make the keys of a new feed, and 1.root.json, which its nodes are given
    Init(KeysInitArgs),
    /// Replace a key, and write the next root; publish afterwards
    Rotate(KeysRotateArgs),
    /// Add the signatures of the root keys in a folder to its newest root; one that has all gets a
    /// successor that expires a year from now
    SignRoot(KeysFolderArgs),
    /// Show which keys are trusted and which are here
    Show(KeysFolderArgs),
}

#[derive(Args, Debug)]
pub(crate) struct KeysInitArgs {
    /// A new folder
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Keys of the root; keep them apart, each with a copy of the roots
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) root_keys: u32,
    /// How many of them must sign a root
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) threshold: u32,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct KeysRotateArgs {
    /// Whose key
    #[arg(value_name = "ROLE", value_enum)]
    pub(crate) role: RoleArg,
    /// The folder of the keys
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The beginning of the id of the key to replace, where the role has several
    #[arg(long, value_name = "ID")]
    pub(crate) key: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct KeysFolderArgs {
    /// The folder of the keys
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum RoleArg {
    Root,
    Targets,
    Snapshot,
    Timestamp,
}

/// `24h`, `90m`.
fn duration(text: &str) -> Result<Duration, String> {
    let read = galley_manifest::duration(text.trim());
    read.ok_or_else(|| "expected a duration such as 24h or 90m".to_owned())
}

#[derive(Args, Debug)]
pub(crate) struct PublishArgs {
    /// The feed: a folder, or the URL of a bucket
    #[arg(long, value_name = "URL")]
    pub(crate) to: String,
    /// The folder of the keys, from `galley keys init`
    #[arg(long, value_name = "DIR")]
    pub(crate) keys: PathBuf,
    /// The Feast repo: the folder with feature_store.yaml [default: .]
    #[arg(long, value_name = "DIR")]
    pub(crate) repo: Option<PathBuf>,
    /// Configuration file [default: galley.toml here or in the repo]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Publish all rows, in place of those that nodes have
    #[arg(long, conflicts_with_all = ["start", "no_data", "timestamp_only"])]
    pub(crate) full: bool,
    /// Start of the window of rows, inclusive [default: where each view's last one ended]
    #[arg(long, value_name = "TIME", conflicts_with_all = ["no_data", "timestamp_only"])]
    pub(crate) start: Option<String>,
    /// End of the window of rows, inclusive [default: now]
    #[arg(long, value_name = "TIME", conflicts_with_all = ["no_data", "timestamp_only"])]
    pub(crate) end: Option<String>,
    /// Rows of these feature views only
    #[arg(long, value_name = "VIEW[,VIEW]", value_delimiter = ',')]
    pub(crate) views: Vec<String>,
    /// Publish registry and components, and leave rows as they are
    #[arg(long)]
    pub(crate) no_data: bool,
    /// Sign a fresh timestamp and nothing else
    #[arg(long, conflicts_with_all = ["no_data", "views"])]
    pub(crate) timestamp_only: bool,
    /// Releases kept in the feed
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keep: u64,
    /// Remove content that no release names once it is this old; it must be longer than a publication
    /// takes, whose content lies there before its release does
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration)]
    pub(crate) orphans_after: Duration,
    /// Say what would be published, and put nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
