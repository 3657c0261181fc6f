//! Changes of git's configuration that an agent may leave behind. `keys.txt` lists the permitted
//! names; every other change is put back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use super::config::{Entry, Name};

const TEXT: &str = include_str!("keys.txt");

/// Conditions under which a change may stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Free,
    Remote,
    Fetch,
    Fresh,
    Branch,
    Merge,
    Module,
    Update,
    Base,
    Initial,
}

/// The values of a name, in their order.
pub type Values<'a> = Vec<Option<&'a [u8]>>;

/// All values of each name, or their digests where they are secret.
pub type All<'a> = BTreeMap<&'a [u8], Values<'a>>;

/// Entries by name.
pub fn by_name(entries: &[Entry]) -> All<'_> {
    let mut all = All::new();
    for entry in entries {
        all.entry(&entry.name).or_default().push(entry.value.as_deref());
    }
    all
}

/// Facts about a configuration file that decide which values it may have.
#[derive(Debug, Clone, Copy)]
pub struct KeyContext<'a> {
    /// Set when the file was not there before the run.
    pub new: bool,
    /// The value that `core.worktree` may then have.
    pub tree: Option<&'a str>,
    /// Branches that were there before the run.
    pub branches: &'a BTreeSet<String>,
}

/// Tells whether the values that `name` has `after` a run may stay.
pub fn may_stay(name: &[u8], before: &All<'_>, after: &All<'_>, place: KeyContext<'_>) -> bool {
    let parts = Name::of(name);
    let (none, was) = (Values::new(), before.get(name));
    let now = after.get(name).unwrap_or(&none);
    let added = was.is_none_or(Vec::is_empty);
    let each = |good: &dyn Fn(&str) -> bool| {
        added
            && now
                .iter()
                .all(|value| value.and_then(|value| std::str::from_utf8(value).ok()).is_some_and(good))
    };
    let has = |all: &All<'_>, section: &[u8], which: &[u8], keys: [&[u8]; 2]| {
        keys.iter().any(|key| all.contains_key([section, b".", which, b".", key].concat().as_slice()))
    };
    let has_address =
        |all: &All<'_>, section: &[u8], which: &[u8]| has(all, section, which, [b"url", b"pushurl"]);
    match may(&parts) {
        Some(May::Free) => true,
        // A second address of a remote would take part of what is pushed.
        Some(May::Remote | May::Module) => {
            let which = parts.subsection.unwrap_or_default();
            let named = parts.section != b"remote" || is_plain(which);
            named && !has_address(before, parts.section, which) && each(&is_on_a_network)
        }
        // What a fetch overwrites.
        Some(May::Fetch) => {
            let which = parts.subsection.unwrap_or_default();
            is_plain(which)
                && !has_address(before, b"remote", which)
                && each(&|value| is_fetched_apart(value, which))
        }
        Some(May::Fresh) => {
            let which = parts.subsection.unwrap_or_default();
            is_plain(which) && !has_address(before, b"remote", which)
        }
        // Where a branch is pushed to follows from all three.
        Some(May::Branch) => {
            let which = parts.subsection.unwrap_or_default();
            !follows(before, which)
                && each(&|value| {
                    value == "."
                        || has_address(before, b"remote", value.as_bytes())
                        || (has_address(after, b"remote", value.as_bytes())
                            && all_good(after, before, value, place))
                })
        }
        Some(May::Merge) => {
            let which = String::from_utf8_lossy(parts.subsection.unwrap_or_default());
            let remote = format!("branch.{which}.remote");
            !follows(before, which.as_bytes())
                && now.len() <= 1
                && (now.is_empty() || may_stay(remote.as_bytes(), before, after, place))
                && each(&|value| {
                    let branch = value.strip_prefix("refs/heads/").unwrap_or_default();
                    is_branch(branch) && (branch == which || !place.branches.contains(&*which))
                })
        }
        Some(May::Update) => each(&|value| matches!(value, "checkout" | "rebase" | "merge" | "none")),
        Some(May::Base) => each(&|value| value == "base"),
        Some(May::Initial) => place.new,
        // A submodule's repository names its folder.
        None if name == b"core.worktree" => place.new && each(&|value| place.tree == Some(value)),
        None => false,
    }
}

