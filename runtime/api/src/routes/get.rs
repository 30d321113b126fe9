//! `POST /get-online-features`.

use std::cell::RefCell;
use std::sync::Arc;

use galley_node::{
    Answer, Error, FixedColumn, GetRequest, Node, PartRow, Selection, SelectionText,
};
use galley_types::{Cell, ErrorKind, EventTime, FieldStatus, Value, ValueType};
use hyper::StatusCode;
use hyper::body::Incoming;
use smallvec::SmallVec;

use super::freshness::{self, FRESHNESS};
use super::{Call, node, on_pool};
use crate::failure::Failure;
use crate::json::{Features, GetBody, Spare};
use crate::metrics::{Shape, ViewCounters};
use crate::render::{Frame, Rows, StatusCounts, WriteError, names, write_answer};
use crate::reply::Reply;
use crate::service::Service;

/// Entity columns of an answer that take no memory of their own.
const COLUMNS_INLINE: usize = 4;

thread_local! {
    static COUNTS: RefCell<Vec<StatusCounts>> = const { RefCell::new(Vec::new()) };
}

/// Answers a look-up on the worker itself, or on the blocking pool when it is large or needs a
/// transformation that may hold the worker up.
pub(super) async fn answer(call: Call<'_>, body: Incoming) -> Result<Reply, Failure> {
    call.node(&body)?;
    let body = call.body(body).await?;
    match at_once(call.service, &body.bytes) {
        Some(answered) => answered,
        None => later(Arc::clone(call.service), body).await,
    }
}

/// Answers a look-up on the calling thread, which has others to serve; `None` when it is large or
/// may wait.
pub(crate) fn at_once(service: &Service, body: &[u8]) -> Option<Result<Reply, Failure>> {
    if body.len() > service.config.inline_body_bytes_max {
        return None;
    }
    let _permit = match service.admit() {
        Ok(permit) => permit,
        Err(refusal) => return Some(Err(refusal)),
    };
    let cells_max = Some(service.config.inline_cells_max);
    service
        .guarded(|| run(service, body, cells_max))
        .transpose()
}

/// Answers a look-up on the blocking pool.
pub(crate) async fn later(
    service: Arc<Service>,
    body: impl AsRef<[u8]> + Send + 'static,
) -> Result<Reply, Failure> {
    let permit = service.admit_owned()?;
    on_pool(move || {
        let _permit = permit;
        service.guarded(|| {
            let reply = run(&service, body.as_ref(), None)?;
            reply.ok_or_else(Failure::not_found)
        })
    })
    .await?
}

/// Runs a look-up. With `cells_max` the thread has others to serve: `None` when it has more cells,
/// or a transformation may hold it up.
pub(crate) fn run(
    service: &Service,
    body: &[u8],
    cells_max: Option<usize>,
) -> Result<Option<Reply>, Failure> {
    let node = node(service)?;
    let spare = Spare::default();
    let asked = GetBody::parse(body, &spare)?;
    match look_up(service, node, &asked, cells_max) {
        // The text of the references was no list of strings: what is wrong with it, the tree tells.
        Err(Stopped::Node(Error::SelectionText)) => {
            let asked = GetBody::parse_slowly(body, &spare)?;
            look_up(service, node, &asked, cells_max).map_err(|stopped| stopped.failure(service))
        }
        other => other.map_err(|stopped| stopped.failure(service)),
    }
}

/// What all answers of a plan share.
struct Prepared {
    /// See [`Frame::output_names`].
    output_names: Box<[u8]>,
    counters: ViewCounters,
}

/// Why a look-up has no answer.
enum Stopped {
    Node(Error),
    TooLarge,
}

impl Stopped {
    fn failure(self, service: &Service) -> Failure {
        match self {
            Self::Node(error) => Failure::of(&error),
            Self::TooLarge => too_large(service.config.answer_bytes_max),
        }
    }
}

fn look_up(
    service: &Service,
    node: &Node,
    asked: &GetBody<'_>,
    cells_max: Option<usize>,
) -> Result<Option<Reply>, Stopped> {
    if cells_max.is_some_and(|limit| exceeds(asked, node, limit)) {
        return Ok(None);
    }
    let selection = match (asked.service.as_deref(), &asked.features) {
        (Some(name), _) if !name.is_empty() => Selection::Service(name),
        (_, Features::List(features)) => Selection::Features(features),
        (_, Features::Text(text)) => Selection::Text(SelectionText {
            text,
            parse: Features::take_apart,
        }),
    };
    let request = GetRequest {
        selection,
        full_feature_names: asked.full_feature_names,
        entities: &asked.entities,
    };
    let render = |answer: &Answer<'_>| write((service, node), answer, asked);
    let written = if cells_max.is_some() {
        node.get_at_once(&request, render)
    } else {
        node.get(&request, render)
    };
    match written {
        Err(Error::WouldWait) => Ok(None),
        Ok(Ok(reply)) => Ok(Some(reply)),
        Ok(Err(WriteError::TooLarge)) => Err(Stopped::TooLarge),
        Ok(Err(WriteError::Cell(error))) | Err(error) => Err(Stopped::Node(error)),
    }
}

