//! Policies in layers, enforced: the organisation's file holds everybody, the project's own word
//! counts for nothing unless somebody gives it weight.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::{Output, bounded};
use integration::testbed::{Testbed, dns};

use crate::{Test, expect, expect_status, text};

pub(crate) const TESTS: &[Test] = &[
    ("the organisation's ceiling and denials hold a run", organisation),
    ("an organisation's file that others can write ends the start", writable),
    ("an organisation's file that is broken ends the start", broken),
    ("a project's own policy needs a ceiling or an approval", project),
    ("an agent that rewrites the project's policy changes nothing", rewritten),
];

/// Gives a command an /etc of its own with the organisation's policy in it; the machine's stays as
/// it is.
const WITH_ORGANISATION: &str = r#"set -e
mount -t tmpfs none "$1"
mkdir "$1/upper" "$1/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" /etc
mkdir -m 755 /etc/ringfence
install -m "$3" "$2" /etc/ringfence/policy.yml
shift 3
exec "$@""#;

/// `ringfence ARGUMENTS` on a machine whose organisation has this policy.
fn under(bed: &Testbed, policy: &str, mode: &str, arguments: &[&str]) -> Result<Output> {
    let folder = tempfile::Builder::new().prefix("ringfence-organisation-").tempdir()?;
    let file = folder.path().join("policy.yml");
    fs::write(&file, policy)?;
    let mount = folder.path().join("etc");
    fs::create_dir(&mount)?;
    let script = ["-m", "sh", "-c", WITH_ORGANISATION, "sh"].map(OsStr::new);
    let before = [&script[..], &[mount.as_os_str(), file.as_os_str(), OsStr::new(mode)]].concat();
    bounded(bed.ringfence.behind("unshare", before).args(arguments), b"", Duration::from_secs(120))
}

/// The codes that curl prints for two names.
const TWO: &str = "for name in gitlab.test a.test; do curl -sS -o /dev/null -w \"$name %{http_code}\\n\" --max-time 10 https://$name/ 2>/dev/null || true; done";

fn organisation(bed: &Testbed) -> Result<()> {
    let two = ["run", "--allow", "gitlab.test", "--allow", "a.test", &bed.images.agent, "sh", "-c", TWO];
    let resolver = format!("  dns: {{upstreams: [\"{}\"]}}\n", dns::ADDRESS);

    let open = under(bed, &format!("version: 1\nnetwork:\n{resolver}"), "644", &two)?;
    ensure!(open.status.success(), "{open:?}");
    ensure!(!open.stdout.contains("a.test 000"), "without a ceiling both are reached: {open:?}");

    let ceiling = format!("version: 1\nnetwork:\n  ceiling: [gitlab.test]\n{resolver}");
    let held = under(bed, &ceiling, "644", &two)?;
    ensure!(held.stdout.contains("a.test 000"), "a.test lies outside the ceiling: {held:?}");
    ensure!(!held.stdout.contains("gitlab.test 000"), "gitlab.test lies inside: {held:?}");
    ensure!(held.stderr.contains("outside-ceiling"), "the summary says why: {held:?}");

    let denial = format!("version: 1\nnetwork:\n  deny: [.gitlab.test]\n{resolver}");
    let denied = under(bed, &denial, "644", &two)?;
    ensure!(denied.stdout.contains("gitlab.test 000"), "denials of the organisation win: {denied:?}");

    // Nobody else sets the resolver again.
    let own = bed.ringfence.allowing(&["a.test"])?;
    let own = own.to_str().context("a path of text")?;
    let refused = under(bed, &ceiling, "644", &["run", "--policy", own, &bed.images.agent, "true"])?;
    ensure!(refused.status.code() == Some(125), "{refused:?}");
    ensure!(refused.stderr.contains("`dns` is set by the organisation's policy already"), "{refused:?}");
    Ok(())
}

