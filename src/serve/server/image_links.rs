//! Links of an image on the way to places where something is to be mounted.
//!
//! ```text
//!  image ─▶ a container that is never started ─▶ each part of each place: is it a link? ─▶ removed
//! ```
//! Runtimes follow links of the image when they mount, or make a working directory, also to `/`,
//! `/dev` or what is mounted already. A container that never ran has the image's files, and no
//! container of this socket has them. Somebody can remove it meanwhile: only after all of the looks
//! its root proves that it was there.
//!
//! Several variants of an image can have one id. The platform that was decided upon is sent with
//! the look and with the creation, and is a part of what answers are remembered by. An engine can
//! choose a variant by other words than these. So the digest of the manifest that was looked into
//! is remembered too, where the engine tells it, and the container that is made must have the same.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::ListContainersOptions;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::fences::random;
use super::http::{EngineHttp, Sent};
use super::made::digest_of;
use super::state::Serving;
use crate::serve::decide::member::{MemberSpec, MountSource};
use crate::serve::decide::places::STATE;
use crate::serve::denied::Denied;
use crate::serve::request::upstream_line::Line;
use crate::serve::request::version::ApiMinor;
use crate::serve::text::shown;
use crate::supervisor::engine::describe;
use crate::supervisor::spec::image_platform::ImagePlatform;
use crate::supervisor::spec::image_volumes::cleaned;
use crate::supervisor::spec::places::NOTICE;
use crate::supervisor::spec::workflow::LABEL_SERVE;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::WorkflowId;

/// Label of containers that are looked into: the `serve` that does. Members have it without a
/// value, whatever their image says.
pub(super) const LABEL_LOOK: &str = "dev.ringfence.look";
/// Beginning of their names, before an id.
const NAME: &str = "ringfence-look-";
/// Header of the engine's answer about a path.
const STAT: &str = "x-docker-container-path-stat";
/// The bit of a link in the mode that the engine tells.
const IS_LINK: u64 = 1 << 27;
/// Places of ringfence's own mounts.
const OWN: [&str; 2] = ["/etc", NOTICE];
/// Files of ringfence's that are mounted in every container. By a link there a file would be made
/// where it leads, also in what a client has mounted.
const NAME_FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
/// Answers that are remembered.
const MOST: usize = 10_000;
/// The most parts of a place: the engine is asked for each.
const MOST_PARTS: usize = 32;
/// The looks at all places of a container end within this time.
const LONGEST: Duration = Duration::from_secs(30);

/// An image: by its id, and the platform of the variant that was decided upon.
type ImageKey = (String, ImagePlatform);

/// Answers about places in images.
#[derive(Default)]
pub(crate) struct KnownLinks(RefCell<BTreeMap<(ImageKey, String), LinkAnswer>>);

impl KnownLinks {
    /// Forgets an image that the engine made another variant of.
    pub(super) fn forget(&self, looked: &LookedImage) {
        self.0.borrow_mut().retain(|((id, _), _), _| *id != looked.id);
    }
}

/// Answer about a place in an image: the first link on the way, and the digest of the manifest that
/// was looked into, where the engine tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct LinkAnswer {
    link: Option<ImageLink>,
    digest: Option<String>,
}

/// An image that was looked into, or needed no look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LookedImage {
    id: String,
    digests: BTreeSet<String>,
}

impl LookedImage {
    /// Returns the digests of the manifests that were looked into. One manifest is always the same.
    pub(super) fn digests(&self) -> &BTreeSet<String> {
        &self.digests
    }

    #[cfg(test)]
    pub(super) fn of(digests: &[&str]) -> LookedImage {
        let digests = digests.iter().map(|digest| (*digest).to_owned()).collect();
        LookedImage { id: "sha256:0".to_owned(), digests }
    }
}

/// A link of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ImageLink {
    /// Its place.
    at: String,
    /// The place that it leads to.
    to: String,
}

