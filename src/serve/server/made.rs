//! A container that the engine made, judged before anything else is done with it.
//!
//! ```text
//!  decided ─▶ on disk ─▶ the engine makes it, and starts nothing ─▶ inspected ─┬─ as decided ─▶ member
//!                          └ serve is killed ─▶ the next one inspects ─▶───────┴─ else ─▶ removed, refused
//! ```
//! An engine chooses a variant of an image by itself, and by other words than those that it
//! describes the image with. Volumes, working directory, user and labels of that variant are the
//! container's. While it makes a container an engine touches no file of this machine and no volume
//! that anybody has. So it counts what was made.

use std::collections::{BTreeMap, BTreeSet};

use bollard::models::Mount;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::create::text;
use super::http::Sent;
use super::image_links::LookedImage;
use super::state::Serving;
use crate::serve::decide::LONGEST_LABELS;
use crate::serve::decide::member::MemberSpec;
use crate::serve::denied::Denied;
use crate::serve::request::upstream_line::Line;
use crate::serve::text::{shown, written_length};
use crate::supervisor::spec::image_volumes::cleaned;

/// The most bytes of the engine's description of a container that never ran. It grows while the
/// container lives, and is read at each step.
const LONGEST: usize = 4 << 20;

/// Facts of a container that were decided upon, and that its image could change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DecidedFacts {
    /// Kinds of all mounts, ringfence's own too, by their places.
    mounts: BTreeMap<String, String>,
    workdir: String,
    user: String,
    /// The most bytes of its labels.
    labels: usize,
    /// The image that was looked into.
    looked: LookedImage,
    /// Set where the engine has to name the variant that it made.
    has_variants: bool,
}

impl DecidedFacts {
    /// Gathers what is asked of the engine. `labels`: those that are sent.
    pub(super) fn new<'a>(
        spec: &MemberSpec,
        mounts: &[Mount],
        labels: impl Iterator<Item = (&'a String, &'a String)>,
        looked: LookedImage,
        has_variants: bool,
    ) -> DecidedFacts {
        let kind = |mount: &Mount| mount.typ.map(|kind| kind.to_string()).unwrap_or_default();
        let place = |mount: &Mount| clean(mount.target.as_deref().unwrap_or_default());
        DecidedFacts {
            mounts: mounts.iter().map(|mount| (place(mount), kind(mount))).collect(),
            workdir: clean(spec.workdir_in_effect()),
            user: spec.user.as_ref().unwrap_or(&spec.image.user).clone(),
            labels: LONGEST_LABELS + length_of(labels),
            looked,
            has_variants,
        }
    }

    /// Judges a container by the engine's description.
    ///
    /// # Errors
    /// When it is another one than what was decided upon.
    pub(super) fn judge(&self, inspected: &Value) -> Result<(), Denied> {
        let mounts = inspected["Mounts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mounts: BTreeMap<String, String> = mounts
            .iter()
            .map(|mount| (clean(text(mount, "/Destination")), text(mount, "/Type").to_owned()))
            .collect();
        let differs = |(place, kind): &(&String, &String)| self.mounts.get(*place) != Some(*kind);
        if let Some((place, _)) = mounts.iter().find(differs) {
            return Err(other(&format!("it mounts something at {}", shown(place))));
        }
        if let Some(place) = self.mounts.keys().find(|place| !mounts.contains_key(*place)) {
            return Err(other(&format!("it mounts nothing at {}", shown(place))));
        }
        let workdir = clean(text(inspected, "/Config/WorkingDir"));
        if workdir != self.workdir {
            return Err(other(&format!("its working directory is {}", shown(&workdir))));
        }
        let user = text(inspected, "/Config/User");
        if user != self.user {
            return Err(other(&format!("its user is {}", shown(user))));
        }
        let made = digest_of(inspected);
        let is_looked = self.looked.digests().iter().all(|looked| Some(looked.as_str()) == made);
        if !is_looked || self.has_variants && made.is_none() {
            return Err(other("its files are those of another manifest"));
        }
        self.judge_length(inspected)
    }

    /// Refuses what makes every list and description long.
    fn judge_length(&self, inspected: &Value) -> Result<(), Denied> {
        let labels: BTreeMap<String, String> =
            serde_json::from_value(inspected["Config"]["Labels"].clone()).unwrap_or_default();
        if length_of(labels.iter()) > self.labels {
            return Err(other("its labels are longer"));
        }
        if inspected.to_string().len() > LONGEST {
            let why = format!(
                "the engine's description of its container has more than {LONGEST} bytes; build it with fewer \
                 and shorter variables, or name another image"
            );
            return Err(Denied::field("Image", why));
        }
        Ok(())
    }
}

impl Serving {
    /// Judges a container that was just made. One that is not what was decided upon is removed.
    ///
    /// # Errors
    /// When it is not, or the engine does not say.
    pub(super) async fn judge_made(&self, id: &str, decided: &DecidedFacts) -> Result<(), Denied> {
        let judged = match self.inspect(id, self.facts.version).await {
            Ok(inspected) => decided.judge(&inspected),
            Err(denied) => Err(denied),
        };
        let Err(denied) = judged else { return Ok(()) };
        self.links.forget(&decided.looked);
        let line = Line::new("DELETE", &format!("/containers/{id}"), &[("v", "1".to_owned())]);
        if let Err(left) = self.http.json(&line, self.facts.version, Sent::Nothing).await
            && left.status != 404
        {
            let words = format!("a container that was refused, and never started, is left: {}", left.message);
            crate::term::talk(crate::term::line(&words));
        }
        Err(denied)
    }
}

