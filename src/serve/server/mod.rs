//! The server: connections of clients, and what each request comes to.
//!
//! ```text
//!  socket ─▶ same user? ─▶ hyper ─▶ request::read ─▶ ApiCall ─▶ a handler ─▶ answer, or the refusal's words
//! ```
//! All of it lives on one thread. Looks at paths of clients have threads of their own.

mod adopt;
mod archive;
mod containers;
mod copies;
mod create;
mod ends;
mod events;
mod execs;
mod fences;
mod files;
mod fill_record;
mod found;
mod http;
mod image_links;
mod leftovers;
mod made;
mod members;
mod once_per_key;
mod published;
mod records;
pub(crate) mod service_manager;
mod shown;
mod socket;
mod start;
mod state;
mod streams;
mod system;
mod uncovered;
mod volume_holds;
mod volumes;
mod whole_answers;
mod work;

use std::convert::Infallible;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Request, server, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use netpolicy::policy::Policy;
use sha2::{Digest as _, Sha256};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use self::containers::Received;
use self::files::Ground;
use self::fill_record::FillRecord;
use self::http::{Answer, EngineHttp, denied};
use self::records::NetworkRecords;
use self::socket::ServeSocket;
use self::state::{Facts, RootSpelling, Serving};
use self::streams::Place;
use super::decide::facts::ProjectRoot;
use super::decide::{connect, disconnect, network, volume};
use super::denied::Denied;
use super::request::calls::{ApiCall, BodyKind, LONGEST_BODY, NetworkCall};
use super::request::fields::read as read_body;
use super::request::route;
use super::request::version::ApiMinor;
use crate::host::state::folder;
use crate::layers::Wanted;
use crate::serve::decide::facts::CreateAsk;
use crate::supervisor::engine::Engine;
use crate::supervisor::run::checks::cpus;
use crate::supervisor::signals::interrupt::until_signal;
use crate::supervisor::signals::{Signals, status_of_signal};
use crate::supervisor::spec::limits::Asked;
use crate::term::{COULD_NOT_RUN, Failure};
use crate::workspace::machine::Machine;
use crate::workspace::masks::Wishes;
use crate::workspace::mounts::Identity;

/// Connections at once.
const CONNECTIONS: usize = 512;
/// The body of a request that is refused is read for this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time in which a client says what it wants.
const SILENCE: Duration = Duration::from_secs(60);
/// Names of groups that own the engine or the machine's devices.
const GROUPS: [&str; 12] =
    ["docker", "podman", "disk", "kvm", "libvirt", "lxd", "incus", "wheel", "sudo", "adm", "shadow", "root"];

/// A `serve` as it was asked for, checked as far as it can be.
pub(crate) struct ServeRequest {
    /// The engine.
    pub(crate) engine: Engine,
    /// The path of the socket, if one was named.
    pub(crate) socket: Option<PathBuf>,
    /// The socket, if a service manager handed one over.
    pub(crate) handed: Option<std::os::unix::net::UnixListener>,
    /// The policy of every fence.
    pub(crate) policy: Policy,
    /// The origin of that policy.
    pub(crate) layers: Wanted,
    /// Directories below which files are given, without links.
    pub(crate) roots: Vec<PathBuf>,
    /// Paths by which the person named them, absolute.
    pub(crate) named: Vec<PathBuf>,
    /// Limits of one container.
    pub(crate) limits: Asked,
    /// The policy's wishes about covers.
    pub(crate) wishes: Wishes,
    /// This machine.
    pub(crate) machine: Machine,
}

/// Serves until a signal comes; the exit status.
///
/// # Errors
/// When it cannot begin.
pub(crate) async fn serve(request: ServeRequest, signals: &mut Signals) -> Result<u8, Failure> {
    LocalSet::new().run_until(serve_here(request, signals)).await
}

