//! A home that survives runs: a volume of ringfence's own, for one project and one image.
//!
//! ```text
//!  --home NAME ─▶ HomeIdentity (name, key, project, image) ─▶ volume `ringfence-home-NAME`, labelled
//!  the user's account in the image, HOME ─▶ HomePlace ─▶ the agent's mount, and the helper's that counts
//! ```
//! The labels say whose a volume is, and this machine's record says it too: a volume that does not
//! carry the record's key is somebody else's.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, Volume, VolumeCreateRequest};
use serde::{Deserialize, Serialize};

use super::containers::{no_restart, volume};
use super::image_volumes::cleaned;
use super::workflow::{Role, Workflow};
use crate::term::{COULD_NOT_RUN, Failure};
use crate::wire::{HomeName, UnixTime};
use crate::workspace::mounts::hides_init;

/// Label that holds a home's name.
const LABEL_HOME: &str = "dev.ringfence.home";
/// Label that holds the key that the record of this machine has too.
const LABEL_KEY: &str = "dev.ringfence.home-key";
/// Label that holds the project.
const LABEL_PROJECT: &str = "dev.ringfence.home-project";
/// Label that holds the image's repository.
const LABEL_IMAGE: &str = "dev.ringfence.home-image";
/// Home of a user that the image has no account of.
pub(crate) const OF_NO_ACCOUNT: &str = "/home/agent";
/// Places that are no user's home, though accounts and variables may say so. Programs of the image,
/// or files that ringfence gives, lie there.
const NOT_THESE: [&str; 16] = [
    "/bin",
    "/boot",
    "/home",
    "/lib",
    "/lib64",
    "/opt",
    "/sbin",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/sbin",
    "/var",
    "/var/lib",
    "/var/tmp",
];
/// Places below which no home is.
const NOT_BELOW: [&str; 6] = ["/dev", "/etc", "/proc", "/run", "/sys", "/workspace"];

/// Project and image that a home belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HomeOwner {
    /// Path of the project on this machine; none: runs without a project.
    pub(crate) project: Option<String>,
    /// The image's repository, without tag and digest.
    pub(crate) image: String,
}

/// A home as a person asks for it.
#[derive(Debug, Clone)]
pub(crate) struct HomeRequest {
    /// Name of the home.
    pub(crate) name: HomeName,
    /// Project and image of the run.
    pub(crate) owner: HomeOwner,
}

/// Identity of a home, for its volume and its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HomeIdentity {
    /// Name of the home.
    pub(crate) name: HomeName,
    /// Random text, by which the volume is known again.
    pub(crate) key: String,
    /// Project and image.
    #[serde(flatten)]
    pub(crate) owner: HomeOwner,
    /// Time of the first run.
    pub(crate) created_at: UnixTime,
}

impl HomeIdentity {
    /// Returns the engine's name of the volume.
    pub(crate) fn volume(&self) -> String {
        volume_of(&self.name)
    }

    /// Returns what the engine is asked for as the volume.
    pub(crate) fn request(&self) -> VolumeCreateRequest {
        VolumeCreateRequest {
            name: Some(self.volume()),
            driver: Some("local".to_owned()),
            labels: Some(self.labels()),
            ..Default::default()
        }
    }

    /// Tells whether a volume on the engine is this home's: every label fits, and the content lies
    /// in the engine's own store.
    pub(crate) fn is_of(&self, found: &Volume) -> bool {
        let labels = self.labels();
        found.name == self.volume()
            && found.driver == "local"
            && found.options.is_empty()
            && labels.iter().all(|(label, value)| found.labels.get(label) == Some(value))
    }

    fn labels(&self) -> HashMap<String, String> {
        let project = self.owner.project.clone().unwrap_or_default();
        [
            (LABEL_HOME, self.name.to_string()),
            (LABEL_KEY, self.key.clone()),
            (LABEL_PROJECT, project),
            (LABEL_IMAGE, self.owner.image.clone()),
        ]
        .map(|(label, value)| (label.to_owned(), value))
        .into()
    }
}

/// The engine's name of a home's volume.
fn volume_of(name: &HomeName) -> String {
    format!("ringfence-home-{name}")
}

/// A home in the agent's container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HomePlace {
    /// The engine's name of the volume.
    pub(crate) volume: String,
    /// Path in the container.
    pub(crate) path: String,
    /// Number of the user that owns the home.
    pub(crate) user: u32,
    /// Number of the group that owns the home.
    pub(crate) group: u32,
}

