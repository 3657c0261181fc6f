//! Secrets in a project: an agent that reads everything reads none of them, and finds everything
//! else as it is.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::command::run;
use integration::testbed::Testbed;

use crate::{Test, expect, expect_status, text};

pub(crate) const TESTS: &[Test] = &[
    ("none of the planted secrets is readable, everything else is", planted),
    ("what is shown on purpose is shown", shown),
    ("the agent cannot take the covers off", covers),
    ("a run disables no mask of the next", prepared),
    ("files that run code later cannot be changed where they are", fixed),
    ("nothing stays on this machine after a run", leftovers),
];

/// Path, text, and the secret in it (`{}` in the text). `~` stands for nothing, so that no scanner
/// takes this file for a leak. If the text is another than `{}`, the rest of it must stay.
const PLANTED: &[(&str, &str, &str)] = &[
    (".env", "API_KEY={}\n", "9dJq4TzX~-env"),
    ("services/api/.env.production", "DATABASE={}\n", "9dJq4TzX~-envprod"),
    ("node_modules/dep/.ENV", "A={}\n", "9dJq4TzX~-envcase"),
    ("deploy/web.env", "A={}\n", "9dJq4TzX~-composeenv"),
    (".envrc", "use flake\nexport TOKEN={}\n", "9dJq4TzX~-envrc"),
    (".netrc", "machine gitlab.com login me password {}\n", "9dJq4TzX~-netrc"),
    (".git-credentials", "https://me:{}@gitlab.com\n", "9dJq4TzX~-gitcredentials"),
    (
        ".npmrc",
        "@corp:registry=https://npm.corp.example/\n//npm.corp.example/:_authToken={}\n",
        "9dJq4TzX~-npmrc",
    ),
    (".pypirc", "[corp]\nrepository = https://pypi.corp.example/\npassword = {}\n", "9dJq4TzX~-pypirc"),
    (
        "pip.conf",
        "[global]\nindex-url = https://me:{}@pip.corp.example/simple\ntimeout = 60\n",
        "9dJq4TzX~-pip",
    ),
    (".yarnrc.yml", "npmRegistryServer: https://npm.corp.example\nnpmAuthToken: \"{}\"\n", "9dJq4TzX~-yarn"),
    (".cargo/credentials.toml", "[registries.corp]\ntoken = \"Bearer {}\"\n", "9dJq4TzX~-cargo"),
    (
        ".docker/config.json",
        "{\"auths\": {\"registry.corp.example\": {\"auth\": \"{}\"}}}",
        "9dJq4TzX~-docker",
    ),
    (
        ".kube/config",
        "clusters:\n- cluster: null\n  name: corp-cluster\nusers:\n- name: me\n  user:\n    token: {}\n",
        "9dJq4TzX~-kube",
    ),
    (
        "keys/id_ed25519",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----\n",
        "b3BlbnNzaC1rZXktdjEAAAAA~BG5vbmUAAAAEbm9uZQ",
    ),
    (
        "certs/server.pem",
        "-----BEGIN CERTIFICATE-----\nMIIBpublic\n-----END CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC~BKcwggSj",
    ),
    ("certs/store.p12", "{}", "9dJq4TzX~-p12"),
    (
        ".aws/credentials",
        "[default]\naws_secret_access_key = {}\n",
        "kD9s/Jq4TzX0kV2bLw7NmRs3YcH6GfP8~eUa1QtBz",
    ),
    ("gcp/application_default_credentials.json", "{\"refresh_token\": \"{}\"}", "9dJq4TzX~-adc"),
    (
        "gcp/robot.json",
        "{\"type\": \"service_account\", \"private_key\": \"-----BEGIN PRIVATE KEY-----\\n{}\\n-----END PRIVATE KEY-----\\n\", \"client_email\": \"robot@corp.example\"}",
        "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC~BKrobotj",
    ),
    (".azure/accessTokens.json", "[{\"accessToken\": \"{}\"}]", "9dJq4TzX~-azure"),
    ("infra/terraform.tfstate", "{\"outputs\": {\"pw\": {\"value\": \"{}\"}}}", "9dJq4TzX~-tfstate"),
    ("infra/terraform.tfvars", "region = \"eu-central-1\"\ndb_password = \"{}\"\n", "9dJq4TzX~-tfvars"),
    (".vault-token", "{}", "hvs.~9dJq4TzXvault"),
    (
        "settings.xml",
        "<settings><servers><server><id>corp-maven</id><password>{}</password></server></servers></settings>",
        "9dJq4TzX~-maven",
    ),
    (
        "nuget.config",
        "<c><packageSources><add key=\"corp\" value=\"https://nuget.corp.example\" /></packageSources><x><add key=\"ClearTextPassword\" value=\"{}\" /></x></c>",
        "9dJq4TzX~-nuget",
    ),
    ("gradle.properties", "org.gradle.caching=true\nsigningPassword={}\n", "9dJq4TzX~-gradle"),
    ("auth.json", "{\"gitlab-token\": {\"gitlab.com\": \"{}\"}}", "9dJq4TzX~-composer"),
    (".gem/credentials", "---\n:rubygems_api_key: {}\n", "9dJq4TzX~-gem"),
    (".env~", "API_KEY={}\n", "9dJq4TzX~-envbackup"),
    ("infra/prod.tfvars", "zone = \"eu-central-2\"\ndb_password = \"{}\"\n", "9dJq4TzX~-prodtfvars"),
    (".yarnrc", "\"//yarn.corp.example/:_authToken\" \"{}\"\nemail me@corp.example\n", "9dJq4TzX~-yarn1"),
    (".curlrc", "user = \"me:{}\"\nmax-time = 77\n", "9dJq4TzX~-curlrc"),
    (".azure/credentials", "[default]\nclient_id=a\nsecret={}\n", "9dJq4TzX~-azurecredentials"),
    ("src/config.py", "DEBUG = True\nGITLAB = \"{}\"  # mine\n", "glpat-~9dJq4TzX0kV2bLw7NmRs"),
    ("src/github.js", "const token = '{}';\n", "ghp_~9dJq4TzX0kV2bLw7NmRs3YcH6GfP8eUa1QtB"),
    (
        "docker-compose.yml",
        "services:\n  db:\n    environment:\n      URL: postgres://app:{}@db/prod\n",
        "Tr0ub4dor~-3xyz",
    ),
    ("notes/slack.md", "The bot is {}.\n", "xoxb-~123456789012-123456789012-9dJq4TzX0kV2bLw7NmRs3YcH"),
    (
        ".git/config",
        "[core]\n\trepositoryformatversion = 0\n[remote \"origin\"]\n\turl = https://oauth2:{}@gitlab.com/group/project.git\n",
        "9dJq4TzX~-gitconfig",
    ),
];

