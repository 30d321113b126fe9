//! Pushes and writes: checked and encoded whole before any row is queued.

use std::borrow::Cow;
use std::sync::Arc;

use galley_registry::{PushPlan, StoredView, ViewIndex, ViewKind};
use galley_store::{RowBatch, Write};
use galley_types::{Clock, EventTime};

use crate::frame::FrameView;
use crate::generation::Generation;
use crate::get::over_limit;
use crate::{Error, Input, NodeConfig, Result};

/// Columns of a data frame, all of one length.
pub type Frame<'a> = Vec<(Cow<'a, str>, Vec<Input<'a>>)>;

/// When a write is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteMode {
    /// After the commit that holds its rows.
    #[default]
    Sync,
    /// After the commit that holds it in the durable queue; the answer carries a ticket.
    Async,
}

/// Where a push goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PushTo {
    /// The online store.
    #[default]
    Online,
    /// The offline store.
    Offline,
    /// Both.
    OnlineAndOffline,
}

/// Rows for every view that a push source feeds.
#[derive(Clone, Debug)]
pub struct PushRequest<'a> {
    /// The push source's name.
    pub source: Cow<'a, str>,
    /// The rows.
    pub columns: Frame<'a>,
    /// When to answer.
    pub mode: WriteMode,
    /// Where the rows go.
    pub to: PushTo,
    /// Whether on-demand views written at push time transform the rows; they are not fed by push
    /// sources, so this is carried for the wire's sake.
    pub transform_on_write: bool,
}

/// Rows for one view.
#[derive(Clone, Debug)]
pub struct WriteRequest<'a> {
    /// The view's name.
    pub view: Cow<'a, str>,
    /// The rows.
    pub columns: Frame<'a>,
    /// When to answer.
    pub mode: WriteMode,
    /// Whether an on-demand view's transformation runs over the rows.
    pub transform_on_write: bool,
}

/// Checks and encodes a push: one batch for each view the source feeds.
pub(crate) fn plan_push(
    generation: &Generation,
    config: &NodeConfig,
    clock: &dyn Clock,
    request: &PushRequest<'_>,
) -> Result<Write> {
    let plan = generation.registry.plan_push(&request.source)?;
    if request.to != PushTo::Online {
        return Err(Error::Unsupported {
            what: format!("push source '{}' to the offline store", request.source),
            way_out: "this node has no sync configuration, so it cannot reach an offline store; \
                      push with \"to\": \"online\"",
        });
    }
    encode(generation, config, clock, (&plan, &request.columns))
}

/// Checks and encodes a write to one view.
pub(crate) fn plan_write(
    generation: &Generation,
    config: &NodeConfig,
    clock: &dyn Clock,
    request: &WriteRequest<'_>,
) -> Result<Write> {
    let plan = generation.registry.plan_write(&request.view)?;
    let kind = plan
        .views
        .first()
        .and_then(|index| generation.registry.view(*index));
    if let Some(view) = kind
        && view.kind == ViewKind::OnDemand
        && request.transform_on_write
    {
        return Err(Error::Unsupported {
            what: format!(
                "the transformation of on-demand feature view '{}'",
                view.name
            ),
            way_out: "no WebAssembly component is bound to it; bind one in spin.toml, or write \
                      transformed rows with \"transform_on_write\": false",
        });
    }
    encode(generation, config, clock, (&plan, &request.columns))
}

fn encode(
    generation: &Generation,
    config: &NodeConfig,
    clock: &dyn Clock,
    (plan, columns): (&PushPlan, &Frame<'_>),
) -> Result<Write> {
    let row_count = frame_rows(columns)?;
    over_limit(
        "rows",
        row_count,
        config.push_rows_max,
        "limits.push_rows_max",
    )?;
    let mut batches = Vec::with_capacity(plan.views.len());
    if row_count > 0 {
        for index in &plan.views {
            batches.push(encode_view(
                generation,
                config,
                clock.now(),
                (*index, columns),
            )?);
        }
    }
    Ok(Write {
        batches,
        watermark: None,
    })
}

fn encode_view(
    generation: &Generation,
    config: &NodeConfig,
    now: EventTime,
    (index, columns): (ViewIndex, &Frame<'_>),
) -> Result<RowBatch> {
    let registry: &Arc<_> = &generation.registry;
    let view: &StoredView = registry.view(index).ok_or(Error::NotReady)?;
    if let Err(reason) = &view.servable {
        return Err(Error::NotServable {
            view: view.name.clone(),
            reason: reason.clone(),
        });
    }
    let table = generation.table(index).ok_or_else(|| Error::NotServable {
        view: view.name.clone(),
        reason: "it is not configured to be served online; set online=True and apply".to_owned(),
    })?;
    FrameView::new(view, columns, config.python_quirks)?.encode(table, now)
}

/// The common length of a frame's columns.
fn frame_rows(columns: &Frame<'_>) -> Result<usize> {
    let Some((first, values)) = columns.first() else {
        return Ok(0);
    };
    for (name, column) in columns {
        if column.len() != values.len() {
            return Err(Error::Ragged {
                column: name.clone().into_owned(),
                got: column.len(),
                other: first.clone().into_owned(),
                expected: values.len(),
            });
        }
    }
    Ok(values.len())
}
