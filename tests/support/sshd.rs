//! A real `sshd` on a loopback port, with a host key, a user's key and known hosts of its own; it serves SFTP and commands.
//! `scripts/store-servers.sh` fetches it.

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use lifeboat::system::user;

use super::postgres::not_tried;
use super::server::{Guarded, folder, output, plain};

/// One running server. Whoever logs in does so as the account that it runs as. Dropping it ends it.
pub(crate) struct Sshd {
    // Ends before its folders go: fields are dropped in this order.
    running: Option<Guarded>,
    program: PathBuf,
    port: u16,
    user: String,
    /// Further lines of its settings.
    more: String,
    /// The server's: its settings, its key, and `home` for what it serves.
    root: tempfile::TempDir,
    /// The client's: its keys and known hosts.
    client: tempfile::TempDir,
}

impl Sshd {
    /// `None` where there is no `sshd`: what is not tried must be seen.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = program("LIFEBOAT_TEST_SSHD") else {
            not_tried("no LIFEBOAT_TEST_SSHD here; scripts/store-servers.sh says why");
            return None;
        };
        let (root, client) = (folder("lbh-"), tempfile::tempdir().unwrap());
        let account = user::server_user();
        let user = match &account {
            Some(account) => account.name.clone(),
            None => String::from_utf8(output(plain(Path::new("id")).arg("-un")).stdout).unwrap().trim().to_owned(),
        };
        for key in [root.path().join("host"), client.path().join("key"), client.path().join("stranger")] {
            output(plain(Path::new("ssh-keygen")).args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(key));
        }
        user::give(&root.path().join("host"), account.as_ref()).unwrap();
        std::fs::copy(client.path().join("key.pub"), root.path().join("authorized")).unwrap();
        std::fs::create_dir(root.path().join("home")).unwrap();
        std::fs::set_permissions(root.path().join("home"), std::fs::Permissions::from_mode(0o755)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = std::fs::read_to_string(root.path().join("host.pub")).unwrap();
        std::fs::write(client.path().join("known_hosts"), format!("[127.0.0.1]:{port} {host}")).unwrap();
        let mut server = Self { running: None, program, port, user, more: String::new(), root, client };
        server.resume();
        Some(server)
    }

    /// Starts it, again after [`Sshd::stop`], at the same port.
    pub(crate) fn resume(&mut self) {
        let (folder, port) = (self.root.path().display(), self.port);
        let settings = self.root.path().join("sshd_config");
        let text = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\nAuthorizedKeysFile {folder}/authorized\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             MaxStartups 100\nSubsystem sftp internal-sftp\n{}\n",
            self.more
        );
        std::fs::write(&settings, text).unwrap();
        let server = |command: &mut std::process::Command| {
            command.arg(&self.program).args(["-D", "-e", "-f"]).arg(&settings);
        };
        let ready = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        self.running = Some(Guarded::start("KILL", &self.root.path().join("log"), server, ready));
    }

    /// Starts it anew, with further lines of `sshd_config`.
    pub(crate) fn restart_with(&mut self, more: &str) {
        self.stop();
        more.clone_into(&mut self.more);
        self.resume();
    }

    /// Nobody answers any more.
    pub(crate) fn stop(&mut self) {
        self.running = None;
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Whom to log in as.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// A private key that it lets in.
    pub(crate) fn key(&self) -> PathBuf {
        self.client.path().join("key")
    }

    /// One that it does not know.
    pub(crate) fn strangers_key(&self) -> PathBuf {
        self.client.path().join("stranger")
    }

    /// A file of known hosts in which it stands.
    pub(crate) fn known_hosts(&self) -> PathBuf {
        self.client.path().join("known_hosts")
    }

    /// Known at another port, too: of something in between.
    pub(crate) fn known_at(&self, port: u16) {
        let hosts = std::fs::read_to_string(self.known_hosts()).unwrap();
        let (_, key) = hosts.split_once(' ').unwrap();
        std::fs::write(self.known_hosts(), format!("{hosts}[127.0.0.1]:{port} {key}")).unwrap();
    }

    /// A folder for what it serves. The account that it runs as may read it, not write.
    pub(crate) fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }
}

/// A server's program, as `scripts/store-servers.sh` says it.
#[expect(clippy::disallowed_methods, reason = "the tests' own settings come from the environment")]
pub(crate) fn program(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

#[test]
fn a_server_of_its_own_lets_its_key_in_and_no_other() {
    let Some(server) = Sshd::start() else { return };
    let said = server.home().join("said");
    std::fs::write(&said, "words").unwrap();
    let login = |key: &Path| {
        let mut ssh = plain(Path::new("ssh"));
        ssh.args(["-F", "/dev/null", "-oBatchMode=yes", "-oIdentitiesOnly=yes"]);
        ssh.arg(format!("-oUserKnownHostsFile={}", server.known_hosts().display())).arg("-i").arg(key);
        ssh.args(["-p", &server.port().to_string(), "-l", server.user(), "127.0.0.1", "cat"]).arg(&said);
        ssh.output().unwrap()
    };
    assert_eq!(login(&server.key()).stdout, b"words");
    let refused = login(&server.strangers_key());
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
}
