//! The decision about a new container.

use std::collections::BTreeSet;

use super::facts::{CreateAsk, Found, Ground, Wanted};
use super::member::{HealthAsk, MemberSpec, MemberStreams, MountSource};
use super::{environment, group, image, labels, limits, mount_asks, mounts, names, ports, security};
use crate::serve::answer::asked::AskedFor;
use crate::serve::denied::Denied;
use crate::serve::request::bodies::{CreateBody, HealthBody, HostBody, Words};
use crate::serve::request::names::ImageRef;
use crate::serve::text::{shown, written_length};

/// The shortest time between two health checks, in nanoseconds.
const LEAST_INTERVAL: i64 = 1_000_000_000;
/// The longest time of a stop, in seconds.
const LONGEST_STOP: i64 = 86_400;
/// The most bytes of a command, as the engine's lists write it.
const LONGEST_COMMAND: usize = 64 << 10;
/// The most bytes of what is remembered in a label, as the engine's lists and events write it.
const LONGEST_ASKED: usize = 32 << 10;
/// The most warnings of one answer, beside those about fields.
const MOST_WARNINGS: usize = 80;

/// Lists the words of a body that mean objects.
///
/// # Errors
/// When one is not of its form.
pub(crate) fn wanted(body: &CreateBody) -> Result<Wanted, Denied> {
    let host = host_of(body);
    let mut wanted = Wanted { image: image_word(body)?, ..Wanted::default() };
    for ask in mount_asks::all(body)? {
        match ask.source {
            mount_asks::SourceAsk::Path { path, .. } => _ = wanted.sources.insert(path),
            mount_asks::SourceAsk::Volume { name: Some(name), .. } => _ = wanted.volumes.insert(name),
            _ => {}
        }
    }
    wanted.containers.extend(names::containers_of_links(&host));
    match group::NetworkWord::read(host.network_mode.as_deref())? {
        group::NetworkWord::Container(of) => _ = wanted.containers.insert(of),
        group::NetworkWord::Named(name) => _ = wanted.networks.insert(name),
        group::NetworkWord::Default | group::NetworkWord::Nothing => {}
    }
    wanted.networks.extend(group::endpoints(body).into_iter().map(|(name, _)| name));
    Ok(wanted)
}

/// Decides what will be made of a client's wish.
///
/// # Errors
/// When something is asked for that no container gets.
pub(crate) fn create(ask: &CreateAsk, ground: &Ground<'_>, found: &Found) -> Result<MemberSpec, Denied> {
    let body = &ask.taken.body;
    let host = host_of(body);
    let word = image_word(body)?;
    if let Some(name) = &ask.name
        && name.as_str().starts_with("buildx_buildkit")
    {
        return Err(Denied::endpoint(crate::serve::denied::BUILD));
    }
    let image = found.image.clone().ok_or_else(|| Denied::no_image(&word))?;
    let platform = image::decide(ask.platform.as_deref(), &image)?;
    let mut warnings = ask.taken.warnings.clone();
    let network = group::Networks::decide(body, &host, found, &mut warnings)?;
    let mounts = mounts::decide(body, &image, ground, found, &mut warnings)?;
    let limits = limits::of_create(&host, ground, &mut warnings)?;
    let tmpfs = mounts::memory(&host, &mounts, (ground, limits.memory), &mut warnings)?;
    let names = names::decide(ask, &host, &network, found, &mut warnings)?;
    let published = ports::decide(body, &host, &image, &mut warnings)?;
    let user = body.user.clone().filter(|user| !user.is_empty());
    let mut spec = MemberSpec {
        name: ask.name.clone(),
        group: network.group,
        beside: network.beside,
        cut_off: network.cut_off,
        entrypoint: words("Entrypoint", body.entrypoint.as_ref())?,
        // An empty command is the image's, as with engines.
        command: words("Cmd", body.cmd.as_ref())?.filter(|words| !words.is_empty()),
        env: environment::decide(body.env.as_deref().unwrap_or_default(), &mut warnings)?,
        workdir: plain("WorkingDir", body.working_dir.as_deref())?,
        shell: words("Shell", body.shell.as_ref())?.filter(|words| !words.is_empty()),
        streams: streams(body),
        stop_signal: plain("StopSignal", body.stop_signal.as_deref())?,
        stop_timeout: body.stop_timeout.filter(|t| (-1..=LONGEST_STOP).contains(t)),
        health: body.healthcheck.as_ref().map(|health| health_of(health, &mut warnings)),
        labels: labels::decide("Labels", body.labels.as_ref())?,
        capabilities: security::capabilities(&host, ground)?,
        read_only: host.readonly_rootfs == Some(true),
        init: host.init == Some(true),
        groups: security::groups(&host, ground)?,
        sysctls: security::sysctls(&host)?,
        platform,
        names: names.own,
        names_of: names.of_others,
        asked: AskedFor::default(),
        warnings: Vec::new(),
        user: plain("User", user.as_deref())?,
        image,
        mounts,
        tmpfs,
        limits,
    };
    if spec.argv().is_empty() {
        return Err(Denied::plain(400, "no command specified"));
    }
    let command: usize = spec.argv().iter().map(|word| written_length(word)).sum();
    if command > LONGEST_COMMAND {
        let why = format!("the command has more than {LONGEST_COMMAND} bytes; put it into a file");
        return Err(Denied::field("Cmd", why));
    }
    mounts::working_directory(spec.workdir.as_deref(), &spec.image, &spec.mounts, ground)?;
    security::judge(&host, &mut warnings)?;
    spec.asked = asked(&spec, body, &host, word, published, network.asked);
    if written_length(&spec.asked.label()) > LONGEST_ASKED {
        let why = format!(
            "names, ports, binds, links, hosts and options have more than {LONGEST_ASKED} bytes in sum; give fewer"
        );
        return Err(Denied::field("HostConfig", why));
    }
    life(&host, &mut warnings);
    warnings.truncate(MOST_WARNINGS);
    spec.warnings = warnings;
    Ok(spec)
}

