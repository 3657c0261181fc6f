//! Links of an image on the way to places where something is to be mounted.
//!
//! ```text
//!  image ─▶ a container that is never started ─▶ each part of each place: is it a link? ─▶ removed
//! ```
//! Runtimes follow links of the image when they mount, also to `/`, `/dev` or what is mounted
//! already. A container that never ran has the image's files, and nobody else has them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::fences::random;
use super::http::Sent;
use super::state::Serving;
use crate::serve::decide::member::MemberSpec;
use crate::serve::denied::Denied;
use crate::serve::request::filters::Filters;
use crate::serve::request::upstream_line::Line;
use crate::serve::text::shown;
use crate::supervisor::spec::places::NOTICE;
use crate::supervisor::spec::workflow::LABEL_SERVE;
use crate::term::{COULD_NOT_RUN, Failure};

/// Label of containers that are looked into: the `serve` that does.
const LABEL_LOOK: &str = "dev.ringfence.look";
/// Header of the engine's answer about a path.
const STAT: &str = "x-docker-container-path-stat";
/// The bit of a link in the mode that the engine tells.
const IS_LINK: u64 = 1 << 27;
/// Places of ringfence's own mounts.
const OWN: [&str; 2] = ["/etc", NOTICE];
/// A link that most images have, and where it leads. Some images declare a volume there.
const STATE: (&str, &str) = ("/var/run", "/run");
/// Answers that are remembered.
const MOST: usize = 10_000;

/// An image: by its id, and the platform that a client named.
type ImageKey = (String, Option<String>);

/// Answers about places in images; an image of one id is always the same.
#[derive(Default)]
pub(crate) struct KnownLinks(RefCell<BTreeMap<(ImageKey, String), Option<ImageLink>>>);

/// A link of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ImageLink {
    /// Its place.
    at: String,
    /// The place that it leads to.
    to: String,
}

impl Serving {
    /// Refuses a container whose mounts would be led elsewhere by links of its image.
    ///
    /// # Errors
    /// When there is such a link, or the engine does not say.
    pub(crate) async fn refuse_links(&self, spec: &MemberSpec) -> Result<(), Denied> {
        let asked = spec.mounts.iter().map(|mount| mount.target.as_str());
        let asked: Vec<&str> = asked.chain(spec.tmpfs.keys().map(String::as_str)).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let image = (spec.image.id.clone(), spec.platform.clone());
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for target in asked.into_iter().chain(OWN) {
            match self.links.0.borrow().get(&(image.clone(), target.to_owned())) {
                Some(link) => known.push((target, link.clone())),
                None => unknown.push(target),
            }
        }
        if !unknown.is_empty() {
            let found = self.look_into(&image, &unknown).await?;
            let mut all = self.links.0.borrow_mut();
            if all.len() + found.len() > MOST {
                all.clear();
            }
            let keys =
                found.iter().map(|(target, link)| ((image.clone(), (*target).to_owned()), link.clone()));
            all.extend(keys);
            known.extend(found);
        }
        match known.into_iter().find_map(|(target, link)| Some((target, link?))) {
            Some((target, link)) => Err(refusal(target, &link)),
            None => Ok(()),
        }
    }

    /// Looks for the first link on the way to each place.
    async fn look_into<'a>(
        &self,
        image: &ImageKey,
        targets: &[&'a str],
    ) -> Result<Vec<(&'a str, Option<ImageLink>)>, Denied> {
        let body = json!({
            "Image": image.0,
            "Entrypoint": ["/never-started"],
            "WorkingDir": "/",
            "Labels": { LABEL_SERVE: "", LABEL_LOOK: self.facts.id },
            "HostConfig": { "NetworkMode": "none" },
        });
        let mut query = vec![("name", format!("ringfence-look-{}", random()?))];
        query.extend(image.1.clone().map(|platform| ("platform", platform)));
        let line = Line::new("POST", "/containers/create", &query);
        let made = self.http.json(&line, self.facts.version, Sent::Json(body.to_string())).await?;
        let id = made["Id"].as_str().unwrap_or_default();
        let mut found = Vec::new();
        for target in targets {
            found.push(self.link_on_way(id, target).await.map(|link| (*target, link)));
        }
        self.remove_look(id).await;
        found.into_iter().collect()
    }

    /// Returns the first link on the way to a place, the last part too.
    async fn link_on_way(&self, id: &str, target: &str) -> Result<Option<ImageLink>, Denied> {
        let mut way = String::new();
        for part in target.split('/').filter(|part| !part.is_empty()) {
            way = format!("{way}/{part}");
            let line = Line::new("HEAD", &format!("/containers/{id}/archive"), &[("path", way.clone())]);
            let answer = self.http.send(&line, self.facts.version, Sent::Nothing).await?;
            let stat = match answer.status().as_u16() {
                200 => answer.headers().get(STAT).and_then(|stat| stat.to_str().ok()),
                // What is missing is made, and so is everything below it.
                404 => return Ok(None),
                _ => None,
            };
            match stat.and_then(read_stat).ok_or_else(unsaid)? {
                Some(to) if (way.as_str(), to.as_str()) == STATE => way = to,
                Some(to) => return Ok(Some(ImageLink { at: way, to })),
                None => {}
            }
        }
        Ok(None)
    }

    async fn remove_look(&self, id: &str) {
        let query = [("v", "1".to_owned()), ("force", "1".to_owned())];
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
        let filters = Filters::default().with("label", &format!("{LABEL_LOOK}={}", self.facts.id));
        let query = [("all", "1".to_owned()), ("filters", filters.json())];
        let line = Line::new("GET", "/containers/json", &query);
        let listed = self.http.json(&line, self.facts.version, Sent::Nothing).await;
        let listed = listed.map_err(|denied| Failure::new(COULD_NOT_RUN, denied.message))?;
        for id in listed.as_array().into_iter().flatten().filter_map(|one| one["Id"].as_str()) {
            self.remove_look(id).await;
        }
        Ok(())
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

fn refusal(target: &str, link: &ImageLink) -> Denied {
    let what = format!(
        "{}: {} is a link of the image, to {}; give a place that no link leads to, or use another image",
        shown(target),
        shown(&link.at),
        shown(&link.to)
    );
    Denied::field("HostConfig.Mounts", what)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let words = refusal("/lib/modules", &link).message;
        assert!(words.contains("/lib/modules: /lib is a link of the image, to /usr/lib"), "{words}");
    }
}
