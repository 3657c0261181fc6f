//! The GitLab token of an agent (R9): what it may do and how long it lives is read from the
//! instance before anything is created.
//!
//! ```text
//!  --gitlab-token-env NAME, --gitlab-token-glab ─▶ instance: /personal_access_tokens/self, else /oauth/token/info ─▶ scopes, end
//!     wider than credentials.scopes, longer than credentials.max-lifetime, unknown, unreadable ─▶ no run
//!     else ─▶ GITLAB_TOKEN of the agent; the run ends with it; --revoke-token: revoked after the run
//! ```

mod glab;
mod instance;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::{Method, StatusCode};
use netpolicy::policy::{Date, Policy};
use netpolicy::settings::{Ca, DEFAULT_SCOPES, Direct};
use netpolicy::target::Endpoint;
use serde_json::Value;

use self::instance::{AskError, Instance};
use crate::host::{authorities, proxy};
use crate::term::{COULD_NOT_RUN, Failure};

/// A token that may be given to an agent.
pub(crate) struct Token {
    /// The option that it came by.
    called: String,
    value: String,
    instance: Instance,
    kind: Kind,
    /// End of the token's life.
    pub(crate) ends: Option<SystemTime>,
}

/// Source of a token.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// A variable of the caller.
    Variable(&'a str),
    /// glab's configuration.
    Glab,
}

impl std::fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Variable(name) => write!(f, "--gitlab-token-env {name}"),
            Source::Glab => f.write_str("--gitlab-token-glab"),
        }
    }
}

/// Kind of a token: each kind has its own address to ask at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Personal,
    OAuth,
}

/// The instance's facts about a token.
#[derive(Debug, PartialEq, Eq)]
struct About {
    scopes: Vec<String>,
    ends: Option<SystemTime>,
}

impl Token {
    /// Reads the token, asks the instance about it, and refuses one that is more than the policy
    /// permits.
    pub(crate) async fn check(
        source: Source<'_>,
        url: Option<&str>,
        corporate: Option<&Ca>,
        policy: &Policy,
    ) -> Result<Token, Failure> {
        let cannot = |why: &str| Failure::new(COULD_NOT_RUN, format!("{source}: {why}"));
        let instance = find(url.unwrap_or("https://gitlab.com"), corporate, policy)
            .map_err(|failure| Failure { message: cannot(&failure.message).message, ..failure })?;
        let value = match source {
            Source::Variable(name) => {
                std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or_else(|| {
                    cannot("the variable is not set here").hint(format!("export {name}=TOKEN before the run"))
                })?
            }
            Source::Glab => glab::token(&instance).map_err(|why| {
                cannot(&why).hint(format!("glab auth login --hostname {}", instance.authority()))
            })?,
        };
        let asked = ask(&instance, &value).await.map_err(|error| {
            cannot("its scopes and its end cannot be read, so it is not given away").caused_by(&error).hint(
                format!("can this machine reach https://{}:{}? --gitlab names another instance, --ca its authority, network.proxy a proxy", instance.host, instance.port),
            )
        })?;
        let (kind, about) = asked.ok_or_else(|| {
            cannot(&format!("{} does not know it, or it is revoked or over", instance.host))
                .hint("make a new token, or name its instance by --gitlab")
        })?;
        permitted(&about, policy, SystemTime::now()).map_err(|(why, hint)| cannot(&why).hint(hint))?;
        Ok(Token { called: source.to_string(), value, instance, kind, ends: about.ends })
    }

    /// Returns the agent's variable.
    pub(crate) fn variable(&self) -> String {
        format!("GITLAB_TOKEN={}", self.value)
    }

    /// Refuses a token that cannot be revoked after the run.
    pub(crate) fn can_be_revoked(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Personal => Ok(()),
            Kind::OAuth => Err(Failure::new(
                COULD_NOT_RUN,
                format!(
                    "--revoke-token: that of {} is an OAuth token, which cannot revoke itself",
                    self.called
                ),
            )
            .hint("leave --revoke-token out: the run ends with the token")),
        }
    }

    /// Revokes it.
    pub(crate) async fn revoke(&self) -> Result<(), Failure> {
        let cannot = || {
            Failure::new(COULD_NOT_RUN, format!("the token of {} could not be revoked", self.called)).hint(
                format!(
                    "revoke it yourself: https://{}/-/user_settings/personal_access_tokens",
                    self.instance.host
                ),
            )
        };
        let (status, _) = self
            .instance
            .ask(Method::DELETE, "/api/v4/personal_access_tokens/self", ("private-token", &self.value))
            .await
            .map_err(|error| cannot().caused_by(&error))?;
        match status.is_success() {
            true => Ok(()),
            false => Err(Failure { causes: vec![format!("it answered {status}")], ..cannot() }),
        }
    }
}