/// Files that no mask may touch.
const INTACT: &[(&str, &str)] = &[
    ("README.md", "# A project\nSet https://user:password@example.com/ and AKIAIOSFODNN7EXAMPLE.\n"),
    (".env.example", "API_KEY=\nDATABASE=postgres://user:password@localhost/db\n"),
    ("web/.npmrc", "registry=https://npm.corp.example/\n//npm.corp.example/:_authToken=${NPM_TOKEN}\n"),
    ("keys/id_ed25519.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPublicKey me\n"),
    ("src/main.rs", "fn main() { assert!(text.contains(\"-----BEGIN PRIVATE KEY-----\")); }\n"),
    (
        "package-lock.json",
        "{\"integrity\": \"sha512-9dJq4TzX0kV2bLw7NmRs3YcH6GfP8eUa1QtB9dJq4TzX0kV2bLw7NmRs3YcH6GfP8eUa1Q==\"}\n",
    ),
    ("locale/password.json", "{\"password\": \"Passwort\", \"token\": \"Zeichen\"}\n"),
];

fn secret(of: &str) -> String {
    of.replace('~', "")
}

/// A project with everything in it, and a hook.
fn project(bed: &Testbed, name: &str) -> Result<PathBuf> {
    let folder = bed.fresh_directory(name)?;
    run("git", &["init", "--quiet", text(&folder)?], Duration::from_secs(20))?;
    let put = |path: &str, text: &str| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().context("a folder")?)?;
        fs::write(path, text).context("a file")
    };
    for (path, text, of) in PLANTED {
        put(path, &text.replace("{}", &secret(of)))?;
    }
    for (path, text) in INTACT {
        put(path, text)?;
    }
    put(".git/hooks/pre-commit", "#!/bin/sh\nexit 0\n")?;
    fs::set_permissions(folder.join(".git/hooks/pre-commit"), fs::Permissions::from_mode(0o755))?;
    put(".vscode/tasks.json", "{}\n")?;
    put(".ringfence.yml", "version: 1\n")?;
    fs::hard_link(folder.join(".netrc"), folder.join("notes/innocent.txt"))?;
    Ok(folder)
}

/// Every file with its content, as bytes shown.
fn snapshot(folder: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => waiting.push(entry.path()),
                false => _ = files.insert(entry.path(), fs::read(entry.path())?),
            }
        }
    }
    Ok(files)
}

/// Prints every file of the project, behind its name.
const READ_ALL: &str = "cd /workspace && find . -type f -exec sh -c 'for f; do echo \"== $f\"; cat \"$f\"; echo; done' sh {} +; cat notes/innocent.txt";

