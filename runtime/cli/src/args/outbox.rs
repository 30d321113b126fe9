//! `galley outbox` on the command line.

use clap::{Args, Subcommand};

use super::ClientArgs;

/// What `--help` teaches.
const TEACH: &str = "\
Rows pushed to the offline store and serving logs wait in the outbox until the centre (outbox.to)
has taken them. What cannot be sent now is tried again by itself. What the centre refuses for good
(it does not know the view, the columns do not fit) is tried outbox.park_after times and then
parked, so that the rest goes on. Parked entries are kept, and count against outbox.bytes_max and
outbox.age_max, until you decide:

  galley outbox list                        what waits, what is parked, and why
  galley outbox retry --target driver_stats send it again, once the centre was set right
  galley outbox drop --target old_view      give it up for good

A batch sent again keeps its name (producer and sequences), so that a landing folder or bucket
keeps each row once. Without a server the commands work on the store itself: what is to be sent
again is sent when the node is served.";

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, after_help = TEACH)]
pub(crate) struct OutboxArgs {
    #[command(subcommand)]
    pub(crate) what: Option<OutboxCommand>,
    #[command(flatten)]
    pub(crate) client: ClientArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OutboxCommand {
    /// Show what waits and what is parked, by view and service, with the reason
    List {
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Send what is parked again, under the names it had; what is refused again stays parked
    Retry {
        /// Only what is parked of this feature view or feature service
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Drop what is parked for good: its rows never reach the offline store
    Drop {
        #[command(flatten)]
        which: DropWhich,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// What is dropped: it is always said.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(crate) struct DropWhich {
    /// What is parked of this feature view or feature service
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
    /// Everything that is parked
    #[arg(long)]
    pub(crate) all: bool,
}