fn host_of(body: &CreateBody) -> HostBody {
    body.host_config.clone().unwrap_or_default()
}

/// Returns the image's word.
fn image_word(body: &CreateBody) -> Result<String, Denied> {
    let word = body.image.as_deref().unwrap_or_default();
    if word.is_empty() {
        return Err(Denied::field("Image", "no image is named; name one that is on the engine"));
    }
    if word.starts_with("moby/buildkit") {
        return Err(Denied::endpoint(crate::serve::denied::BUILD));
    }
    ImageRef::read(word).map(|image| image.as_str().to_owned()).ok_or_else(|| Denied::no_image(word))
}

/// Remembers what the engine does not get.
fn asked(
    spec: &MemberSpec,
    body: &CreateBody,
    host: &HostBody,
    image: String,
    published: ports::Published,
    networks: group::NetworksAsked,
) -> AskedFor {
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let restart = host.restart_policy.clone().unwrap_or_default();
    let mut targets: BTreeSet<String> = spec.mounts.iter().map(|mount| mount.target.clone()).collect();
    targets.extend(spec.tmpfs.keys().cloned());
    AskedFor {
        image,
        entrypoint: spec.entrypoint_in_effect().len(),
        hostname: text(&body.hostname),
        domainname: text(&body.domainname),
        network_mode: networks.mode,
        networks: networks.by_name,
        exposed: published.exposed,
        ports: published.ports,
        publish_all: host.publish_all_ports == Some(true),
        binds: list(&host.binds),
        targets: targets.into_iter().collect(),
        extra_hosts: list(&host.extra_hosts),
        links: list(&host.links),
        cap_add: list(&host.cap_add),
        cap_drop: list(&host.cap_drop),
        security: list(&host.security_opt).into_iter().filter(|option| !option.contains('{')).collect(),
        restart: text(&restart.name),
        retries: restart.maximum_retry_count.unwrap_or_default(),
        auto_remove: host.auto_remove == Some(true),
    }
}

/// Warns of a start that nobody makes.
fn life(host: &HostBody, warnings: &mut Vec<String>) {
    let policy = host.restart_policy.as_ref().and_then(|policy| policy.name.as_deref());
    if !matches!(policy, None | Some("" | "no")) {
        warnings.push(
            "ringfence: HostConfig.RestartPolicy: the container is not started again by itself; start it with \
             `docker start`"
                .to_owned(),
        );
    }
}

fn streams(body: &CreateBody) -> MemberStreams {
    MemberStreams {
        tty: body.tty == Some(true),
        open_stdin: body.open_stdin == Some(true),
        stdin_once: body.stdin_once == Some(true),
        attach_stdin: body.attach_stdin == Some(true),
        attach_stdout: body.attach_stdout == Some(true),
        attach_stderr: body.attach_stderr == Some(true),
    }
}

/// Reads words of a command.
fn words(field: &str, given: Option<&Words>) -> Result<Option<Vec<String>>, Denied> {
    let Some(given) = given.map(Words::list) else { return Ok(None) };
    if given.iter().any(|word| word.contains('\0')) {
        return Err(Denied::field(field, "a word has a NUL in it; leave it out"));
    }
    Ok(Some(given))
}

/// Reads a text that goes to the engine as it is.
fn plain(field: &str, given: Option<&str>) -> Result<Option<String>, Denied> {
    let Some(given) = given.filter(|text| !text.is_empty()) else { return Ok(None) };
    if given.len() > 4096 || given.contains(char::is_control) {
        return Err(Denied::field(field, format!("{} is no value for it", shown(given))));
    }
    Ok(Some(given.to_owned()))
}

fn health_of(asked: &HealthBody, warnings: &mut Vec<String>) -> HealthAsk {
    let mut floored = |field: &str, time: Option<i64>| {
        time.filter(|time| *time > 0).map(|time| {
            if time < LEAST_INTERVAL {
                warnings.push(format!("ringfence: Healthcheck.{field} was raised to one second"));
            }
            time.max(LEAST_INTERVAL)
        })
    };
    HealthAsk {
        test: asked.test.clone().unwrap_or_default(),
        interval: floored("Interval", asked.interval),
        start_interval: floored("StartInterval", asked.start_interval),
        timeout: asked.timeout.filter(|time| *time >= 0),
        retries: asked.retries.filter(|count| *count >= 0),
        start_period: asked.start_period.filter(|time| *time >= 0),
    }
}

/// Tells whether a mount comes from a path of this machine.
pub(super) fn is_bind(source: &MountSource) -> bool {
    matches!(source, MountSource::Path { .. })
}
