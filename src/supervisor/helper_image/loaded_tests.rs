use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bollard::Docker;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;

use super::*;
use crate::supervisor::engine::dialect::example;
use crate::supervisor::helper_image::bundle::Digest;

const CONTENT: &[u8] = b"a layer";

fn image() -> Identity {
    Identity { architecture: "amd64".to_owned(), layer: Digest::of(CONTENT) }
}

/// Returns an engine's answer about the image, with its settings as Docker 20.10 writes them.
fn told(id: &str) -> Value {
    let mut settings = bundle::settings();
    let more = json!({
        "Hostname": "", "User": "", "AttachStdin": false, "Tty": false, "Cmd": null, "Image": "", "Volumes": null,
        "WorkingDir": "", "OnBuild": [], "ExposedPorts": {}
    });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "Id": id, "RepoTags": [image().tag()], "Architecture": "amd64", "Os": "linux", "Config": settings,
        "RootFS": {"Type": "layers", "Layers": [image().layer.diff_id()]}
    })
}

fn seen(told: Value, by: HelperImage) -> ImageState {
    compare(&serde_json::from_value(told).unwrap(), &image(), by)
}

#[test]
fn an_image_is_the_helper_image_by_its_layer_and_its_settings() {
    assert_eq!(seen(told("sha256:any"), HelperImage::ByName), ImageState::Same("sha256:any".to_owned()));
    let mut root = told("sha256:any");
    root["Config"]["WorkingDir"] = json!("/");
    assert_eq!(seen(root, HelperImage::ByName), ImageState::Same("sha256:any".to_owned()));

    for (name, value, why) in [
        ("Env", json!(["PATH=/usr/sbin:/usr/bin", "LD_PRELOAD=/x.so"]), "its Env is"),
        ("Env", json!(null), "it has no Env"),
        ("Entrypoint", json!(["/usr/bin/nft"]), "its Entrypoint is"),
        ("Cmd", json!(["fence"]), "its Cmd is"),
        ("User", json!("65532"), "its User is"),
        ("Volumes", json!({"/usr/bin": {}}), "its Volumes is"),
        ("WorkingDir", json!("/run"), "its WorkingDir is"),
        ("Labels", json!({"dev.ringfence.version": env!("CARGO_PKG_VERSION"), "more": "x"}), "its Labels is"),
        ("OnBuild", json!(["RUN x"]), "its OnBuild is"),
        (
            "Healthcheck",
            json!({"Test": ["CMD", "/usr/bin/ringfence", "fence", "apply"]}),
            "its Healthcheck is",
        ),
        ("ExposedPorts", json!({"80/tcp": {}}), "its ExposedPorts is"),
        ("StopSignal", json!("SIGSTOP"), "its StopSignal is"),
        ("Shell", json!(["/bin/sh"]), "its Shell is"),
    ] {
        let mut other = told("sha256:any");
        other["Config"][name] = value;
        let ImageState::Another(said) = seen(other, HelperImage::ByName) else {
            panic!("{name} was not seen")
        };
        assert!(said.starts_with(why), "{said}");
    }
    let own = image().layer.diff_id();
    for layers in [json!(null), json!([]), json!(["sha256:0"]), json!([own, own]), json!([own, "sha256:0"])] {
        let mut other = told("sha256:any");
        other["RootFS"]["Layers"] = layers;
        let ImageState::Another(said) = seen(other, HelperImage::ByName) else {
            panic!("other layers were not seen")
        };
        assert!(said.starts_with("its layers are"), "{said}");
    }
    for part in ["RootFS", "Config", "Id"] {
        let mut less = told("sha256:any");
        less.as_object_mut().unwrap().remove(part);
        assert!(matches!(seen(less, HelperImage::ByName), ImageState::Another(_)), "without {part}");
    }
}

#[test]
fn podman_is_held_to_the_hash_of_the_configuration_since_it_shows_less_of_it() {
    assert_eq!(
        seen(told(&id_by_configuration(&image())), HelperImage::ByHashOfConfiguration),
        ImageState::Same(id_by_configuration(&image()))
    );
    let other = format!("sha256:{}", "0".repeat(64));
    assert_eq!(
        seen(told(&other), HelperImage::ByHashOfConfiguration),
        ImageState::Another(format!("its id is {other}"))
    );
}

/// An engine with some images to show, one after the other at each look; what is loaded is kept.
struct Fake {
    name: String,
    looks: Vec<Option<Value>>,
    loaded: Vec<Vec<u8>>,
}

async fn answer(
    fake: Arc<Mutex<Fake>>,
    asked: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, text) = if asked.method() == Method::POST && asked.uri().path().ends_with("/images/load") {
        let body = asked.into_body().collect().await.unwrap().to_bytes();
        fake.lock().unwrap().loaded.push(body.to_vec());
        (StatusCode::OK, json!({"stream": "Loaded image\n"}))
    } else {
        let name = fake.lock().unwrap().name.clone();
        assert!(asked.uri().path().ends_with(&format!("/images/{name}/json")), "{}", asked.uri());
        match fake.lock().unwrap().looks.remove(0) {
            Some(told) => (StatusCode::OK, told),
            None => (StatusCode::NOT_FOUND, json!({"message": "No such image"})),
        }
    };
    let response = Response::builder().status(status).body(Full::new(Bytes::from(text.to_string())));
    Ok(response.unwrap())
}

