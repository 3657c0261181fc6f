//! One run: create, start, wait, remove. See the drawing in the module above.
//!
//! The order is the guarantee: the agent's container is started last, after the guard has said that it
//! serves the sockets of a fence that proved itself. Whatever fails before that removes everything.

use std::cell::Cell;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, KillContainerOptions, LogsOptions,
    UploadToContainerOptions,
};
use futures_util::{FutureExt, StreamExt};
use ipnet::IpNet;
use netpolicy::floor::Surroundings;
use netpolicy::policy::Policy;
use netpolicy::settings::Ca;
use netpolicy::virtual_names::VirtualNames;
use rustls::pki_types::CertificateDer;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::containers::{self, Agent};
use super::engine::{self, Engine};
use super::means::{self, Means};
use super::summary::{Seen, Summary};
use super::workflow::{Role, Workflow};
use super::{ca, helper_image, inventory, limits, networks, state, streams};
use crate::error::{COULD_NOT_RUN, Failure};
use crate::handover::{FenceConfig, GuardConfig, SHARED};

/// The fence ended the run: the guard or the fence died.
pub const FENCE_ENDED: u8 = 123;
/// The time is over.
pub const TIME_OVER: u8 = 124;
/// The fence must stand and the guard serve within this time.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Two Ctrl-C within this time stop at once.
const DOUBLE_INTERRUPT: Duration = Duration::from_secs(2);

/// All that a run needs, checked as far as it can be without the engine.
pub struct Request {
    /// A name for the workflow.
    pub name: Option<String>,
    /// The policy, whole.
    pub policy: Policy,
    /// The agent; its image still as it was typed.
    pub agent: Agent,
    /// Authorities for the agent besides its image's own.
    pub ca: Option<Ca>,
    /// Wall-clock limit.
    pub time: Option<Duration>,
    /// Where a person wants the events too.
    pub events: Option<PathBuf>,
    /// CPUs asked for.
    pub cpus: Option<f64>,
    /// Print how long each step took.
    pub timings: bool,
    /// No summary.
    pub quiet: bool,
}

/// Runs the agent to its end; the exit status for the program.
pub async fn run(engine: &Engine, mut request: Request) -> Result<u8, Failure> {
    let mut clock = Clock::new(request.timings);
    let mut signals = Signals::new()?;

    // Checks: nothing has been created when one of these fails.
    let means = Means::gather(&request.policy, request.ca.as_ref())?;
    let corporate = request.ca.as_ref().map(ca::read).transpose()?;
    means::without_proxies(&mut request.agent.env, &engine.version);
    check_name_is_free(engine, request.name.as_deref()).await?;
    let (image, image_env) = agent_image(engine, &request.agent.image).await?;
    request.agent.image = image;
    if corporate.is_some() {
        request.agent.trust = true;
        ca::point(&mut request.agent.env, &image_env);
    }
    request.agent.nano_cpus = nano_cpus(engine, request.cpus, &request.policy).await?;
    let networks = networks::list(engine).await?;
    means::check_proxy(&request.policy, &networks, &own_addresses()?).await?;
    clock.step("checked");
    let helper = helper_image::ensure(engine).await?;
    clock.step("helper image");

    let digest = request.policy.digest();
    let workflow = Workflow::new(request.name.clone(), digest, unix_seconds()).map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot make an id for the workflow").caused_by(&error)
    })?;
    let events = EventFiles::open(&workflow.id, request.events.as_deref())?;
    let prepared = Prepared { helper, networks, means, corporate, events };

    // From here on things exist. A signal waits until the start is through, so that nothing is
    // created behind the back of the removal.
    let early_signal = Cell::new(None);
    let started = {
        let start = start(engine, &workflow, &request, prepared, &early_signal, &mut clock);
        tokio::pin!(start);
        loop {
            tokio::select! {
                started = &mut start => break started,
                number = signals.next() => early_signal.set(Some(number)),
            }
        }
    };
    let outcome = match started {
        Err(failure) => Err(failure),
        Ok(mut running) => {
            if let Some(number) = early_signal.get() {
                signals.again(number);
            }
            let ended = running.supervise(engine, &workflow, &request, &mut signals).await;
            running.close(engine, &workflow).await;
            ended.map(|ended| (ended, running.summary.take()))
        }
    };
    let removed = inventory::remove(engine, &workflow.id).await;
    clock.step("removed");
    clock.print();
    conclude(outcome, removed, &workflow, request.quiet)
}

