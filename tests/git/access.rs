//! Ways in: a token over http, a key over ssh.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::{Site, TOKEN, Watched, commit, fill, git, run};
use crate::support::installation::Outcome;
use crate::support::outcome::contents;

/// A server of `git http-backend` that lets in who has the token.
fn serve(root: PathBuf) -> u16 {
    use std::io::{BufRead, BufReader, Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let login = "Basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMi12ZXJ5LXNlY3JldA==";
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut lines, mut line) = (vec![], String::new());
            while reader.read_line(&mut line).unwrap() > 2 {
                lines.push(line.trim_end().to_owned());
                line.clear();
            }
            let header = |name: &str| {
                let found = lines.iter().filter_map(|line| line.split_once(": "));
                found.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()).next()
            };
            if header("authorization").as_deref() != Some(login) {
                let refused = "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                stream.write_all(refused.as_bytes()).unwrap();
                continue;
            }
            let [method, target] = lines[0].split(' ').take(2).collect::<Vec<_>>()[..] else { panic!("{lines:?}") };
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body).unwrap();
            let mut backend = git(Path::new("/"));
            backend.arg("http-backend").env("GIT_PROJECT_ROOT", &root).env("GIT_HTTP_EXPORT_ALL", "1");
            backend.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
            backend.env("CONTENT_LENGTH", body.len().to_string());
            for (key, name) in [
                ("CONTENT_TYPE", "content-type"),
                ("HTTP_CONTENT_ENCODING", "content-encoding"),
                ("GIT_PROTOCOL", "git-protocol"),
            ] {
                backend.env(key, header(name).unwrap_or_default());
            }
            let mut backend = backend.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            backend.stdin.take().unwrap().write_all(&body).unwrap();
            let answer = backend.wait_with_output().unwrap().stdout;
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n").unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    port
}

#[test]
fn a_token_lets_in_and_shows_nowhere() {
    let site = Site::of("\"live/app\"", "");
    fill(&site.init("app", &[]));
    run(&site.live("app"), &["config", "http.receivepack", "false"]);
    let port = serve(site.installation.root().join("live"));
    let job = |token: &str| {
        let url = format!("http://127.0.0.1:{port}/app/.git");
        let text = format!("[source]\ntype = \"git\"\nrepository = {{ url = {url:?}, name = \"app\" }}\n{token}\n");
        site.installation.write_job("job", &text);
    };
    let watched = Watched::new(&site);
    let shows = |ran: &Outcome, log: &str| {
        for secret in [TOKEN, "eC1hY2Nlc3M"] {
            assert!(!ran.all().contains(secret) && !log.contains(secret), "{secret}: {}\n{log}", ran.all());
            for (path, content) in contents(&site.installation.state()) {
                assert!(memchr::memmem::find(&content, secret.as_bytes()).is_none(), "{path}");
            }
        }
    };
    job("");
    let ran = watched.run(&site, &["backup", "now"]).refuses(1, &["`app`"]);
    shows(&ran, &watched.log());
    job("token = { env = \"TOKEN\" }\ntoken_user = \"another\"");
    let ran = watched.run(&site, &["-v", "backup", "now"]).refuses(1, &["`app`"]);
    shows(&ran, &watched.log());
    job("token = { env = \"TOKEN\" }");
    let ran = watched.run(&site, &["-v", "--json", "backup", "now"]).expect(0);
    shows(&ran, &watched.log());
    // Large objects of a server need git-lfs.
    assert!(ran.summary()["gaps"].to_string().contains("LFS"), "{}", ran.all());
    site.proven();
    let out = site.restore(&[]);
    let restored = run(&out.join("app.git"), &["for-each-ref", "--format=%(refname) %(objectname) %(symref)"]);
    assert_eq!(restored, run(&site.live("app"), &["for-each-ref", "--format=%(refname) %(objectname) %(symref)"]));
}

#[test]
fn a_shallow_repository_and_a_bad_address_are_refused() {
    let site = Site::new(&["shallow"], "");
    let full = site.init("full", &[]);
    for number in 0..3 {
        commit(&full, "x", number.to_string());
    }
    let url = format!("file://{}", full.display());
    run(&site.live(""), &["clone", "-q", "--depth", "1", &url, "shallow"]);
    let ran = site.installation.run(&["backup", "now"]);
    ran.refuses(1, &["`shallow`"]);
    assert_eq!(site.installation.snapshots().len(), 0);
    for bad in ["ext::sh -c true", "-x", "https://u:password@host/x"] {
        let text = format!("[source]\ntype = \"git\"\nrepository = {bad:?}\n");
        site.installation.write_job("job", &text);
        let ran = site.installation.expect(2, &["config", "check"]);
        assert!(!ran.all().contains("u:password"), "{}", ran.all());
    }
}

#[test]
fn ssh_is_called_without_questions_and_with_the_key_of_the_job() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new(&[], "");
    fill(&site.init("the app", &[]));
    let url = format!("git@example.invalid:{}", site.live("the app").display());
    let text = format!(
        "[source]\ntype = \"git\"\nrepository = {url:?}\nssh_key = \"it's a key\"\nssh_known_hosts = \"known hosts\"\n"
    );
    site.installation.write_job("job", &text);
    let watched = Watched::new(&site);
    // In the place of `ssh`: runs here what it is told to run there.
    let log = watched.folder.join("ssh.log");
    let script =
        format!("#!/bin/sh\nprintf '<%s>' \"$@\" >> '{}'\nfor last; do :; done\nexec sh -c \"$last\"\n", log.display());
    std::fs::write(watched.folder.join("ssh"), script).unwrap();
    std::fs::set_permissions(watched.folder.join("ssh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    watched.run(&site, &["backup", "now"]).expect(0);
    let said = std::fs::read_to_string(log).unwrap();
    let root = site.installation.root().display();
    for argument in [
        "<-oBatchMode=yes>".to_owned(),
        format!("<-i><{root}/it's a key>"),
        format!("<-oUserKnownHostsFile=\"{root}/known hosts\">"),
        "<git@example.invalid>".to_owned(),
    ] {
        assert!(said.contains(&argument), "{argument}: {said}");
    }
    site.proven();
    site.same(&site.restore(&[]), "the app");
}
