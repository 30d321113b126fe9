//! The heart of a node: look-ups, pushes, and the generation they run on.
