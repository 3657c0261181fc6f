//! Fields of `HostConfig` of `POST /containers/create`.

use super::Treatment::{Judged, LeftOut, NullOnly, Passed, Refused, Remembered, Warned};
use super::{FieldRule, field};

const AS_GIVEN: &str = "as given";
const NONE: &str = "none";
const NO_DEVICE: &str = "a container gets no device of the machine; leave it out";
const NAMES: &str = "names are answered in the fence by the policy's name servers; leave it out";
const WINDOWS: &str = "it is for Windows";
const DISK_RATE: &str = "the rate of reading and writing is not limited here";
const OWN_NAMESPACE: &str =
    "a container gets none of the machine's namespaces, and none of others; leave it out";
const LIMIT: &str = "up to the policy's limit";

/// The rules.
pub(crate) const FIELDS: &[FieldRule] = &[
    // What joins the container to others, and names.
    field(
        "HostConfig.NetworkMode",
        Judged,
        "container:FENCE",
        "every container is in a fence; the host's network and other people's containers are refused",
    ),
    field(
        "HostConfig.PortBindings",
        Remembered,
        NONE,
        "ringfence serves the ports on this machine's loopback",
    ),
    field(
        "HostConfig.PortBindings{}[].HostIp",
        Judged,
        "loopback",
        "ports are served on this machine's loopback only, 127.0.0.1 and ::1",
    ),
    field("HostConfig.PortBindings{}[].HostPort", Judged, AS_GIVEN, "absent, empty or 0: a free one"),
    field(
        "HostConfig.PublishAllPorts",
        Remembered,
        NONE,
        "ringfence serves the ports on this machine's loopback",
    ),
    field(
        "HostConfig.Links",
        Judged,
        "names in the fence",
        "the name of another container becomes another name of it",
    ),
    field(
        "HostConfig.ExtraHosts",
        Judged,
        "names in the fence",
        "the address of a container becomes a name of it; others are unreachable, so they are left out with a warning",
    ),
    field("HostConfig.Dns", Warned, "the fence's filter", NAMES),
    field("HostConfig.DnsOptions", Warned, "the fence's", NAMES),
    field("HostConfig.DnsSearch", Warned, "the fence's", NAMES),
    // What is mounted.
    field(
        "HostConfig.Binds",
        Judged,
        "as Mounts",
        "directories below the roots that were given with --project; volumes of this socket",
    ),
    field("HostConfig.Mounts", Judged, "by its fields", "see below"),
    field("HostConfig.Mounts[].Type", Judged, "bind, volume, tmpfs", "no image, cluster or pipe is mounted"),
    field(
        "HostConfig.Mounts[].Source",
        Judged,
        "below a --project root, or an own volume",
        "paths of others are not given",
    ),
    field(
        "HostConfig.Mounts[].Target",
        Judged,
        AS_GIVEN,
        "not over the fence's own files, and not where a link of the image leads; beside a part of a project (what is \
         no whole --project directory, a file too) inside no other mount, and no cover of a file lies inside one: \
         mount the whole directory instead",
    ),
    field("HostConfig.Mounts[].ReadOnly", Passed, AS_GIVEN, "it only takes rights away"),
    field("HostConfig.Mounts[].Consistency", LeftOut, NONE, "it has no effect"),
    field("HostConfig.Mounts[].BindOptions", Judged, "by its fields", "see below"),
    field(
        "HostConfig.Mounts[].BindOptions.Propagation",
        Judged,
        "private",
        "mounts do not spread between machine and container",
    ),
    field("HostConfig.Mounts[].BindOptions.NonRecursive", Passed, AS_GIVEN, "it only takes rights away"),
    field(
        "HostConfig.Mounts[].BindOptions.CreateMountpoint",
        Judged,
        "false",
        "ringfence makes the directory, as the user",
    ),
    field(
        "HostConfig.Mounts[].BindOptions.ReadOnlyNonRecursive",
        Warned,
        NONE,
        "what is read-only is read-only throughout",
    ),
    field(
        "HostConfig.Mounts[].BindOptions.ReadOnlyForceRecursive",
        LeftOut,
        NONE,
        "what is read-only is read-only throughout",
    ),
    field("HostConfig.Mounts[].VolumeOptions", Judged, "by its fields", "see below"),
    field(
        "HostConfig.Mounts[].VolumeOptions.NoCopy",
        Judged,
        AS_GIVEN,
        "true unless this is the volume's first container: engines fill volumes as root",
    ),
    field(
        "HostConfig.Mounts[].VolumeOptions.Labels",
        Judged,
        "as given, and ringfence's",
        "labels of a new volume",
    ),
    field("HostConfig.Mounts[].VolumeOptions.DriverConfig", Judged, "by its fields", "see below"),
    field(
        "HostConfig.Mounts[].VolumeOptions.DriverConfig.Name",
        Judged,
        "local",
        "other drivers reach other machines",
    ),
    field(
        "HostConfig.Mounts[].VolumeOptions.DriverConfig.Options",
        Refused,
        NONE,
        "options of a volume can mount any directory of the machine; bind one below a --project root instead",
    ),
    field(
        "HostConfig.Mounts[].VolumeOptions.Subpath",
        Refused,
        NONE,
        "parts of volumes are not mounted; mount the volume",
    ),
    field("HostConfig.Mounts[].TmpfsOptions", Judged, "by its fields", "see below"),
    field(
        "HostConfig.Mounts[].TmpfsOptions.SizeBytes",
        Judged,
        LIMIT,
        "what lies in memory counts as memory; its places are those of Mounts",
    ),
    field("HostConfig.Mounts[].TmpfsOptions.Mode", Passed, AS_GIVEN, "permissions in the container"),
    field(
        "HostConfig.Mounts[].TmpfsOptions.Options",
        Refused,
        NONE,
        "options of mounts are ringfence's; leave them out",
    ),
    field("HostConfig.Mounts[].ImageOptions", Refused, NONE, "images are not mounted; use a volume"),
    field("HostConfig.Mounts[].ClusterOptions", Refused, NONE, "swarm is not served; use a volume"),
    field(
        "HostConfig.Tmpfs",
        Judged,
        "size, mode, uid, gid, ro, rw, exec, noexec, nosuid, nodev",
        "what lies in memory counts as memory; its places are those of Mounts",
    ),
    field("HostConfig.VolumeDriver", Refused, NONE, "other drivers reach other machines; leave it out"),
    field("HostConfig.VolumesFrom", Refused, NONE, "a container gets no other's mounts; name the volumes"),
    // What it may do.
    field(
        "HostConfig.Privileged",
        Refused,
        "false",
        "no container is privileged; leave it out, and see docs/serve for what replaces it",
    ),
    field(
        "HostConfig.CapAdd",
        Judged,
        "CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETUID, SETGID, KILL",
        "others reach the machine, or change the fence",
    ),
    field("HostConfig.CapDrop", Judged, "ALL, and what is left is added", "it only takes rights away"),
    field("HostConfig.Devices", Refused, NONE, NO_DEVICE),
    field("HostConfig.DeviceRequests", Refused, NONE, NO_DEVICE),
    field("HostConfig.DeviceCgroupRules", Refused, NONE, NO_DEVICE),
    field(
        "HostConfig.SecurityOpt",
        Judged,
        "no-new-privileges, ringfence's seccomp profile",
        "ringfence's profile is in force whatever is asked for; other options are refused",
    ),
    field("HostConfig.MaskedPaths", NullOnly, "the engine's", "parts of /proc stay hidden; leave it out"),
    field(
        "HostConfig.ReadonlyPaths",
        NullOnly,
        "the engine's",
        "parts of /proc stay read-only; leave it out",
    ),
    field("HostConfig.PidMode", Judged, "private", OWN_NAMESPACE),
    field("HostConfig.IpcMode", Judged, "private", OWN_NAMESPACE),
    field("HostConfig.UTSMode", Judged, "the fence's", OWN_NAMESPACE),
    field("HostConfig.UsernsMode", Judged, "the engine's", OWN_NAMESPACE),
    field("HostConfig.CgroupnsMode", Judged, "private", OWN_NAMESPACE),
    field("HostConfig.Cgroup", LeftOut, NONE, "the engine fills it in"),
    field(
        "HostConfig.Sysctls",
        Judged,
        "kernel.shm*, kernel.msg*, kernel.sem, fs.mqueue.*",
        "those of the network would change the fence; leave them out",
    ),
    field(
        "HostConfig.CgroupParent",
        Refused,
        NONE,
        "limits are set by ringfence; use Memory, NanoCpus and PidsLimit",
    ),
    field(
        "HostConfig.Runtime",
        Refused,
        "the policy's",
        "a runtime decides over the container's walls; leave it out",
    ),
    field("HostConfig.Annotations", Refused, NONE, "annotations steer runtimes; leave them out"),
    field(
        "HostConfig.GroupAdd",
        Judged,
        AS_GIVEN,
        "a number is not root's, nor that of a group of this machine which owns its devices or engine; a name \
         is looked up in the image. This is no wall: root takes any group by itself",
    ),
    field("HostConfig.ReadonlyRootfs", Passed, AS_GIVEN, "it only takes rights away"),
    field(
        "HostConfig.Init",
        Judged,
        AS_GIVEN,
        "none where it is absent; a container with files of this machine begins with ringfence's own",
    ),
    // Limits.
    field("HostConfig.Memory", Judged, LIMIT, "ringfence writes the limit where none is asked for"),
    field("HostConfig.MemoryReservation", Judged, "up to the memory", "a wish, within the limit"),
    field("HostConfig.MemorySwap", LeftOut, "the memory", "swap is part of the memory"),
    field("HostConfig.MemorySwappiness", LeftOut, NONE, "the engine's default"),
    field("HostConfig.KernelMemory", LeftOut, NONE, "newer engines have it no more"),
    field("HostConfig.KernelMemoryTCP", LeftOut, NONE, "newer engines have it no more"),
    field("HostConfig.NanoCpus", Judged, LIMIT, "ringfence writes the limit where none is asked for"),
    field("HostConfig.CpuQuota", Judged, "as NanoCpus", "quota by period is a number of CPUs"),
    field("HostConfig.CpuPeriod", Judged, "as NanoCpus", "quota by period is a number of CPUs"),
    field("HostConfig.CpuShares", Judged, "2 to 1024", "weight beside others"),
    field("HostConfig.CpusetCpus", Judged, AS_GIVEN, "a list of numbers"),
    field("HostConfig.CpusetMems", Judged, AS_GIVEN, "a list of numbers"),
    field("HostConfig.CpuRealtimePeriod", LeftOut, NONE, "no container runs before the machine's own work"),
    field("HostConfig.CpuRealtimeRuntime", LeftOut, NONE, "no container runs before the machine's own work"),
    field("HostConfig.CpuCount", LeftOut, NONE, WINDOWS),
    field("HostConfig.CpuPercent", LeftOut, NONE, WINDOWS),
    field("HostConfig.IOMaximumIOps", LeftOut, NONE, WINDOWS),
    field("HostConfig.IOMaximumBandwidth", LeftOut, NONE, WINDOWS),
    field("HostConfig.Isolation", LeftOut, NONE, WINDOWS),
    field("HostConfig.PidsLimit", Judged, LIMIT, "ringfence writes the limit where none is asked for"),
    field("HostConfig.ShmSize", Judged, "up to the memory", "ringfence writes 1 GiB where none is asked for"),
    field(
        "HostConfig.Ulimits",
        Judged,
        "by its fields",
        "open files up to the policy's limit; nothing that gives priority",
    ),
    field("HostConfig.Ulimits[].Name", Judged, "a known limit", "rtprio, rttime and nice are left out"),
    field("HostConfig.Ulimits[].Soft", Judged, LIMIT, "open files up to the policy's limit"),
    field("HostConfig.Ulimits[].Hard", Judged, LIMIT, "open files up to the policy's limit"),
    field("HostConfig.BlkioWeight", LeftOut, NONE, DISK_RATE),
    field("HostConfig.BlkioWeightDevice", LeftOut, NONE, DISK_RATE),
    field("HostConfig.BlkioDeviceReadBps", LeftOut, NONE, DISK_RATE),
    field("HostConfig.BlkioDeviceWriteBps", LeftOut, NONE, DISK_RATE),
    field("HostConfig.BlkioDeviceReadIOps", LeftOut, NONE, DISK_RATE),
    field("HostConfig.BlkioDeviceWriteIOps", LeftOut, NONE, DISK_RATE),
    field("HostConfig.OomKillDisable", LeftOut, NONE, "a container that fills its memory ends"),
    field("HostConfig.OomScoreAdj", Judged, "0 or more", "no container outlives the machine's own programs"),
    field(
        "HostConfig.StorageOpt",
        Refused,
        "the policy's disk limit",
        "the disk limit is the policy's; leave it out",
    ),
    // Life.
    field(
        "HostConfig.AutoRemove",
        Remembered,
        "false",
        "ringfence removes the container, once its files are settled",
    ),
    field(
        "HostConfig.RestartPolicy",
        Judged,
        "no",
        "a start goes through ringfence, which proves the fence first",
    ),
    field(
        "HostConfig.RestartPolicy.Name",
        Remembered,
        "no",
        "a start goes through ringfence, which proves the fence first; another policy is shown, and warned of",
    ),
    field("HostConfig.RestartPolicy.MaximumRetryCount", Remembered, NONE, "it is shown"),
    field(
        "HostConfig.LogConfig",
        Judged,
        "json-file",
        "other drivers send the output from the machine's network",
    ),
    field(
        "HostConfig.LogConfig.Type",
        Judged,
        "json-file",
        "other drivers send the output from the machine's network",
    ),
    field("HostConfig.LogConfig.Config", LeftOut, "ringfence's size", "the size of the log is limited"),
    field("HostConfig.ConsoleSize", Passed, AS_GIVEN, "rows and columns"),
    field("HostConfig.ContainerIDFile", LeftOut, NONE, "clients write it themselves"),
];
