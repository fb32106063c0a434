//! Reports: the truth table of the answer, and what each format makes of good, bad and missing news.

use insta::assert_snapshot;
use jiff::{SignedDuration, Timestamp};
use lifeboat::domain::record::Instant;
use lifeboat::domain::verdict::CheckResult;
use lifeboat::domain::{Evidence, Gap, JobName, Mismatch, Reason, SnapshotId, TargetName, Verdict};
use lifeboat::report::{
    Answer, BackupLine, CopyLine, CopyState, FORMATS, Format, JobReport, Measured, Objectives, Outcome, RECORD_VERSION,
    ReportModel, RunLine, TestLine, Word, answer, files, read_record, render,
};
use sha2::{Digest, Sha256};

const NOW: &str = "2026-08-23T05:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn hours_ago(hours: i64) -> Timestamp {
    now() - SignedDuration::from_hours(hours)
}

fn target(name: &str) -> TargetName {
    TargetName::new(name).unwrap()
}

fn snapshot() -> SnapshotId {
    SnapshotId::new("0123456789abcdef").unwrap()
}

fn format(name: &str) -> Format {
    name.parse().unwrap()
}

fn gap(what: &str, why: &str) -> Gap {
    Gap { what: what.into(), why: why.into() }
}

fn evidence() -> Evidence {
    Evidence {
        groups: 42,
        rows: 1_234_567,
        bytes: 310 << 20,
        objects: 310,
        objects_by_kind: vec![("table".into(), 42), ("index".into(), 87), ("grant".into(), 181)],
        engine_counts: 42,
        checks: vec![CheckResult {
            check: "newest status".into(),
            expected: "at most 26 h old".into(),
            actual: "2 h old".into(),
            held: true,
        }],
        sampled: None,
        undecided: vec![],
    }
}

fn proven() -> Verdict {
    Verdict::Proven { evidence: evidence() }
}

fn failed() -> Verdict {
    let mut evidence = evidence();
    evidence.checks[0].held = false;
    evidence.checks[0].actual = "61 h old".into();
    let rows = Mismatch {
        what: "table public.statuses".into(),
        difference: "rows differ: 2 missing, 1 extra".into(),
        expected: "1 000 000 rows".into(),
        actual: "999 999 rows".into(),
    };
    Verdict::conclude(vec![rows], evidence)
}

fn lacking() -> Verdict {
    Verdict::Unproven { reason: Reason::Needs { needs: vec!["extension postgis 3.4".into(), "postgres 18".into()] } }
}

fn test(name: &str, at: Timestamp, dumped_at: Timestamp, verdict: Verdict) -> TestLine {
    TestLine {
        target: target(name),
        snapshot: snapshot(),
        dumped_at,
        at,
        verdict,
        measured: Measured {
            recovery_ms: 95_400,
            fetch_ms: 21_000,
            load_ms: 93_800,
            compare_ms: 41_250,
            check_ms: 12,
            bytes: 310 << 20,
            scratch: "postgres 15.18, private instance".into(),
        },
    }
}

fn backup(targets: &[&str]) -> BackupLine {
    let copy = |name: &&str| CopyLine {
        target: target(name),
        place: format!("s3://lifeboat-{name}/prod"),
        at: Some(hours_ago(2)),
        state: CopyState::Committed,
    };
    BackupLine {
        snapshot: snapshot(),
        at: hours_ago(3),
        instants: vec![Instant { of: "database social".into(), at: "2026-08-23T02:00:01Z".into() }],
        bytes_read: 310 << 20,
        rows: 1_234_567,
        bytes_stored: 12 << 20,
        duration_ms: 61_300,
        gaps: vec![],
        copies: targets.iter().map(copy).collect(),
    }
}

/// A job that was backed up to all `targets` and restored as `tests` say: target and verdict, tested two hours ago.
fn job(name: &str, targets: &[&str], tests: &[(&str, Verdict)]) -> JobReport {
    JobReport {
        name: JobName::new(name).unwrap(),
        kind: "postgres".into(),
        targets: targets.iter().map(|name| target(name)).collect(),
        objectives: Objectives::default(),
        last_backup: Some(backup(targets)),
        tests: tests.iter().map(|(name, verdict)| test(name, hours_ago(2), hours_ago(26), verdict.clone())).collect(),
        history: vec![],
        limits: vec![],
    }
}