fn engine_at(listener: &TcpListener) -> Engine {
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let api = Docker::connect_with_http(&address, 600, bollard::API_DEFAULT_VERSION).unwrap();
    Engine {
        api,
        host: address,
        dialect: Arc::new(example("Docker 20.10")),
        info: Default::default(),
        architecture: "amd64".to_owned(),
        local: true,
        creations: Default::default(),
    }
}

/// Asks an engine, and returns the outcome and the archives that were loaded.
async fn asked_of(name: &str, looks: Vec<Option<Value>>) -> (Result<String, Failure>, Vec<Vec<u8>>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let engine = Engine { dialect: Arc::new(example(name)), ..engine_at(&listener) };
    let by_name = engine.dialect.helper_image == HelperImage::ByName;
    let name = if by_name { image().tag() } else { id_by_configuration(&image()) };
    let fake = Arc::new(Mutex::new(Fake { name, looks, loaded: Vec::new() }));
    let served = fake.clone();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let served = served.clone();
            let service = service_fn(move |asked| answer(served.clone(), asked));
            let serving =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(serving);
        }
    });
    let result = ready(&engine, &image(), || Ok(bundle::write("amd64", CONTENT).unwrap())).await;
    server.abort();
    let loaded = std::mem::take(&mut fake.lock().unwrap().loaded);
    assert!(fake.lock().unwrap().looks.is_empty(), "it looked less often");
    (result, loaded)
}

#[tokio::test]
async fn what_is_used_is_what_was_seen_and_another_image_is_replaced_or_refused() {
    let good = || Some(told("sha256:good"));
    let foreign = || {
        let mut other = told("sha256:foreign");
        other["RootFS"]["Layers"] = json!(["sha256:0"]);
        Some(other)
    };
    let own = bundle::write("amd64", CONTENT).unwrap();

    let (result, loaded) = asked_of("Docker 20.10", vec![good()]).await;
    assert_eq!((result.unwrap().as_str(), loaded), ("sha256:good", vec![]));
    for before in [None, foreign()] {
        let (result, loaded) = asked_of("Docker 20.10", vec![before, good()]).await;
        assert_eq!((result.unwrap().as_str(), loaded), ("sha256:good", vec![own.clone()]));
    }
    let (result, loaded) = asked_of("Docker 20.10", vec![foreign(), foreign()]).await;
    let failure = result.unwrap_err();
    assert!(failure.message.ends_with("is not the helper image"), "{failure}");
    assert_eq!((failure.causes, loaded.len()), (vec!["its layers are [\"sha256:0\"]".to_owned()], 1));
    let (result, _) = asked_of("Docker 20.10", vec![None, None]).await;
    assert!(result.unwrap_err().message.contains("does not know ringfence-helper:"));

    let (result, loaded) =
        asked_of("Podman 5.4", vec![None, Some(told(&id_by_configuration(&image())))]).await;
    assert_eq!((result.unwrap(), loaded), (id_by_configuration(&image()), vec![own]));
}

#[test]
fn each_piece_that_is_taken_is_heard_of() {
    let archive: Vec<u8> = (0..=255).cycle().take(2 * PIECE + 7).collect();
    let (pieces, mut moves) = pieces(archive.clone());
    let mut pieces = std::pin::pin!(pieces);
    let mut taken = Vec::new();
    while let Some(piece) = pieces.next().now_or_never().unwrap() {
        assert!(moves.has_changed().unwrap(), "after {} bytes", taken.len());
        moves.mark_unchanged();
        taken.extend(piece);
    }
    assert!(taken == archive);
}

/// Measures how long an engine is heard out that takes a piece each `pause`, `pieces` times, and
/// says that it is done a minute later.
async fn heard_out(pieces: usize, pause: Duration) -> (Result<(), Failure>, Duration) {
    let (moved, moves) = watch::channel(());
    let taking = async move {
        for _ in 0..pieces {
            tokio::time::sleep(pause).await;
            moved.send_replace(());
        }
    };
    let answers = stream::once(taking.then(|()| tokio::time::sleep(Duration::from_secs(60))).map(Ok));
    let began = tokio::time::Instant::now();
    let result = to_the_end(answers, moves).await;
    (result, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_slow_engine_is_waited_for_and_a_still_one_is_not() {
    let (result, took) = heard_out(10, SILENCE - Duration::from_secs(1)).await;
    result.unwrap();
    assert!(took > 9 * SILENCE, "{took:?}");
    for pieces in [1, 10] {
        let (result, took) = heard_out(pieces, 2 * SILENCE).await;
        assert_eq!(result.unwrap_err().causes, ["it took nothing and said nothing for 10 minutes"]);
        assert!(took < SILENCE + Duration::from_secs(1), "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_took_all_may_unpack_for_as_long_and_no_longer() {
    for (unpacking, good) in
        [(SILENCE - Duration::from_secs(1), true), (SILENCE + Duration::from_secs(1), false)]
    {
        let (moved, moves) = watch::channel(());
        drop(moved);
        let answers = stream::once(tokio::time::sleep(unpacking).map(Ok));
        assert_eq!(to_the_end(answers, moves).await.is_ok(), good, "{unpacking:?}");
    }
}
