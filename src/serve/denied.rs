//! Refusals as clients of the Docker API show them: a status and one line.

use super::text::{line, shown};
use crate::wire::init::without_places;

/// Hint for everybody whose tool wants to build an image.
pub(crate) const BUILD: &str = "builds do not run through this socket; build with the real engine first \
     (env -u DOCKER_HOST docker --context default build …), then run the image here";

/// Refusal of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denied {
    /// HTTP status.
    pub(crate) status: u16,
    /// The one line that a client prints.
    pub(crate) message: String,
}

impl Denied {
    /// Makes a refusal in the engine's own words: no mark of ringfence's before them.
    pub(crate) fn plain(status: u16, message: impl AsRef<str>) -> Denied {
        // Engines name the first program's place where a start fails.
        Denied { status, message: line(&without_places(message.as_ref())) }
    }

    /// Makes a refusal of ringfence's.
    pub(crate) fn new(status: u16, message: impl AsRef<str>) -> Denied {
        Denied::plain(status, format!("ringfence: {}", message.as_ref()))
    }

    /// Refuses a field of a body.
    pub(crate) fn field(field: &str, reason: impl AsRef<str>) -> Denied {
        Denied::new(400, format!("{field}: {}", reason.as_ref()))
    }

    /// Refuses a request that is not of the API's form.
    pub(crate) fn malformed(reason: impl AsRef<str>) -> Denied {
        Denied::new(400, reason)
    }

    /// Refuses an endpoint.
    pub(crate) fn endpoint(reason: impl AsRef<str>) -> Denied {
        Denied::new(403, reason)
    }

    /// Answers for a path that the API does not have.
    pub(crate) fn page() -> Denied {
        Denied::plain(404, "page not found")
    }

    /// Answers for a container that does not exist or is somebody else's: both alike.
    pub(crate) fn no_container(asked: &str) -> Denied {
        Denied::plain(404, format!("No such container: {}", shown(asked)))
    }

    /// Answers for an image that is not there.
    pub(crate) fn no_image(asked: &str) -> Denied {
        Denied::plain(404, format!("No such image: {}", shown(asked)))
    }

    /// Answers for a network that does not exist.
    pub(crate) fn no_network(asked: &str) -> Denied {
        Denied::plain(404, format!("network {} not found", shown(asked)))
    }

    /// Answers for a volume that does not exist or is somebody else's.
    pub(crate) fn no_volume(asked: &str) -> Denied {
        Denied::plain(404, format!("get {0}: no such volume", shown(asked)))
    }

    /// Answers for an exec that does not exist, or runs in somebody else's container.
    pub(crate) fn no_exec(asked: &str) -> Denied {
        Denied::plain(404, format!("No such exec instance: {}", shown(asked)))
    }

    /// Answers for a container's name that is taken.
    pub(crate) fn name_taken(name: &str) -> Denied {
        let name = shown(name);
        Denied::plain(
            409,
            format!(
                "Conflict. The container name \"/{name}\" is already in use. You have to remove (or rename) \
                 that container to be able to reuse that name."
            ),
        )
    }

    /// Answers for a network's name that is taken.
    pub(crate) fn network_taken(name: &str) -> Denied {
        Denied::plain(409, format!("network with name {} already exists", shown(name)))
    }

    /// Answers for a volume's name that is somebody else's.
    pub(crate) fn volume_taken(name: &str) -> Denied {
        Denied::new(
            409,
            format!(
                "the volume {} was not made through this socket; choose another name, or copy what is in it",
                shown(name)
            ),
        )
    }

    /// Answers for a body that is longer than is read.
    pub(crate) fn too_long(limit: usize) -> Denied {
        Denied::new(413, format!("the body has more than {limit} bytes; make the request smaller"))
    }

    /// Returns the body of the answer.
    pub(crate) fn json(&self) -> String {
        serde_json::json!({ "message": self.message }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::init::InitPlace;

    #[test]
    fn a_refusal_names_no_place_of_a_first_program() {
        let place = InitPlace::random().unwrap();
        let said = format!("exec: {0}: stat {0}: not there; {1}", place.program(), place.words());
        let denied = Denied::plain(400, said);
        assert_eq!(denied.message, "exec: /.ringfence: stat /.ringfence: not there; /.ringfence-words");
        assert_eq!(Denied::plain(400, "/.ringfence- /.ring").message, "/.ringfence /.ring");
    }

    #[test]
    fn a_refusal_is_one_line_without_control_characters() {
        let denied = Denied::no_container("a\nb\u{1b}[2J\u{202e}");
        assert!(denied.message.chars().all(netpolicy::diagnostic::is_harmless), "{}", denied.message);
        assert!(denied.message.starts_with("No such container: a"));
        assert_eq!(
            Denied::field("HostConfig.Privileged", "no").message,
            "ringfence: HostConfig.Privileged: no"
        );
        assert_eq!(Denied::page().json(), r#"{"message":"page not found"}"#);
        assert!(Denied::no_volume(&"x".repeat(5000)).message.len() < 300);
    }
}