fn writable(bed: &Testbed) -> Result<()> {
    let before = bed.ringfence.call(&["ps", "--json"])?.stdout;
    let output = under(bed, "version: 1\n", "666", &["run", &bed.images.agent, "true"])?;
    ensure!(output.status.code() == Some(125), "{output:?}");
    ensure!(output.stderr.contains("others than its owner can write it"), "{output:?}");
    ensure!(output.stderr.contains("/etc/ringfence/policy.yml belongs to root (0), mode 666"), "{output:?}");
    ensure!(output.stderr.contains("send these lines to the administrator"), "{output:?}");
    ensure!(bed.ringfence.call(&["ps", "--json"])?.stdout == before, "nothing was created");
    Ok(())
}

fn broken(bed: &Testbed) -> Result<()> {
    for text in ["version: 1\nnetwork: [", "version: 2\n", "", "version: 1\nextends: [./gone.yml]\n"] {
        let output = under(bed, text, "644", &["run", "--allow", "gitlab.test", &bed.images.agent, "true"])?;
        ensure!(output.status.code() == Some(125), "{text:?}: {output:?}");
        ensure!(output.stderr.contains("/etc/ringfence/policy.yml"), "{text:?}: {output:?}");
    }
    Ok(())
}

/// A project whose own policy permits a.test.
fn project_of(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let folder = bed.fresh_directory(name)?;
    fs::write(
        folder.join(".ringfence.yml"),
        "version: 1\nnetwork: {allow: [a.test], deny: [gitlab.test]}\n",
    )?;
    Ok(folder)
}

fn project(bed: &Testbed) -> Result<()> {
    let folder = project_of(bed, "project-policy")?;
    let options = ["--project", text(&folder)?];
    let agent = ["sh", "-c", TWO];

    let unheard =
        bed.ringfence.run(&bed.ringfence.allowing(&["gitlab.test"])?, &options, &bed.images.agent, &agent)?;
    expect(unheard.stdout.contains("a.test 000"), "the project's grant counts for nothing", &unheard)?;
    expect(unheard.stdout.contains("gitlab.test 000"), "the project's denial counts", &unheard)?;
    expect(
        unheard.has_event(&[("verdict", "deny"), ("host", "a.test"), ("reason", "untrusted-layer")]),
        "an event with the reason",
        &unheard,
    )?;

    let ceiling = bed.ringfence.policy("  ceiling: [a.test]\n")?;
    let bounded = bed.ringfence.run(&ceiling, &options, &bed.images.agent, &agent)?;
    expect_status(&bounded, 0)?;
    expect(!bounded.stdout.contains("a.test 000"), "inside a ceiling it counts", &bounded)?;

    let none = bed.ringfence.policy("  allow: []\n")?;
    let approval = bed.ringfence.call(&["trust", "--yes", text(&folder)?])?;
    ensure!(approval.status.success(), "{approval:?}");
    let approved = bed.ringfence.run(&none, &options, &bed.images.agent, &agent)?;
    expect(!approved.stdout.contains("a.test 000"), "approved it counts", &approved)?;
    fs::write(folder.join(".ringfence.yml"), "version: 1\nnetwork: {allow: [a.test]}\n")?;
    let changed = bed.ringfence.run(&none, &options, &bed.images.agent, &agent)?;
    expect(changed.stdout.contains("a.test 000"), "a change ends the approval", &changed)
}

fn rewritten(bed: &Testbed) -> Result<()> {
    let folder = project_of(bed, "project-rewritten")?;
    let ceiling = bed.ringfence.policy("  ceiling: [a.test, b.test]\n")?;
    let script = "printf 'version: 1\\nnetwork: {allow: [b.test]}\\n' > .ringfence.yml && \
                  for name in a.test b.test; do curl -sS -o /dev/null -w \"$name %{http_code}\\n\" --max-time 10 https://$name/ 2>/dev/null || true; done";
    // It can write the file at all only because it is shown on purpose.
    let options = ["--project", text(&folder)?, "--unmask", ".ringfence.yml"];
    let outcome = bed.ringfence.run(&ceiling, &options, &bed.images.agent, &["sh", "-c", script])?;
    expect(outcome.stdout.contains("b.test 000"), "what the agent wrote is not heard", &outcome)?;
    expect(!outcome.stdout.contains("a.test 000"), "what was read at the start holds", &outcome)
}
