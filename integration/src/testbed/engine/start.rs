//! The command lines that start each product with its own data, socket and folders.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::tree;
use super::variants::{Product, Variant};
use crate::testbed::{dns, setup};

/// The places of an engine's things.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// Images, networks, volumes: kept from run to run.
    pub data: PathBuf,
    /// Socket and state: of this run.
    pub directory: PathBuf,
    /// The tree that it runs in, if any.
    pub tree: Option<PathBuf>,
}

impl Places {
    /// The socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("engine.sock")
    }

    /// Returns the path of its log.
    pub(crate) fn log(&self) -> PathBuf {
        self.data.join("engine.log")
    }

    fn path(&self, below: &str) -> PathBuf {
        self.directory.join(below)
    }
}

/// Makes the command that starts `variant`. It adds `settings` to the configuration: lists are made
/// longer, other values replaced.
pub(crate) fn command(variant: &Variant, places: &Places, settings: &serde_json::Value) -> Result<Command> {
    let mut command = match &places.tree {
        // What tests share with containers lies in the machine's temporary directory.
        Some(tree) => {
            let temporary = std::env::temp_dir();
            let shared = [temporary.as_path(), &places.data, &places.directory];
            tree::command_inside(tree, &places.path("scratch"), &shared)?
        }
        None => {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "TERM"]);
            command
        }
    };
    match variant.product {
        Product::Docker => docker(&mut command, places, &with_own(variant, settings)?)?,
        Product::Podman => podman(&mut command, places)?,
    }
    Ok(command)
}

/// Adds the lines that a variant always has.
fn with_own(variant: &Variant, settings: &serde_json::Value) -> Result<serde_json::Value> {
    let mut all: serde_json::Value = serde_json::from_str(variant.settings.unwrap_or("{}"))?;
    for (key, value) in settings.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    Ok(all)
}

fn docker(command: &mut Command, places: &Places, settings: &serde_json::Value) -> Result<()> {
    // What containers have for `system`.
    let mut all = serde_json::json!({"dns": [dns::ADDRESS], "hosts": [host(&places.socket())]});
    for (key, value) in settings.as_object().into_iter().flatten() {
        match (all[key].as_array_mut(), value.as_array()) {
            (Some(list), Some(more)) => list.extend(more.clone()),
            _ => all[key] = value.clone(),
        }
    }
    let configuration = places.path("daemon.json");
    fs::write(&configuration, all.to_string())?;
    let program = if places.tree.is_some() {
        "dockerd".into()
    } else {
        setup::find("dockerd").context("no dockerd")?
    };
    command
        .arg(program)
        .arg("--data-root")
        .arg(&places.data)
        .arg("--exec-root")
        .arg(places.path("exec"))
        .arg("--pidfile")
        .arg(places.path("pid"))
        .arg("--config-file")
        .arg(&configuration);
    Ok(())
}

/// With runc: crun wants the unified cgroups, which not every machine has. Its state is the tree's
/// own: Podman remembers the path, and takes the next start for a reboot.
fn podman(command: &mut Command, places: &Places) -> Result<()> {
    let configuration = places.path("containers.conf");
    let text = format!("[containers]\ndns_servers = [\"{}\"]\n", dns::ADDRESS);
    fs::write(&configuration, text)?;
    command
        .env("CONTAINERS_CONF_OVERRIDE", &configuration)
        .env("PODMAN_IGNORE_CGROUPSV1_WARNING", "1")
        .arg("podman")
        .arg("--root")
        .arg(&places.data)
        .args(["--runroot", "/run/podman-state", "--tmpdir", "/run/podman-temporary"])
        .arg("--network-config-dir")
        .arg(places.data.join("networks"))
        .args(["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc"])
        .args(["system", "service", "--time", "0", &host(&places.socket())]);
    Ok(())
}

/// A socket as an engine's address.
pub(crate) fn host(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}
