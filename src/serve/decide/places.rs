//! Places inside mounts, beside files that a container could swap meanwhile.
//!
//! A part of a project, a file too, can be swapped for a link to any directory of this machine
//! while an engine mounts it. Runtimes make missing places as root, and follow the links of what is
//! mounted already: a link in a project or a volume leads into that part, and from there anywhere.
//! So where a container has such a part, nothing is placed inside a mount whose files others have.
//! No member reaches the place of a whole `--project` directory, and memory is new.

use std::path::{Component, Path, PathBuf};

use super::facts::{Ground, ProjectRoot};
use super::member::{MemberMount, MountSource};
use crate::serve::denied::Denied;
use crate::serve::text::shown;
use crate::supervisor::spec::image_volumes::cleaned;

/// A link that most images have, and where it leads. Some images declare a volume there.
pub(crate) const STATE: (&str, &str) = ("/var/run", "/run");
/// Places of the kernel's: a working directory there can be an open file of the runtime's.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Returns a part of a project that is mounted: what is no whole `--project` directory.
fn part<'a>(mounts: &'a [MemberMount], roots: &[ProjectRoot]) -> Option<&'a Path> {
    let is_firm = |path: &Path| {
        roots.iter().any(|root| root.path == path)
            && !roots.iter().any(|root| root.path != path && path.starts_with(&root.path))
    };
    mounts.iter().find_map(|mount| match &mount.source {
        MountSource::Path { path, .. } if !is_firm(path) => Some(path.as_path()),
        _ => None,
    })
}

/// Returns the mount of files that a place lies inside.
fn around<'a>(place: &str, mounts: &'a [MemberMount]) -> Option<&'a MemberMount> {
    let place = led(place);
    mounts.iter().find(|mount| {
        let has_files = !matches!(mount.source, MountSource::Memory { .. });
        let target = led(&mount.target);
        has_files && target != place && place.starts_with(&target)
    })
}

/// Returns a place as most images lead it: by their one link that is let pass.
fn led(place: &str) -> PathBuf {
    let (link, leads_to) = STATE;
    match Path::new(place).strip_prefix(link) {
        Ok(below) if below.as_os_str().is_empty() => PathBuf::from(leads_to),
        Ok(below) => Path::new(leads_to).join(below),
        Err(_) => PathBuf::from(place),
    }
}

/// Refuses a place inside a mount, where a part of a project is mounted too.
///
/// # Errors
/// When it is one.
pub(super) fn refuse_inside(
    field: &str,
    place: &str,
    mounts: &[MemberMount],
    ground: &Ground<'_>,
) -> Result<(), Denied> {
    let (Some(part), Some(around)) = (part(mounts, ground.roots), around(place, mounts)) else {
        return Ok(());
    };
    let why = format!(
        "{}: it lies inside the mount {}, and this container has {}, a part of a project that could be \
         swapped for a link meanwhile; mount the whole --project directory instead of the part, or choose a \
         place outside of mounts",
        shown(place),
        shown(&around.target),
        shown(&part.to_string_lossy())
    );
    Err(Denied::field(field, why))
}

/// Refuses covers inside a mount, where a part of a project is mounted too. Over a file that is
/// mounted by itself a cover is laid: its place is there.
///
/// # Errors
/// When there is such a cover.
pub(crate) fn refuse_covers<'a>(
    mut covers: impl Iterator<Item = &'a str>,
    mounts: &[MemberMount],
    roots: &[ProjectRoot],
) -> Result<(), Denied> {
    let Some(part) = part(mounts, roots) else { return Ok(()) };
    let Some(cover) = covers.find(|cover| around(cover, mounts).is_some()) else { return Ok(()) };
    let why = format!(
        "{}: that file has to be covered, and this container has {}, a part of a project that could be \
         swapped for a link meanwhile; mount the whole --project directory instead of the part, or move what \
         has to be covered out of it",
        shown(cover),
        shown(&part.to_string_lossy())
    );
    Err(Denied::field("HostConfig.Mounts", why))
}

/// Refuses a working directory that leads to files of the kernel's, by its words. Links of the
/// image are looked for elsewhere.
///
/// # Errors
/// When it does, or is no absolute path.
pub(super) fn refuse_kernels(asked: &str) -> Result<(), Denied> {
    let refuse = |why: &str| Err(Denied::field("WorkingDir", format!("{}: {why}", shown(asked))));
    if asked.is_empty() || Path::new(asked).components().all(|part| part == Component::RootDir) {
        return Ok(());
    }
    if !asked.starts_with('/') {
        return refuse("it is no absolute path; write one");
    }
    let place = cleaned(asked).unwrap_or_default();
    match KERNELS.iter().any(|kernels| Path::new(&place).starts_with(kernels)) {
        true => refuse("no program begins in /proc, /sys or /dev; choose another directory"),
        false => Ok(()),
    }
}
