use super::*;
use crate::serve::request::calls::BodyKind;

const ENGINE: ApiMinor = ApiMinor(45);

fn call(method: &str, target: &str) -> Result<ApiCall, Denied> {
    read(method, target, ENGINE).map(|request| request.call)
}

fn status(method: &str, target: &str) -> u16 {
    call(method, target).unwrap_err().status
}

#[test]
fn the_calls_of_real_clients_are_read() {
    for (method, target) in [
        ("HEAD", "/_ping"),
        ("GET", "/_ping"),
        ("HEAD", "/v1.12/_ping"),
        ("GET", "/version"),
        ("GET", "/v1.41/info"),
        ("POST", "/v1.41/containers/create?name=web"),
        ("POST", "/containers/create?Image=debian&Cmd=a&Cmd=b&Labels=%7B%7D&name=web"),
        ("POST", "/v1.41/containers/0123456789ab/attach?stderr=1&stdout=1&stream=1"),
        ("POST", "/v1.41/containers/web/wait?condition=removed"),
        ("POST", "/v1.41/containers/web/resize?h=40&w=120"),
        ("POST", "/exec/0123/start"),
        ("GET", "/v1.41/images/library/debian:12/json"),
        ("GET", "/v1.41/images/r.example:5000/a/b@sha256:00/json"),
        ("GET", "/v1.41/networks?filters=%7B%22name%22%3A%7B%22x%22%3Atrue%7D%7D"),
        ("POST", "/v1.41/networks/net/connect"),
        ("DELETE", "/v1.41/volumes/data?force=1"),
        ("PUT", "/v1.41/containers/web/archive?path=%2F&noOverwriteDirNonDir=1"),
        ("GET", "/v1.41/containers/web/stats?stream=0"),
        ("GET", "/v1.41/containers/json?all=1&filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D&limit=-1"),
    ] {
        assert!(call(method, target).is_ok(), "{method} {target}: {:?}", call(method, target));
    }
    let created = call("POST", "/v1.41/containers/create?name=web&platform=linux/amd64").unwrap();
    assert_eq!(created.body(), BodyKind::Json);
    let ApiCall::CreateContainer { name, platform } = created else { panic!("another call") };
    assert_eq!((name.unwrap().as_str(), platform.as_deref()), ("web", Some("linux/amd64")));
    assert_eq!(call("GET", "/containers/web/logs").unwrap().body(), BodyKind::Nothing);
    let ApiCall::Container(of, ContainerCall::Stats { stream: true, .. }) =
        call("GET", "/containers/w%65b/stats").unwrap()
    else {
        panic!("another call")
    };
    assert_eq!(of.as_str(), "web");
}

#[test]
fn an_endpoint_without_a_rule_is_no_page() {
    for (method, target) in [
        ("GET", "/v1.41/nothing"),
        ("GET", "/v1.41/containers/json/more"),
        ("GET", "/v1.41/containers"),
        ("POST", "/v1.41/containers/json"),
        ("get", "/v1.41/containers/json"),
        ("PATCH", "/v1.41/containers/web"),
        ("GET", "/v1.41/Containers/json"),
        ("GET", "/v1.41/images/json/x/y"),
        ("GET", "/v1.41/images/../json"),
        ("CONNECT", "/v1.41/containers/json"),
        ("PRI", "*"),
    ] {
        assert!([404, 400].contains(&status(method, target)), "{method} {target}");
    }
    assert_eq!(call("GET", "/v1.41/nothing").unwrap_err(), Denied::page());
}

