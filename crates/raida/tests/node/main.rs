//! What a node answers, by its bytes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "a test may fail")]

mod budgets;
mod house;
mod reference_vectors;
mod spoofed;
mod statuses;
mod theft_drill;
