//! The person's ssh agent in the fence: git over ssh at a permitted server, and no other use of the
//! person's keys.
//!
//! ```text
//!  ssh-agent with two keys ◀─ ringfence ◀─ the agent's git ─▶ OpenSSH on the loopback: 2226, known, binds logins
//!                                                         ├─▶ dropbear: 2222, known, binds none
//!                                                         └─▶ dropbear: 2224, permitted and not known
//! ```

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::command::{Output, bounded, run, until};
use integration::ringfence::Running;
use integration::testbed::Testbed;
use integration::testbed::remote::Sshd;
use integration::testbed::setup::find;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::leftovers::only_the_uplink;
use crate::{Test, expect, text};

pub(crate) const TESTS: &[Test] = &[
    ("git over ssh works at a permitted server, for root and for another user", works),
    ("nothing else is asked of the person's agent", attacked),
    ("a cut, a denial and a silent agent of the person's", closed),
];

const LIMIT: Duration = Duration::from_secs(90);
/// The server's name and port, as the person's known hosts have it.
const SERVER: &str = "[host.docker.internal]:2226";
/// Name and port of the server whose logins name no server.
const PLAIN: &str = "[host.docker.internal]:2222";
/// The port of a server that is permitted, and not known.
const STRANGER: u16 = 2224;
const ALLOW: [&str; 3] = [
    "--allow=host.docker.internal:2222/loopback",
    "--allow=host.docker.internal:2224/loopback",
    "--allow=host.docker.internal:2226/loopback",
];

/// Clones, commits and pushes.
const WORK: &str = r#"set -e
id -u; ssh-add -l | sed 's/ SHA256:[^ ]*//' | sort
git clone -q "ssh://root@host.docker.internal:$PORT$REPOSITORY" /tmp/work; cd /tmp/work
git -c user.name=a -c user.email=a@b.test commit -q --allow-empty -m "by $(id -u)"
git push -q origin HEAD:main; echo pushed"#;

/// Asks for what an agent in a fence must not have, and says what it got. The person's machine runs
/// it too: there it gets everything.
const ATTACK: &str = r#"printf '#!/bin/sh\necho word\n' > $D/ask; chmod +x $D/ask; cd $D
export SSH_ASKPASS=$D/ask SSH_ASKPASS_REQUIRE=force
ssh-keygen -q -t ed25519 -N '' -f new
ssh-add -q new 2>/dev/null && echo "added a key"
ssh-add -L | head -n 1 > own.pub; echo content > file
ssh-keygen -q -Y sign -n file -f own.pub file 2>/dev/null && echo "signed a file"
ssh -p 2224 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes "root@$HOST" true 2>said && echo "logged in"
grep -q "Permission denied" said && echo "a login was refused"
ssh-add -q -x 2>/dev/null && echo "locked it" && ssh-add -q -X
ssh-add -q -d own.pub 2>/dev/null && echo "removed a key"
ssh-add -q -D 2>/dev/null && echo "removed all keys"
echo "keys left: $(ssh-add -L 2>/dev/null | grep -c -e ^ssh- -e ^ecdsa-)""#;

/// Tries what only the fenced agent can: to have the helper's folder.
const FOLDER: &str = r#"
folder=$(dirname "$SSH_AUTH_SOCK")
echo "known: $(cut -d' ' -f1 "$folder/known_hosts" | sort -u | tr '\n' ' ')"
(echo "* ssh-ed25519 AAAA" >> "$folder/known_hosts") 2>/dev/null && echo "wrote known hosts"
rm -f "$SSH_AUTH_SOCK" 2>/dev/null; test -S "$SSH_AUTH_SOCK" && echo "the socket stays""#;

