//! The agent's image: found on the engine, or pulled to it with the credentials that docker's or
//! Podman's configuration has.
//!
//! ```text
//!  as typed ─▶ reference ─▶ on the engine? ─┬─ yes ──────────────────────────────────────────▶ Image (id, digest, variables)
//!                                           └─ no, --pull missing | always ─▶ credentials ─▶ pull ─┘
//! ```
//! The agent runs by the image's id: what was looked at is what runs. Nothing of a credential is in
//! an error, an event or a label.

mod credentials;
mod places;
mod pull;
mod pull_progress;
mod reference;

pub(crate) use self::reference::is_possible_name;

use clap::ValueEnum;

use self::reference::Reference;
use crate::supervisor::engine::{self, Engine};
use crate::supervisor::spec::image::{Image, tcp_ports};
use crate::supervisor::spec::image_platform::ImagePlatform;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::{ImageDigest, ImageName};

/// Choice when the engine asks a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    /// The engine asks when the image is not there.
    Missing,
    /// Each time.
    Always,
    /// Never.
    Never,
}

/// Looks for the image on the engine. No registry is asked.
pub(crate) async fn on_engine(engine: &Engine, name: &str) -> Result<Option<Image>, Failure> {
    check_name(name)?;
    find(engine, name).await
}

/// Makes sure that the image is on the engine.
pub(crate) async fn ready(engine: &Engine, name: &str, pull: Pull) -> Result<Image, Failure> {
    check_name(name)?;
    if pull != Pull::Always
        && let Some(image) = find(engine, name).await?
    {
        return Ok(image);
    }
    if pull == Pull::Never {
        return Err(Failure::new(
            COULD_NOT_RUN,
            format!("the image `{name}` is not on the engine, and --pull is never"),
        )
        .hint(format!("docker pull {name}, or check its name")));
    }
    let reference = Reference::parse(name).ok_or_else(|| {
        Failure::new(COULD_NOT_RUN, format!("the image `{name}` is not on the engine, and no registry can be asked for it"))
            .hint("an id is known to the engine only that has the image; a name is `[REGISTRY/]NAME[:TAG][@DIGEST]`")
    })?;
    pull::pull(engine, &reference).await?;
    // By its full name: a short one may be that of another image here as well.
    let pulled = find(engine, &reference.full()).await?;
    pulled.map(|image| Image { name: name.to_owned(), ..image }).ok_or_else(|| {
        Failure::new(COULD_NOT_RUN, format!("the engine pulled `{name}` and does not know it"))
            .hint("`docker image ls` shows what it has")
    })
}

/// Returns the repository that an image's name is of, with its registry and without tag and digest:
/// the text itself where it is no name but an id.
pub(crate) fn repository(name: &str) -> String {
    Reference::parse(name).map_or_else(|| name.to_owned(), |reference| reference.full_name())
}

/// Refuses a name that no image can have: it becomes part of a URL and of a label.
fn check_name(name: &str) -> Result<(), Failure> {
    name.parse::<ImageName>().map(|_| ()).map_err(|error| {
        Failure::new(COULD_NOT_RUN, format!("the image `{name}` cannot be looked for")).caused_by(&error)
    })
}

async fn find(engine: &Engine, name: &str) -> Result<Option<Image>, Failure> {
    match engine.api.inspect_image(name).await {
        Ok(found) => {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            let platform = found.config.as_ref().and_then(|_| {
                ImagePlatform::read(&text(&found.os), &text(&found.architecture), &text(&found.variant))
            });
            let config = found.config.unwrap_or_default();
            Ok(Some(Image {
                name: name.to_owned(),
                id: found.id.unwrap_or_else(|| name.to_owned()),
                digest: digest_of(name, found.repo_digests.unwrap_or_default()),
                platform,
                env: config.env.unwrap_or_default(),
                user: config.user.unwrap_or_default(),
                workdir: config.working_dir.unwrap_or_default(),
                entrypoint: config.entrypoint.unwrap_or_default(),
                command: config.cmd.unwrap_or_default(),
                labels: config.labels.unwrap_or_default().into_iter().collect(),
                volumes: config.volumes.unwrap_or_default(),
                ports: tcp_ports(&config.exposed_ports.unwrap_or_default()),
            }))
        }
        Err(error) if engine::is_missing(&error) => Ok(None),
        Err(error) => Err(engine::refused(format!("cannot look for the image `{name}`"), &error)),
    }
}

/// Returns, of the digests under which registries gave an image, the one of the name that was
/// typed; else the first.
fn digest_of(name: &str, digests: Vec<String>) -> Option<String> {
    let typed = Reference::parse(name);
    let same = |digest: &&String| {
        typed.as_ref().is_some_and(|typed| {
            Reference::parse(digest).is_some_and(|other| other.is_same_repository(typed))
        })
    };
    let of_their_form = || digests.iter().filter(|digest| digest.parse::<ImageDigest>().is_ok());
    of_their_form().find(same).or(of_their_form().next()).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests_are_of_one_repository() {
        let (digest, id) = (format!("sha256:{}", "a".repeat(64)), "a".repeat(64));
        for name in ["agent", "agent:2", "docker.io/library/agent:1", &format!("agent:1@{digest}")] {
            assert_eq!(repository(name), "docker.io/library/agent", "{name}");
        }
        assert_eq!(repository("me/agent:dev"), "docker.io/me/agent");
        assert_eq!(repository("ghcr.io/library/agent"), "ghcr.io/library/agent");
        assert_eq!((repository(&digest), repository(&id)), (digest, id));
    }

    #[test]
    fn the_digest_is_that_of_the_name_that_was_typed() {
        let digests = || {
            vec![
                format!("mirror.example/agent@sha256:{}", "a".repeat(64)),
                format!("debian@sha256:{}", "b".repeat(64)),
            ]
        };
        assert_eq!(digest_of("docker.io/library/debian:12", digests()), Some(digests()[1].clone()));
        assert_eq!(digest_of("mirror.example/agent", digests()), Some(digests()[0].clone()));
        assert_eq!(digest_of("other", digests()), Some(digests()[0].clone()));
        assert_eq!(digest_of("other", vec![]), None);
    }
}
