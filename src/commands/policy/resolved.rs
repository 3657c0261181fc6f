//! `policy explain --resolve`: the upstreams are asked as the guard asks them, and every address is
//! decided as it decides.
//!
//! ```text
//!  name ──Resolvers (the policy's upstreams)──▶ addresses ──decide, each──▶ may be dialled | refused ──▶ Outcome
//!   │ nobody knows it, and the rule says `resolved-by: proxy` ──▶ the proxy would be asked
//! ```
//! What only a run knows is not looked at: the engine's networks, and the place of the host for
//! `host-access`.

use std::net::IpAddr;

use netpolicy::decide::{Decider, Question, Reason, Verdict};
use netpolicy::floor;
use netpolicy::host::HostName;
use netpolicy::policy::ResolvedBy;
use netpolicy::settings::Proxy;
use serde_json::json;

use super::COULD_NOT_TELL;
use crate::host::resolve::{Patience, Resolution, Resolvers};
use crate::supervisor::run::checks;
use crate::supervisor::upload::guard_inputs;
use crate::term::Failure;
use crate::wire::host_network::HostNetwork;

/// Resolution of a target, and its outcome.
pub(crate) struct Resolved {
    found: Lookup,
    proxy: Option<Proxy>,
}

enum Lookup {
    /// Each address with its verdict.
    Addresses(Vec<(IpAddr, Verdict)>),
    /// Only the proxy is left to be asked.
    ByProxy(String),
    /// The name stands for the host, whose address a run asks the engine for.
    Host,
    /// No upstream knows the name.
    Nobody(String),
}

/// Outcome of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The connection is made.
    Reached,
    /// The connection is refused.
    Refused,
    /// The connection fails, or its outcome cannot be told from here.
    Unknown,
}

/// Asks for a name that the policy permits.
pub(crate) fn look(decider: &Decider, name: &HostName, question: &Question<'_>) -> Result<Resolved, Failure> {
    let policy = decider.policy();
    let proxy = policy.proxy.clone().filter(|proxy| !proxy.leaves_out(name));
    if floor::refused_name(name).is_some() {
        return Ok(Resolved { found: Lookup::Host, proxy: None });
    }
    let cannot = |failure: Failure| Failure { exit: COULD_NOT_TELL, ..failure };
    let surroundings = checks::surroundings(policy, Vec::new(), HostNetwork::default()).map_err(cannot)?;
    let by_proxy = proxy.is_some()
        && decider.decide(&surroundings, &Question { resolver: ResolvedBy::Proxy, ..*question }).allowed;
    let roots =
        guard_inputs::roots(policy, policy.container.ca.as_ref()).map_err(cannot)?.unwrap_or_default();
    let patience = if by_proxy { Patience::Little } else { Patience::Full };
    let ask = async {
        let resolvers = Resolvers::new(&policy.dns, &roots).map_err(|error| {
            Failure::new(COULD_NOT_TELL, "the policy's upstreams cannot be asked").caused_by(&error)
        })?;
        Ok::<_, Failure>(resolvers.resolve(name, patience).await)
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(COULD_NOT_TELL, "cannot start the runtime").caused_by(&error))?;
    let found = match runtime.block_on(ask)? {
        Ok(Resolution::Addresses(addresses)) => {
            let judge =
                |address: IpAddr| (address, decider.decide(&surroundings, &question.address(address)));
            Lookup::Addresses(addresses.into_iter().map(judge).collect())
        }
        Ok(answer) if by_proxy => Lookup::ByProxy(answer.to_string()),
        Err(why) if by_proxy => Lookup::ByProxy(why),
        Ok(answer) => Lookup::Nobody(answer.to_string()),
        Err(why) => Lookup::Nobody(why),
    };
    Ok(Resolved { found, proxy })
}

impl Resolved {
    /// Returns the outcome as the guard goes on from here: beside a proxy one refused address
    /// refuses the name.
    pub(crate) fn outcome(&self) -> Outcome {
        match &self.found {
            Lookup::Addresses(addresses) => {
                let permitted = |(_, verdict): &(IpAddr, Verdict)| verdict.allowed;
                let through_proxy = self.proxy.as_ref().is_some_and(|proxy| {
                    let mut dialled = addresses.iter().filter(|one| permitted(one));
                    !dialled.any(|(address, _)| proxy.leaves_out_address(*address))
                });
                let reached =
                    addresses.iter().any(permitted) && (!through_proxy || addresses.iter().all(permitted));
                if reached { Outcome::Reached } else { Outcome::Refused }
            }
            Lookup::ByProxy(_) => Outcome::Reached,
            Lookup::Host | Lookup::Nobody(_) => Outcome::Unknown,
        }
    }

    /// Returns the lines below the verdict.
    pub(crate) fn to_words(&self) -> String {
        let mut text = "  resolved:\n".to_owned();
        match &self.found {
            Lookup::Addresses(addresses) => {
                for (address, verdict) in addresses {
                    let word = match (verdict.allowed, &verdict.rule) {
                        (true, _) => "may be dialled".to_owned(),
                        (false, Some(rule)) if verdict.reason == Reason::DeniedByRule => {
                            format!("is refused ({}), by {}", verdict.reason, super::explain::named(rule))
                        }
                        (false, _) => format!("is refused ({})", verdict.reason),
                    };
                    text.push_str(&format!("    {address} {word}\n"));
                }
                if self.outcome() == Outcome::Refused && addresses.iter().any(|(_, one)| one.allowed) {
                    text.push_str("    the proxy could dial any of them, so the name is refused\n");
                }
            }
            Lookup::ByProxy(why) => text.push_str(&format!("    {why}; the proxy is asked for the name\n")),
            Lookup::Host => {
                text.push_str("    it stands for the host, whose address a run asks the engine for\n")
            }
            Lookup::Nobody(why) => text.push_str(&format!("    {why}\n")),
        }
        text
    }

    /// Returns the resolution as JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let (addresses, error) = match &self.found {
            Lookup::Addresses(addresses) => (addresses.as_slice(), None),
            Lookup::ByProxy(why) | Lookup::Nobody(why) => (&[][..], Some(why.as_str())),
            Lookup::Host => (&[][..], None),
        };
        let addresses: Vec<serde_json::Value> = addresses
            .iter()
            .map(|(address, verdict)| {
                let word = if verdict.allowed { "allow" } else { "deny" };
                json!({ "address": address, "verdict": word, "reason": verdict.reason })
            })
            .collect();
        let outcome = match self.outcome() {
            Outcome::Reached => "allow",
            Outcome::Refused => "deny",
            Outcome::Unknown => "unknown",
        };
        json!({ "verdict": outcome, "addresses": addresses, "error": error })
    }
}
