//! Keeps the house as it is drawn: which room may name which, and that only `cli` prints.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that never import each other; `operations` introduces them to one another.
const ISLANDS: [&str; 7] = ["sources", "repository", "targets", "catalog", "scratch", "proof", "report"];

/// The rooms that files of `room` may name as `crate::...`, its own aside; `None` where the room is not drawn.
fn allowed(room: &str) -> Option<Vec<&'static str>> {
    let below = |rooms: &[&'static str]| Some(rooms.to_vec());
    match room {
        "domain" => below(&[]),
        "system" => below(&["domain"]),
        "config" => below(&["domain", "system"]),
        island if ISLANDS.contains(&island) => below(&["config", "domain", "system"]),
        "operations" => Some([&ISLANDS[..], &["config", "domain", "system"]].concat()),
        "cli" => Some([&ISLANDS[..], &["config", "domain", "system", "operations"]].concat()),
        "main" | "lib" => Some([&ISLANDS[..], &["config", "domain", "system", "operations", "cli"]].concat()),
        _ => None,
    }
}

/// What is wrong in one file: `path:line: message`.
///
/// Reads text, not syntax: comments are stripped, braces of a `use crate::{...}` that spans lines are joined. `super::`
/// cannot leave a room unnoticed, because only `crate::` and as many `super::` as the file is deep lead to another one.
fn violations(path: &str, text: &str) -> Vec<String> {
    let room = room_of(path);
    let Some(allowed) = allowed(room) else {
        return vec![format!("{path}:1: `{room}` is not a room: draw it in src/lib.rs, docs/ARCHITECTURE.md and here")];
    };
    let mut found = vec![];
    let code = code_lines(text);
    for (at, line) in code.iter().enumerate() {
        for named in rooms_named(&code, at) {
            if named != room && !allowed.contains(&named.as_str()) && self::allowed(&named).is_some() {
                let why = if ISLANDS.contains(&room) && ISLANDS.contains(&named.as_str()) {
                    "rooms beside each other meet only in `operations`"
                } else {
                    "imports point down: cli, operations, rooms, config, system, domain"
                };
                found.push(format!("{path}:{}: `{room}` names `crate::{named}`, but {why}", at + 1));
            }
        }
        if supers(line) > depth_of(path) {
            found.push(format!("{path}:{}: `super::` leaves the room; write `crate::`", at + 1));
        }
        let prints = ["println!", "eprintln!", "print!", "eprint!", "io::stdout", "io::stderr"];
        if room != "cli"
            && room != "main"
            && let Some(word) = prints.iter().find(|word| holds_word(line, word))
        {
            found.push(format!("{path}:{}: `{word}` outside `cli`: return it or send a progress event", at + 1));
        }
    }
    found
}

/// `src/sources/postgres/mod.rs` -> `sources`; `src/lib.rs` -> `lib`.
fn room_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    inside.split('/').next().unwrap_or(inside).trim_end_matches(".rs")
}

/// How many `super::` stay within the room: those of a test module inside the file included.
fn depth_of(path: &str) -> usize {
    let inside = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs").trim_end_matches("/mod");
    inside.split('/').count()
}

/// Lines without comments; the text of strings stays, which errs on the strict side.
fn code_lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned()).collect()
}

