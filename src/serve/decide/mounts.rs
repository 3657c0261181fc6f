//! The decision about mounts.

use std::collections::BTreeMap;
use std::path::Path;

use super::create::is_bind;
use super::facts::{Found, FoundSource, FoundVolume, Ground, ProjectRoot, SourceKind};
use super::member::{MemberMount, MountSource};
use super::mount_asks::{self, MountAsk, SourceAsk};
use super::places::{refuse_inside, refuse_kernels};
use crate::serve::denied::Denied;
use crate::serve::request::bodies::{CreateBody, HostBody};
use crate::serve::text::shown;
use crate::supervisor::spec::image::Image;
use crate::supervisor::spec::image_volumes::{cleaned, places};
use crate::supervisor::spec::places::NOTICE;
use crate::workspace::mounts::may_be_target;

/// Place of ringfence's own files in a container, beside those where nothing is mounted at all.
const OWN: &str = "/etc/ringfence";
/// Parts of a directory of this machine over which nothing is mounted from elsewhere.
const PROTECTED: [&str; 6] = [".git", ".ringfence.yml", ".gitlab", ".envrc", ".vscode", ".idea"];
/// Places where nothing else is mounted, and that images declare as volumes.
const OF_IMAGES: [&str; 2] = ["/run", "/var/run"];
/// The most places in memory.
const MOST_IN_MEMORY: usize = 50;

/// Decides the mounts of a container, those of its image among them.
///
/// # Errors
/// When one gives more than the roots, or volumes of others.
pub(super) fn decide(
    body: &CreateBody,
    image: &Image,
    ground: &Ground<'_>,
    found: &Found,
    warnings: &mut Vec<String>,
) -> Result<Vec<MemberMount>, Denied> {
    let mut mounts: Vec<MemberMount> = Vec::new();
    for ask in mount_asks::all(body)? {
        let mount = one(&ask, ground, found, warnings)?;
        if mounts.iter().any(|other| other.target == mount.target) {
            // A volume that engines make for a place where something else is mounted is none.
            if ask.field == "Volumes" {
                continue;
            }
            let why = format!(
                "two things are to be mounted at {}; give each a place of its own",
                shown(&mount.target)
            );
            return Err(Denied::field(&ask.field, why));
        }
        mounts.push(mount);
    }
    let in_memory =
        body.host_config.iter().flat_map(|host| host.tmpfs.iter().flatten()).map(|(path, _)| path.as_str());
    let mounted: Vec<&str> = mounts.iter().map(|mount| &*mount.target).chain(in_memory).collect();
    let places =
        places(&image.volumes, &mounted).map_err(|failure| Denied::field("Image", failure.message))?;
    for place in places.iter().filter(|place| !OF_IMAGES.contains(&place.as_str())) {
        target_of("Image", place)?;
    }
    mounts.extend(places.into_iter().map(|target| MemberMount {
        source: MountSource::Volume { name: None, labels: BTreeMap::new(), no_copy: false },
        target,
        writable: true,
    }));
    nested(&mounts)?;
    for mount in &mounts {
        refuse_inside("HostConfig.Mounts", &mount.target, &mounts, ground)?;
    }
    // Ringfence's own mounts lie there. Images that declare a volume around it are not rare.
    refuse_inside("Image", NOTICE, &mounts, ground)?;
    Ok(mounts)
}

fn one(
    ask: &MountAsk,
    ground: &Ground<'_>,
    found: &Found,
    warnings: &mut Vec<String>,
) -> Result<MemberMount, Denied> {
    let target = target_of(&ask.field, &ask.target)?;
    if ask.relabel {
        warnings.push(format!("ringfence: {}: the machine's files are not relabelled", ask.field));
    }
    let mut writable = ask.writable;
    let source = match &ask.source {
        SourceAsk::Path { path, make, alone } => {
            let (source, root) = path_below_root(ask, path, *make, *alone, ground, found)?;
            if writable && !root.writable {
                warnings.push(format!("ringfence: {}: {} is read-only", ask.field, shown(path)));
                writable = false;
            }
            source
        }
        SourceAsk::Volume { name, labels, no_copy } => {
            if let Some(name) = name
                && found.volumes.get(name) == Some(&FoundVolume::Foreign)
            {
                return Err(Denied::volume_taken(name));
            }
            MountSource::Volume { name: name.clone(), labels: labels.clone(), no_copy: *no_copy }
        }
        SourceAsk::Memory { size, mode } => {
            let most = ground.limits.memory / 2;
            let size = size.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0);
            MountSource::Memory { size: size.unwrap_or(most).min(most), mode: mode.map(|mode| mode & 0o1777) }
        }
    };
    Ok(MemberMount { source, target, writable })
}