impl HomePlace {
    /// Decides where a home is mounted, and who owns it. `user` is the agent's user as an engine
    /// reads it, `accounts` the image's `/etc/passwd`, `home` the variable HOME where the person or
    /// the image sets it.
    ///
    /// # Errors
    /// When the user is unknown, or its home is a place where none can be.
    pub(crate) fn of(
        name: &HomeName,
        user: &str,
        accounts: &str,
        home: Option<&str>,
    ) -> Result<HomePlace, Failure> {
        let account = HomeAccount::find(user, accounts).ok_or_else(|| {
            let what = format!("--home {name}: the image has no account for the user `{user}`");
            Failure::new(COULD_NOT_RUN, what)
                .hint("give a user that the image has, or a number: --user UID:GID")
        })?;
        let wanted = home.unwrap_or(&account.home);
        let path = cleaned(wanted).filter(|path| is_possible(path)).ok_or_else(|| {
            let what =
                format!("--home {name}: the home of the user `{user}` is {wanted:?}, where none can be kept");
            Failure::new(COULD_NOT_RUN, what)
                .hint("choose another place: -e HOME=/home/agent, or another user: --user UID:GID")
        })?;
        Ok(HomePlace { volume: volume_of(name), path, user: account.user, group: account.group })
    }

    /// Refuses a home in whose place, above or below which something else is mounted. Below it, a
    /// link that an earlier agent left in the home would lead the mount somewhere else.
    pub(crate) fn check_is_free(&self, mounted: &[&str]) -> Result<(), Failure> {
        let home = Path::new(&self.path);
        let meets = |target: &&&str| home.starts_with(target) || Path::new(target).starts_with(home);
        let Some(target) = mounted.iter().find(meets) else { return Ok(()) };
        let what = format!("--home: the home would be mounted at {}, and {target} is taken", self.path);
        Err(Failure::new(COULD_NOT_RUN, what)
            .hint("leave out --home, or give that mount or memory another place in the container"))
    }

    /// Lists the home's path and every folder above it, the highest first.
    pub(crate) fn way(&self) -> Vec<&str> {
        let ends = self.path.match_indices('/').skip(1).map(|(at, _)| at);
        ends.chain([self.path.len()]).map(|end| &self.path[..end]).collect()
    }

    /// Returns the agent's mount. The engine fills an empty home from the image.
    pub(crate) fn mount(&self) -> Mount {
        volume(self.volume.clone(), &self.path, false)
    }

    /// Returns what the engine is asked for as the container through which the home gets its owner:
    /// the agent's image, never started.
    pub(crate) fn keeper(&self, workflow: &Workflow, image: &str) -> ContainerCreateBody {
        still(workflow, image, vec![self.mount()])
    }
}

/// Returns a container of the agent's image that is never started: its files can be read and
/// written.
pub(crate) fn still(workflow: &Workflow, image: &str, mounts: Vec<Mount>) -> ContainerCreateBody {
    let host = HostConfig {
        network_mode: Some("none".to_owned()),
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        restart_policy: Some(no_restart()),
        mounts: Some(mounts),
        ..Default::default()
    };
    ContainerCreateBody {
        image: Some(image.to_owned()),
        // An image need not have a command, and an engine wants one.
        entrypoint: Some(vec!["/never-started".to_owned()]),
        cmd: Some(Vec::new()),
        user: Some("0:0".to_owned()),
        labels: Some(workflow.labels(Role::Probe)),
        host_config: Some(host),
        ..Default::default()
    }
}

fn is_possible(path: &str) -> bool {
    let place = Path::new(path);
    !NOT_THESE.contains(&path)
        && !NOT_BELOW.iter().any(|above| place.starts_with(above))
        && !hides_init(place)
}

/// Account of the agent's user, as engines find it.
struct HomeAccount {
    user: u32,
    group: u32,
    home: String,
}

impl HomeAccount {
    /// Finds a user, `NAME|UID[:GROUP]`, among accounts. A number needs no account; a name does.
    fn find(user: &str, accounts: &str) -> Option<HomeAccount> {
        let (name, group) = user.split_once(':').map_or((user, None), |(name, group)| (name, Some(group)));
        let name = if name.is_empty() { "0" } else { name };
        let number = name.parse::<u32>().ok();
        let found = accounts.lines().find_map(|line| match line.split(':').collect::<Vec<_>>()[..] {
            [account, _, user, group, _, home, ..] => {
                let (user, group) = (user.parse::<u32>().ok()?, group.parse::<u32>().ok()?);
                let is_it = account == name || number == Some(user);
                is_it.then(|| HomeAccount { user, group, home: home.to_owned() })
            }
            _ => None,
        });
        let unknown = |user| HomeAccount { user, group: 0, home: home_of_no_account(user).to_owned() };
        let account = found.or_else(|| number.map(unknown))?;
        Some(match group.and_then(|group| group.parse().ok()) {
            Some(group) => HomeAccount { group, ..account },
            None => account,
        })
    }
}

