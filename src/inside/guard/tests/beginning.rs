//! The wait for a configuration.

use std::fs;
use std::time::Duration;

use super::super::await_config;

#[test]
fn a_guard_waits_for_its_configuration_and_not_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guard.json");
    let failure = await_config(&path, Duration::ZERO).unwrap_err();
    assert!(failure.message.contains("the start was given up"), "{}", failure.message);
    fs::write(&path, "{}").unwrap();
    assert!(await_config(&path, Duration::ZERO).is_ok());
    let failure = await_config(&path.join("below"), Duration::ZERO).unwrap_err();
    assert!(failure.message.contains("cannot look for"), "{}", failure.message);
}