fn model(jobs: Vec<JobReport>) -> ReportModel {
    ReportModel {
        record: RECORD_VERSION,
        generated_at: now(),
        since: Some(hours_ago(7 * 24)),
        lifeboat: "0.1.0".into(),
        host: "db1".into(),
        jobs,
        limits: vec![],
    }
}

/// Two jobs, two targets, everything proven.
fn all_good() -> ReportModel {
    let both = [("b2-eu", proven()), ("nas", proven())];
    let mut social = job("social", &["b2-eu", "nas"], &both);
    social.objectives = Objectives { rto_secs: Some(1800), rpo_secs: Some(93_600) };
    model(vec![social, job("billing", &["b2-eu", "nas"], &both)])
}

/// Every kind of trouble at once, with names that try to break each format.
fn all_bad() -> ReportModel {
    let mut social = job("social", &["b2-eu", "nas"], &[("b2-eu", failed()), ("nas", proven())]);
    social.objectives = Objectives { rto_secs: Some(60), rpo_secs: Some(3600) };
    social.limits = vec![gap("materialised view public.trends", "a restore computes it anew")];
    let last = social.last_backup.as_mut().unwrap();
    last.gaps = vec![gap("table public.audit", "excluded by the job")];
    last.instants.push(Instant { of: "database forum".into(), at: "2026-08-23T02:00:19Z".into() });
    last.copies[1].state = CopyState::Failed { error: "s3://lifeboat-nas/prod is full: 0 bytes left".into() };
    social.history = vec![
        RunLine {
            at: hours_ago(2),
            verb: "restore-test".into(),
            outcome: Outcome::Failed,
            snapshot: Some(snapshot()),
            target: Some(target("b2-eu")),
            duration_ms: 136_000,
            bytes_read: 310 << 20,
            bytes_stored: 0,
            message: "2 things differ".into(),
        },
        RunLine {
            at: hours_ago(3),
            verb: "backup".into(),
            outcome: Outcome::Partial,
            snapshot: Some(snapshot()),
            target: None,
            duration_ms: 61_300,
            bytes_read: 310 << 20,
            bytes_stored: 12 << 20,
            message: "target `nas` is full".into(),
        },
    ];
    let maps = job("maps", &["b2-eu"], &[("b2-eu", lacking())]);
    let odd = job("<script>alert(1)<script> & \"it's\" | *odd*", &["b2-eu", "nas"], &[]);
    let mut fresh = job("fresh", &["nas"], &[]);
    fresh.last_backup = None;
    let mut model = model(vec![social, maps, odd, fresh]);
    model.limits = vec![gap("passwords of roles", "the provider does not let them be read")];
    model
}

/// A Redis as its own people speak of it.
fn queues() -> JobReport {
    let held = CheckResult {
        check: "`LLEN queue:default`".into(),
        expected: "<= 100000".into(),
        actual: "12".into(),
        held: true,
    };
    let seen = Evidence {
        groups: 7,
        rows: 12_000,
        bytes: 3 << 20,
        engine_counts: 7,
        checks: vec![held],
        ..Evidence::default()
    };
    let mut queues = job(
        "queues",
        &["b2-eu", "nas"],
        &[("b2-eu", Verdict::Proven { evidence: seen.clone() }), ("nas", Verdict::Proven { evidence: seen })],
    );
    queues.kind = "redis".into();
    queues.last_backup.as_mut().unwrap().rows = 1;
    queues
}