/// Finds the instance of a URL, and the way there.
fn find(url: &str, corporate: Option<&Ca>, policy: &Policy) -> Result<Instance, Failure> {
    // An URL may hold a password, which no message repeats.
    let no = |why: &str| Failure::new(COULD_NOT_RUN, format!("the instance's URL {why}"));
    let rest = url.strip_prefix("https://").ok_or_else(|| {
        no("is not https, so the token would travel in the clear")
            .hint("write --gitlab https://gitlab.corp.example")
    })?;
    let endpoint = Endpoint::parse(url).map_err(|error| no("names no instance").caused_by(&error))?;
    let host = endpoint.target.to_string();
    let path = rest.split_once('/').map_or("", |(_, path)| path).trim_end_matches('/');
    let mut authorities = authorities::of_this_machine()?;
    if let Some(file @ Ca::File(_)) = corporate {
        authorities.extend(authorities::read(file)?);
    }
    let direct = |proxy: &netpolicy::settings::Proxy| {
        proxy.direct.iter().any(|one| match (one, &endpoint.target) {
            (Direct::Host(pattern), netpolicy::decide::Target::Name(name)) => pattern.matches(name),
            (Direct::Cidr(net), netpolicy::decide::Target::Address(address)) => net.contains(address),
            _ => false,
        })
    };
    let proxy = match policy.proxy.as_ref().filter(|proxy| !direct(proxy)) {
        None => None,
        Some(proxy) => {
            let credentials = proxy.credentials_env.as_deref().map(proxy::proxy_credentials).transpose()?;
            Some((proxy.clone(), credentials))
        }
    };
    let path = if path.is_empty() { String::new() } else { format!("/{path}") };
    Ok(Instance { host, port: endpoint.port, path, proxy, authorities })
}

/// Asks the instance about a token. Returns nothing when the instance does not know it.
async fn ask(instance: &Instance, token: &str) -> Result<Option<(Kind, About)>, AskError> {
    let (status, body) =
        instance.ask(Method::GET, "/api/v4/personal_access_tokens/self", ("private-token", token)).await?;
    if status.is_success() {
        let about = personal(&body).map_err(|why| AskError::Answer(why.to_owned()))?;
        return Ok(about.map(|about| (Kind::Personal, about)));
    }
    let bearer = format!("Bearer {token}");
    let (status, body) = instance.ask(Method::GET, "/oauth/token/info", ("authorization", &bearer)).await?;
    match status {
        status if status.is_success() => {
            let about = oauth(&body, SystemTime::now()).map_err(|why| AskError::Answer(why.to_owned()))?;
            Ok(Some((Kind::OAuth, about)))
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(None),
        status => Err(AskError::Answer(format!("it answered {status}"))),
    }
}

fn scopes(value: &Value) -> Result<Vec<String>, &'static str> {
    let list = value.as_array().ok_or("it does not say the scopes")?;
    list.iter().map(|scope| scope.as_str().map(str::to_owned).ok_or("a scope is no text")).collect()
}

/// Reads the facts about a personal, project or group access token: it ends with the beginning
/// (UTC) of a day.
fn personal(body: &[u8]) -> Result<Option<About>, &'static str> {
    let value: Value = serde_json::from_slice(body).map_err(|_| "it is no JSON")?;
    if value["active"] == Value::Bool(false) || value["revoked"] == Value::Bool(true) {
        return Ok(None);
    }
    let ends = match &value["expires_at"] {
        Value::Null => None,
        Value::String(day) => Some(beginning_of(day).ok_or("its last day is no date")?),
        _ => return Err("its last day is no text"),
    };
    Ok(Some(About { scopes: scopes(&value["scopes"])?, ends }))
}

fn beginning_of(day: &str) -> Option<SystemTime> {
    let date: Date = day.parse().ok()?;
    let days = (date - Date::constant(1970, 1, 1)).get_days();
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(days).ok()? * 86_400))
}

/// Reads the facts about an OAuth token, such as the ones that workflows get.
fn oauth(body: &[u8], now: SystemTime) -> Result<About, &'static str> {
    let value: Value = serde_json::from_slice(body).map_err(|_| "it is no JSON")?;
    let seconds =
        [&value["expires_in"], &value["expires_in_seconds"]].into_iter().find(|value| !value.is_null());
    let ends = match seconds {
        None => None,
        Some(seconds) => Some(now + Duration::from_secs(seconds.as_u64().ok_or("its end is no number")?)),
    };
    Ok(About { scopes: scopes(&value["scope"])?, ends })
}

