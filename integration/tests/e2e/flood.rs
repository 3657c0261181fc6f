//! A flood in one run, and the requests of another run beside it, which go on in bounds.
//!
//! ```text
//!  run 1: a request, a pause, a request, …      at rest ─▶ median     beside the flood ─▶ median    } the ratio
//!  run 2: names, hellos and requests, refused           ─▶ its guard's own time on the CPU          } the limit
//! ```

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::ringfence::Running;
use integration::testbed::Testbed;

use crate::{Test, failing};

pub(crate) const TESTS: &[Test] = &[("requests of one run go on in bounds beside a flood in another", flood)];

/// The flooding agent's limit, in CPUs: less than its guard's, whose work for a question is the
/// dearer one.
const AGENT: &str = "0.75";
/// The lowest limit of a guard, in CPUs. Two cores alone do not show that the limit is what holds
/// it: without it the guard of an agent this small took no more.
const GUARD: f64 = 1.0;
/// Room for what is counted before and after the time is taken, and for a period of the kernel's
/// count, which begins at once.
const ROOM: f64 = 0.1;
/// A guard that takes less was not flooded, or other work kept the machine busy.
const FLOODED: f64 = 0.05;
/// The bound of the median beside the flood: so many times the median at rest, and so many
/// milliseconds on top of it.
const TIMES: f64 = 8.0;
const MORE: f64 = 60.0;