#[test]
fn postgres_and_redis_stand_side_by_side_each_in_its_own_words() {
    let both = [("b2-eu", proven()), ("nas", proven())];
    let model = model(vec![job("social", &["b2-eu", "nas"], &both), queues()]);
    let html = render(&model, "html".parse().unwrap());
    let (postgres, redis) = html.split_once("queues <small>redis</small>").expect("a section for each job, in order");
    let postgres = postgres.split_once("social <small>postgres</small>").unwrap().1;
    assert!(
        postgres.contains("42 tables, 1\u{202f}234\u{202f}567 rows, 310 catalog objects, 1 check compared"),
        "{postgres}"
    );
    assert!(postgres.contains("Tables, by fingerprint") && !postgres.contains("keys"));
    assert!(redis.contains("7 groups of keys, 12\u{202f}000 keys, 1 check compared"), "{redis}");
    assert!(redis.contains("310 MiB, 1 key<") && redis.contains("Groups of keys, by fingerprint"), "{redis}");
    for other in ["rows", "Rows", "table<", "Tables", "atalog"] {
        assert!(!redis.contains(other), "{other}: {redis}");
    }
    let markdown = render(&model, "md".parse().unwrap());
    let redis = markdown.split_once("## queues (redis)").unwrap().1;
    assert!(
        redis.contains("310 MiB read, 1 key, ") && !redis.contains(" rows") && !redis.contains("tables"),
        "{redis}"
    );
}

/// A command's stream has neither rows nor tables, and bytes without a test are no proof.
#[test]
fn a_job_of_commands_is_told_without_rows_and_bytes_alone_answer_no() {
    let held = CheckResult {
        check: "test `./check.sh`".into(),
        expected: "exit status 0".into(),
        actual: "it exited 0, having read all 3.00 MiB".into(),
        held: true,
    };
    let seen = Evidence { groups: 1, bytes: 3 << 20, checks: vec![held], ..Evidence::default() };
    let of = |verdict: Verdict| {
        let mut job = job("documents", &["nas"], &[("nas", verdict)]);
        job.kind = "command".into();
        job.last_backup.as_mut().unwrap().rows = 0;
        model(vec![job])
    };
    let proven = of(Verdict::Proven { evidence: seen });
    let bytes_only = of(Verdict::Unproven { reason: Reason::BytesOnly { bytes: 3 << 20 } });
    assert_eq!(answer(&bytes_only).word, Word::Unknown);
    for format in ["html", "md", "junit"] {
        let (proven, bytes_only) =
            (render(&proven, format.parse().unwrap()), render(&bytes_only, format.parse().unwrap()));
        if format != "junit" {
            assert!(proven.contains("1 stream, 1 check compared"), "{proven}");
        }
        assert!(bytes_only.contains("nothing has tried to use them"), "{bytes_only}");
        for other in [" rows", "Rows", "tables", "Tables", "atalog"] {
            assert!(!proven.contains(other) && !bytes_only.contains(other), "{other} in {format}");
        }
    }
}

fn answer_to(jobs: Vec<JobReport>) -> Answer {
    answer(&model(jobs))
}

#[test]
fn the_answer_never_says_more_than_the_newest_tests_showed() {
    let one = |tests: &[(&str, Verdict)]| vec![job("a", &["x", "y"], tests)];
    let no_backup = || {
        let mut job = job("n", &["x"], &[]);
        job.last_backup = None;
        job
    };
    let broken = Verdict::Unproven { reason: Reason::Scratch { message: "killed".into() } };
    let cases: Vec<(&str, Vec<JobReport>, Word)> = vec![
        ("no job", vec![], Word::Unknown),
        ("never tested", one(&[]), Word::Unknown),
        ("only unproven", one(&[("x", lacking()), ("y", broken.clone())]), Word::Unknown),
        ("said to be not tested", one(&[("x", Verdict::Unproven { reason: Reason::NotTested })]), Word::Unknown),
        ("no backup at all", vec![no_backup()], Word::No),
        ("both failed", one(&[("x", failed()), ("y", failed())]), Word::No),
        ("one failed, one not tested", one(&[("x", failed())]), Word::No),
        ("one failed, one unproven", one(&[("x", failed()), ("y", lacking())]), Word::No),
        ("one proven, one not tested", one(&[("x", proven())]), Word::YesBut),
        ("one proven, one failed", one(&[("x", proven()), ("y", failed())]), Word::YesBut),
        ("one proven, one unproven", one(&[("x", proven()), ("y", broken)]), Word::YesBut),
        ("both proven", one(&[("x", proven()), ("y", proven())]), Word::Yes),
        ("proven at a target that the job no longer has", one(&[("gone", proven())]), Word::Unknown),
        (
            "a proven job beside one never tested",
            vec![job("a", &["x"], &[("x", proven())]), job("b", &["x"], &[])],
            Word::No,
        ),
        ("a proven job beside one without a backup", vec![job("a", &["x"], &[("x", proven())]), no_backup()], Word::No),
        ("a job without targets", vec![job("a", &[], &[])], Word::Unknown),
        (
            "each from another target",
            vec![job("a", &["x", "y"], &[("x", proven())]), job("b", &["x", "y"], &[("y", proven())])],
            Word::YesBut,
        ),
        (
            "jobs with different targets, all proven",
            vec![job("a", &["x"], &[("x", proven())]), job("b", &["y"], &[("y", proven())])],
            Word::Yes,
        ),
    ];
    for (what, jobs, word) in cases {
        let answer = answer_to(jobs);
        assert_eq!(answer.word, word, "{what}: {}", answer.sentence);
        assert!(answer.sentence.starts_with(word.text()), "{what}: {}", answer.sentence);
        let restores = matches!(word, Word::Yes | Word::YesBut);
        assert_eq!((answer.lose_secs.is_some(), answer.need_secs.is_some()), (restores, restores), "{what}");
    }
}

