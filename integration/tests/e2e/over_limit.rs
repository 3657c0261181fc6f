//! Permitted questions and connections beyond a rate of the fence: they wait, and nobody gives up.
//!
//! ```text
//!  flood ─▶ the limit is met ─┬─ a resolver's question: silence ─ the flood ends ─▶ asked again ─▶ answered
//!                             └─ 8,000 connections at once: 4,000 now, the others seconds later
//! ```

use anyhow::Result;
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status};

pub(crate) const TESTS: &[Test] = &[
    ("a resolver over the limit asks again and is answered", resolver),
    ("connections over the rate are made a little later", connections),
];

/// Floods the filter until five lookups of the C library wait at once; then ends the flood. `dig`
/// asks meanwhile too.
const RESOLVER: &str = "\
import multiprocessing, socket, subprocess, threading, time
def flood(sent):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('198.51.100.53', 53))
    while True:
        for _ in range(1000):
            try: s.send(b'x')
            except OSError: pass
        sent.value += 1000
sent = multiprocessing.Value('q')
flooding = multiprocessing.Process(target=flood, args=(sent,), daemon=True); flooding.start()
end = time.monotonic() + 60
while sent.value < 50000 and time.monotonic() < end: time.sleep(0.01)
found = []
def look():
    try: found.append(socket.gethostbyname('a.test'))
    except OSError as error: found.append(str(error))
threads, waiting = [], 0
dig = subprocess.Popen(['dig', '+short', '+tries=4', '+time=4', '@198.51.100.53', 'a.test'], stdout=subprocess.PIPE, text=True)
while waiting < 5 and len(threads) < 200:
    thread = threading.Thread(target=look); thread.start(); threads.append(thread)
    thread.join(0.2)
    waiting = sum(thread.is_alive() for thread in threads)
flooding.terminate(); flooding.join()
print('waited', waiting)
for thread in threads: thread.join()
good = sum(one.startswith('25.0.') for one in found)
print('found', good == len(threads) or sorted(set(found)))
# Before the answer dig says of each try that nothing came.
print('dig', ([''] + dig.communicate()[0].split())[-1])
";

fn resolver(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.allowing(&["a.test"])?;
    let outcome = bed.ringfence.run(&policy, &[], &bed.images.agent, &["python3", "-u", "-c", RESOLVER])?;
    expect_status(&outcome, 0)?;
    expect(
        outcome.stdout.starts_with("waited 5\nfound True\ndig 25.0."),
        "every lookup is answered in the end",
        &outcome,
    )?;
    // What the limit kept back is counted, whatever its name.
    let is_limit = |event: &&serde_json::Value| {
        event["limit"].as_str().is_some_and(|limit| limit.contains("DNS questions in a moment"))
    };
    // The lookups to another address have a line of their own.
    let limited = outcome.events.iter().filter(is_limit);
    let kept_back: u64 = limited.filter_map(|event| event["left_out"].as_u64()).sum();
    expect(kept_back > 1000, "the flood is told", &outcome)
}

/// Connects eight thousand times at once, and has a byte back on each connection.
const CONNECTIONS: &str = "\
import resource, selectors, socket, time
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
to = socket.getaddrinfo('echo.test', 7778, socket.AF_INET, socket.SOCK_STREAM)[0][4]
every = selectors.DefaultSelector(); begin = time.monotonic()
for _ in range(8000):
    s = socket.socket(); s.setblocking(False); s.connect_ex(to)
    every.register(s, selectors.EVENT_WRITE)
served, failed, later = 0, {}, 0
while every.get_map() and time.monotonic() - begin < 100:
    for key, events in every.select(1):
        s = key.fileobj
        try:
            if events & selectors.EVENT_WRITE:
                s.send(b'x'); later += time.monotonic() - begin > 0.9
                every.modify(s, selectors.EVENT_READ)
                continue
            if s.recv(1) != b'x': raise ConnectionError('closed')
            served += 1
        except OSError as error: failed[str(error)] = failed.get(str(error), 0) + 1
        every.unregister(s)
print('served', served, failed, later > 0)
";

fn connections(bed: &Testbed) -> Result<()> {
    let policy = bed.ringfence.with_most_connections(bed.ringfence.allowing(&["echo.test:7778/tcp"])?)?;
    let options = ["--memory", "2GiB"];
    let script = ["python3", "-u", "-c", CONNECTIONS];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &script)?;
    expect_status(&outcome, 0)?;
    // Not with the events, which are sixteen thousand.
    anyhow::ensure!(
        outcome.stdout == "served 8000 {} True\n",
        "every connection is made\n{}\n{}",
        outcome.stdout,
        outcome.stderr
    );
    Ok(())
}