async fn serve_here(mut request: ServeRequest, signals: &mut Signals) -> Result<u8, Failure> {
    let socket = ServeSocket::find(request.socket.as_deref(), request.handed.take())?;
    let path = socket.path.clone();
    let id = id_of(&path);
    let own = folder("serve")?.join(&id);
    fs::create_dir_all(&own).map_err(|error| cannot(&own, &error))?;
    let _held = hold(&own)?;
    let networks = NetworkRecords::read(&own)?;
    let fills = FillRecord::read(&own)?;
    let elsewhere = || {
        Failure::new(COULD_NOT_RUN, "serve works with an engine whose socket is on this machine")
            .hint("name it: ringfence --engine unix:///run/docker.sock serve")
    };
    let engine = EngineHttp::new(request.engine.socket().ok_or_else(elsewhere)?.to_owned());
    let listener = socket.listen()?;
    service_manager::status("looking for containers of an earlier serve");
    let serving = Serving::new(facts(request, &path, id, own)?, engine, networks, fills);
    let found = until_signal(signals, async {
        // What a member has was filled, and is left no more.
        serving.find_again().await?;
        serving.find_left_volumes().await?;
        serving.sweep().await
    })
    .await;
    if found.is_ok() {
        let words = format!("serving at unix://{}", path.display());
        crate::term::talk(&words);
        service_manager::ready(&words);
        tokio::task::spawn_local(Rc::clone(&serving).follow());
        tokio::select! {
            () = accept(&serving, listener) => {}
            _ = signals.next() => {}
        }
    }
    service_manager::stopping();
    // A client that comes now finds nobody.
    socket.leave();
    found?;
    tokio::select! {
        () = serving.leave() => Ok(0),
        number = signals.next() => {
            crate::term::essential(format_args!(
                "ended at once; `ringfence serve` at the same socket and `ringfence gc` find what is left"
            ));
            Ok(status_of_signal(number))
        }
    }
}

/// Gathers what does not change.
fn facts(request: ServeRequest, path: &Path, id: String, own: PathBuf) -> Result<Facts, Failure> {
    let ServeRequest { engine, policy, layers, roots, named, limits, wishes, mut machine, .. } = request;
    let spellings = Arc::new(RootSpelling::all(&roots, &named));
    let minor = u8::try_from(engine.api_minor()).unwrap_or(u8::MAX);
    let asked = limits;
    let limits = asked.within(&policy, cpus(&engine.info))?;
    // The own socket is nobody's to mount, as the engine's.
    machine.sockets.extend(identity(path));
    let given = roots.iter().map(|path| ProjectRoot { path: path.clone(), writable: true }).collect();
    let files = Arc::new(Ground { roots, wishes, machine, engine: engine.host.clone() });
    Ok(Facts {
        denied_groups: denied_groups(&engine),
        engine,
        version: ApiMinor(minor),
        id,
        folder: own,
        socket: path.to_owned(),
        policy,
        layers,
        asked,
        limits,
        roots: given,
        spellings,
        files,
    })
}

fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    let found = fs::symlink_metadata(path).ok()?;
    Some(Identity { device: found.dev(), inode: found.ino() })
}

/// Lists the numbers of groups that no container's user gets.
fn denied_groups(engine: &Engine) -> Vec<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let number = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let number = fields.nth(1)?.parse().ok()?;
        GROUPS.contains(&name).then_some(number)
    };
    let of_socket = engine.socket().and_then(|socket| fs::metadata(socket).ok()).map(|found| found.gid());
    groups.lines().filter_map(number).chain(of_socket).chain([0]).collect()
}

/// Returns the id of a `serve`: the same for the same socket and person.
fn id_of(path: &Path) -> String {
    let person = rustix::process::getuid().as_raw();
    let digest = Sha256::digest(format!("{person} {}", path.display()));
    hex::encode(&digest[..4])
}

/// Keeps a second `serve` away from the same socket.
fn hold(own: &Path) -> Result<fs::File, Failure> {
    let path = own.join("lock");
    let file = fs::File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| cannot(&path, &error))?;
    file.try_lock().map_err(|_| {
        Failure::new(COULD_NOT_RUN, "another `ringfence serve` has this socket")
            .hint("end that one, or name another path: --socket PATH")
    })?;
    Ok(file)
}

fn cannot(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(COULD_NOT_RUN, format!("cannot write {}", path.display())).caused_by(error)
}

