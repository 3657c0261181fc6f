//! Every option of `docker run`, and what `ringfence run` has in its place.
//!
//! `docs/from-docker.md` is made of it, and tests compare it with what `docker run --help` lists.

use super::Support::{NoEffect, Other, Same};
use super::{Flag, Takes};

const NOTHING: Takes = Takes::Nothing;
const VALUE: Takes = Takes::Value;

const NO_DEVICE: &str = "an agent gets no device of the machine";
const OWN_NAMESPACES: &str = "an agent always has namespaces of its own";
const NO_OTHER_NETWORK: &str =
    "an agent has one network, its fence: permit names with --allow HOST[:PORT] or --policy FILE";
const NO_NAME_SERVER: &str = "names are answered inside the fence: write the servers that ringfence asks into a policy, network.dns.upstreams";
const NO_PORT: &str =
    "it opens no port: write -p [LOCAL:]PORT for each port of the agent that this machine is to reach";
const NO_LABEL: &str =
    "labels are ringfence's own: name the run with --name NAME, and find it with `ringfence ps --json`";
const NO_LOG: &str = "what the agent prints comes to stdout and stderr: redirect it there, or write -d and read it with `ringfence logs`";
const NO_HEALTH: &str = "nobody acts on health checks: leave it out";
const CPU: &str = "write --cpus N";
const MEMORY: &str = "write --memory SIZE: swap is part of it, and the limit is a hard one";
const NO_DISK_RATE: &str =
    "the rate of reading and writing is not limited: leave it out, or limit the size with --disk SIZE";
const WINDOWS: &str = "it is for Windows: leave it out";
const STOPPING: &str = "`ringfence stop` sends TERM, and KILL after 10 seconds: leave it out";

const fn flag(long: &'static str, short: Option<char>, takes: Takes, answer: super::Support) -> Flag {
    Flag { long, short, takes, answer }
}

