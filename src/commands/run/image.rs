//! The word where the image's name belongs, when it is missing, or a directory instead: the project
//! was meant.

use std::path::Path;

use crate::cli::run::RunArgs;
use crate::supervisor::image;
use crate::term::{COULD_NOT_RUN, Failure};

/// Refuses a command line without an image, and a directory in its place.
///
/// # Errors
/// When there is no word, or when it is written as a path, or names a directory and can be no
/// image's name.
pub(crate) fn check(args: &RunArgs) -> Result<(), Failure> {
    let word = args.image();
    if args.words.is_empty() {
        return Err(Failure::new(COULD_NOT_RUN, "no image is named").hint(
            "write `ringfence run [OPTIONS] IMAGE [COMMAND]...`, or keep the words for this project in \
                   ~/.config/ringfence/run.yml",
        ));
    }
    let is_directory = Path::new(word).is_dir();
    if !is_path(word) && (image::is_possible_name(word) || !is_directory) {
        return Ok(());
    }
    let kind = if is_directory { "directory" } else { "path" };
    let failure = Failure::new(COULD_NOT_RUN, format!("`{word}` is a {kind}, and no image's name"));
    let next = args.command().iter().find(|word| !word.starts_with('-')).map_or("IMAGE", String::as_str);
    Err(match &args.project {
        None => failure.hint(format!("write --project {word} {next}")),
        Some(_) => failure.hint(format!("leave `{word}` out: the image follows the options")),
    })
}

/// Tells whether a word is written as a path. No image's name begins so.
fn is_path(word: &str) -> bool {
    matches!(word, "." | "..") || ["/", "./", "../"].iter().any(|start| word.starts_with(start))
}