#[test]
fn a_refused_endpoint_says_why() {
    for (method, target, wanted) in [
        ("POST", "/v1.41/build?remote=http://127.0.0.1/x", 403),
        ("POST", "/build/prune", 403),
        ("POST", "/session", 501),
        ("POST", "/grpc", 501),
        ("POST", "/v1.41/auth", 403),
        ("GET", "/v1.41/images/search?term=x", 403),
        ("POST", "/v1.41/images/load?quiet=1", 403),
        ("GET", "/v1.41/images/get?names=x", 403),
        ("GET", "/v1.41/images/a/b/get", 403),
        ("POST", "/v1.41/images/a/b/push", 403),
        ("POST", "/v1.41/images/a/tag?repo=b", 403),
        ("DELETE", "/v1.41/images/a/b", 403),
        ("GET", "/v1.41/images/a/attestations", 403),
        ("POST", "/v1.41/images/create?fromSrc=http://127.0.0.1/x", 403),
        ("POST", "/v1.41/images/create?fromSrc=-", 403),
        ("POST", "/v1.41/images/create?fromImage=ok&fromSrc=-", 403),
        ("GET", "/v1.41/distribution/a/b/json", 403),
        ("GET", "/v1.41/containers/web/attach/ws", 403),
        ("POST", "/v1.41/containers/web/checkpoints", 403),
        ("DELETE", "/v1.41/containers/web/checkpoints/x", 403),
        ("POST", "/v1.41/commit?container=web", 403),
        ("PUT", "/v1.41/volumes/x?version=1", 403),
        ("GET", "/v1.41/plugins", 403),
        ("POST", "/v1.41/plugins/a/b/enable", 403),
        ("POST", "/v1.41/swarm/init", 403),
        ("GET", "/v1.41/swarm", 403),
        ("GET", "/nodes", 403),
        ("POST", "/services/create", 403),
        ("GET", "/tasks/x/logs", 403),
        ("GET", "/secrets", 403),
        ("POST", "/configs/create", 403),
        ("GET", "/debug/pprof/profile", 403),
    ] {
        let denied = call(method, target).unwrap_err();
        assert_eq!(denied.status, wanted, "{method} {target}");
        assert!(
            denied.message.starts_with("ringfence: ") && denied.message.contains(';'),
            "{}",
            denied.message
        );
    }
}

#[test]
fn a_version_is_checked_and_passed_on() {
    assert_eq!(read("GET", "/v1.43/info", ENGINE).unwrap().version, ApiMinor(43));
    assert_eq!(read("GET", "/info", ENGINE).unwrap().version, ENGINE);
    assert_eq!(read("GET", "/v1.99/_ping", ENGINE).unwrap().version, ENGINE, "a look is answered under any");
    for old in ["/v1.23/containers/x/start", "/v1.40/containers/json", "/v1.46/containers/json", "/v1.1/info"]
    {
        let method = if old.ends_with("start") { "POST" } else { "GET" };
        let denied = call(method, old).unwrap_err();
        assert!(denied.message.starts_with("client version 1."), "{}", denied.message);
    }
}

#[test]
fn a_parameter_of_another_form_is_refused() {
    for (method, target) in [
        ("POST", "/containers/create?name=a1&name=b1"),
        ("POST", "/containers/create?name=ringfence-x"),
        ("POST", "/containers/create?name=0123456789ab"),
        ("POST", "/containers/create?platform=a%20b"),
        ("POST", "/containers/web/rename?name=ok&name=other"),
        ("POST", "/containers/web/rename"),
        ("POST", "/containers/web/wait?condition=x"),
        ("POST", "/containers/web/resize?h=1"),
        ("POST", "/containers/web/resize?h=1&w=-1"),
        ("POST", "/containers/web/kill?signal=a%26b"),
        ("POST", "/containers/web/stop?t=x"),
        ("POST", "/containers/web/stop?t=999999"),
        ("DELETE", "/containers/web?link=1"),
        ("GET", "/containers/web/archive"),
        ("GET", "/containers/web/logs?since=a%20b"),
        ("GET", "/containers/json?filters=x"),
        ("GET", "/containers/json?filters=%7B%22label%22%3A%5B%22dev.ringfence.role%22%5D%7D"),
        ("POST", "/images/create?fromImage=a&tag=b:c:d@e"),
        ("POST", "/images/create?fromImage=http://x/y"),
        ("POST", "/images/create"),
    ] {
        assert_eq!(status(method, target), 400, "{method} {target}");
    }
    for absent in ["/containers/a%20b/json", "/containers/a%3fb/json", "/containers/-a/json"] {
        assert_eq!(status("GET", absent), 404, "{absent}");
    }
}
