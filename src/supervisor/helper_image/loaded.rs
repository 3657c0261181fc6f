//! The image on the engine: looked at before it is used, loaded where it is not there or is not
//! what it must be.
//!
//! ```text
//!  name ─▶ what the engine has ─┬─ the same ────────────────────────────────────▶ id
//!                               └─ none, or another ─▶ load ─▶ look again ─ same ─▶ id
//!                                                                └─ another ─▶ no run
//! ```
//!
//! A tag is a name that anybody gives who may load an image, and that of a release is public. So
//! the name only finds the image: its layer and its settings decide, and containers are made by the
//! id of what was looked at.

use std::time::Duration;

use bollard::models::ImageInspect;
use bollard::query_parameters::ImportImageOptions;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use super::bundle::{self, Identity};
use crate::supervisor::engine::dialect::HelperImage;
use crate::supervisor::engine::{self, Engine};
use crate::term::{COULD_NOT_RUN, Failure, Warning};

/// An engine that takes nothing and says nothing for so long is not loading. It unpacks the image
/// in silence, and the last megabytes of a slow link are on their way after they were sent.
const SILENCE: Duration = Duration::from_secs(600);
/// The library limits the whole of a question; here silence is what counts.
const WHOLE: Duration = Duration::from_secs(24 * 3600);
/// Bytes that are sent at once.
const PIECE: usize = 64 << 10;

/// Makes sure that the engine has the image; its id. `archive` is written when it is needed.
pub(crate) async fn ready(
    engine: &Engine,
    image: &Identity,
    archive: impl FnOnce() -> Result<Vec<u8>, Failure>,
) -> Result<String, Failure> {
    let tag = image.tag();
    let before = look(engine, image).await?;
    if let ImageState::Same(id) = before {
        return Ok(id);
    }
    let progress = crate::term::progress("giving the engine the helper image");
    load(engine, archive()?).await?;
    drop(progress);
    match (look(engine, image).await?, before) {
        (ImageState::Same(id), ImageState::Another(why)) => {
            crate::term::warn(Warning::HelperImageReplaced { tag, why });
            Ok(id)
        }
        (ImageState::Same(id), _) => Ok(id),
        (ImageState::Another(why), _) => {
            let mut failure = Failure::new(
                COULD_NOT_RUN,
                format!("what the engine has by the name {tag} is not the helper image"),
            );
            failure.causes.push(why);
            Err(failure.hint("find out who made it; `docker image rm` of that name removes it, and the next start loads the right one"))
        }
        (ImageState::None, _) => Err(Failure::new(
            COULD_NOT_RUN,
            format!("the engine loaded the helper image but does not know {tag}"),
        )),
    }
}

/// Returns the engine's id of the image, when it has it.
#[cfg(target_os = "linux")]
pub(crate) async fn there(engine: &Engine, image: &Identity) -> Result<Option<String>, Failure> {
    match look(engine, image).await? {
        ImageState::Same(id) => Ok(Some(id)),
        ImageState::Another(_) | ImageState::None => Ok(None),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum ImageState {
    /// The image is there, with this id.
    Same(String),
    /// Another image has the name; the difference.
    Another(String),
    None,
}

async fn look(engine: &Engine, image: &Identity) -> Result<ImageState, Failure> {
    let name = match engine.dialect.helper_image {
        HelperImage::ByName => image.tag(),
        HelperImage::ByHashOfConfiguration => id_by_configuration(image),
    };
    match engine.api.inspect_image(&name).await {
        Ok(found) => Ok(compare(&found, image, engine.dialect.helper_image)),
        Err(error) if engine::is_missing(&error) => Ok(ImageState::None),
        Err(error) => {
            Err(engine::refused(format!("cannot look for the helper image {}", image.tag()), &error))
        }
    }
}

/// Returns the id of an engine that makes ids of configurations.
fn id_by_configuration(image: &Identity) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(image.config())))
}

fn compare(found: &ImageInspect, image: &Identity, by: HelperImage) -> ImageState {
    let Some(id) = &found.id else { return ImageState::Another("it has no id".to_owned()) };
    let layers = found.root_fs.as_ref().and_then(|root| root.layers.as_deref()).unwrap_or_default();
    if layers != [image.layer.diff_id()] {
        return ImageState::Another(format!("its layers are {layers:?}"));
    }
    if let Some(why) = other_settings(found) {
        return ImageState::Another(why);
    }
    if by == HelperImage::ByHashOfConfiguration && *id != id_by_configuration(image) {
        return ImageState::Another(format!("its id is {id}"));
    }
    ImageState::Same(id.clone())
}

/// Returns a setting that is not as it must be: an image can give a container no more settings than
/// are compared here.
fn other_settings(found: &ImageInspect) -> Option<String> {
    let told = found.config.as_ref().and_then(|config| serde_json::to_value(config).ok());
    let told = told.as_ref().map(set).unwrap_or_default();
    let wanted = set(&bundle::settings());
    let mut names: Vec<&String> = told.keys().chain(wanted.keys()).collect();
    names.sort();
    let name = names.into_iter().find(|name| told.get(*name) != wanted.get(*name))?;
    Some(match told.get(name) {
        Some(value) => format!("its {name} is {value}"),
        None => format!("it has no {name}"),
    })
}

/// Returns the settings that are set, as engines differ in how they write the others.
fn set(settings: &Value) -> Map<String, Value> {
    let all = settings.as_object().into_iter().flatten();
    all.filter(|(name, value)| !is_nothing(name, value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

fn is_nothing(name: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || (name == "WorkingDir" && text == "/"),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

async fn load(engine: &Engine, archive: Vec<u8>) -> Result<(), Failure> {
    let (pieces, moves) = pieces(archive);
    let api = engine.api.clone().with_timeout(WHOLE);
    let options = ImportImageOptions { quiet: true, ..Default::default() };
    let answers = api.import_image(options, bollard::body_stream(pieces), None);
    to_the_end(answers, moves).await
}

/// Splits the archive into pieces; the receiver hears of each that is taken, until the last one is.
fn pieces(archive: Vec<u8>) -> (impl Stream<Item = Bytes>, watch::Receiver<()>) {
    let mut rest = Bytes::from(archive);
    let (moved, moves) = watch::channel(());
    let pieces = std::iter::from_fn(move || {
        let piece = rest.split_to(rest.len().min(PIECE));
        moved.send_replace(());
        (!piece.is_empty()).then_some(piece)
    });
    (stream::iter(pieces), moves)
}

/// Hears the engine out, as long as anything moves.
async fn to_the_end<T>(
    answers: impl Stream<Item = Result<T, bollard::errors::Error>>,
    mut moves: watch::Receiver<()>,
) -> Result<(), Failure> {
    const DOING: &str = "the engine does not load the helper image";
    let mut answers = std::pin::pin!(answers);
    loop {
        tokio::select! {
            answer = answers.next() => match answer {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(engine::refused(DOING, &error)),
                None => return Ok(()),
            },
            Ok(()) = moves.changed() => {}
            () = tokio::time::sleep(SILENCE) => {
                let mut failure = Failure::new(COULD_NOT_RUN, DOING);
                failure.causes.push(format!("it took nothing and said nothing for {} minutes", SILENCE.as_secs() / 60));
                return Err(failure);
            }
        }
    }
}

#[cfg(test)]
#[path = "loaded_tests.rs"]
mod tests;
