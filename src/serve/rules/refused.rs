//! Endpoints that are refused, and why.

use super::Access::Refused;
use super::EndpointRule;
use crate::serve::denied::BUILD;

const CLUSTER: &str = "swarm is not served; use containers, networks and volumes";
const PLUGIN: &str =
    "plugins run on the engine's machine with every privilege; install them with the real engine";
const TRANSFER: &str = "whole images are not carried through this socket; use the real engine (env -u DOCKER_HOST docker --context default …)";
const TAG: &str = "images of others could be replaced or removed; do it with the real engine (env -u DOCKER_HOST docker --context default …)";
const DIALS: &str = "the engine would dial from its machine's network; use the real engine (env -u DOCKER_HOST docker --context default …)";

const fn refuse(method: &'static str, path: &'static str, status: u16, reason: &'static str) -> EndpointRule {
    EndpointRule { method, path, access: Refused(status), params: &[], left_out: &[], reason }
}

/// The refused endpoints.
pub(crate) const REFUSED: &[EndpointRule] = &[
    refuse(
        "GET",
        "/containers/{id}/attach/ws",
        403,
        "no client is known that needs it; attach without a websocket",
    ),
    refuse(
        "*",
        "/containers/{id}/checkpoints/**",
        403,
        "checkpoints are restored outside of the fence's proof; leave them out",
    ),
    refuse(
        "POST",
        "/containers/{id}/copy",
        403,
        "it is no part of the API any more; use the archive endpoints",
    ),
    refuse(
        "POST",
        "/commit",
        403,
        "an image made of a container is not made through this socket; build it with the real engine",
    ),
    refuse("POST", "/build", 403, BUILD),
    refuse("POST", "/build/**", 403, BUILD),
    refuse("*", "/session", 501, BUILD),
    refuse("*", "/grpc", 501, BUILD),
    refuse("POST", "/images/load", 403, TRANSFER),
    refuse("GET", "/images/get", 403, TRANSFER),
    refuse("GET", "/images/search", 403, DIALS),
    refuse("GET", "/images/{name...}/get", 403, TRANSFER),
    refuse("GET", "/images/{name...}/attestations", 403, TRANSFER),
    refuse("POST", "/images/{name...}/push", 403, DIALS),
    refuse("POST", "/images/{name...}/tag", 403, TAG),
    refuse("DELETE", "/images/{name...}", 403, TAG),
    refuse(
        "POST",
        "/auth",
        403,
        "the engine would dial the server that is named; log in with the real engine",
    ),
    refuse("*", "/distribution/**", 403, DIALS),
    refuse("PUT", "/volumes/{id}", 403, CLUSTER),
    refuse("*", "/plugins/**", 403, PLUGIN),
    refuse("*", "/swarm/**", 403, CLUSTER),
    refuse("*", "/nodes/**", 403, CLUSTER),
    refuse("*", "/services/**", 403, CLUSTER),
    refuse("*", "/tasks/**", 403, CLUSTER),
    refuse("*", "/secrets/**", 403, CLUSTER),
    refuse("*", "/configs/**", 403, CLUSTER),
    refuse("*", "/debug/**", 403, "it shows the engine's inner life; ask the real engine"),
];
