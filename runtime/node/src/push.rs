//! Pushes and writes: checked and encoded whole before any row is queued.

use std::borrow::Cow;
use std::sync::Arc;

use galley_registry::{PushPlan, StoredView, ViewIndex, ViewKind};
use galley_store::{RowBatch, Write};
use galley_types::{Clock, EventTime};

use crate::compute::compute_written;
use crate::frame::{FrameView, missing};
use crate::generation::{Generation, Table};
use crate::get::over_limit;
use crate::{Error, Input, NodeConfig, Result, home};

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
    if request.to != PushTo::Online && config.outbox.is_none() {
        generation.registry.plan_push(&request.source)?;
        return Err(Error::Unsupported {
            what: format!("push source '{}' to the offline store", request.source),
            way_out: "this node does not know where to send it: set outbox.to to the folder, bucket \
                      or Flight server that takes the rows, or push with \"to\": \"online\"",
        });
    }
    let mut write = match request.to {
        PushTo::Offline => Write::default(),
        PushTo::Online | PushTo::OnlineAndOffline => {
            let plan = generation.registry.plan_push(&request.source)?;
            encode(generation, config, clock, (&plan, &request.columns))?
        }
    };
    if request.to != PushTo::Online {
        let now = clock.now();
        write.outbox.add = home::outgoing(generation, config, now, (request, &write.batches))?;
    }
    Ok(write)
}

/// Checks and encodes a write to one view.
pub(crate) fn plan_write(
    generation: &Generation,
    config: &NodeConfig,
    clock: &dyn Clock,
    request: &WriteRequest<'_>,
) -> Result<Write> {
    let plan = generation.registry.plan_write(&request.view)?;
    let view = plan
        .views
        .first()
        .and_then(|index| generation.registry.view(*index));
    match view {
        Some(view) if view.kind == ViewKind::OnDemand && request.transform_on_write => {
            encode_computed(generation, config, clock.now(), (&plan, request, view))
        }
        _ => encode(generation, config, clock, (&plan, &request.columns)),
    }
}

/// Encodes rows of an on-demand view, their features computed from the frame.
fn encode_computed(
    generation: &Generation,
    config: &NodeConfig,
    now: EventTime,
    (plan, request, view): (&PushPlan, &WriteRequest<'_>, &StoredView),
) -> Result<Write> {
    let bound = generation.bindings.ready(&view.name)?;
    let columns = &request.columns;
    let row_count = checked_rows(columns, config)?;
    let types: Vec<_> = view.schema.fields.iter().map(|it| it.value_type).collect();
    let features = compute_written(bound, &types, (row_count, now), |input| {
        let named = |name: &str| columns.iter().find(|(column, _)| column == name);
        match named(&input.name) {
            Some((_, values)) => Ok(values.as_slice()),
            None => Err(missing(view, &input.name, columns)),
        }
    })?;
    let mut batches = Vec::with_capacity(1);
    if row_count > 0
        && let Some(index) = plan.views.first()
    {
        let table = served(generation, view, *index)?;
        let frame = FrameView::computed(view, columns, config.python_quirks, &features)?;
        batches.push(frame.encode(table, now)?);
    }
    Ok(Write {
        batches,
        ..Write::default()
    })
}

/// The rows of a frame, if it is not too long.
pub(crate) fn checked_rows(columns: &Frame<'_>, config: &NodeConfig) -> Result<usize> {
    let row_count = frame_rows(columns)?;
    let setting = "limits.push_rows_max";
    over_limit("rows", row_count, config.push_rows_max, setting)?;
    Ok(row_count)
}

fn encode(
    generation: &Generation,
    config: &NodeConfig,
    clock: &dyn Clock,
    (plan, columns): (&PushPlan, &Frame<'_>),
) -> Result<Write> {
    let row_count = checked_rows(columns, config)?;
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
        ..Write::default()
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
    let table = served(generation, view, index)?;
    FrameView::new(view, columns, config.python_quirks)?.encode(table, now)
}

/// The table of a view that takes rows.
fn served<'g>(
    generation: &'g Generation,
    view: &StoredView,
    index: ViewIndex,
) -> Result<&'g Table> {
    if let Err(reason) = &view.servable {
        return Err(Error::NotServable {
            view: view.name.clone(),
            reason: reason.clone(),
        });
    }
    generation.table(index).ok_or_else(|| Error::NotServable {
        view: view.name.clone(),
        reason: "it is not configured to be served online; set online=True and apply".to_owned(),
    })
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
