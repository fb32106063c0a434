//! A server of repositories and their large objects, over http and https, with a token: giftless beside `git http-backend`, which
//! `scripts/lfs-server.sh` fetches.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::{Site, commit, pointer, run};
use crate::support::certificates::certificates;
use crate::support::installation::{Outcome, finish};
use crate::support::outcome::contents;
use crate::support::postgres::not_tried;
use crate::support::server::{plain, running};

#[expect(clippy::disallowed_methods, reason = "the tests' own settings come from the environment")]
fn packages() -> Option<PathBuf> {
    std::env::var_os("LIFEBOAT_TEST_LFS_SERVER").filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the tests' own settings come from the environment")]
fn a_server_of_large_objects_is_here_where_that_is_required() {
    let required = std::env::var_os("LIFEBOAT_REQUIRE_LFS_SERVER").is_some_and(|value| value == "1");
    assert!(packages().is_some() || !required, "not here, so not tested: giftless");
}

/// A forge with one repository, `acme/app`, and a job for it.
pub(super) struct Forge {
    server: Child,
    site: Site,
    root: PathBuf,
    /// As the job names it.
    pub(super) url: String,
    pub(super) token: String,
    /// Lets in to the repository, and not to its large objects.
    half_token: String,
}

impl Drop for Forge {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        self.server.wait().unwrap();
    }
}

pub(super) const ONE: &[u8] = b"large content";
pub(super) const OTHER: &[u8] = b"another large content";

