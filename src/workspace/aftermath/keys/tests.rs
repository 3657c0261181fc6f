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
    for merge in ["refs/heads/main", "main", "refs/tags/lone", "refs/heads/lone\n merge = refs/heads/main"] {
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
    assert_eq!(put_back(before, &before.replace("gitlab.com", "evil.test"), old()), ["remote.origin.url"]);
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
