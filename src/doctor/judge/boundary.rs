//! R1: whether the engine shares this machine's kernel. The boot id tells: a kernel draws it at its
//! start, and nobody else has it.

use super::known;
use crate::doctor::facts::{Engine, Inside, Learned, Machine};
use crate::doctor::row::{Row, Verdict};

/// Owner of the kernel on which the containers run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Another one than this machine's.
    Own,
    /// The containers run on this machine's kernel.
    Shared,
    /// The kernel cannot be told, for this reason.
    Unknown(String),
}

/// Compares this machine with what a container sees.
pub(crate) fn kernel(machine: &Machine, inside: &Learned<Inside>) -> Kernel {
    let (Some(_), Some(here)) = (&machine.kernel, &machine.boot_id) else {
        return match machine.kernel {
            // macOS, Windows: no container runs on that.
            None => Kernel::Own,
            Some(_) => Kernel::Unknown("this machine does not tell its boot id".to_owned()),
        };
    };
    match inside {
        Err(why) => Kernel::Unknown(why.clone()),
        Ok(Inside { boot_id: None, .. }) => {
            Kernel::Unknown("a container sees no boot id of its kernel".to_owned())
        }
        Ok(Inside { boot_id: Some(there), .. }) if there == here => Kernel::Shared,
        Ok(_) => Kernel::Own,
    }
}

/// Tells whether the engine says that it is on this machine: the same host name and the same
/// kernel, by a local socket. It is no proof, but nothing has to be created to hear it.
pub(crate) fn says_it_is_here(machine: &Machine, engine: &Engine) -> bool {
    engine.local
        && !machine.name.is_empty()
        && engine.name == machine.name
        && machine.kernel.as_deref() == Some(engine.kernel.as_str())
}

/// Judges R1 and returns its row.
pub(crate) fn row(machine: &Machine, engine: &Learned<Engine>, inside: &Learned<Inside>) -> Row {
    let mut row = Row::new("R1", "the kernel that agents share");
    let Some(engine) = known(&mut row, engine) else { return row };
    let place = if engine.local { "by a socket of this machine" } else { "over the network" };
    row.found(format!(
        "{} at {}, reached {place}; it runs on {} ({})",
        engine.product, engine.host, engine.name, engine.system
    ));
    match kernel(machine, inside) {
        Kernel::Own => row.found(match (&machine.boot_id, inside) {
            (Some(here), Ok(Inside { boot_id: Some(there), .. })) => format!(
                "containers run on another kernel than this machine: boot id {} there, {} here",
                short(there),
                short(here)
            ),
            _ => "containers run on another kernel than this machine, which has none that could run them"
                .to_owned(),
        }),
        Kernel::Shared => {
            let here = machine.boot_id.as_deref().unwrap_or_default();
            row.held_against(
                Verdict::Warn,
                format!("containers run on this machine's own kernel: the same boot id {}", short(here)),
            );
            if engine.kernel.to_ascii_lowercase().contains("microsoft") {
                row.found("both are in one virtual machine of WSL, apart from Windows itself");
            }
            row.advise(
                "use an engine in a virtual machine (Docker Desktop, Colima, Podman machine), or one without root; \
                 `engine: {require: [vm]}` in a policy refuses anything else",
            );
        }
        Kernel::Unknown(why) => {
            row.held_against(Verdict::Unknown, format!("whose kernel it is cannot be told: {why}"))
        }
    }
    row.found(format!("kernel {}", engine.kernel));
    root(&mut row, engine, inside.as_ref().ok().and_then(|inside| inside.root_is_root));
    row.found(runtimes(engine));
    row
}

/// Judges whether root in a container is root outside; `seen` is the finding of a container.
fn root(row: &mut Row, engine: &Engine, seen: Option<bool>) {
    match (engine.rootless, engine.user_namespaces, seen) {
        (true, _, Some(true)) => {
            row.held_against(
                Verdict::Unknown,
                "the engine says that it runs without root, and a container found that it is root",
            );
        }
        (true, ..) => row.found("the engine runs without root"),
        (false, true, _) | (false, false, Some(false)) => {
            row.found("the engine runs as root; users in containers are others outside (user namespaces)");
        }
        (false, false, _) => row.found("the engine runs as root, and root in a container is root outside"),
    }
}

fn runtimes(engine: &Engine) -> String {
    let sandboxed: Vec<&str> = engine
        .runtimes
        .iter()
        .map(String::as_str)
        .filter(|name| name.contains("runsc") || name.contains("gvisor") || name.contains("kata"))
        .collect();
    let default = &engine.default_runtime;
    match sandboxed.as_slice() {
        [] => format!("runtime {default}; no sandboxed one (runsc, Kata) is there"),
        some => format!("runtime {default}; sandboxed ones: {}", super::list(some)),
    }
}

/// Returns enough of a boot id to see whether two are one.
fn short(boot_id: &str) -> &str {
    boot_id.get(..8).unwrap_or(boot_id)
}
