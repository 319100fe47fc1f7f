//! Making an account, adding a device to one, changing which devices it has, and leaving (rules ID-2, ID-6, ID-7).
//!
//! ```text
//! meet the server --> open by passphrase or recovery key --> enrol: let in by a device, alone, or as the first --> settle
//!        |                                                `-> change: revoke, rename, keep, another passphrase or none
//!        `-> register: a new account, or one that begins anew ------------------------------------------------> settle
//! ```

mod anew;
mod change;
mod consent;
mod login;
mod logout;
mod meet;
mod open;
mod passphrase;
mod recover;
mod register;
mod settle;

pub(super) use change::{Change, change};
pub(super) use consent::give;
pub(super) use login::login;
pub use login::{Entrance, Login};
pub(super) use logout::logout;
pub use open::Unlock;
pub(super) use passphrase::{set as set_passphrase, switch_off as switch_passphrase_off};
pub(super) use register::register;
pub use register::{MIN_PASSPHRASE, Registered, Registration};
