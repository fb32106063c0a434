//! Git repositories: what is backed up, what comes back, what a comparison finds, and what a run costs.

mod access;
mod changes;
mod faults;
mod forge;
mod site;
mod ssh;

use std::path::Path;

use self::site::{Site, TOKEN, Watched, commit, fill, git, large_in, noise, pointer, put_large, refs, run};
use crate::stock_tools::follow;
use crate::support::postgres::TestServer;
use crate::support::server::plain;

#[test]
fn repositories_with_everything_come_back_as_they_were_and_are_proven() {
    let names = ["all", "all-2", "empty", "detached", "with space's \"quotes\"", "sha256"];
    let site = Site::new(&names, "");
    fill(&site.init("all", &[]));
    // Its name sorts differently with and without what follows.
    commit(&site.init("all-2", &[]), "x", "x");
    if rustix::process::geteuid().is_root() {
        // Of somebody else, which git refuses by itself.
        let given = plain(Path::new("chown")).args(["-R", "65534:65534"]).arg(site.live("all-2")).status().unwrap();
        assert!(given.success());
    }
    site.init("empty", &["-b", "unborn"]);
    let detached = site.init("detached", &[]);
    commit(&detached, "x", "x");
    run(&detached, &["checkout", "-q", "--detach"]);
    commit(&detached, "y", "of no branch");
    commit(&site.init(names[4], &[]), "x", "quoted");
    fill(&site.init("sha256", &["--object-format=sha256"]));
    site.back_up();
    site.proven();
    let out = site.restore(&[]);
    for name in names.iter().filter(|name| **name != "empty") {
        site.same(&out, name);
    }
    assert_eq!(run(&out.join("empty.git"), &["symbolic-ref", "HEAD"]), "refs/heads/unborn");
    for name in ["all", "sha256"] {
        let (_, id) = pointer(b"large content");
        let large = out.join(format!("{name}.git/lfs/objects")).join(&id[..2]).join(&id[2..4]).join(&id);
        assert_eq!(std::fs::read(large).unwrap(), b"large content");
    }
    assert!(run(&out.join("all.git"), &["for-each-ref"]).contains("refs/notes/commits"));
    assert!(!out.join(".lifeboat-restore").exists());
}

#[test]
fn an_unchanged_repository_costs_one_question_and_next_to_nothing_is_stored() {
    let site = Site::new(&["app", "other"], "");
    fill(&site.init("app", &[]));
    commit(&site.init("other", &[]), "x", "x");
    let watched = Watched::new(&site);
    watched.run(&site, &["backup", "now"]).expect(0);
    watched.log();
    let ran = watched.run(&site, &["--json", "backup", "now"]).expect(0);
    let log = watched.log();
    let asked = log.lines().filter(|line| line.starts_with("ls-remote ")).count();
    assert_eq!((asked, log.lines().count()), (2, 3), "besides `--version`: {log}");
    let stored = ran.summary()["stored_bytes"].as_u64().unwrap();
    assert!(stored < 10_000, "{stored}");
    commit(&site.live("other"), "y", "y");
    assert_eq!(site.back_up().1, 1, "only one of the two is fetched");
    site.proven();
    site.same(&site.restore(&[]), "other");
}

#[test]
fn each_run_stores_what_is_new_whatever_happens_to_the_history() {
    let site = Site::new(&["app"], "");
    let app = site.init("app", &[]);
    let first = commit(&app, "big", noise(1, 2_000_000));
    let (whole, _) = site.back_up();
    assert!(whole > 1_900_000, "{whole}");
    let changes: [fn(&Path, &str); 8] = [
        |app, _| drop(commit(app, "small", "one commit more")),
        // Refs without a new object, and a new object without a commit.
        |app, first| drop(run(app, &["branch", "conflict", first])),
        |app, _| drop(run(app, &["tag", "-a", "-m", "a tag alone", "v1"])),
        // A branch of the name of a folder of branches.
        |app, _| {
            run(app, &["branch", "-D", "conflict"]);
            run(app, &["branch", "conflict/inner"]);
        },
        // History is rewritten, and nothing that was there before is reachable but the first commit.
        |app, first| {
            run(app, &["reset", "-q", "--hard", first]);
            run(app, &["branch", "-D", "conflict/inner"]);
            run(app, &["tag", "-d", "v1"]);
            drop(commit(app, "instead", "rewritten"));
        },
        // What was gone comes back.
        |app, _| drop(run(app, &["branch", "back", "HEAD@{2}"])),
        |app, _| {
            run(app, &["checkout", "-q", "--detach"]);
            drop(commit(app, "loose", "of no branch"));
        },
        |app, _| drop(run(app, &["checkout", "-q", "main"])),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        change(&app, &first);
        let (stored, fetched) = site.back_up();
        assert!(stored < 12_000 && fetched == 1, "change {number} stored {stored}");
        site.same(&site.restore(&[]), "app");
        site.proven();
    }
}

