//! Feast registry bytes to an immutable Registry, and requests to plans.
