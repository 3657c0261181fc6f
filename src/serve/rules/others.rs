//! Fields of the bodies beside that of `POST /containers/create`.

use super::Treatment::{Judged, LeftOut, Passed, Refused, Remembered, Warned};
use super::{FieldRule, field};

const AS_GIVEN: &str = "as given";
const USER: &str = "a user of the container and a group, whatever its number";
const NONE: &str = "none";
const STREAMS: &str = "streams are the client's";
const NO_DEVICE: &str = "a container gets no device of the machine; leave it out";
const LIMIT: &str = "up to the policy's limit";
const UNCHANGED: &str = "it stays as it was made";
const DISK_RATE: &str = "the rate of reading and writing is not limited here";
const NO_START: &str = "that of the creation stays and is shown; no container is started again by itself";
const ENGINES: &str = "the engine fills it in";
const IN_FENCE: &str = "the fence has one network, which no client shapes; leave it out";
const RECORD: &str = "networks are kept by ringfence; the engine is not asked";
const CLUSTER: &str = "swarm is not served; use a local object";

/// `POST /containers/{id}/exec`.
pub(crate) const EXEC: &[FieldRule] = &[
    field("AttachStdin", Passed, AS_GIVEN, STREAMS),
    field("AttachStdout", Passed, AS_GIVEN, STREAMS),
    field("AttachStderr", Passed, AS_GIVEN, STREAMS),
    field("Tty", Passed, AS_GIVEN, STREAMS),
    field("ConsoleSize", Passed, AS_GIVEN, "rows and columns"),
    field("DetachKeys", Passed, AS_GIVEN, STREAMS),
    field("Cmd", Passed, "as given, as a list", "programs run in the fence"),
    field("Env", Passed, AS_GIVEN, "programs run in the fence"),
    field("User", Passed, AS_GIVEN, USER),
    field("WorkingDir", Judged, AS_GIVEN, "a path in the container, not in /proc, /sys or /dev"),
    field("Privileged", Refused, "false", "it would have every capability in the fence; leave it out"),
    field("Detach", LeftOut, NONE, "it is said at the start"),
    field("Container", LeftOut, NONE, "docker-py sends it; the path says it"),
];

/// `POST /exec/{id}/start`.
pub(crate) const EXEC_START: &[FieldRule] = &[
    field("Detach", Passed, AS_GIVEN, STREAMS),
    field("Tty", Passed, AS_GIVEN, STREAMS),
    field("ConsoleSize", Passed, AS_GIVEN, "rows and columns"),
    field("stdin", LeftOut, NONE, "dockerode sends it; the upgrade says it"),
    field("hijack", LeftOut, NONE, "dockerode sends it; the upgrade says it"),
];

/// `POST /containers/{id}/update`.
pub(crate) const UPDATE: &[FieldRule] = &[
    field("Memory", Judged, LIMIT, "a limit"),
    field("MemoryReservation", Judged, "up to the memory", "a wish, within the limit"),
    field("MemorySwap", LeftOut, "the memory", "swap is part of the memory"),
    field("NanoCpus", Judged, LIMIT, "a limit"),
    field("CpuQuota", Judged, "as NanoCpus", "quota by period is a number of CPUs"),
    field("CpuPeriod", Judged, "as NanoCpus", "quota by period is a number of CPUs"),
    field("CpuShares", Judged, "2 to 1024", "weight beside others"),
    field("CpusetCpus", Judged, AS_GIVEN, "a list of numbers"),
    field("CpusetMems", Judged, AS_GIVEN, "a list of numbers"),
    field("PidsLimit", Judged, LIMIT, "a limit"),
    field("RestartPolicy", Warned, NONE, NO_START),
    field("BlkioWeight", LeftOut, NONE, DISK_RATE),
    field("BlkioWeightDevice", LeftOut, NONE, DISK_RATE),
    field("BlkioDeviceReadBps", LeftOut, NONE, DISK_RATE),
    field("BlkioDeviceWriteBps", LeftOut, NONE, DISK_RATE),
    field("BlkioDeviceReadIOps", LeftOut, NONE, DISK_RATE),
    field("BlkioDeviceWriteIOps", LeftOut, NONE, DISK_RATE),
    field("CgroupParent", Refused, NONE, "limits are set by ringfence; leave it out"),
    field("Devices", Refused, NONE, NO_DEVICE),
    field("DeviceRequests", Refused, NONE, NO_DEVICE),
    field("DeviceCgroupRules", Refused, NONE, NO_DEVICE),
    field("CpuRealtimePeriod", LeftOut, NONE, UNCHANGED),
    field("CpuRealtimeRuntime", LeftOut, NONE, UNCHANGED),
    field("CpuCount", LeftOut, NONE, UNCHANGED),
    field("CpuPercent", LeftOut, NONE, UNCHANGED),
    field("IOMaximumIOps", LeftOut, NONE, UNCHANGED),
    field("IOMaximumBandwidth", LeftOut, NONE, UNCHANGED),
    field("KernelMemory", LeftOut, NONE, UNCHANGED),
    field("KernelMemoryTCP", LeftOut, NONE, UNCHANGED),
    field("MemorySwappiness", LeftOut, NONE, UNCHANGED),
    field("OomKillDisable", LeftOut, NONE, UNCHANGED),
    field("Init", LeftOut, NONE, UNCHANGED),
    field("Ulimits", LeftOut, NONE, UNCHANGED),
];

