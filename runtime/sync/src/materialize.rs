//! Where the rows of a repo's batch sources come from.

use std::path::Path;
use std::sync::Arc;

use galley_node::{JobProgress, MaterializeError, MaterializeTask, Materializer};
use galley_types::Classify as _;

use crate::error::Error;
use crate::flight::{FlightMaterializer, OfflineClient, OfflineConfig};
use crate::parquet::ParquetMaterializer;
use crate::repo::{OfflineStore, Repo};
use crate::rows::MaterializeConfig;

/// What materialises the views of `repo`, by its offline store: Feast's offline server is asked where
/// the repo has one, else the Parquet files of the sources are read. Files from elsewhere lie in
/// `folder` while they are read.
#[must_use]
pub fn materializer(
    repo: &Repo,
    folder: &Path,
    config: &MaterializeConfig,
    offline: &OfflineConfig,
) -> Arc<dyn Materializer> {
    match repo.offline_store() {
        OfflineStore::Server(address) => {
            match OfflineClient::new(address.clone(), repo.remote(), offline.clone()) {
                Ok(client) => Arc::new(FlightMaterializer::new(client, config.clone())),
                Err(error) => Arc::new(Refusal(error.to_string())),
            }
        }
        OfflineStore::Broken(reason) => Arc::new(Refusal(reason.clone())),
        // A source that is no file is refused by its name, with the way out.
        OfflineStore::Files | OfflineStore::Other(_) => Arc::new(
            ParquetMaterializer::new(repo.dir(), config.clone()).with_remote(repo.remote(), folder),
        ),
    }
}

/// A materialiser that cannot work, and why.
#[derive(Debug)]
struct Refusal(String);

impl Materializer for Refusal {
    fn run(&self, _: &MaterializeTask, _: &JobProgress) -> Result<(), MaterializeError> {
        let error = Error::OfflineStore {
            reason: self.0.clone(),
        };
        Err(MaterializeError {
            kind: error.kind(),
            message: error.to_string(),
        })
    }
}
