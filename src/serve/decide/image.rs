//! The decision about an image: the one variant of it that was looked at is what runs.

use crate::serve::denied::Denied;
use crate::serve::text::{shown, written_length};
use crate::supervisor::spec::image::Image;
use crate::supervisor::spec::image_platform::ImagePlatform;

/// The most bytes of an image's labels, as the engine's lists and events write them: each container
/// of the image has them.
pub(crate) const LONGEST_LABELS: usize = 32 << 10;

/// Returns the platform with which the engine is asked for the image. Several variants of an image
/// can have one id.
///
/// # Errors
/// When another one is asked for, the engine describes none, or the image's labels are too long.
pub(super) fn decide(asked: Option<&str>, image: &Image) -> Result<ImagePlatform, Denied> {
    let Some(platform) = &image.platform else {
        let why = "the engine has no variant of it that it can describe; pull it for this machine's platform \
                   with the real engine, or name another image";
        return Err(Denied::field("Image", why));
    };
    if let Some(asked) = asked.filter(|asked| !asked.is_empty())
        && !platform.is_meant_by(asked)
    {
        let why = format!(
            "the image is looked at as {platform}, and {} is asked for; leave the platform out, or name an \
             image that has that platform alone, by its digest",
            shown(asked)
        );
        return Err(Denied::field("platform", why));
    }
    let labels = image.labels.iter().map(|(name, value)| written_length(name) + written_length(value));
    if labels.sum::<usize>() > LONGEST_LABELS {
        let why = format!(
            "its labels have more than {LONGEST_LABELS} bytes in sum; build it with shorter ones, or name \
             another image"
        );
        return Err(Denied::field("Image", why));
    }
    Ok(platform.clone())
}