/// What is said at the end, and the status. An error in removing is told, and never hides the agent's status.
fn conclude(
    outcome: Result<(Ended, Option<Summary>), Failure>,
    removed: Result<(), Failure>,
    workflow: &Workflow,
    quiet: bool,
) -> Result<u8, Failure> {
    if let Err(failure) = &removed {
        eprint!("{failure}");
    }
    let (ended, summary) = outcome?;
    if let Some(why) = &ended.why {
        eprintln!("ringfence: {why}");
    }
    if let Some(summary) = summary
        && !quiet
    {
        eprint!("{}", summary.text(&workflow.id));
    }
    Ok(ended.status)
}

struct Ended {
    status: u8,
    why: Option<String>,
}

impl Ended {
    fn with(status: i32) -> Self {
        Ended { status: u8::try_from(status).unwrap_or(u8::MAX), why: None }
    }

    fn because(status: u8, why: impl Into<String>) -> Self {
        Ended { status, why: Some(why.into()) }
    }
}

async fn check_name_is_free(engine: &Engine, name: Option<&str>) -> Result<(), Failure> {
    let Some(name) = name else { return Ok(()) };
    if inventory::workflows(engine).await?.iter().any(|found| found.name.as_deref() == Some(name)) {
        return Err(Failure::new(
            COULD_NOT_RUN,
            format!("a workflow named `{name}` is on this engine already"),
        )
        .hint(format!("choose another name, or end it: ringfence stop {name}")));
    }
    Ok(())
}

/// The image's id, and the variables that it sets.
async fn agent_image(engine: &Engine, image: &str) -> Result<(String, Vec<String>), Failure> {
    match engine.api.inspect_image(image).await {
        Ok(found) => Ok((
            found.id.unwrap_or_else(|| image.to_owned()),
            found.config.and_then(|config| config.env).unwrap_or_default(),
        )),
        Err(error) if engine::is_missing(&error) => {
            Err(Failure::new(COULD_NOT_RUN, format!("the image `{image}` is not on the engine"))
                .hint(format!("docker pull {image}, or check its name")))
        }
        Err(error) => Err(engine::refused(format!("cannot look for the image `{image}`"), &error)),
    }
}

/// The engine refuses more CPUs than it has.
async fn nano_cpus(engine: &Engine, asked: Option<f64>, policy: &Policy) -> Result<i64, Failure> {
    let info = engine
        .api
        .info()
        .await
        .map_err(|error| engine::refused("cannot ask the engine about itself", &error))?;
    let has = info.ncpu.unwrap_or(1).max(1) as f64;
    let cpus = limits::cpus(asked, policy, has).ok_or_else(|| {
        Failure::new(COULD_NOT_RUN, format!("--cpus {}: the engine has {has}", asked.unwrap_or_default()))
            .hint(format!("give a number from 0.01 to {has}"))
    })?;
    Ok((cpus * 1e9) as i64)
}

fn unix_seconds() -> u64 {
    // A clock before 1970 makes everything look old, which only delays `gc`.
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs()).unwrap_or(0)
}

/// The links of this machine.
fn links() -> Result<Vec<if_addrs::Interface>, Failure> {
    if_addrs::get_if_addrs().map_err(|error| {
        Failure::new(COULD_NOT_RUN, "cannot list this machine's addresses").caused_by(&error)
    })
}

/// Every address of this machine.
fn own_addresses() -> Result<Vec<IpAddr>, Failure> {
    Ok(links()?.iter().map(if_addrs::Interface::ip).collect())
}

/// The addresses on which this machine or the engine answers, for the floor.
fn surroundings(policy: &Policy, engine_subnets: Vec<IpNet>) -> Result<Surroundings, Failure> {
    let links = links()?;
    let mut host_addresses = Vec::new();
    let mut on_link = Vec::new();
    for link in links {
        let address = link.ip();
        host_addresses.push(address);
        let prefix = match &link.addr {
            if_addrs::IfAddr::V4(v4) => v4.prefixlen,
            if_addrs::IfAddr::V6(v6) => v6.prefixlen,
        };
        // A prefix of 0 would be a default route, which says nothing about neighbours.
        if prefix > 0
            && let Ok(net) = IpNet::new(address, prefix)
        {
            on_link.push(net.trunc());
        }
    }
    Ok(Surroundings {
        host_addresses,
        on_link,
        engine_subnets,
        virtual_range: policy.dns.virtual_range,
        host_gateway: None,
    })
}

