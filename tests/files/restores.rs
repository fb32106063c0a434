//! What a restore into a folder takes, what it refuses, and how it goes on.

use super::Site;
use crate::support::tree;

#[test]
fn a_restore_takes_a_path_or_a_pattern_and_refuses_one_that_fits_nothing() {
    let site = Site::full();
    site.back_up();
    let out = site.restore(&["--only", "deep/a"]);
    assert_eq!(std::fs::read(out.join("deep/a/b/c/d/e/f/g")).unwrap(), b"deep");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    let out = site.restore(&["--only", "*.txt", "--only", "odd/-rf"]);
    assert_eq!(tree::look(&out).len(), 3, "{:?}", tree::look(&out).keys());
    let installation = &site.installation;
    installation.expect(1, &["restore", "job", "--to", "nothing", "--only", "nowhere/*"]).says(&["fits"]);
    assert!(!installation.root().join("nothing").join("odd").exists());
    let dry = installation.ok(&["restore", "job", "--to", "nothing", "--only", "again*", "--dry-run"]);
    assert!(!installation.root().join("nothing").exists(), "{}", dry.all());
}

#[test]
fn a_folder_that_holds_something_is_never_restored_over() {
    let site = Site::new("");
    site.write("a", "a");
    site.back_up();
    let out = site.installation.fresh();
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("mine"), "mine").unwrap();
    let to = out.to_str().unwrap();
    for more in [&[][..], &["--dry-run"]] {
        let ran = site.installation.run(&[&["restore", "job", "--to", to], more].concat());
        assert_ne!(ran.code, 0);
        ran.says(&["not empty"]);
    }
    assert_eq!(tree::look(&out).len(), 1);
}

#[test]
fn an_interrupted_restore_goes_on_and_repairs_what_was_half_written() {
    let site = Site::full();
    let before = tree::look(&site.top);
    site.back_up();
    let out = site.restore(&[]);
    // As if it had been killed in the middle: the mark is still there, files are half, missing, or somebody's.
    let marker = {
        let other = site.installation.fresh();
        let mut child = site.installation.start(&["restore", "job", "--to", other.to_str().unwrap()]);
        let text = loop {
            if let Ok(text) = std::fs::read_to_string(other.join(".lifeboat-restore")) {
                break text;
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended without a mark");
        };
        child.kill().unwrap();
        child.wait().unwrap();
        text
    };
    assert!(marker.contains("under way"), "{marker}");
    std::fs::write(out.join(".lifeboat-restore"), &marker).unwrap();
    std::fs::write(out.join("again/small"), "half").unwrap();
    std::fs::remove_file(out.join("link")).unwrap();
    std::fs::remove_file(out.join("large")).unwrap();
    let ran = site.installation.ok(&["restore", "job", "--to", out.to_str().unwrap()]);
    ran.says(&["were there already"]);
    assert_eq!(tree::look(&out), before);
    std::fs::write(out.join(".lifeboat-restore"), "of another").unwrap();
    let ran = site.installation.run(&["restore", "job", "--to", out.to_str().unwrap()]);
    assert_ne!(ran.code, 0);
    ran.says(&["another restore"]);
}
