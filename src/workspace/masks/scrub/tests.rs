//! Configuration of many programs, with and without secrets.

use super::*;

/// Returns the scrubbed text, or `clean` or `unclear`.
fn left(form: Form, text: &str) -> String {
    match scrub(form, text.as_bytes()) {
        Scrubbed::Clean => "clean".to_owned(),
        Scrubbed::Unclear => "unclear".to_owned(),
        Scrubbed::Masked(left) => String::from_utf8(left).unwrap().replace(MASK, "MASK"),
    }
}

#[test]
fn registry_settings_keep_their_mapping_and_lose_their_secrets() {
    assert_eq!(
        left(
            Form::Lines,
            "@corp:registry=https://npm.corp.example/\n//npm.corp.example/:_authToken=npm_abc\n//npm.corp.example/:_password=\"cHc=\"\n//npm.corp.example/:always-auth=true\nemail=me@corp.example\n"
        ),
        "@corp:registry=https://npm.corp.example/\n//npm.corp.example/:_authToken=MASK\n//npm.corp.example/:_password=\"MASK\"\n//npm.corp.example/:always-auth=true\nemail=me@corp.example\n"
    );
    assert_eq!(
        left(
            Form::Lines,
            "[global]\nindex-url = https://me:pw@pip.corp.example/simple\nextra-index-url=https://tok@x.example/\ntrusted-host = pip.corp.example\n"
        ),
        "[global]\nindex-url = https://MASK@pip.corp.example/simple\nextra-index-url=https://MASK@x.example/\ntrusted-host = pip.corp.example\n"
    );
    assert_eq!(
        left(Form::Lines, "[pypi]\nusername = __token__\npassword: pypi-xyz\n"),
        "[pypi]\nusername = __token__\npassword: MASK\n"
    );
    assert_eq!(
        left(
            Form::Lines,
            "npmScopes:\n  corp:\n    npmAuthToken: \"abc\"\n    npmRegistryServer: https://npm.corp.example\n"
        ),
        "npmScopes:\n  corp:\n    npmAuthToken: \"MASK\"\n    npmRegistryServer: https://npm.corp.example\n"
    );
    assert_eq!(
        left(Form::Lines, "org.gradle.jvmargs=-Xmx1g\nsigning.password=s\nnexusPassword = t\n"),
        "org.gradle.jvmargs=-Xmx1g\nsigning.password=MASK\nnexusPassword = MASK\n"
    );
    assert_eq!(
        left(
            Form::Lines,
            "[registries.corp]\nindex = \"sparse+https://c.example/\"\ntoken = \"Bearer x\" # mine\n"
        ),
        "[registries.corp]\nindex = \"sparse+https://c.example/\"\ntoken = \"MASK\" # mine\n"
    );
}

