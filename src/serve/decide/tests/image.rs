//! The variant of an image that is decided upon is the one that runs.

use super::*;

/// Decides with a platform that a client asks for, and an image.
fn of_image(asked: Option<&str>, change: impl FnOnce(&mut Image)) -> Result<MemberSpec, Denied> {
    let taken = fields::read::<CreateBody>(br#"{"Image":"x"}"#)?;
    let mut found = found();
    change(found.image.as_mut().expect("an image"));
    let ask = CreateAsk { name: None, platform: asked.map(str::to_owned), taken };
    crate::serve::decide::create(&ask, &ground(), &found)
}

#[test]
fn the_platform_is_that_of_the_image_that_was_looked_at() {
    for asked in [None, Some(""), Some("linux/amd64"), Some("amd64"), Some("linux")] {
        let spec = of_image(asked, |_| {}).unwrap_or_else(|denied| panic!("{asked:?}: {}", denied.message));
        assert_eq!(spec.platform.to_string(), "linux/amd64", "{asked:?}");
    }
    let arm = |image: &mut Image| image.platform = ImagePlatform::read("linux", "arm64", "v8");
    assert_eq!(of_image(None, arm).unwrap().platform.to_string(), "linux/arm64/v8");
    for asked in ["linux/386", "linux/arm64", "windows/amd64", "linux/amd64/v3", "x"] {
        let denied = refused(of_image(Some(asked), |_| {}));
        assert!(denied.message.contains("linux/amd64") && denied.message.contains(asked), "{denied:?}");
    }
}

#[test]
fn an_image_that_the_engine_does_not_describe_is_refused() {
    let denied = refused(of_image(None, |image| image.platform = None));
    assert!(denied.message.contains("no variant"), "{denied:?}");
}

#[test]
fn labels_of_an_image_are_bounded_as_the_engines_lists_write_them() {
    let labels = |value: String| {
        move |image: &mut Image| image.labels = BTreeMap::from([("org.example.text".to_owned(), value)])
    };
    assert!(of_image(None, labels("x".repeat(32_000))).is_ok());
    for long in ["x".repeat(33_000), "<".repeat(6_000)] {
        let denied = refused(of_image(None, labels(long)));
        assert!(denied.message.contains("labels"), "{denied:?}");
    }
}
