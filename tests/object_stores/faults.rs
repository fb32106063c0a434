//! What goes wrong with a store, or is changed under our hands.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Site, noise, settle};
use crate::support::installation::Installation;
use crate::support::s3::{Cut, Proxy};
use crate::support::stores::{AzureShop, FolderShop, GoogleShop, SftpShop, Shop, WebdavShop, close};

#[test]
fn what_the_other_machine_does_not_let_be_read_is_said_and_the_rest_is_backed_up() {
    let Some(shop) = SftpShop::start() else { return };
    let home = shop.server.home();
    let site = Site::new(shop);
    for key in ["open", "closed", "folder/file"] {
        site.shop.put(key, key.as_bytes());
    }
    site.back_up();
    close(&home.join("closed"));
    close(&home.join("folder"));
    std::os::unix::fs::symlink("open", home.join("link")).unwrap();
    if rustix::process::geteuid().is_root() {
        let gaps = site.gaps();
        for name in ["closed", "folder/", "link"] {
            assert!(gaps.contains(name), "{name}: {gaps}");
        }
        site.assert_proven(1);
    } else {
        crate::support::postgres::not_tried("files that the server's account may not read are its own here");
    }
}

#[test]
fn a_file_that_changes_each_time_that_it_is_read_is_backed_up_and_marked_in_every_store_of_folders() {
    fn check(shop: impl Shop, busy: &std::path::Path) {
        let site = Site::new(shop);
        site.shop.put("quiet", b"quiet");
        site.shop.put("busy", &noise(30 << 20));
        // Read within so short a time that it may well change in none of it.
        site.shop.put("small and busy", b"x");
        let done = std::sync::atomic::AtomicBool::new(false);
        let begun = std::sync::Barrier::new(2);
        let gaps = std::thread::scope(|scope| {
            scope.spawn(|| {
                let append = |name: &str| std::fs::File::options().append(true).open(busy.join(name)).unwrap();
                let (mut busy, mut small) = (append("busy"), append("small and busy"));
                begun.wait();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    busy.write_all(b"more").unwrap();
                    small.write_all(b"more").unwrap();
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
            begun.wait();
            let gaps = site.gaps();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            gaps
        });
        assert!(gaps.contains("`busy`") && gaps.contains("changed while it was read"), "{gaps}");
        assert!(!gaps.contains("quiet"), "{gaps}");
        site.assert_proven(3);
        settle();
        assert!(site.back_up() >= 2, "what was marked is read again");
        assert_eq!(site.back_up(), 0);
    }
    let folder = FolderShop::start();
    let top = folder.top.path().to_owned();
    check(folder, &top);
    if let Some(sftp) = SftpShop::start() {
        let home = sftp.server.home();
        check(sftp, &home);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_goes_on_where_its_connection_broke() {
    async fn between(port: u16) -> Proxy {
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        // No connection lives long enough for all of it.
        Proxy::start(server, Cut { request_bytes: usize::MAX, reply_bytes: 3_000_000 }, usize::MAX).await
    }
    async fn check(shop: impl Shop + Send + 'static, proxy: Proxy) {
        let checked = tokio::task::spawn_blocking(move || {
            let site = Site::new(shop);
            let large = noise(9_000_000);
            site.shop.put("large", &large);
            site.back_up();
            assert!(std::fs::read(site.restore().join("large")).unwrap() == large);
            site.assert_proven(1);
        });
        checked.await.unwrap();
        assert!(proxy.connections() > 3, "nothing was cut");
    }
    if let Some(shop) = SftpShop::start() {
        let proxy = between(shop.port).await;
        let port = proxy.address().port();
        shop.server.known_at(port);
        check(SftpShop { port, ..shop }, proxy).await;
    }
    if let Some(shop) = tokio::task::spawn_blocking(AzureShop::start).await.unwrap() {
        let proxy = between(shop.port).await;
        check(Through { port: proxy.address().port(), inner: shop }, proxy).await;
    }
    if let Some(shop) = WebdavShop::start() {
        let proxy = between(shop.port).await;
        check(Through { port: proxy.address().port(), inner: shop }, proxy).await;
    }
    if let Some(shop) = GoogleShop::start() {
        let proxy = between(shop.port).await;
        check(Through { port: proxy.address().port(), inner: shop }, proxy).await;
    }
}

/// A store that Lifeboat reaches by another port than the tests.
struct Through<S> {
    port: u16,
    inner: S,
}

impl<S: Shop> Shop for Through<S> {
    fn table(&self) -> String {
        let table = self.inner.table();
        let (before, rest) = table.split_once("127.0.0.1:").unwrap();
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        format!("{before}127.0.0.1:{}{rest}", self.port)
    }

    fn put(&self, key: &str, content: &[u8]) {
        self.inner.put(key, content);
    }

    fn remove(&self, key: &str) {
        self.inner.remove(key);
    }

    fn secrets(&self) -> Vec<(&'static str, String)> {
        self.inner.secrets()
    }
}

#[test]
fn wrong_keys_are_named_without_a_secret() {
    if let Some(shop) = AzureShop::start() {
        let wrong = "d3Jvbmcta2V5LXdyb25nLWtleS13cm9uZy1rZXk=";
        let site = Site::new(AzureShop { secret: ("key", wrong.to_owned()), ..shop });
        let ran = site.refused(&["azblob://", "check the keys"]);
        assert!(!ran.all().contains(wrong), "{}", ran.all());
    }
    if let Some(shop) = WebdavShop::start() {
        let site = Site::new(WebdavShop { password: "wrong-password".to_owned(), ..shop });
        let ran = site.refused(&["Unauthorized", "check the keys"]);
        assert!(!ran.all().contains("wrong-password"), "{}", ran.all());
    }
    if let Some(shop) = SftpShop::start() {
        let key = shop.server.strangers_key();
        Site::new(SftpShop { key, ..shop }).refused(&["Permission denied", "ssh_key"]);
    }
    if let Some(shop) = SftpShop::start() {
        let nobody = PathBuf::from("/dev/null");
        Site::new(SftpShop { known_hosts: nobody, ..shop })
            .refused(&["Host key verification failed", "ssh_known_hosts"]);
    }
    if let Some(shop) = GoogleShop::start() {
        let site = Site::new(GoogleShop { more: "credential = { file = \"secret\" }", ..shop });
        std::fs::write(site.installation.path("secret"), "not-a-key").unwrap();
        site.refused(&["`credential` is no JSON", "service account"]);
        let key = "{\"type\":\"service_account\",\"client_email\":\"a@b.example\",\"private_key\":\"hunter2-no-key\"}";
        std::fs::write(site.installation.path("secret"), key).unwrap();
        let ran = site.installation.expect(1, &["backup", "now"]).says(&["gcs://copies", "check the keys"]);
        assert!(!ran.all().contains("hunter2"), "{}", ran.all());
    }
}

#[test]
fn a_place_that_is_not_there_is_no_empty_one() {
    let replaced = |shop: &dyn Shop, from: &str, to: &str| {
        let installation = Installation::new();
        installation.add_target("shelf");
        for (name, secret) in shop.secrets() {
            std::fs::write(installation.path(name), secret).unwrap();
        }
        let table = shop.table().replace(from, to);
        installation.write_job("job", &format!("[source]\ntype = \"objects\"\n{table}"));
        installation.run(&["backup", "now"])
    };
    let folder = FolderShop::start();
    let absent = folder.top.path().join("absent");
    let top = folder.top.path().to_str().unwrap().to_owned();
    replaced(&folder, &top, absent.to_str().unwrap()).refuses(1, &["absent", "mounted"]);
    assert!(!absent.exists(), "it was made");
    if let Some(shop) = SftpShop::start() {
        let absent = shop.server.home().join("absent");
        let home = shop.server.home().to_str().unwrap().to_owned();
        replaced(&shop, &home, absent.to_str().unwrap()).refuses(1, &["it is not there", "check `path`"]);
        assert!(!absent.exists(), "it was made");
    }
    if let Some(shop) = WebdavShop::start() {
        replaced(&shop, "/dav%20files", "/dav%20files/absent").refuses(1, &["absent", "hint: "]);
    }
    if let Some(shop) = AzureShop::start() {
        replaced(&shop, "\"copies\"", "\"absent\"").refuses(1, &["ContainerNotFound", "check the names"]);
    }
    if let Some(shop) = GoogleShop::start() {
        replaced(&shop, "\"copies\"", "\"absent\"").refuses(1, &["gcs://absent", "check the names"]);
    }
}

#[test]
fn a_server_that_is_down_is_told_and_nothing_is_committed() {
    fn check(shop: impl Shop) {
        let site = Site::with(Through { port: 1, inner: shop }, "stall = \"5s\"");
        site.refused(&["run again"]);
        let listed = site.installation.ok(&["--json", "snapshots"]).summary();
        assert_eq!(listed["snapshots"].as_array().unwrap().len(), 0);
    }
    if let Some(shop) = WebdavShop::start() {
        check(shop);
    }
    if let Some(shop) = AzureShop::start() {
        check(shop);
    }
    if let Some(shop) = SftpShop::start() {
        let mut site = Site::new(shop);
        site.shop.put("kept", b"kept");
        settle();
        site.back_up();
        site.shop.server.stop();
        site.refused(&["Connection refused", "run again"]);
        site.shop.server.resume();
        assert_eq!(site.back_up(), 0);
    }
}

/// Listens, and never says a word.
#[test]
fn a_server_that_says_nothing_is_given_up_after_a_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let tables = [
        format!("[source.webdav]\nendpoint = \"http://127.0.0.1:{port}\""),
        format!("[source.azblob]\naccount = \"a\"\ncontainer = \"c\"\nendpoint = \"http://127.0.0.1:{port}/a\""),
        format!("[source.gcs]\nbucket = \"b\"\nendpoint = \"http://127.0.0.1:{port}\""),
        format!("[source.sftp]\nhost = \"127.0.0.1\"\nport = {port}"),
    ];
    std::thread::scope(|scope| {
        for table in tables {
            scope.spawn(move || {
                let installation = Installation::new();
                installation.add_target("shelf");
                let job = format!("[source]\ntype = \"objects\"\nstall = \"1s\"\n{table}\n");
                installation.write_job("job", &job);
                installation.run(&["backup", "now"]).refuses(1, &["run again"]);
            });
        }
    });
}

#[test]
fn a_killed_run_takes_its_ssh_along() {
    let Some(shop) = SftpShop::start() else { return };
    let key = shop.key.display().to_string();
    let site = Site::new(shop);
    site.shop.put("large", &noise(60 << 20));
    let running = || {
        let commands = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = commands.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        lines.filter(|line| line.starts_with(b"ssh\0") && String::from_utf8_lossy(line).contains(&key)).count()
    };
    let wait_for = |count: usize| {
        let start = std::time::Instant::now();
        while running() != count {
            assert!(start.elapsed() < Duration::from_secs(30), "{} are there", running());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let mut backup = site.installation.start(&["backup", "now"]);
    wait_for(1);
    backup.kill().unwrap();
    backup.wait().unwrap();
    wait_for(0);
    assert_eq!(site.back_up(), 1);
    site.assert_proven(1);
}