/// Returns the digest of the manifest that a container was made of, where the engine tells it.
pub(super) fn digest_of(inspected: &Value) -> Option<&str> {
    inspected.pointer("/ImageManifestDescriptor/digest").and_then(Value::as_str)
}

/// Lists the volumes of a container that is on the engine: an engine has filled all of them before
/// anybody finds the container.
pub(super) fn volumes_of(inspected: &Value) -> BTreeSet<String> {
    let mounts = inspected["Mounts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let volumes = mounts.iter().filter(|mount| text(mount, "/Type") == "volume");
    volumes.filter_map(|mount| Some(mount["Name"].as_str()?.to_owned())).collect()
}

fn length_of<'a>(labels: impl Iterator<Item = (&'a String, &'a String)>) -> usize {
    labels.map(|(name, value)| written_length(name) + written_length(value)).sum()
}

/// Returns a path as engines write it; nothing stays nothing.
fn clean(path: &str) -> String {
    match path {
        "" => String::new(),
        path => cleaned(path).unwrap_or_else(|| "/".to_owned()),
    }
}

fn other(how: &str) -> Denied {
    let what = format!(
        "Image: the engine made a container of another variant of the image than the one that was decided \
         upon: {how}. The container was removed; try again, or pull an image that has one platform alone, by \
         its digest"
    );
    Denied::new(409, what)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn decided(has_variants: bool, digests: &[&str]) -> DecidedFacts {
        let mounts = [("/v", "volume"), ("/etc/hosts", "bind"), ("/m", "tmpfs")];
        DecidedFacts {
            mounts: mounts.map(|(place, kind)| (place.to_owned(), kind.to_owned())).into(),
            workdir: "/app".to_owned(),
            user: "1000".to_owned(),
            labels: 40,
            looked: LookedImage::of(digests),
            has_variants,
        }
    }

    fn made() -> Value {
        json!({
            "Mounts": [
                {"Type": "volume", "Name": "data", "Destination": "/v"},
                {"Type": "bind", "Source": "/x", "Destination": "/etc/hosts"},
                {"Type": "tmpfs", "Destination": "/m"},
            ],
            "Config": {"WorkingDir": "/app/", "User": "1000", "Labels": {"of": "image"}},
            "ImageManifestDescriptor": {"digest": "sha256:a"},
        })
    }

    fn changed(at: &str, value: Value) -> Value {
        let mut made = made();
        *made.pointer_mut(at).unwrap() = value;
        made
    }

    #[test]
    fn what_was_made_is_what_was_decided_upon() {
        decided(true, &["sha256:a", "sha256:a"]).judge(&made()).unwrap();
        decided(true, &[]).judge(&made()).unwrap();
        for (at, value, word) in [
            ("/Mounts/0/Destination", json!("/x/y"), "/x/y"),
            ("/Mounts/0/Type", json!("bind"), "/v"),
            ("/Mounts", json!([]), "mounts nothing at"),
            ("/Config/WorkingDir", json!("/h/nologin"), "/h/nologin"),
            ("/Config/WorkingDir", json!(""), "working directory"),
            ("/Config/User", json!(""), "user"),
            ("/Config/Labels", json!({"long": "x".repeat(40)}), "labels"),
            ("/ImageManifestDescriptor/digest", json!("sha256:b"), "another manifest"),
        ] {
            let denied = decided(true, &["sha256:a"]).judge(&changed(at, value)).unwrap_err();
            assert!(denied.status == 409 && denied.message.contains(word), "{at}: {denied:?}");
        }
        let mut more = made();
        more["Mounts"].as_array_mut().unwrap().push(json!({"Type": "volume", "Destination": "/h/x.service"}));
        let denied = decided(false, &[]).judge(&more).unwrap_err();
        assert!(denied.message.contains("/h/x.service"), "{denied:?}");
        let mut long = made();
        long["Config"]["Env"] = json!(["x".repeat(LONGEST)]);
        assert_eq!(decided(false, &[]).judge(&long).unwrap_err().status, 400);
    }

    #[test]
    fn an_engine_with_variants_names_the_one_that_it_made() {
        let silent = changed("/ImageManifestDescriptor", Value::Null);
        decided(false, &[]).judge(&silent).unwrap();
        assert!(decided(true, &[]).judge(&silent).is_err());
        assert!(decided(false, &["sha256:a"]).judge(&silent).is_err(), "the look was told");
        assert!(decided(true, &["sha256:a", "sha256:b"]).judge(&made()).is_err(), "two were looked into");
    }

    #[test]
    fn what_is_on_disk_is_read_again() {
        let decided = decided(true, &["sha256:a"]);
        let written = serde_json::to_string(&decided).unwrap();
        assert_eq!(serde_json::from_str::<DecidedFacts>(&written).unwrap(), decided);
        assert!(serde_json::from_str::<DecidedFacts>(&written[..written.len() / 2]).is_err());
    }

    #[test]
    fn volumes_of_a_container_are_known_by_their_names() {
        assert_eq!(volumes_of(&made()), BTreeSet::from(["data".to_owned()]));
        assert!(volumes_of(&json!({})).is_empty());
    }
}
