//! Well-known hosts that take data from every sender: permitting one is permitting a way out.
//!
//! ```text
//!  HostPattern ──accepts_uploads (do they share a name?)──▶ what such a host takes, for notes of `policy check`
//! ```
//! The list is not complete and cannot be: a host that is not in it may take uploads too.

use std::sync::LazyLock;

use crate::host::HostPattern;

/// Patterns and what is under them. `.x` is the name and everything below it.
const TABLE: &[(&str, &str)] = &[
    // Text for everybody to read.
    (".pastebin.com", "a pastebin"),
    (".paste.ee", "a pastebin"),
    (".hastebin.com", "a pastebin"),
    (".dpaste.com", "a pastebin"),
    (".dpaste.org", "a pastebin"),
    (".ix.io", "a pastebin"),
    (".termbin.com", "a pastebin"),
    (".rentry.co", "a pastebin"),
    (".privatebin.net", "a pastebin"),
    (".0bin.net", "a pastebin"),
    (".ghostbin.com", "a pastebin"),
    (".paste.rs", "a pastebin"),
    (".sprunge.us", "a pastebin"),
    ("paste.debian.net", "a pastebin"),
    ("paste.mozilla.org", "a pastebin"),
    ("gist.github.com", "gists"),
    (".jsfiddle.net", "a pastebin"),
    (".codepen.io", "a pastebin"),
    (".jsonbin.io", "a pastebin"),
    // Files for everybody to fetch.
    (".transfer.sh", "a file transfer service"),
    (".file.io", "a file transfer service"),
    (".0x0.st", "a file transfer service"),
    (".catbox.moe", "a file transfer service"),
    (".gofile.io", "a file transfer service"),
    (".bashupload.com", "a file transfer service"),
    (".temp.sh", "a file transfer service"),
    (".tmpfiles.org", "a file transfer service"),
    (".wetransfer.com", "a file transfer service"),
    (".mega.nz", "a file transfer service"),
    (".anonfiles.com", "a file transfer service"),
    (".pixeldrain.com", "a file transfer service"),
    (".dropbox.com", "file storage of anybody"),
    (".dropboxapi.com", "file storage of anybody"),
    (".box.com", "file storage of anybody"),
    ("drive.google.com", "file storage of anybody"),
    ("docs.google.com", "documents of anybody"),
    ("onedrive.live.com", "file storage of anybody"),
    ("graph.microsoft.com", "files and mail of anybody"),
    (".sharepoint.com", "file storage of anybody"),
    (".imgur.com", "images of anybody"),
    // Buckets of anybody.
    (".amazonaws.com", "object storage and functions of anybody"),
    (".s3.api.aws", "object storage of anybody"),
    ("storage.googleapis.com", "object storage of anybody"),
    ("www.googleapis.com", "drive and object storage of anybody"),
    ("firebasestorage.googleapis.com", "object storage of anybody"),
    (".firebaseio.com", "databases of anybody"),
    (".blob.core.windows.net", "object storage of anybody"),
    (".file.core.windows.net", "object storage of anybody"),
    (".r2.cloudflarestorage.com", "object storage of anybody"),
    (".workers.dev", "programs of anybody"),
    (".pages.dev", "sites of anybody"),
    (".digitaloceanspaces.com", "object storage of anybody"),
    (".backblazeb2.com", "object storage of anybody"),
    (".wasabisys.com", "object storage of anybody"),
    (".supabase.co", "databases of anybody"),
    (".vercel.app", "programs of anybody"),
    (".netlify.app", "programs of anybody"),
    (".herokuapp.com", "programs of anybody"),
    (".run.app", "programs of anybody"),
    (".cloudfunctions.net", "programs of anybody"),
    (".azurewebsites.net", "programs of anybody"),
    // Ways to somebody's own machine, and listeners for whatever arrives.
    (".ngrok.io", "a tunnel to anybody's machine"),
    (".ngrok-free.app", "a tunnel to anybody's machine"),
    (".ngrok.app", "a tunnel to anybody's machine"),
    (".trycloudflare.com", "a tunnel to anybody's machine"),
    (".loca.lt", "a tunnel to anybody's machine"),
    (".serveo.net", "a tunnel to anybody's machine"),
    (".webhook.site", "a listener for anybody"),
    (".requestbin.com", "a listener for anybody"),
    (".pipedream.net", "a listener for anybody"),
    (".beeceptor.com", "a listener for anybody"),
    (".interact.sh", "a listener for anybody"),
    (".oastify.com", "a listener for anybody"),
    (".burpcollaborator.net", "a listener for anybody"),
    // Messages and mail.
    ("hooks.slack.com", "messages into any workspace"),
    (".slack.com", "messages and files"),
    (".discord.com", "messages and files"),
    (".discordapp.com", "messages and files"),
    ("api.telegram.org", "messages and files"),
    (".webhook.office.com", "messages into any team"),
    ("api.sendgrid.com", "mail"),
    ("api.mailgun.net", "mail"),
    // Error reports and measurements take free text.
    (".sentry.io", "error reports of any project"),
    (".datadoghq.com", "logs of any account"),
    (".statsig.com", "events of any account"),
    // Forges.
    ("github.com", "repositories of anybody"),
    ("api.github.com", "repositories, issues and gists of anybody"),
    ("uploads.github.com", "release files"),
    ("github-cloud.s3.amazonaws.com", "LFS objects"),
    (".ghcr.io", "container images of anybody"),
    (".pkg.github.com", "packages of anybody"),
    ("gitlab.com", "projects of anybody"),
    ("altssh.gitlab.com", "projects of anybody"),
    ("registry.gitlab.com", "container images of anybody"),
    (".bitbucket.org", "repositories of anybody"),
    (".codeberg.org", "repositories of anybody"),
    (".sr.ht", "repositories of anybody"),
    ("dev.azure.com", "repositories of anybody"),
    (".huggingface.co", "models and data sets of anybody"),
    // Package registries that take publications on the host that serves them.
    ("registry.npmjs.org", "packages of anybody"),
    ("upload.pypi.org", "packages of anybody"),
    ("test.pypi.org", "packages of anybody"),
    ("rubygems.org", "packages of anybody"),
    ("crates.io", "packages of anybody"),
    (".docker.io", "container images of anybody"),
    ("hub.docker.com", "container images of anybody"),
    (".quay.io", "container images of anybody"),
    (".gcr.io", "container images of anybody"),
    (".pkg.dev", "packages of anybody"),
    (".jfrog.io", "packages of anybody"),
    (".cloudsmith.io", "packages of anybody"),
    ("push.fury.io", "packages of anybody"),
    ("central.sonatype.com", "packages of anybody"),
    // Models take prompts and files.
    ("duo-workflow-svc.runway.gitlab.net", "prompts and files"),
    ("cloud.gitlab.com", "prompts and files"),
    ("api.anthropic.com", "prompts and files"),
    ("claude.ai", "prompts and files"),
    ("platform.claude.com", "prompts and files"),
    ("api.openai.com", "prompts and files"),
    ("chatgpt.com", "prompts and files"),
    ("generativelanguage.googleapis.com", "prompts and files"),
    ("cloudcode-pa.googleapis.com", "prompts and files"),
];

