//! R4: devices, namespaces and powers, as a container without any finds them; and what confines its
//! system calls.

use super::{known, list};
use crate::doctor::facts::{Engine, Inside, Learned, Machine};
use crate::doctor::row::{Row, Verdict};

/// `Seccomp:` of a process with a filter.
const FILTERED: u32 = 2;

/// Judges R4 and returns its row.
pub(crate) fn row(machine: &Machine, engine: &Learned<Engine>, inside: &Learned<Inside>) -> Row {
    let mut row = Row::new("R4", "hardware and the host's namespaces");
    let Some(inside) = known(&mut row, inside) else { return row };
    devices(&mut row, inside);
    namespaces(&mut row, machine, inside);
    powers(&mut row, inside);
    system_calls(&mut row, engine.as_ref().ok(), inside);
    row
}

fn devices(row: &mut Row, inside: &Inside) {
    if inside.devices.is_empty() {
        row.found("a container has no device but the pseudo ones");
    } else {
        row.held_against(
            Verdict::Fail,
            format!("a container that asked for no device has {}", list(&inside.devices)),
        );
        row.advise("the engine, its default runtime or CDI hands devices to every container: take that out of its configuration");
    }
}

fn namespaces(row: &mut Row, machine: &Machine, inside: &Inside) {
    let one_kernel = machine.boot_id.is_some() && machine.boot_id == inside.boot_id;
    let is_shared = |kind: &String, id: &String| machine.namespaces.get(kind) == Some(id);
    let shared: Vec<&String> =
        inside.namespaces.iter().filter(|(kind, id)| is_shared(kind, id)).map(|(kind, _)| kind).collect();
    match (one_kernel, shared.as_slice()) {
        (true, []) => row.found("it shares no namespace with this machine"),
        (true, shared) => row
            .held_against(Verdict::Fail, format!("it shares namespaces with this machine: {}", list(shared))),
        // Numbers of different kernels cannot be compared.
        (false, _) => {}
    }
}

fn powers(row: &mut Row, inside: &Inside) {
    let none = |set: &str| !set.is_empty() && set.bytes().all(|digit| digit == b'0');
    match &inside.capabilities {
        Some((effective, bounding)) if none(effective) && none(bounding) => {
            row.found("dropped capabilities are gone");
        }
        Some((effective, bounding)) => row.held_against(
            Verdict::Fail,
            format!("capabilities that were dropped are there: effective {effective}, bounding {bounding}"),
        ),
        None => row.held_against(Verdict::Unknown, "a container does not see its capabilities"),
    }
    match inside.no_new_privileges {
        Some(true) => row.found("no-new-privileges holds"),
        Some(false) => row.held_against(Verdict::Fail, "no-new-privileges was asked for and is not on"),
        None => {
            row.held_against(Verdict::Unknown, "a container does not see whether no-new-privileges is on")
        }
    }
}

fn system_calls(row: &mut Row, engine: Option<&Engine>, inside: &Inside) {
    match (inside.seccomp, engine.map(|engine| engine.seccomp.as_deref())) {
        (Some(FILTERED), profile) => {
            let profile = profile.flatten().map(|name| format!(" (profile {name})")).unwrap_or_default();
            row.found(format!("system calls are filtered by seccomp{profile}"));
        }
        (Some(_), _) => {
            row.held_against(Verdict::Fail, "system calls are not filtered: seccomp is off");
            row.advise("start the engine without `--seccomp-profile=unconfined`, on a kernel with CONFIG_SECCOMP_FILTER");
        }
        (None, _) => row.held_against(Verdict::Unknown, "a container does not see whether seccomp is on"),
    }
    match (&inside.confinement, engine.and_then(|engine| engine.confinement.as_deref())) {
        (Some(label), _) => row.found(format!("confined as {label}")),
        (None, Some(module)) => {
            row.held_against(
                Verdict::Warn,
                format!("the engine has {module}, and a container is not confined by it"),
            );
        }
        (None, None) => {
            row.held_against(Verdict::Warn, "neither AppArmor nor SELinux confines containers");
            row.advise("load AppArmor or SELinux on the engine's machine: a second wall behind seccomp");
        }
    }
}