#[test]
fn the_answer_reads_as_one_plain_sentence() {
    let good = all_good();
    assert_snapshot!(answer(&good).sentence, @"Yes: both jobs restore from 2 of 2 targets; you would lose at most 26 h of data and need about 4 min.");
    assert_snapshot!(answer(&all_bad()).sentence, @r#"No: 3 of 4 jobs are not shown to restore; “fresh” has no backup, “maps” could not be proven, “<script>alert(1)<script> & "it's" | *odd*” was never restored."#);
    assert_snapshot!(answer_to(vec![]).sentence, @"Unknown: no job is configured.");
    assert_snapshot!(answer_to(vec![job("a", &["x"], &[])]).sentence, @"Unknown: never restored.");
    assert_snapshot!(answer_to(vec![job("a", &["x"], &[("x", lacking())])]).sentence, @"Unknown: never restored; 1 restore test ran and could not prove anything.");
    assert_snapshot!(answer_to(vec![job("a", &["x"], &[("x", failed())])]).sentence, @"No: the only job is not shown to restore; “a” failed to restore.");
    assert_snapshot!(answer_to(vec![job("a", &["x"], &[("x", proven())])]).sentence, @"Yes: the only job restores from the only target; you would lose at most 26 h of data and need about 96 s.");
    assert_snapshot!(answer_to(vec![job("a", &["x", "y"], &[("x", proven()), ("y", failed())])]).sentence, @"Yes, but only from 1 of 2 targets (“x”); you would lose at most 26 h of data and need about 96 s.");
    let split = vec![job("a", &["x", "y"], &[("x", proven())]), job("b", &["x", "y"], &[("y", proven())])];
    assert_snapshot!(answer_to(split).sentence, @"Yes, but no single target restores every job; you would lose at most 26 h of data and need about 4 min.");
    let apart = vec![job("a", &["x"], &[("x", proven())]), job("b", &["y"], &[("y", proven())])];
    assert_snapshot!(answer_to(apart).sentence, @"Yes: both jobs restore from every target that each of them has; you would lose at most 26 h of data and need about 4 min.");
}

#[test]
fn an_older_proof_does_not_outweigh_a_newer_failure() {
    let mut job = job("a", &["x"], &[("x", failed())]);
    job.tests.push(test("x", hours_ago(30), hours_ago(50), proven()));
    assert_eq!(answer_to(vec![job.clone()]).word, Word::No);
    job.tests.push(test("x", hours_ago(1), hours_ago(3), proven()));
    let answer = answer_to(vec![job]);
    assert_eq!((answer.word, answer.lose_secs), (Word::Yes, Some(3 * 3600)));
}

#[test]
fn loss_is_counted_from_the_start_of_the_worst_dump_and_time_is_added_up_over_jobs() {
    let mut first = job("a", &["x", "y"], &[("x", proven()), ("y", proven())]);
    first.tests[1].dumped_at = hours_ago(50);
    first.tests[1].measured.recovery_ms = 200_001;
    let answer = answer_to(vec![first, job("b", &["x", "y"], &[("x", proven()), ("y", proven())])]);
    assert_eq!(answer.lose_secs, Some(50 * 3600));
    assert_eq!(answer.need_secs, Some(201 + 96));
}

#[test]
fn an_objective_that_nothing_shows_to_be_met_is_missed() {
    let mut good = all_good();
    assert_eq!(answer(&good).jobs[0].rpo_met, Some(true), "26 h are allowed and the dump began 26 h ago");
    good.jobs[0].objectives.rpo_secs = Some(93_599);
    let late = answer(&good);
    assert_eq!((late.word, late.jobs[0].rpo_met), (Word::YesBut, Some(false)));
    assert!(late.sentence.contains("“social” misses its RPO"), "{}", late.sentence);
    good.jobs[0].tests.clear();
    assert_eq!(answer(&good).jobs[0].rto_met, Some(false));
}

#[test]
fn a_dump_from_the_future_makes_the_loss_unknown_instead_of_zero() {
    let mut job = job("a", &["x"], &[("x", proven())]);
    job.tests[0].dumped_at = hours_ago(-1);
    let answer = answer_to(vec![job]);
    assert_eq!((answer.word, answer.lose_secs), (Word::YesBut, None));
    assert!(answer.sentence.contains("lose an unknown amount of data"), "{}", answer.sentence);
}

#[test]
fn a_record_reads_back_as_it_was_and_its_answer_is_drawn_again() {
    for model in [all_good(), all_bad(), model(vec![])] {
        let text = render(&model, format("json"));
        assert_eq!(read_record(&text).unwrap(), model);
        let forged = text.replace("\"word\": \"no\"", "\"word\": \"yes\"");
        assert_eq!(answer(&read_record(&forged).unwrap()), answer(&model));
    }
    let newer = render(&all_good(), format("json")).replace("\"record\": 1", "\"record\": 2");
    assert_eq!(
        read_record(&newer).unwrap_err().to_string(),
        "the record has version 2, this program reads up to 1: use a newer Lifeboat"
    );
    assert!(read_record("[]").is_err());
}

#[test]
fn the_html_carries_the_digest_of_the_json_file_beside_it() {
    let files = files(&all_bad(), &FORMATS);
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["html", "md", "json", "junit.xml"].map(|end| format!("lifeboat-report-20260823T050000Z.{end}")));
    let digest = hex::encode(Sha256::digest(&files[2].1));
    for at in [0, 1, 3] {
        assert!(String::from_utf8_lossy(&files[at].1).contains(&digest), "{} lacks the digest", files[at].0);
    }
}

