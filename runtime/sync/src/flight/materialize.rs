//! Materialisation from Feast's offline server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray as _;
use arrow_array::types::Float64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use galley_node::{JobProgress, MaterializeError, MaterializeTask, Materializer};
use galley_registry::StoredView;
use galley_types::{Classify as _, EventTime, KeyType, ScalarType, ValueType};

use super::{OfflineClient, PullLatest};
use crate::error::{Error, Result, chain};
use crate::remote::RemoteError;
use crate::rows::fold::Bad;
use crate::rows::{Collect, FilePlan, MaterializeConfig, Place, ViewJob, ViewPlan, batch_source};

/// Whole numbers up to here are doubles exactly; this one may stand for the next.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Asks the offline server for the newest rows of feature views' batch sources.
#[derive(Clone, Debug)]
pub struct FlightMaterializer {
    client: OfflineClient,
    config: MaterializeConfig,
}

/// An error on the way of a pull.
struct Stop(Box<Error>);

// === impl FlightMaterializer ===

impl FlightMaterializer {
    /// A materialiser that asks by `client`.
    #[must_use]
    pub fn new(client: OfflineClient, config: MaterializeConfig) -> Self {
        Self { client, config }
    }

    fn run_all(&self, task: &MaterializeTask, job: &JobProgress) -> Result<()> {
        let mut views = Vec::with_capacity(task.views.len());
        for view in &task.views {
            let view = ViewJob::new(task, view, job)?;
            batch_source(&view.sink.view)?;
            views.push(view);
        }
        for mut taker in views {
            let view = taker.sink.view.clone();
            let (window, progress) = (taker.window, taker.job);
            progress.set_view(&view.name);
            let source = batch_source(&view)?;
            let plan = ViewPlan::new(&view.name, source, &view.join_keys, &view.schema);
            let mut collect = Collect::new(&view, &plan, window, &self.config, &mut taker);
            self.pull(&view, &source.name, &mut collect, progress)?;
            collect.finish()?;
            tracing::debug!(view = %view.name, "view materialised");
        }
        Ok(())
    }

    fn pull(
        &self,
        view: &StoredView,
        source: &str,
        collect: &mut Collect<'_>,
        job: &JobProgress,
    ) -> Result<()> {
        let plan = collect.plan;
        let keys: Vec<String> = plan.keys.iter().map(|(name, _)| name.clone()).collect();
        // As in Feast: what is a key or a time is not asked for again as a feature.
        let others: BTreeSet<&String> = keys
            .iter()
            .chain([&plan.timestamp])
            .chain(&plan.created)
            .collect();
        let features: Vec<String> = plan
            .features
            .iter()
            .filter(|(name, _)| !others.contains(name))
            .map(|(name, _)| name.clone())
            .collect();
        let window = collect.window;
        let pull = PullLatest {
            source,
            join_keys: &keys,
            features: &features,
            timestamp: &plan.timestamp,
            created: plan.created.as_deref(),
            window: (window.start.unwrap_or(EventTime::EPOCH), window.end),
        };
        let location = self.client.location();
        let path = PathBuf::from(format!("{location}, source {source}"));
        let mut first = 0_u64;
        let wanted = &mut || {
            if job.cancelled() {
                return Err(Stop(Box::new(Error::Cancelled)));
            }
            Ok(())
        };
        let pulled = self.client.pull_latest(&pull, wanted, &mut |batch| {
            let rows = batch.num_rows() as u64;
            job.add_total(rows);
            take(collect, &batch, (&path, first)).map_err(|error| Stop(Box::new(error)))?;
            first = first.saturating_add(rows);
            Ok(())
        });
        pulled.map_err(|Stop(error)| match *error {
            Error::SourceAway { source, .. } => Error::SourceAway {
                view: view.name.clone(),
                source,
            },
            error => error,
        })
    }
}

impl Materializer for FlightMaterializer {
    fn run(
        &self,
        task: &MaterializeTask,
        job: &JobProgress,
    ) -> std::result::Result<(), MaterializeError> {
        self.run_all(task, job).map_err(|error| MaterializeError {
            kind: error.kind(),
            message: chain(&error),
        })
    }
}

impl From<RemoteError> for Stop {
    fn from(source: RemoteError) -> Self {
        Self(Box::new(Error::SourceAway {
            view: String::new(),
            source,
        }))
    }
}

/// Folds a batch as it came: with columns in any order, and more than are needed.
pub(crate) fn take(
    collect: &mut Collect<'_>,
    batch: &RecordBatch,
    (path, first): (&Path, u64),
) -> Result<()> {
    let plan = collect.plan.over(path, batch.schema_ref())?;
    let place = Place {
        path,
        row_group: None,
        first,
    };
    let needed = batch
        .project(&plan.roots)
        .map_err(|error| Error::SourceAway {
            view: collect.plan.view.clone(),
            source: RemoteError::new(
                crate::remote::RemoteErrorKind::Invalid,
                path.display().to_string(),
                error.to_string(),
            ),
        })?;
    collect.begin(needed.get_array_memory_size() as u64);
    exact(collect.plan, &needed, &plan).map_err(|bad| collect.refused(bad, place))?;
    collect.batch(&needed, &plan, place)
}

/// Refuses what was a whole number and may no longer be the same: with nulls beside them, the server
/// makes doubles of whole numbers, and rounds those beyond 2^53.
fn exact(view: &ViewPlan, batch: &RecordBatch, plan: &FilePlan) -> std::result::Result<(), Bad> {
    let keys = view.keys.iter().zip(&plan.keys);
    let keys = keys.filter(|((_, key_type), _)| *key_type == KeyType::Int64);
    let features = view.features.iter().zip(&plan.features);
    let features = features.filter(|((_, value_type), _)| {
        matches!(
            value_type,
            ValueType::Scalar(ScalarType::Int64) | ValueType::List(ScalarType::Int64)
        )
    });
    let columns = keys
        .map(|((name, _), index)| (name, index))
        .chain(features.map(|((name, _), index)| (name, index)));
    for (name, index) in columns {
        let Some(column) = batch.columns().get(*index) else {
            continue;
        };
        if let Some((row, value)) = rounded(column.as_ref()) {
            return Err(Bad {
                row,
                column: name.clone(),
                expected: "whole numbers, exactly (the offline server sends them as doubles when \
                           there are nulls beside them, and rounds those beyond 2^53: read the \
                           Parquet files themselves, with 'offline_store: file')"
                    .to_owned(),
                got: format!("{value:?}"),
            });
        }
    }
    Ok(())
}

/// The first double of a column that may have been another number.
fn rounded(column: &dyn Array) -> Option<(usize, f64)> {
    match column.data_type() {
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            (0..values.len()).find_map(|row| {
                let value = values.is_valid(row).then(|| values.value(row))?;
                (value.abs() >= EXACT).then_some((row, value))
            })
        }
        DataType::List(field) if *field.data_type() == DataType::Float64 => {
            let lists = column.as_list::<i32>();
            (0..lists.len()).find_map(|row| {
                let (_, value) = rounded(lists.value(row).as_ref())?;
                Some((row, value))
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Float64Array;

    use super::rounded;

    #[test]
    fn doubles_that_may_have_been_another_number_are_found() {
        let column =
            |last: f64| Float64Array::from(vec![Some(1.0), None, Some(f64::NAN), Some(last)]);
        assert_eq!(rounded(&column(9_007_199_254_740_991.0)), None);
        let limit = 9_007_199_254_740_992.0;
        assert_eq!(rounded(&column(-limit)), Some((3, -limit)));
    }
}