/// What the checks found and the start needs.
struct Prepared {
    /// Tag of the helper image, which the engine has.
    helper: String,
    /// All networks of the engine.
    networks: Vec<bollard::models::Network>,
    /// What the guard needs of this machine.
    means: Means,
    /// Authorities for the agent.
    corporate: Option<Vec<CertificateDer<'static>>>,
    /// Where the events will go.
    events: EventFiles,
}

/// Creates and starts everything, the agent last.
async fn start(
    engine: &Engine,
    workflow: &Workflow,
    request: &Request,
    prepared: Prepared,
    early_signal: &Cell<Option<i32>>,
    clock: &mut Clock,
) -> Result<Running, Failure> {
    let Prepared { helper, networks: existing, means, corporate, events } = prepared;
    let mut subnets = networks::subnets(&existing);
    let (own, uplink, volume, trust) = tokio::join!(
        networks::create_own(engine, workflow, &subnets),
        networks::ensure_uplink(engine, &existing),
        create_volume(engine, workflow, Role::Volume, true),
        create_volume(engine, workflow, Role::Trust, corporate.is_some()),
    );
    let ((network, own_subnet), (uplink, uplink_subnet)) = (own?, uplink?);
    volume.and(trust)?;
    subnets.push(own_subnet);
    subnets.extend(uplink_subnet);
    clock.step("networks");

    let resolver = request.policy.dns.virtual_range.broadcast();
    tokio::try_join!(
        create(
            engine,
            workflow,
            Role::Fence,
            containers::fence(workflow, &helper, &network, resolver, corporate.is_some())
        ),
        create(
            engine,
            workflow,
            Role::Guard,
            containers::guard(workflow, &helper, &uplink, means.knows_host)
        ),
    )?;
    let fence = workflow.object(Role::Fence);
    let config = configuration(workflow, request, engine, surroundings(&request.policy, subnets)?)?;
    tokio::try_join!(
        upload(engine, &fence, SHARED, config),
        means.hand_over(engine, workflow),
        create(engine, workflow, Role::Agent, containers::agent(workflow, &request.agent)),
    )?;
    if let Some(corporate) = &corporate {
        ca::install(engine, workflow, corporate).await?;
    }
    clock.step("containers");

    let guard = workflow.object(Role::Guard);
    let guard_output = engine
        .api
        .attach_container(&guard, Some(attach(false)))
        .await
        .map_err(|error| engine::refused("cannot read the guard's events", &error))?
        .output;
    let (ready, is_ready) = oneshot::channel();
    let summary = tokio::spawn(events.collect(guard_output, ready));
    tokio::try_join!(start_one(engine, workflow, Role::Guard), start_one(engine, workflow, Role::Fence))?;
    await_ready(engine, workflow, is_ready).await?;
    clock.step("fence proven, guard ready");

    let agent = workflow.object(Role::Agent);
    let attached = engine
        .api
        .attach_container(&agent, Some(attach(request.agent.interactive)))
        .await
        .map_err(|error| engine::refused("cannot attach to the agent", &error))?;
    if let Some(number) = early_signal.get() {
        let status = Ended::with(128 + number).status;
        return Err(Failure::new(status, "interrupted before the agent was started"));
    }
    let terminal = (request.agent.tty && request.agent.interactive).then(streams::RawTerminal::enter);
    let carrying = tokio::spawn(streams::carry(attached, request.agent.interactive));
    if let Err(error) = engine.api.start_container(&agent, None).await {
        let mut failure = agent_start_failure(&error);
        failure.causes.extend(helpers_last_words(engine, workflow).await);
        return Err(failure);
    }
    let sizing = request.agent.tty.then(|| tokio::spawn(streams::follow_size(engine.clone(), agent)));
    clock.step("agent started");
    Ok(Running { carrying, sizing, terminal, collecting: Some(summary), summary: None })
}

/// docker's statuses for a command that cannot be started.
fn agent_start_failure(error: &ApiError) -> Failure {
    let text = engine::describe(error);
    let mut failure = engine::refused("the agent cannot be started", error);
    if text.contains("executable file not found") || text.contains("no such file or directory") {
        failure.exit = 127;
        failure.hint = Some("is the command in the image, and on its PATH?".to_owned());
    } else if text.contains("permission denied") || text.contains("is a directory") {
        failure.exit = 126;
        failure.hint = Some("the command is in the image but cannot be executed".to_owned());
    }
    failure
}