/// Tells whether all addresses of a remote that an agent made may stay.
fn all_good(after: &All<'_>, before: &All<'_>, remote: &str, place: KeyContext<'_>) -> bool {
    ["url", "pushurl"].into_iter().all(|key| {
        let name = format!("remote.{remote}.{key}");
        !after.contains_key(name.as_bytes()) || may_stay(name.as_bytes(), before, after, place)
    })
}

/// Tells whether any entry says where a branch is pushed to.
fn follows(all: &All<'_>, branch: &[u8]) -> bool {
    let keys: [&[u8]; 3] = [b"remote", b"pushremote", b"merge"];
    keys.iter().any(|key| all.contains_key([b"branch.", branch, b".", key].concat().as_slice()))
}

/// Tells whether git accepts a name for a branch. Stricter than git itself.
fn is_branch(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['-', '/', '.'])
        && !name.contains("..")
        && name.chars().all(|c| !c.is_control() && !c.is_whitespace() && !" ~^:?*[\\".contains(c))
}

/// Tells whether a refspec fetches branches to references of the remote's own, where they overwrite
/// nothing of the person's.
fn is_fetched_apart(refspec: &str, remote: &[u8]) -> bool {
    let Ok(remote) = std::str::from_utf8(remote) else { return false };
    let own = format!("refs/remotes/{remote}/");
    refspec.trim_start_matches('+').split_once(':').is_some_and(|(from, to)| {
        let from = from.strip_prefix("refs/heads/").unwrap_or_default();
        let to = to.strip_prefix(&own).unwrap_or_default();
        from == to && (from == "*" || is_branch(from))
    })
}

