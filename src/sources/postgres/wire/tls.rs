//! TLS by rustls, with libpq's meanings of `sslmode`.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme};

use super::stream::Socket;
use super::{ConnectOptions, Host, TlsMode, WireError};
use crate::sources::network::tls;

/// Asks the server for TLS as the protocol does (one request, one byte back) and upgrades the socket.
pub(super) async fn negotiate(mut socket: Socket, options: &ConnectOptions) -> Result<Socket, WireError> {
    let Host::Tcp(name) = &options.host else { return Ok(socket) };
    if options.tls == TlsMode::Disable {
        return Ok(socket);
    }
    let fail = |why: String| WireError::Tls { place: options.server(), why };
    let mut request = bytes::BytesMut::new();
    postgres_protocol::message::frontend::ssl_request(&mut request);
    socket.write_all(&request).await.map_err(|error| fail(error.to_string()))?;
    // Exactly one byte: anything more before the handshake would be injected (CVE-2021-23222).
    let answer = socket.read_u8().await.map_err(|error| fail(error.to_string()))?;
    match answer {
        b'S' => {}
        b'N' if options.tls == TlsMode::Prefer => return Ok(socket),
        b'N' => return Err(fail("the server does not offer it, and `sslmode` demands it".to_owned())),
        // Servers before TLS answer with an error message.
        _ => return Err(fail(format!("the server answered with byte {answer:#04x}"))),
    }
    let Socket::Tcp(stream) = socket else {
        return Err(fail("only a plain TCP connection can be upgraded".to_owned()));
    };
    let config = client_config(options).map_err(&fail)?;
    let stream = tls::connect(stream, name, config).await.map_err(fail)?;
    Ok(Socket::Tls(Box::new(stream)))
}

fn client_config(options: &ConnectOptions) -> Result<ClientConfig, String> {
    let provider = tls::provider();
    let verifier = Arc::new(Verifier::new(options, &provider)?);
    let builder = tls::builder(provider)?.dangerous().with_custom_certificate_verifier(verifier);
    options.files.authenticate(builder, "`sslcert` and `sslkey`")
}

/// Checks as much as `sslmode` asks for: nothing (`prefer`, `require`), the chain (`verify-ca`), the name too (`verify-full`).
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(options: &ConnectOptions, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let name = options.tls == TlsMode::VerifyFull;
        if !name && options.tls != TlsMode::VerifyCa {
            return Ok(Self { chain: None, name, provider: Arc::clone(provider) });
        }
        let roots = Arc::new(options.files.roots()?);
        let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .map_err(|error| format!("no root certificates: {error}; name them with `sslrootcert`"))?;
        Ok(Self { chain: Some(chain), name, provider: Arc::clone(provider) })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The chain is checked before the name, so a wrong name means a good chain.
            Err(TlsError::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