fn attach(stdin: bool) -> AttachContainerOptions {
    AttachContainerOptions { stream: true, stdin, stdout: true, stderr: true, ..Default::default() }
}

async fn create(
    engine: &Engine,
    workflow: &Workflow,
    role: Role,
    body: bollard::models::ContainerCreateBody,
) -> Result<(), Failure> {
    let options = CreateContainerOptions { name: Some(workflow.object(role)), ..Default::default() };
    engine
        .api
        .create_container(Some(options), body)
        .await
        .map(|_| ())
        .map_err(|error| engine::refused(format!("cannot create the {role}'s container"), &error))
}

async fn start_one(engine: &Engine, workflow: &Workflow, role: Role) -> Result<(), Failure> {
    engine
        .api
        .start_container(&workflow.object(role), None)
        .await
        .map_err(|error| engine::refused(format!("cannot start the {role}'s container"), &error))
}

/// The two files that the fence and the guard begin with, as one archive.
fn configuration(
    workflow: &Workflow,
    request: &Request,
    engine: &Engine,
    surroundings: Surroundings,
) -> Result<Vec<u8>, Failure> {
    let names = VirtualNames::new(&request.policy);
    let deadline = request.time.map(|time| {
        let end = SystemTime::now() + time;
        end.duration_since(UNIX_EPOCH).map(|since| since.as_millis() as u64).unwrap_or(0)
    });
    let fence = FenceConfig {
        workflow: workflow.id.clone(),
        permits: netpolicy::ruleset::permits(&request.policy, &names),
        cut: netpolicy::ruleset::Cut::Nothing,
    };
    let guard = GuardConfig {
        workflow: workflow.id.clone(),
        policy: request.policy.clone(),
        surroundings,
        digest: workflow.digest.clone(),
        deadline_unix_ms: deadline,
        image: request.agent.image.clone(),
        engine: engine.version.clone(),
    };
    let json = |result: serde_json::Result<Vec<u8>>| {
        result.map_err(|error| {
            Failure::new(COULD_NOT_RUN, "cannot write down the configuration").caused_by(&error)
        })
    };
    let (fence, guard) = (json(serde_json::to_vec(&fence))?, json(serde_json::to_vec(&guard))?);
    let file = |name, content| means::File { name, content, mode: 0o644, owner: 0 };
    means::archive(&[file("fence.json", &fence), file("guard.json", &guard)])
}

/// Files go into a volume through a container that has it and does not run yet.
pub(super) async fn upload(
    engine: &Engine,
    container: &str,
    directory: &str,
    archive: Vec<u8>,
) -> Result<(), Failure> {
    let options = UploadToContainerOptions { path: directory.to_owned(), ..Default::default() };
    engine
        .api
        .upload_to_container(container, Some(options), bollard::body_full(archive.into()))
        .await
        .map_err(|error| engine::refused(format!("cannot put files into {container}"), &error))
}

/// One of the workflow's volumes, if it is wanted.
async fn create_volume(
    engine: &Engine,
    workflow: &Workflow,
    role: Role,
    wanted: bool,
) -> Result<(), Failure> {
    if !wanted {
        return Ok(());
    }
    let request = VolumeCreateRequest {
        name: Some(workflow.object(role)),
        labels: Some(workflow.labels(role)),
        ..Default::default()
    };
    let created = engine.api.create_volume(request).await;
    created.map(|_| ()).map_err(|error| engine::refused(format!("cannot create the {role} volume"), &error))
}

/// Waits for the guard's word; the death of either helper, or silence, is a failure with its last words.
async fn await_ready(
    engine: &Engine,
    workflow: &Workflow,
    is_ready: oneshot::Receiver<()>,
) -> Result<(), Failure> {
    let fence = workflow.object(Role::Fence);
    let why = tokio::select! {
        ready = is_ready => match ready {
            Ok(()) => return Ok(()),
            Err(_) => "the guard ended".to_owned(),
        },
        status = exit_of(engine, &fence) => format!("the fence ended with status {status}"),
        () = tokio::time::sleep(READY_LIMIT) => format!("nothing was ready within {} s", READY_LIMIT.as_secs()),
    };
    let mut failure =
        Failure::new(COULD_NOT_RUN, "the fence could not be made, so the agent was not started");
    failure.causes.push(why);
    failure.causes.extend(helpers_last_words(engine, workflow).await);
    Err(failure)
}