/// The first path segments after `crate::` in the statement that begins or goes on in line `at`.
fn rooms_named(code: &[String], at: usize) -> Vec<String> {
    let mut rooms = vec![];
    for (start, _) in code[at].match_indices("crate::") {
        let before = code[at][..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let mut rest = code[at][start + "crate::".len()..].to_owned();
        if rest.trim_start().starts_with('{') {
            // The list may go on; whatever the first `;` ends belongs to it.
            for line in &code[at + 1..] {
                if rest.contains(';') {
                    break;
                }
                rest.push_str(line);
            }
            rooms.extend(first_segments(&rest));
        } else {
            rooms.push(identifier(&rest));
        }
    }
    rooms
}

/// `{domain::{Gap, Job}, report}` -> `domain`, `report`.
fn first_segments(list: &str) -> Vec<String> {
    let mut segments = vec![];
    let mut depth = 0;
    let mut expects = false;
    for (at, c) in list.char_indices() {
        match c {
            '{' => {
                depth += 1;
                expects = depth == 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            ',' => expects = depth == 1,
            c if expects && (c.is_alphanumeric() || c == '_') => {
                segments.push(identifier(&list[at..]));
                expects = false;
            }
            _ => {}
        }
    }
    segments
}

fn identifier(text: &str) -> String {
    text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The longest run of `super::` in the line, counted to 8.
fn supers(line: &str) -> usize {
    (1..=8).take_while(|times| line.contains(&"super::".repeat(*times))).last().unwrap_or(0)
}

/// Whether `word` stands in `line` and is not the end of a longer name (`print!` in `eprint!`).
fn holds_word(line: &str, word: &str) -> bool {
    line.match_indices(word)
        .any(|(at, _)| !line[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_'))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_names_only_rooms_that_it_may_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![];
    rust_files(&root.join("src"), &mut files);
    assert!(files.len() > 20, "the sources were not found");
    let mut found = vec![];
    for file in files {
        let path = file.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        found.extend(violations(&path, &fs::read_to_string(&file).unwrap()));
    }
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn every_room_is_drawn_in_the_crate_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lib = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let page = fs::read_to_string(root.join("docs/ARCHITECTURE.md")).unwrap();
    for line in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let name = line.trim_end_matches(';');
        assert!(allowed(name).is_some(), "`{name}` has no direction in tests/architecture.rs");
        assert!(page.contains(&format!("`{name}`")), "`{name}` is not in docs/ARCHITECTURE.md");
    }
}

#[test]
fn a_violation_is_named_with_file_line_and_reason() {
    let check = |path: &str, text: &str, expected: &[&str]| assert_eq!(violations(path, text), expected, "{text}");
    let island =
        "src/report/html.rs:2: `report` names `crate::proof`, but rooms beside each other meet only in `operations`";
    check("src/report/html.rs", "use crate::domain::Gap;\nuse crate::proof::Check;\n", &[island]);
    check("src/report/html.rs", "\nlet x = crate::proof::check();", &[island]);
    check("src/report/html.rs", "\nuse crate::{\n    domain::{Gap, proof},\n    proof::Check,\n};", &[island]);
    check("src/report/html.rs", "\npub(in crate::proof) fn f() {}", &[island]);
    check(
        "src/domain/ids.rs",
        "use crate::system::clock;",
        &[
            "src/domain/ids.rs:1: `domain` names `crate::system`, but imports point down: cli, operations, rooms, config, system, domain",
        ],
    );
    check(
        "src/targets/s3.rs",
        "fn f() {\n    println!(\"x\");\n}",
        &["src/targets/s3.rs:2: `println!` outside `cli`: return it or send a progress event"],
    );
    check(
        "src/targets/s3.rs",
        "use super::super::super::proof;",
        &["src/targets/s3.rs:1: `super::` leaves the room; write `crate::`"],
    );
    check(
        "src/attic/mod.rs",
        "",
        &["src/attic/mod.rs:1: `attic` is not a room: draw it in src/lib.rs, docs/ARCHITECTURE.md and here"],
    );
}

#[test]
fn what_is_allowed_is_not_reported() {
    for (path, text) in [
        ("src/report/html.rs", "use crate::domain::{Gap, Mismatch};\nuse crate::report::model;"),
        ("src/report/html.rs", "// use crate::proof::Check;\nuse super::model;"),
        ("src/operations/backup.rs", "use crate::{sources::Source, targets::Target, system::clock};"),
        ("src/cli/mod.rs", "use crate::operations::backup;\nfn f() { println!(\"done\"); }"),
        ("src/system/user.rs", "use crate::domain::Secret;\nlet my_crate::x = 1;"),
    ] {
        assert_eq!(violations(path, text), Vec::<String>::new(), "{text}");
    }
}
