//! How many files the system lets a server have open: each TCP connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Asks the system for as many as it gives without asking anybody: shells and units often start programs with a thousand.
pub fn open_as_many_as_allowed() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        warn!(%error, "the limit of open files stays at {}", current.unwrap_or(u64::MAX));
    }
}

/// As many as a server started from here could get; `None` where nothing bounds them.
#[must_use]
pub fn allowed() -> Option<u64> {
    getrlimit(Resource::Nofile).maximum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        open_as_many_as_allowed();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(allowed(), limit.maximum);
    }
}
