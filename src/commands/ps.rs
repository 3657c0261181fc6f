//! `ringfence ps`: the workflows on the engine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::Failure;
use crate::supervisor::{engine, inventory};

/// Lists the workflows, oldest first.
pub async fn ps(engine_host: Option<&str>, json: bool) -> Result<u8, Failure> {
    let engine = engine::connect(engine_host).await?;
    let all = inventory::workflows(&engine).await?;
    if json {
        super::print_json(&all)?;
        return Ok(0);
    }
    let mut text =
        format!("{:<10}{:<20}{:<10}{:<10}{:<10}{:<8}IMAGE\n", "ID", "NAME", "AGENT", "GUARD", "FENCE", "AGE");
    for found in &all {
        text.push_str(&format!(
            "{:<10}{:<20}{:<10}{:<10}{:<10}{:<8}{}\n",
            found.id,
            found.name.as_deref().unwrap_or("-"),
            found.agent,
            found.guard,
            found.fence,
            age(found.created_at),
            found.image.as_deref().unwrap_or("-"),
        ));
    }
    super::print(&text)?;
    Ok(0)
}

/// The time since `created_at`, in its largest unit.
fn age(created_at: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let seconds = now.saturating_sub(created_at);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