/// Requests with a pause between them, each a new question and a new connection, in two phases.
const STEADY: &str = "\
import os, time, urllib.request
for phase in ('rest', 'flooded'):
    while not os.path.exists('/workspace/' + phase): time.sleep(0.05)
    times = []
    for _ in range(80):
        began = time.monotonic()
        assert urllib.request.urlopen('http://plain.test/', timeout=20).read()
        times.append((time.monotonic() - began) * 1000)
        time.sleep(0.03)
    times.sort()
    print(phase, times[len(times) // 2], times[-1], flush=True)
";

/// Refused names, refused names in hellos and refused hosts in requests, each by a process of its
/// own, until it is stopped.
const FLOOD: &str = "\
import ctypes, multiprocessing, socket, ssl, struct, time
resolver = (open('/etc/resolv.conf').read().split('nameserver ')[1].split()[0], 53)
questions = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
questions.connect(resolver)
# Each about a name of its own, many by one call of the system: the guard's part is the dearer one.
ALL, MANY = 65536, 1024
def question(n):
    return struct.pack('>6H', n, 256, 1, 0, 0, 0) + b'\\5%05d\\5other\\4test\\0\\0\\1\\0\\1' % n
class Part(ctypes.Structure): _fields_ = [('base', ctypes.c_char_p), ('len', ctypes.c_size_t)]
class Message(ctypes.Structure):
    _fields_ = [('name', ctypes.c_void_p), ('name_len', ctypes.c_uint), ('parts', ctypes.POINTER(Part)),
                ('count', ctypes.c_size_t), ('control', ctypes.c_void_p), ('control_len', ctypes.c_size_t),
                ('flags', ctypes.c_int), ('sent', ctypes.c_uint)]
parts = [Part(question(n), len(question(n))) for n in range(ALL)]
messages = (Message * ALL)(*[Message(parts=ctypes.pointer(part), count=1) for part in parts])
libc = ctypes.CDLL(None)
def ask(n): libc.sendmmsg(questions.fileno(), ctypes.byref(messages[n * MANY % ALL]), MANY, 0)
stream = b''.join(struct.pack('>H', len(question(n))) + question(n) for n in range(ALL // 8))
def ask_by_tcp(n):
    with socket.create_connection(resolver, 5) as s:
        s.settimeout(0.2)
        s.sendall(stream[:16384])
        while s.recv(65536): s.sendall(stream)
def hello():
    out = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname='other.test')
    try: client.do_handshake()
    except ssl.SSLWantReadError: return out.read()
hello = hello()
headers = b''.join(b'x-header-%d: %s\\r\\n' % (i, b'y' * 60) for i in range(60))
request = b'GET / HTTP/1.1\\r\\nHost: other.test\\r\\n' + headers + b'\\r\\n'
address = socket.gethostbyname('plain.test')
def say(port, first):
    time.sleep(0.01)  # what follows costs the agent more than the guard
    with socket.create_connection((address, port), 5) as s:
        s.settimeout(5)
        s.sendall(first)
        while s.recv(4096): pass
def work(what, done):
    n = 0
    while True:
        try: what(n)
        except OSError: time.sleep(0.005)
        n += 1; done.value = n
ways = [ask, ask_by_tcp, ask_by_tcp, lambda n: say(443, hello), lambda n: say(80, request)]
all = [(what, multiprocessing.Value('q')) for what in ways]
for what, done in all: multiprocessing.Process(target=work, args=(what, done), daemon=True).start()
began = False
while True:
    time.sleep(0.5)
    counts = [done.value for _, done in all]
    began = began or min(counts) > 9
    print('flooding' if began else 'begins', *counts, flush=True)
";

fn flood(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["plain.test:80"])?;
    let project = bed.fresh_directory("flood")?;
    let options = ["--project", project.to_str().context("a path")?];
    let python = |script| ["python3", "-u", "-c", script];
    let mut steady = bed.ringfence.start(&policy, &options, &bed.images.agent, &python(STEADY))?;
    let rest = phase(&mut steady, &project, "rest")?;
    // It may speak to both ports, so that what is refused is what the guard reads there.
    let policy = bed.ringfence.allowing(&["plain.test:80", "plain.test:443"])?;
    let options = ["--quiet", "--cpus", AGENT];
    let mut flooding = bed.ringfence.start(&policy, &options, &bed.images.agent, &python(FLOOD))?;
    flooding.wait_for_line("flooding", Duration::from_secs(60))?;
    let guard = guard_of(bed, &flooding)?;
    let (began, before) = (Instant::now(), on_cpu(&guard)?);
    let flooded = phase(&mut steady, &project, "flooded")?;
    let share = (on_cpu(&guard)? - before).as_secs_f64() / began.elapsed().as_secs_f64();
    let counts = flooding.lines().pop().unwrap_or_default();
    failing::end(bed, flooding)?;
    failing::end(bed, steady)?;
    let figures = format!(
        "median and worst at rest {rest:.1?} ms, beside the flood {flooded:.1?} ms; the flooded guard \
         took {share:.2} CPUs; {counts}"
    );
    eprintln!("{figures}");
    ensure!(counts.starts_with("flooding"), "the flood went on: {figures}");
    ensure!(share >= FLOODED, "the guard had work: {figures}");
    ensure!(share <= GUARD + ROOM, "the guard took more than its limit: {figures}");
    ensure!(flooded.0 <= rest.0 * TIMES + MORE, "the other run was slowed down: {figures}");
    Ok(())
}

/// Lets the steady run begin a phase, and waits for its end: the median and the longest, in
/// milliseconds.
fn phase(steady: &mut Running, project: &Path, name: &str) -> Result<(f64, f64)> {
    fs::write(project.join(name), "")?;
    steady.wait_for_line(&format!("{name} "), Duration::from_secs(100))?;
    let line = steady.lines().into_iter().find(|line| line.starts_with(name)).context("the line")?;
    let mut numbers = line.split(' ').skip(1).map(str::parse);
    Ok((numbers.next().context("median")??, numbers.next().context("longest")??))
}

/// The process of a run's guard.
fn guard_of(bed: &Testbed, run: &Running) -> Result<String> {
    let name = format!("label=dev.ringfence.name={}", run.name);
    let filters = ["--filter", "label=dev.ringfence.role=guard", "--filter", &name];
    let guard = bed.engine.docker(&[&["ps", "--quiet"][..], &filters].concat())?;
    let process = bed.engine.docker(&["inspect", "--format", "{{.State.Pid}}", guard.trim()])?;
    Ok(process.trim().to_owned())
}

/// Reads the time that a process was on a CPU so far, with all its threads.
fn on_cpu(process: &str) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = text.rsplit_once(") ").context("no name")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    // A tick is a hundredth of a second for every reader of /proc.
    Ok(Duration::from_millis(ticks * 10))
}
