//! The directory as a whole: honest answers, faults at every step, and processes killed in the middle of an epoch.

mod faults;
mod honest;
mod killed;
mod waiting;
mod world;
