//! Requests that someone else made, sent on as they are: signed with this process's credentials.

use std::fmt;
use std::sync::Arc;

use aws_sdk_dynamodb::error::SdkError;
use bytes::Bytes;
use http::HeaderMap;

use super::connect::{self, DynamoDbConfig};
use super::direct::{self, Direct, Failure};
use super::errors::{
    CHECK_CREDENTIALS, CHECK_REACH, is_about_credentials, is_about_missing_credentials, is_unsent,
    root_cause,
};
use crate::error::{Effect, Error, Kind, Result};

/// Sends requests in DynamoDB's protocol as they are. Nothing is sent twice.
#[derive(Clone)]
pub struct Raw {
    endpoint: Arc<str>,
    direct: Direct,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// The HTTP status.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Raw {
    /// Takes endpoint, region and credentials as a store of this configuration does.
    ///
    /// # Errors
    /// [`Kind::Denied`](crate::error::Kind::Denied) without credentials; [`Kind::Config`](crate::error::Kind::Config) without a
    /// region, or with an endpoint or a certificate file that can't be used.
    pub async fn connect(config: &DynamoDbConfig) -> Result<Raw> {
        let connect::Ways {
            direct, endpoint, ..
        } = connect::ways(config).await?;
        Ok(Raw {
            endpoint: endpoint.into(),
            direct,
        })
    }

    /// The URL that requests go to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sends a request: its `X-Amz-Target`, its content type and its body.
    ///
    /// # Errors
    /// There are no credentials, or they were refused; or there was no answer, with unknown effect if it may have arrived.
    pub async fn send(&self, target: &str, content_type: &str, body: Bytes) -> Result<RawAnswer> {
        let answer = self.direct.exchange(target, content_type, body, None).await;
        let answer = answer.map_err(|failure| self.unanswered(failure))?;
        let (parts, body) = answer.into_parts();
        // The service's own text may quote the headers that were signed, a session token among them.
        if !parts.status.is_success()
            && let Some(code) = direct::code(&parts.headers, &body)
            && is_about_credentials(&code)
        {
            let message = format!("the credentials were refused: {code}");
            return Err(Error::new(Kind::Denied, message)
                .with_effect(Effect::None)
                .with_context("endpoint", &*self.endpoint)
                .with_help(CHECK_CREDENTIALS));
        }
        Ok(RawAnswer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }

    fn unanswered(&self, failure: Failure) -> Error {
        let cause = root_cause(&failure);
        let (kind, message) = match &failure {
            _ if is_about_missing_credentials(&failure) => {
                (Kind::Denied, format!("no AWS credentials: {cause}"))
            }
            SdkError::ConstructionFailure(_) => {
                let message = format!("the request can't be sent on: {cause}");
                return Error::new(Kind::Invalid, message).with_source(failure);
            }
            SdkError::TimeoutError(_) => {
                let message = format!("DynamoDB didn't answer in time: {cause}");
                (Kind::Unreachable, message)
            }
            SdkError::ResponseError(_) => {
                let message = format!("DynamoDB's answer broke off: {cause}");
                (Kind::Unreachable, message)
            }
            _ if is_unsent(&failure) => {
                let message = format!("DynamoDB can't be reached: {cause}");
                (Kind::Unreachable, message)
            }
            _ => (
                Kind::Unreachable,
                format!("DynamoDB didn't answer: {cause}"),
            ),
        };
        let (effect, help) = match is_unsent(&failure) {
            true if kind == Kind::Unreachable => (Effect::None, Some(CHECK_REACH)),
            true => (Effect::None, None),
            false => (Effect::Unknown, None),
        };
        let error = Error::new(kind, message)
            .with_effect(effect)
            .with_context("endpoint", &*self.endpoint)
            .with_source(failure);
        match help {
            Some(help) => error.with_help(help),
            None => error,
        }
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
