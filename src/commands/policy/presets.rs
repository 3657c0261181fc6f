//! `ringfence policy presets [NAME]`: what ships, by name, or one of them as it is.

use netpolicy::presets::{PRESETS, Preset, find};
use serde_json::{Value, json};

use super::COULD_NOT_TELL;
use crate::cli::policy::PresetsArgs;
use crate::term::Failure;
use crate::term::{print, print_json};

/// Lists or prints.
pub(super) fn presets(args: &PresetsArgs) -> Result<u8, Failure> {
    let Some(name) = &args.name else {
        if args.json {
            print_json(&PRESETS.iter().map(described).collect::<Vec<Value>>())?;
        } else {
            print(&list())?;
        }
        return Ok(0);
    };
    let preset = find(name).ok_or_else(|| {
        let known: Vec<String> = PRESETS.iter().map(reference).collect();
        Failure::new(COULD_NOT_TELL, format!("there is no preset `{name}`"))
            .hint(format!("choose one of {}", known.join(", ")))
    })?;
    if args.json {
        let mut value = described(preset);
        value["text"] = preset.text.into();
        print_json(&value)?;
    } else {
        print(preset.text)?;
    }
    Ok(0)
}

fn reference(preset: &Preset) -> String {
    format!("{}@{}", preset.name, preset.version)
}

fn described(preset: &Preset) -> Value {
    json!({"name": preset.name, "version": preset.version, "summary": preset.summary()})
}

fn list() -> String {
    let width = PRESETS.iter().map(|preset| reference(preset).len()).max().unwrap_or(0);
    PRESETS.iter().map(|preset| format!("{:width$}  {}\n", reference(preset), preset.summary())).collect()
}