fn home_of_no_account(user: u32) -> &'static str {
    if user == 0 { "/root" } else { OF_NO_ACCOUNT }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNTS: &str = "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\n\
                            daemon:x:1:1::/usr/sbin:/bin/sh\nnobody:x:65534:65534::/nonexistent:/bin/sh\nbroken:x\n";

    fn place(user: &str, home: Option<&str>) -> Option<(String, u32, u32)> {
        let place = HomePlace::of(&"work".parse().unwrap(), user, ACCOUNTS, home).ok()?;
        Some((place.path, place.user, place.group))
    }

    fn at(path: &str, user: u32, group: u32) -> Option<(String, u32, u32)> {
        Some((path.to_owned(), user, group))
    }

    #[test]
    fn a_home_is_where_the_user_has_it() {
        assert_eq!(place("", None), at("/root", 0, 0));
        assert_eq!(place("root", None), at("/root", 0, 0));
        assert_eq!(place("node", None), at("/home/node", 1000, 1001));
        assert_eq!(place("1000", None), at("/home/node", 1000, 1001));
        assert_eq!(place("1000:1000", None), at("/home/node", 1000, 1000));
        assert_eq!(place("4321:4321", None), at("/home/agent", 4321, 4321));
        assert_eq!(place("4321", None), at("/home/agent", 4321, 0));
        assert_eq!(place("somebody", None), None);
        assert_eq!(place("broken", None), None);
        // HOME counts where it is set: programs ask for it first.
        assert_eq!(place("1000", Some("/config/")), at("/config", 1000, 1001));
        assert_eq!(HomeAccount::find("", "").map(|account| account.home).as_deref(), Some("/root"));
    }

    #[test]
    fn no_home_covers_what_is_no_users() {
        for bad in [
            "",
            "/",
            ".",
            "home",
            "/tmp",
            "/etc",
            "/etc/x",
            "/proc/1",
            "/run/secrets",
            "/workspace",
            "/workspace/home",
            "/usr",
            "/bin/",
            "/home",
            "/a/../etc",
            "/home/a\nb",
            "/var/lib",
            "/sbin/docker-init",
            "/usr/sbin/docker-init",
        ] {
            assert_eq!(place("node", Some(bad)), None, "{bad:?}");
        }
        assert_eq!(place("daemon", None), None, "its home is /usr/sbin");
        for good in ["/nonexistent", "/var/lib/agent", "/etcetera", "/opt/agent", "/root"] {
            assert!(place("node", Some(good)).is_some(), "{good}");
        }
    }

    #[test]
    fn a_mount_at_the_home_above_or_below_it_is_refused() {
        let home = HomePlace::of(&"work".parse().unwrap(), "node", ACCOUNTS, None).unwrap();
        for taken in ["/home", "/home/node", "/home/node/.cache"] {
            assert!(home.check_is_free(&["/workspace", taken]).is_err(), "{taken}");
        }
        home.check_is_free(&["/home/no", "/home/node-2", "/workspace"]).unwrap();
    }

    #[test]
    fn the_way_to_a_home_has_every_folder() {
        let home = HomePlace::of(&"work".parse().unwrap(), "node", ACCOUNTS, Some("/a/b/c")).unwrap();
        assert_eq!(home.way(), ["/a", "/a/b", "/a/b/c"]);
    }

    #[test]
    fn only_the_volume_that_was_made_is_a_homes() {
        let owner = HomeOwner { project: Some("/p".to_owned()), image: "docker.io/library/agent".to_owned() };
        let home = HomeIdentity {
            name: "work".parse().unwrap(),
            key: "k".to_owned(),
            owner,
            created_at: UnixTime(7),
        };
        let request = home.request();
        let made = Volume {
            name: request.name.clone().unwrap(),
            driver: "local".to_owned(),
            labels: request.labels.clone().unwrap(),
            ..Default::default()
        };
        assert!(home.is_of(&made) && request.driver_opts.is_none());
        assert!(!made.labels.contains_key(crate::supervisor::spec::workflow::LABEL_WORKFLOW));
        let bind = HashMap::from([("device".to_owned(), "/etc".to_owned())]);
        let mut other = made.labels.clone();
        other.insert(LABEL_KEY.to_owned(), "l".to_owned());
        for foreign in [
            Volume { labels: HashMap::new(), ..made.clone() },
            Volume { labels: other, ..made.clone() },
            Volume { options: bind, ..made.clone() },
            Volume { driver: "nfs".to_owned(), ..made.clone() },
            Volume { name: "ringfence-home-play".to_owned(), ..made },
        ] {
            assert!(!home.is_of(&foreign), "{foreign:?}");
        }
    }
}