/// Logs in once, keeps the requests of its ssh, and asks them again and again. Says the kinds of
/// the answers: 6 for success, 14 for a signature, 5 for a failure. After five changes many
/// connections ask without a pause.
const REPLAY: &str = r#"import os, socket, struct, subprocess, threading, time
real, seen = os.environ['SSH_AUTH_SOCK'], []
def exact(stream, length):
    data = b''
    while len(data) < length:
        more = stream.recv(length - len(data))
        if not more: raise EOFError
        data += more
    return data
def hear(stream): return exact(stream, struct.unpack('>I', exact(stream, 4))[0])
def say(stream, message): stream.sendall(struct.pack('>I', len(message)) + message)
def connect():
    stream = socket.socket(socket.AF_UNIX); stream.connect(real); return stream
def between(near):
    far = connect()
    try:
        while True:
            message = hear(near); seen.append(message); say(far, message); say(near, hear(far))
    except EOFError: pass
listener = socket.socket(socket.AF_UNIX); listener.bind('/tmp/between.sock'); listener.listen()
def accept():
    while True: threading.Thread(target=between, args=(listener.accept()[0],), daemon=True).start()
threading.Thread(target=accept, daemon=True).start()
words = os.environ['GIT_SSH_COMMAND'].split() + ['-p', '2226', 'root@host.docker.internal', 'true']
ended = subprocess.run(words, env=dict(os.environ, SSH_AUTH_SOCK='/tmp/between.sock'), capture_output=True)
print('login', ended.returncode, ended.stderr.decode() if ended.returncode else '', flush=True)
signing = [message for message in seen if message[0] == 13]
def ask(messages):
    stream = connect(); kinds = []
    for message in messages: say(stream, message); kinds.append(str(hear(stream)[0]))
    return ' '.join(kinds)
print('without a bound session', ask(signing[:1]), flush=True)
both = [message for message in seen if message[0] == 27][:1] + signing[:1]
last, changes = None, 0
while changes < 5:
    now = ask(both)
    if now != last: print('answers', now, flush=True); changes += 1
    last = now
    time.sleep(0.3)
def flood():
    while True:
        try: ask(both)
        except (EOFError, OSError): time.sleep(0.01)
for _ in range(16): threading.Thread(target=flood, daemon=True).start()
print('flood', flush=True)
time.sleep(600)
"#;

/// A process that ends with this value.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// An ssh agent of the person's, with keys.
struct PersonsAgent {
    daemon: Ending,
    socket: PathBuf,
}

impl PersonsAgent {
    fn start(folder: &Path, name: &str, keys: &[&Path]) -> Result<PersonsAgent> {
        let socket = folder.join(name);
        let daemon =
            Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn()?;
        let agent = PersonsAgent { daemon: Ending(daemon), socket };
        until("the person's agent listens", LIMIT, || agent.socket.exists())?;
        for key in keys {
            let added = agent.add(&["-q", text(key)?])?;
            ensure!(added.status.success(), "{added:?}");
        }
        Ok(agent)
    }

    fn add(&self, words: &[&str]) -> Result<Output> {
        bounded(Command::new("ssh-add").args(words).env("SSH_AUTH_SOCK", &self.socket), b"", LIMIT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.daemon.0.id())?;
        Ok(kill(Pid::from_raw(id), signal)?)
    }
}

/// A person with an ssh agent, known hosts and a repository at a server.
struct Person<'b> {
    bed: &'b Testbed,
    folder: PathBuf,
    home: PathBuf,
    repository: PathBuf,
    agent: PersonsAgent,
    policy: PathBuf,
    _servers: (Sshd, Ending, Ending),
}