/// Returns the source of a bind, where it lies below a root without a link on its way.
fn path_below_root<'a>(
    ask: &MountAsk,
    path: &str,
    make: bool,
    alone: bool,
    ground: &Ground<'a>,
    found: &Found,
) -> Result<(MountSource, &'a ProjectRoot), Denied> {
    let refuse = |why: String| Err(Denied::field(&ask.field, format!("{}: {why}", shown(path))));
    if Path::new(path) == ground.socket {
        return refuse("this socket is given to no container; run the tool that needs it outside".to_owned());
    }
    if path.ends_with(".sock") {
        return refuse("a socket, pipe or device is given to no container; leave it out".to_owned());
    }
    let outside = "it lies below no directory that was given with --project; start `ringfence serve` with it";
    // What lies elsewhere was not looked at, and the answer is the same whatever is there.
    let Some(FoundSource { path: real, kind, linked }) = found.sources.get(path) else {
        return refuse(outside.to_owned());
    };
    // The narrowest root decides whether it is written.
    let roots = ground.roots.iter().filter(|root| real.starts_with(&root.path));
    let Some(root) = roots.max_by_key(|root| root.path.as_os_str().len()) else {
        return refuse(outside.to_owned());
    };
    let within = real.strip_prefix(&root.path).unwrap_or(real);
    let is_gits = within.iter().any(|part| part.eq_ignore_ascii_case(".git"));
    let is_protected = within.iter().any(|part| PROTECTED.iter().any(|name| part.eq_ignore_ascii_case(name)));
    if is_gits || (is_protected && ask.writable) {
        return refuse(
            "it runs code on this machine later, or says what is permitted; mount the project".to_owned(),
        );
    }
    if *linked {
        return refuse(
            "a link lies on its way, which could be swapped; name the place that it leads to".to_owned(),
        );
    }
    if real == ground.socket || *kind == SourceKind::Other {
        return refuse("a socket, pipe or device is given to no container; leave it out".to_owned());
    }
    if *kind == SourceKind::Missing && !make {
        let words = format!(
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            shown(path)
        );
        return Err(Denied::plain(400, words));
    }
    let make = *kind == SourceKind::Missing;
    if make && !root.writable {
        return refuse("it does not exist, and its --project directory is read-only; make it".to_owned());
    }
    Ok((MountSource::Path { path: real.clone(), make, alone }, root))
}

/// Returns the place in the container.
fn target_of(field: &str, target: &str) -> Result<String, Denied> {
    let target = may_be_target(target, None).map_err(|why| {
        Denied::field(field, format!("{}; give another place in the container", shown(&why)))
    })?;
    if Path::new(&target).starts_with(OWN) {
        return Err(Denied::field(field, format!("nothing is mounted below {OWN}; give another place")));
    }
    Ok(target)
}

/// Refuses mounts over the parts of a project that run code later, or say what is permitted.
fn nested(mounts: &[MemberMount]) -> Result<(), Denied> {
    for outer in mounts.iter().filter(|mount| is_bind(&mount.source)) {
        for inner in mounts {
            let Ok(within) = Path::new(&inner.target).strip_prefix(&outer.target) else { continue };
            let is_gits = within.iter().any(|part| part.eq_ignore_ascii_case(".git"));
            if is_gits || PROTECTED.iter().any(|name| within.starts_with(name)) {
                let why = format!(
                    "{} of a project is protected; mount it elsewhere",
                    shown(&within.to_string_lossy())
                );
                return Err(Denied::field("HostConfig.Mounts", why));
            }
        }
    }
    Ok(())
}