/// Refuses a token that may do more than the policy permits: returns the reason, and what to do.
fn permitted(about: &About, policy: &Policy, now: SystemTime) -> Result<(), (String, String)> {
    let permitted = policy.credentials.scopes.clone().unwrap_or(DEFAULT_SCOPES.map(str::to_owned).to_vec());
    let wider: Vec<&str> =
        about.scopes.iter().filter(|scope| !permitted.contains(scope)).map(String::as_str).collect();
    if !wider.is_empty() {
        return Err((
            format!("it may do more than credentials.scopes permits: {}", wider.join(", ")),
            format!("make one with no scope but {}, or permit these in your policy", permitted.join(", ")),
        ));
    }
    let left = match about.ends {
        None => None,
        Some(ends) => {
            let left = ends.duration_since(now).ok().filter(|left| !left.is_zero());
            Some(left.ok_or(("it is over".to_owned(), "make a new one".to_owned()))?)
        }
    };
    let Some(longest) = policy.credentials.max_lifetime.map(Duration::from_secs) else { return Ok(()) };
    let words = |time: Duration| humantime::format_duration(Duration::from_secs(time.as_secs())).to_string();
    match left {
        Some(left) if left <= longest => Ok(()),
        left => Err((
            format!(
                "it lives {}, longer than credentials.max-lifetime ({})",
                left.map_or("for ever".to_owned(), words),
                words(longest)
            ),
            "make one that ends sooner, or permit a longer life in your policy".to_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_the_instance_says_is_read() {
        let body = br#"{"id": 1, "active": true, "revoked": false, "scopes": ["ai_workflows"], "expires_at": "1970-01-31"}"#;
        let about = personal(body).unwrap().unwrap();
        assert_eq!(about, About { scopes: vec!["ai_workflows".to_owned()], ends: Some(at(30 * DAY)) });
        assert_eq!(personal(br#"{"active": false, "scopes": []}"#), Ok(None));
        assert_eq!(personal(br#"{"revoked": true, "scopes": []}"#), Ok(None));
        for bad in [&b"<html>"[..], b"{}", br#"{"scopes": [1]}"#, br#"{"scopes": [], "expires_at": "soon"}"#]
        {
            assert!(personal(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        let about = oauth(br#"{"scope": ["api", "read_api"], "expires_in": 7200}"#, at(100)).unwrap();
        assert_eq!(about.ends, Some(at(7300)));
        assert_eq!(about.scopes, ["api", "read_api"]);
        assert_eq!(oauth(br#"{"scope": ["api"], "expires_in": null}"#, at(0)).unwrap().ends, None);
    }

    #[test]
    fn a_token_is_no_more_than_the_policy_permits() {
        let about = |scopes: &[&str], ends: Option<u64>| About {
            scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
            ends: ends.map(at),
        };
        let mut policy = Policy::nothing();
        let why = |about: &About, policy: &Policy| permitted(about, policy, at(1000)).unwrap_err().0;
        assert_eq!(permitted(&about(&["ai_workflows"], None), &policy, at(1000)), Ok(()));
        assert!(why(&about(&["ai_workflows", "api"], None), &policy).ends_with("permits: api"));
        assert_eq!(why(&about(&["ai_workflows"], Some(1000)), &policy), "it is over");
        policy.credentials.scopes = Some(vec!["api".to_owned()]);
        policy.credentials.max_lifetime = Some(3600);
        assert_eq!(permitted(&about(&["api"], Some(4600)), &policy, at(1000)), Ok(()));
        assert!(why(&about(&["ai_workflows"], Some(4600)), &policy).contains("ai_workflows"));
        assert!(why(&about(&["api"], Some(4601)), &policy).contains("it lives 1h 1s, longer than"));
        assert!(why(&about(&["api"], None), &policy).contains("for ever"));
    }

    #[test]
    fn the_instance_is_named_by_a_url_without_repeating_its_password() {
        let policy = Policy::nothing();
        let instance = find("https://gitlab.corp.example:8443/git/", None, &policy);
        if let Ok(instance) = instance {
            assert_eq!(
                (instance.host.as_str(), instance.port, instance.path.as_str()),
                ("gitlab.corp.example", 8443, "/git")
            );
        }
        let failure = find("http://me:s3cret@gitlab.corp.example", None, &policy).err().unwrap();
        assert!(
            failure.message.contains("in the clear") && !failure.to_string().contains("s3cret"),
            "{failure}"
        );
    }
}