/// What the fence and the guard wrote to stderr, which is nothing while all is well.
async fn helpers_last_words(engine: &Engine, workflow: &Workflow) -> Vec<String> {
    let mut all = Vec::new();
    for role in [Role::Fence, Role::Guard] {
        let words = last_words(engine, &workflow.object(role)).await;
        all.extend(words.into_iter().map(|line| format!("{role}: {line}")));
    }
    all
}

async fn last_words(engine: &Engine, container: &str) -> Vec<String> {
    let options = LogsOptions { stderr: true, stdout: false, tail: "20".to_owned(), ..Default::default() };
    let chunks: Vec<_> = engine.api.logs(container, Some(options)).collect().await;
    let bytes: Vec<u8> = chunks.into_iter().flatten().flat_map(|chunk| chunk.into_bytes().to_vec()).collect();
    String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
}

/// The exit status of a container, when it has ended; -1 when the engine cannot say any more.
async fn exit_of(engine: &Engine, container: &str) -> i64 {
    let mut answers = engine.api.wait_container(container, None).boxed();
    match answers.next().await {
        Some(Ok(answer)) => answer.status_code,
        Some(Err(ApiError::DockerContainerWaitError { code, .. })) => code,
        Some(Err(_)) | None => -1,
    }
}

/// A run whose agent has been started.
struct Running {
    carrying: tokio::task::JoinHandle<()>,
    sizing: Option<tokio::task::JoinHandle<()>>,
    terminal: Option<streams::RawTerminal>,
    collecting: Option<tokio::task::JoinHandle<Summary>>,
    summary: Option<Summary>,
}

