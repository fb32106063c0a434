//! TLS by rustls, as far as it is the same whatever is spoken inside: PEM files, a client's own certificate, the handshake.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

/// The certificates of a connection, PEM files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Without it the system's roots.
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

pub(in crate::sources) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The beginning of a configuration; who checks the server's certificate comes next.
pub(in crate::sources) fn builder(
    provider: Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, String> {
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())
}

impl TlsFiles {
    /// The certificates that the server's chain may end in. Whether none is an error is the caller's to say.
    pub(in crate::sources) fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(file) => {
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| format!("`{}`: {error}", file.display()))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        Ok(roots)
    }

    /// The end of a configuration: the client's own certificate, where there is one. `names` says what a user calls the files.
    pub(in crate::sources) fn authenticate(
        &self,
        builder: ConfigBuilder<ClientConfig, WantsClientCert>,
        names: &str,
    ) -> Result<ClientConfig, String> {
        match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let chain = certificates(cert)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("`{}`: {error}", key.display()))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())
            }
            (None, None) => Ok(builder.with_no_client_auth()),
            _ => Err(format!("{names} go together")),
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail = |error: rustls_pki_types::pem::Error| format!("`{}`: {error}", file.display());
    CertificateDer::pem_file_iter(file).map_err(fail)?.collect::<Result<_, _>>().map_err(fail)
}

/// The handshake with the server of this name.
pub(in crate::sources) async fn connect(
    stream: TcpStream,
    name: &str,
    config: ClientConfig,
) -> Result<TlsStream<TcpStream>, String> {
    let server = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
    TlsConnector::from(Arc::new(config)).connect(server, stream).await.map_err(|error| error.to_string())
}
