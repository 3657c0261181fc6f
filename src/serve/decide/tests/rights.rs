use super::*;

#[test]
fn capabilities_are_a_runs_or_fewer() {
    let kept = |fields: &str| with_host(fields).map(|spec| spec.capabilities.join(" "));
    let usual = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID";
    for (fields, wanted) in [
        ("", usual),
        (r#""CapDrop":["ALL"]"#, ""),
        (r#""CapDrop":["all"],"CapAdd":["CAP_CHOWN","setuid"]"#, "CHOWN SETUID"),
        (r#""CapDrop":["KILL","CAP_FSETID"]"#, "CHOWN DAC_OVERRIDE FOWNER SETGID SETUID"),
        (r#""CapAdd":["CHOWN","NET_BIND_SERVICE"]"#, usual),
    ] {
        assert_eq!(kept(fields).as_deref(), Ok(wanted), "{fields}");
    }
    for name in [
        "NET_ADMIN",
        "cap_net_raw",
        "SYS_ADMIN",
        "ALL",
        "all",
        "SYS_PTRACE",
        "MKNOD",
        "CAP_CAP_CHOWN",
        "",
        "BPF",
    ] {
        let denied = refused(with_host(&format!(r#""CapAdd":["{name}"]"#)));
        assert!(denied.message.starts_with("ringfence: HostConfig.CapAdd: "), "{name}: {}", denied.message);
    }
    // Another user has none, as in a run.
    let body = written(&with(r#""User":"1000""#).unwrap());
    assert_eq!(body.host_config.unwrap().cap_add, Some(vec![]));
}

#[test]
fn namespaces_of_others_are_refused() {
    for field in ["PidMode", "IpcMode", "UTSMode", "UsernsMode", "CgroupnsMode"] {
        for mode in ["host", "container:db", "container:ffff", "Host", "ns:/x"] {
            let denied = refused(with_host(&format!(r#""{field}":"{mode}""#)));
            assert!(denied.message.contains(field), "{}", denied.message);
        }
        for mode in ["", "private"] {
            assert!(with_host(&format!(r#""{field}":"{mode}""#)).is_ok(), "{field} {mode}");
        }
    }
    let host = written(&with_host(r#""IpcMode":"shareable""#).unwrap()).host_config.unwrap();
    assert_eq!((host.ipc_mode.as_deref(), host.pid_mode, host.uts_mode), (Some("private"), None, None));
}

#[test]
fn ringfences_profile_is_in_force_whatever_is_asked_for() {
    for (option, warned) in [
        ("no-new-privileges", false),
        ("no-new-privileges:true", false),
        ("no-new-privileges=false", true),
        ("seccomp=unconfined", true),
        ("seccomp:unconfined", true),
        ("label=disable", true),
    ] {
        let spec = with_host(&format!(r#""SecurityOpt":["{option}"]"#)).unwrap();
        assert_eq!(!spec.warnings.is_empty(), warned, "{option}");
        let options = written(&spec).host_config.unwrap().security_opt.unwrap();
        assert_eq!(options, ["no-new-privileges", "seccomp={\"profile\":1}"], "{option}");
    }
    for bad in [
        "apparmor=unconfined",
        "systempaths=unconfined",
        "label=type:x",
        "writable-cgroups=true",
        "seccomp={}",
        "seccomp=/x",
        "",
        "x",
    ] {
        assert_eq!(refused(with_host(&format!(r#""SecurityOpt":["{bad}"]"#))).status, 400, "{bad}");
    }
}

#[test]
fn settings_of_the_kernel_are_those_of_the_own_ipc_namespace() {
    for (name, value) in
        [("kernel.shmmax", "1"), ("kernel.sem", "250 32000 100 128"), ("fs.mqueue.msg_max", "10")]
    {
        let spec = with_host(&format!(r#""Sysctls":{{"{name}":"{value}"}}"#)).unwrap();
        assert_eq!(spec.sysctls[name], value);
    }
    for (name, value) in [
        ("net.ipv4.ip_local_port_range", "1 2"),
        ("net.ipv4.ip_forward", "1"),
        ("net/ipv4/ip_forward", "1"),
        ("kernel.core_pattern", "|/x"),
        ("kernel.sem ", "1"),
        ("kernel.shm/../../x", "1"),
        ("kernel.shmmax", "x"),
        ("vm.overcommit_memory", "1"),
    ] {
        assert_eq!(refused(with_host(&format!(r#""Sysctls":{{"{name}":"{value}"}}"#))).status, 400, "{name}");
    }
}

#[test]
fn limits_are_the_policys_at_most() {
    let limits = |fields: &str| with_host(fields).unwrap().limits;
    let most = Limits::default();
    let usual = limits("");
    assert_eq!((usual.memory, usual.pids, usual.nano_cpus), (most.memory, most.pids, most.nano_cpus));
    assert_eq!(usual.ulimits["nofile"], (16_384, 16_384));
    let huge = limits(
        r#""Memory":9223372036854775807,"NanoCpus":999000000000,"PidsLimit":-1,"ShmSize":99999999999999,"CpuShares":262144"#,
    );
    assert_eq!((huge.memory, huge.nano_cpus, huge.pids), (most.memory, most.nano_cpus, most.pids));
    assert_eq!((huge.shm, huge.cpu_shares), (most.memory, Some(1024)));
    let small = limits(r#""Memory":67108864,"NanoCpus":500000000,"PidsLimit":10,"MemoryReservation":1"#);
    assert_eq!((small.memory, small.nano_cpus, small.pids, small.shm), (64 << 20, 500_000_000, 10, 64 << 20));
    assert_eq!(limits(r#""CpuQuota":50000,"CpuPeriod":100000"#).nano_cpus, 500_000_000);
    assert_eq!(limits(r#""CpuQuota":9223372036854775807,"CpuPeriod":1"#).nano_cpus, most.nano_cpus);
    let files =
        limits(r#""Ulimits":[{"Name":"nofile","Soft":-1,"Hard":-1},{"Name":"core","Soft":0,"Hard":-1}]"#)
            .ulimits;
    assert_eq!((files["nofile"], files["core"]), ((16_384, 16_384), (0, -1)));
    let priority = with_host(r#""Ulimits":[{"Name":"rtprio","Soft":99,"Hard":99}]"#).unwrap();
    assert!(!priority.limits.ulimits.contains_key("rtprio") && !priority.warnings.is_empty());
    for bad in [
        r#""Memory":1"#,
        r#""OomScoreAdj":-1"#,
        r#""OomScoreAdj":2000"#,
        r#""CpusetCpus":"0;x""#,
        r#""Ulimits":[{"Name":"x","Soft":1,"Hard":1}]"#,
        r#""Ulimits":[{"Name":"nproc","Soft":2,"Hard":1}]"#,
        r#""GroupAdd":["0"]"#,
        r#""GroupAdd":["999"]"#,
        r#""GroupAdd":["root"]"#,
        r#""GroupAdd":["4294967295"]"#,
        r#""GroupAdd":["a b"]"#,
    ] {
        assert_eq!(refused(with_host(bad)).status, 400, "{bad}");
    }
    assert_eq!(with_host(r#""GroupAdd":["audio","1000"]"#).unwrap().groups, ["audio", "1000"]);
}

#[test]
fn output_stays_on_the_engines_machine() {
    for (driver, warned) in
        [("json-file", false), ("", false), ("local", false), ("syslog", true), ("fluentd", true)]
    {
        let asked =
            format!(r#""LogConfig":{{"Type":"{driver}","Config":{{"syslog-address":"udp://127.0.0.1"}}}}"#);
        let spec = with_host(&asked).unwrap();
        assert_eq!(spec.warnings.iter().any(|warning| warning.contains("LogConfig")), warned, "{driver}");
        let log = written(&spec).host_config.unwrap().log_config.unwrap();
        assert_eq!(log.typ.as_deref(), Some("json-file"));
        assert!(!log.config.unwrap().contains_key("syslog-address"));
    }
}

#[test]
fn labels_and_variables_of_ringfence_are_its_own() {
    for label in ["dev.ringfence.role", "dev.ringfence.asked", "DEV.ringfence.x"] {
        assert!(
            refused(with(&format!(r#""Labels":{{"{label}":"x"}}"#))).message.contains("Labels"),
            "{label}"
        );
    }
    let spec =
        with(r#""Labels":{"a":null},"Env":["A=b","HTTP_PROXY=http://p","no_proxy=x","RINGFENCE=0","B"]"#)
            .unwrap();
    assert_eq!((spec.env.join(" "), spec.labels["a"].as_str()), ("A=b B".to_owned(), ""));
    assert!(spec.warnings.iter().any(|warning| warning.contains("proxies")));
    assert_eq!(written(&spec).labels.unwrap()["dev.ringfence.role"], "member");
    assert_eq!(refused(with(r#""Env":["A=\u0000"]"#)).status, 400);
    assert_eq!(refused(with(r#""User":"a\u001b""#)).status, 400);
}

#[test]
fn labels_hold_neither_variables_nor_command_lines() {
    for mounts in ["[]", r#"["/home/u/p:/w"]"#] {
        let spec = with(&format!(
            r#""Env":["KEY=s3cret-a"],"Cmd":["run","--password=s3cret-b"],"Entrypoint":["e","s3cret-c"],
            "Shell":["s3cret-d"],"Healthcheck":{{"Test":["CMD","s3cret-e"]}},"HostConfig":{{"Binds":{mounts}}}"#
        ))
        .unwrap();
        // Every event of the engine has a container's labels.
        assert!(!spec.asked.label().contains("s3cret"), "{}", spec.asked.label());
        assert_eq!(spec.asked.entrypoint, 2);
    }
}

#[test]
fn a_health_check_leaves_a_second() {
    let spec =
        with(r#""Healthcheck":{"Test":["CMD","x"],"Interval":1,"StartInterval":5,"Timeout":7,"Retries":2}"#)
            .unwrap();
    let health = spec.health.clone().unwrap();
    assert_eq!(
        (health.interval, health.start_interval, health.timeout),
        (Some(1_000_000_000), Some(1_000_000_000), Some(7))
    );
    assert_eq!(spec.warnings.len(), 2, "{:?}", spec.warnings);
}
