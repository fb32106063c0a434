//! Remotes that hang or are gone, killed runs, damaged packs, and a machine without git.

use std::time::{Duration, Instant};

use super::{Site, Watched, commit, fill, noise};
use crate::support::installation::finish;
use crate::support::outcome::contents;

#[test]
fn a_remote_that_says_nothing_or_stands_still_is_given_up_and_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let site = Site::of(&format!("\"git://127.0.0.1:{port}/mute.git\""), "answer_timeout = \"1s\"");
    let begun = Instant::now();
    site.installation.run(&["backup", "now"]).refuses(1, &["`mute`", "within 1 s"]);
    assert!(begun.elapsed() < Duration::from_secs(30));
    drop(listener);
    site.installation.run(&["backup", "now"]).refuses(1, &["`mute`"]);
    let site = Site::new(&["app"], "stall_timeout = \"1s\"");
    commit(&site.init("app", &[]), "x", "x");
    let watched = Watched::new(&site);
    watched.hang_on("fetch");
    watched.run(&site, &["backup", "now"]).refuses(1, &["`app`", "stall_timeout"]);
    watched.hang_on("");
    watched.run(&site, &["backup", "now"]).expect(0);
    site.proven();
}

#[test]
fn a_repository_that_is_gone_fails_the_run_by_name_and_nothing_is_committed() {
    let site = Site::new(&["app", "gone", "no repository"], "");
    for name in ["app", "gone"] {
        commit(&site.init(name, &[]), "x", "x");
    }
    std::fs::create_dir(site.live("no repository")).unwrap();
    site.installation.run(&["backup", "now"]).refuses(1, &["`no repository`"]);
    std::fs::remove_dir(site.live("no repository")).unwrap();
    commit(&site.init("no repository", &[]), "x", "x");
    site.back_up();
    std::fs::remove_dir_all(site.live("gone")).unwrap();
    site.installation.run(&["backup", "now"]).refuses(1, &["gone", "no such folder"]);
    std::fs::create_dir(site.live("gone")).unwrap();
    std::fs::remove_dir_all(site.live("no repository/.git")).unwrap();
    let ran = site.installation.run(&["backup", "now"]);
    ran.refuses(1, &["2 of 3", "`gone`", "`no repository`"]);
    assert_eq!(site.installation.snapshots().len(), 1);
    site.proven();
}

#[test]
fn a_killed_run_is_followed_by_one_that_succeeds() {
    let site = Site::new(&["app"], "");
    let app = site.init("app", &[]);
    fill(&app);
    let watched = Watched::new(&site);
    watched.kill_at(&site, &["backup", "now"], "fetch");
    site.back_up();
    commit(&app, "more", "more");
    watched.kill_at(&site, &["backup", "now"], "fetch");
    // As a git that was killed leaves them.
    let kept = site.installation.state().join("kept/job/git");
    let mirror = std::fs::read_dir(&kept).unwrap().next().unwrap().unwrap().path().join("mirror.git");
    for name in ["packed-refs.lock", "HEAD.lock", "refs/heads/main.lock", "objects/pack/tmp_pack_x"] {
        std::fs::write(mirror.join(name), "").unwrap();
    }
    site.back_up();
    commit(&app, "more", "and more");
    watched.kill_at(&site, &["backup", "now"], "bundle");
    site.back_up();
    site.same(&site.restore(&[]), "app");
    site.proven();
    // A restore is killed, and goes on.
    let out = site.installation.fresh();
    let to = ["restore", "job", "--to", out.to_str().unwrap()];
    watched.kill_at(&site, &to, "index-pack");
    assert!(!out.join("app.git").exists() && out.join(".lifeboat-restore").exists());
    site.installation.ok(&to);
    site.same(&out, "app");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    site.installation.run(&to).says(&["not empty"]);
}

#[test]
fn without_git_a_backup_says_so_and_a_restore_test_is_unproven() {
    let site = Site::new(&["app"], "");
    commit(&site.init("app", &[]), "x", "x");
    site.back_up();
    let without =
        |arguments: &[&str]| finish(site.installation.command(arguments).env("PATH", "/nonexistent").spawn().unwrap());
    without(&["backup", "now"]).refuses(1, &["git", "not installed"]);
    let test = without(&["--json", "restore-test"]).expect(5).summary();
    assert!(test.to_string().contains("`git` 2.32"), "{test:#}");
}

#[test]
fn a_damaged_bundle_never_becomes_a_repository() {
    let site = Site::new(&["app"], "");
    commit(&site.init("app", &[]), "big", noise(1, 300_000));
    site.back_up();
    let packs = site.installation.path("shelf/packs");
    let path = contents(&packs).into_iter().max_by_key(|(_, content)| content.len()).unwrap().0;
    let whole = std::fs::read(&path).unwrap();
    let mut bent = whole.clone();
    bent[whole.len() / 2] ^= 1;
    for bad in [&whole[..whole.len() - 100], &bent] {
        std::fs::write(&path, bad).unwrap();
        let out = site.installation.fresh();
        let ran = site.installation.run(&["restore", "job", "--to", out.to_str().unwrap()]);
        assert_ne!(ran.code, 0, "{ran:?}");
        assert!(!out.join("app.git").exists());
        let test = site.installation.restore_test();
        assert_eq!(test["verdict"], "failed", "{test:#}");
    }
    std::fs::write(&path, &whole).unwrap();
    site.proven();
}
