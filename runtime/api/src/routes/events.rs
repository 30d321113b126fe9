//! `GET /v1/jobs/{id}/events`: a job's progress as server-sent events.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use galley_node::{JobId, JobState, JobStatus, Node};
use galley_types::ErrorKind;
use hyper::StatusCode;
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::Instant;

use super::jobs;
use crate::failure::Failure;
use crate::reply::{Media, Reply};
use crate::service::Service;

/// How often a job is looked at for news, and whether the server stops.
const TICK: Duration = Duration::from_millis(250);
/// The longest time without a line, so that a connection that is gone is noticed; shorter where
/// idle connections are closed sooner.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Events that wait for a slow listener; those between them are left out.
const EVENTS_WAITING: usize = 1;

/// Answers with the job as it stands, then with an event `progress` whenever that changes, and
/// `end` at its end, which also ends the answer.
pub(super) fn follow(service: &Arc<Service>, node: &Arc<Node>, id: &str) -> Result<Reply, Failure> {
    let job = jobs::find(node, id)?;
    let Ok(seat) = Arc::clone(&service.listeners).try_acquire_owned() else {
        let message = format!(
            "{} listen to jobs already (limits.event_listeners_max); ask GET /v1/jobs/{id} now and \
             then instead",
            service.config.event_listeners_max
        );
        return Err(Failure::refused(ErrorKind::Busy, &message));
    };
    let (sender, events) = channel(EVENTS_WAITING);
    let told = tell(Arc::clone(service), Arc::clone(node), job.id, sender);
    tokio::spawn(async move {
        told.await;
        drop(seat);
    });
    Ok(Reply {
        media: Media::Events,
        events: Some(events),
        ..Reply::json(StatusCode::OK, Vec::new())
    })
}

/// Sends events until the job ends, the listener goes or the server stops.
async fn tell(service: Arc<Service>, node: Arc<Node>, id: JobId, sender: Sender<Bytes>) {
    let heartbeat = HEARTBEAT.min(service.config.keep_alive_idle / 3);
    let mut done = std::pin::pin!(node.job_done(id));
    let mut told = String::new();
    let mut told_at = Instant::now();
    loop {
        let Some(job) = node.job(id) else {
            return;
        };
        let has_ended = job.state != JobState::Running;
        let event = event(&job, if has_ended { "end" } else { "progress" });
        let news = if event != told {
            Some(Bytes::from(event.clone()))
        } else if told_at.elapsed() >= heartbeat {
            Some(Bytes::from_static(b": still running\n\n"))
        } else {
            None
        };
        if let Some(news) = news {
            // The listener's end of the channel goes with the connection.
            if sender.send(news).await.is_err() {
                return;
            }
            (told, told_at) = (event, Instant::now());
        }
        if has_ended || service.draining.load(Ordering::Acquire) {
            return;
        }
        tokio::select! {
            _ = &mut done => {}
            () = tokio::time::sleep(TICK) => {}
            () = sender.closed() => return,
        }
    }
}

fn event(job: &JobStatus, name: &str) -> String {
    format!("event: {name}\ndata: {}\n\n", jobs::tree(job))
}