impl<'b> Person<'b> {
    fn new(bed: &'b Testbed, test: &str) -> Result<Person<'b>> {
        let folder = bed.fresh_directory(&format!("ssh-agent-{test}"))?;
        let sshd = Sshd::start(&folder, bed.engine.host())?;
        let stranger = stranger(&folder)?;
        let (openssh, host_key) = openssh(&folder)?;
        let (key, other) = (folder.join("client-key"), folder.join("other-key"));
        run("ssh-keygen", &["-q", "-t", "ecdsa", "-N", "", "-f", text(&other)?], LIMIT)?;
        let agent = PersonsAgent::start(&folder, "agent.sock", &[&key, &other])?;
        let home = folder.join("home");
        std::fs::create_dir_all(home.join(".ssh"))?;
        let known = std::fs::read_to_string(folder.join("known_hosts"))?;
        let known = known.replace("[127.0.0.1]:2222", PLAIN);
        let known = format!("{known}{SERVER} {host_key}\nelsewhere.test ssh-ed25519 AAAA\n");
        let known_hosts = home.join(".ssh/known_hosts");
        std::fs::write(&known_hosts, known)?;
        // Names are hashed, as Debian does it.
        run("ssh-keygen", &["-q", "-H", "-f", text(&known_hosts)?], LIMIT)?;
        std::fs::remove_file(home.join(".ssh/known_hosts.old"))?;
        let repository = folder.join("repository.git");
        run("git", &["init", "-q", "--bare", "-b", "main", text(&repository)?], LIMIT)?;
        let policy = bed.ringfence.allowing(&[])?;
        Ok(Person { bed, folder, home, repository, agent, policy, _servers: (sshd, stranger, openssh) })
    }

    /// Returns `ringfence` with the person's surroundings.
    fn command(&self) -> Command {
        let mut command = self.bed.ringfence.command();
        command.env("SSH_AUTH_SOCK", &self.agent.socket).env("HOME", &self.home);
        command
    }

    fn start(&self, options: &[&str], agent: &[&str]) -> Result<Running> {
        let repository = format!("REPOSITORY={}", self.repository.display());
        let options = [&ALLOW[..], &["-e", &repository], options].concat();
        self.bed.ringfence.start_by(self.command(), &self.policy, &options, &self.bed.images.agent, agent)
    }

    /// Runs a script with the person's agent.
    fn run(&self, options: &[&str], script: &str) -> Result<integration::ringfence::Outcome> {
        self.start(&[&["--ssh-agent"], options].concat(), &["sh", "-c", script])?.finish(LIMIT)
    }

    /// The person's agent and files must be as they were.
    fn is_untouched(&self) -> Result<()> {
        let keys = self.agent.add(&["-L"])?;
        ensure!(keys.stdout.lines().count() == 2, "the person's keys: {keys:?}");
        let files = std::fs::read_dir(self.home.join(".ssh"))?.flatten().map(|file| file.file_name());
        ensure!(files.collect::<Vec<_>>() == ["known_hosts"], "nothing is written there");
        Ok(())
    }
}

/// Starts a server that takes the person's keys, with a host key that nobody knows.
fn stranger(folder: &Path) -> Result<Ending> {
    let key = folder.join("stranger-key");
    run("dropbearkey", &["-t", "ed25519", "-f", text(&key)?], LIMIT)?;
    let daemon = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "dropbear", "-F", "-E", "-s", "-p"])
        .arg(format!("127.0.0.1:{STRANGER}"))
        .arg("-r")
        .arg(&key)
        .arg("-P")
        .arg(folder.join("stranger-pid"))
        .stdin(Stdio::null())
        .stderr(File::create(folder.join("stranger-log"))?)
        .spawn()?;
    let daemon = Ending(daemon);
    let listens = || TcpStream::connect(("127.0.0.1", STRANGER)).is_ok();
    until("the stranger listens", LIMIT, listens)?;
    Ok(daemon)
}

