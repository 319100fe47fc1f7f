//! What a node answers to one request.

mod answer;
mod commands;
mod heal;
mod turn;
mod waiting;

pub use self::answer::{Asked, Node, NodeOptions};
pub use self::waiting::WaitsFor;
