//! How a room reads a table of its own, and what mistakes look like.

use super::*;
use crate::config::SecretRef;

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Room {
    #[serde(rename = "type")]
    kind: String,
    password: Option<SecretRef>,
    mode: Option<Mode>,
    #[serde(default)]
    port: u16,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    VerifyFull,
    Disable,
}

fn failure(text: &str) -> String {
    Section::from_text(text).and_then(|section| section.parse::<Room>()).unwrap_err().to_string()
}

#[test]
fn a_room_reads_its_table_into_its_own_type() {
    let room: Room = Section::from_text("type = \"x\"\nport = 5\nmode = \"verify-full\"").unwrap().parse().unwrap();
    assert_eq!((room.kind.as_str(), room.port), ("x", 5));
    assert!(matches!(room.mode, Some(Mode::VerifyFull)));
    assert!(room.password.is_none());
}

#[test]
fn every_mistake_of_a_table_is_shown_at_once() {
    insta::assert_snapshot!(failure("typ = \"x\"\nmode = \"verify-ful\"\nport = \"http\"\n"), @r#"
        error: unknown key `typ`
         --> configuration:1:1
          |
        1 | typ = "x"
          | ^^^ did you mean `type`?

        error: unknown value `verify-ful`
         --> configuration:2:8
          |
        2 | mode = "verify-ful"
          |        ^^^^^^^^^^^^ did you mean `verify-full`?

        error: wrong type for `port`: found string "http"
         --> configuration:3:8
          |
        3 | port = "http"
          |        ^^^^^^ expected a whole number, 0 or more

        error: missing key `type`
         --> configuration
           = add `type = ...`
        "#);
}

#[test]
fn a_secret_reference_has_exactly_one_known_key_and_never_a_value() {
    let cases = [
        ("password = { file = \"a\", env = \"b\" }", "error: a secret reference has exactly one key\n"),
        ("password = {}", "error: an empty secret reference\n"),
        ("password = { fil = \"hunter2\" }", "error: unknown key `fil`\n"),
        ("password = { command = [] }", "error: an empty command\n"),
        ("password = { credential = \"../hunter2\" }", "error: a credential is a plain name\n"),
        ("password = \"hunter2\"", "error: a secret never stands in a configuration file\n"),
        ("password = 12345", "error: a secret never stands in a configuration file\n"),
        ("password = [\"12345\"]", "error: wrong type for `password`: found a list\n"),
    ];
    for (text, headline) in cases {
        let error = failure(&format!("type = \"x\"\n{text}\n"));
        assert!(error.starts_with(headline), "{error}");
        let shown = error.contains("hunter2") || error.contains("12345");
        // A reference says where a secret is, so it may be shown.
        assert!(!shown || text.contains("credential"), "{error}");
    }
}

#[test]
fn a_room_points_at_its_own_finding() {
    let section = Section::from_text("type = \"x\"\nport = 0\n").unwrap();
    assert_eq!(
        section.error_at("port", "port 0 cannot be reached", "1 to 65535").to_string(),
        "error: port 0 cannot be reached\n --> configuration:2:8\n  |\n2 | port = 0\n  |        ^ 1 to 65535"
    );
}
