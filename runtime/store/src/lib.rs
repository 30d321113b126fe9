//! The embedded online store: redb tables, row codec, event-time rule, read index.
