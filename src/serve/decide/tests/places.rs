//! Places of mounts and working directories, beside files that somebody could swap meanwhile.

use super::*;

/// Decides mounts, places in memory and a working directory, with an image that declares volumes.
fn placed(fields: &str, workdir: &str, declared: &[&str]) -> Result<MemberSpec, Denied> {
    let body = format!(r#"{{"Image":"x","WorkingDir":"{workdir}","HostConfig":{{{fields}}}}}"#);
    let taken = fields::read::<CreateBody>(body.as_bytes())?;
    let mut found = found();
    if let Some(image) = &mut found.image {
        image.volumes = declared.iter().map(|place| (*place).to_owned()).collect();
    }
    crate::serve::decide::create(&CreateAsk { name: None, platform: None, taken }, &ground(), &found)
}

#[test]
fn beside_a_part_of_a_project_nothing_lies_inside_a_mount() {
    for (fields, workdir, declared) in [
        // A named volume around another, with a part beside both.
        (r#""Binds":["/home/u/p/src:/h","own:/v","fresh:/v/a/unit.service"]"#, "", &[][..]),
        // A file inside a whole project.
        (r#""Binds":["/home/u/p:/app","/home/u/p/file:/app/a/nologin"]"#, "", &[]),
        (r#""Binds":["/home/u/p:/app","/home/u/p/src:/h","fresh:/app/a"]"#, "", &[]),
        (r#""Binds":["/home/u/p:/app","/home/u/p/src:/h"],"Tmpfs":{"/app/tmp":""}"#, "", &[]),
        (
            r#""Binds":["/home/u/p:/app","/home/u/p/src:/h"],"Mounts":[{"Type":"tmpfs","Target":"/app/tmp"}]"#,
            "",
            &[],
        ),
        // Volumes of the image, around and inside; without a name they can be had by others too.
        (r#""Binds":["/home/u/p:/app","/home/u/p/src:/h"]"#, "", &["/app/data"]),
        (r#""Binds":["/home/u/p/file:/data/a/nologin"]"#, "", &["/data"]),
        (r#""Binds":["/home/u/p/file:/h","/anonymous","own:/anonymous/a"]"#, "", &[]),
        // Working directories, also a missing one of the image's kind.
        (r#""Binds":["/home/u/p/src:/h","own:/v"]"#, "/v/a/nologin", &[]),
        (r#""Binds":["/home/u/p:/app","/home/u/p/file:/h"]"#, "/app/x/../a", &[]),
        (r#""Binds":["/home/u/p/file:/h"]"#, "/data/a", &["/data"]),
        // Ringfence's notice lies there.
        (r#""Binds":["/home/u/p/file:/h"]"#, "", &["/run"]),
        (r#""Binds":["/home/u/p/file:/h"]"#, "", &["/var/run"]),
        (r#""Binds":["/home/u/p/file:/h","own:/var/run/app","fresh:/run/app/a"]"#, "", &[]),
    ] {
        let denied = refused(placed(fields, workdir, declared));
        assert!(denied.message.contains("part of a project"), "{fields}: {}", denied.message);
        assert!(denied.message.contains("instead"), "{fields}: {}", denied.message);
    }
}

#[test]
fn parts_alone_and_whole_projects_with_mounts_inside_are_given() {
    for (fields, workdir, declared) in [
        // As compose files have them.
        (r#""Binds":["/home/u/p/src:/app/src"]"#, "/app", &[][..]),
        (r#""Binds":["/home/u/p/src:/app/src"]"#, "/app/src", &[]),
        (r#""Binds":["/home/u/p/file:/etc/nginx/nginx.conf:ro"]"#, "", &[]),
        (r#""Binds":["/home/u/p/file:/etc/nginx/nginx.conf:ro","own:/var/lib/own"]"#, "/srv", &["/data"]),
        (r#""Binds":["/home/u/p:/app","/home/u/p/file:/etc/app.conf"]"#, "/app", &["/data"]),
        // No bind of these can be swapped.
        (
            r#""Binds":["/home/u/p:/app","own:/app/node_modules","/app/x"],"Tmpfs":{"/app/tmp":""}"#,
            "/app/new",
            &["/app/v"],
        ),
        (r#""Binds":["/home/u/p:/app","/data/read:/app/vendor"]"#, "/app/vendor/x", &[]),
        (r#""Binds":["own:/v","fresh:/v/a"],"Tmpfs":{"/v/b":""}"#, "/v/c", &["/v/d"]),
        // What is in memory is new, and nobody else's.
        (r#""Binds":["/home/u/p/src:/t/src"],"Tmpfs":{"/t":""}"#, "/t/w", &[]),
    ] {
        if let Err(denied) = placed(fields, workdir, declared) {
            panic!("{fields}: {}", denied.message);
        }
    }
}

#[test]
fn no_working_directory_is_the_kernels() {
    for place in ["/proc", "/proc/1/fd/8", "/sys/fs", "/dev/fd/7", "//proc/1", "/w/../proc/self", "/./dev"] {
        let made = refused(with(&format!(r#""WorkingDir":"{place}""#)));
        assert!(made.message.contains("WorkingDir") && made.message.contains("/proc"), "{place}: {made:?}");
        let body = format!(r#"{{"Cmd":["x"],"WorkingDir":"{place}"}}"#);
        let taken = fields::read(body.as_bytes()).unwrap();
        let exec = crate::serve::decide::exec(&taken).expect_err("no exec is there");
        assert!(exec.message.contains("WorkingDir") && exec.message.contains("/proc"), "{place}: {exec:?}");
    }
    let mut found = found();
    if let Some(image) = &mut found.image {
        image.workdir = "/proc/1/fd/8".to_owned();
    }
    let taken = fields::read::<CreateBody>(br#"{"Image":"x"}"#).unwrap();
    let ask = CreateAsk { name: None, platform: None, taken };
    let of_image = refused(crate::serve::decide::create(&ask, &ground(), &found));
    assert!(of_image.message.contains("WorkingDir"), "{of_image:?}");
    for place in ["/", "/w", "/process", "/home/dev", "/w/proc", "/proc/../w"] {
        assert!(with(&format!(r#""WorkingDir":"{place}""#)).is_ok(), "{place}");
        let body = format!(r#"{{"Cmd":["x"],"WorkingDir":"{place}"}}"#);
        assert!(crate::serve::decide::exec(&fields::read(body.as_bytes()).unwrap()).is_ok(), "{place}");
    }
}

#[test]
fn beside_a_part_of_a_project_no_cover_lies_inside_a_mount() {
    let covers = |fields: &str, cover: &str| {
        let spec = with_host(fields).unwrap_or_else(|denied| panic!("{fields}: {}", denied.message));
        crate::serve::decide::places::refuse_covers([cover].into_iter(), &spec.mounts, &ROOTS)
    };
    for (fields, cover) in [
        (r#""Binds":["/home/u/p/src:/s"]"#, "/s/nologin/.env"),
        (r#""Binds":["/home/u/p:/app","/home/u/p/file:/x"]"#, "/app/.env"),
    ] {
        let denied = covers(fields, cover).expect_err("it is refused");
        assert!(denied.message.contains(cover) && denied.message.contains("instead"), "{denied:?}");
    }
    for (fields, cover) in [
        (r#""Binds":["/home/u/p:/app","own:/app/x"]"#, "/app/.env"),
        (r#""Binds":["/home/u/p/file:/etc/redis.conf"]"#, "/etc/redis.conf"),
        (r#""Binds":["/home/u/p/src:/s"]"#, "/run/ringfence/git"),
    ] {
        assert!(covers(fields, cover).is_ok(), "{fields} {cover}");
    }
}
