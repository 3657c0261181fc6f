//! The number of files that this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to `enough`, as far as the hard one permits it. Returns how many files may
/// be open then. Programs that this process starts inherit it; containers do not, since an engine
/// starts these.
pub(crate) fn raise_limit(enough: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(enough, |maximum| maximum.min(enough));
    let current = limit.current.unwrap_or(enough);
    let raised = current < most
        && setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum }).is_ok();
    if raised { most } else { current }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_goes_up_to_the_hard_one_and_never_down() {
        let limit = getrlimit(Resource::Nofile);
        let hard = limit.maximum.unwrap_or(1 << 16);
        assert!(raise_limit(1) >= limit.current.unwrap_or(1), "it is not lowered");
        assert_eq!(raise_limit(hard.min(1 << 16)).min(1 << 16), hard.min(1 << 16));
        assert!(getrlimit(Resource::Nofile).current.is_none_or(|now| now >= hard.min(1 << 16)));
    }
}