impl Running {
    async fn supervise(
        &mut self,
        engine: &Engine,
        workflow: &Workflow,
        request: &Request,
        signals: &mut Signals,
    ) -> Result<Ended, Failure> {
        let names = [Role::Agent, Role::Guard, Role::Fence].map(|role| workflow.object(role));
        let agent_exit = exit_of(engine, &names[0]);
        let guard_exit = exit_of(engine, &names[1]);
        let fence_exit = exit_of(engine, &names[2]);
        let time_over = async {
            match request.time {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(agent_exit, guard_exit, fence_exit, time_over);
        let mut last_interrupt: Option<Instant> = None;
        let helper_died = |who: &str, status: i64| {
            Ended::because(FENCE_ENDED, format!("the {who} ended with status {status}, so the run was ended"))
        };
        loop {
            let ended = tokio::select! {
                // The agent's own end comes first: at the end of a run all may end at once.
                biased;
                status = &mut agent_exit => {
                    if status < 0 {
                        Ended::because(FENCE_ENDED, "the engine does not answer for the agent any more")
                    } else {
                        self.drain().await;
                        Ended::with(status as i32)
                    }
                }
                status = &mut guard_exit => helper_died("guard", status),
                status = &mut fence_exit => helper_died("fence", status),
                () = &mut time_over => Ended::because(TIME_OVER, "the time is over (--time, or container.time of a policy), so the run was ended"),
                number = signals.next() => {
                    let now = Instant::now();
                    let twice = number == SIGINT
                        && last_interrupt.replace(now).is_some_and(|last| now - last < DOUBLE_INTERRUPT);
                    let name = if twice { "KILL" } else { signal_name(number) };
                    let options = KillContainerOptions { signal: name.to_owned() };
                    // The agent may have ended just now; its exit is seen in the next round.
                    let _ = engine.api.kill_container(&names[0], Some(options)).await;
                    continue;
                }
            };
            return Ok(ended);
        }
    }

    /// The agent's last output may still be under way when its exit is known.
    async fn drain(&mut self) {
        let _ = tokio::time::timeout(Duration::from_secs(5), &mut self.carrying).await;
    }

    /// Ends the agent if it still runs, then the guard, so that its last events are written.
    async fn close(&mut self, engine: &Engine, workflow: &Workflow) {
        let kill = |role: Role, signal: &str| {
            let options = KillContainerOptions { signal: signal.to_owned() };
            let name = workflow.object(role);
            // Either may have ended by itself; what stays is found by the removal, which tells.
            async move { engine.api.kill_container(&name, Some(options)).await.map(|_| ()) }.map(|_| ())
        };
        kill(Role::Agent, "KILL").await;
        kill(Role::Guard, "TERM").await;
        if let Some(collecting) = self.collecting.take() {
            self.summary =
                tokio::time::timeout(Duration::from_secs(3), collecting).await.ok().and_then(Result::ok);
        }
        self.carrying.abort();
        if let Some(sizing) = self.sizing.take() {
            sizing.abort();
        }
        self.terminal = None;
    }
}

/// Where the guard's lines go.
struct EventFiles {
    files: Vec<(PathBuf, std::fs::File)>,
}

impl EventFiles {
    fn open(id: &str, also: Option<&std::path::Path>) -> Result<Self, Failure> {
        let mut files = Vec::new();
        for path in std::iter::once(state::events_file(id)?).chain(also.map(PathBuf::from)) {
            let file = std::fs::File::create(&path).map_err(|error| {
                Failure::new(COULD_NOT_RUN, format!("cannot write events to {}", path.display()))
                    .caused_by(&error)
            })?;
            files.push((path, file));
        }
        Ok(EventFiles { files })
    }

    /// Writes each line to the files and counts it; says when the guard is ready.
    async fn collect(
        mut self,
        mut output: std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<LogOutput, ApiError>> + Send>>,
        ready: oneshot::Sender<()>,
    ) -> Summary {
        let mut ready = Some(ready);
        let mut summary = Summary::default();
        let mut pending = Vec::new();
        while let Some(Ok(chunk)) = output.next().await {
            let LogOutput::StdOut { message } = chunk else { continue };
            pending.extend_from_slice(&message);
            while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = pending.drain(..=end).collect();
                self.write(&line);
                let Ok(event) = serde_json::from_slice::<Seen>(&line) else { continue };
                let is_ready = event.kind == "lifecycle" && event.reason.as_deref() == Some("ready");
                if let Some(ready) = ready.take_if(|_| is_ready) {
                    // The run may have been given up meanwhile.
                    let _ = ready.send(());
                }
                summary.add(&event);
            }
        }
        summary
    }

    /// A full disk must not end the reading: the guard would block. It is told once a file.
    fn write(&mut self, line: &[u8]) {
        use std::io::Write;
        self.files.retain_mut(|(path, file)| match file.write_all(line) {
            Ok(()) => true,
            Err(error) => {
                eprintln!("ringfence: events are no longer written to {}: {error}", path.display());
                false
            }
        });
    }
}

const SIGINT: i32 = 2;

fn signal_name(number: i32) -> &'static str {
    match number {
        1 => "HUP",
        SIGINT => "INT",
        3 => "QUIT",
        _ => "TERM",
    }
}

/// The signals that are passed on to the agent.
struct Signals {
    send: mpsc::UnboundedSender<i32>,
    received: mpsc::UnboundedReceiver<i32>,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let (send, received) = mpsc::unbounded_channel();
        for number in [1, SIGINT, 3, 15] {
            let mut stream: Signal = signal(SignalKind::from_raw(number)).map_err(|error| {
                Failure::new(COULD_NOT_RUN, "cannot listen for signals").caused_by(&error)
            })?;
            let send = send.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    if send.send(number).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Signals { send, received })
    }

    /// Has a signal noticed again, by the next who waits.
    fn again(&self, number: i32) {
        // The receiver is this very value's.
        let _ = self.send.send(number);
    }

    async fn next(&mut self) -> i32 {
        match self.received.recv().await {
            Some(number) => number,
            None => std::future::pending().await,
        }
    }
}

/// How long each step took, for `--timings`.
struct Clock {
    wanted: bool,
    last: Instant,
    steps: Vec<(&'static str, Duration)>,
}

impl Clock {
    fn new(wanted: bool) -> Self {
        Clock { wanted, last: Instant::now(), steps: Vec::new() }
    }

    fn step(&mut self, name: &'static str) {
        let now = Instant::now();
        self.steps.push((name, now - self.last));
        self.last = now;
    }

    fn print(&self) {
        if self.wanted {
            for (name, time) in &self.steps {
                eprintln!("ringfence: {:>8.1} ms  {name}", time.as_secs_f64() * 1e3);
            }
        }
    }
}

/// Whether an address is one of this machine's own: used to tell a local engine from a remote one.
pub fn is_local_host(host: &str) -> bool {
    host.starts_with("unix://") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
