//! Rights of a container: capabilities, security options, namespaces, settings of the kernel.

use std::collections::{BTreeMap, BTreeSet};

use super::facts::Ground;
use crate::serve::denied::Denied;
use crate::serve::request::bodies::HostBody;
use crate::serve::text::shown;
use crate::supervisor::spec::surface::CAPABILITIES;

/// Capabilities without which a program works here too.
const NEEDLESS: [&str; 1] = ["NET_BIND_SERVICE"];
/// The highest number of a group.
const HIGHEST_GROUP: u32 = u32::MAX - 1;
/// The most entries of a list.
const MOST: usize = 100;
/// Drivers whose output stays on the engine's machine.
const LOG_DRIVERS: [&str; 4] = ["", "json-file", "local", "none"];

/// Decides the capabilities that root keeps.
///
/// # Errors
/// When one is asked for that no container gets.
pub(super) fn capabilities(host: &HostBody, ground: &Ground<'_>) -> Result<Vec<String>, Denied> {
    let field = "HostConfig.CapAdd";
    let all = |list: &Option<Vec<String>>| -> BTreeSet<String> {
        list.iter().flatten().map(|one| bare(one)).collect()
    };
    let (mut added, mut dropped) = (all(&host.cap_add), all(&host.cap_drop));
    if added.remove("ALL") {
        return Err(Denied::field(field, "ALL are given to no container; name those that are needed"));
    }
    for name in NEEDLESS {
        added.remove(name);
    }
    let permitted =
        |name: &String| CAPABILITIES.contains(&name.as_str()) || ground.capabilities.contains(name);
    if let Some(name) = added.iter().find(|name| !permitted(name)) {
        let name = shown(name);
        return Err(Denied::field(
            field,
            format!(
                "{name} is given to no container, since it reaches the machine or changes the fence; leave it out"
            ),
        ));
    }
    let mut kept: BTreeSet<String> = match dropped.remove("ALL") {
        true => BTreeSet::new(),
        false => CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
    };
    kept.retain(|name| !dropped.contains(name));
    // As with engines, what is added stays even where it is dropped too.
    kept.extend(added);
    Ok(kept.into_iter().collect())
}

/// Returns a capability without its `CAP_`, in upper case.
fn bare(name: &str) -> String {
    let upper = name.trim().to_ascii_uppercase();
    upper.strip_prefix("CAP_").map_or(upper.clone(), str::to_owned)
}

/// Judges what a container may share, and where its output goes. All of it is written by
/// ringfence, so that nothing remains to be returned.
///
/// # Errors
/// When it asks for a namespace of others, or for weaker walls.
pub(super) fn judge(host: &HostBody, warnings: &mut Vec<String>) -> Result<(), Denied> {
    namespaces(host)?;
    options(host, warnings)?;
    let driver = host.log_config.as_ref().and_then(|log| log.driver.as_deref()).unwrap_or_default();
    if !LOG_DRIVERS.contains(&driver) {
        warnings.push(format!(
            "ringfence: HostConfig.LogConfig: the driver {} was left out: it would send the output from the machine's \
             network",
            shown(driver)
        ));
    }
    Ok(())
}

fn namespaces(host: &HostBody) -> Result<(), Denied> {
    let modes = [
        ("HostConfig.PidMode", &host.pid_mode),
        ("HostConfig.IpcMode", &host.ipc_mode),
        ("HostConfig.UTSMode", &host.uts_mode),
        ("HostConfig.UsernsMode", &host.userns_mode),
        ("HostConfig.CgroupnsMode", &host.cgroupns_mode),
    ];
    for (field, mode) in modes {
        let mode = mode.as_deref().unwrap_or_default();
        // "shareable" lets others join; nobody can, and it is what old engines write themselves.
        let own = ["", "private"].contains(&mode) || (field == "HostConfig.IpcMode" && mode == "shareable");
        if !own {
            return Err(Denied::field(
                field,
                format!("{} is a namespace of others, which no container gets; leave it out", shown(mode)),
            ));
        }
    }
    Ok(())
}

/// `SecurityOpt`: ringfence's own profile is in force whatever a client asks for.
fn options(host: &HostBody, warnings: &mut Vec<String>) -> Result<(), Denied> {
    let field = "HostConfig.SecurityOpt";
    let options = host.security_opt.as_deref().unwrap_or_default();
    if options.len() > MOST {
        return Err(Denied::field(field, "there are too many; leave them out"));
    }
    for option in options {
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (name, value) {
            ("no-new-privileges", "" | "true") => {}
            ("no-new-privileges", "false") => {
                warnings.push(format!("ringfence: {field}: no-new-privileges is in force all the same"));
            }
            ("seccomp", "unconfined" | "builtin") => {
                warnings.push(format!(
                    "ringfence: {field}: ringfence's seccomp profile is in force all the same"
                ));
            }
            ("label", "disable") => {
                warnings.push(format!("ringfence: {field}: label=disable was left out"));
            }
            ("seccomp", _) => {
                let why = "profiles of others are not loaded; leave it out, and ringfence's is in force";
                return Err(Denied::field(field, why));
            }
            _ => {
                let option = shown(option);
                let why = format!("{option} would weaken the container's walls; leave it out");
                return Err(Denied::field(field, why));
            }
        }
    }
    Ok(())
}

/// Decides the settings of the kernel: those of the container's own IPC namespace.
///
/// # Errors
/// When another is asked for: those of the network are the fence's.
pub(super) fn sysctls(host: &HostBody) -> Result<BTreeMap<String, String>, Denied> {
    let field = "HostConfig.Sysctls";
    let asked = host.sysctls.clone().unwrap_or_default();
    let own = |name: &str| {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let of_ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."].iter().any(|start| name.starts_with(start));
        plain && (of_ipc || name == "kernel.sem")
    };
    for (name, value) in &asked {
        if !own(name) {
            let why = format!("{} is a setting of the fence or of the machine; leave it out", shown(name));
            return Err(Denied::field(field, why));
        }
        let plain = value.bytes().all(|byte| byte.is_ascii_digit() || byte == b' ' || byte == b'\t');
        if value.len() > 100 || !plain {
            return Err(Denied::field(field, format!("{}: its value is no number; give one", shown(name))));
        }
    }
    if asked.len() > MOST {
        return Err(Denied::field(field, "there are too many; give fewer"));
    }
    Ok(asked)
}

/// Decides the further groups of a container's user.
///
/// # Errors
/// When one owns what the machine keeps from containers.
pub(super) fn groups(host: &HostBody, ground: &Ground<'_>) -> Result<Vec<String>, Denied> {
    let field = "HostConfig.GroupAdd";
    let asked = host.group_add.clone().unwrap_or_default();
    if asked.len() > MOST {
        return Err(Denied::field(field, "there are too many; give fewer"));
    }
    for group in &asked {
        let denied = match group.parse::<u32>() {
            Ok(number) => number == 0 || number > HIGHEST_GROUP || ground.denied_groups.contains(&number),
            // A name is looked up in the image's own list, which can give root's number to any.
            Err(_) => {
                let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
                group.is_empty() || group.len() > 64 || group == "root" || !group.chars().all(plain)
            }
        };
        if denied {
            let why =
                format!("the group {} owns what no container gets, or is none; leave it out", shown(group));
            return Err(Denied::field(field, why));
        }
    }
    Ok(asked)
}
