//! Over ssh, with a real `sshd`: its key, its host key, large objects by the word of `git-lfs-authenticate`, and a server that hangs.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::forge::{Forge, ONE, OTHER};
use super::{Site, commit, noise, pointer, run};
use crate::support::installation::finish;
use crate::support::outcome::contents;
use crate::support::server::{output, plain, running};
use crate::support::sshd::Sshd;

/// How long a run may take that asks nobody and waits for nothing.
const AT_ONCE: Duration = Duration::from_secs(20);

/// The repository `the app` behind a server, and a job that may read it.
struct Behind {
    server: Sshd,
    site: Site,
    live: PathBuf,
}

impl Behind {
    fn start() -> Option<Self> {
        let server = Sshd::start()?;
        let site = Site::new(&[], "");
        let live = server.home().join("the app");
        std::fs::create_dir(&live).unwrap();
        run(&live, &["init", "-q"]);
        let first = commit(&live, "a", noise(1, 30_000));
        run(&live, &["tag", "-a", "-m", "annotated", "v1", &first]);
        commit(&live, "b", "b");
        let behind = Self { server, site, live };
        behind.give();
        behind.job(&behind.server.key(), &behind.server.known_hosts(), "");
        Some(behind)
    }

    /// Git serves whose repository it is.
    fn give(&self) {
        let account = lifeboat::system::user::server_user();
        for path in contents(&self.live).keys().map(Path::new).chain([self.live.as_path()]) {
            lifeboat::system::user::give(path, account.as_ref()).unwrap();
        }
    }

    /// A key that the server lets in, behind a passphrase.
    fn locked_key(&self) -> PathBuf {
        let locked = self.site.installation.root().join("locked");
        std::fs::copy(self.server.key(), &locked).unwrap();
        std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o600)).unwrap();
        let mut change = plain(Path::new("ssh-keygen"));
        output(change.args(["-q", "-p", "-P", "", "-N", "secret words", "-f"]).arg(&locked));
        locked
    }

    fn job(&self, key: &Path, known_hosts: &Path, more: &str) {
        let url = format!("ssh://{}@127.0.0.1:{}{}", self.server.user(), self.server.port(), self.live.display());
        self.job_at(&url.replace(' ', "%20"), key, known_hosts, more);
    }

    fn job_at(&self, url: &str, key: &Path, known_hosts: &Path, more: &str) {
        let text = format!(
            "[source]\ntype = \"git\"\nrepository = {{ url = {url:?}, name = \"the app\" }}\nssh_key = {key:?}\n\
             ssh_known_hosts = {known_hosts:?}\n{more}\n"
        );
        self.site.installation.write_job("job", &text);
    }

    /// Refused at once, by name and with these words.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        let begun = Instant::now();
        self.site.installation.run(&["backup", "now"]).refuses(1, &[&["`the app`"], words].concat());
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
        assert_eq!(self.site.installation.snapshots().len(), 0);
    }
}

#[test]
fn a_repository_behind_ssh_comes_back_as_it_was_and_is_proven() {
    let Some(behind) = Behind::start() else { return };
    behind.site.back_up();
    behind.site.proven();
    commit(&behind.live, "new", "new");
    behind.give();
    assert_eq!(behind.site.back_up().1, 1);
    assert_eq!(behind.site.back_up().1, 0);
    let out = behind.site.restore(&[]).join("the app.git");
    let shown = |folder: &Path| run(folder, &["for-each-ref", "--format=%(refname) %(objectname) %(symref)"]);
    assert_eq!(shown(&out), shown(&behind.live));
    behind.site.proven();
}

#[test]
fn an_unknown_host_a_changed_one_and_a_refused_key_are_told_at_once_and_nobody_is_asked() {
    let Some(mut behind) = Behind::start() else { return };
    let (key, hosts) = (behind.server.key(), behind.server.known_hosts());
    let ours = behind.site.installation.root().join("known_hosts");
    // Whoever runs this knows nobody either.
    behind.job(&key, &ours, "");
    behind.refused(&["Host key verification failed", "ssh_known_hosts"]);
    // Another key than the one that is known.
    let host = std::fs::read_to_string(&hosts).unwrap();
    let strangers = std::fs::read_to_string(behind.server.strangers_key().with_extension("pub")).unwrap();
    std::fs::write(&ours, format!("{} {strangers}", host.split(' ').next().unwrap())).unwrap();
    behind.refused(&["REMOTE HOST IDENTIFICATION HAS CHANGED", "ssh_known_hosts"]);
    behind.job(&behind.server.strangers_key(), &hosts, "");
    behind.refused(&["Permission denied (publickey", "ssh_key"]);
    // Nobody is asked for the passphrase.
    let locked = behind.locked_key();
    behind.job(&locked, &hosts, "");
    behind.refused(&["Permission denied (publickey", "ssh_key"]);
    behind.job(&behind.site.installation.root().join("missing"), &hosts, "");
    behind.refused(&["missing", "ssh_key"]);
    behind.job(&key, &hosts, "");
    behind.server.stop();
    behind.refused(&["Connection refused"]);
    behind.server.resume();
    behind.site.back_up();
    behind.site.proven();
}

