//! Names of the engine's calls, for spans: the kind of a call, and nothing of what it is about.

use hyper::Method;

/// Names a call by its method and path.
pub(super) fn name(method: &Method, path: &str) -> &'static str {
    let mut parts = path.trim_start_matches('/').split('/').skip_while(|part| part.starts_with("v1."));
    let kind = parts.next().unwrap_or_default();
    let last = parts.last().unwrap_or_default();
    match (kind, last, method.as_str()) {
        ("_ping", ..) => "ping",
        ("info", ..) => "info",
        ("version", ..) => "version",
        ("containers", "create", _) => "container create",
        ("containers", "start", _) => "container start",
        ("containers", "stop", _) => "container stop",
        ("containers", "kill", _) => "container kill",
        ("containers", "wait", _) => "container wait",
        ("containers", "attach", _) => "container attach",
        ("containers", "logs", _) => "container logs",
        ("containers", "archive", "PUT") => "container upload",
        ("containers", "archive", _) => "container download",
        ("containers", "resize", _) => "container resize",
        ("containers", "exec", _) => "exec create",
        ("containers", "stats", _) => "container stats",
        ("containers", "json", _) => "container list or inspect",
        ("containers", _, "DELETE") => "container remove",
        ("containers", ..) => "container",
        ("exec", "start", _) => "exec start",
        ("exec", ..) => "exec inspect",
        ("networks", "create", _) => "network create",
        ("networks", _, "DELETE") => "network remove",
        ("networks", ..) => "network list or inspect",
        ("volumes", "create", _) => "volume create",
        ("volumes", _, "DELETE") => "volume remove",
        ("volumes", ..) => "volume list or inspect",
        ("images", "create", _) => "image pull",
        ("images", "load", _) => "image load",
        ("images", "json", _) => "image list or inspect",
        ("images", ..) => "image",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_named_by_its_kind_alone() {
        for (method, path, expected) in [
            (Method::GET, "/v1.45/_ping", "ping"),
            (Method::POST, "/v1.45/containers/create", "container create"),
            (Method::POST, "/v1.41/containers/0a1b/start", "container start"),
            (Method::DELETE, "/v1.41/containers/0a1b", "container remove"),
            (Method::GET, "/v1.41/images/registry.example/a/b:1/json", "image list or inspect"),
            (Method::PUT, "/containers/x/archive", "container upload"),
            (Method::GET, "/v1.41/session", "other"),
            (Method::GET, "", "other"),
        ] {
            assert_eq!(name(&method, path), expected, "{path}");
        }
    }
}
