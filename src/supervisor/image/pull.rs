//! Asking the engine to fetch an image, and what its refusals mean.

use std::time::{Duration, Instant};

use bollard::errors::Error as ApiError;
use bollard::query_parameters::CreateImageOptions;
use futures_util::StreamExt;

use super::credentials::{self, Credentials};
use super::pull_progress::Layers;
use super::reference::Reference;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::signals::interrupt::{Tidies, unless_interrupted};
use crate::term::{COULD_NOT_RUN, Failure, Progress};

/// An engine that says nothing for so long has lost its registry.
const SILENCE: Duration = Duration::from_secs(600);
/// Shortest pull that is worth a line where no progress is shown.
const WORTH_A_LINE: Duration = Duration::from_secs(1);
/// The header that carries credentials to the engine.
const AUTH_HEADER: &str = "x-registry-auth";

/// Reason for which an image did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    NoSuchImage,
    Denied,
    RateLimit,
    NoRoute,
    Untrusted,
    Other,
}

/// Makes the engine fetch an image.
pub(crate) async fn pull(engine: &Engine, reference: &Reference) -> Result<(), Failure> {
    let credentials = credentials::find(reference, engine.dialect.credentials).await?;
    let shown = shown(reference);
    // The line of progress is ended.
    let _tidies = Tidies::begin();
    let progress = crate::term::progress(&format!("pulling {shown}"));
    let fetching = fetch(engine, reference, credentials.as_ref(), &progress);
    let fetched = unless_interrupted(told_in_pipes(&shown, fetching)).await;
    drop(progress);
    let result = fetched?;
    result.map_err(|text| {
        let text = credentials.as_ref().map_or(text.clone(), |known| known.hide_in(&text));
        failure(reference, &shown, &text, credentials.is_some())
    })
}

/// Waits for a pull. Where no line of progress is shown, a line says that it takes its time, and
/// another that it is over: a log of CI must not look as if nothing happened.
async fn told_in_pipes<T>(shown: &str, fetching: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let mut fetching = std::pin::pin!(fetching);
    if let Ok(fetched) = tokio::time::timeout(WORTH_A_LINE, &mut fetching).await {
        return fetched;
    }
    let in_lines = !crate::term::shows_progress();
    if in_lines {
        crate::term::talk(format_args!("pulling {shown}"));
    }
    let fetched = fetching.await;
    if in_lines {
        crate::term::talk(format_args!("pulling {shown} took {} s", began.elapsed().as_secs()));
    }
    fetched
}

/// Returns the name with its tag or digest.
fn shown(reference: &Reference) -> String {
    let between = if reference.version.contains(':') { '@' } else { ':' };
    format!("{}{between}{}", reference.name, reference.version)
}

async fn fetch(
    engine: &Engine,
    reference: &Reference,
    credentials: Option<&Credentials>,
    progress: &Progress,
) -> Result<(), String> {
    // Engines read the header as base64 for URLs; the library writes the other alphabet.
    let api = engine.api.clone().with_request_modifier(|mut request| {
        if let Some(header) = request.headers_mut().get_mut(AUTH_HEADER)
            && let Ok(text) = header.to_str()
            && let Ok(mut for_urls) =
                hyper::http::HeaderValue::from_str(&text.replace('+', "-").replace('/', "_"))
        {
            for_urls.set_sensitive(true);
            *header = for_urls;
        }
        request
    });
    let options = CreateImageOptions {
        from_image: Some(reference.full_name()),
        tag: Some(reference.version.clone()),
        ..Default::default()
    };
    let credentials = credentials.map(|known| known.for_engine(reference.server()));
    let mut layers = Layers::default();
    let mut told = api.create_image(Some(options), None, credentials).boxed();
    loop {
        match tokio::time::timeout(SILENCE, told.next()).await {
            Err(_) => return Err(format!("the engine said nothing for {} minutes", SILENCE.as_secs() / 60)),
            Ok(None) => return Ok(()),
            Ok(Some(Ok(info))) => {
                layers.heard(&info);
                progress.detail(layers.words());
            }
            Ok(Some(Err(error))) => return Err(words(&error)),
        }
    }
}

fn words(error: &ApiError) -> String {
    match error {
        ApiError::DockerStreamError { error } => error.trim().to_owned(),
        other => engine::describe(other),
    }
}