/// The options, as `docker run --help` sorts them; the older spellings that it hides come last.
pub(crate) const FLAGS: &[Flag] = &[
    flag(
        "add-host",
        None,
        VALUE,
        Other(
            "a name is reached at the address that the policy's name servers give it: permit it with --allow, and write the servers into network.dns.upstreams",
        ),
    ),
    flag("annotation", None, VALUE, Other("there is no counterpart: leave it out")),
    flag(
        "attach",
        Some('a'),
        VALUE,
        Other(
            "stdout and stderr are always attached: leave it out, write -i for stdin, and 2>/dev/null to see no stderr",
        ),
    ),
    flag("blkio-weight", None, VALUE, Other(NO_DISK_RATE)),
    flag("blkio-weight-device", None, VALUE, Other(NO_DISK_RATE)),
    flag(
        "cap-add",
        None,
        VALUE,
        Other(
            "an agent gets no further capability; root in the container has those that installing packages needs: leave it out",
        ),
    ),
    flag("cap-drop", None, VALUE, Other("write --no-capabilities to drop all of them")),
    flag("cgroup-parent", None, VALUE, Other("limits are set for each run: write --cpus, --memory, --pids")),
    flag("cgroupns", None, VALUE, Other(OWN_NAMESPACES)),
    flag(
        "cidfile",
        None,
        VALUE,
        Other("write --name NAME: every command takes that name, and `ringfence ps --json` prints the id"),
    ),
    flag("cpu-count", None, VALUE, Other(WINDOWS)),
    flag("cpu-percent", None, VALUE, Other(WINDOWS)),
    flag("cpu-period", None, VALUE, Other(CPU)),
    flag("cpu-quota", None, VALUE, Other(CPU)),
    flag("cpu-rt-period", None, VALUE, Other(CPU)),
    flag("cpu-rt-runtime", None, VALUE, Other(CPU)),
    flag("cpu-shares", Some('c'), VALUE, Other(CPU)),
    flag("cpus", None, VALUE, Same("2 without it; 0 is refused, since no run is without a limit")),
    flag("cpuset-cpus", None, VALUE, Other(CPU)),
    flag("cpuset-mems", None, VALUE, Other(CPU)),
    flag(
        "detach",
        Some('d'),
        NOTHING,
        Same(
            "prints the run's short id once the agent runs; `ringfence logs` shows its output, after the end too",
        ),
    ),
    flag("detach-keys", None, VALUE, Other("a run in the foreground cannot be left: start it with -d")),
    flag("device", None, VALUE, Other(NO_DEVICE)),
    flag("device-cgroup-rule", None, VALUE, Other(NO_DEVICE)),
    flag("device-read-bps", None, VALUE, Other(NO_DISK_RATE)),
    flag("device-read-iops", None, VALUE, Other(NO_DISK_RATE)),
    flag("device-write-bps", None, VALUE, Other(NO_DISK_RATE)),
    flag("device-write-iops", None, VALUE, Other(NO_DISK_RATE)),
    flag("disable-content-trust", None, NOTHING, NoEffect("ringfence takes no part in content trust")),
    flag("dns", None, VALUE, Other(NO_NAME_SERVER)),
    flag("dns-option", None, VALUE, Other(NO_NAME_SERVER)),
    flag("dns-search", None, VALUE, Other("an agent has no search domain: let it write names in full")),
    flag("domainname", None, VALUE, Other("the agent's machine is called `agent`: leave it out")),
    flag("entrypoint", None, VALUE, Same("")),
    flag(
        "env",
        Some('e'),
        VALUE,
        Same("a NAME that is not set here is reported, and leaves the image's value as it is"),
    ),
    flag("env-file", None, VALUE, Same("`-` reads standard input")),
    flag("expose", None, VALUE, Other(NO_PORT)),
    flag("gpus", None, VALUE, Other(NO_DEVICE)),
    flag("group-add", None, VALUE, Other("write -u USER:GROUP")),
    flag("health-cmd", None, VALUE, Other(NO_HEALTH)),
    flag("health-interval", None, VALUE, Other(NO_HEALTH)),
    flag("health-retries", None, VALUE, Other(NO_HEALTH)),
    flag("health-start-interval", None, VALUE, Other(NO_HEALTH)),
    flag("health-start-period", None, VALUE, Other(NO_HEALTH)),
    flag("health-timeout", None, VALUE, Other(NO_HEALTH)),
    flag("help", None, NOTHING, Same("-h too, which is --hostname in docker")),
    // `-h` is ringfence's help.
    flag(
        "hostname",
        None,
        VALUE,
        Other("the agent's machine is called `agent`: leave it out, and name the run with --name NAME"),
    ),
    flag("init", None, NOTHING, NoEffect("an init always forwards signals and reaps processes")),
    flag("interactive", Some('i'), NOTHING, Same("")),
    flag("io-maxbandwidth", None, VALUE, Other(WINDOWS)),
    flag("io-maxiops", None, VALUE, Other(WINDOWS)),
    flag("ip", None, VALUE, Other(NO_OTHER_NETWORK)),
    flag(
        "ip6",
        None,
        VALUE,
        Other(
            "there is no IPv6 inside the fence; the way out uses it where a name has such addresses: leave it out",
        ),
    ),
    flag(
        "ipc",
        None,
        VALUE,
        Other("an agent always has namespaces of its own; write --shm-size SIZE for more shared memory"),
    ),
    flag("isolation", None, VALUE, Other(WINDOWS)),
    flag("kernel-memory", None, VALUE, Other(MEMORY)),
    flag("label", Some('l'), VALUE, Other(NO_LABEL)),
    flag("label-file", None, VALUE, Other(NO_LABEL)),
    flag("link", None, VALUE, Other(NO_OTHER_NETWORK)),
    flag("link-local-ip", None, VALUE, Other(NO_OTHER_NETWORK)),
    flag("log-driver", None, VALUE, Other(NO_LOG)),
    flag("log-opt", None, VALUE, Other(NO_LOG)),
    flag("mac-address", None, VALUE, Other(NO_OTHER_NETWORK)),
    flag(
        "memory",
        Some('m'),
        VALUE,
        Same("4GiB without it, swap included; 0 and -1 are refused, since no run is without a limit"),
    ),
    flag("memory-reservation", None, VALUE, Other(MEMORY)),
    flag("memory-swap", None, VALUE, Other(MEMORY)),
    flag("memory-swappiness", None, VALUE, Other(MEMORY)),
    flag(
        "mount",
        None,
        VALUE,
        Same("the short form, as with -v; type=bind,… is refused with the words to write"),
    ),
    flag("name", None, VALUE, Same("the name of the run, for `ringfence stop` and the other commands")),
    flag(
        "network",
        None,
        VALUE,
        Same("`none` is `denied`; `policy` is the default; the engine's other networks are refused"),
    ),
    flag("network-alias", None, VALUE, Other(NO_OTHER_NETWORK)),
    flag("no-healthcheck", None, NOTHING, Other(NO_HEALTH)),
    flag(
        "oom-kill-disable",
        None,
        NOTHING,
        Other("a limit that does not end what goes beyond it is none: write --memory SIZE"),
    ),
    flag("oom-score-adj", None, VALUE, Other("there is no counterpart: leave it out")),
    flag("pid", None, VALUE, Other(OWN_NAMESPACES)),
    flag(
        "pids-limit",
        None,
        VALUE,
        Same("--pids too; 1024 without it; 0 and -1 are refused, since no run is without a limit"),
    ),
    flag(
        "platform",
        None,
        VALUE,
        Other("fetch that image first with `docker pull --platform …`, and run it by the same name"),
    ),
    flag(
        "privileged",
        None,
        NOTHING,
        Other(
            "an agent never gets the machine; root in the container has the capabilities that installing packages needs: leave it out",
        ),
    ),
    flag(
        "publish",
        Some('p'),
        VALUE,
        Same(
            "on this machine's loopback only, carried by ringfence itself; `-p PORT` is `-p PORT:PORT`, `-p 0:PORT` takes a free port, and `-p auto` forwards whatever the agent listens on",
        ),
    ),
    flag("publish-all", Some('P'), NOTHING, Other("write -p auto for whatever the agent listens on")),
    flag("pull", None, VALUE, Same("")),
    flag(
        "quiet",
        Some('q'),
        NOTHING,
        Same("no summary at the end, and of warnings those of what is lost or less protected"),
    ),
    flag("read-only", None, NOTHING, Same("/tmp, /run and /var/tmp are in memory")),
    flag("restart", None, VALUE, Other("a run ends with its agent: start it again from a loop of the shell")),
    flag(
        "rm",
        None,
        NOTHING,
        NoEffect("a run's containers are removed, unless --keep is given; its events stay"),
    ),
    flag("runtime", None, VALUE, Same("")),
    flag(
        "security-opt",
        None,
        VALUE,
        Other("the filter of system calls and no-new-privileges are always on: leave it out"),
    ),
    flag("shm-size", None, VALUE, Same("1GiB without it; part of the agent's memory")),
    flag("sig-proxy", None, NOTHING, NoEffect("signals always go to the agent")),
    flag("stop-signal", None, VALUE, Other(STOPPING)),
    flag("stop-timeout", None, VALUE, Other(STOPPING)),
    flag("storage-opt", None, VALUE, Other("write --disk SIZE")),
    flag("sysctl", None, VALUE, Other("an agent cannot set parameters of the kernel: leave it out")),
    flag("tmpfs", None, VALUE, Same("a path without options; part of the agent's memory")),
    flag("tty", Some('t'), NOTHING, Same("")),
    flag("ulimit", None, VALUE, Other("write --open-files N for nofile and --pids N for nproc")),
    flag(
        "use-api-socket",
        None,
        NOTHING,
        Other("who has the engine's socket has the machine: an agent never gets it"),
    ),
    flag("user", Some('u'), VALUE, Same("with --project, its owner without it")),
    flag("userns", None, VALUE, Other(OWN_NAMESPACES)),
    flag("uts", None, VALUE, Other(OWN_NAMESPACES)),
    flag(
        "volume",
        Some('v'),
        VALUE,
        Same(
            "read-only unless it ends in :rw; directories and files of this machine, no volumes of the engine",
        ),
    ),
    flag(
        "volume-driver",
        None,
        VALUE,
        Other("volumes of the engine are not given to agents: write -v ./DIRECTORY:DST"),
    ),
    flag(
        "volumes-from",
        None,
        VALUE,
        Other("volumes of the engine are not given to agents: write -v ./DIRECTORY:DST"),
    ),
    flag("workdir", Some('w'), VALUE, Same("with --project, /workspace without it")),
    flag("dns-opt", None, VALUE, Other(NO_NAME_SERVER)),
    flag("net", None, VALUE, Same("--network")),
    flag("net-alias", None, VALUE, Other(NO_OTHER_NETWORK)),
];