/// Takes connections, so many at once.
async fn accept(serving: &Rc<Serving>, listener: UnixListener) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        if !socket::is_permitted(&client).unwrap_or(false) {
            continue;
        }
        tokio::task::spawn_local(speak(Rc::clone(serving), client, Rc::new(place)));
    }
}

/// Answers one client, request by request.
async fn speak(serving: Rc<Serving>, client: UnixStream, place: Place) {
    let answer = service_fn(move |request| answer(Rc::clone(&serving), request, Rc::clone(&place)));
    let _ = connection_rules().serve_connection(TokioIo::new(client), answer).with_upgrades().await;
}

/// Returns the rules of a client's connection: one that says nothing gives its place back, and a
/// client that goes away ends what it waits for.
fn connection_rules() -> server::conn::http1::Builder {
    let mut rules = server::conn::http1::Builder::new();
    rules.timer(TokioTimer::new()).header_read_timeout(SILENCE).half_close(false);
    rules
}

async fn answer(
    serving: Rc<Serving>,
    request: Request<Incoming>,
    place: Place,
) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let words = format!("{} {}", head.method, head.uri.path());
    let mut answer = serving.answer(head, body, place).await.unwrap_or_else(|refusal| {
        if refusal.message.starts_with("ringfence: ") {
            let words = crate::term::line(&format!("{words}: {} {}", refusal.status, refusal.message));
            crate::term::talk(words);
        }
        denied(&refusal)
    });
    let headers = answer.headers_mut();
    let version = ApiMinor::served(serving.facts.version).to_string();
    if let Ok(version) = HeaderValue::from_str(&version) {
        headers.insert("api-version", version);
    }
    for (name, value) in [("ostype", "linux"), ("docker-experimental", "false"), ("builder-version", "1")] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry("server").or_insert(HeaderValue::from_static("ringfence"));
    Ok(answer)
}

/// Reads a JSON body, so much of it, within a time.
async fn collect(body: Incoming) -> Result<Bytes, Denied> {
    let whole = tokio::time::timeout(SILENCE, Limited::new(body, LONGEST_BODY).collect()).await;
    let late = |_| Denied::new(408, format!("the body did not come within {} seconds", SILENCE.as_secs()));
    Ok(whole.map_err(late)?.map_err(|_| Denied::too_long(LONGEST_BODY))?.to_bytes())
}

impl Serving {
    /// Carries out one request.
    async fn answer(self: &Rc<Self>, head: Parts, body: Incoming, place: Place) -> Result<Answer, Denied> {
        let target = head.uri.to_string();
        let read = route::read(head.method.as_str(), &target, self.facts.version);
        let request = match read {
            Ok(request) => request,
            Err(refusal) => {
                // A client that is still sending reads no answer.
                let _ = tokio::time::timeout(PATIENCE, collect(body)).await;
                return Err(refusal);
            }
        };
        let version = request.version;
        let (json, tar) = match request.call.body() {
            BodyKind::Tar => (Bytes::new(), Some(body)),
            // What comes with a call that has none is read, so that the connection lives, and
            // goes nowhere.
            BodyKind::Json | BodyKind::Nothing => (collect(body).await?, None),
        };
        self.carry_out(&request.call, Received { head, json, tar, version, place }).await
    }

