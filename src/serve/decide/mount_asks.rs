//! Mounts that a body asks for, read out of the three places where they can stand: `Binds`,
//! `Mounts` and `Volumes`.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::labels;
use crate::serve::denied::Denied;
use crate::serve::request::bodies::{CreateBody, HostBody, MountBody, empty_values};
use crate::serve::request::names::{free_name, is_name};
use crate::serve::text::shown;

/// The most mounts of one container.
const MOST: usize = 200;
/// Words of a bind that change nothing, or take rights away.
const PLAIN: [&str; 7] = ["rw", "ro", "nocopy", "cached", "delegated", "consistent", "default"];
/// Words that relabel the machine's files. They are left out.
const RELABEL: [&str; 2] = ["z", "Z"];
/// Words for mounts that spread to neither side.
const PRIVATE: [&str; 3] = ["", "private", "rprivate"];

/// A mount that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountAsk {
    /// Field where it stands.
    pub(super) field: String,
    /// Its source.
    pub(super) source: SourceAsk,
    /// Place in the container, as it was written.
    pub(super) target: String,
    /// Set when it is to be written.
    pub(super) writable: bool,
    /// Set when a warning about relabelling is due.
    pub(super) relabel: bool,
}

/// Source of a mount that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SourceAsk {
    /// Path of this machine.
    Path {
        /// The path.
        path: String,
        /// Set when a missing directory is to be made.
        make: bool,
        /// Set when what is mounted below it stays away.
        alone: bool,
    },
    /// Volume.
    Volume {
        /// Its name; none: a new one.
        name: Option<String>,
        /// Labels of a new one.
        labels: BTreeMap<String, String>,
        /// Set when it is not filled from the image.
        no_copy: bool,
    },
    /// Memory.
    Memory {
        /// Bytes.
        size: Option<i64>,
        /// Permissions.
        mode: Option<u32>,
    },
}

/// Reads all mounts of a body.
///
/// # Errors
/// When one is of no kind that containers get.
pub(super) fn all(body: &CreateBody) -> Result<Vec<MountAsk>, Denied> {
    let none = HostBody::default();
    let host = body.host_config.as_ref().unwrap_or(&none);
    let anonymous = empty_values(body.volumes.as_ref());
    let (binds, mounts) =
        (host.binds.as_deref().unwrap_or_default(), host.mounts.as_deref().unwrap_or_default());
    if anonymous.len() + binds.len() + mounts.len() > MOST {
        return Err(Denied::field(
            "HostConfig.Mounts",
            format!("a container has at most {MOST} mounts; give fewer"),
        ));
    }
    let binds = binds.iter().map(|text| bind(text));
    let mounts = mounts.iter().enumerate().map(|(at, mount_body)| mount(at, mount_body));
    // `Volumes` may hold the words of a bind too, as engines have it.
    let anonymous = anonymous.into_iter().map(|target| {
        let field = "Volumes".to_owned();
        let source = SourceAsk::Volume { name: None, labels: BTreeMap::new(), no_copy: false };
        Ok(MountAsk { field, source, target, writable: true, relabel: false })
    });
    binds.chain(mounts).chain(anonymous).collect()
}

/// Reads `SOURCE:TARGET[:OPTIONS]`.
fn bind(text: &str) -> Result<MountAsk, Denied> {
    let field = "HostConfig.Binds";
    let refuse = |why: &str| Err(Denied::field(field, format!("{}: {why}", shown(text))));
    let (source, target, options) = match text.split(':').collect::<Vec<_>>()[..] {
        [target] => ("", target, ""),
        [source, target] => (source, target, ""),
        [source, target, options] => (source, target, options),
        _ => return refuse("it is not understood; write SOURCE:TARGET or SOURCE:TARGET:ro"),
    };
    let options: Vec<&str> = options.split(',').filter(|option| !option.is_empty()).collect();
    let known =
        |option: &&str| PLAIN.contains(option) || RELABEL.contains(option) || PRIVATE.contains(option);
    if let Some(other) = options.iter().find(|option| !known(option)) {
        return refuse(&format!("the option {} is given to no container; leave it out", shown(other)));
    }
    let source = match source {
        "" if text.contains(':') => return refuse("it has no source; write SOURCE:TARGET"),
        "" => SourceAsk::Volume { name: None, labels: BTreeMap::new(), no_copy: false },
        path if path.starts_with('/') => {
            SourceAsk::Path { path: source_path(field, path)?, make: true, alone: false }
        }
        name => {
            let name = Some(volume_name(field, name)?);
            SourceAsk::Volume { name, labels: BTreeMap::new(), no_copy: options.contains(&"nocopy") }
        }
    };
    Ok(MountAsk {
        field: field.to_owned(),
        source,
        target: target.to_owned(),
        writable: !options.contains(&"ro"),
        relabel: options.iter().any(|option| RELABEL.contains(option)),
    })
}

