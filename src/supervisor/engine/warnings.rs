//! Judges the warnings with which an engine creates a container.
//!
//! Engines drop limits that their kernel or cgroups cannot give and say so in a warning that no
//! program has to read. Here a dropped limit ends the start. What an engine says of itself before
//! is judged by [`super::dialect::Dialect::check`].

use crate::term::{COULD_NOT_RUN, Failure};

/// Refuses a container that the engine made with less than it was asked for; returns the other
/// warnings, to be told.
pub(crate) fn judge(warnings: &[String]) -> Result<Vec<String>, Failure> {
    // Swap was told before anything was created.
    let is_swap = |text: &str| text.contains("swap limit");
    let dropped = |text: &str| {
        let text = text.to_ascii_lowercase();
        ["discarded", "ignored", "not support"].iter().any(|word| text.contains(word))
    };
    let mut told = Vec::new();
    let mut lost = Vec::new();
    for warning in warnings.iter().map(|warning| warning.trim()).filter(|warning| !is_swap(warning)) {
        if dropped(warning) { lost.push(warning.to_owned()) } else { told.push(warning.to_owned()) }
    }
    if lost.is_empty() {
        return Ok(told);
    }
    let mut failure =
        Failure::new(COULD_NOT_RUN, "the engine did not keep all of what the container was to be");
    failure.causes = lost;
    Err(failure
        .hint("ringfence runs nothing with less than was asked for; see what the engine lacks: docker info"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_limit_is_no_warning() {
        // The words of Docker 20.10 to 28.5, and of Podman 5.
        for lost in [
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.",
            "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
            "Your kernel does not support CPU CFS scheduler. CPU period/quota discarded.",
            "Resource limits are not supported and ignored on cgroups V1 rootless systems",
        ] {
            assert!(judge(&[lost.to_owned()]).is_err(), "{lost}");
        }
        let swap = "Your kernel does not support swap limit capabilities or the cgroup is not mounted. Memory limited without swap.";
        let other = "IPv4 forwarding is disabled. Networking will not work.";
        assert_eq!(judge(&[swap.to_owned(), other.to_owned()]).unwrap(), [other]);
    }
}
