//! Variables of a container.

use crate::serve::denied::Denied;
use crate::supervisor::spec::environment::OWN;

/// Names of variables that send programs to a proxy, in lower case.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"];

/// Returns the variables without proxies, which clients add by themselves and which no container
/// reaches, and without ringfence's own.
///
/// # Errors
/// When one has a NUL in it.
pub(super) fn decide(given: &[String], warnings: &mut Vec<String>) -> Result<Vec<String>, Denied> {
    if given.iter().any(|pair| pair.contains('\0')) {
        return Err(Denied::field("Env", "a variable has a NUL in it; leave it out"));
    }
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let is_proxy = |pair: &&String| PROXIES.contains(&name(pair).to_ascii_lowercase().as_str());
    let is_own = |pair: &&String| OWN.contains(&name(pair).as_str());
    if given.iter().any(|pair| is_proxy(&pair)) {
        warnings.push("ringfence: Env: proxies were left out: inside the fence there is none".to_owned());
    }
    Ok(given.iter().filter(|pair| !pair.is_empty() && !is_proxy(pair) && !is_own(pair)).cloned().collect())
}