/// Starts a server of OpenSSH that takes the same keys. Returns its host key.
fn openssh(folder: &Path) -> Result<(Ending, String)> {
    let (key, config) = (folder.join("openssh-key"), folder.join("sshd_config"));
    run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", text(&key)?], LIMIT)?;
    let words = format!(
        "ListenAddress 127.0.0.1\nPort 2226\nHostKey {}\nPidFile none\nUsePAM no\nStrictModes no\n\
         PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         AuthorizedKeysFile /root/.ssh/authorized_keys\n",
        key.display()
    );
    std::fs::write(&config, words)?;
    // It keeps nothing there, and wants the folder.
    std::fs::create_dir_all("/run/sshd")?;
    let daemon = Command::new("setpriv")
        .args(["--pdeathsig", "TERM"])
        .arg(find("sshd").context("no sshd")?)
        .args(["-D", "-e", "-f"])
        .arg(&config)
        .stdin(Stdio::null())
        .stderr(File::create(folder.join("openssh-log"))?)
        .spawn()?;
    let daemon = Ending(daemon);
    until("OpenSSH listens", LIMIT, || TcpStream::connect(("127.0.0.1", 2226)).is_ok())?;
    let public = std::fs::read_to_string(key.with_extension("pub"))?;
    Ok((daemon, public.split(' ').take(2).collect::<Vec<_>>().join(" ")))
}

fn works(bed: &Testbed) -> Result<()> {
    let person = Person::new(bed, "works")?;
    let key = person.folder.join("client-key.pub");
    let consent = "--ssh-agent-plain=host.docker.internal:2222";
    for (options, id, keys, server) in [
        (vec!["-e", "PORT=2226"], "0", "256  (ECDSA)\n256  (ED25519)\n", SERVER),
        (
            vec!["-e", "PORT=2226", "--user", "1000:1000", "--ssh-key", text(&key)?],
            "1000",
            "256  (ED25519)\n",
            SERVER,
        ),
        (vec!["-e", "PORT=2222", consent, "--ssh-key", text(&key)?], "0", "256  (ED25519)\n", PLAIN),
    ] {
        let outcome = person.run(&options, WORK)?;
        let printed = outcome.stdout.trim_end() == format!("{id}\n{keys}pushed");
        expect(outcome.status == 0 && printed, "git works over ssh", &outcome)?;
        // One login for the clone, one for the push.
        let told = format!("your ssh agent signed 2 logins at {server} with ");
        expect(outcome.stderr.contains(&told), "logins are told", &outcome)?;
        expect(outcome.stderr.contains("as \"root\""), "with their users", &outcome)?;
        expect(outcome.has_event(&[("reason", "ssh-signed")]), "and in the log", &outcome)?;
        let subject =
            run("git", &["--git-dir", text(&person.repository)?, "log", "-1", "--format=%s", "main"], LIMIT)?;
        ensure!(subject == format!("by {id}"), "{subject}");
    }
    // Without that consent a login that names no server is refused, and the option is told.
    let outcome = person.run(&["-e", "PORT=2222"], WORK)?;
    expect(
        outcome.status != 0 && outcome.stderr.contains("--ssh-agent-plain host.docker.internal:2222"),
        "plain",
        &outcome,
    )?;
    expect(!outcome.has_event(&[("reason", "ssh-signed")]), "nothing is signed", &outcome)?;
    // The controls: without consent there is no agent, and with it none where no server is known.
    let outcome = person.start(&[], &["sh", "-c", "ssh-add -l; echo $SSH_AUTH_SOCK."])?.finish(LIMIT)?;
    expect(outcome.stdout.trim_end() == ".", "no consent, no agent", &outcome)?;
    std::fs::write(person.home.join(".ssh/known_hosts"), "other.test ssh-ed25519 AAAA\n")?;
    let outcome = person.run(&[], "true")?;
    expect(outcome.status == 125 && outcome.stderr.contains("known hosts"), "nobody is known", &outcome)?;
    person.is_untouched()?;
    drop(person);
    only_the_uplink(bed)
}

