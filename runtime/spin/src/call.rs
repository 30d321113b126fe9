//! One request: a place, an instance, the answer, and what the guest goes on with behind it.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use galley_transform::{Ticker, clip};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{Request, Response};
use tokio::sync::oneshot;
use tokio::time::timeout_at;
use wasmtime::component::Accessor;
use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi_http::p3;
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _};

use crate::bounds::Limit;
use crate::component::{HttpComponent, REASON_BYTES_MAX};
use crate::error::{Error, Result};
use crate::pool::Live;
use crate::state::{State, Stopped};
use crate::status::Outcome;

type Answer = Result<Response<Bytes>>;

/// Where the answer goes, until it has gone there. Each is one call that the breaker has admitted.
struct Answering {
    component: Arc<HttpComponent>,
    started: Instant,
    sender: Option<oneshot::Sender<Answer>>,
}

/// A request that has a place or waits for one.
struct Pending(Arc<HttpComponent>);

impl HttpComponent {
    /// Answers a request. Runs on the engine's threads; when the caller goes, the guest finishes
    /// what it does within its deadline.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(crate) async fn handle(self: &Arc<Self>, request: Request<Bytes>) -> Answer {
        let started = Instant::now();
        // Each request is noted once: here, or where its answer is sent.
        let error = match self.begin(request, started) {
            Ok(answer) => match answer.await {
                Ok(answer) => return answer,
                Err(_) => Error::Internal {
                    component: self.name().to_owned(),
                    what: "the task of a request ended in a panic".to_owned(),
                },
            },
            Err(error) => error,
        };
        self.counters.note(Outcome::of(&error), started.elapsed());
        Err(error)
    }

    /// Puts a request on the engine's threads.
    fn begin(
        self: &Arc<Self>,
        request: Request<Bytes>,
        started: Instant,
    ) -> Result<oneshot::Receiver<Answer>> {
        let limits = &self.shared.limits;
        if request.body().len() > limits.request_body_bytes_max {
            return Err(self.limit(Limit::RequestBody));
        }
        let deadline = started + limits.deadline;
        // Counted here, not in the task, so that there are never more tasks than there may be.
        let Some(pending) = Pending::of(self) else {
            return Err(self.busy(Limit::Waiting));
        };
        self.breaker
            .admit(|| self.engine.millis(started))
            .map_err(|retry_after| Error::BreakerOpen {
                component: self.name().to_owned(),
                retry_after,
            })?;
        let (sender, receiver) = oneshot::channel();
        let mut answering = Answering {
            component: Arc::clone(self),
            started,
            sender: Some(sender),
        };
        self.engine.handle().spawn(async move {
            let component = &pending.0;
            let place = timeout_at(deadline.into(), component.places.acquire()).await;
            match place {
                Ok(Ok(_place)) => component.run(request, deadline, &mut answering).await,
                _ => {
                    answering.send(Err(component.busy(Limit::Concurrency)));
                }
            }
        });
        Ok(receiver)
    }

    async fn run(
        self: &Arc<Self>,
        request: Request<Bytes>,
        deadline: Instant,
        answering: &mut Answering,
    ) {
        let _running = Ticker::running(Arc::clone(self.engine.ticker()));
        let mut live = match self.live(deadline).await {
            Ok(live) => live,
            Err(error) => {
                answering.send(Err(error));
                return;
            }
        };
        let body_bytes_max = self.shared.limits.response_body_bytes_max;
        let service = &live.service;
        let call = live.store.run_concurrent(async |accessor| {
            let answer = respond(accessor, service, request, body_bytes_max).await?;
            let answer = answer.map_err(|why| self.no_answer(why));
            answering.send(answer);
            // What the guest has begun and not finished belongs to this request.
            poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
            wasmtime::error::Ok(())
        });
        let called = timeout_at(deadline.into(), call).await;
        let fault = match called {
            Ok(Ok(Ok(()))) => return self.keep(live),
            Ok(Ok(Err(error)) | Err(error)) => self.fault(&error, live.store.data()),
            Err(_) => self.limit(Limit::Deadline),
        };
        if !answering.send(Err(fault)) {
            let component = self.name();
            tracing::warn!(
                component,
                "component was stopped in what it did after its answer"
            );
        }
    }

    /// An instance: one that was kept, or a fresh one.
    async fn live(&self, deadline: Instant) -> Result<Live> {
        if let Some(live) = self.take(deadline) {
            return Ok(live);
        }
        self.counters.instances.fetch_add(1, Relaxed);
        let mut store = State::store(&self.engine, &self.shared, deadline);
        let made = timeout_at(deadline.into(), self.pre.instantiate_async(&mut store)).await;
        match made {
            Ok(Ok(service)) => Ok(Live::new(store, service)),
            Ok(Err(error)) => Err(self.fault(&error, store.data())),
            Err(_) => Err(self.limit(Limit::Deadline)),
        }
    }

    fn no_answer(&self, why: NoAnswer) -> Error {
        match why {
            NoAnswer::TooLarge => self.limit(Limit::ResponseBody),
            NoAnswer::Said(what) => Error::NoAnswer {
                component: self.name().to_owned(),
                what: clip(&what, REASON_BYTES_MAX),
            },
        }
    }

    /// The error that says why the engine ended a call.
    fn fault(&self, error: &wasmtime::Error, state: &State) -> Error {
        if let Some(Stopped(limit)) = error.downcast_ref() {
            return self.limit(*limit);
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return self.busy(Limit::Instances);
        }
        if error.downcast_ref() == Some(&Trap::StackOverflow) {
            return self.limit(Limit::Stack);
        }
        // A guest whose growth was refused mostly aborts: the refusal is the cause.
        if let Some(limit) = state.used.refused {
            return self.limit(limit);
        }
        let what = clip(&format!("{:#}", error.root_cause()), REASON_BYTES_MAX);
        if what.starts_with(TRANSFER) {
            return self.limit(Limit::Transfer);
        }
        Error::Trap {
            component: self.name().to_owned(),
            what,
        }
    }
}

