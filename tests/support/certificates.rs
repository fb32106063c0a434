//! Certificates of a test: an authority, a server's and a client's from it for `localhost`, and another authority.

use std::path::Path;

use super::server::{output, plain};

/// Certificates as an administrator makes them; returns the folder.
pub(crate) fn certificates() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::Builder::new().prefix("lbr-").tempdir_in("/tmp").unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let openssl = |line: &str| {
        let mut command = plain(Path::new("openssl"));
        output(command.args(line.split(' ')).current_dir(folder.path()));
    };
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca",
    );
    for name in ["server", "client"] {
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        std::fs::write(folder.path().join("ext"), "subjectAltName=DNS:localhost\n").unwrap();
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out {name}.pem -extfile ext"
        ));
        std::fs::set_permissions(folder.path().join(format!("{name}.key")), std::fs::Permissions::from_mode(0o644))
            .unwrap();
    }
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -out other.pem -days 2 -subj /CN=o",
    );
    folder
}

/// The lines of `redis.conf` that make a server or a sentinel speak TLS, and nothing else, at `port`; with it everybody shows a
/// certificate.
pub(crate) fn tls_lines(certificates: &Path, port: u16) -> Vec<String> {
    let file = |name: &str| certificates.join(name).display().to_string();
    vec![
        format!("tls-port {port}"),
        "bind 127.0.0.1".to_owned(),
        format!("tls-cert-file {}", file("server.pem")),
        format!("tls-key-file {}", file("server.key")),
        format!("tls-ca-cert-file {}", file("ca.pem")),
        "tls-auth-clients yes".to_owned(),
        "tls-replication yes".to_owned(),
    ]
}