#[test]
fn a_lost_mirror_or_state_or_target_costs_a_fetch_and_nothing_else() {
    let site = Site::new(&["app"], "");
    let app = site.init("app", &[]);
    commit(&app, "big", noise(1, 1_000_000));
    site.back_up();
    commit(&app, "small", "more");
    site.back_up();
    let kept = site.installation.state().join("kept/job/git");
    let mirror = || std::fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path().join("mirror.git");
    std::fs::remove_dir_all(mirror()).unwrap();
    assert_eq!(site.back_up().1, 0, "unchanged: it is not even missed");
    commit(&app, "small", "still more");
    let (stored, _) = site.back_up();
    assert!(stored < 12_000, "{stored} although only the mirror was lost");
    site.same(&site.restore(&[]), "app");
    // Objects of the mirror are damaged.
    for pack in std::fs::read_dir(mirror().join("objects/pack")).unwrap() {
        std::fs::remove_file(pack.unwrap().path()).unwrap();
    }
    commit(&app, "small", "after damage");
    let (stored, _) = site.back_up();
    assert!(stored < 12_000, "{stored}");
    site.same(&site.restore(&[]), "app");
    std::fs::remove_dir_all(site.installation.state().join("kept")).unwrap();
    site.back_up();
    site.same(&site.restore(&[]), "app");
    std::fs::remove_dir_all(site.installation.path("shelf/packs")).unwrap();
    site.back_up();
    site.same(&site.restore(&[]), "app");
    site.proven();
}

#[test]
fn a_long_chain_of_bundles_begins_anew() {
    let site = Site::new(&["app"], "");
    let app = site.init("app", &[]);
    commit(&app, "big", noise(1, 100_000));
    site.back_up();
    let mut stored = vec![];
    for number in 0..21 {
        commit(&app, "small", number.to_string());
        stored.push(site.back_up().0);
    }
    let anew: Vec<usize> = (0..stored.len()).filter(|at| stored[*at] > 50_000).collect();
    assert_eq!(anew, [19], "the twenty-first bundle would have been one too many: {stored:?}");
    site.same(&site.restore(&[]), "app");
    site.proven();
}

#[test]
fn large_objects_that_are_missing_or_damaged_are_said_and_come_once_they_are_there() {
    let site = Site::new(&["app"], "");
    let app = site.init("app", &[]);
    let (text, id) = pointer(b"large content");
    commit(&app, "large", &text);
    let gaps = site.installation.back_up()["gaps"].to_string();
    assert!(gaps.contains(&id) && gaps.contains("LFS"), "{gaps}");
    site.proven();
    put_large(&app.join(".git"), b"large content");
    let path = large_in(&app.join(".git"));
    std::fs::write(&path, "damaged contn").unwrap();
    let gaps = site.installation.back_up()["gaps"].to_string();
    assert!(gaps.contains(&id) && gaps.contains("not what its id says"), "{gaps}");
    std::fs::write(&path, "large content").unwrap();
    let ran = site.installation.back_up();
    assert!(!ran["gaps"].to_string().contains(&id), "{ran:#}");
    let out = site.restore(&[]);
    assert_eq!(std::fs::read(large_in(&out.join("app.git"))).unwrap(), b"large content");
    assert_eq!(site.back_up().1, 0);
    // What is kept needs no reading, and what is new is added.
    std::fs::remove_file(&path).unwrap();
    commit(&app, "more", pointer(b"more of it").0);
    put_large(&app.join(".git"), b"more of it");
    site.back_up();
    let out = site.restore(&[]);
    assert_eq!(std::fs::read(large_in(&out.join("app.git"))).unwrap(), b"large content");
    site.proven();
}

#[test]
fn submodules_are_listed_and_those_of_no_job_are_said() {
    let site = Site::new(&["app"], "");
    let library = site.init("library", &[]);
    let at = commit(&library, "x", "x");
    let app = site.init("app", &[]);
    commit(&app, "a", "a");
    run(&app, &["submodule", "--quiet", "add", "--", library.to_str().unwrap(), "third party/lib"]);
    run(&app, &["commit", "-q", "-m", "with a library"]);
    let gaps = site.installation.back_up()["gaps"].to_string();
    assert!(gaps.contains("third party/lib") && gaps.contains("library"), "{gaps}");
    assert_eq!(site.installation.back_up()["gaps"].to_string(), gaps, "an unchanged repository says the same");
    site.proven();
    let out = site.restore(&[]);
    assert!(run(&out.join("app.git"), &["ls-tree", "-r", "HEAD"]).contains(&format!("160000 commit {at}")));
    let both = "[source]\ntype = \"git\"\nrepository = [\"live/app\", \"live/library\"]\n";
    site.installation.write_job("job", both);
    let gaps = site.installation.back_up()["gaps"].to_string();
    assert!(!gaps.contains("library"), "{gaps}");
    site.proven();
}

