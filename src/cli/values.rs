//! Values of options, read as docker reads them, as far as no limit goes missing by it.

use std::time::Duration;

use netpolicy::policy::Layer;
use netpolicy::settings::Ca;

use super::run::Network;

/// docker's largest number of a user or group.
const LARGEST_ID: u64 = 2_147_483_647;
/// The engine refuses less with a text of its own.
const LEAST_SIZE: u64 = 6 << 20;

/// Explains why docker's words for "no limit" are refused.
fn no_limit(text: &str) -> Option<String> {
    let is_none = matches!(text.trim(), "0" | "-1" | "0.0");
    is_none.then(|| "no run is without a limit: leave the option out for the default".to_owned())
}

/// Bytes, as policies write them too.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    if let Some(why) = no_limit(text) {
        return Err(why);
    }
    netpolicy::settings::size(text)
        .filter(|bytes| *bytes >= LEAST_SIZE)
        .ok_or_else(|| "expected a size of at least 6MiB, such as 512MiB or 4GiB".to_owned())
}

/// Reads whether the terminal's title is used.
pub(crate) fn title(text: &str) -> Result<bool, String> {
    match text {
        "auto" => Ok(true),
        "never" => Ok(false),
        _ => Err("expected `auto` or `never`".to_owned()),
    }
}

/// Reads a layer whose files have a place of their own. A project's policy comes with its folder.
pub(crate) fn layer(text: &str) -> Result<Layer, String> {
    let layers = [Layer::Organisation, Layer::User, Layer::Run];
    let found = layers.into_iter().find(|layer| layer.to_string() == text);
    found.ok_or_else(|| {
        "expected `organisation`, `user` or `run`; a project is given by `--project`".to_owned()
    })
}

/// Reads a number of CPUs.
pub(crate) fn cpus(text: &str) -> Result<f64, String> {
    if let Some(why) = no_limit(text) {
        return Err(why);
    }
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.01);
    number.ok_or_else(|| "expected a number of CPUs from 0.01, such as 1.5".to_owned())
}

/// Reads a number of processes.
pub(crate) fn pids(text: &str) -> Result<u64, String> {
    if let Some(why) = no_limit(text) {
        return Err(why);
    }
    let number = text.parse::<u64>().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "expected a number of processes from 1, such as 512".to_owned())
}

/// Reads a time that is not over at once.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    if text.trim() == "0" {
        return Err("the run would be over before it began: give a time such as 30m".to_owned());
    }
    let time = humantime::parse_duration(text).map_err(|error| format!("{error}; write 90s, 30m or 2h"))?;
    if time.is_zero() {
        return Err("the run would be over before it began: give a time such as 30m".to_owned());
    }
    Ok(time)
}

/// Reads `USER[:GROUP]`, each a name or a number; either may be left out, as with docker.
pub(crate) fn user(text: &str) -> Result<String, String> {
    let expected = || format!("expected USER or USER:GROUP, names or numbers up to {LARGEST_ID}");
    let is_good = |part: &str| {
        let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let is_plain =
            !part.starts_with('-') && !part.contains(|c: char| c.is_control() || c.is_whitespace());
        if is_number { part.parse::<u64>().is_ok_and(|number| number <= LARGEST_ID) } else { is_plain }
    };
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 2 || !parts.iter().all(|part| is_good(part)) {
        return Err(expected());
    }
    Ok(text.to_owned())
}

/// Reads a directory in the container; empty: the image's.
pub(crate) fn workdir(text: &str) -> Result<String, String> {
    if text.contains('\0') || !(text.is_empty() || text.starts_with('/')) {
        return Err("expected an absolute path in the container, such as /workspace/src".to_owned());
    }
    Ok(text.to_owned())
}

/// Reads ringfence's words, and docker's for no network.
pub(crate) fn network(text: &str) -> Result<Network, String> {
    match text {
        "policy" => Ok(Network::Policy),
        "denied" | "none" => Ok(Network::Denied),
        "observe" => Ok(Network::Observe),
        "host" => Err("an agent never has the network of its host: write host.docker.internal into a policy, with `host-access: true`, for single ports of it".to_owned()),
        _ => Err("expected `policy`, `denied` or `observe`; an agent is in no network of the engine: permit names with --allow HOST[:PORT] or --policy FILE".to_owned()),
    }
}

/// Reads `system` or a file.
pub(crate) fn authorities(text: &str) -> Result<Ca, String> {
    match text {
        "" => Err("expected a file, or `system`".to_owned()),
        "system" => Ok(Ca::System),
        file => Ok(Ca::File(file.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_numbers_are_read_as_docker_reads_them_but_for_none() {
        for good in ["4g", "4G", "4GiB", "1.5g", "6m", " 512MiB"] {
            assert!(size(good).is_ok(), "{good}");
        }
        for bad in ["0", "-1", "", "5m", "4 parsecs", "nan", "99999999999999999999g"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert!(size("0").unwrap_err().contains("leave the option out"));
        assert_eq!((cpus("0.01"), cpus("1e0")), (Ok(0.01), Ok(1.0)));
        for bad in ["0", "-1", "0.001", "nan", "inf", "", "two"] {
            assert!(cpus(bad).is_err(), "{bad}");
        }
        assert_eq!(pids("7"), Ok(7));
        for bad in ["0", "-1", "1.5", "", "99999999999999999999"] {
            assert!(pids(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_run_is_over_before_it_began() {
        assert_eq!(time("1h 30m"), Ok(Duration::from_secs(5400)));
        for bad in ["0", "0s", "0ms", "-1", "", "90", "soon"] {
            assert!(time(bad).is_err(), "{bad}");
        }
        assert!(time("90").unwrap_err().contains("90s"));
    }

    #[test]
    fn a_user_is_a_name_or_a_number_that_the_engine_takes() {
        for good in ["", "1000", "1000:", ":1000", "me", "me:root", "0:2147483647", "www-data"] {
            assert_eq!(user(good), Ok(good.to_owned()));
        }
        for bad in ["99999999999", "1:99999999999", "-1", "1:-1", "a:b:c", "a b", "a\nb", "2147483648"] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_is_the_fence_or_none() {
        assert_eq!((network("policy"), network("none")), (Ok(Network::Policy), Ok(Network::Denied)));
        assert_eq!(network("observe"), Ok(Network::Observe));
        for other in ["host", "bridge", "container:x", "my-net", ""] {
            assert!(network(other).is_err(), "{other}");
        }
        assert!(workdir("").is_ok() && workdir("/x").is_ok() && workdir("x").is_err());
    }
}
