//! Why a call has no answer.

use std::sync::Arc;

use wasmtime::{PoolConcurrencyLimitError, Store, Trap};

use crate::column::GuestError;
use crate::error::{Error, Phase};
use crate::limits::Limit;
use crate::state::{State, Stopped};
use crate::text::clip;
use crate::transform::{REASON_BYTES_MAX, Transform};

impl Transform {
    pub(crate) fn guest_error(&self, error: GuestError, rows: u32) -> Error {
        let transform = Arc::clone(&self.common.name);
        let clip = |text: &str| clip(text, self.common.limits.error_bytes_max);
        match error {
            // Its word only: the batch was checked before it was handed over.
            GuestError::InvalidInput(message) => Error::Failed {
                transform,
                message: clip(&format!("it cannot use the batch: {message}")),
            },
            GuestError::Rejected(rejection) => Error::Rejected {
                transform,
                row: rejection.row.filter(|row| *row < rows),
                message: clip(&rejection.message),
            },
            GuestError::Internal(message) => Error::Failed {
                transform,
                message: clip(&message),
            },
        }
    }

    /// The error that says why the engine ended a call.
    pub(crate) fn fault(
        &self,
        error: &wasmtime::Error,
        store: &Store<State>,
        during: Phase,
    ) -> Error {
        if let Some(Stopped(limit)) = error.downcast_ref() {
            return self.limit(*limit, during);
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return Error::Busy {
                transform: Arc::clone(&self.common.name),
                limit: Limit::Instances,
                value: self.engine.limit(Limit::Instances),
            };
        }
        if error.downcast_ref() == Some(&Trap::StackOverflow) {
            return self.limit(Limit::Stack, during);
        }
        if is_fuel_exhausted(error) {
            return self.limit(Limit::Result, during);
        }
        // A guest whose growth was refused mostly aborts: the refusal is the cause.
        if let Some(limit) = store.data().used.refused {
            return self.limit(limit, during);
        }
        let mut what = clip(&format!("{:#}", error.root_cause()), REASON_BYTES_MAX);
        if let Some(line) = &store.data().last_error {
            what = format!("{what}; before that it said: {line}");
        }
        let transform = Arc::clone(&self.common.name);
        if during == Phase::Apply && error.downcast_ref::<Trap>().is_none() {
            return Error::BadResult { transform, what };
        }
        Error::Trap {
            transform,
            during,
            what,
        }
    }

    pub(crate) fn limit(&self, limit: Limit, during: Phase) -> Error {
        let value = self.common.limits.value(limit);
        Error::Limit {
            transform: Arc::clone(&self.common.name),
            during,
            limit,
            value: value.unwrap_or_else(|| self.engine.limit(limit)),
        }
    }
}

/// Whether an answer passed the bytes that may be handed over. The engine has no public type for
/// it: the text is that of the version the workspace is pinned to, and a test holds it to that.
fn is_fuel_exhausted(error: &wasmtime::Error) -> bool {
    error
        .root_cause()
        .to_string()
        .starts_with("too much data is being copied between the host and the guest")
}