/// A place that no link may lead to, and the field that names it.
type Place = (&'static str, String);

/// A place, and the first link on the way to it.
type FoundLink = (Place, Option<ImageLink>);

/// Answer about a place.
type PlaceAnswer = (Place, LinkAnswer);

impl Serving {
    /// Refuses a container whose mounts or working directory would be led elsewhere by links of its
    /// image.
    ///
    /// # Errors
    /// When there is such a link, or the engine does not say.
    pub(super) async fn refuse_links(&self, spec: &MemberSpec) -> Result<LookedImage, Denied> {
        let places = places(spec);
        if let Some((field, deep)) = places.iter().find(|(_, place)| parts(place).count() > MOST_PARTS) {
            let why = format!("{} has more than {MOST_PARTS} parts; give a shorter place", shown(deep));
            return Err(Denied::field(field, why));
        }
        let image = (spec.image.id.clone(), spec.platform.clone());
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for place in places {
            match self.links.0.borrow().get(&(image.clone(), place.1.clone())) {
                Some(answer) => known.push((place, answer.clone())),
                None => unknown.push(place),
            }
        }
        if !unknown.is_empty() {
            let found = self.look_into(&image, unknown).await?;
            let mut all = self.links.0.borrow_mut();
            if all.len() + found.len() > MOST {
                all.clear();
            }
            let answers = found.iter();
            all.extend(answers.map(|((_, place), answer)| ((image.clone(), place.clone()), answer.clone())));
            known.extend(found);
        }
        let digests = known.iter().filter_map(|(_, answer)| answer.digest.clone()).collect();
        match known.into_iter().find_map(|(place, answer)| Some((place, answer.link?))) {
            Some(((field, place), link)) => Err(refusal(field, &place, &link)),
            None => Ok(LookedImage { id: image.0, digests }),
        }
    }

    /// Looks for the first link on the way to each place.
    async fn look_into(&self, image: &ImageKey, places: Vec<Place>) -> Result<Vec<PlaceAnswer>, Denied> {
        let body = json!({
            "Image": image.0,
            "Entrypoint": ["/never-started"],
            "WorkingDir": "/",
            "Labels": { LABEL_SERVE: "", LABEL_LOOK: self.facts.id },
            "HostConfig": { "NetworkMode": "none" },
        });
        let query = [("name", format!("{NAME}{}", random()?)), ("platform", image.1.to_string())];
        let line = Line::new("POST", "/containers/create", &query);
        let made = self.http.json(&line, self.facts.version, Sent::Json(body.to_string())).await?;
        let id = made["Id"].as_str().unwrap_or_default();
        let looks = Looks { http: &self.http, version: self.facts.version, id };
        let found = match looks.at(places, LONGEST).await {
            Ok(found) => self.with_digest(id, found).await,
            Err(denied) => Err(denied),
        };
        self.remove_look(id).await;
        found
    }

    /// Adds the digest of the manifest that a container which was looked into was made of.
    async fn with_digest(&self, id: &str, found: Vec<FoundLink>) -> Result<Vec<PlaceAnswer>, Denied> {
        let inspected = self.inspect(id, self.facts.version).await?;
        let digest = digest_of(&inspected).map(str::to_owned);
        if digest.is_none() && self.facts.engine.has_variants() {
            return Err(unsaid());
        }
        let with = |(place, link)| (place, LinkAnswer { link, digest: digest.clone() });
        Ok(found.into_iter().map(with).collect())
    }

    /// Removes a container that was looked into. One that somebody started is left.
    async fn remove_look(&self, id: &str) {
        let query = [("v", "1".to_owned())];
        let line = Line::new("DELETE", &format!("/containers/{id}"), &query);
        if let Err(denied) = self.http.json(&line, self.facts.version, Sent::Nothing).await
            && denied.status != 404
        {
            let words = format!("a container that was never started is left: {}", denied.message);
            crate::term::talk(crate::term::line(&words));
        }
    }

    /// Removes containers that an earlier `serve` looked into.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn remove_looks(&self) -> Result<(), Failure> {
        let label = format!("{LABEL_LOOK}={}", self.facts.id);
        let filters = Some(HashMap::from([("label".to_owned(), vec![label])]));
        // Of any length: images can have that label, and long ones beside it.
        let listed = ListContainersOptions { all: true, filters, ..Default::default() };
        let listed = self.facts.engine.list_containers(listed).await;
        let listed = listed.map_err(|error| Failure::new(COULD_NOT_RUN, describe(&error)))?;
        let looks = listed.iter().filter(|entry| is_look(entry, &self.facts.id));
        for id in looks.filter_map(|entry| entry.id.as_deref()) {
            self.remove_look(id).await;
        }
        Ok(())
    }
}

/// Tells whether a container is one that the `serve` of an id looked into. Images can have its
/// label, and have no say in its name.
fn is_look(entry: &ContainerSummary, serve: &str) -> bool {
    let has_name = |name: &String| {
        let id = name.strip_prefix('/').and_then(|name| name.strip_prefix(NAME));
        id.is_some_and(|id| id.parse::<WorkflowId>().is_ok())
    };
    let label = entry.labels.as_ref().and_then(|labels| labels.get(LABEL_LOOK));
    entry.names.as_deref().is_some_and(|names| names.len() == 1 && names.iter().all(has_name))
        && label.is_some_and(|label| label == serve)
        && entry.state == Some(ContainerSummaryStateEnum::CREATED)
}