fn may(name: &Name<'_>) -> Option<May> {
    static LIST: OnceLock<Vec<(May, &'static str)>> = OnceLock::new();
    let list = LIST.get_or_init(|| TEXT.lines().filter_map(line).collect());
    list.iter().find(|(_, pattern)| fits(pattern, name)).map(|(may, _)| *may)
}

/// Reads a line of the list; an unknown word permits nothing.
fn line(text: &'static str) -> Option<(May, &'static str)> {
    let (word, pattern) = text.split_once(' ')?;
    let may = match word {
        "free" => May::Free,
        "remote" => May::Remote,
        "fetch" => May::Fetch,
        "fresh" => May::Fresh,
        "branch" => May::Branch,
        "merge" => May::Merge,
        "module" => May::Module,
        "update" => May::Update,
        "base" => May::Base,
        "initial" => May::Initial,
        _ => return None,
    };
    Some((may, pattern.trim()))
}

fn fits(pattern: &str, name: &Name<'_>) -> bool {
    let wanted = Name::of(pattern.as_bytes());
    wanted.section == name.section
        && match (wanted.subsection, name.subsection) {
            (Some(b"*"), subsection) => subsection.is_some(),
            (wanted, subsection) => wanted == subsection,
        }
        && (wanted.key == b"*" || wanted.key == name.key)
}

/// Tells whether git takes a remote's name for no address: git looks for a remote of that name
/// first, whatever it is given.
fn is_plain(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_alphanumeric)
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// Tells whether an address leads to another machine by a way of git's own. A path may hold a
/// repository with hooks of the agent's; `NAME::` starts a program; a text that begins with `-` is
/// an option.
fn is_on_a_network(address: &str) -> bool {
    let plain = address.chars().all(|c| c.is_ascii_graphic())
        && !address.contains("::")
        // ssh takes the brackets off.
        && !address.contains("[-");
    let (host, scheme) = match address.split_once("://") {
        Some((scheme, rest)) => (rest.split('/').next().unwrap_or_default(), Some(scheme)),
        None => (address.split_once(':').map_or("", |(host, _)| host), None),
    };
    let host_alone = host.rsplit('@').next().unwrap_or_default();
    let known = match scheme {
        Some(scheme) => ["https", "http", "ssh", "git+ssh", "git"].contains(&scheme),
        // `host:path`: with a slash before the colon, or a drive's letter, it is a path.
        None => !host.contains('/') && !host.contains('\\') && host_alone.len() > 1,
    };
    plain
        && known
        && !host.is_empty()
        && !host.starts_with('-')
        && !host_alone.is_empty()
        && !host_alone.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::super::config::parse;
    use super::*;

    static BRANCHES: BTreeSet<String> = BTreeSet::new();

    fn old() -> KeyContext<'static> {
        KeyContext { new: false, tree: None, branches: &BRANCHES }
    }

    /// Returns the names that may not stay, of a file before and after.
    fn put_back(before: &str, after: &str, place: KeyContext<'_>) -> Vec<String> {
        let (before, after) = (parse(before.as_bytes()).unwrap(), parse(after.as_bytes()).unwrap());
        let (before, after) = (by_name(&before), by_name(&after));
        let names = before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name));
        let mut names: Vec<String> = names
            .filter(|name| !may_stay(name, &before, &after, place))
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    }

    #[test]
    fn every_line_of_the_list_is_understood_and_in_lower_case() {
        let lines = || TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert!(lines().count() > 100);
        for one in lines() {
            let (_, pattern) = line(one).expect(one);
            assert_eq!(pattern, pattern.to_ascii_lowercase());
            assert!(pattern.split('.').count() >= 2, "{one}");
        }
    }

    #[test]
    fn nothing_that_git_knows_to_start_a_program_or_to_lead_credentials_away_stays() {
        // Of `git help --config` of git 2.47 and of the programs around it.
        for name in [
            "alias.st",
            "attr.tree",
            "browser.x.cmd",
            "browser.x.path",
            "bundle.x.uri",
            "branch.autoSetupMerge",
            "color.diff.new",
            "commit.status",
            "commit.template",
            "core.alternateRefsCommand",
            "core.askPass",
            "core.attributesFile",
            "core.autocrlf",
            "core.bare",
            "core.bigFileThreshold",
            "core.checkRoundtripEncoding",
            "core.checkStat",
            "core.createObject",
            "core.editor",
            "core.eol",
            "core.excludesFile",
            "core.fileMode",
            "core.fsmonitor",
            "core.gitProxy",
            "core.hooksPath",
            "core.ignoreCase",
            "core.ignoreStat",
            "core.logAllRefUpdates",
            "core.notesRef",
            "core.pager",
            "core.preferSymlinkRefs",
            "core.protectHFS",
            "core.protectNTFS",
            "core.splitIndex",
            "core.sshCommand",
            "core.symlinks",
            "core.trustctime",
            "core.untrackedCache",
            "core.useReplaceRefs",
            "core.worktree",
            "credential.helper",
            "credential.username",
            "credential.useHttpPath",
            "credential.protectProtocol",
            "diff.external",
            "diff.autoRefreshIndex",
            "diff.guitool",
            "diff.ignoreSubmodules",
            "diff.orderFile",
            "diff.relative",
            "diff.tool",
            "diff.trustExitCode",
            "extensions.partialClone",
            "feature.experimental",
            "feature.manyFiles",
            "fetch.all",
            "fetch.bundleURI",
            "fetch.prune",
            "fetch.pruneTags",
            "fetch.showForcedUpdates",
            "fetch.fsckObjects",
            "fsck.skipList",
            "fsmonitor.socketDir",
            "gc.recentObjectsHook",
            "gc.pruneExpire",
            "gitcvs.dbDriver",
            "gpg.format",
            "gpg.program",
            "gpg.ssh.defaultKeyCommand",
            "gpg.ssh.allowedSignersFile",
            "gpg.x509.program",
            "help.autoCorrect",
            "help.browser",
            "http.cookieFile",
            "http.curloptResolve",
            "http.extraHeader",
            "http.followRedirects",
            "http.pinnedPubkey",
            "http.proxy",
            "http.sslCAInfo",
            "http.sslVerify",
            "imap.tunnel",
            "include.path",
            "init.templateDir",
            "instaweb.httpd",
            "interactive.diffFilter",
            "lfs.url",
            "log.showSignature",
            "mailmap.file",
            "man.viewer",
            "merge.tool",
            "merge.guitool",
            "merge.verifySignatures",
            "pager.log",
            "protocol.allow",
            "pull.twohead",
            "push.autoSetupRemote",
            "push.default",
            "push.followTags",
            "push.gpgSign",
            "push.pushOption",
            "push.recurseSubmodules",
            "rebase.updateRefs",
            "receive.procReceiveRefs",
            "remote.pushDefault",
            "safe.bareRepository",
            "safe.directory",
            "sendemail.smtpServer",
            "sendemail.toCmd",
            "sequence.editor",
            "sparse.expectFilesOutsideOfPatterns",
            "status.renames",
            "status.short",
            "status.showUntrackedFiles",
            "ssh.variant",
            "submodule.alternateLocation",
            "submodule.recurse",
            "tag.gpgSign",
            "tar.umask",
            "trace2.eventTarget",
            "transfer.credentialsInUrl",
            "uploadpack.packObjectsHook",
            "user.signingKey",
            "web.browser",
            "hook.enabled",
            "gitflow.path.hooks",
        ] {
            let (section, key) = name.rsplit_once('.').unwrap();
            let head = match section.split_once('.') {
                Some((section, subsection)) => format!("[{section} \"{subsection}\"]\n"),
                None => format!("[{section}]\n"),
            };
            let text = format!("{head}{key} = x\n");
            assert_eq!(put_back("", &text, old()).len(), 1, "{name} set");
            assert_eq!(put_back(&text, "", old()).len(), 1, "{name} taken away");
            assert_eq!(put_back(&text, &format!("{head}{key} = y\n"), old()).len(), 1, "{name} changed");
            assert_eq!(put_back(&text, &format!("{text}{key} = x\n"), old()).len(), 1, "{name} twice");
        }
        for (section, keys) in [
            ("diff", "command textconv xfuncname"),
            ("filter", "clean smudge process required"),
            ("merge", "driver recursive"),
            ("mergetool", "cmd path"),
            ("difftool", "cmd path"),
            ("guitool", "cmd"),
            ("man", "cmd path"),
            ("tar", "command"),
            ("credential", "helper username"),
            ("http", "proxy sslVerify extraHeader sslCAInfo sslKey"),
            ("url", "insteadOf pushInsteadOf"),
            ("includeIf", "path"),
            ("protocol", "allow"),
            ("remote", "uploadpack receivepack vcs proxy push mirror promisor"),
            ("remote", "prune pruneTags"),
            ("submodule", "ignore fetchRecurseSubmodules"),
            ("branch", "mergeOptions"),
            ("sendemail", "smtpServer"),
            ("hook", "command event"),
            ("lfs", "url"),
            ("lfs.customtransfer", "path"),
            ("notes", "mergeStrategy"),
            ("gpg", "program"),
            ("pretty", "name"),
            ("core", "hooksPath"),
            ("alias", "command"),
        ] {
            for key in keys.split(' ') {
                let text = format!("[{section} \"x\"]\n{key} = y\n");
                assert_eq!(put_back("", &text, old()).len(), 1, "{section}.x.{key}");
            }
        }
    }

    #[test]
    fn what_git_writes_in_daily_work_stays() {
        let before = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://gitlab.com/a/b.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n";
        for added in [
            "[user]\n name = A\n email = a@b\n",
            "[branch \"feature\"]\n remote = origin\n merge = refs/heads/feature\n",
            "[branch \"local\"]\n remote = .\n merge = refs/heads/main\n",
            "[remote \"fork\"]\n url = git@gitlab.com:me/b.git\n fetch = +refs/heads/*:refs/remotes/fork/*\n[branch \"x\"]\n remote = fork\n",
            "[remote \"up\"]\n url = ssh://git@gitlab.com:22/a/b\n pushurl = https://gitlab.com/c/d\n",
            "[submodule \"lib\"]\n active = true\n url = https://gitlab.com/a/lib.git\n update = rebase\n",
            "[core]\n sparseCheckout = true\n[extensions]\n worktreeConfig = true\n",
            "[pull]\n rebase = true\n[color]\n ui\n",
            "[branch \"new\"]\n remote = origin\n merge = refs/heads/main\n",
            "[remote \"up\"]\n url = https://gitlab.com/c/d\n fetch = refs/heads/x/y:refs/remotes/up/x/y\n tagOpt = --no-tags\n",
        ] {
            assert_eq!(put_back(before, &format!("{before}{added}"), old()), Vec::<String>::new(), "{added}");
        }
        assert_eq!(
            put_back(
                &format!("{before}[branch \"old\"]\n remote = origin\n merge = refs/heads/old\n"),
                before,
                old()
            ),
            ["branch.old.merge", "branch.old.remote"]
        );
    }

    #[test]
    fn no_push_and_no_fetch_goes_where_the_person_did_not_send_it() {
        let branches: BTreeSet<String> = ["main", "feature", "lone"].map(str::to_owned).into();
        let place = KeyContext { new: false, tree: None, branches: &branches };
        let before = "[remote \"origin\"]\n url = https://gitlab.com/a/b.git\n fetch = +refs/heads/*:refs/remotes/origin/*\n[branch \"feature\"]\n remote = origin\n merge = refs/heads/feature\n";
        let added = |text: &str| put_back(before, &format!("{before}{text}"), place);
        assert_eq!(
            put_back(before, &before.replace("merge = refs/heads/feature", "merge = refs/heads/main"), place),
            ["branch.feature.merge"]
        );
        // A branch of the person's that followed nothing follows its own name, or nothing.
        let lone = |merge: &str| added(&format!("[branch \"lone\"]\n remote = origin\n merge = {merge}\n"));
        assert_eq!(lone("refs/heads/lone"), Vec::<String>::new());
        for merge in
            ["refs/heads/main", "main", "refs/tags/lone", "refs/heads/lone\n merge = refs/heads/main"]
        {
            assert_eq!(lone(merge), ["branch.lone.merge"], "{merge}");
        }
        assert_eq!(added("[branch \"x\"]\n remote = nobody\n merge = refs/heads/main\n").len(), 2);
        for refspec in [
            "+refs/heads/*:refs/heads/*",
            "+refs/*:refs/*",
            "refs/heads/main:refs/replace/1",
            "+refs/heads/*:refs/remotes/origin/*",
            "refs/heads/main:refs/remotes/up/../../heads/main",
            "refs/heads/*",
            "^refs/heads/x",
        ] {
            let text = format!("[remote \"up\"]\n url = https://gitlab.com/c/d\n fetch = {refspec}\n");
            assert_eq!(added(&text), ["remote.up.fetch"], "{refspec}");
        }
        assert_eq!(
            put_back(before, &before.replace("refs/remotes/origin/*", "refs/heads/*"), place),
            ["remote.origin.fetch"]
        );
        assert_eq!(added("[remote \"origin\"]\n tagOpt = --tags\n"), ["remote.origin.tagopt"]);
    }

    #[test]
    fn no_remote_is_led_elsewhere_and_no_new_one_starts_a_program() {
        let before =
            "[remote \"origin\"]\n\turl = https://gitlab.com/a/b.git\n[branch \"main\"]\n\tremote = origin\n";
        let added = |text: &str| put_back(before, &format!("{before}{text}"), old());
        assert_eq!(
            put_back(before, &before.replace("gitlab.com", "evil.test"), old()),
            ["remote.origin.url"]
        );
        assert_eq!(added("[remote \"origin\"]\n url = https://evil.test/x\n"), ["remote.origin.url"]);
        assert_eq!(added("[remote \"origin\"]\n pushurl = https://evil.test/x\n"), ["remote.origin.pushurl"]);
        assert_eq!(
            put_back(
                before,
                &format!("{}[remote \"e\"]\n url = https://evil.test/x\n", before.replace("= origin", "= e")),
                old()
            ),
            ["branch.main.remote"]
        );
        for address in [
            "./evil.git",
            "evil.git",
            "/workspace/evil.git",
            "../x",
            "file:///workspace/evil.git",
            "ext::sh -c x",
            "fd::17",
            "x::y",
            "-u:x",
            "--upload-pack=x",
            "ssh://-oProxyCommand=x/y",
            "git@-oProxyCommand=x:y",
            "-oProxyCommand=x:y",
            "a/b:c",
            "c:\\evil",
            "c:evil",
            "https://",
            ":x",
            "",
            "https:///x",
            "ssh://a@-x/y",
            "ssh://[-x]/y",
            "a@[-oProxyCommand=x]:y",
            "https://a b/c",
        ] {
            let text = format!(
                "[remote \"e\"]\n url = \"{}\"\n[branch \"b\"]\n remote = e\n",
                address.replace('\\', "\\\\")
            );
            assert_eq!(added(&text), ["branch.b.remote", "remote.e.url"], "{address}");
        }
        for name in ["https://gitlab.com/a/b.git", ".", "git@gitlab.com:a/b", "-x", "/a", "a/b", ""] {
            let text = format!("[remote \"{name}\"]\n url = https://evil.test/x\n");
            assert_eq!(added(&text), [format!("remote.{name}.url")], "{name}");
        }
        for name in ["nobody", "./evil.git", "https://evil.test/x", "-x"] {
            assert_eq!(added(&format!("[branch \"b\"]\n remote = {name}\n")), ["branch.b.remote"], "{name}");
        }
        assert_eq!(
            added("[submodule \"s\"]\n url = ./s\n update = !x\n"),
            ["submodule.s.update", "submodule.s.url"]
        );
    }

    #[test]
    fn where_a_branch_is_pushed_to_is_not_led_away_by_its_other_key() {
        let before = "[remote \"origin\"]\n url = https://gitlab.com/a/b\n[branch \"main\"]\n remote = origin\n[branch \"p\"]\n pushRemote = origin\n";
        let fork = "[remote \"fork\"]\n url = https://evil.test/x\n";
        let added = |text: &str| put_back(before, &format!("{before}{fork}{text}"), old());
        assert_eq!(added("[branch \"main\"]\n pushRemote = fork\n"), ["branch.main.pushremote"]);
        assert_eq!(added("[branch \"p\"]\n remote = fork\n"), ["branch.p.remote"]);
        assert_eq!(added("[branch \"n\"]\n remote = origin\n pushRemote = fork\n"), Vec::<String>::new());
    }

    #[test]
    fn a_new_repository_names_its_own_working_tree_and_fetches_nothing_by_itself() {
        let text = "[core]\n\tbare = false\n\tworktree = ../../../lib\n";
        let new = |tree| KeyContext { new: true, tree, branches: &BRANCHES };
        assert_eq!(put_back("", text, new(Some("../../../lib"))), Vec::<String>::new());
        for other in [None, Some("../../../lib/"), Some("x")] {
            assert_eq!(put_back("", text, new(other)), ["core.worktree"]);
        }
        assert_eq!(put_back("", text, old()), ["core.bare", "core.worktree"]);
        let partial = "[extensions]\n partialClone = o\n[remote \"o\"]\n url = https://x.test/y\n promisor = true\n partialCloneFilter = blob:none\n gh-resolved = x/y\n glab-resolved = base\n";
        assert_eq!(
            put_back("", partial, new(None)),
            [
                "extensions.partialclone",
                "remote.o.gh-resolved",
                "remote.o.partialclonefilter",
                "remote.o.promisor"
            ]
        );
    }
}
