//! Images with a real PostgreSQL and a real Redis, of Debian's packages, laid over the agent's
//! image where a test wants them. They begin as the official images do: as root, which gives the
//! data folder to a user of its own and becomes that user.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::engine::Engine;
use crate::command::bounded;

/// Downloads and unpacks; what the agent's image has already is left out.
const RECIPE: &str = "\
packages='redis-server redis-tools libjemalloc2 liblzf1 liblua5.1-0 lua-bitop lua-cjson libatomic1'
packages=\"$packages postgresql-15 postgresql-client-15 libpq5 libxml2\"
apt-get download $packages >&2 || { apt-get update >&2; apt-get download $packages >&2; }
for package in *.deb; do dpkg-deb -x \"$package\" root; done
rm -rf root/usr/share/doc root/usr/share/man root/usr/share/locale root/etc root/lib
mkdir -p root/usr/local/bin
for program in initdb postgres psql pg_isready; do
    ln -s \"../../lib/postgresql/15/bin/$program\" root/usr/local/bin/
done
chmod 755 begin-*
cp begin-* root/usr/local/bin/
tar -C root -cf files.tar usr
";
/// The entrypoint of the Redis image.
const REDIS: &str = "#!/bin/sh -e
chown redis /data
cd /data
exec setpriv --reuid=redis --regid=redis --clear-groups -- redis-server --save '' --protected-mode no
";
/// The entrypoint of the PostgreSQL image.
const POSTGRES: &str = "#!/bin/sh -e
chown postgres /data
chmod 700 /data
cd /data
[ \"$1\" = as-postgres ] || exec setpriv --reuid=postgres --regid=postgres --clear-groups -- \"$0\" as-postgres
initdb --pgdata /data --username \"$POSTGRES_USER\" --auth trust --no-sync --encoding UTF8 --locale C
exec postgres -D /data -c jit=off -c fsync=off -c listen_addresses='*' -c unix_socket_directories=/tmp
";
const LIMIT: Duration = Duration::from_secs(300);

/// Names of the images on the engine.
#[derive(Debug, Clone)]
pub struct Databases {
    /// The agent's image with the clients of both.
    pub clients: String,
    /// PostgreSQL at port 5432.
    pub postgres: String,
    /// Redis at port 6379.
    pub redis: String,
}

/// Downloads what is missing; an archive of the files.
///
/// # Errors
/// When a package cannot be downloaded.
pub fn prepare(cache: &Path, say: &dyn Fn(&str)) -> Result<PathBuf> {
    let archive = cache.join("databases.tar");
    let texts = [RECIPE, REDIS, POSTGRES].concat();
    let made_of = cache.join("databases.txt");
    if archive.exists() && fs::read_to_string(&made_of).unwrap_or_default() == texts {
        return Ok(archive);
    }
    say("downloading PostgreSQL and Redis from Debian's packages");
    let place = tempfile::tempdir_in(cache)?;
    fs::write(place.path().join("begin-postgres"), POSTGRES)?;
    fs::write(place.path().join("begin-redis"), REDIS)?;
    let output = bounded(Command::new("sh").args(["-ec", RECIPE]).current_dir(place.path()), b"", LIMIT)?;
    if !output.status.success() {
        bail!("cannot download PostgreSQL and Redis: {}", output.stderr.trim());
    }
    fs::rename(place.path().join("files.tar"), &archive)?;
    fs::write(&made_of, texts)?;
    Ok(archive)
}

impl Engine {
    /// Brings the databases into the engine, over the agent's image.
    ///
    /// # Errors
    /// When the engine refuses.
    pub fn load_databases(&self, agent: &str, files: &Path) -> Result<Databases> {
        let tag = std::process::id();
        let name = |word: &str| format!("ringfence-testbed/{word}:{tag}");
        let all = Databases { clients: name("clients"), postgres: name("postgres"), redis: name("redis") };
        if self.try_docker(&["image", "inspect", "--format", "{{.Id}}", &all.redis])?.status.success() {
            return Ok(all);
        }
        let container = format!("ringfence-testbed-databases-{tag}");
        let script = "tar -C / -xf /files.tar; rm /files.tar; \
                      echo 'redis:x:999:999::/data:/bin/sh' >> /etc/passwd; echo 'redis:x:999:' >> /etc/group; \
                      echo 'postgres:x:998:998::/data:/bin/sh' >> /etc/passwd; echo 'postgres:x:998:' >> /etc/group; \
                      mkdir -p /data";
        let files = files.to_str().context("a path of text")?;
        let build = || -> Result<()> {
            self.docker(&["create", "--name", &container, "--network", "none", agent, "sh", "-c", script])?;
            self.docker(&["cp", files, &format!("{container}:/files.tar")])?;
            self.docker(&["start", "--attach", &container])?;
            self.docker(&["commit", &container, &all.clients])?;
            let changes = |word: &str, port: u16| {
                [
                    format!("ENTRYPOINT [\"/usr/local/bin/begin-{word}\"]"),
                    "CMD []".to_owned(),
                    format!("EXPOSE {port}"),
                    "VOLUME /data".to_owned(),
                ]
            };
            for (image, word, port) in [(&all.postgres, "postgres", 5432), (&all.redis, "redis", 6379)] {
                let changes = changes(word, port);
                let options = changes.iter().flat_map(|change| ["--change", change]);
                let words: Vec<&str> =
                    ["commit"].into_iter().chain(options).chain([&*container, image]).collect();
                self.docker(&words)?;
            }
            Ok(())
        };
        let built = build();
        self.docker(&["rm", "--force", "--volumes", &container]).ok();
        built.map(|()| all)
    }
}