#[test]
fn the_html_is_one_file_without_script_and_nothing_from_outside_becomes_markup() {
    for model in [all_good(), all_bad()] {
        let page = render(&model, format("html"));
        let lower = page.to_lowercase();
        for banned in ["<script", "<link", "<img", "<iframe", "src=", "href=", "@import", "url(", " onload", "http"] {
            assert!(!lower.contains(banned), "the page holds `{banned}`");
        }
    }
    assert!(render(&all_bad(), format("html")).contains("&lt;script&gt;alert(1)&lt;script&gt; &amp; &quot;"));
}

#[test]
fn every_format_puts_the_answer_first_and_every_failure_before_the_details() {
    let model = all_bad();
    let sentence = answer(&model).sentence;
    assert!(render(&model, format("md")).starts_with("# No: "));
    let page = render(&model, format("html"));
    // A number and its unit are kept together by a no-break space.
    let page = page.replace('\u{a0}', " ");
    let body = &page[page.find("<body>").unwrap()..];
    let (word, rest) = sentence.split_at("No".len());
    assert!(
        body.contains(&format!(
            "<b>{word}</b>{}",
            rest.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
        )),
        "{body}"
    );
    let at = |text: &str| body.find(text).unwrap_or_else(|| panic!("`{text}` is missing"));
    let order = [
        at("rows differ: 2 missing, 1 extra"),
        at("lifeboat restore-test --from b2-eu --keep-scratch social"),
        at("This machine lacks extension postgis 3.4, postgres 18"),
        at("Never restored from this target"),
        at("lifeboat backup now fresh"),
        at("Where each job restores from"),
        at("Not in the backup"),
        at("Not shown by the restore tests"),
    ];
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn what_was_not_tested_is_shown_as_a_failure_in_every_format() {
    let model = model(vec![job("a", &["x"], &[])]);
    assert!(
        render(&model, format("html"))
            .contains("<span class=\"mark bad\"><i aria-hidden=\"true\">!</i>Not tested</span>")
    );
    assert!(render(&model, format("md")).contains("### ! Not tested: a from x"));
    assert!(render(&model, format("junit")).contains("<failure type=\"not_tested\""));
    assert!(render(&model, format("json")).contains("\"word\": \"unknown\""));
}

#[test]
fn junit_is_well_formed_and_counts_its_cases_and_skips_none() {
    let mut nasty = all_bad();
    nasty.host = "bell\u{7} nul\0 ]]> <&\"'".into();
    nasty.jobs[1].tests[0].verdict =
        Verdict::Unproven { reason: Reason::Scratch { message: "line\none \u{1b}[31m".into() } };
    for model in [nasty, all_good(), model(vec![])] {
        let xml = render(&model, format("junit"));
        assert!(xml.chars().all(|c| c == '\n' || !c.is_control()), "characters that XML cannot hold");
        let counted = xml_elements(&xml);
        let count = |name: &str| counted.iter().filter(|element| *element == name).count();
        let head = xml.lines().nth(1).unwrap();
        for (attribute, element) in [("tests", "testcase"), ("failures", "failure"), ("errors", "error")] {
            assert!(head.contains(&format!(" {attribute}=\"{}\"", count(element))), "{attribute}: {head}");
        }
        assert_eq!(count("skipped"), 0);
    }
}

/// The names of all elements of a well-formed document; panics where it is not.
fn xml_elements(xml: &str) -> Vec<String> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(xml);
    reader.config_mut().check_end_names = true;
    let (mut names, mut depth) = (vec![], 0);
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(start) => {
                check_attributes(&start);
                names.push(start.name().as_ref().to_owned());
                depth += 1;
            }
            Event::Empty(start) => {
                check_attributes(&start);
                names.push(start.name().as_ref().to_owned());
            }
            Event::End(_) => depth -= 1,
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "an element is not closed");
    names
}

