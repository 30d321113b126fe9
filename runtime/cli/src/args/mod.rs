//! The command line.

mod feed;
mod outbox;
mod transform;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::Overrides;

pub(crate) use feed::{KeysArgs, KeysCommand, PublishArgs, RoleArg};
pub(crate) use outbox::{DropWhich, OutboxArgs, OutboxCommand};
pub(crate) use transform::{
    BenchArgs, BuildArgs, CheckTransformArgs, InputArgs, InspectArgs, Lang, ListArgs, NewArgs,
    RunArgs, TargetArgs, TestArgs, TransformArgs, TransformCommand, WrapArgs,
};

/// Galley serves Feast feature stores at the edge: one binary, one data folder, Feast's own HTTP
/// API.
///
/// Point it at a Feast repo and it answers online look-ups and pushes from an embedded store:
///
///   galley demo                          try it with a sample repo
///   galley serve --repo my_repo          serve a repo on 127.0.0.1:6566
///   galley materialize-incremental NOW   load what is new in its Parquet sources
///   galley transform wrap --repo my_repo turn its on-demand views into sandboxed components
#[derive(Debug, Parser)]
#[command(name = "galley", version, verbatim_doc_comment, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a Feast repo over HTTP until SIGTERM or Ctrl-C
    Serve(ServeArgs),
    /// Load the rows of a time window from the views' Parquet sources into the online store
    Materialize(MaterializeArgs),
    /// Load the rows that are new since each view's last materialization
    MaterializeIncremental(IncrementalArgs),
    /// Push rows to every feature view a push source feeds
    Push(PushArgs),
    /// Look up features of entities
    Get(GetArgs),
    /// Bring rows over from another online store
    Import(ImportArgs),
    /// Write, try and bind on-demand transformations
    Transform(TransformArgs),
    /// Make, rotate and show the keys of a feed
    Keys(KeysArgs),
    /// Publish registry, components and rows to a feed that nodes follow
    Publish(PublishArgs),
    /// Look at the feed now and install what is new
    Sync(SyncArgs),
    /// Show what waits for the centre; retry or drop what it refused
    Outbox(OutboxArgs),
    /// Go back to the release before the one that serves
    Rollback(RollbackArgs),
    /// List jobs, follow one or cancel one
    Jobs(JobsArgs),
    /// Show what a node serves: views, transforms, freshness, store, jobs
    Status(StatusArgs),
    /// Check configuration, repo, registry, transforms and store, and show every setting with its origin
    Check(CheckArgs),
    /// Set up a sample repo, serve it and show look-ups and a push with their latency
    Demo(DemoArgs),
    /// Show the version
    Version(OutputArgs),
}

/// Where the node is.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct NodeArgs {
    /// The Feast repo: the folder with feature_store.yaml [default: .]
    #[arg(long, value_name = "DIR")]
    pub(crate) repo: Option<PathBuf>,
    /// The folder of the online store [default: .galley in the repo]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Configuration file [default: galley.toml here or in the repo]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct OutputArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:6566]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
}

/// A command that talks to the server that holds the store, or opens the store itself.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ClientArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Talk to this server [default: the one that holds the data folder, if any]
    #[arg(long, value_name = "URL", env = "GALLEY_SERVER")]
    pub(crate) server: Option<String>,
    /// Address for the store's server while the command runs, when none holds the store
    /// [default: a free port of 127.0.0.1]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct MaterializeArgs {
    /// Start of the window, inclusive (ISO 8601, UTC unless it has an offset)
    #[arg(
        value_name = "START",
        required_unless_present = "disable_event_timestamp"
    )]
    pub(crate) start: Option<String>,
    /// End of the window, inclusive
    #[arg(
        value_name = "END",
        required_unless_present = "disable_event_timestamp"
    )]
    pub(crate) end: Option<String>,
    /// Only this feature view (repeat for more)
    #[arg(short = 'v', long = "views", value_name = "VIEW")]
    pub(crate) views: Vec<String>,
    /// Load all rows up to now
    #[arg(long)]
    pub(crate) disable_event_timestamp: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Args, Debug)]
pub(crate) struct IncrementalArgs {
    /// End of the window, inclusive (ISO 8601), or NOW
    #[arg(value_name = "END")]
    pub(crate) end: String,
    /// Only this feature view (repeat for more)
    #[arg(short = 'v', long = "views", value_name = "VIEW")]
    pub(crate) views: Vec<String>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Args, Debug)]