impl Forge {
    /// `None` where there is no server to be had, which is said. With `tls` it has that certificate and key.
    pub(super) fn start(tls: Option<&Path>) -> Option<Self> {
        let Some(packages) = packages() else {
            not_tried("no LIFEBOAT_TEST_LFS_SERVER here; scripts/lfs-server.sh says why");
            return None;
        };
        let site = Site::new(&[], "");
        let app = site.init("app", &[]);
        commit(&app, "one.bin", pointer(ONE).0);
        commit(&app, "other.bin", pointer(OTHER).0);
        let root = site.installation.root().join("forge");
        std::fs::create_dir_all(root.join("acme")).unwrap();
        run(&root, &["clone", "-q", "--bare", app.to_str().unwrap(), "acme/app.git"]);
        let mut server = plain(Path::new("python3"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/git/server.py");
        server.arg("-B").arg(script).arg(&root).env("PYTHONPATH", packages);
        if let Some(folder) = tls {
            server.args([folder.join("server.pem"), folder.join("server.key")]);
        }
        let log = std::fs::File::create(root.join("log")).unwrap();
        let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let [port, token, half_token] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("no server: {}", std::fs::read_to_string(root.join("log")).unwrap())
        };
        let url = match tls {
            Some(_) => format!("https://localhost:{port}/acme/app.git"),
            None => format!("http://127.0.0.1:{port}/acme/app.git"),
        };
        let (token, half_token) = (token.to_owned(), half_token.to_owned());
        let forge = Self { server, site, root, url, token, half_token };
        forge.job("");
        for content in [ONE, OTHER] {
            std::fs::create_dir_all(forge.large(content).parent().unwrap()).unwrap();
            std::fs::write(forge.large(content), content).unwrap();
        }
        Some(forge)
    }

    fn job(&self, more: &str) {
        let lines = "token = { env = \"TOKEN\" }\ntoken_user = \"_jwt\"";
        let text = format!("[source]\ntype = \"git\"\nrepository = {:?}\n{lines}\n{more}\n", self.url);
        self.site.installation.write_job("job", &text);
    }

    /// Where the server keeps this large object.
    fn large(&self, content: &[u8]) -> PathBuf {
        self.root.join("large/acme/app").join(pointer(content).1)
    }

    fn run_with(&self, token: &str, arguments: &[&str]) -> Outcome {
        finish(self.site.installation.command(arguments).env("TOKEN", token).spawn().unwrap())
    }

    /// Backs up, and gives what is said not to be in it. The token shows nowhere.
    #[track_caller]
    fn gaps(&self, token: &str) -> String {
        let ran = self.run_with(token, &["-v", "--json", "backup", "now"]).expect(0);
        for secret in [&self.token, &self.half_token] {
            let part = secret.rsplit('.').next().unwrap();
            assert!(!ran.all().contains(part), "{}", ran.all());
            for (path, content) in contents(&self.site.installation.state()) {
                assert!(memchr::memmem::find(&content, part.as_bytes()).is_none(), "{path}");
            }
        }
        ran.summary()["gaps"].to_string()
    }

    /// The large objects of a restored backup.
    fn restored(&self) -> Vec<Vec<u8>> {
        let out = self.site.restore(&[]).join("app.git");
        run(&out, &["fsck", "--full", "--strict"]);
        let files = contents(&out.join("lfs/objects")).into_iter().filter(|(path, _)| !path.ends_with('/'));
        let mut found: Vec<_> = files.map(|(_, content)| content).collect();
        found.sort();
        found
    }

    /// What was asked since the last call.
    fn requests(&self) -> String {
        let text = std::fs::read_to_string(self.root.join("requests")).unwrap_or_default();
        drop(std::fs::remove_file(self.root.join("requests")));
        text
    }
}

#[test]
fn large_objects_come_from_a_server_by_the_token_of_the_job() {
    let Some(forge) = Forge::start(None) else { return };
    assert_eq!(forge.gaps(&forge.token), "[]");
    let requests = forge.requests();
    assert!(!requests.lines().any(|line| line.starts_with("400")), "{requests}");
    forge.site.proven();
    assert_eq!(forge.restored(), [OTHER, ONE]);
    // Unchanged, it is not asked for large objects again.
    assert_eq!(forge.gaps(&forge.token), "[]");
    let requests = forge.requests();
    assert!(!requests.contains("/lfs/"), "{requests}");
}

#[test]
fn a_server_whose_certificate_is_of_an_authority_of_one_s_own_is_trusted_by_name_only() {
    let tls = certificates();
    let Some(forge) = Forge::start(Some(tls.path())) else { return };
    let file = |name: &str| format!("tls_ca = {:?}", tls.path().join(name));
    for other in ["", &file("other.pem"), &file("missing.pem")] {
        forge.job(other);
        forge.run_with(&forge.token, &["backup", "now"]).refuses(1, &["`app`", "tls_ca"]);
    }
    forge.job(&file("ca.pem"));
    assert_eq!(forge.gaps(&forge.token), "[]");
    forge.site.proven();
    assert_eq!(forge.restored(), [OTHER, ONE]);
}

/// Each is told once, by name and with the reason, and the backup holds all else; it comes once it is there.
#[test]
fn large_objects_that_a_server_lacks_or_has_otherwise_are_told_and_come_once_they_are_there() {
    let Some(forge) = Forge::start(None) else { return };
    let place = forge.large(ONE);
    let id = pointer(ONE).1;
    let mut bent = ONE.to_vec();
    bent[3] ^= 1;
    for (there, why) in
        [(None, "does not exist"), (Some(&bent[..]), "expected OID"), (Some(&ONE[..5]), "422 Unprocessable")]
    {
        match there {
            None => std::fs::remove_file(&place).unwrap(),
            Some(content) => std::fs::write(&place, content).unwrap(),
        }
        let gaps = forge.gaps(&forge.token);
        assert!(gaps.contains(&id) && gaps.contains(why) && !gaps.contains(" more\""), "{why}: {gaps}");
        forge.site.proven();
        assert_eq!(forge.restored(), [OTHER], "{why}");
    }
    std::fs::write(&place, ONE).unwrap();
    assert_eq!(forge.gaps(&forge.token), "[]");
    forge.site.proven();
    assert_eq!(forge.restored(), [OTHER, ONE]);
    // What a backup holds need not be on the server any more.
    std::fs::remove_file(&place).unwrap();
    commit(&forge.site.live("app"), "new.bin", pointer(b"new").0);
    run(&forge.site.live("app"), &["push", "-q", forge.root.join("acme/app.git").to_str().unwrap(), "main"]);
    std::fs::write(forge.large(b"new"), b"new").unwrap();
    assert_eq!(forge.gaps(&forge.token), "[]");
    forge.site.proven();
    assert_eq!(forge.restored(), [OTHER, ONE, b"new"]);
}

#[test]
fn a_token_that_a_server_refuses_for_all_or_for_large_objects_is_told() {
    let Some(forge) = Forge::start(None) else { return };
    let begun = Instant::now();
    forge.run_with("none", &["backup", "now"]).refuses(1, &["`app`", "token"]);
    let gaps = forge.gaps(&forge.half_token);
    assert!(gaps.contains(" and 1 more") && gaps.contains("not authorized"), "{gaps}");
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    let asked = forge.requests().lines().count();
    assert!(asked < 20, "{asked} requests");
    forge.site.proven();
    assert_eq!(forge.gaps(&forge.token), "[]");
    assert_eq!(forge.restored(), [OTHER, ONE]);
}

#[test]
fn a_server_that_is_silent_about_large_objects_is_given_up() {
    let Some(forge) = Forge::start(None) else { return };
    forge.job("stall_timeout = \"2s\"");
    std::fs::write(forge.root.join("silent"), "").unwrap();
    let begun = Instant::now();
    let gaps = forge.gaps(&forge.token);
    assert!(gaps.contains("stall_timeout"), "{gaps}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(running(forge.site.installation.state().to_str().unwrap()), Vec::<String>::new());
    std::fs::remove_file(forge.root.join("silent")).unwrap();
    assert_eq!(forge.gaps(&forge.token), "[]");
    forge.site.proven();
}

/// What `.lfsconfig` names gets no token of ours.
#[test]
fn a_repository_that_names_another_server_for_its_large_objects_leads_the_token_nowhere() {
    let Some(forge) = Forge::start(None) else { return };
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let listening = std::thread::spawn(move || {
        let mut requests = vec![];
        for stream in other.incoming() {
            let mut stream = stream.unwrap();
            let mut request = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut request).unwrap() > 2 {}
            if request.starts_with("END") {
                break;
            }
            requests.push(request);
            let answer = "HTTP/1.1 401 No\r\nLFS-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        }
        requests
    });
    let app = forge.site.live("app");
    commit(&app, ".lfsconfig", format!("[lfs]\n\turl = http://127.0.0.1:{port}/elsewhere\n"));
    run(&app, &["push", "-q", forge.root.join("acme/app.git").to_str().unwrap(), "main"]);
    let gaps = forge.gaps(&forge.token);
    assert!(gaps.contains(" and 1 more") && gaps.contains("Git credentials"), "{gaps}");
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap().write_all(b"END\r\n\r\n").unwrap();
    let requests = listening.join().unwrap();
    assert!(!requests.is_empty(), "nobody asked there: {gaps}");
    assert!(!requests.iter().any(|head| head.to_lowercase().contains("authorization")), "{requests:?}");
}