/// Reads one of `Mounts`.
fn mount(at: usize, body: &MountBody) -> Result<MountAsk, Denied> {
    let field = format!("HostConfig.Mounts[{at}]");
    let (given, kind) =
        (body.source.as_deref().unwrap_or_default(), body.kind.as_deref().unwrap_or_default());
    let source = match kind {
        "bind" => {
            let options = body.bind_options.clone().unwrap_or_default();
            let propagation = options.propagation.unwrap_or_default();
            if !PRIVATE.contains(&propagation.as_str()) {
                let why = "mounts do not spread between machine and container; leave it out";
                return Err(Denied::field(&format!("{field}.BindOptions.Propagation"), why));
            }
            SourceAsk::Path {
                path: source_path(&field, given)?,
                make: options.create_mountpoint == Some(true),
                alone: options.non_recursive == Some(true),
            }
        }
        "volume" => {
            let options = body.volume_options.clone().unwrap_or_default();
            let driver = options.driver_config.and_then(|driver| driver.name).unwrap_or_default();
            if !["", "local"].contains(&driver.as_str()) {
                let why = format!("the driver {} is not served; leave it out", shown(&driver));
                return Err(Denied::field(&format!("{field}.VolumeOptions.DriverConfig"), why));
            }
            let name = (!given.is_empty()).then(|| volume_name(&field, given)).transpose()?;
            let labels = labels::decide(&format!("{field}.VolumeOptions.Labels"), options.labels.as_ref())?;
            SourceAsk::Volume { name, labels, no_copy: options.no_copy == Some(true) }
        }
        "tmpfs" if given.is_empty() => {
            let options = body.tmpfs_options.clone().unwrap_or_default();
            SourceAsk::Memory { size: options.size_bytes, mode: options.mode }
        }
        "tmpfs" => return Err(Denied::field(&field, "memory has no source; leave it out")),
        other => {
            let why = format!(
                "mounts of the type {:?} are given to no container; use bind, volume or tmpfs",
                shown(other)
            );
            return Err(Denied::field(&field, why));
        }
    };
    let (target, writable) = (body.target.clone().unwrap_or_default(), body.read_only != Some(true));
    Ok(MountAsk { field, source, target, writable, relabel: false })
}

/// Checks the form of a path of this machine. Where it leads, others say.
fn source_path(field: &str, path: &str) -> Result<String, Denied> {
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    let plain = Path::new(path).components().all(is_plain)
        && !path.split('/').any(|part| part == "." || part == "..");
    if !path.starts_with('/')
        || !plain
        || path.len() > 4096
        || path.contains(|c: char| c.is_control() || c == ':')
    {
        let why = format!("{} is no absolute path without `..`; write one", shown(path));
        return Err(Denied::field(field, why));
    }
    Ok(path.to_owned())
}

/// Checks the name of a volume.
pub(super) fn volume_name(field: &str, name: &str) -> Result<String, Denied> {
    if !is_name(name) {
        let why = format!("{} is no name of a volume, and no absolute path; write one of them", shown(name));
        return Err(Denied::field(field, why));
    }
    // The names that engines make up for volumes have 64 digits: a client that lists them uses
    // them.
    if name.len() != 64 {
        free_name(field, name)?;
    }
    Ok(name.to_owned())
}