fn attacked(bed: &Testbed) -> Result<()> {
    let person = Person::new(bed, "attacked")?;
    let script = format!("{ATTACK}\n{FOLDER}");
    let surroundings = ["-e", "D=/tmp", "-e", "HOST=host.docker.internal"];
    let outcome = person.run(&surroundings, &script)?;
    let refused = format!("a login was refused\nkeys left: 2\nknown: {PLAIN} {SERVER} \nthe socket stays");
    expect(outcome.stdout.trim_end() == refused, "nothing else is done", &outcome)?;
    expect(!outcome.has_event(&[("reason", "ssh-signed")]), "nothing is signed", &outcome)?;
    person.is_untouched()?;

    // The control: with the agent's own socket the same script gets everything.
    let folder = person.folder.join("control");
    std::fs::create_dir(&folder)?;
    let control = PersonsAgent::start(&folder, "agent.sock", &[&person.folder.join("client-key")])?;
    let mut command = Command::new("sh");
    command.args(["-c", ATTACK]).env("SSH_AUTH_SOCK", &control.socket).env("D", &folder);
    let done = bounded(command.env("HOST", "127.0.0.1"), b"", LIMIT)?;
    let all =
        "added a key\nsigned a file\nlogged in\nlocked it\nremoved a key\nremoved all keys\nkeys left: 0\n";
    ensure!(done.stdout == all, "{done:?}");
    drop((control, person));
    only_the_uplink(bed)
}

fn closed(bed: &Testbed) -> Result<()> {
    let person = Person::new(bed, "closed")?;
    let mut running = person.start(&["--ssh-agent"], &["python3", "-c", REPLAY])?;
    let seen = follow(&person, &mut running).and_then(|()| flooded(&person, &mut running));
    // A supervisor whose ssh agent is silent ends all the same.
    person.agent.signal(Signal::SIGSTOP)?;
    let stopped = bed.ringfence.call(&["stop", &running.name]);
    let outcome = running.finish(LIMIT);
    person.agent.signal(Signal::SIGCONT)?;
    seen?;
    ensure!(stopped?.status.success(), "the run is stopped");
    let outcome = outcome?;
    expect(outcome.stderr.contains("your ssh agent signed"), "signatures are told", &outcome)?;
    person.is_untouched()?;
    drop(person);
    only_the_uplink(bed)
}

/// The person's own commands are answered while many connections ask for signatures.
fn flooded(person: &Person<'_>, running: &mut Running) -> Result<()> {
    running.wait_for_line("flood", LIMIT)?;
    let begin = Instant::now();
    for _ in 0..3 {
        for state in ["cut", "restore"] {
            let done = person.bed.ringfence.call(&["net", &running.name, state])?;
            ensure!(done.status.success(), "{state}: {done:?}");
        }
    }
    ensure!(begin.elapsed() < Duration::from_secs(45), "six changes took {:?}", begin.elapsed());
    Ok(())
}

/// Cuts, denies and opens, and waits each time for what the replayed requests get.
fn follow(person: &Person<'_>, running: &mut Running) -> Result<()> {
    let call = |words: &[&str]| {
        let done = person.bed.ringfence.call(words)?;
        ensure!(done.status.success(), "{words:?}: {done:?}");
        Ok(())
    };
    let name = running.name.clone();
    let target = "host.docker.internal:2226/loopback";
    let begun = running.wait_for_line("answers", LIMIT);
    begun.with_context(|| format!("{:?}", running.lines()))?;
    let said = running.lines();
    ensure!(said == ["login 0 ", "without a bound session 5", "answers 6 14"], "{said:?}");
    let steps: [(&[&str], &str); 4] = [
        (&["net", &name, "cut"], "answers 6 5"),
        (&["net", &name, "restore"], "answers 6 14"),
        (&["deny", &name, "host.docker.internal"], "answers 6 5"),
        (&["allow", "--without-record", &name, target], "answers 6 14"),
    ];
    for (number, (words, answer)) in steps.into_iter().enumerate() {
        call(words)?;
        let expected = || running.lines().get(3 + number).is_some_and(|line| line == answer);
        until(&format!("{words:?}: {answer}"), LIMIT, expected)
            .with_context(|| format!("{:?}", running.lines()))?;
    }
    Ok(())
}