fn planted(bed: &Testbed) -> Result<()> {
    let folder = project(bed, "planted")?;
    let before = snapshot(&folder)?;
    let policy = bed.ringfence.allowing(&[])?;
    let outcome = bed.ringfence.run(
        &policy,
        &["--project", text(&folder)?],
        &bed.images.agent,
        &["sh", "-c", READ_ALL],
    )?;
    expect_status(&outcome, 0)?;
    ensure!(PLANTED.len() >= 25, "only {} kinds", PLANTED.len());
    for (path, _, of) in PLANTED {
        expect(outcome.stdout.contains(&format!("== ./{path}\n")), &format!("{path} is there"), &outcome)?;
        expect(!outcome.stdout.contains(&secret(of)), &format!("the secret of {path} is hidden"), &outcome)?;
        expect(
            !outcome.stderr.contains(&secret(of)),
            &format!("nor is that of {path} in the talk"),
            &outcome,
        )?;
    }
    for (path, text) in INTACT {
        let whole = format!("== ./{path}\n{text}");
        expect(outcome.stdout.contains(&whole), &format!("{path} is as it was"), &outcome)?;
    }
    // Configuration and code keep what is no secret.
    for kept in [
        "@corp:registry=https://npm.corp.example/",
        "repository = https://pypi.corp.example/",
        "@pip.corp.example/simple\ntimeout = 60",
        "npmRegistryServer: https://npm.corp.example",
        "registry.corp.example",
        "name: corp-cluster",
        "MIIBpublic",
        "robot@corp.example",
        "region = \"eu-central-1\"",
        "zone = \"eu-central-2\"",
        "\"//yarn.corp.example/:_authToken\" \"masked-by-ringfence\"\nemail me@corp.example",
        "max-time = 77",
        "<id>corp-maven</id>",
        "https://nuget.corp.example",
        "org.gradle.caching=true",
        "DEBUG = True\nGITLAB = \"masked-by-ringfence\"  # mine",
        "URL: postgres://app:masked-by-ringfence@db/prod",
        "@gitlab.com/group/project.git",
        "use flake",
    ] {
        expect(outcome.stdout.contains(kept), &format!("`{kept}` stays"), &outcome)?;
    }
    expect(outcome.stderr.contains("src/config.py"), "what was found in code is told", &outcome)?;
    expect(outcome.stderr.contains("gitlab-pat at 2:11"), "with its place", &outcome)?;
    ensure!(snapshot(&folder)? == before, "the project itself was changed");
    Ok(())
}

fn shown(bed: &Testbed) -> Result<()> {
    let folder = project(bed, "shown")?;
    let policy = bed.ringfence.allowing(&[])?;
    let mut options = vec!["--project", text(&folder)?];
    for (path, _, _) in PLANTED {
        options.extend(["--unmask", path]);
    }
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", READ_ALL])?;
    expect_status(&outcome, 0)?;
    for (path, _, of) in PLANTED {
        expect(outcome.stdout.contains(&secret(of)), &format!("the secret of {path} is read"), &outcome)?;
    }
    // A project's own policy may hide more, and shows nothing.
    fs::write(folder.join(".ringfence.yml"), "version: 1\nworkspace: {mask: [README.md]}\n")?;
    let more = bed.ringfence.run(&policy, &options, &bed.images.agent, &["cat", "README.md"])?;
    expect(more.status == 0 && more.stdout.is_empty(), "what the project hides is hidden", &more)?;
    fs::write(folder.join(".ringfence.yml"), "version: 1\nworkspace: {unmask: [.env]}\n")?;
    let refused = bed.ringfence.run(&policy, &options, &bed.images.agent, &["true"])?;
    expect_status(&refused, 125)?;
    expect(refused.stderr.contains("cannot be set by a project"), "and it cannot show", &refused)
}

/// Prints the secret of `.env` if any of these brings it to light.
const TAKE_OFF: &str = "cd /workspace
rm -f .env; mv .env other; umount .env; ln -f .env other; cp --remove-destination .env.example .env
mv services services2; cat services2/api/.env.production; cat /proc/self/root/workspace/.env
chmod 777 .env; echo x > .env; dd if=.env; cat .env; tar c .env | tar xO";

