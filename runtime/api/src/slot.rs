//! The place where a node appears once its store and registry are open.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;
use galley_node::Node;

use crate::{FeedAgent, HttpComponents};

/// Holds the node, and before that how far its start has come. The server listens and answers
/// `/live` and `/ready` from the first moment.
#[derive(Debug, Default)]
pub struct NodeSlot {
    node: OnceLock<Arc<Node>>,
    startup: Mutex<Startup>,
    components: ArcSwapOption<Components>,
    feed: OnceLock<Arc<dyn FeedAgent>>,
}

/// A pointer to what is not sized, so that it can be swapped.
#[derive(Debug)]
struct Components(Arc<dyn HttpComponents>);

/// How far a start has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Startup {
    /// What is being done, such as `opening the store`.
    pub step: String,
    /// How much of the step is done, where that is known: 0 to 100.
    pub percent: Option<u8>,
}

// === impl NodeSlot ===

impl NodeSlot {
    /// A slot whose node is there already.
    #[must_use]
    pub fn filled(node: Arc<Node>) -> Self {
        let slot = Self::default();
        slot.fill(node);
        slot
    }

    /// Puts the node into its place; the first one stays.
    pub fn fill(&self, node: Arc<Node>) {
        if self.node.set(node).is_err() {
            tracing::warn!("the server has a node already, the new one is ignored");
        }
    }

    /// Puts HTTP components into their place, instead of those that were there; requests that are
    /// under way are finished by the old ones.
    pub fn serve_components(&self, components: Option<Arc<dyn HttpComponents>>) {
        self.components
            .store(components.map(|components| Arc::new(Components(components))));
    }

    /// The HTTP components.
    #[must_use]
    pub fn components(&self) -> Option<Arc<dyn HttpComponents>> {
        let held = self.components.load();
        held.as_ref().map(|held| Arc::clone(&held.0))
    }

    /// Puts what follows a feed into its place; the first one stays.
    pub fn follow(&self, agent: Arc<dyn FeedAgent>) {
        if self.feed.set(agent).is_err() {
            tracing::warn!("the server has an agent already, the new one is ignored");
        }
    }

    /// What follows a feed, if the node follows one.
    #[must_use]
    pub fn feed(&self) -> Option<Arc<dyn FeedAgent>> {
        self.feed.get().map(Arc::clone)
    }

    /// Tells how far the start has come.
    pub fn progress(&self, step: &str, percent: Option<u8>) {
        let startup = Startup {
            step: step.to_owned(),
            percent,
        };
        *self.startup.lock().unwrap_or_else(PoisonError::into_inner) = startup;
    }

    /// The node, once it is there.
    #[must_use]
    pub fn node(&self) -> Option<&Arc<Node>> {
        self.node.get()
    }

    /// How far the start has come.
    #[must_use]
    pub fn startup(&self) -> Startup {
        self.startup
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