/// How the engine begins to say that a call handed over too much. It has no public type for it: the
/// text is that of the version the workspace is pinned to.
const TRANSFER: &str = "too much data is being copied between the host and the guest";

/// Why a guest that ran to its end gave no answer.
enum NoAnswer {
    TooLarge,
    Said(String),
}

/// Hands the request to the guest and takes its answer whole.
async fn respond(
    accessor: &Accessor<State>,
    service: &p3::bindings::Service,
    request: Request<Bytes>,
    body_bytes_max: usize,
) -> wasmtime::Result<Result<Response<Bytes>, NoAnswer>> {
    let request = accessor.with(|mut access| {
        let request = request.map(Full::new);
        let hooks = access.get().http().hooks;
        // What becomes of the request's body is the guest's business alone.
        let (request, _taken) = p3::Request::from_http(hooks, request);
        request
    });
    let answered = service.handle(accessor, request).await?;
    let response = match answered {
        Ok(response) => response,
        Err(code) => return Ok(Err(NoAnswer::Said(format!("{code:?}")))),
    };
    let response =
        accessor.with(|access| response.into_http(access, std::future::ready(Ok(()))))?;
    let (parts, body) = response.into_parts();
    let body: Limited<WasiBody> = Limited::new(body, body_bytes_max);
    match body.collect().await {
        Ok(body) => Ok(Ok(Response::from_parts(parts, body.to_bytes()))),
        Err(error) if error.is::<LengthLimitError>() => Ok(Err(NoAnswer::TooLarge)),
        Err(error) => Ok(Err(NoAnswer::Said(format!("its body broke off: {error}")))),
    }
}

// === impl Pending ===

impl Pending {
    /// `None` when as many wait as may.
    fn of(component: &Arc<HttpComponent>) -> Option<Self> {
        let limits = &component.shared.limits;
        let max = limits.concurrency_max.saturating_add(limits.waiting_max);
        component
            .pending
            .fetch_update(Relaxed, Relaxed, |pending| {
                (pending < max).then_some(pending + 1)
            })
            .ok()
            .map(|_| Self(Arc::clone(component)))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.pending.fetch_sub(1, Relaxed);
    }
}

// === impl Answering ===

impl Answering {
    /// Sends the answer; `false` when one had gone already.
    fn send(&mut self, answer: Answer) -> bool {
        let Some(sender) = self.sender.take() else {
            return false;
        };
        let (outcome, failed) = match &answer {
            Ok(_) => (Outcome::Answered, Some(false)),
            Err(error) => (Outcome::of(error), error.is_guest_fault().then_some(true)),
        };
        self.component
            .counters
            .note(outcome, self.started.elapsed());
        self.note(failed);
        // Whoever asked may have gone; the guest has done its work all the same.
        drop(sender.send(answer));
        true
    }

    fn note(&self, failed: Option<bool>) {
        let now_ms = self.component.engine.millis(Instant::now());
        self.component.breaker.note(now_ms, failed);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        // The task ended in a panic, or its threads are being stopped.
        if self.sender.is_some() {
            self.note(None);
        }
    }
}
