//! TLS. `rediss://` has no handshake of its own before it, and no mode that checks less than everything.

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::TlsFiles;
use crate::sources::network::tls;

/// Upgrades a connection and checks the server's certificate, chain and name.
pub(super) async fn secure(stream: TcpStream, name: &str, files: &TlsFiles) -> Result<TlsStream<TcpStream>, String> {
    tls::connect(stream, name, client_config(files)?).await
}

fn client_config(files: &TlsFiles) -> Result<ClientConfig, String> {
    let builder = tls::builder(tls::provider())?.with_root_certificates(roots(files)?);
    files.authenticate(builder, "`tls_cert` and `tls_key`")
}

fn roots(files: &TlsFiles) -> Result<RootCertStore, String> {
    let roots = files.roots()?;
    match &files.ca {
        _ if !roots.is_empty() => Ok(roots),
        Some(file) => Err(format!("`{}` holds no certificate", file.display())),
        None => Err("this machine has no root certificates: name them with `tls_ca`".to_owned()),
    }
}
