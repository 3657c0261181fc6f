//! Whatever is done to the host's firewall and to the engine: what is permitted passes, or the run
//! ends or says why it does not; and nothing that is refused ever passes. The canaries judge the
//! second.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::command::{ip, run, until};
use integration::ringfence::Running;
use integration::testbed::Testbed;
use integration::testbed::capture::Capture;
use integration::testbed::engine::variants::Product;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::failing::{container, end, talking_agent, try_escapes};
use crate::leftovers::only_the_uplink;
use crate::{Test, skip};

pub(crate) const TESTS: &[Test] = &[
    ("nft flush ruleset", ruleset_flushed),
    ("iptables -F", iptables_flushed),
    ("a firewall that puts its own rules in place of all", firewall_reloaded),
    ("the daemon restarts and takes its containers with it", restarted),
    ("the daemon restarts and leaves its containers running", restarted_live),
    ("an engine that goes silent is left by two Ctrl-C", silent),
    ("bridges that call iptables, and bridges that do not", bridge_netfilter),
    ("without the userland proxy", without_proxy),
    ("with IPv6", with_ipv6),
    ("containers that may not speak to each other", without_icc),
    ("address pools where ringfence takes its own", pools),
    ("forty networks in use", forty_networks),
    ("a VPN's route over the agents' range", vpn_route),
];

const NOT_OURS: &str = "the engine is not ours, so its host's firewall and its settings are left alone";

/// The agent can still reach what it may, or it is told on stderr that it cannot: never silence.
fn passes_or_says(bed: &Testbed, running: Running) -> Result<()> {
    let open = running.lines().last().is_some_and(|line| line == "open");
    bed.ringfence.call(&["stop", &running.name])?;
    let outcome = running.finish(Duration::from_secs(60))?;
    ensure!(
        open || outcome.stderr.contains("echo.test"),
        "nothing passes and nothing says so\n{}",
        outcome.shown()
    );
    Ok(())
}

/// A run during which something happens to the host's firewall.
fn firewall(bed: &Testbed, change: impl FnOnce() -> Result<()>) -> Result<()> {
    if !bed.engine.is_private() {
        return skip(NOT_OURS);
    }
    let running = talking_agent(bed)?;
    let agent = container(bed, "agent")?;
    let changed = change();
    let tried = changed.and_then(|()| try_escapes(bed, &agent)).and_then(|()| passes_or_says(bed, running));
    // dockerd puts its rules back when it starts; Podman does for each container.
    if bed.engine.product() == Product::Docker {
        bed.engine.restart(&Value::Null)?;
    }
    tried
}

fn nft(text: &str) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    fs::write(file.path(), text)?;
    run("nft", &["-f", &file.path().to_string_lossy()], Duration::from_secs(10)).map(|_| ())
}

fn ruleset_flushed(bed: &Testbed) -> Result<()> {
    firewall(bed, || nft("flush ruleset\n"))
}

fn iptables_flushed(bed: &Testbed) -> Result<()> {
    firewall(bed, || {
        for table in ["filter", "nat", "mangle", "raw"] {
            run("iptables", &["-t", table, "-F"], Duration::from_secs(10))?;
        }
        run("iptables", &["-P", "FORWARD", "ACCEPT"], Duration::from_secs(10)).map(|_| ())
    })
}

