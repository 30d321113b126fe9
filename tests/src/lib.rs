//! Tests of promises.
