//! Events for clients: those of members, as the engine tells them.

use std::rc::Rc;

use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use tokio::sync::mpsc;
use tokio_util::bytes::BytesMut;

use super::ends::lines;
use super::http::{Answer, BodyError, Sent, streamed, with};
use super::state::Serving;
use crate::serve::answer::events::{KNOWN, event, fits, put_image_back};
use crate::serve::denied::Denied;
use crate::serve::request::filters::Filters;
use crate::serve::request::upstream_line::Line;
use crate::serve::request::version::ApiMinor;
use crate::supervisor::spec::workflow::LABEL_SERVE;

/// Events that wait for a slow client.
const WAITING: usize = 256;

impl Serving {
    /// Tells a client what happens to members.
    ///
    /// # Errors
    /// When a filter is unknown, or the engine does not answer.
    pub(crate) async fn events(
        self: &Rc<Self>,
        since: Option<String>,
        until: Option<String>,
        filters: Filters,
        version: ApiMinor,
    ) -> Result<Answer, Denied> {
        filters.only(&KNOWN)?;
        let own = format!("{LABEL_SERVE}={}", self.facts.id);
        let asked = Filters::default().with("label", &own).with("type", "container");
        let mut query = vec![("filters", asked.json())];
        query.extend(since.map(|since| ("since", since)));
        query.extend(until.map(|until| ("until", until)));
        let answer = self.http.send(&Line::new("GET", "/events", &query), version, Sent::Nothing).await?;
        let (tell, told) = mpsc::channel::<Result<Bytes, BodyError>>(WAITING);
        let serving = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let mut pieces = answer.into_body().into_data_stream();
            let mut pending = Vec::new();
            loop {
                let piece = tokio::select! {
                    piece = pieces.next() => piece,
                    // The client has gone.
                    () = tell.closed() => return,
                };
                let Some(Ok(piece)) = piece else { return };
                pending.extend_from_slice(&piece);
                let mut text = BytesMut::new();
                for found in lines(&mut pending) {
                    if let Some(line) = serving.told(found, &filters) {
                        text.extend_from_slice(line.as_bytes());
                    }
                }
                if !text.is_empty() && tell.send(Ok(text.freeze())).await.is_err() {
                    return;
                }
            }
        });
        let told = futures_util::stream::unfold(told, |mut told| async {
            told.recv().await.map(|piece| (piece, told))
        });
        Ok(with(200, "application/json", streamed(told)))
    }

    /// Returns an event as a client may see it, in a line.
    fn told(&self, found: serde_json::Value, filters: &Filters) -> Option<String> {
        let members = self.members.borrow();
        let id = found["Actor"]["ID"].as_str()?.to_owned();
        let name = |id: &str| members.get(id).map(|member| member.name.borrow().clone());
        let mut told = event(found, &name)?;
        if let Some(member) = members.get(&id) {
            put_image_back(&mut told, &member.asked.image);
        }
        fits(filters, &told).then(|| format!("{told}\n"))
    }
}