    async fn carry_out(self: &Rc<Self>, call: &ApiCall, received: Received) -> Result<Answer, Denied> {
        let version = received.version;
        match call {
            ApiCall::Ping => Ok(Serving::ping()),
            ApiCall::Version => self.version(version).await,
            ApiCall::Info => self.info(version).await,
            ApiCall::DiskUse => self.disk_use(version).await,
            ApiCall::Events { since, until, filters } => {
                self.events(since.clone(), until.clone(), filters.clone(), version).await
            }
            ApiCall::Containers { all, limit, filters } => {
                let (all, place) = self.containers(*all, *limit, filters, version).await?;
                Ok(place.answer(all.into()).await)
            }
            ApiCall::CreateContainer { name, platform } => {
                // Read once there is room for the work: bodies that wait are short, types are not.
                let (name, platform) = (name.clone(), platform.clone());
                self.to_its_end(|serving| async move {
                    let ask = CreateAsk { name, platform, taken: read_body(&received.json)? };
                    serving.create(ask, version).await
                })
                .await
            }
            ApiCall::PruneContainers(filters) => self.prune(filters, version).await,
            ApiCall::Container(of, call) => self.container(of.as_str(), call, received).await,
            ApiCall::Exec(id, call) => self.exec(id.as_str(), call, received).await,
            ApiCall::Images { all, digests, shared_size, filters } => {
                let mut query = vec![("filters", filters.json())];
                for (name, set) in [("all", all), ("digests", digests), ("shared-size", shared_size)] {
                    query.extend(set.then(|| (name, "1".to_owned())));
                }
                self.images(&query, version).await
            }
            ApiCall::InspectImage(of) => self.image(of, version).await,
            ApiCall::ImageHistory(of) => self.history(of, version).await,
            ApiCall::Pull { image, platform } => self.pull(image, platform.as_ref(), version).await,
            ApiCall::PruneImages => Ok(system::pruned_images()),
            ApiCall::Networks(filters) => self.networks(filters).await,
            ApiCall::CreateNetwork => {
                let taken = read_body(&received.json)?;
                self.create_network(network(&taken)?, taken.warnings).await
            }
            ApiCall::PruneNetworks(filters) => self.prune_networks(filters).await,
            ApiCall::Network(of, NetworkCall::Connect) => {
                self.connect(of.as_str(), &connect(&read_body(&received.json)?)?).await
            }
            ApiCall::Network(of, NetworkCall::Disconnect) => {
                self.disconnect(of.as_str(), &disconnect(&read_body(&received.json)?)?).await
            }
            ApiCall::Network(of, call) => self.network(of.as_str(), *call).await,
            ApiCall::Volumes(filters) => self.volumes(filters).await,
            ApiCall::CreateVolume => self.create_volume(volume(&read_body(&received.json)?)?).await,
            ApiCall::PruneVolumes(filters) => self.prune_volumes(filters, version).await,
            ApiCall::InspectVolume(of) => Ok(http::json(200, &self.volume(of.as_str()).await?)),
            ApiCall::RemoveVolume { of, force } => self.remove_volume(of.as_str(), *force).await,
        }
    }

    /// Lets go of everything: fences without members go, the others stay, with their guards.
    async fn leave(self: &Rc<Self>) {
        // What clients have begun comes to its end, and nobody begins anything else.
        self.work.close();
        self.work.done().await;
        self.look_at_all(self.facts.version).await;
        let fences = self.all_fences.borrow().clone();
        for fence in fences {
            if self.is_free(&fence) {
                self.remove_fence(&fence).await;
            }
        }
        self.work.done().await;
        let left = self.members.borrow().len();
        if left > 0 {
            crate::term::talk(format_args!(
                "containers that stay in their fences: {left}; `ringfence serve` at the same socket finds them again"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_ends_and_one_that_waits_for_its_answer_does_not() {
        let slow = || {
            service_fn(|_: Request<Incoming>| async {
                sleep(SILENCE * 10).await;
                Ok::<_, Infallible>(http::nothing(204))
            })
        };
        for said in ["", "GET /_ping HTTP/1.1\r\nHost: d"] {
            let (mut client, own) = UnixStream::pair().unwrap();
            client.write_all(said.as_bytes()).await.unwrap();
            let began = Instant::now();
            let _ = connection_rules().serve_connection(TokioIo::new(own), slow()).await;
            assert!((SILENCE..SILENCE * 2).contains(&began.elapsed()), "{said:?}: {:?}", began.elapsed());
        }
        let (mut client, own) = UnixStream::pair().unwrap();
        let serving = connection_rules().serve_connection(TokioIo::new(own), slow());
        let asking = async {
            let ask = b"POST /wait HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n";
            client.write_all(ask).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let (served, answer) = tokio::join!(serving, asking);
        assert!(served.is_ok() && answer.starts_with("HTTP/1.1 204"), "{served:?} {answer}");
    }
}
