//! Calls about the engine and its images.

use std::rc::Rc;

use serde_json::{Value, json};

use super::http::{Answer, Sent, full, json, passed, with};
use super::state::Serving;
use crate::serve::answer::others::{Counts, disk_use, image, info, version as version_of};
use crate::serve::decide::pull;
use crate::serve::denied::Denied;
use crate::serve::request::filters::Filters;
use crate::serve::request::names::ImageRef;
use crate::serve::request::target::encode;
use crate::serve::request::upstream_line::Line;
use crate::serve::request::version::ApiMinor;

impl Serving {
    /// Answers a client that looks whether somebody is there.
    pub(crate) fn ping() -> Answer {
        with(200, "text/plain; charset=utf-8", full("OK"))
    }

    /// Tells versions.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn version(&self, version: ApiMinor) -> Result<Answer, Denied> {
        let found = self.get("/version", version).await?;
        Ok(json(200, &version_of(&found, ApiMinor::served(self.facts.version))))
    }

    /// Tells harmless facts about the engine.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn info(&self, version: ApiMinor) -> Result<Answer, Denied> {
        let found = self.get("/info", version).await?;
        let mut counts = Counts {
            images: usize::try_from(found["Images"].as_u64().unwrap_or(0)).unwrap_or(0),
            ..Counts::default()
        };
        let (all, _place) = self.containers(true, None, &Filters::default(), version).await?;
        for entry in all {
            match entry["State"].as_str() {
                Some("running") => counts.running += 1,
                Some("paused") => counts.paused += 1,
                _ => counts.stopped += 1,
            }
        }
        Ok(json(200, &info(&found, counts)))
    }

    /// Tells the use of the disk by own objects.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn disk_use(&self, version: ApiMinor) -> Result<Answer, Denied> {
        let (containers, place) = self.containers(true, None, &Filters::default(), version).await?;
        Ok(place.answer(disk_use(Vec::new(), containers, Vec::new())).await)
    }

    /// Lists the engine's images.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub(crate) async fn images(&self, query: &[(&str, String)], version: ApiMinor) -> Result<Answer, Denied> {
        let line = Line::new("GET", "/images/json", query);
        let (found, place) = self.http.list(&line, version, &self.whole).await?;
        let all = if let Value::Array(found) = found { found } else { Vec::new() };
        Ok(place.answer(all.into_iter().map(image).collect()).await)
    }

    /// Shows an image.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn image(&self, of: &ImageRef, version: ApiMinor) -> Result<Answer, Denied> {
        let line = Line::new("GET", &at(of, "json"), &[]);
        let (found, place) = self.http.list(&line, version, &self.whole).await?;
        Ok(place.answer(image(found)).await)
    }

    /// Lists the layers of an image.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn history(&self, of: &ImageRef, version: ApiMinor) -> Result<Answer, Denied> {
        let line = Line::new("GET", &at(of, "history"), &[]);
        let (found, place) = self.http.list(&line, version, &self.whole).await?;
        Ok(place.answer(found).await)
    }

    /// Has the engine pull an image, where the policy names its registry.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) async fn pull(
        self: &Rc<Self>,
        of: &ImageRef,
        platform: Option<&String>,
        version: ApiMinor,
    ) -> Result<Answer, Denied> {
        let mut query = vec![("fromImage", pull(of, &self.ground())?)];
        query.extend(of.tag_or_digest().map(|tag| ("tag", tag.to_owned())));
        query.extend(platform.map(|platform| ("platform", platform.clone())));
        Ok(passed(
            self.http.send(&Line::new("POST", "/images/create", &query), version, Sent::Nothing).await?,
        ))
    }

    async fn get(&self, path: &str, version: ApiMinor) -> Result<Value, Denied> {
        self.http.json(&Line::new("GET", path, &[]), version, Sent::Nothing).await
    }
}

/// Returns the path of an image, whose name may have slashes.
fn at(of: &ImageRef, what: &str) -> String {
    let name: Vec<String> = of.as_str().split('/').map(encode).collect();
    format!("/images/{}/{what}", name.join("/"))
}

/// Makes the answer to a prune of images, which removes none.
pub(crate) fn pruned_images() -> Answer {
    json(200, &json!({ "ImagesDeleted": null, "SpaceReclaimed": 0 }))
}
