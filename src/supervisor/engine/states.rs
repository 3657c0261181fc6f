//! The words that an engine says of its containers, also where Podman has words of its own.
//!
//! A container that begins or ends just now is `initialized` or `stopped` on Podman, and `unknown`
//! where Podman cannot tell. Docker's API knows none of these words. An answer with one would be no
//! answer at all, and of every other container in it nothing would be known.

use bollard::errors::Error as ApiError;
use bollard::models::{ContainerInspectResponse, ContainerSummary};
use bollard::query_parameters::{InspectContainerOptions, ListContainersOptions};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Engine;

#[expect(clippy::disallowed_methods, reason = "what they cannot read is read here")]
impl Engine {
    /// Lists containers.
    pub(crate) async fn list_containers(
        &self,
        options: ListContainersOptions,
    ) -> Result<Vec<ContainerSummary>, ApiError> {
        understood(self.api.list_containers(Some(options)).await)
    }

    /// Asks for all of one container.
    pub(crate) async fn inspect_container(
        &self,
        name: &str,
        options: Option<InspectContainerOptions>,
    ) -> Result<ContainerInspectResponse, ApiError> {
        understood(self.api.inspect_container(name, options).await)
    }
}

/// Reads an answer once more that could not be read, in Docker's words.
fn understood<T: DeserializeOwned>(answer: Result<T, ApiError>) -> Result<T, ApiError> {
    match answer {
        Err(ApiError::JsonDataError { message, contents, column }) => match in_dockers_words(&contents) {
            Some(read) => Ok(read),
            None => Err(ApiError::JsonDataError { message, contents, column }),
        },
        answer => answer,
    }
}

fn in_dockers_words<T: DeserializeOwned>(contents: &str) -> Option<T> {
    let mut answer: Value = serde_json::from_str(contents).ok()?;
    let states: Vec<&mut Value> = match &mut answer {
        Value::Array(all) => all.iter_mut().filter_map(|one| one.get_mut("State")).collect(),
        one => one.pointer_mut("/State/Status").into_iter().collect(),
    };
    for state in states {
        let word = match state.as_str() {
            Some("created" | "running" | "paused" | "restarting" | "removing" | "exited" | "dead") => {
                continue;
            }
            Some("stopped") => "exited",
            Some("configured" | "initialized") => "created",
            // Neither running nor over, as far as anybody knows.
            _ => "",
        };
        *state = word.into();
    }
    serde_json::from_value(answer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn podmans_words_for_a_state_are_dockers() {
        let list =
            |state: &str| format!(r#"[{{"Id":"a","State":"{state}"}},{{"Id":"b","State":"running"}}]"#);
        let one = |state: &str| format!(r#"{{"Id":"a","State":{{"Status":"{state}","Running":false}}}}"#);
        for (state, expected) in [
            ("stopped", "exited"),
            ("initialized", "created"),
            ("unknown", ""),
            ("bad state", ""),
            ("paused", "paused"),
        ] {
            let listed: Vec<ContainerSummary> = in_dockers_words(&list(state)).unwrap();
            let states: Vec<_> = listed.iter().map(|one| one.state.unwrap().to_string()).collect();
            assert_eq!(states, [expected, "running"], "{state}");
            let inspected: ContainerInspectResponse = in_dockers_words(&one(state)).unwrap();
            assert_eq!(inspected.state.unwrap().status.unwrap().to_string(), expected, "{state}");
        }
        // What cannot be read for another reason stays unread.
        assert!(in_dockers_words::<Vec<ContainerSummary>>(r#"[{"Id":7,"State":"stopped"}]"#).is_none());
        assert!(in_dockers_words::<Vec<ContainerSummary>>("[").is_none());
    }
}