/// As firewalld does when it reloads: everything goes, tables of its own come, which accept what
/// the host forwards.
fn firewall_reloaded(bed: &Testbed) -> Result<()> {
    let tables = "flush ruleset
table inet firewalld {
  chain filter_INPUT { type filter hook input priority 10; policy accept; ct state established,related accept; }
  chain filter_FORWARD { type filter hook forward priority 10; policy accept; }
  chain nat_POSTROUTING { type nat hook postrouting priority 110; policy accept; oifname \"rf*\" masquerade; }
}
";
    let tested = firewall(bed, || nft(tables));
    run("nft", &["delete", "table", "inet", "firewalld"], Duration::from_secs(10)).ok();
    tested
}

/// Tells whether the engine is a dockerd of our own, whose settings may be changed.
fn is_our_dockerd(bed: &Testbed) -> bool {
    bed.engine.is_private() && bed.engine.product() == Product::Docker
}

const NOT_OUR_DOCKERD: &str = "no dockerd of the tests' own, whose settings could be changed";

fn restarted(bed: &Testbed) -> Result<()> {
    if !is_our_dockerd(bed) {
        return skip(NOT_OUR_DOCKERD);
    }
    let running = talking_agent(bed)?;
    bed.engine.restart(&Value::Null)?;
    let outcome = running.finish(Duration::from_secs(90))?;
    ensure!(
        outcome.status != 0 && outcome.stderr.contains("ringfence: "),
        "it says why\n{}",
        outcome.shown()
    );
    only_the_uplink(bed)
}

fn restarted_live(bed: &Testbed) -> Result<()> {
    if !is_our_dockerd(bed) {
        return skip(NOT_OUR_DOCKERD);
    }
    let live = json!({"live-restore": true});
    bed.engine.restart(&live)?;
    let tested = (|| {
        let running = talking_agent(bed)?;
        let agent = container(bed, "agent")?;
        bed.engine.restart(&live)?;
        // It may have been ended with the engine's connections, which is as good.
        try_escapes(bed, &agent)?;
        passes_or_ended(bed, running)
    })();
    bed.engine.restart(&Value::Null)?;
    tested.and_then(|()| only_the_uplink(bed))
}

fn silent(bed: &Testbed) -> Result<()> {
    if !bed.engine.is_private() {
        return skip("the engine is not the tests' own, so it is not stopped");
    }
    let running = talking_agent(bed)?;
    let name = running.name.clone();
    // The start is through when what it starts beside the agent is there; the agent may speak
    // before.
    until("the run is watched", Duration::from_secs(30), || {
        container(bed, "disk").is_ok_and(|id| !id.trim().is_empty())
    })?;
    let outcome = bed.engine.while_silent(|| {
        for _ in 0..2 {
            running.signal(Signal::SIGINT)?;
            std::thread::sleep(Duration::from_millis(200));
        }
        running.finish(Duration::from_secs(90))
    })?;
    ensure!(
        outcome.status == 123 && outcome.stderr.contains("the engine does not answer"),
        "it ends and says why\n{}",
        outcome.shown()
    );
    let stopped = bed.ringfence.call(&["stop", &name])?;
    ensure!(stopped.status.success(), "what is left can be removed once the engine is back: {stopped:?}");
    only_the_uplink(bed)
}

/// The run goes on and its traffic passes, or it ended and said why.
fn passes_or_ended(bed: &Testbed, running: Running) -> Result<()> {
    let open = running.lines().last().is_some_and(|line| line == "open");
    bed.ringfence.call(&["stop", &running.name])?;
    let outcome = running.finish(Duration::from_secs(90))?;
    let said = outcome.status == 123 && outcome.stderr.contains("engine");
    ensure!(open || said, "neither open nor ended with a reason\n{}", outcome.shown());
    Ok(())
}

/// One run: what is permitted passes, also when every escape has been tried.
fn stands(bed: &Testbed) -> Result<()> {
    let running = talking_agent(bed)?;
    let agent = container(bed, "agent")?;
    try_escapes(bed, &agent)?;
    ensure!(running.lines().last().is_some_and(|line| line == "open"), "shut: {:?}", running.lines());
    end(bed, running)
}

/// Does what [`stands`] does, under other settings of the daemon.
fn under(bed: &Testbed, settings: &Value) -> Result<()> {
    if !is_our_dockerd(bed) {
        return skip(NOT_OUR_DOCKERD);
    }
    bed.engine.restart(settings)?;
    let tested = stands(bed);
    bed.engine.restart(&Value::Null)?;
    tested.with_context(|| settings.to_string())
}

fn bridge_netfilter(bed: &Testbed) -> Result<()> {
    let knob = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if !bed.engine.is_private() {
        return skip(NOT_OURS);
    }
    let Ok(before) = fs::read_to_string(knob) else { return skip("the kernel has no br_netfilter") };
    let tested = ["0", "1"].into_iter().try_for_each(|value| {
        fs::write(knob, value)?;
        stands(bed).with_context(|| format!("{knob} = {value}"))
    });
    fs::write(knob, before)?;
    tested
}

fn without_proxy(bed: &Testbed) -> Result<()> {
    under(bed, &json!({"userland-proxy": false}))
}

fn with_ipv6(bed: &Testbed) -> Result<()> {
    let settings =
        json!({"ipv6": true, "fixed-cidr-v6": "fd00:d0c::/64", "experimental": true, "ip6tables": true});
    under(bed, &settings)
}

fn without_icc(bed: &Testbed) -> Result<()> {
    under(bed, &json!({"icc": false}))
}

fn pools(bed: &Testbed) -> Result<()> {
    under(bed, &json!({"default-address-pools": [{"base": "198.18.0.0/15", "size": 24}]}))
}

/// More than the engine's own pools hold, and some in the range of the address that agents have,
/// beyond what the test before may have left to the engine's own bridge.
fn forty_networks(bed: &Testbed) -> Result<()> {
    if !bed.engine.is_private() {
        return skip(NOT_OURS);
    }
    let name = |number: usize| format!("testbed-many-{number}");
    let tested = (0..40)
        .try_for_each(|number| {
            let subnet = match number {
                0..30 => format!("10.97.{number}.0/24"),
                _ => format!("198.18.{}.0/24", number * 6),
            };
            bed.engine.docker(&["network", "create", "--subnet", &subnet, &name(number)]).map(|_| ())
        })
        .and_then(|()| stands(bed));
    for number in 0..40 {
        bed.engine.try_docker(&["network", "rm", &name(number)])?;
    }
    tested
}

fn vpn_route(bed: &Testbed) -> Result<()> {
    if !bed.engine.is_private() {
        return skip(NOT_OURS);
    }
    const DEVICE: &str = "rfvpn0";
    const OTHER_END: &str = "rfvpn1";
    let tested = (|| {
        ip(&format!("link add {DEVICE} type veth peer name {OTHER_END}"))?;
        for device in [DEVICE, OTHER_END] {
            ip(&format!("link set {device} addrgenmode none"))?;
            ip(&format!("link set {device} up"))?;
        }
        ip(&format!("route add 198.18.0.0/15 dev {DEVICE}"))?;
        let (capture, since) = (Capture::start()?, Instant::now());
        stands(bed)?;
        // What a device says of itself when it comes up (IPv6) is nobody's traffic.
        let went = capture.came_by(OTHER_END, since)?;
        let went: Vec<String> = went.iter().map(ToString::to_string).collect();
        ensure!(
            !went.iter().any(|frame| frame.starts_with("IPv4") || frame.starts_with("ARP")),
            "to the VPN: {went:?}"
        );
        Ok(())
    })();
    ip(&format!("link delete {DEVICE}")).ok();
    tested
}
