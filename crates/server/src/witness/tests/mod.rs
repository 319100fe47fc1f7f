//! A witness before an honest log and before one that lies, in memory; and before a real one over HTTPS.

mod audit;
mod crash;
mod honest;
mod lies;
mod network;
mod world;
