//! Proving who we are, without ever giving a password to an open network.

use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;

use super::connection::Connection;
use super::{ConnectOptions, WireError};
use crate::domain::Secret;

/// Answers the server's questions until it says that we are in.
pub(super) async fn authenticate(connection: &mut Connection, options: &ConnectOptions) -> Result<(), WireError> {
    let refuse = |why: &str| WireError::Auth { place: options.place(), why: why.to_owned() };
    let password =
        || options.password.as_ref().ok_or_else(|| refuse("the server wants a password and none is configured"));
    loop {
        match connection.message().await? {
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword => {
                if !connection.is_private() {
                    return Err(refuse("the server wants the password in the clear over an unencrypted network"));
                }
                let password = password()?.expose().as_bytes().to_vec();
                connection.write(|buffer| frontend::password_message(&password, buffer)).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(options.user.as_bytes(), password()?.expose().as_bytes(), body.salt());
                connection.write(|buffer| frontend::password_message(hash.as_bytes(), buffer)).await?;
            }
            Message::AuthenticationSasl(body) => {
                let mut offered = body.mechanisms();
                let mut known = false;
                while let Ok(Some(mechanism)) = offered.next() {
                    known |= mechanism == SCRAM_SHA_256;
                }
                if !known {
                    return Err(refuse("the server offers no SASL mechanism but unknown ones"));
                }
                scram(connection, options, password()?).await?;
            }
            _ => return Err(refuse("the server wants a method that is not supported (GSSAPI, SSPI, Kerberos)")),
        }
    }
}

/// RFC 5802 and RFC 7677; channel binding is not offered.
async fn scram(connection: &mut Connection, options: &ConnectOptions, password: &Secret) -> Result<(), WireError> {
    let fail = |why: String| WireError::Auth { place: options.place(), why };
    let mut scram = ScramSha256::new(password.expose().as_bytes(), ChannelBinding::unsupported());
    connection.write(|buffer| frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), buffer)).await?;
    let Message::AuthenticationSaslContinue(body) = connection.message().await? else {
        return Err(WireError::Protocol("SASL went out of step".to_owned()));
    };
    scram.update(body.data()).map_err(|error| fail(error.to_string()))?;
    connection.write(|buffer| frontend::sasl_response(scram.message(), buffer)).await?;
    let Message::AuthenticationSaslFinal(body) = connection.message().await? else {
        return Err(WireError::Protocol("SASL went out of step".to_owned()));
    };
    // The server proves that it knows the password too.
    scram.finish(body.data()).map_err(|error| fail(format!("the server did not prove itself: {error}")))
}