static PATTERNS: LazyLock<Vec<(HostPattern, &'static str)>> = LazyLock::new(|| {
    TABLE.iter().filter_map(|(text, what)| Some((HostPattern::parse(text).ok()?, *what))).collect()
});

/// Returns the data that a host which this pattern permits is known to take from every sender. Of
/// several hosts, the one that is named most exactly counts.
pub fn accepts_uploads(pattern: &HostPattern) -> Option<&'static str> {
    let known = PATTERNS.iter().filter(|(known, _)| overlap(pattern, known));
    known.max_by_key(|(known, _)| (known == pattern, known.name().as_str().len())).map(|(_, what)| *what)
}

/// Tells whether some name matches both.
fn overlap(a: &HostPattern, b: &HostPattern) -> bool {
    if !a.is_wildcard() {
        return b.matches(a.name());
    }
    if !b.is_wildcard() {
        return a.matches(b.name());
    }
    // Two wildcards share the names below the deeper of the two.
    a.name() == b.name() || a.name().is_below(b.name()) || b.name().is_below(a.name())
}

#[cfg(test)]
mod tests {
    use super::{PATTERNS, TABLE, accepts_uploads};
    use crate::host::HostPattern;

    #[test]
    fn every_entry_is_a_pattern_and_stands_once() {
        assert_eq!(PATTERNS.len(), TABLE.len());
        let mut texts: Vec<&str> = TABLE.iter().map(|(text, _)| *text).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), TABLE.len());
    }

    #[test]
    fn what_is_found() {
        let found = |text| accepts_uploads(&HostPattern::parse(text).unwrap());
        assert_eq!(found("pastebin.com"), Some("a pastebin"));
        assert_eq!(found("api.pastebin.com"), Some("a pastebin"));
        assert_eq!(found("*.github.com"), Some("release files"));
        assert_eq!(found(".gitlab.com"), Some("container images of anybody"));
        assert_eq!(
            found("bucket.s3.eu-west-1.amazonaws.com"),
            Some("object storage and functions of anybody")
        );
        assert_eq!(found("*.googleapis.com"), Some("prompts and files"));
        assert_eq!(found("notpastebin.com"), None);
        assert_eq!(found("pastebin.com.example"), None);
        assert_eq!(found("cdn.registry.gitlab-static.net"), None);
        assert_eq!(found("docs.gitlab.com"), None);
    }
}
