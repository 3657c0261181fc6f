//! The environment of a GitLab flow in the place of an image: what `ringfence trust` has approved.

use crate::cli::run::RunArgs;
use crate::host::open;
use crate::layers::flow::{self, ApprovedFlow};
use crate::supervisor::run::RunRequest;
use crate::supervisor::spec::image::Image;
use crate::supervisor::spec::setup;
use crate::term::{self, COULD_NOT_RUN, Failure};

/// Returns the approved environment of the project, where the command line names no image or says
/// `--flow`. The image is the first word then.
///
/// # Errors
/// When there is no project, no image, or no approval that counts.
pub(super) fn choose(args: &mut RunArgs) -> Result<Option<ApprovedFlow>, Failure> {
    if !args.flow && !args.words.is_empty() {
        return Ok(None);
    }
    let Some(project) = &args.project else { return Ok(None) };
    let cannot = || Failure::new(COULD_NOT_RUN, format!("cannot find the project {}", project.display()));
    let folder = open::real(project).map_err(|refused| refused.explain(cannot()))?;
    let approved = flow::approved(&folder)?;
    args.words.insert(0, approved.image.clone());
    term::talk(format_args!("image {} of {}, approved", approved.image, flow::file_of(&folder)));
    Ok(Some(approved))
}

/// Lets the agent begin with the approved setup script.
///
/// # Errors
/// When the image is not the approved one, or has no command.
pub(super) fn lay_on(
    approved: Option<&ApprovedFlow>,
    request: &mut RunRequest,
    image: &Image,
) -> Result<(), Failure> {
    let Some(approved) = approved else { return Ok(()) };
    approved.check_image(&image.id)?;
    setup::wrap(&mut request.agent, image, &approved.setup_script)
}