/// Not even where there is a terminal to ask at.
#[test]
fn nobody_is_asked_at_a_terminal() {
    let Some(behind) = Behind::start() else { return };
    let root = behind.site.installation.root();
    let locked = behind.locked_key();
    for (key, hosts) in [(&behind.server.key(), &root.join("known_hosts")), (&locked, &behind.server.known_hosts())] {
        behind.job(key, hosts, "");
        let run = behind.site.installation.command(&["backup", "now"]);
        let words: Vec<_> = std::iter::once(run.get_program()).chain(run.get_args()).collect();
        let line = words.iter().map(|word| format!("'{}'", word.to_str().unwrap())).collect::<Vec<_>>().join(" ");
        let mut terminal = plain(Path::new("script"));
        terminal.args(["-q", "-e", "-c", &line, "/dev/null"]).env("HOME", root).current_dir(root);
        // Whoever sits there says nothing and stays.
        terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begun = Instant::now();
        let mut child = terminal.spawn().unwrap();
        let silent = child.stdin.take();
        let ran = finish(child).expect(1);
        drop(silent);
        assert!(begun.elapsed() < AT_ONCE, "{:?}\n{}", begun.elapsed(), ran.all());
        assert!(!ran.all().contains("(yes/no") && !ran.all().contains("Enter passphrase"), "{}", ran.all());
        assert!(ran.all().contains("ssh_k"), "{}", ran.all());
    }
}

/// Before a word is said, after the greeting, and after the login, where the program of the other side waits for ever.
#[test]
fn a_server_that_hangs_over_ssh_is_given_up_in_bounded_time() {
    let Some(mut behind) = Behind::start() else { return };
    let (key, hosts) = (behind.server.key(), behind.server.known_hosts());
    for greeting in ["", "SSH-2.0-OpenSSH_9.2\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let held = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.write_all(greeting.as_bytes()).unwrap();
            // Until the other side has had enough.
            drop(stream.read_to_end(&mut vec![]));
        });
        behind.job_at(&format!("ssh://git@127.0.0.1:{port}/app.git"), &key, &hosts, "answer_timeout = \"2s\"");
        behind.refused(&["within 2 s", "answer_timeout"]);
        held.join().unwrap();
    }
    // A program of the other side that never says a word, and one that stops before the objects.
    let programs = behind.server.home().join("bin");
    script(&programs.join("git-upload-pack"), "exec sleep 60");
    script(&programs.join("hang"), "exec sleep 60");
    let settings = programs.join("settings");
    std::fs::write(&settings, format!("[uploadpack]\n\tpackObjectsHook = \"{}/hang\"\n", programs.display())).unwrap();
    behind.server.restart_with(&format!("SetEnv PATH={}:/usr/bin:/bin", programs.display()));
    behind.job(&key, &hosts, "answer_timeout = \"2s\"");
    behind.refused(&["within 2 s", "answer_timeout"]);
    behind.server.restart_with(&format!("SetEnv GIT_CONFIG_GLOBAL={}", settings.display()));
    behind.job(&key, &hosts, "stall_timeout = \"2s\"");
    behind.refused(&["stall_timeout"]);
    assert_eq!(running(key.to_str().unwrap()), Vec::<String>::new());
    behind.server.restart_with("");
    behind.site.back_up();
    behind.site.proven();
}

/// A forge answers `git-lfs-authenticate` over ssh with an address and a login.
#[test]
fn large_objects_of_a_repository_behind_ssh_come_from_where_its_server_says() {
    let Some(mut behind) = Behind::start() else { return };
    let Some(forge) = Forge::start(None) else { return };
    for (name, content) in [("one.bin", ONE), ("other.bin", OTHER)] {
        commit(&behind.live, name, pointer(content).0);
    }
    behind.give();
    let gaps = || behind.site.installation.back_up()["gaps"].to_string();
    let said = gaps();
    assert!(said.contains(" and 1 more") && said.contains("git-lfs-authenticate"), "{said}");
    behind.site.proven();
    let programs = behind.server.home().join("bin");
    let login =
        format!("{{\"href\":\"{}/info/lfs\",\"header\":{{\"Authorization\":\"Bearer {}\"}}}}", forge.url, forge.token);
    script(&programs.join("git-lfs-authenticate"), &format!("echo '{login}'"));
    behind.server.restart_with(&format!("SetEnv PATH={}:/usr/bin:/bin", programs.display()));
    let gaps = || behind.site.installation.back_up()["gaps"].to_string();
    assert_eq!(gaps(), "[]");
    assert_eq!(behind.site.back_up().1, 0, "unchanged");
    behind.site.proven();
    let out = behind.site.restore(&[]).join("the app.git/lfs/objects");
    let restored = contents(&out);
    assert!(restored.values().any(|content| content == ONE) && restored.values().any(|content| content == OTHER));
}

fn script(path: &Path, line: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, format!("#!/bin/sh\n{line}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}