pub(crate) struct PushArgs {
    /// The push source, or with --view the feature view to write to
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Rows: a JSON object of columns, a JSON array of rows or one JSON row a line; - is stdin
    #[arg(value_name = "FILE", default_value = "-")]
    pub(crate) file: PathBuf,
    /// SOURCE is a feature view: write to it alone
    #[arg(long)]
    pub(crate) view: bool,
    /// Which store takes the rows
    #[arg(long, value_enum, default_value_t = PushTarget::Online)]
    pub(crate) to: PushTarget,
    /// Return once the rows are in the durable queue and print the ticket
    #[arg(long)]
    pub(crate) queue: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum PushTarget {
    Online,
    Offline,
    OnlineAndOffline,
}

#[derive(Args, Debug)]
pub(crate) struct GetArgs {
    /// A feature reference, view:feature (repeat for more)
    #[arg(
        short,
        long = "features",
        value_name = "VIEW:FEATURE",
        required_unless_present = "service"
    )]
    pub(crate) features: Vec<String>,
    /// A feature service instead of references
    #[arg(short, long, value_name = "NAME", conflicts_with = "features")]
    pub(crate) service: Option<String>,
    /// A join key and its values, driver_id=1001,1002 (repeat for composite keys)
    #[arg(
        short,
        long = "entity",
        value_name = "KEY=VALUE[,VALUE]",
        required = true
    )]
    pub(crate) entities: Vec<String>,
    /// Name outputs view__feature
    #[arg(long)]
    pub(crate) full_feature_names: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    #[command(subcommand)]
    pub(crate) from: ImportFrom,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImportFrom {
    /// A SQLite online store of Feast: exact values and times, newer rows here stay
    FeastSqlite {
        /// The SQLite file (online_store.path in feature_store.yaml)
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        node: NodeArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
}

#[derive(Args, Debug)]
pub(crate) struct SyncArgs {
    /// Look once and end; without it the node's server does, at every sync.interval
    #[arg(long)]
    pub(crate) once: bool,
    /// The feed: a folder, an http(s) URL or that of a bucket [default: sync.feed]
    #[arg(long, value_name = "URL")]
    pub(crate) feed: Option<String>,
    /// The feed's root metadata, 1.root.json of `galley keys init` [default: sync.root]
    #[arg(long, value_name = "FILE")]
    pub(crate) root: Option<PathBuf>,
    /// Seconds to wait for a server that follows the feed
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(..=600))]
    pub(crate) wait: u64,
    /// Trust the root file anew and take the release whole, whatever was seen before: for a feed that
    /// was made anew or moved to keys that the old ones did not sign. The node must not run
    #[arg(long, requires = "once", conflicts_with = "server")]
    pub(crate) forget: bool,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RollbackArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct JobsArgs {
    #[command(subcommand)]
    pub(crate) what: Option<JobsCommand>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List the jobs under way and the last that ended
    List {
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Show one job
    Show {
        /// Its number
        #[arg(value_name = "ID")]
        id: u64,
        /// Show its progress until it ends; exits with 1 unless it succeeded
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Ask a job to stop; what it has committed stays
    Cancel {
        /// Its number
        #[arg(value_name = "ID")]
        id: u64,
        #[command(flatten)]
        client: ClientArgs,
    },
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Where to set the sample repo up [default: a folder that goes when the demo ends]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:6566, or a free port where that is taken]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// End after the look-ups instead of serving until Ctrl-C
    #[arg(long)]
    pub(crate) once: bool,
    /// Show a centre and three nodes that follow its signed feed: publish, follow, cut off, catch
    /// up, roll back
    #[arg(long)]
    pub(crate) fleet: bool,
}

impl NodeArgs {
    /// The settings these flags stand for.
    pub(crate) fn overrides(&self) -> Overrides {
        let mut values = Vec::new();
        if let Some(repo) = &self.repo {
            values.push(("feast.repo", "--repo", repo.display().to_string()));
        }
        if let Some(data_dir) = &self.data_dir {
            values.push((
                "store.data_dir",
                "--data-dir",
                data_dir.display().to_string(),
            ));
        }
        Overrides {
            config_file: self.config.clone(),
            values,
        }
    }
}

impl ServeArgs {
    /// The settings these flags stand for.
    pub(crate) fn overrides(&self) -> Overrides {
        let mut overrides = self.node.overrides();
        if let Some(listen) = self.listen {
            overrides
                .values
                .push(("server.listen", "--listen", listen.to_string()));
        }
        overrides
    }
}