/// Lists the places of a container that no link of its image may lead to. Without mounts there is
/// nothing to lead.
fn places(spec: &MemberSpec) -> Vec<Place> {
    let mounts = spec.mounts.iter().map(|mount| ("HostConfig.Mounts", mount.target.clone()));
    let mut places: Vec<Place> = mounts.collect();
    places.extend(spec.tmpfs.keys().map(|place| ("HostConfig.Tmpfs", place.clone())));
    if places.is_empty() {
        return places;
    }
    places.extend(cleaned(spec.workdir_in_effect()).map(|place| ("WorkingDir", place)));
    places.extend(OWN.map(|place| ("Image", place.to_owned())));
    if spec.mounts.iter().any(|mount| matches!(mount.source, MountSource::Path { .. })) {
        places.extend(NAME_FILES.map(|place| ("Image", place.to_owned())));
    }
    places
}

fn parts(place: &str) -> impl Iterator<Item = &str> {
    place.split('/').filter(|part| !part.is_empty())
}

/// Looks at paths of one container.
struct Looks<'a> {
    http: &'a EngineHttp,
    version: ApiMinor,
    /// The container.
    id: &'a str,
}

impl Looks<'_> {
    /// Looks for the first link on the way to each place, within a time.
    async fn at(&self, places: Vec<Place>, longest: Duration) -> Result<Vec<FoundLink>, Denied> {
        let looking = async {
            let mut found = Vec::new();
            for place in places {
                let link = self.link_on_way(&place.1).await?;
                found.push((place, link));
            }
            // A container that is gone has no path either.
            match self.stat("/").await? {
                Some(None) => Ok(found),
                _ => Err(unsaid()),
            }
        };
        tokio::time::timeout(longest, looking).await.unwrap_or_else(|_| Err(slow(longest)))
    }

    /// Returns the first link on the way to a place, the last part too.
    async fn link_on_way(&self, place: &str) -> Result<Option<ImageLink>, Denied> {
        let mut way = String::new();
        for part in parts(place) {
            way = format!("{way}/{part}");
            match self.stat(&way).await? {
                // What is missing is made, and so is everything below it.
                None => return Ok(None),
                Some(Some(to)) if (way.as_str(), to.as_str()) == STATE => way = to,
                Some(Some(to)) => return Ok(Some(ImageLink { at: way, to })),
                Some(None) => {}
            }
        }
        Ok(None)
    }

    /// Asks for one path; none where nothing is there, or no such container.
    async fn stat(&self, path: &str) -> Result<Option<Option<String>>, Denied> {
        let archive = format!("/containers/{}/archive", self.id);
        let line = Line::new("HEAD", &archive, &[("path", path.to_owned())]);
        let answer = self.http.send(&line, self.version, Sent::Nothing).await?;
        let stat = match answer.status().as_u16() {
            200 => answer.headers().get(STAT).and_then(|stat| stat.to_str().ok()),
            404 => return Ok(None),
            _ => None,
        };
        stat.and_then(read_stat).ok_or_else(unsaid).map(Some)
    }
}

/// Reads what the engine tells of a path: where it leads, if it is a link.
fn read_stat(header: &str) -> Option<Option<String>> {
    let stat: Value = serde_json::from_slice(&STANDARD.decode(header).ok()?).ok()?;
    let to = stat["linkTarget"].as_str().unwrap_or_default();
    let is_link = stat["mode"].as_u64()? & IS_LINK != 0 || !to.is_empty();
    Some(is_link.then(|| to.to_owned()))
}

fn unsaid() -> Denied {
    Denied::new(503, "the engine does not say what the image has where something is to be mounted")
}

fn slow(longest: Duration) -> Denied {
    let seconds = longest.as_secs();
    let what = format!(
        "the engine needs more than {seconds} s to say what the image has where something is to be mounted; \
         give fewer mounts, or try again when it has less to do"
    );
    Denied::new(503, what)
}

