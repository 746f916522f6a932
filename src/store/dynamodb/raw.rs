//! Requests that someone else made, sent on as they are: signed with this process's credentials.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::connect::{self, ANY_REGION, CALL, CONNECT, DynamoDbConfig};
use super::errors::{CHECK_REACH, root_cause};
use super::http::{Timed, connections};
use crate::error::{Effect, Error, Kind, Result};

/// How long credentials are used that don't say when they end.
const KEPT: Duration = Duration::from_secs(300);
/// How long before their end credentials are fetched anew.
const EARLY: Duration = Duration::from_secs(60);

/// Sends requests in DynamoDB's protocol as they are. Nothing is sent twice.
#[derive(Clone)]
pub struct Raw {
    endpoint: Arc<str>,
    region: Arc<str>,
    http: Client<Timed, Full<Bytes>>,
    timeout: Duration,
    provider: SharedCredentialsProvider,
    credentials: Arc<Mutex<Option<(Credentials, Instant)>>>,
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
        let (_, endpoint) = connect::client(config).await?;
        let shared = connect::shared(config).await;
        let provider = shared.credentials_provider().ok_or_else(|| {
            Error::new(Kind::Denied, "no AWS credentials")
                .with_help("set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached")
        })?;
        let region = shared.region().map_or(ANY_REGION, |region| region.as_ref());
        let timeout = config.timeout.unwrap_or(CALL);
        let roots = config.tls.as_ref().map(connect::roots).transpose()?;
        let http = connections(roots, CONNECT, timeout).map_err(|error| {
            Error::new(Kind::Config, "encryption can't be set up").with_source(error)
        })?;
        Ok(Raw {
            endpoint: endpoint.into(),
            region: region.into(),
            http,
            timeout,
            provider,
            credentials: Arc::default(),
        })
    }

    /// The URL that requests go to.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Sends a request: its `X-Amz-Target`, its content type and its body.
    ///
    /// # Errors
    /// There are no credentials; or there was no answer, with unknown effect if it may have arrived.
    pub async fn send(&self, target: &str, content_type: &str, body: Bytes) -> Result<RawAnswer> {
        let request = self.signed(target, content_type, body).await?;
        let lost = |message: String| {
            Error::new(Kind::Unreachable, message)
                .with_effect(Effect::Unknown)
                .with_context("endpoint", &*self.endpoint)
        };
        let answering = async {
            let answer = self.http.request(request).await.map_err(|error| {
                let cause = root_cause(&error);
                let told = match error.is_connect() {
                    true => lost(format!("DynamoDB can't be reached: {cause}"))
                        .with_effect(Effect::None)
                        .with_help(CHECK_REACH),
                    false => lost(format!("DynamoDB didn't answer: {cause}")),
                };
                told.with_source(error)
            })?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| {
                lost(format!("DynamoDB's answer broke off: {error}")).with_source(error)
            })?;
            Ok(RawAnswer {
                status: parts.status.as_u16(),
                headers: parts.headers,
                body: body.to_bytes(),
            })
        };
        tokio::time::timeout(self.timeout, answering)
            .await
            .unwrap_or_else(|_| {
                Err(lost(format!(
                    "DynamoDB didn't answer within {:?}",
                    self.timeout
                )))
            })
    }

    async fn signed(
        &self,
        target: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>> {
        let wrong = |why: String| {
            Error::new(
                Kind::Invalid,
                format!("the request can't be sent on: {why}"),
            )
        };
        let uri = format!("{}/", self.endpoint);
        let identity = self.credentials().await?.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("dynamodb")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let headers = [("content-type", content_type), ("x-amz-target", target)];
        let signable = SignableRequest::new(
            "POST",
            &uri,
            headers.into_iter(),
            SignableBody::Bytes(&body),
        );
        let signable = signable.map_err(|error| wrong(error.to_string()))?;
        let (instructions, _) = sign(signable, &params.into())
            .map_err(|error| wrong(error.to_string()))?
            .into_parts();
        let mut request = Request::post(&uri)
            .header("content-type", content_type)
            .header("x-amz-target", target)
            .body(Full::new(body))
            .map_err(|error| wrong(error.to_string()))?;
        instructions.apply_to_request_http1x(&mut request);
        Ok(request)
    }

    async fn credentials(&self) -> Result<Credentials> {
        let mut kept = self.credentials.lock().await;
        if let Some((credentials, until)) = &*kept
            && Instant::now() < *until
        {
            return Ok(credentials.clone());
        }
        let fetched = self.provider.provide_credentials().await;
        let credentials = fetched.map_err(|error| {
            Error::new(Kind::Denied, format!("no AWS credentials: {error}")).with_source(error)
        })?;
        let left = credentials
            .expiry()
            .map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
        let kept_for = left.map_or(KEPT, |left| left.saturating_sub(EARLY).min(KEPT));
        *kept = Some((credentials.clone(), Instant::now() + kept_for));
        Ok(credentials)
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
