//! Fields of `POST /containers/create` outside of `HostConfig`.

use super::Treatment::{Judged, LeftOut, Passed, Remembered, Warned};
use super::{FieldRule, field};

const AS_GIVEN: &str = "as given";
const USER: &str = "a user of the container and a group, whatever its number";
const NONE: &str = "none";
const IN_FENCE: &str = "the fence has one network, which no client shapes; leave it out";
const ENGINES: &str = "the engine fills it in";

/// The rules.
pub(crate) const FIELDS: &[FieldRule] = &[
    field(
        "Hostname",
        Remembered,
        "the fence's",
        "the fence has the one host name; yours becomes a name in the fence",
    ),
    field("Domainname", Remembered, "the fence's", "the fence has the one domain name"),
    field("User", Passed, AS_GIVEN, USER),
    field("AttachStdin", Passed, AS_GIVEN, "streams are the client's"),
    field("AttachStdout", Passed, AS_GIVEN, "streams are the client's"),
    field("AttachStderr", Passed, AS_GIVEN, "streams are the client's"),
    field("ExposedPorts", Remembered, NONE, "ports are served by ringfence"),
    field("Tty", Passed, AS_GIVEN, "streams are the client's"),
    field("OpenStdin", Passed, AS_GIVEN, "streams are the client's"),
    field("StdinOnce", Passed, AS_GIVEN, "streams are the client's"),
    field(
        "Env",
        Judged,
        "as given, without proxies and ringfence's own",
        "inside the fence there is no proxy",
    ),
    field("Cmd", Passed, "as given, as a list", "programs run in the fence"),
    field("Healthcheck", Passed, "as given", "it runs in the container"),
    field("Healthcheck.Test", Passed, AS_GIVEN, "it runs in the container"),
    field("Healthcheck.Interval", Judged, "at least 1 s", "the engine starts a process each time"),
    field("Healthcheck.Timeout", Passed, AS_GIVEN, "it runs in the container"),
    field("Healthcheck.Retries", Passed, AS_GIVEN, "it runs in the container"),
    field("Healthcheck.StartPeriod", Passed, AS_GIVEN, "it runs in the container"),
    field("Healthcheck.StartInterval", Judged, "at least 1 s", "the engine starts a process each time"),
    field("ArgsEscaped", LeftOut, NONE, "it is for Windows"),
    field(
        "Image",
        Judged,
        "the image's id and platform",
        "what was looked at is what runs; its labels have at most 32 KiB in sum",
    ),
    field("Volumes", Judged, "new volumes", "made by ringfence, with its labels"),
    field(
        "WorkingDir",
        Judged,
        AS_GIVEN,
        "a path in the container, not in /proc, /sys or /dev; beside a part of a project inside no mount; and not \
         where a link of the image leads",
    ),
    field("Entrypoint", Passed, "as given, as a list", "programs run in the fence"),
    field("NetworkDisabled", Warned, NONE, "write `NetworkMode: none` instead"),
    field("MacAddress", Warned, NONE, IN_FENCE),
    field("OnBuild", LeftOut, NONE, "no image is built of it"),
    field(
        "Labels",
        Judged,
        "as given, and ringfence's",
        "labels that begin with `dev.ringfence.` say who owns an object; choose others",
    ),
    field("StopSignal", Passed, AS_GIVEN, "it goes to the container"),
    field("StopTimeout", Passed, AS_GIVEN, "it goes to the container"),
    field("Shell", Passed, AS_GIVEN, "programs run in the fence"),
    field("name", LeftOut, NONE, "dockerode sends it; the query says it"),
    field("HostConfig", Judged, "by its fields", "see below"),
    field("NetworkingConfig", Judged, "by its fields", "see below"),
    field("NetworkingConfig.EndpointsConfig", Judged, "by its fields", "see below"),
    field(
        "NetworkingConfig.EndpointsConfig{}.Aliases",
        Remembered,
        "names in the fence",
        "a container has no network of its own",
    ),
    field(
        "NetworkingConfig.EndpointsConfig{}.IPAMConfig",
        Warned,
        NONE,
        "the fence gives addresses; use names",
    ),
    field(
        "NetworkingConfig.EndpointsConfig{}.Links",
        Warned,
        NONE,
        "use the name of the other container, or aliases",
    ),
    field("NetworkingConfig.EndpointsConfig{}.DriverOpts", Warned, NONE, IN_FENCE),
    field("NetworkingConfig.EndpointsConfig{}.MacAddress", Warned, NONE, IN_FENCE),
    field("NetworkingConfig.EndpointsConfig{}.GwPriority", Warned, NONE, IN_FENCE),
    field("NetworkingConfig.EndpointsConfig{}.DNSNames", LeftOut, NONE, ENGINES),
    field("NetworkingConfig.EndpointsConfig{}.NetworkID", LeftOut, NONE, ENGINES),
    field("NetworkingConfig.EndpointsConfig{}.EndpointID", LeftOut, NONE, ENGINES),
    field("NetworkingConfig.EndpointsConfig{}.Gateway", LeftOut, NONE, ENGINES),
    field("NetworkingConfig.EndpointsConfig{}.IPAddress", LeftOut, NONE, ENGINES),
    field("NetworkingConfig.EndpointsConfig{}.IPPrefixLen", LeftOut, NONE, ENGINES),
    field("NetworkingConfig.EndpointsConfig{}.IPv6Gateway", LeftOut, NONE, ENGINES),
    field("NetworkingConfig.EndpointsConfig{}.GlobalIPv6Address", LeftOut, NONE, ENGINES),
    field("NetworkingConfig.EndpointsConfig{}.GlobalIPv6PrefixLen", LeftOut, NONE, ENGINES),
];
