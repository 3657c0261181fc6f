use super::*;
use crate::serve::decide::member::MemberMount;

fn mounts(fields: &str) -> Vec<MemberMount> {
    with_host(fields).unwrap_or_else(|denied| panic!("{fields}: {}", denied.message)).mounts
}

fn bind(text: &str) -> String {
    format!(r#""Binds":[{}]"#, serde_json::json!(text))
}

/// Decides a bind of a directory that exists.
fn with_source(path: &str, access: &str) -> Result<MemberSpec, Denied> {
    let body = format!(r#"{{"Image":"x","HostConfig":{{"Binds":["{path}:/x:{access}"]}}}}"#);
    let taken = fields::read::<CreateBody>(body.as_bytes())?;
    let mut found = found();
    let there = FoundSource { path: PathBuf::from(path), kind: SourceKind::Directory, linked: false };
    found.sources.insert(path.to_owned(), there);
    crate::serve::decide::create(&CreateAsk { name: None, platform: None, taken }, &ground(), &found)
}

fn paths(mounts: &[MemberMount]) -> Vec<(String, bool)> {
    let path = |mount: &MemberMount| match &mount.source {
        MountSource::Path { path, .. } => Some((path.display().to_string(), mount.writable)),
        _ => None,
    };
    mounts.iter().filter_map(path).collect()
}

#[test]
fn paths_below_the_roots_are_given() {
    for (text, path, writable) in [
        ("/home/u/p:/w", "/home/u/p", true),
        ("/home/u/p/src:/w:ro", "/home/u/p/src", false),
        ("/home/u/p/src:/w:cached,rw", "/home/u/p/src", true),
        ("/home/u/p/file:/etc/app.conf:z", "/home/u/p/file", true),
        ("/home/u/p/docs:/w", "/home/u/p/docs", false),
        ("/data/read:/w:rw", "/data/read", false),
    ] {
        assert_eq!(paths(&mounts(&bind(text))), [(path.to_owned(), writable)], "{text}");
    }
    let MountSource::Path { make, .. } = &mounts(&bind("/home/u/p/new:/w"))[0].source else {
        panic!("no path")
    };
    assert!(make, "as engines do, and compose relies on it");
    let body = written(&with_host(&bind("/home/u/p/new:/w")).unwrap());
    let options = body.host_config.unwrap().mounts.unwrap().remove(0).bind_options.unwrap();
    assert_eq!(options.create_mountpoint, Some(false), "the engine makes nothing on the machine");
}

#[test]
fn other_paths_are_refused() {
    for text in [
        "/etc:/x",
        "/:/host",
        "/home/u/pp:/x",
        "/home/u/to-etc:/x",
        "/home/u/p/link:/x",
        "/home/u/p/fifo:/x",
        "/home/u/p/docs/new:/x",
        "/home/u/p/../../../etc:/x",
        "/home/u/p/./../x:/x",
        "/home/u/p/unknown:/x",
        "/var/run/docker.sock:/var/run/docker.sock",
        "/run/user/1000/ringfence/docker.sock:/var/run/docker.sock:rw",
        "/home/u/p:/x:shared",
        "/home/u/p:/x:rslave",
        "/home/u/p:/x:exec",
        "/home/u/p:/x:ro:y",
        "/home/u/p:/",
        "/home/u/p:/proc/x",
        "/home/u/p:/sys",
        "/home/u/p:/run/ringfence/init",
        "/home/u/p:/sbin/docker-init",
        "/home/u/p:/sbin",
        "/home/u/p:/usr",
        "/home/u/p:/etc/ringfence",
        "/home/u/p:/etc/resolv.conf",
        "/home/u/p:/etc/hosts",
        "/home/u/p:relative",
        "/home/u/p:/a/../proc",
        "/home/u/p\u{0}/x:/x",
        ":/x",
        "",
    ] {
        assert_eq!(refused(with_host(&bind(text))).status, 400, "{text}");
    }
    for path in ["/home/u/p/.git", "/home/u/p/sub/.GIT/hooks", "/home/u/p/.envrc"] {
        assert!(refused(with_source(path, "rw")).message.contains("runs code"), "{path}");
    }
    assert!(refused(with_source("/home/u/p/.git", "ro")).message.contains("runs code"));
    assert!(with_source("/home/u/p/.vscode", "ro").is_ok(), "what is read runs nothing");
    let twice = r#""Binds":["/home/u/p:/x","/data/read:/x"]"#;
    assert!(refused(with_host(twice)).message.contains("two things"));
    let over = r#""Binds":["/home/u/p:/w","/data/read:/w/.git/hooks"]"#;
    assert!(refused(with_host(over)).message.contains("protected"));
    let over = r#""Binds":["/home/u/p:/w","/data/read:/w/sub/.GIT"]"#;
    assert!(refused(with_host(over)).message.contains("protected"));
    // A part of a project can be swapped for a link while the engine makes what is missing in it.
    for fields in [
        r#""Binds":["/home/u/p/src:/w","/w/sub"]"#,
        r#""Binds":["/home/u/p/src:/w","/home/u/p/file:/w/sub/file"]"#,
        r#""Binds":["/home/u/p/docs:/w","fresh:/w/sub"]"#,
        r#""Binds":["/home/u/p/src:/w"],"Mounts":[{"Type":"tmpfs","Target":"/w/sub"}]"#,
        r#""Binds":["/home/u/p/src:/w"],"Tmpfs":{"/w/sub":""}"#,
    ] {
        assert!(refused(with_host(fields)).message.contains("swapped"), "{fields}");
    }
    let inside = r#""Binds":["/home/u/p:/w","/w/node_modules"],"Tmpfs":{"/w/sub":""}"#;
    assert!(with_host(inside).is_ok(), "a root is in nobody's reach");
    let workdir = |source: &str, place: &str| {
        with(&format!(r#""WorkingDir":"{place}","HostConfig":{{"Binds":["{source}:/w"]}}"#))
    };
    assert!(refused(workdir("/home/u/p/src", "/w/x/../new")).message.contains("swapped"));
    for (source, place) in [("/home/u/p/src", "/w"), ("/home/u/p/src", "/wx"), ("/home/u/p", "/w/new")] {
        assert!(workdir(source, place).is_ok(), "{source} {place}");
    }
    let many: Vec<String> = (0..300).map(|n| format!("\"/home/u/p:/w{n}\"")).collect();
    assert_eq!(refused(with_host(&format!(r#""Binds":[{}]"#, many.join(",")))).status, 400);
}

#[test]
fn mounts_are_of_three_kinds() {
    let mount = |rest: &str| format!(r#""Mounts":[{{"Target":"/x",{rest}}}]"#);
    for bad in [
        r#""Type":"image","Source":"debian""#,
        r#""Type":"npipe","Source":"x""#,
        r#""Type":"cluster","Source":"x""#,
        r#""Type":"","Source":"/home/u/p""#,
        r#""Type":"BIND","Source":"/home/u/p""#,
        r#""Type":"bind","Source":"/etc""#,
        r#""Type":"bind","Source":"""#,
        r#""Type":"bind","Source":"own""#,
        r#""Type":"bind","Source":"/home/u/p","BindOptions":{"Propagation":"rshared"}"#,
        r#""Type":"bind","Source":"/home/u/p/new""#,
        r#""Type":"volume","Source":"theirs""#,
        r#""Type":"volume","Source":"/etc""#,
        r#""Type":"volume","Source":"../x""#,
        r#""Type":"volume","Source":"ringfence-0-volume""#,
        r#""Type":"volume","Source":"own","VolumeOptions":{"DriverConfig":{"Name":"nfs"}}"#,
        r#""Type":"volume","VolumeOptions":{"DriverConfig":{"Name":"local","Options":{"o":"bind","device":"/etc"}}}"#,
        r#""Type":"volume","Source":"own","VolumeOptions":{"Subpath":"../.."}"#,
        r#""Type":"volume","Source":"own","VolumeOptions":{"Labels":{"dev.ringfence.role":"agent"}}"#,
        r#""Type":"tmpfs","Source":"/etc""#,
        r#""Type":"tmpfs","TmpfsOptions":{"Options":[["exec"]]}"#,
    ] {
        let status = refused(with_host(&mount(bad))).status;
        assert!([400, 409].contains(&status), "{bad}");
    }
    let made = mounts(&mount(
        r#""Type":"volume","Source":"fresh","ReadOnly":true,"VolumeOptions":{"NoCopy":true,"Labels":{"a":"b"}}"#,
    ));
    let MountSource::Volume { name, labels, no_copy } = &made[0].source else { panic!("no volume") };
    assert_eq!(
        (name.as_deref(), labels["a"].as_str(), *no_copy, made[0].writable),
        (Some("fresh"), "b", true, false)
    );
    let made = mounts(&mount(r#""Type":"tmpfs","TmpfsOptions":{"SizeBytes":99999999999999,"Mode":4095}"#));
    assert_eq!(made[0].source, MountSource::Memory { size: 2 << 30, mode: Some(0o1777) });
    let made = mounts(&mount(
        r#""Type":"bind","Source":"/home/u/p/new","BindOptions":{"CreateMountpoint":true,"NonRecursive":true}"#,
    ));
    assert!(matches!(made[0].source, MountSource::Path { make: true, alone: true, .. }));
    assert_eq!(refused(with_host(r#""Binds":["theirs:/x"]"#)).status, 409);
}

#[test]
fn volumes_of_the_image_and_without_a_name_are_made_by_ringfence() {
    let spec =
        with(r#""Volumes":{"/cache":{},"/w":{}},"HostConfig":{"Binds":["/home/u/p:/w","/anonymous"]}"#)
            .unwrap();
    let targets: Vec<&str> = spec.mounts.iter().map(|mount| &*mount.target).collect();
    assert_eq!(targets, ["/w", "/anonymous", "/cache", "/var/lib/db"]);
    assert_eq!(spec.asked.targets, ["/anonymous", "/cache", "/var/lib/db", "/w"]);
    let over = with_host(r#""Tmpfs":{"/var/lib/db":""}"#).unwrap();
    assert!(over.mounts.is_empty(), "memory stands in its place");
}

#[test]
fn memory_has_known_options() {
    let options = |text: &str| with_host(&format!(r#""Tmpfs":{{"/x":"{text}"}}"#));
    for (text, wanted) in [
        ("", "rw,noexec,nosuid,nodev,mode=1777,size=2147483648"),
        ("size=64m,mode=700,exec", "rw,exec,nosuid,nodev,mode=700,size=67108864"),
        ("size=1k,uid=1000,gid=7,ro", "ro,noexec,nosuid,nodev,uid=1000,gid=7,mode=1777,size=1024"),
        ("size=999g,mode=4755", "rw,noexec,nosuid,nodev,mode=755,size=2147483648"),
    ] {
        assert_eq!(options(text).unwrap().tmpfs["/x"], wanted, "{text}");
    }
    for bad in [
        "suid",
        "dev",
        "size=50%",
        "size=x",
        "mode=9",
        "uid=root",
        "context=x",
        "bind",
        "size=-1",
        "nr_inodes=1",
    ] {
        assert_eq!(refused(options(bad)).status, 400, "{bad}");
    }
    assert_eq!(refused(with_host(r#""Tmpfs":{"/proc":""}"#)).status, 400);
    assert_eq!(refused(with_host(r#""Binds":["/home/u/p:/x"],"Tmpfs":{"/x":""}"#)).status, 400);
}
