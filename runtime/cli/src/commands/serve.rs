//! `galley serve`.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, anyhow};
use galley_api::{NodeSlot, Server};
use galley_node::store::OpenProgress;
use galley_sync::Scheduler;
use galley_types::{Clock as _, SystemClock};
use tracing::{info, warn};

use crate::app::{AddressFile, App, Opening, info};
use crate::args::ServeArgs;
use crate::config::Config;
use crate::memory::give_back_now_and_then;
use crate::signals::Stop;
use crate::{environment_all, logging};

pub(crate) fn run(args: &ServeArgs) -> Result<ExitCode> {
    let config = Config::resolve(&args.overrides(), environment_all())?;
    logging::start(&config, logging::Default::Server);
    let stop = Stop::new();
    stop.on_signals()?;
    serve(&config, &stop)?;
    Ok(ExitCode::SUCCESS)
}

/// Listens at once, opens store and registry beside, and serves until asked to stop.
fn serve(config: &Config, stop: &Stop) -> Result<()> {
    Scheduler::check(&config.schedules, SystemClock.now())?;
    let slot = Arc::new(NodeSlot::default());
    let server = Server::bind(config.api.clone(), Arc::clone(&slot), info())
        .with_context(|| format!("listen on {}", config.api.listen))?;
    let address = server.local_addr()?;
    if !address.ip().is_loopback() {
        warn!(%address, "listening beyond this machine without authentication");
    }
    give_back_now_and_then().context("start a thread")?;
    let opened: Mutex<Option<Result<(App, AddressFile)>>> = Mutex::new(None);
    let served = std::thread::scope(|scope| {
        scope.spawn(|| {
            let outcome = open(config, &slot, address);
            if outcome.is_err() {
                stop.ask();
            }
            *opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        server.run(stop.wait())
    });
    match opened.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(Ok((app, _address_file))) => {
            app.close();
            info!("stopped");
        }
        Some(Err(error)) => return Err(error),
        None => return Err(anyhow!("the node was not opened")),
    }
    served.context("serve")
}

fn open(
    config: &Config,
    slot: &Arc<NodeSlot>,
    address: std::net::SocketAddr,
) -> Result<(App, AddressFile)> {
    slot.progress("opening the store", None);
    let mut app = App::open(config, &mut |progress| match progress {
        Opening::Store(OpenProgress::Repairing { percent }) => {
            slot.progress("verifying the store after an unclean stop", Some(percent));
        }
        Opening::Store(_) => {}
        Opening::Repo => slot.progress("loading the registry and the transformations", None),
    })?;
    slot.progress("loading HTTP components", None);
    app.serve_components(config, slot)?;
    app.keep_schedules(config)?;
    slot.fill(Arc::clone(&app.node));
    // Last, and after the store is ours: whoever reads the file finds a server that is ready.
    let file = AddressFile::write(config, address)?;
    info!(%address, repo = %config.repo.display(), data = %config.data_dir().display(), "serving");
    Ok((app, file))
}
