//! `POST /push` and `POST /write-to-online-store`.

use std::sync::Arc;

use galley_node::{Node, Pending, PushRequest, PushTo, WriteMode, WriteReceipt, WriteRequest};
use galley_types::ErrorKind;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::LOCATION;
use serde_json::json;

use super::frame::frame;
use super::{Call, json as json_reply, node, on_pool, query};
use crate::failure::Failure;
use crate::json::{Form, Spare, parse_tree};
use crate::reply::Reply;
use crate::serve::HeldBody;
use crate::service::{Service, bug};

/// Checks a body and hands its rows to the node.
type Begin = fn(&Service, &[u8], WriteMode) -> Result<Pending, Failure>;

const SOURCE: &str = "push_source_name";
const VIEW: &str = "feature_view_name";
const DF: &str = "df";

/// Pushes to a push source.
pub(super) async fn push(call: Call<'_>, body: Incoming) -> Result<Reply, Failure> {
    // Feast answers a push with nothing at all.
    answer(call, body, (begin_push, |_| false), Reply::empty()).await
}

/// Writes to one view.
pub(super) async fn write(call: Call<'_>, body: Incoming) -> Result<Reply, Failure> {
    answer(
        call,
        body,
        (begin_write, Node::computes_writes),
        Reply::null(),
    )
    .await
}

async fn answer(
    call: Call<'_>,
    body: Incoming,
    (begin, may_hold_up): (Begin, fn(&Node) -> bool),
    done: Reply,
) -> Result<Reply, Failure> {
    let service = call.service;
    let for_pool = may_hold_up(call.node(&body)?);
    let mode = query::mode(call.query);
    let body = call.body(body).await?;
    let mode = mode?;
    let _permit = service.admit()?;
    let pending = start(service, body, (mode, for_pool), begin).await?;
    let receipt = pending.wait().await.map_err(|error| Failure::of(&error))?;
    match mode {
        WriteMode::Sync => Ok(done),
        WriteMode::Async => queued(&receipt),
    }
}

async fn start(
    service: &Arc<Service>,
    body: HeldBody,
    (mode, for_pool): (WriteMode, bool),
    begin: Begin,
) -> Result<Pending, Failure> {
    if !for_pool && body.bytes.len() <= service.config.inline_body_bytes_max {
        return begun(service, &body, mode, begin);
    }
    let shared = Arc::clone(service);
    on_pool(move || begun(&shared, &body, mode, begin)).await?
}

fn begun(
    service: &Service,
    body: &HeldBody,
    mode: WriteMode,
    begin: Begin,
) -> Result<Pending, Failure> {
    let mut pending = None;
    service.guarded(|| {
        pending = Some(begin(service, &body.bytes, mode)?);
        Ok(Reply::empty())
    })?;
    pending.ok_or_else(|| bug("a write that began has no end".to_owned()))
}

fn queued(receipt: &WriteReceipt) -> Result<Reply, Failure> {
    let Some(ticket) = receipt.ticket else {
        return Err(bug("an asynchronous write got no ticket".to_owned()));
    };
    let href = format!("/v1/tickets/{ticket}");
    let tree = json!({"ticket": ticket, "status": "queued", "href": href});
    Ok(json_reply(StatusCode::ACCEPTED, &tree).with(LOCATION, &href))
}

fn form<'a>(
    body: &'a [u8],
    spare: &'a Spare,
    required: &[&'static str],
) -> Result<Form<'a>, Failure> {
    if body.is_empty() {
        return Err(Failure::body_missing());
    }
    let tree = parse_tree(body, spare).map_err(|error| Failure::json_invalid(&error))?;
    Form::open(tree, required)
}

/// Checks the body of a push and hands its rows to the node.
pub(crate) fn begin_push(
    service: &Service,
    body: &[u8],
    mode: WriteMode,
) -> Result<Pending, Failure> {
    let spare = Spare::default();
    let mut form = form(body, &spare, &[SOURCE, DF])?;
    let source = form.text(SOURCE, "");
    let df = form.dict(DF);
    // The registry is reloaded when it changes, so that no cache of it needs to be allowed.
    form.flag("allow_registry_cache", true);
    let to = form.text("to", "online");
    let transform_on_write = form.flag("transform_on_write", true);
    form.finish()?;
    let to = match &*to {
        "online" => PushTo::Online,
        "offline" => PushTo::Offline,
        "online_and_offline" => PushTo::OnlineAndOffline,
        other => {
            let message = format!(
                "{other} is not a supported push format. Please specify one of these ['online', \
                 'offline', 'online_and_offline']."
            );
            return Err(Failure::refused(ErrorKind::Invalid, &message));
        }
    };
    let request = PushRequest {
        source,
        columns: frame(df)?,
        mode,
        to,
        transform_on_write,
    };
    let pending = node(service)?
        .push(&request)
        .map_err(|error| Failure::of(&error))?;
    service
        .metrics
        .pushed(&request.source, mode == WriteMode::Async);
    Ok(pending)
}

/// Checks the body of a write to one view and hands its rows to the node.
pub(crate) fn begin_write(
    service: &Service,
    body: &[u8],
    mode: WriteMode,
) -> Result<Pending, Failure> {
    let spare = Spare::default();
    let mut form = form(body, &spare, &[VIEW, DF])?;
    let view = form.text(VIEW, "");
    let df = form.dict(DF);
    form.flag("allow_registry_cache", true);
    let transform_on_write = form.flag("transform_on_write", true);
    form.finish()?;
    let request = WriteRequest {
        view,
        columns: frame(df)?,
        mode,
        transform_on_write,
    };
    node(service)?
        .write(&request)
        .map_err(|error| Failure::of(&error))
}
