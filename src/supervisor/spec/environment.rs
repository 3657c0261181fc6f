//! The agent's environment: variables as they were given, and those that the fence, the engine and
//! the authorities call for.

use super::places::{AUTHORITIES, BUNDLE, NOTICE, TRUSTSTORE, TRUSTSTORE_PASSWORD};
use crate::supervisor::engine::dialect::RemovesVariable;
use crate::wire::handover::NOTICE_FILE;

/// The variables by which an agent knows that it is fenced, and finds its notice. Nobody else sets
/// them.
pub(crate) const OWN: [&str; 2] = ["RINGFENCE", "RINGFENCE_POLICY"];

/// The variables by which programs are sent to a proxy.
const PROXY_VARIABLES: [&str; 8] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];
/// Variables by which images ask a default runtime made for such hardware for devices, and the one
/// value that NVIDIA's knows for none.
const DEVICES: [&str; 4] =
    ["NVIDIA_VISIBLE_DEVICES", "AMD_VISIBLE_DEVICES", "HABANA_VISIBLE_DEVICES", "ASCEND_VISIBLE_DEVICES"];
/// The variables by which TLS clients are pointed at a bundle. All but node's replace what the
/// client would use.
const VARIABLES: [&str; 7] = [
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
];
/// The variable by which any JVM is given options; it says so on stderr.
const JAVA_OPTIONS: &str = "JAVA_TOOL_OPTIONS";

/// Returns the agent's variables. `authorities`: the variables of its image, where authorities
/// besides the image's own are mounted; `home`: the place of a home that survives the run.
pub(crate) fn variables(
    given: &[String],
    authorities: Option<&[String]>,
    home: Option<&str>,
    removes: RemovesVariable,
) -> Vec<String> {
    let mut env = given.to_vec();
    without_proxies(&mut env, removes);
    without_devices(&mut env, removes);
    announce(&mut env);
    if let Some(image) = authorities {
        point(&mut env, image);
    }
    if let Some(home) = home {
        // It need not be what the image's accounts say.
        env.retain(|pair| !pair.starts_with("HOME="));
        env.push(format!("HOME={home}"));
    }
    env
}

/// Tells the agent that it is fenced and where its notice is, whatever image and person say.
fn announce(env: &mut Vec<String>) {
    env.retain(|pair| !OWN.contains(&pair.split('=').next().unwrap_or_default()));
    env.extend([format!("{}=1", OWN[0]), format!("{}={NOTICE}/{NOTICE_FILE}", OWN[1])]);
}

/// Keeps a default runtime from giving the agent devices, whatever image and person say.
fn without_devices(env: &mut Vec<String>, removes: RemovesVariable) {
    env.retain(|pair| !DEVICES.contains(&pair.split('=').next().unwrap_or_default()));
    env.push(format!("{}=void", DEVICES[0]));
    env.extend(DEVICES[1..].iter().map(|name| removed(name, removes)));
}

/// Returns what takes a variable of the image out of a container's environment.
fn removed(name: &str, removes: RemovesVariable) -> String {
    match removes {
        RemovesVariable::NameAlone => name.to_owned(),
        RemovesVariable::EmptyValue => format!("{name}="),
    }
}

/// Takes proxies that the image or the engine would set out of the agent's environment: inside the
/// fence there is none, the guard goes through it. One that the person gave stays.
fn without_proxies(env: &mut Vec<String>, removes: RemovesVariable) {
    for name in PROXY_VARIABLES {
        if !is_set(env, name) {
            env.push(removed(name, removes));
        }
    }
}

/// Points the agent's TLS clients at the bundle, save those that the person pointed elsewhere.
/// Options that the image has for its JVM stay: Java takes the last word on each.
fn point(env: &mut Vec<String>, image: &[String]) {
    for name in VARIABLES {
        if !is_set(env, name) {
            env.push(format!("{name}={AUTHORITIES}/{BUNDLE}"));
        }
    }
    if !is_set(env, JAVA_OPTIONS) {
        let prefix = format!("{JAVA_OPTIONS}=");
        let own = image.iter().find_map(|pair| pair.strip_prefix(&prefix)).unwrap_or_default();
        let store = format!(
            "{own} -Djavax.net.ssl.trustStore={AUTHORITIES}/{TRUSTSTORE} -Djavax.net.ssl.trustStoreType=JKS \
             -Djavax.net.ssl.trustStorePassword={TRUSTSTORE_PASSWORD}"
        );
        env.push(format!("{prefix}{}", store.trim_start()));
    }
}