#[test]
fn one_repository_of_several_is_restored_also_with_its_files() {
    let site = Site::new(&["app", "other"], "");
    fill(&site.init("app", &[]));
    commit(&site.init("other", &[]), "x", "x");
    site.back_up();
    let out = site.restore(&["--only", "other"]);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    site.same(&out, "other");
    let out = site.restore(&["--only", "app:worktree", "--only", "app"]);
    site.same(&out, "app");
    assert_eq!(std::fs::read(out.join("app/deep/b")).unwrap(), noise(1, 3000));
    assert_eq!(run(&out.join("app"), &["status", "--porcelain"]), "");
    assert_eq!(refs(&out.join("app")), refs(&site.live("app")));
    let nowhere = site.installation.fresh();
    let to = nowhere.to_str().unwrap();
    site.installation.run(&["restore", "job", "--to", to, "--only", "nothing"]).refuses(1, &["`nothing`", "`app`"]);
    site.installation.ok(&["restore", "job", "--to", to, "--dry-run"]);
    assert!(!nowhere.exists());
}

#[test]
fn an_object_that_git_would_not_write_today_is_told_and_proven_all_the_same() {
    let site = Site::new(&["app"], "");
    let app = site.init("app", &[]);
    commit(&app, "a", "a");
    // As some tools wrote them once: a mode with a zero in front.
    let blob = run(&app, &["rev-parse", "HEAD:a"]);
    let tree = [&b"0100644 a\0"[..], &hex::decode(blob).unwrap()].concat();
    std::fs::write(site.live("tree"), tree).unwrap();
    let tree = run(&app, &["hash-object", "-w", "-t", "tree", "--literally", "../tree"]);
    let commit = run(&app, &["commit-tree", "-m", "odd", &tree]);
    run(&app, &["update-ref", "refs/heads/odd", &commit]);
    site.back_up();
    let ran = site.installation.ok(&["restore-test"]);
    ran.says(&["zeroPaddedFilemode"]);
}

#[test]
fn a_stranger_restores_repositories_with_stock_tools() {
    let names = ["all", "with space's \"quotes\"", "sha256", "detached", "empty"];
    let site = Site::new(&names, "");
    fill(&site.init("all", &[]));
    commit(&site.init(names[1], &[]), "x", "x");
    fill(&site.init("sha256", &["--object-format=sha256"]));
    let detached = site.init("detached", &[]);
    commit(&detached, "x", "x");
    run(&detached, &["checkout", "-q", "--detach"]);
    site.init("empty", &["-b", "unborn"]);
    site.back_up();
    // A second bundle, which builds upon the first, and one whose ref was removed since.
    commit(&detached, "y", "of no branch");
    run(&site.live("all"), &["branch", "-D", "alias"]);
    commit(&site.live("all"), "z", noise(3, 20_000));
    site.back_up();
    let (repository, server) = (site.installation.path("shelf"), TestServer::start());
    let done = follow(&repository, &site.installation.path("identity.txt"), 7, &server);
    let parts = repository.join("restored/parts");
    assert!(parts.join("list").exists(), "{done:?}");
    let loaded = plain(Path::new("sh")).arg("../load.sh").current_dir(&parts).output().unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    for name in &names[..4] {
        site.same(&parts, name);
    }
    assert_eq!(run(&parts.join("empty.git"), &["symbolic-ref", "HEAD"]), "refs/heads/unborn");
    assert_eq!(std::fs::read(large_in(&parts.join("all.git"))).unwrap(), b"large content");
}

#[test]
fn large_objects_of_a_server_are_fetched_by_git_lfs() {
    let site = Site::new(&[], "");
    let app = site.init("app", &[]);
    let (text, id) = pointer(b"large content");
    commit(&app, "large", text);
    put_large(&app.join(".git"), b"large content");
    // No folder to look into, but a server, as far as git-lfs is concerned.
    let url = format!("file://{}/.git", app.display());
    let job = format!("[source]\ntype = \"git\"\nrepository = {{ url = {url:?}, name = \"app\" }}\n");
    site.installation.write_job("job", &job);
    let ran = site.installation.back_up();
    assert!(!ran["gaps"].to_string().contains(&id), "{ran:#}");
    site.proven();
    let out = site.restore(&[]);
    assert_eq!(std::fs::read(large_in(&out.join("app.git"))).unwrap(), b"large content");
}

#[test]
fn a_server_that_does_not_say_where_head_points_to_leaves_a_gap_and_a_proof() {
    let site = Site::new(&[], "");
    let empty = site.init("empty", &["-b", "unborn"]);
    let lost = site.init("lost", &[]);
    commit(&lost, "x", "x");
    run(&lost, &["branch", "there"]);
    run(&lost, &["symbolic-ref", "HEAD", "refs/heads/elsewhere"]);
    let urls = [&empty, &lost].map(|folder| format!("file://{}", folder.display()));
    let job = format!("[source]\ntype = \"git\"\nrepository = {urls:?}\n");
    site.installation.write_job("job", &job);
    for _ in 0..2 {
        let gaps = site.installation.back_up()["gaps"].to_string();
        assert!(gaps.contains("`HEAD` of `empty`") && gaps.contains("`HEAD` of `lost`"), "{gaps}");
        site.proven();
    }
    let out = site.restore(&[]);
    let refs = |folder: &Path| run(folder, &["for-each-ref"]);
    assert_eq!(refs(&out.join("lost.git")), refs(&lost));
    assert_eq!(refs(&out.join("empty.git")), "");
}