/// Refuses a working directory that leads to the kernel's files, or that an engine would make in
/// files that are swapped meanwhile.
///
/// # Errors
/// When it is one of these.
pub(super) fn working_directory(
    asked: Option<&str>,
    image: &Image,
    mounts: &[MemberMount],
    ground: &Ground<'_>,
) -> Result<(), Denied> {
    let asked = asked.unwrap_or(&image.workdir);
    refuse_kernels(asked)?;
    let Some(place) = cleaned(asked) else { return Ok(()) };
    refuse_inside("WorkingDir", &place, mounts, ground)
}

/// Decides the places in memory of `Tmpfs`.
///
/// # Errors
/// When an option is not known, or a place is taken.
pub(super) fn memory(
    host: &HostBody,
    mounts: &[MemberMount],
    (ground, memory): (&Ground<'_>, u64),
    warnings: &mut Vec<String>,
) -> Result<BTreeMap<String, String>, Denied> {
    let field = "HostConfig.Tmpfs";
    let mut places = BTreeMap::new();
    for (target, options) in host.tmpfs.iter().flatten() {
        let target = target_of(field, target)?;
        refuse_inside(field, &target, mounts, ground)?;
        if mounts.iter().any(|mount| mount.target == target) || places.contains_key(&target) {
            let why =
                format!("two things are to be mounted at {}; give each a place of its own", shown(&target));
            return Err(Denied::field(field, why));
        }
        places.insert(target, memory_options(field, options, memory / 2, warnings)?);
    }
    if places.len() > MOST_IN_MEMORY {
        return Err(Denied::field(field, "there are too many; give fewer"));
    }
    Ok(places)
}

/// Writes the options of a place in memory. Devices and programs with others' rights are never
/// read from there.
fn memory_options(
    field: &str,
    options: &str,
    most: u64,
    warnings: &mut Vec<String>,
) -> Result<String, Denied> {
    let (mut access, mut execute, mut size) = ("rw", "noexec", most);
    let mut kept = Vec::new();
    for option in options.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        let is_number =
            |text: &str| (1..=10).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        match option.split_once('=') {
            None if ["rw", "ro"].contains(&option) => access = if option == "ro" { "ro" } else { "rw" },
            None if ["exec", "noexec"].contains(&option) => {
                execute = if option == "noexec" { "noexec" } else { "exec" };
            }
            None if ["nosuid", "nodev"].contains(&option) => {}
            Some(("size", text)) => {
                let asked = size_of(text)
                    .ok_or_else(|| Denied::field(field, format!("{} is no size; write 64m", shown(text))))?;
                if asked > most {
                    warnings.push(format!("ringfence: {field}: a size was lowered to {most} bytes"));
                }
                size = asked.min(most);
            }
            Some(("mode", text))
                if is_number(text) && text.len() <= 5 && text.bytes().all(|digit| digit < b'8') =>
            {
                let mode = u32::from_str_radix(text, 8).unwrap_or_default() & 0o1777;
                kept.push(format!("mode={mode:o}"));
            }
            Some((name @ ("uid" | "gid"), text)) if is_number(text) => kept.push(format!("{name}={text}")),
            _ => {
                let why = format!("the option {} is not known; leave it out", shown(option));
                return Err(Denied::field(field, why));
            }
        }
    }
    if !kept.iter().any(|option| option.starts_with("mode=")) {
        kept.push("mode=1777".to_owned());
    }
    Ok(format!("{access},{execute},nosuid,nodev,{},size={size}", kept.join(",")))
}

/// Reads a size with the units that the kernel takes; a half of the memory is the most.
fn size_of(text: &str) -> Option<u64> {
    let (digits, factor) =
        match text.trim_end_matches(['b', 'B']).strip_suffix(['k', 'K', 'm', 'M', 'g', 'G']) {
            Some(digits) => {
                let unit = text.trim_end_matches(['b', 'B']).chars().last()?.to_ascii_lowercase();
                (
                    digits,
                    match unit {
                        'k' => 1u64 << 10,
                        'm' => 1 << 20,
                        _ => 1 << 30,
                    },
                )
            }
            None => (text, 1),
        };
    let is_number = (1..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse::<u64>().ok()?.checked_mul(factor)).flatten().filter(|size| *size > 0)
}
