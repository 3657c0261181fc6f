//! Probes of the other tests on a plain Docker network. They must leak: this proves that the tests
//! can see a leak.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use integration::testbed::Testbed;
use integration::testbed::canary::{FOREIGN_DNS, PORT};
use integration::testbed::capture::Capture;
use integration::testbed::netns::{HOST_LAN, HOST_LINK};

use crate::refused::escapes;
use crate::{Test, attempts};

pub(crate) const TESTS: &[Test] = &[
    ("a plain network leaks to every canary", leaks),
    ("the capture sees a plain network's frames", capture_sees),
    ("the servers of the internet work", servers_work),
];

fn on_plain_network(bed: &Testbed, list: &[&str]) -> Result<String> {
    let command = attempts(list);
    let mut docker = vec!["run", "--rm", &bed.images.agent];
    docker.extend(command.iter().map(String::as_str));
    bed.engine.docker(&docker)
}

fn leaks(bed: &Testbed) -> Result<()> {
    let gateway = bed.engine.gateway("bridge")?.to_string();
    let mut list = escapes(&gateway);
    list.extend([
        format!("tcp 198.51.100.10:{PORT}"),
        format!("udp 198.51.100.10:{PORT}"),
        "tcp 169.254.169.254:80".to_owned(),
        "tcp 10.99.0.6:443".to_owned(),
        format!("udp {FOREIGN_DNS}:53"),
    ]);
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let printed = on_plain_network(bed, &list)?;
    let heard = bed.canaries.take();
    let gateway_tcp = format!("host tcp {gateway}:{PORT}");
    let (link, lan) = (format!("host tcp {HOST_LINK}:{PORT}"), format!("host tcp {HOST_LAN}:{PORT}"));
    for canary in [
        &gateway_tcp,
        &link,
        &lan,
        "host udp",
        "internet tcp",
        "internet udp",
        "foreign-dns udp",
        "intranet tcp",
        "intranet udp",
        "intranet-web tcp",
        "metadata tcp",
    ] {
        if !heard.iter().any(|one| one.canary.starts_with(canary)) {
            bail!("`{canary}` heard nothing; the probe:\n{printed}\nheard: {heard:#?}");
        }
    }
    // Each trick below the routes works where there is no fence.
    let tricks = ["dontroute-udp eth0 10.98.1.1", "more eth0", "broadcast eth0", "multicast eth0 224.0.0.1"];
    for trick in tricks {
        if !heard.iter().any(|one| one.bytes.starts_with(trick)) {
            bail!("`{trick}` was not heard; the probe:\n{printed}\nheard: {heard:#?}");
        }
    }
    Ok(())
}

fn capture_sees(bed: &Testbed) -> Result<()> {
    let capture = Capture::start()?;
    let since = Instant::now();
    let gateway = bed.engine.gateway("bridge")?.to_string();
    on_plain_network(bed, &[&format!("udp {gateway}:{PORT}")])?;
    let device = bed.engine.device("bridge")?;
    let frames = capture.came_by(&device, since)?;
    frames
        .iter()
        .find(|frame| frame.to_string().contains("protocol 17"))
        .map(|_| ())
        .with_context(|| format!("no datagram among {} frames", frames.len()))
}

fn servers_work(bed: &Testbed) -> Result<()> {
    let page = bed.engine.docker(&[
        "run",
        "--rm",
        "--dns",
        integration::testbed::dns::ADDRESS,
        &bed.images.agent,
        "curl",
        "-sS",
        "https://a.test/",
        "http://plain.test/",
    ])?;
    if page != "a.test /\nplain.test /" {
        bail!("the pages are {page:?}");
    }
    let list =
        ["echo 198.51.100.20:7777 hello", "echo 198.51.100.20:22 x", "tls-hello 198.51.100.10:443 b.test"];
    let printed = on_plain_network(bed, &list)?;
    if printed.matches("\"ok\":true").count() != list.len() {
        bail!("{printed}");
    }
    Ok(())
}