/// Whether a look-up has more cells than `limit`. The features of a service are counted only when
/// the rows alone do not settle it.
fn exceeds(body: &GetBody<'_>, node: &Node, limit: usize) -> bool {
    let rows = body.row_count();
    if rows.saturating_mul(node.config().features_max) <= limit {
        return false;
    }
    let features = match body.service.as_deref() {
        Some(name) if !name.is_empty() => {
            node.registry()
                .and_then(|registry| {
                    let found = registry
                        .services()
                        .iter()
                        .find(|service| service.name == name)?;
                    // A projection without features stands for all of its view's.
                    let all = |view: &str| {
                        let view = registry.view(registry.find_view(view)?)?;
                        Some(view.schema.fields.len())
                    };
                    let counts = found.projections.iter().map(|projection| {
                        match projection.features.len() {
                            0 => all(&projection.view).unwrap_or(0),
                            features => features,
                        }
                    });
                    Some(counts.sum())
                })
                .unwrap_or(0)
        }
        _ => body.features.count(),
    };
    rows.saturating_mul(features) > limit
}

fn too_large(limit: usize) -> Failure {
    let message = format!(
        "the answer has more than {limit} bytes (limits.answer_bytes_max); ask for fewer entity rows \
         or features at a time"
    );
    Failure::refused(ErrorKind::TooLarge, &message)
}

fn write(
    (service, node): (&Service, &Node),
    answer: &Answer<'_>,
    asked: &GetBody<'_>,
) -> Result<Reply, WriteError<Error>> {
    let plan = answer.plan();
    let prepare = || Prepared {
        output_names: names(plan.outputs().iter().map(|output| output.name.as_str())),
        counters: service.metrics.of_views(plan.part_names()),
    };
    let own;
    let prepared = if let Some(prepared) = plan.prepared(prepare) {
        prepared
    } else {
        own = prepare();
        &own
    };
    let columns: SmallVec<[(&str, &[Value]); COLUMNS_INLINE]> = answer
        .entity_columns()
        .iter()
        .map(|column| (column.name, column.values.as_slice()))
        .collect();
    let ages = asked.freshness.then(|| freshness::of_plan(node, plan));
    let frame = Frame {
        columns: &columns,
        output_names: &prepared.output_names,
        bytes_max: service.config.answer_bytes_max,
        versions: asked.version_metadata.then(|| plan.versions()),
        freshness: ages.as_ref().map(|(ages, _)| ages.as_str()),
    };
    COUNTS.with_borrow_mut(|counts| {
        let body = write_answer(&AnswerRows(answer), &frame, counts)?;
        service
            .metrics
            .looked_up(answer.row_count(), &prepared.counters, counts);
        let mut reply = Reply::json(StatusCode::OK, body);
        reply.shape = Some(Shape::of(plan.outputs().len(), plan.part_count()));
        Ok(match &ages {
            Some((_, worst)) => reply.with(FRESHNESS, worst.label()),
            None => reply,
        })
    })
}

/// A node's answer as the renderer sees it.
struct AnswerRows<'a, 's>(&'a Answer<'s>);

impl Rows for AnswerRows<'_, '_> {
    type Error = Error;

    fn row_count(&self) -> usize {
        self.0.row_count()
    }

    fn part_count(&self) -> usize {
        let plan = self.0.plan();
        plan.part_count() + plan.transform_count()
    }

    fn outputs(&self) -> impl Iterator<Item = (usize, ValueType, FixedColumn<'_>)> {
        let outputs = self.0.plan().outputs().iter();
        outputs.map(|output| (output.part, output.value_type, self.0.column(output)))
    }

    fn part_rows(&self, part: usize) -> impl Iterator<Item = (FieldStatus, EventTime)> {
        let rows = self.0.part_rows(part).iter();
        rows.map(|row: &PartRow<'_>| (row.status, row.event_time))
    }

    #[inline]
    fn cell(&self, output: usize, row: usize) -> Result<(FieldStatus, Cell<'_>), Error> {
        self.0.cell(output, row)
    }

    fn quirks(&self) -> bool {
        self.0.quirks()
    }
}
