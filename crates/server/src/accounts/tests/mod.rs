//! The desk with real keys, and clients that do by hand what the command line does.

mod anew;
mod joining;
mod passphrase;
mod racing;
mod recovery;
mod world;
