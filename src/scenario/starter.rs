//! A first scenario, for `ringfence test --init`.

use super::read::is_image;

/// Returns the text of a first scenario for an image; none where that is no name of one.
pub(crate) fn text(image: &str) -> Option<String> {
    is_image(image).then(|| {
        format!(
            "\
# What the agent does without its network. Check: ringfence test FILE --check; run: ringfence test FILE
image: \"{}\"
# command: [agent, --goal, \"fix the tests\"]   # the image's own unless given
# policy: [gitlab@1, ./policy.yml]             # as `ringfence run --policy` takes them
# project: .                                   # each case gets a copy
# env: {{OPENAI_API_KEY: }}                      # without a value: the one that it has here

cases:
  - name: works with its network               # the control: without it the others prove little
    expect: {{exit: zero, within: 5m}}

  - name: offline from the start
    network: denied
    expect: {{exit: nonzero, within: 2m, attempts: {{per-second: 5}}}}

  - name: cut in mid-run, and restored
    network: [{{at: 5s, do: cut}}, {{at: 20s, do: restore}}]
    expect: {{exit: zero, within: 5m}}

  - name: names cannot be resolved for a while
    network: [{{at: 0s, do: dns=servfail}}, {{at: 10s, do: restore}}]
    expect: {{exit: zero, within: 5m}}

  - name: a slow network
    network: [{{at: 0s, do: latency=500ms}}, {{at: 0s, do: bandwidth=1mbit}}]
    expect: {{exit: zero, within: 10m}}

  - name: leaves the intranet alone
    expect: {{attempts: {{none: [\"tcp://10.0.0.0/8\", \"tcp://192.168.0.0/16\", \"tcp://172.16.0.0/12\"]}}}}
",
            image.replace('\\', "\\\\").replace('"', "\\\"")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::read::scenario;

    #[test]
    fn a_first_scenario_is_one() {
        for image in ["agent:1", "registry.example:5000/a/b@sha256:0123", "a\"b\\c"] {
            let read = scenario("s.yml", &text(image).unwrap());
            let read = read.map_err(|found| netpolicy::diagnostic::render(&found)).unwrap();
            assert_eq!((read.image.as_str(), read.cases.len()), (image, 6));
        }
        for image in ["", "-x", "a b", "a\n"] {
            assert!(text(image).is_none(), "{image:?}");
        }
    }
}
