//! Bodies and heads of requests without a socket: for the fuzzers and for the replay of what they
//! found.

use std::sync::Arc;

use galley_node::{Node, WriteMode};

use crate::failure::Failure;
use crate::reply::Reply;
use crate::routes::{get, write};
use crate::serve::plain_request;
use crate::service::Service;
use crate::{ApiConfig, NodeSlot, ServerInfo};

/// A service that nobody is connected to.
#[derive(Debug)]
pub struct Desk {
    service: Service,
}

/// The status and the body of an answer.
pub type Answer = (u16, Vec<u8>);

// === impl Desk ===

impl Desk {
    /// A service for `node`.
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        let info = ServerInfo {
            version: String::new(),
        };
        let slot = Arc::new(NodeSlot::filled(node));
        Self {
            service: Service::new(ApiConfig::default(), slot, info, 1),
        }
    }

    /// Answers a look-up with this body, however large.
    #[must_use]
    pub fn look_up(&self, body: &[u8]) -> Answer {
        let answered = self.service.guarded(|| {
            let reply = get::run(&self.service, body, None)?;
            reply.ok_or_else(Failure::not_found)
        });
        told(answered)
    }

    /// Answers the look-up that stands at the start of a connection's bytes, and returns with it where
    /// that ends; `None` when they do not begin with a plain one.
    #[must_use]
    pub fn connection(&self, bytes: &[u8]) -> Option<(Answer, usize)> {
        let (body, end) = plain_request(bytes, &self.service.config)?;
        Some((self.look_up(body), end))
    }

    /// Takes the body of a push, up to where its rows are queued; 202 when they are.
    #[must_use]
    pub fn push(&self, body: &[u8]) -> Answer {
        let begun = || write::begin_push(&self.service, body, WriteMode::Sync);
        told(self.service.guarded(|| {
            drop(begun()?);
            Ok(Reply::empty())
        }))
    }

    /// Takes the body of a write to one view, up to where its rows are queued.
    #[must_use]
    pub fn write(&self, body: &[u8]) -> Answer {
        let begun = || write::begin_write(&self.service, body, WriteMode::Sync);
        told(self.service.guarded(|| {
            drop(begun()?);
            Ok(Reply::empty())
        }))
    }
}

fn told(answered: Result<Reply, Failure>) -> Answer {
    let reply = answered.unwrap_or_else(Failure::into_reply);
    (reply.status.as_u16(), reply.body)
}