fn failure(reference: &Reference, shown: &str, text: &str, authenticated: bool) -> Failure {
    let registry = &reference.registry;
    let login = if registry == "docker.io" { String::new() } else { format!(" {registry}") };
    let (what, hint) = match refusal(text) {
        Refusal::NoSuchImage => {
            (format!("{registry} has no image `{shown}`"), "check its name and tag".to_owned())
        }
        Refusal::Denied if authenticated => (
            format!("{registry} denies the image `{shown}` to the credentials that were found"),
            format!("docker login{login}, or check the image's name"),
        ),
        Refusal::Denied => (
            format!("{registry} does not give the image `{shown}` without credentials"),
            format!("docker login{login}, or check the image's name; neither docker's configuration nor Podman's has credentials for it"),
        ),
        Refusal::RateLimit => (
            format!("{registry} gives no more images for now: its rate limit is reached"),
            format!("wait, log in (docker login{login}), or use a mirror"),
        ),
        Refusal::NoRoute => (
            format!("the engine does not reach {registry}, which has the image `{shown}`"),
            "the engine fetches images by its own network and proxy settings, not by the fence's; see `docker info`".to_owned(),
        ),
        Refusal::Untrusted => (
            format!("the engine does not trust {registry}, which has the image `{shown}`"),
            "give the engine the registry's authority: /etc/docker/certs.d/REGISTRY/ca.crt".to_owned(),
        ),
        Refusal::Other => (
            format!("the engine cannot fetch the image `{shown}` from {registry}"),
            format!("docker pull {shown} shows the same by itself"),
        ),
    };
    let (what, hint) = match may_be_own(reference) {
        true => (
            format!("no image `{shown}` on this engine, and {what}"),
            format!(
                "build it (docker build --tag {} …), or name one in a registry; else {hint}",
                reference.name
            ),
        ),
        false => (what, hint),
    };
    let mut failure = Failure::new(COULD_NOT_RUN, what);
    failure.causes.push(text.to_owned());
    failure.hint(hint)
}

/// Tells whether a person may have meant an image of their own that was not built yet: no registry
/// was named.
fn may_be_own(reference: &Reference) -> bool {
    !reference.version.contains(':') && reference.has_no_registry()
}

/// Classifies a refusal by the words that engines and registries use. A registry that hides what
/// exists says "denied" of images that are missing, too.
fn refusal(text: &str) -> Refusal {
    let text = text.to_ascii_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if any(&["toomanyrequests", "too many requests", "rate limit", " 429"]) {
        Refusal::RateLimit
    } else if any(&["x509", "certificate", "server gave http response to https client"]) {
        Refusal::Untrusted
    } else if any(&[
        "unauthorized",
        "access denied",
        "denied:",
        "no basic auth credentials",
        "authentication required",
        "incorrect username or password",
        "401",
        "403 forbidden",
    ]) {
        Refusal::Denied
    } else if any(&[
        "no such host",
        "dial tcp",
        "i/o timeout",
        "connection refused",
        "network is unreachable",
        "no route to host",
        "client.timeout",
        "temporary failure in name resolution",
        "server misbehaving",
    ]) {
        Refusal::NoRoute
    } else if any(&[
        "manifest unknown",
        "name unknown",
        "repository does not exist",
        "not found",
        "no matching manifest",
    ]) {
        Refusal::NoSuchImage
    } else {
        Refusal::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_known_by_their_words() {
        for (text, expected) in [
            (
                "manifest for r.example/a:1 not found: manifest unknown: manifest unknown",
                Refusal::NoSuchImage,
            ),
            (
                "pull access denied for a, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
                Refusal::Denied,
            ),
            ("Get \"https://r.example/v2/\": unauthorized: incorrect username or password", Refusal::Denied),
            ("Head \"http://127.0.0.1:5000/v2/a/manifests/1\": no basic auth credentials", Refusal::Denied),
            ("toomanyrequests: You have reached your pull rate limit.", Refusal::RateLimit),
            ("Get \"https://r.example/v2/\": dial tcp: lookup r.example: no such host", Refusal::NoRoute),
            (
                "Get \"https://r.example/v2/\": net/http: request canceled (Client.Timeout exceeded)",
                Refusal::NoRoute,
            ),
            (
                "Get \"https://r.example/v2/\": x509: certificate signed by unknown authority",
                Refusal::Untrusted,
            ),
            ("http: server gave HTTP response to HTTPS client", Refusal::Untrusted),
            ("no space left on device", Refusal::Other),
        ] {
            assert_eq!(refusal(text), expected, "{text}");
        }
    }

    #[test]
    fn an_image_that_was_not_built_is_told_before_the_registry() {
        let told = |name: &str| {
            let reference = Reference::parse(name).unwrap();
            failure(&reference, &shown(&reference), "dial tcp: lookup registry: no such host", false)
        };
        for (name, tag) in [("ringfence-claude", ":latest"), ("me/agent:2", "")] {
            let (told, bare) = (told(name), name.split(':').next().unwrap());
            assert!(
                told.message.starts_with(&format!("no image `{name}{tag}` on this engine, and ")),
                "{told}"
            );
            assert!(
                told.hint.as_ref().unwrap().starts_with(&format!("build it (docker build --tag {bare} …)"))
            );
        }
        // The control: names that say where the image is.
        for name in ["r.example/agent:1", "docker.io/library/a", "index.docker.io/a/b"] {
            let told = told(name);
            assert!(!told.message.contains("on this engine") && !told.hint.unwrap().contains("build it"));
        }
    }

    #[test]
    fn a_failure_says_what_to_do_and_whether_credentials_were_sent() {
        let reference = Reference::parse("r.example/agent:1").unwrap();
        let shown = shown(&reference);
        let with = failure(&reference, &shown, "denied: no", true).to_string();
        let without = failure(&reference, &shown, "denied: no", false).to_string();
        assert!(with.contains("to the credentials") && with.contains("docker login r.example"), "{with}");
        assert!(without.contains("without credentials"), "{without}");
    }
}