fn covers(bed: &Testbed) -> Result<()> {
    let folder = project(bed, "covers")?;
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--project", text(&folder)?, "--user", "0:0"];
    let outcome = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", TAKE_OFF])?;
    expect(!outcome.stdout.contains("9dJq4TzX-env"), "no secret comes to light", &outcome)?;
    expect(outcome.stderr.contains("Read-only file system"), "the covers are read-only", &outcome)?;
    let told = "moved or replaced since: services/api/.env.production\n";
    expect(outcome.stderr.contains(told), "what was moved is told", &outcome)?;
    let kept = fs::read_to_string(folder.join(".env"))?;
    ensure!(kept.contains("9dJq4TzX-env"), "the person's own .env is as it was: {kept:?}");
    let moved = fs::read_to_string(folder.join("services2/api/.env.production"))?;
    ensure!(moved.contains("9dJq4TzX-envprod"), "so is the one in the folder that was renamed: {moved:?}");
    Ok(())
}

/// Makes the project a repository and a cache, and its source a store of objects.
const PREPARE: &str = "cd /workspace; mkdir -p objects refs x/refs; touch HEAD x/HEAD
echo 'Signature: 8a477f597d28d172789f06886806bc55' | tee CACHEDIR.TAG > x/CACHEDIR.TAG
mv src x/objects && ln -s x/objects src && mv services objects/pack && echo prepared";

fn prepared(bed: &Testbed) -> Result<()> {
    let folder = project(bed, "prepared")?;
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--project", text(&folder)?];
    let first = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", PREPARE])?;
    expect(first.stdout.contains("prepared\n"), "the agent may move folders", &first)?;
    let second = bed.ringfence.run(&policy, &options, &bed.images.agent, &["sh", "-c", READ_ALL])?;
    expect_status(&second, 0)?;
    expect(
        second.stdout.contains("== ./x/objects/config.py\nDEBUG = True\n"),
        "the files are there",
        &second,
    )?;
    for (path, _, of) in PLANTED {
        expect(!second.stdout.contains(&secret(of)), &format!("the secret of {path} is hidden"), &second)?;
    }
    Ok(())
}

fn fixed(bed: &Testbed) -> Result<()> {
    let folder = project(bed, "fixed")?;
    let policy = bed.ringfence.allowing(&[])?;
    let script = "cd /workspace; cat .git/hooks/pre-commit; test -x .git/hooks/pre-commit && echo executable
for f in .git/hooks/pre-commit .git/hooks/post-checkout .vscode/tasks.json .ringfence.yml .envrc; do echo evil > $f && echo \"wrote $f\"; done
echo fine > .vscode/other.json && echo \"wrote other\"; git status --short | head -3; echo done";
    let outcome = bed.ringfence.run(
        &policy,
        &["--project", text(&folder)?],
        &bed.images.agent,
        &["sh", "-c", script],
    )?;
    expect_status(&outcome, 0)?;
    expect(outcome.stdout.contains("exit 0\nexecutable\n"), "hooks still run", &outcome)?;
    expect(outcome.stdout.contains("wrote other\n"), "the rest can be written", &outcome)?;
    expect(!outcome.stdout.contains("wrote ."), "nothing that runs code was written", &outcome)?;
    expect(outcome.stdout.contains("done"), "git works", &outcome)?;
    ensure!(fs::read_to_string(folder.join(".vscode/tasks.json"))? == "{}\n");
    ensure!(!folder.join(".git/hooks/post-checkout").exists());
    Ok(())
}

fn leftovers(bed: &Testbed) -> Result<()> {
    let folder = project(bed, "leftovers")?;
    let policy = bed.ringfence.allowing(&[])?;
    let options = ["--project", text(&folder)?];
    let state = bed.ringfence.state().join("workspace");
    let mut running =
        bed.ringfence.start(&policy, &options, &bed.images.agent, &["sh", "-c", "echo up; sleep 100"])?;
    running.wait_for_line("up", Duration::from_secs(60))?;
    let during: Vec<_> = fs::read_dir(&state)?.collect::<Result<_, _>>()?;
    ensure!(during.len() == 1, "the covers of one run: {during:?}");
    let mode = during[0].metadata()?.permissions().mode() & 0o777;
    ensure!(mode == 0o700, "nobody else reads them: {mode:o}");
    for (path, held) in snapshot(&state)? {
        let held = String::from_utf8_lossy(&held).into_owned();
        for (planted, _, of) in PLANTED {
            ensure!(!held.contains(&secret(of)), "{} holds the secret of {planted}", path.display());
        }
    }
    // Another run must not take them for left behind.
    bed.ringfence.run(&policy, &[], &bed.images.tiny, &["true"])?;
    ensure!(fs::read_dir(&state)?.count() == 1, "another run leaves them alone");
    let stopped = bed.ringfence.call(&["stop", &running.name])?;
    ensure!(stopped.status.success(), "{stopped:?}");
    running.finish(Duration::from_secs(30))?;
    ensure!(fs::read_dir(&state)?.count() == 0, "nothing stays");
    Ok(())
}