fn refusal(field: &str, place: &str, link: &ImageLink) -> Denied {
    let what = format!(
        "{}: {} is a link of the image, to {}; give a place that no link leads to, or use another image",
        shown(place),
        shown(&link.at),
        shown(&link.to)
    );
    Denied::field(field, what)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;

    use super::*;

    /// Answers of an engine about each path; what is not named is missing.
    fn engine(folder: &std::path::Path, answers: &'static [(&str, &str)]) -> EngineHttp {
        let socket = folder.join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                let path = line.split("path=").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
                let path = path.replace("%2F", "/");
                let said = match answers.iter().find(|(known, _)| *known == path) {
                    Some((_, "hangs")) => {
                        std::thread::sleep(Duration::from_secs(2));
                        continue;
                    }
                    Some((_, stat)) => format!("200 OK\r\n{STAT}: {}", STANDARD.encode(stat)),
                    None => "404 Not Found".to_owned(),
                };
                let _ = stream.write_all(format!("HTTP/1.1 {said}\r\nConnection: close\r\n\r\n").as_bytes());
            }
        });
        EngineHttp::new(socket)
    }

    /// Looks at one place of a container of such an engine.
    async fn looked(answers: &'static [(&str, &str)], longest: Duration) -> Result<Vec<FoundLink>, Denied> {
        let folder = tempfile::tempdir().unwrap();
        let http = engine(folder.path(), answers);
        let looks = Looks { http: &http, version: ApiMinor(41), id: "0" };
        let places = vec![("HostConfig.Mounts", "/x/y".to_owned())];
        tokio::task::LocalSet::new().run_until(looks.at(places, longest)).await
    }

    const FOLDER: &str = r#"{"mode":2147484141,"linkTarget":""}"#;

    #[tokio::test]
    async fn a_container_that_is_gone_has_no_links_and_proves_nothing() {
        let gone = looked(&[], LONGEST).await;
        assert_eq!(gone.unwrap_err().status, 503);
        let found = looked(&[("/", FOLDER), ("/x", FOLDER)], LONGEST).await.unwrap();
        assert_eq!(found[0].1, None);
        let link = &[("/", FOLDER), ("/x", r#"{"mode":134218239,"linkTarget":"/dev"}"#)];
        let found = looked(link, LONGEST).await.unwrap();
        assert_eq!(found[0].1.as_ref().map(|link| link.to.as_str()), Some("/dev"));
    }

    #[tokio::test]
    async fn looks_end_in_time() {
        let denied = looked(&[("/x", "hangs")], Duration::from_millis(50)).await.unwrap_err();
        assert!(denied.status == 503 && denied.message.contains("fewer mounts"), "{denied:?}");
    }

    #[test]
    fn a_look_is_known_by_its_name_and_its_state_too() {
        let entry = |name: &str, label: &str, state: &str| {
            let said = json!({"Names": [name], "Labels": { LABEL_LOOK: label }, "State": state});
            serde_json::from_value::<ContainerSummary>(said).unwrap()
        };
        let own = "0123abcd";
        assert!(is_look(&entry("/ringfence-look-00c0ffee", own, "created"), own));
        for (name, label, state) in [
            ("/db", own, "created"),
            ("/ringfence-look-", own, "created"),
            ("/ringfence-look-database", own, "created"),
            ("/ringfence-look-00c0ffee0", own, "created"),
            ("/ringfence-00c0ffee-member-ringfence-look-00c0ffee", own, "created"),
            ("/ringfence-look-00c0ffee", "", "created"),
            ("/ringfence-look-00c0ffee", "other", "created"),
            ("/ringfence-look-00c0ffee", own, "running"),
            ("/ringfence-look-00c0ffee", own, "exited"),
        ] {
            assert!(!is_look(&entry(name, label, state), own), "{name} {label} {state}");
        }
    }

    #[test]
    fn a_link_is_known_by_its_mode_or_its_end() {
        let said = |text: &str| read_stat(&STANDARD.encode(text));
        let link = r#"{"name":"run","size":4,"mode":134218239,"mtime":"","linkTarget":"/run"}"#;
        assert_eq!(said(link), Some(Some("/run".to_owned())));
        assert_eq!(said(r#"{"mode":134218239}"#), Some(Some(String::new())), "it leads nowhere");
        assert_eq!(said(r#"{"mode":493,"linkTarget":"/x"}"#), Some(Some("/x".to_owned())));
        assert_eq!(said(r#"{"mode":2147484141,"linkTarget":""}"#), Some(None), "a directory");
        for unread in [r#"{"linkTarget":""}"#, "{}", "x", r#"{"mode":"493"}"#] {
            assert_eq!(said(unread), None, "{unread}");
        }
        assert_eq!(read_stat("%"), None);
        let link = ImageLink { at: "/lib".to_owned(), to: "/usr/lib".to_owned() };
        let words = refusal("WorkingDir", "/lib/modules", &link).message;
        assert!(words.contains("/lib/modules: /lib is a link of the image, to /usr/lib"), "{words}");
    }
}
