//! A path that drops large packets without a word: as large as the engine's own network says, and
//! no larger, go out by the uplink.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{bounded, run, until};
use integration::ringfence::Outcome;
use integration::testbed::Testbed;
use integration::testbed::engine::variants::Product;
use serde_json::{Value, json};

use crate::{Test, expect, expect_status, skip};

pub(crate) const TESTS: &[Test] =
    &[("a path that drops packets above 1400 bytes without a word", black_hole)];

/// Sends a quarter of a megabyte to an echo and reads it back.
const UPLOAD: &str = "import socket, sys, threading
s = socket.create_connection(('echo.test', 7777), 10)
s.settimeout(25)
all = b'x' * 262144
threading.Thread(target=lambda: s.sendall(all), daemon=True).start()
left = len(all)
try:
    while left: left -= len(s.recv(65536))
    print('whole')
except OSError as error: print('left', left, error)";

/// Makes the way to the internet narrow, and silent about it, while `work` runs.
fn through_a_narrow_path<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let gateway = format!("rf{}-gw", std::process::id());
    let inside = |words: &[&str]| {
        let all = [&["netns", "exec", gateway.as_str()], words].concat();
        run("ip", &all, Duration::from_secs(10))
    };
    let chain = "{ type filter hook output priority 0 ; }";
    let silent = || {
        inside(&["nft", "add", "table", "ip", "narrow"])?;
        inside(&["nft", "add", "chain", "ip", "narrow", "output", chain])?;
        inside(&[
            "nft",
            "add",
            "rule",
            "ip",
            "narrow",
            "output",
            "icmp",
            "type",
            "destination-unreachable",
            "drop",
        ])
    };
    inside(&["ip", "link", "set", "inet", "mtu", "1400"])?;
    let done = silent().and_then(|_| work());
    inside(&["nft", "delete table ip narrow"]).ok();
    inside(&["ip", "link", "set", "inet", "mtu", "1500"])?;
    done
}

fn upload(bed: &Testbed) -> Result<Outcome> {
    let policy = bed.ringfence.allowing(&["echo.test:7777/tcp"])?;
    bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-c", UPLOAD])
}

fn uplinks(bed: &Testbed) -> Result<Vec<String>> {
    let names = ["network", "ls", "--filter", "name=ringfence-uplink", "--format", "{{.Name}}"];
    Ok(bed.engine.docker(&names)?.lines().map(str::to_owned).collect())
}

fn black_hole(bed: &Testbed) -> Result<()> {
    if !bed.engine.is_private() || bed.engine.product() != Product::Docker {
        return skip("no dockerd of the tests' own, whose settings could be changed");
    }
    // The control: with packets of the usual size nothing arrives, and the log says so.
    let stuck = through_a_narrow_path(|| upload(bed))?;
    expect(stuck.stdout.starts_with("left "), "packets of 1500 bytes are dropped", &stuck)?;
    let told = [("reason", "stalled"), ("host", "echo.test"), ("kind", "connect")];
    expect(stuck.has_event(&told), "a connection that stalls is an event", &stuck)?;
    bed.engine.restart(&json!({"mtu": 1400}))?;
    let tested = (|| {
        let whole = through_a_narrow_path(|| {
            // The control: another container's packets are as large as its network says.
            let plain = ["run", "--rm", &bed.images.agent, "python3", "-c"];
            let address = UPLOAD.replace("echo.test", integration::testbed::dns::SERVICES);
            let mut plain_upload = Command::new("docker");
            plain_upload.args(["-H", bed.engine.host()]).args(plain).arg(address);
            let control = bounded(&mut plain_upload, b"", Duration::from_secs(60))?;
            ensure!(control.stdout == "whole\n", "plain docker gets through: {control:?}");
            upload(bed)
        })?;
        expect_status(&whole, 0)?;
        expect(whole.stdout == "whole\n", "ringfence gets through", &whole)?;
        expect(!whole.has_event(&[("reason", "stalled")]), "and nothing stalls", &whole)?;
        let left = uplinks(bed)?;
        ensure!(left == ["ringfence-uplink-mtu-1400"], "the unused one is gone: {left:?}");
        Ok(())
    })();
    bed.engine.restart(&Value::Null)?;
    tested?;
    expect_status(&upload(bed)?, 0)?;
    until("the usual one is back alone", Duration::from_secs(10), || {
        uplinks(bed).is_ok_and(|left| left == ["ringfence-uplink"])
    })
    .context("uplinks")
}