/// `POST /networks/create`.
pub(crate) const NETWORK: &[FieldRule] = &[
    field("Name", Judged, AS_GIVEN, RECORD),
    field(
        "Labels",
        Judged,
        AS_GIVEN,
        "labels that begin with `dev.ringfence.` are ringfence's; choose others",
    ),
    field("Driver", Judged, "bridge", "other drivers reach other machines; leave it out"),
    field("Internal", Remembered, NONE, RECORD),
    field("Attachable", Remembered, NONE, RECORD),
    field("EnableIPv4", LeftOut, NONE, RECORD),
    field("EnableIPv6", Warned, NONE, "there is no IPv6 in a fence"),
    field("IPAM", Remembered, NONE, RECORD),
    field("Options", Warned, NONE, RECORD),
    field("CheckDuplicate", LeftOut, NONE, "a name is always taken once"),
    field("Ingress", Refused, NONE, CLUSTER),
    field("ConfigOnly", Refused, NONE, CLUSTER),
    field("ConfigFrom", Refused, NONE, CLUSTER),
    field("Scope", Judged, "local", CLUSTER),
];

/// `POST /networks/{id}/connect`.
pub(crate) const CONNECT: &[FieldRule] = &[
    field("Container", Judged, "an own container", RECORD),
    field("EndpointConfig", Judged, "by its fields", "see below"),
    field("EndpointConfig.Aliases", Remembered, "names in the fence", RECORD),
    field("EndpointConfig.IPAMConfig", Warned, NONE, "the fence gives addresses; use names"),
    field("EndpointConfig.Links", Warned, NONE, "use the name of the other container, or aliases"),
    field("EndpointConfig.DriverOpts", Warned, NONE, IN_FENCE),
    field("EndpointConfig.MacAddress", Warned, NONE, IN_FENCE),
    field("EndpointConfig.GwPriority", Warned, NONE, IN_FENCE),
    field("EndpointConfig.DNSNames", LeftOut, NONE, ENGINES),
    field("EndpointConfig.NetworkID", LeftOut, NONE, ENGINES),
    field("EndpointConfig.EndpointID", LeftOut, NONE, ENGINES),
    field("EndpointConfig.Gateway", LeftOut, NONE, ENGINES),
    field("EndpointConfig.IPAddress", LeftOut, NONE, ENGINES),
    field("EndpointConfig.IPPrefixLen", LeftOut, NONE, ENGINES),
    field("EndpointConfig.IPv6Gateway", LeftOut, NONE, ENGINES),
    field("EndpointConfig.GlobalIPv6Address", LeftOut, NONE, ENGINES),
    field("EndpointConfig.GlobalIPv6PrefixLen", LeftOut, NONE, ENGINES),
];

/// `POST /networks/{id}/disconnect`.
pub(crate) const DISCONNECT: &[FieldRule] =
    &[field("Container", Judged, "an own container", RECORD), field("Force", LeftOut, NONE, RECORD)];

/// `POST /volumes/create`.
pub(crate) const VOLUME: &[FieldRule] = &[
    field("Name", Judged, AS_GIVEN, "a new volume, or an own one"),
    field(
        "Labels",
        Judged,
        "as given, and ringfence's",
        "labels that begin with `dev.ringfence.` are ringfence's; choose others",
    ),
    field("Driver", Judged, "local", "other drivers reach other machines; leave it out"),
    field(
        "DriverOpts",
        Refused,
        NONE,
        "options of a volume can mount any directory of the machine; bind one below a --project root instead",
    ),
    field("ClusterVolumeSpec", Refused, NONE, CLUSTER),
];