#[test]
fn clusters_and_clouds() {
    assert_eq!(
        left(
            Form::Lines,
            "clusters:\n- cluster:\n    certificate-authority-data: LS0t\n    server: https://k.example\nusers:\n- name: me\n  user:\n    client-certificate-data: LS0t\n    client-key-data: LS0tS0VZ\n    token: abc\n"
        ),
        "clusters:\n- cluster:\n    certificate-authority-data: LS0t\n    server: https://k.example\nusers:\n- name: me\n  user:\n    client-certificate-data: LS0t\n    client-key-data: MASK\n    token: MASK\n"
    );
    assert_eq!(
        left(Form::Json, r#"{"auths":{"r.example":{"auth":"dTpw"}},"credsStore":"desktop"}"#),
        "{\n  \"auths\": {\n    \"r.example\": {\n      \"auth\": \"MASK\"\n    }\n  },\n  \"credsStore\": \"desktop\"\n}"
    );
    assert_eq!(
        left(
            Form::Json,
            r#"{"github-oauth":{"github.com":"x"},"http-basic":{"h":{"username":"u","password":"p"}}}"#
        )
        .matches("MASK")
        .count(),
        3
    );
    assert_eq!(left(Form::Json, r#"{"auths":{"r.example":{}},"credsStore":"desktop"}"#), "clean");
}

#[test]
fn builds_in_xml() {
    assert_eq!(
        left(
            Form::Xml,
            "<settings><servers><server><id>x</id><username>u</username><password>p&amp;w</password></server></servers><mirrors><mirror><url>https://m.example</url></mirror></mirrors></settings>"
        ),
        "<settings><servers><server><id>x</id><username>u</username><password>MASK</password></server></servers><mirrors><mirror><url>https://m.example</url></mirror></mirrors></settings>"
    );
    assert_eq!(
        left(Form::Xml, "<property><name>Private-Token</name>\n<value>abc</value></property>"),
        "<property><name>Private-Token</name>\n<value>MASK</value></property>"
    );
    assert_eq!(
        left(
            Form::Xml,
            "<packageSources><add key=\"corp\" value=\"https://n.example\" /></packageSources><packageSourceCredentials><corp><add key=\"Username\" value=\"u\" /><add key=\"ClearTextPassword\" value=\"p\" /></corp></packageSourceCredentials><apikeys><add key=\"https://n.example\" value=\"ENC\" /></apikeys>"
        ),
        "<packageSources><add key=\"corp\" value=\"https://n.example\" /></packageSources><packageSourceCredentials><corp><add key=\"Username\" value=\"u\" /><add key=\"ClearTextPassword\" value=\"MASK\" /></corp></packageSourceCredentials><apikeys><add key=\"https://n.example\" value=\"MASK\" /></apikeys>"
    );
    assert_eq!(left(Form::Xml, "<password>${env.PASSWORD}</password>"), "clean".to_owned());
}

#[test]
fn what_was_commented_out_is_a_secret_still() {
    assert_eq!(left(Form::Lines, "# password = old\n;token=older\n"), "# password = MASK\n;token=MASK\n");
}

#[test]
fn git_remotes() {
    assert_eq!(
        left(
            Form::Git,
            "[remote \"origin\"]\n\turl = https://oauth2:glpat-abc@gitlab.com/a/b.git\n\tpushurl = ssh://git@gitlab.com/a/b.git\n[http \"https://gitlab.com/\"]\n\textraheader = AUTHORIZATION: basic abc\n"
        ),
        "[remote \"origin\"]\n\turl = https://MASK@gitlab.com/a/b.git\n\tpushurl = ssh://git@gitlab.com/a/b.git\n[http \"https://gitlab.com/\"]\n\textraheader = MASK\n"
    );
    assert_eq!(left(Form::Git, "[remote \"origin\"]\n\turl = git@gitlab.com:a/b.git\n"), "clean");
}

#[test]
fn what_refers_to_a_secret_is_none() {
    for text in [
        "//r.example/:_authToken=${NPM_TOKEN}\n",
        "npmAuthToken: \"${NPM_TOKEN:-}\"\n",
        "password_file = /run/pw\n",
        "[distutils]\nindex-servers = pypi\n",
        "index-url = https://${USER}:${PASS}@r.example/simple\n",
        "# the password: see the handbook\n",
    ] {
        assert_eq!(left(Form::Lines, text), "clean", "{text}");
    }
}

#[test]
fn what_cannot_be_read_for_certain_is_hidden() {
    for text in [
        "token: |\n  abc\n",
        "users: [{name: me, user: {token: [abc]}}]\n",
        "db = { user = \"u\", password = \"p\n\" }\n",
        "key = \"\"\"\nabc\n\"\"\"\n",
        "private_key = <<EOT\nabc\nEOT\n",
        "password = a\\\nb\n",
        "password = \"a\nb\"\n",
        "token\0 = a",
    ] {
        assert_eq!(left(Form::Lines, text), "unclear", "{text}");
    }
    assert_eq!(left(Form::Json, "{\"auths\": // logins\n {}}"), "unclear");
}

/// A program, the form that its file has in the list, and the file as the program wrote it. Each
/// `SEC` marks a secret, each `KEEP` what the agent needs.
const WRITTEN: &[(&str, Form, &str)] = &[
    (
        "yarn 1.22 config set",
        Form::Words,
        "# THIS IS AN AUTOGENERATED FILE. DO NOT EDIT THIS FILE DIRECTLY.\n# yarn lockfile v1\n\n\n\"//KEEP.example/:_authToken\" \"SEC y1 tok\"\n\"//KEEP.example/:_password\" SECcGFzcw==\n\"//r.example/:always-auth\" true\n\"_auth\" SECdTpwMQ==\nemail KEEP@b.c\nhttps-proxy \"http://me:SEC@KEEP:3128\"\nkey SECabc\nregistry \"https://KEEP.example\"\n",
    ),
    (
        "yarn 4 config set",
        Form::Lines,
        "npmAuthToken: SEC\n\nnpmRegistries:\n  //KEEP.example:\n    npmAuthIdent: \"u:SEC\"\n\nnpmScopes:\n  corp:\n    npmAuthToken: SECxxx\n    npmRegistryServer: KEEP\n",
    ),
    (
        "npm 11 config set",
        Form::Lines,
        "//KEEP.example/:_authToken=SEC\n//r.example/:_password=\"SEC==\"\nproxy=http://me:SEC@KEEP.example:3128\n//r.example/:keyfile=KEEP.pem\n",
    ),
    (
        "git config",
        Form::Git,
        "[credential]\n\thelper = KEEP\n[http]\n\tproxy = http://u:SEC@KEEP\n[http \"https://x.example\"]\n\textraHeader = Authorization: Basic SEC\n[sendemail]\n\tsmtppass = SEC\n[imap]\n\tpass = SEC\n[user]\n\tsigningkey = KEEP\n[url \"https://me:SEC@x.example/\"]\n\tinsteadOf = KEEP\n",
    ),
    (
        "kubectl config set-credentials",
        Form::Lines,
        "apiVersion: KEEP\nclusters: null\nusers:\n- name: KEEP\n  user:\n    auth-provider:\n      config:\n        client-secret: SEC\n        id-token: SEC\n        refresh-token: SEC\n      name: KEEP\n- name: e\n  user:\n    exec:\n      command: KEEP\n      env:\n      - name: MY_TOKEN\n        value: SEC\n",
    ),
    (
        "aws configure",
        Form::Lines,
        "[default]\nregion = KEEP\naws_secret_access_key = SEC/x\naws_session_token = SEC\n",
    ),
    ("gcloud config set", Form::Lines, "[proxy]\naddress = KEEP\npassword = SEC\n"),
    (
        "poetry config",
        Form::Lines,
        "[http-basic.corp]\nusername = \"u\"\npassword = \"SEC\"\n\n[pypi-token]\npypi = \"SEC\"\n\n[repositories.corp]\nurl = \"https://KEEP\"\n",
    ),
    (
        "bundle config",
        Form::Lines,
        "---\nBUNDLE_GEMS__CONTRIBSYS__CLOUD: \"SEC:SEC\"\nBUNDLE_PATH: \"KEEP\"\nBUNDLE_LOCAL__RACK: \"KEEP\"\nBUNDLE_MIRROR__HTTPS://RUBYGEMS__ORG/: \"https://u:SEC@KEEP\"\n",
    ),
    (
        "curl's manual",
        Form::Curl,
        "user = \"SEC:SEC\"\nproxy-user: SEC:SEC\n-u SEC:SEC\n-uSEC:SEC\n-sSu SEC:SEC\n--user=SEC:SEC\nuser SEC:SEC\noauth2-bearer = \"SEC\"\nheader = \"SEC: Bearer SEC\"\n-H \"SEC\"\nurl = \"https://SEC:SEC@KEEP/\"\nproxy = SEC:SEC@KEEP:3128\npass = \"SEC\"\ncert = \"SEC.pem:SEC\"\n-b \"SEC=SEC\"\nsome-new-option = SEC\n# KEEP this for the office\n# user = \"SEC:SEC\"\nconnect-timeout = KEEP\n-o KEEP\ncacert = KEEP\nsilent\n-L\n",
    ),
    (
        "redis.conf",
        Form::Words,
        "# requirepass KEEP\nbind KEEP\nrequirepass SEC\nmasterauth SEC\nuser default on >SEC ~* +@all\nsentinel auth-pass mymaster SEC\nport 6379\n",
    ),
    (
        "cargo login",
        Form::Lines,
        "[registry]\ntoken = \"SEC\\\"SEC\"\n[registries.corp]\nindex = \"KEEP\"\ncredential-provider = [\"KEEP\"]\n[http]\nproxy = \"me:SEC@KEEP:80\"\n",
    ),
    (
        "bunfig.toml",
        Form::Lines,
        "[install.scopes]\n\"@corp\" = { token = \"SEC\", url = \"https://KEEP/\" }\nother = { username = \"KEEP\", password = \"SEC\" , url = \"KEEP\"}\n",
    ),
    (
        "terraform",
        Form::Lines,
        "region = \"KEEP\"\ndb = {\n  host     = \"KEEP\"\n  password = \"SEC\"\n}\nsigningKey = \"SEC\"\nstorage_sas_url = \"SEC\"\nconnection_string = \"SEC\"\n",
    ),
    (
        "PyYAML",
        Form::Lines,
        "p:\n  token: SEC b\n    SEC b\n  host: KEEP\ntokens:\n- SEC\n- SEC\nhosts:\n- KEEP\nsecret:\n  a: SEC\n  b: SEC\nc: KEEP\n",
    ),
    ("Home Assistant", Form::Values, "# KEEP\nwifi: SEC\nmap:\n  pin: SEC123\n"),
    (
        "WordPress",
        Form::Php,
        "<?php\ndefine( 'DB_NAME', 'KEEP' );\ndefine( 'DB_PASSWORD', 'SEC\\'SEC' );\ndefine('AUTH_KEY',         'SEC');\ndefine('NONCE_SALT', \"SEC\");\n$wgDBpassword = \"SEC\";\n$d = ['password' => 'SEC', 'host' => 'KEEP'];\n$cfg['blowfish_secret'] = 'SEC';\n$x = getenv('KEEP');\n",
    ),
    (
        "JetBrains",
        Form::Xml,
        "<component><envs><env name=\"API_TOKEN\" value=\"SEC\" /><env name=\"MODE\" value=\"KEEP\" /></envs><jdbc-url>jdbc:postgresql://u:SEC@KEEP/db</jdbc-url></component>",
    ),
    (
        "composer config",
        Form::Json,
        "{\"custom-headers\": {\"KEEP.example\": [\"API-TOKEN: SEC\"]}, \"bitbucket-oauth\": {\"bitbucket.org\": {\"consumer-key\": \"SEC\"}}, \"x\": {\"token\": \"${KEEP}\"}}",
    ),
];

#[test]
fn what_programs_write_loses_its_secrets_and_nothing_else() {
    for (program, form, text) in WRITTEN {
        let Scrubbed::Masked(shown) = scrub(*form, text.as_bytes()) else {
            panic!("{program}: {:?}", scrub(*form, text.as_bytes()))
        };
        let shown = String::from_utf8(shown).unwrap();
        assert!(!shown.contains("SEC"), "{program}:\n{shown}");
        assert_eq!(shown.matches("KEEP").count(), text.matches("KEEP").count(), "{program}:\n{shown}");
    }
}

/// Returns what is left of a file whose name others have too.
fn judged(form: Form, path: &str, text: &str) -> String {
    match judge(form, Path::new(path), text.as_bytes()) {
        Scrubbed::Clean => "clean".to_owned(),
        Scrubbed::Unclear => "unclear".to_owned(),
        Scrubbed::Masked(left) => String::from_utf8(left).unwrap().replace(MASK, "MASK"),
    }
}

#[test]
fn what_only_has_the_name_of_a_store_keeps_its_words() {
    for (form, path, text) in [
        (
            Form::Json,
            "web/locales/de/auth.json",
            r#"{"login": {"password": "Passwort", "forgot": "Passwort vergessen?", "token_expired": "Der Token ist abgelaufen"}, "secret": "Geheimnis"}"#,
        ),
        (
            Form::Json,
            "public/de/auth.json",
            r#"{"password": "Passwort", "a": "Bitte gib dein Passwort ein", "b": "Das Token ist abgelaufen", "c": "Der Link ist nicht mehr gültig", "token": "Dein Token ist ungültig"}"#,
        ),
        (
            Form::Json,
            "i18n/ja/credentials.json",
            r#"{"title": "認証", "password": "パスワード", "apiKey": "キー", "token": "トークン"}"#,
        ),
        (
            Form::Values,
            "config/locales/secrets.yml",
            "de:\n  secrets:\n    password: Passwort\n    token: \"Zugriffs-Token\"\n    hint: >\n      Mindestens 12 Zeichen\n",
        ),
        (
            Form::Lines,
            "src/main/resources/i18n/credentials.properties",
            "title=Anmeldung\npassword=Passwort\npassword.forgotten=Passwort vergessen?\napi.key=API-Key eingeben\n",
        ),
        // As redis describes its commands.
        (
            Form::Json,
            "src/commands/auth.json",
            r#"{"AUTH": {"summary": "Authenticates the connection.", "arity": -2, "command_flags": ["NO_AUTH"], "arguments": [{"name": "password", "type": "string"}]}}"#,
        ),
        (
            Form::Json,
            "api/auth.json",
            r##"{"properties": {"password": {"type": "string", "format": "password", "minLength": 12, "description": "The password"}, "token": {"$ref": "#/x"}}}"##,
        ),
        (
            Form::Lines,
            "openapi/parameters.yaml",
            "password:\n  name: password\n  in: query\n  required: true\n  description: The user's password\n  schema:\n    type: string\n    format: password\n",
        ),
        (
            Form::Lines,
            "config/database.yml",
            "test:\n  username: app\n  password: <%= ENV[\"PW\"] %>\n  token: changeme\n",
        ),
        (
            Form::Lines,
            "x.tfvars",
            "db_password = \"<your password>\"\napi_token = \"xxxxxxxx\"\nkey = \"REPLACE_ME\"\n",
        ),
        (
            Form::Json,
            "credentials.json",
            r#"{"username": "you", "password": "your-password", "token": "${TOKEN}", "secret": "..."}"#,
        ),
        (
            Form::Words,
            "redis.conf",
            "# masterauth <master-password>\n# requirepass foobared\n# tls-key-file-pass secret\n#   \"nopass\" status. Moreover it sets\n# \"active expire key\".\nport 6379\n",
        ),
        (
            Form::Xml,
            "app/res/values/settings.xml",
            "<resources><password>password</password><token>changeme</token></resources>",
        ),
        (
            Form::Php,
            "config/autoload/x.local.php",
            "<?php return ['password' => 'changeme', 'token' => 'your-token'];",
        ),
    ] {
        assert_eq!(judged(form, path, text), "clean", "{path}: {text}");
    }
}

#[test]
fn a_real_value_in_such_a_file_is_still_taken() {
    for (form, path, text, least) in [
        // Stores by what they are, wherever they lie: a literal value counts.
        (
            Form::Json,
            "auth.json",
            r#"{"http-basic": {"r.example": {"username": "u", "password": "changeme"}}}"#,
            2,
        ),
        (
            Form::Json,
            "locales/de/auth.json",
            r#"{"github-oauth": {"github.com": "Geheimnis"}, "a": "b", "c": "d"}"#,
            1,
        ),
        (Form::Json, "containers/auth.json", r#"{"auths": {"r.example": {"auth": "dTpw"}}}"#, 1),
        (
            Form::Json,
            "credentials.json",
            r#"{"installed": {"client_secret": "GOCSPX-9dJq4TzX", "type": "string"}}"#,
            1,
        ),
        (
            Form::Xml,
            "ci/settings.xml",
            "<settings><servers><server><password>test</password></server></servers></settings>",
            1,
        ),
        (
            Form::Php,
            "configuration.php",
            "<?php class JConfig { public $password = 'test'; public $secret = 'x'; }",
            2,
        ),
        (Form::Lines, "profiles.yml", "p:\n  outputs:\n    dev:\n      password: test\n", 1),
        (Form::Values, "config/secrets.yml", "production:\n  secret_key_base: test\n  other: changeme\n", 2),
        // Real values among what is none.
        (
            Form::Json,
            "locales/de/auth.json",
            r#"{"password": "Passwort", "a": "Ein Text", "b": "Noch ein Text", "token": "9dJq4TzX0kV2", "c": "Text"}"#,
            1,
        ),
        (Form::Json, "locales/auth.json", r#"{"password": "hunter2", "token": "9dJq4TzX"}"#, 2),
        (Form::Json, "auth.json", r#"{"password": "Passwort", "token": "Geheimnis"}"#, 2),
        (
            Form::Json,
            "secrets.json",
            r#"{"ConnectionStrings": {"Db": "Server=x;Password=y"}, "Smtp:Password": "sommer", "ApiKey": 123456}"#,
            3,
        ),
        (
            Form::Json,
            "api/auth.json",
            r#"{"properties": {"password": {"type": "string", "default": "Tr0ub4dor-3"}}, "token": "9dJq4TzX"}"#,
            2,
        ),
        (Form::Values, "secrets.yaml", "wifi: sommer\nmap:\n  pin: a123\n", 2),
        (
            Form::Lines,
            "parameters.yml",
            "parameters:\n  database_password: sommer\n  secret: ThisTokenIsNotSoSecret9\n",
            2,
        ),
        (Form::Lines, "config/database.yml", "production:\n  password: sommer # test\n", 1),
        (Form::Lines, "prod.tfvars", "password = \"changeme-9dJq\"\n# token = \"old-one\"\n", 2),
        (Form::Words, "redis.conf", "requirepass sommer\nmasterauth test-9dJq\n", 2),
        (Form::Php, "x.local.php", "<?php return ['password' => 'sommer'];", 1),
        (Form::Lines, "auth.toml", "token = \"abc\"\n", 1),
    ] {
        assert_eq!(
            judged(form, path, text).matches("MASK").count(),
            least,
            "{path}: {}",
            judged(form, path, text)
        );
    }
}

#[test]
fn placeholders_count_in_a_store_and_not_in_its_comments() {
    assert_eq!(left(Form::Lines, "//r.example/:_authToken=changeme\n"), "//r.example/:_authToken=MASK\n");
    assert_eq!(left(Form::Lines, "# //r.example/:_authToken=<your token>\n; password = changeme\n"), "clean");
    assert_eq!(left(Form::Json, r#"{"auths":{"r.example":{"auth":"example"}}}"#).matches("MASK").count(), 1);
}