fn check_attributes(start: &quick_xml::events::BytesStart<'_>) {
    for attribute in start.attributes() {
        attribute.expect("a well-formed attribute");
    }
}

#[test]
fn an_unknown_format_names_those_there_are() {
    let error = "pdf".parse::<Format>().unwrap_err().to_string();
    assert_eq!(error, "`pdf` is not a report format; there are `html`, `md`, `json`, `junit`");
}

#[test]
fn a_long_list_of_mismatches_is_cut_for_people_and_whole_in_the_record() {
    let mismatch = |number: usize| Mismatch {
        what: format!("table public.t{number}"),
        difference: "rows differ".into(),
        expected: "1".into(),
        actual: "0".into(),
    };
    let verdict = Verdict::conclude((0..250).map(mismatch).collect(), Evidence::default());
    let model = model(vec![job("a", &["x"], &[("x", verdict)])]);
    for name in ["html", "md"] {
        let page = render(&model, format(name));
        assert!(page.contains("and 150 more in the JSON record"), "{name}");
        assert!(!page.contains("public.t100"), "{name}");
    }
    assert!(render(&model, format("json")).contains("public.t249"));
}

#[test]
fn the_pages_look_as_they_did() {
    for (name, model) in [("good", all_good()), ("bad", all_bad())] {
        for format in FORMATS {
            let text = render(&model, format);
            // The style is a file of its own; a change of it would hide a change of the page.
            let text = match (text.find("<style>"), text.find("</style>")) {
                (Some(start), Some(end)) => format!("{}{}", &text[..start], &text[end..]).replace("><", ">\n<"),
                _ => text,
            };
            insta::assert_snapshot!(format!("{name}_{}", format.name), text);
        }
    }
}
