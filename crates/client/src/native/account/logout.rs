//! Leaving: the server forgets the token, and the home the device.

use undertone_protocol::rest::code;

use crate::native::connector::Connector;
use crate::native::error::ClientError;
use crate::native::home::Home;
use crate::native::rest;

pub(in crate::native) async fn logout(home: &Home) -> Result<(), ClientError> {
    let (Some(pin), Some(token)) = (home.server()?, home.token()?) else { return Err(ClientError::NotLoggedIn) };
    let (_, connector) = Connector::to_pinned(&pin).await?;
    match rest::post_empty(connector.tcp().await?, connector.address(), "/v1/logout", &token).await {
        // A token that is gone already is what was wanted.
        Ok(()) => {}
        Err(ClientError::Refused { code, .. }) if code == code::UNAUTHORIZED => {}
        Err(error) => return Err(error),
    }
    Ok(home.forget()?)
}