/// Tells whether a variable is among `NAME=VALUE` pairs.
fn is_set(env: &[String], name: &str) -> bool {
    env.iter().any(|pair| pair.split('=').next() == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_image_and_no_person_asks_for_devices() {
        let mut env =
            ["NVIDIA_VISIBLE_DEVICES=all", "A=b", "AMD_VISIBLE_DEVICES"].map(str::to_owned).to_vec();
        without_devices(&mut env, RemovesVariable::NameAlone);
        let removed = ["AMD_VISIBLE_DEVICES", "HABANA_VISIBLE_DEVICES", "ASCEND_VISIBLE_DEVICES"];
        assert_eq!(env[..2], ["A=b", "NVIDIA_VISIBLE_DEVICES=void"]);
        assert_eq!(env[2..], removed);
    }

    #[test]
    fn ringfences_own_variables_are_its_own() {
        let given = ["RINGFENCE=0", "A=b", "RINGFENCE_POLICY", "RINGFENCE_PROMPT=/p"].map(str::to_owned);
        let env = variables(&given, None, None, RemovesVariable::NameAlone);
        let own: Vec<&String> = env.iter().filter(|pair| pair.starts_with("RINGFENCE")).collect();
        let expected =
            ["RINGFENCE_PROMPT=/p", "RINGFENCE=1", "RINGFENCE_POLICY=/run/ringfence/notice/policy.json"];
        assert_eq!(own, expected);
    }

    #[test]
    fn a_home_that_survives_is_the_agents_home() {
        let of = |given: &[&str], home| {
            let given: Vec<String> = given.iter().map(|pair| (*pair).to_owned()).collect();
            let env = variables(&given, None, home, RemovesVariable::NameAlone);
            env.into_iter().filter(|pair| pair.starts_with("HOME")).collect::<Vec<_>>()
        };
        assert_eq!(of(&["HOMELESS=1"], Some("/home/agent")), ["HOMELESS=1", "HOME=/home/agent"]);
        assert_eq!(of(&["HOME=/config/"], Some("/config")), ["HOME=/config"]);
        assert_eq!(of(&["HOME=/config/"], None), ["HOME=/config/"]);
    }

    #[test]
    fn proxies_that_nobody_gave_are_taken_out() {
        let mut env = vec!["HTTP_PROXY=http://mine".to_owned()];
        without_proxies(&mut env, RemovesVariable::NameAlone);
        assert!(env.contains(&"https_proxy".to_owned()) && !env.contains(&"HTTP_PROXY".to_owned()));
        let mut env = Vec::new();
        without_proxies(&mut env, RemovesVariable::EmptyValue);
        assert!(env.contains(&"https_proxy=".to_owned()));
    }

    #[test]
    fn what_a_person_set_stays() {
        let mut env = vec!["CURL_CA_BUNDLE=/mine".to_owned(), "PIP_CERTIFICATE=x".to_owned()];
        point(&mut env, &["JAVA_TOOL_OPTIONS=-Xmx1g".to_owned()]);
        assert_eq!(env.iter().filter(|pair| pair.starts_with("CURL_CA_BUNDLE=")).count(), 1);
        assert!(env.contains(&"PIP_CERT=/etc/ringfence/ca-bundle.pem".to_owned()));
        assert_eq!(env.len(), 2 + VARIABLES.len() - 1 + 1);
        let java = env.iter().find(|pair| pair.starts_with("JAVA_TOOL_OPTIONS=")).unwrap();
        assert!(
            java.starts_with("JAVA_TOOL_OPTIONS=-Xmx1g -Djavax.net.ssl.trustStore=/etc/ringfence/"),
            "{java}"
        );
        let mut env = vec!["JAVA_TOOL_OPTIONS=-Dmine".to_owned()];
        point(&mut env, &[]);
        assert_eq!(env[0], "JAVA_TOOL_OPTIONS=-Dmine");
        assert_eq!(env.len(), 1 + VARIABLES.len());
    }
}
