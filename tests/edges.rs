//! The command line at its edges: streams, variables, names that are no text, docker's words. No
//! engine is needed.

#[path = "support/program.rs"]
mod program;

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::process::{Command, Stdio};

use program::without_engine;

/// `ringfence` in `dir`, with an environment of its own and no engine.
fn ringfence(dir: &Path) -> Command {
    without_engine(dir, &dir.join("home"))
}

/// Its end: exit status and stderr.
fn end(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code(), said)
}

/// It ends with 125 and says this, and what to do.
fn refused(command: &mut Command, why: &str) {
    let (status, said) = end(command);
    assert_eq!(status, Some(125), "{said}");
    assert!(said.contains(why), "`{why}` is not in: {said}");
    assert!(said.contains("hint: ") || said.contains("error: invalid value"), "{said}");
}

/// It gets as far as the engine.
fn goes_on(command: &mut Command) {
    let (status, said) = end(command);
    assert!(status == Some(125) && said.contains("no container engine answers"), "{said}");
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn bytes(bytes: &[u8]) -> OsString {
    OsString::from_vec(bytes.to_vec())
}

#[test]
fn what_cannot_be_printed_is_no_success() {
    let dir = folder();
    for words in [&["--help"][..], &["run", "--help"], &["--version"], &["policy", "presets"]] {
        let full = || File::options().write(true).open("/dev/full").expect("/dev/full");
        let (status, said) = end(ringfence(dir.path()).args(words).stdout(full()));
        assert!(
            status == Some(125) && said.contains("cannot write to stdout"),
            "{words:?}: {status:?} {said}"
        );
        // The control, and a reader that has gone away.
        let (status, said) = end(ringfence(dir.path()).args(words).stdout(Stdio::null()));
        assert!(status == Some(0) && said.is_empty(), "{words:?}: {said}");
        let mut child = ringfence(dir.path()).args(words).stdout(Stdio::piped()).spawn().expect("it starts");
        drop(child.stdout.take());
        assert_eq!(child.wait().expect("it ends").code(), Some(0), "{words:?}");
        // Nobody hears what is wrong; the status says it.
        let silent = ringfence(dir.path()).arg("--wrong").stderr(full()).status().expect("it starts");
        assert_eq!(silent.code(), Some(125));
    }
}

#[test]
fn state_has_a_place_that_does_not_depend_on_where_a_run_is_started() {
    let dir = folder();
    let run = |variables: &[(&str, &str)]| {
        let mut command = ringfence(dir.path());
        command.env_remove("HOME").envs(variables.iter().copied()).args(["run", "image", "true"]);
        command
    };
    let whole = dir.path().join("state").display().to_string();
    goes_on(&mut run(&[("XDG_STATE_HOME", &whole)]));
    goes_on(&mut run(&[("XDG_STATE_HOME", "relative"), ("HOME", &whole)]));
    for none in [
        &[][..],
        &[("HOME", "")],
        &[("HOME", "relative")],
        &[("XDG_STATE_HOME", ""), ("HOME", ".")],
        &[("XDG_STATE_HOME", "relative")],
    ] {
        refused(&mut run(none), "no place for ringfence's state");
    }
    refused(&mut run(&[("XDG_STATE_HOME", "/proc/nowhere")]), "cannot create /proc/nowhere/ringfence");
    let file = dir.path().join("file");
    fs::write(&file, "").expect("a file");
    refused(&mut run(&[("XDG_STATE_HOME", &file.display().to_string())]), "cannot create");
    let left: Vec<_> =
        fs::read_dir(dir.path()).expect("a folder").flatten().map(|at| at.file_name()).collect();
    assert!(left.iter().all(|name| name == "state" || name == "file"), "{left:?}");
}

#[test]
fn what_is_no_text_is_refused_by_name_before_anything_is_done() {
    let dir = folder();
    let odd = bytes(b"odd\xff");
    fs::create_dir_all(dir.path().join(&odd).join("inner")).expect("a folder");
    std::os::unix::fs::symlink(&odd, dir.path().join("link")).expect("a link");
    refused(ringfence(dir.path()).args(["run", "image", "echo"]).arg(&odd), "argument 4, `odd");
    refused(
        ringfence(dir.path()).args(["run", "-v"]).arg(bytes(b"/a\xff:/b")).arg("image"),
        "argument 3, `/a",
    );
    refused(ringfence(dir.path()).args(["run", "--project"]).arg(&odd).arg("image"), "is no UTF-8");
    refused(ringfence(dir.path()).args(["run", "--project", "link", "image"]), "is no UTF-8");
    refused(ringfence(dir.path()).args(["run", "-v", "./link/inner:/x", "image"]), "is no UTF-8");
    let given = |value: &[u8]| {
        let mut command = ringfence(dir.path());
        command.env("ODD", bytes(value)).args(["run", "-e", "ODD", "image"]);
        command
    };
    refused(&mut given(b"\xff"), "-e ODD: its value here is no UTF-8");
    goes_on(&mut given("ä".as_bytes()));
}

#[test]
fn variables_are_read_as_docker_reads_them() {
    let dir = folder();
    let with = |text: &[u8]| {
        fs::write(dir.path().join("env"), text).expect("a file");
        let mut command = ringfence(dir.path());
        command.args(["run", "--env-file", "env", "image"]);
        command
    };
    goes_on(&mut with(b"\xef\xbb\xbfA=1\r\n# x\nB=a b\n"));
    refused(&mut with(b"A=1\nexport B=2\n"), "--env-file env: line 2: `export`");
    refused(&mut with(b"A B=1\n"), "line 1: the name `A B` has white space");
    refused(&mut with(b"A =1\n"), "line 1: the name `A ` has white space");
    refused(&mut with(b"=1\n"), "line 1: the variable has no name");
    refused(&mut with(b"\xff\xfeA\0=\0"), "it cannot be read");
    for bad in ["=x", ""] {
        refused(ringfence(dir.path()).args(["run", "-e", bad, "image"]), "-e: a variable needs a name");
    }
    for good in ["A=", "A", "A=b=c", "A B=1"] {
        goes_on(ringfence(dir.path()).args(["run", "-e", good, "image"]));
    }
}

#[test]
fn a_path_to_be_shown_is_found_however_it_is_written_or_refused() {
    let dir = folder();
    let project = dir.path().join("project");
    fs::create_dir_all(project.join("sub")).expect("a folder");
    for file in [".env", "sub/.env"] {
        fs::write(project.join(file), "TOKEN=x\n").expect("a file");
    }
    let check = |path: &str| {
        let mut command = ringfence(dir.path());
        command.args(["project", "check", "project", "--unmask", path]);
        let output = command.output().expect("the program starts");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let whole = project.canonicalize().expect("a path").join("sub/.env").display().to_string();
    for (path, shown, hidden) in [
        ("./.env", "unmasked  .env\n", "empty     sub/.env"),
        ("./sub/.env", "unmasked  sub/.env\n", "empty     .env"),
        (&whole, "unmasked  sub/.env\n", "empty     .env"),
        (".env", "unmasked  sub/.env\n", "unmasked  .env\n"),
    ] {
        let said = check(path);
        assert!(said.contains(shown) && said.contains(hidden), "{path}: {said}");
    }
    for path in ["./nowhere", "nowhere/.env", "sub/env", "*.key"] {
        for words in [&["project", "check", "project"][..], &["run", "--project", "project"]] {
            let mut command = ringfence(dir.path());
            command.args(words).args(["--unmask", path]);
            if words[0] == "run" {
                command.arg("image");
            }
            refused(&mut command, &format!("--unmask {path}: nothing in"));
        }
    }
    goes_on(ringfence(dir.path()).args(["run", "--project", "project", "--unmask", "./.env", "image"]));
}

#[test]
fn values_at_their_edges_are_refused_with_what_to_write() {
    let dir = folder();
    fs::create_dir(dir.path().join("d")).expect("a folder");
    for (options, why) in [
        (&["--memory", "0"][..], "no run is without a limit"),
        (&["--memory=-1"], "no run is without a limit"),
        (&["-m", "5m"], "at least 6MiB"),
        (&["--cpus", "0.001"], "from 0.01"),
        (&["--cpus", "nan"], "from 0.01"),
        (&["--pids-limit", "-1"], "no run is without a limit"),
        (&["--time", "0"], "over before it began"),
        (&["--time", "0s"], "over before it began"),
        (&["--time", "90"], "write 90s, 30m or 2h"),
        (&["-u", "99999999999"], "numbers up to 2147483647"),
        (&["-u", "-1"], "numbers up to 2147483647"),
        (&["-w", "relative"], "an absolute path in the container"),
        (&["--name", "a b"], "cannot be a workflow's name"),
        (&["--network", "host"], "never has the network of its host"),
        (&["--net", "bridge"], "in no network of the engine"),
        (&["--tmpfs", "/x:size=1m"], "write --tmpfs /x, and --memory"),
        (&["-v", "./d:/x:cached"], "write -v ./d:/x:rw"),
        (&["-v", "./d:/x:ro,z"], "write -v ./d:/x"),
        (&["-v", "/x"], "write --tmpfs /x"),
        (&["--mount", "type=bind,src=./d,dst=/x,readonly"], "write -v ./d:/x"),
        (&["--mount", "type=volume,src=v,dst=/x"], "volumes of the engine are not given"),
        (&["--rm=false"], "cannot be turned off"),
        (&["--tty=true"], "write --tty"),
        (&["-dit", "--detach-keys", "ctrl-x"], "start it with -d"),
        (&["--privileged"], "an agent never gets the machine"),
        (&["--hostname", "x"], "is called `agent`"),
        (&["--platform=linux/arm64"], "docker pull --platform"),
    ] {
        refused(ringfence(dir.path()).arg("run").args(options).args(["image", "true"]), why);
    }
    for options in [
        &["-m", "1.5g", "--cpus", "0.01", "--pids-limit", "7"][..],
        &["--rm", "--init", "--sig-proxy=true"],
        &["-u", "", "-w", "", "--entrypoint", ""],
        &["-u", "me:root", "--network", "none"],
        &["-v", "./d:/x:rw", "--tmpfs", "/y"],
        &["--"],
    ] {
        goes_on(ringfence(dir.path()).arg("run").args(options).args(["image", "--", "-x"]));
    }
    let (_, said) = end(ringfence(dir.path()).args(["run", "--rm", "image"]));
    assert!(said.contains("--rm changes nothing"), "{said}");
}
