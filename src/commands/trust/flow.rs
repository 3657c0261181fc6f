//! Image and setup script of a GitLab flow, as a person looks at them before approving.

use std::path::Path;

use netpolicy::load::{FlowEnvironment, LeftOut};

use crate::layers::flow::{self, ApprovedFlow};
use crate::supervisor::engine::Choice;
use crate::supervisor::image;
use crate::supervisor::spec::image::Image;
use crate::term::{self, COULD_NOT_RUN, Failure};

/// Keys that are listed as not taken.
const LISTED: usize = 20;
/// Characters of a text of the project's that are shown on one line.
const LONGEST: usize = 600;
/// Characters of a key that are shown.
const LONGEST_KEY: usize = 60;

/// An environment that a project's file has, with the engine's answer about its image.
pub(super) struct Looked {
    /// The file.
    file: String,
    environment: FlowEnvironment,
    image: Result<Image, Failure>,
}

/// Reads the environment of a project that names an image, and asks the engine for that image. No
/// registry is asked: the agent may have chosen which one, and nobody has seen the name yet.
pub(super) async fn look(engine: Option<&str>, folder: &Path) -> Result<Option<Looked>, Failure> {
    let Some(environment) = flow::of_project(folder)? else { return Ok(None) };
    let Some(name) = environment.image.clone() else { return Ok(None) };
    let image = on_engine(engine, &name).await;
    Ok(Some(Looked { file: flow::file_of(folder), environment, image }))
}

async fn on_engine(engine: Option<&str>, name: &str) -> Result<Image, Failure> {
    let engine = Choice::of(engine)?.connect().await?;
    image::on_engine(&engine, name).await?.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Failure {
    let failure = Failure::new(COULD_NOT_RUN, format!("the image `{name}` is not on the engine"));
    failure.hint(format!("if you want it: docker pull {}, then ringfence trust again", term::in_shell(name)))
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
        let digest = image.digest.as_deref().map_or_else(|| "no registry gave it".to_owned(), term::line);
        let mut text = format!(
            "{}: a run without an image takes\n  image   {}\n  digest  {digest}\n  id      {}\n",
            one_line(&self.file, LONGEST),
            one_line(&image.name, LONGEST),
            term::line(&image.id)
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
        text + &self.left_out()
    }

    /// Writes the keys that are not taken. A project chooses their names and how many there are.
    fn left_out(&self) -> String {
        let all = &self.environment.left_out;
        let line = |left: &LeftOut| {
            let key = one_line(&left.key, LONGEST_KEY);
            format!("  not taken: {key} (line {}): {}\n", left.line, left.why)
        };
        let mut text: String = all.iter().take(LISTED).map(line).collect();
        if all.len() > LISTED {
            text.push_str(&format!("  not taken: {} more keys\n", all.len() - LISTED));
        }
        text
    }

    /// Writes why the environment cannot be approved now. A name of the project's and a registry's
    /// answer may be among the words.
    fn unknown(&self, failure: &Failure) -> String {
        let short = |text: &String| one_line(text, LONGEST);
        let causes: String = failure.causes.iter().map(|cause| format!("; {}", short(cause))).collect();
        let hint = failure.hint.iter().map(|hint| format!("  hint: {}\n", short(hint))).collect::<String>();
        format!(
            "{}: its image and setup script are left out of this approval: {}{causes}\n{hint}",
            short(&self.file),
            short(&failure.message)
        )
    }
}

/// Returns a text on one line, cut where it is long, so that none of it looks like a line of
/// ringfence's.
fn one_line(text: &str, longest: usize) -> String {
    let cut: String = text.chars().take(longest).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    term::line(&cut) + more
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
        text.push_str(&format!("    the image has another content: it was {}\n", term::line(&earlier.id)));
    }
    if earlier.setup_script != script {
        text.push_str("    the setup script was\n");
        text.push_str(&quoted(&earlier.setup_script));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

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

    const FORGED: &str = "x\n\nit permits:\n  nothing\u{1b}[2K";

    #[test]
    fn a_key_cannot_look_like_something_else_and_many_are_counted() {
        let mut looked = looked(&[], Ok(image("sha256:2c")));
        let left = |key: &str| LeftOut { key: key.into(), line: 3, why: "no key that ringfence knows" };
        looked.environment.left_out = vec![left(FORGED), left(&"k".repeat(5000))];
        let text = looked.summary(None);
        assert!(!text.lines().any(|line| line.starts_with("it permits")), "{text}");
        assert!(!text.contains('\u{1b}') && text.lines().all(|line| line.len() < 200), "{text:?}");
        looked.environment.left_out = vec![left("k"); 5000];
        let text = looked.summary(None);
        assert!(text.ends_with("  not taken: 4980 more keys\n") && text.lines().count() < 30, "{text}");
    }

    #[test]
    fn an_image_that_is_not_there_cannot_look_like_something_else() {
        let mut failure = missing(FORGED);
        failure.causes.push(FORGED.into());
        let text = looked(&[], Err(failure)).summary(None);
        assert!(!text.lines().any(|line| line.starts_with("it permits")), "{text}");
        assert!(!text.contains('\u{1b}') && text.lines().count() == 2, "{text:?}");
        assert!(text.contains("hint: if you want it: docker pull "), "{text}");
    }
}
