//! R2: whether a fence stands on this engine. It was made there and tried; nothing is concluded
//! from versions.

use super::{known, list};
use crate::doctor::facts::{Engine, Fence, Learned, Machine};
use crate::doctor::row::{Row, Verdict};
use crate::supervisor::run::runtime;

/// Judges R2 and returns its row.
pub(crate) fn row(machine: &Machine, engine: &Learned<Engine>, fence: &Learned<Fence>) -> Row {
    let mut row = Row::new("R2", "networks within reach of an agent");
    if let Some(fence) = known(&mut row, fence) {
        judge(&mut row, fence);
    }
    if fence.as_ref().map_or(true, |fence| !fence.doubts.is_empty())
        && let Ok(engine) = engine
        && let Some(words) = runtime::of_helpers(&engine.default_runtime)
    {
        row.found(words);
        row.advise(runtime::OF_HELPERS_HINT);
    }
    if machine.resolved {
        row.found(
            "systemd-resolved answers here: the upstream `system` is a flat list of its servers, without the domains that a VPN gave it",
        );
        row.advise("name a VPN's domains and servers in the policy: network.dns.domains (`resolvectl domain` lists them)");
    }
    row
}

fn judge(row: &mut Row, fence: &Fence) {
    if fence.doubts.is_empty() {
        row.found("a fence was made on this engine, and every attempt to leave it failed");
    } else {
        row.held_against(
            Verdict::Fail,
            format!("no fence stands on this engine: {}", fence.doubts.join("; ")),
        );
        row.advise(
            "no agent starts on this engine as it is; use another, or give its kernel what is missing",
        );
    }
    let (lacking, there): (Vec<_>, Vec<_>) =
        fence.features.iter().partition(|feature| feature.error.is_some());
    if !there.is_empty() {
        let names: Vec<&str> = there.iter().map(|feature| feature.name.as_str()).collect();
        row.found(format!("its kernel can: {}", list(&names)));
    }
    for feature in lacking {
        let why = feature.error.as_deref().unwrap_or_default();
        // What the fence needs and lacks shows in the proof; here it gets its name.
        let verdict = if feature.needed && !fence.doubts.is_empty() { Verdict::Fail } else { Verdict::Warn };
        let what = if feature.needed { "cannot" } else { "cannot, and the fence stands without" };
        row.held_against(verdict, format!("its kernel {what}: {} ({why})", feature.name));
    }
}
