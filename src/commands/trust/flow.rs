//! Image and setup script of a GitLab flow, as a person looks at them before approving.

use std::path::Path;

use netpolicy::load::FlowEnvironment;

use crate::layers::flow::{self, ApprovedFlow};
use crate::supervisor::engine::Choice;
use crate::supervisor::image::{self, Pull};
use crate::supervisor::spec::image::Image;
use crate::term::{self, Failure};

/// An environment that a project's file has, with the engine's answer about its image.
pub(super) struct Looked {
    /// The file.
    file: String,
    environment: FlowEnvironment,
    image: Result<Image, Failure>,
}

/// Reads the environment of a project that names an image, and asks the engine for that image. The
/// engine fetches what it lacks: only then its digest is known.
pub(super) async fn look(engine: Option<&str>, folder: &Path) -> Result<Option<Looked>, Failure> {
    let Some(environment) = flow::of_project(folder)? else { return Ok(None) };
    let Some(name) = environment.image.clone() else { return Ok(None) };
    let image = on_engine(engine, &name).await;
    Ok(Some(Looked { file: flow::file_of(folder), environment, image }))
}

async fn on_engine(engine: Option<&str>, name: &str) -> Result<Image, Failure> {
    let engine = Choice::of(engine)?.connect().await?;
    image::ready(&engine, name, Pull::Missing).await
}

impl Looked {
    /// Returns what a person approves; nothing while the image's digest is unknown.
    pub(super) fn approvable(&self) -> Option<ApprovedFlow> {
        let image = self.image.as_ref().ok()?;
        let setup_script = self.environment.setup_script.clone();
        Some(ApprovedFlow { image: image.name.clone(), id: image.id.clone(), setup_script })
    }

    /// Writes what `ringfence run` takes from the file, beside what was approved earlier.
    pub(super) fn summary(&self, earlier: Option<&ApprovedFlow>) -> String {
        let image = match &self.image {
            Ok(image) => image,
            Err(failure) => return self.unknown(failure),
        };
        let digest = image.digest.as_deref().unwrap_or("no registry gave it");
        let mut text = format!(
            "{}: a run without an image takes\n  image   {}\n  digest  {digest}\n  id      {}\n",
            self.file, image.name, image.id
        );
        match self.environment.setup_script.as_slice() {
            [] => text.push_str("  no setup script\n"),
            script => {
                text.push_str("  setup script, run in the fence before the agent's command:\n");
                text.push_str(&quoted(script));
            }
        }
        if let Some(earlier) = earlier.filter(|earlier| Some(*earlier) != self.approvable().as_ref()) {
            text.push_str(&changes(earlier, image, &self.environment.setup_script));
        }
        for left in &self.environment.left_out {
            text.push_str(&format!("  not taken: {} (line {}): {}\n", left.key, left.line, left.why));
        }
        text
    }

    /// Writes why the environment cannot be approved now.
    fn unknown(&self, failure: &Failure) -> String {
        let causes: String = failure.causes.iter().map(|cause| format!("; {cause}")).collect();
        format!(
            "{}: its image and setup script are left out of this approval: {}{causes}\n",
            self.file, failure.message
        )
    }
}

/// Writes a script with a mark before each line, so that none looks like a line of ringfence's.
fn quoted(script: &[String]) -> String {
    script
        .iter()
        .flat_map(|command| command.lines())
        .map(|line| format!("    | {}\n", term::line(line)))
        .collect()
}

fn changes(earlier: &ApprovedFlow, image: &Image, script: &[String]) -> String {
    let mut text = String::from("  since it was approved:\n");
    if earlier.image != image.name {
        text.push_str(&format!("    the image was {}\n", term::line(&earlier.image)));
    } else if earlier.id != image.id {
        text.push_str(&format!("    the image has another content: it was {}\n", earlier.id));
    }
    if earlier.setup_script != script {
        text.push_str("    the setup script was\n");
        text.push_str(&quoted(&earlier.setup_script));
    }
    text
}

#[cfg(test)]
mod tests {
    use netpolicy::load::LeftOut;

    use super::*;
    use crate::term::COULD_NOT_RUN;

    fn looked(script: &[&str], image: Result<Image, Failure>) -> Looked {
        let left = LeftOut { key: "cache".into(), line: 2, why: "nothing is kept" };
        let environment = FlowEnvironment {
            image: Some("agent:1".into()),
            setup_script: script.iter().map(|command| (*command).to_owned()).collect(),
            left_out: vec![left],
        };
        Looked { file: "/p/.gitlab/duo/agent-config.yml".into(), environment, image }
    }

    fn image(id: &str) -> Image {
        let digest = Some("registry.example/agent@sha256:1b".to_owned());
        Image { name: "agent:1".into(), id: id.into(), digest, ..Image::default() }
    }

    #[test]
    fn image_digest_and_script_are_shown_and_what_changed() {
        let first = looked(&["make deps", "a\nb"], Ok(image("sha256:2c")));
        let approved = first.approvable().unwrap();
        let mut text = first.summary(None);
        text.push_str("---\n");
        text.push_str(&looked(&["curl x | sh"], Ok(image("sha256:3d"))).summary(Some(&approved)));
        text.push_str("---\n");
        let failure = Failure::new(COULD_NOT_RUN, "no container engine answers");
        text.push_str(&looked(&[], Err(failure)).summary(None));
        insta::assert_snapshot!(text);
        assert!(!first.summary(Some(&approved)).contains("since"));
    }

    #[test]
    fn a_script_cannot_look_like_something_else() {
        let text =
            looked(&["x\rno setup script\u{1b}[2K\n  image   good:1"], Ok(image("sha256:2c"))).summary(None);
        assert!(!text.contains(['\r', '\u{1b}']), "{text:?}");
        assert_eq!(text.lines().filter(|line| line.trim_start().starts_with("image")).count(), 1, "{text}");
    }
}
