//! Calls without the SDK's machinery, which takes several times what everything else about a small read takes.
//!
//! Bodies are written by [`crate::item`]'s wire form, and answers read by it. Connections, their sockets and their
//! permits are those of the SDK's client ([`super::http`]); credentials come from its provider, the signature from
//! its signer; timeouts are the same. What goes wrong is the SDK's own error type, so that
//! [`super::errors::SdkCall::failed`] judges both alike.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ConnectorError, ErrorMetadata, ProvideErrorMetadata, SdkError};
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Request, Response, Uri};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::attr::Attrs;
use super::http::Http;
use crate::codec::text::hex;
use crate::item::wire::Attributes;
use crate::store::Permit;

/// The content type of the protocol.
const JSON: &str = "application/x-amz-json-1.0";
/// What stands before an operation's name.
const SERVICE: &str = "DynamoDB_20120810.";
/// How long credentials are used that don't say when they end.
const KEPT: Duration = Duration::from_secs(300);
/// How long before their end credentials are fetched anew.
const EARLY: Duration = Duration::from_secs(60);
/// How long it may take to fetch them, and after how long that is tried again where it failed.
const FETCHING: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(5);

/// A failed call.
pub(super) type Failure = SdkError<ServiceRefusal, HttpResponse>;

/// Sends signed requests. Nothing is sent twice.
#[derive(Clone)]
pub(super) struct Direct(Arc<Inner>);

struct Inner {
    http: Http,
    uri: Uri,
    /// The path as it is signed.
    path: String,
    host: HeaderValue,
    region: String,
    timeout: Duration,
    provider: SharedCredentialsProvider,
    signer: RwLock<Option<Arc<Signer>>>,
    /// Held by the one that fetches credentials: when that failed last.
    fetching: Mutex<Option<Instant>>,
}

/// Credentials, and what a day's signatures are made with.
struct Signer {
    credentials: Credentials,
    until: Instant,
    day: u64,
    key: Vec<u8>,
    /// `20261128/us-east-1/dynamodb/aws4_request`.
    scope: String,
}

/// What the service answered in place of a result.
#[derive(Debug)]
pub(super) struct ServiceRefusal {
    metadata: ErrorMetadata,
    /// The item that didn't meet a condition, if it was told; within, none if it can't be read.
    pub item: Option<Option<Attrs>>,
}

impl ServiceRefusal {
    /// Whether it is that a condition didn't hold.
    pub(super) fn is_unmet(&self) -> bool {
        self.metadata.code() == Some("ConditionalCheckFailedException")
    }
}

impl fmt::Display for ServiceRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.metadata.code(), self.metadata.message()) {
            (Some(code), Some(message)) => write!(f, "{code}: {message}"),
            (Some(code), None) => f.write_str(code),
            (None, Some(message)) => f.write_str(message),
            (None, None) => f.write_str("the answer has no code of an error"),
        }
    }
}

impl std::error::Error for ServiceRefusal {}

impl Signer {
    /// Whether the credentials haven't ended: by the clock that goes on while a machine is suspended.
    fn is_valid(&self) -> bool {
        let end = self.credentials.expiry();
        end.is_none_or(|end| SystemTime::now() < end)
    }
}

impl ProvideErrorMetadata for ServiceRefusal {
    fn meta(&self) -> &ErrorMetadata {
        &self.metadata
    }
}

impl Direct {
    /// Takes an endpoint as the SDK has settled it. `None` if it can't be one for a request.
    pub(super) fn new(
        http: Http,
        endpoint: &str,
        region: &str,
        timeout: Duration,
        provider: SharedCredentialsProvider,
    ) -> Option<Self> {
        let uri: Uri = format!("{}/", endpoint.trim_end_matches('/'))
            .parse()
            .ok()?;
        let host = match (uri.scheme_str()?, uri.port_u16()) {
            ("http", Some(80)) | ("https", Some(443)) | (_, None) => uri.host()?.to_owned(),
            (_, Some(port)) => format!("{}:{port}", uri.host()?),
        };
        Some(Direct(Arc::new(Inner {
            http,
            host: HeaderValue::try_from(host).ok()?,
            path: signed_path(uri.path()),
            uri,
            region: region.to_owned(),
            timeout,
            provider,
            signer: RwLock::default(),
            fetching: Mutex::default(),
        })))
    }

    /// The same on connections of its own.
    pub(super) fn over(&self, http: Http) -> Self {
        let inner = &*self.0;
        Direct(Arc::new(Inner {
            http,
            uri: inner.uri.clone(),
            path: inner.path.clone(),
            host: inner.host.clone(),
            region: inner.region.clone(),
            timeout: inner.timeout,
            provider: inner.provider.clone(),
            signer: RwLock::default(),
            fetching: Mutex::default(),
        }))
    }

    /// Makes a call: the body of its answer.
    ///
    /// # Errors
    /// Those that the SDK's calls have.
    async fn call(
        &self,
        operation: &str,
        body: Vec<u8>,
        permit: Option<&Permit>,
    ) -> Result<Bytes, Failure> {
        let target = format!("{SERVICE}{operation}");
        let answer = self.exchange(&target, JSON, body.into(), permit).await?;
        match answer.status().is_success() {
            true => Ok(answer.into_body()),
            false => Err(refused(answer)),
        }
    }

    /// Makes a call, and reads what it answers.
    ///
    /// # Errors
    /// As of [`Direct::call`].
    pub(super) async fn ask<T: for<'de> Deserialize<'de>>(
        &self,
        operation: &str,
        body: Vec<u8>,
        permit: Option<&Permit>,
    ) -> Result<T, Failure> {
        let answer = self.call(operation, body, permit).await?;
        serde_json::from_slice(&answer).map_err(|error| unreadable(answer, &error))
    }

    /// Sends a request, and takes whatever is answered.
    ///
    /// # Errors
    /// There is no answer.
    pub(super) async fn exchange(
        &self,
        target: &str,
        content_type: &str,
        body: Bytes,
        permit: Option<&Permit>,
    ) -> Result<Response<Bytes>, Failure> {
        // One time for all of it, so that the scope's day is the signature's.
        let now = SystemTime::now();
        // Outside of the timeout: while this takes its time nothing is sent.
        let signer = self.signer(now).await?;
        let sending = self.send((&signer, now), target, content_type, body, permit);
        match tokio::time::timeout(self.0.timeout, sending).await {
            Ok(answer) => answer,
            Err(late) => Err(SdkError::timeout_error(late)),
        }
    }

    async fn send(
        &self,
        (signer, now): (&Signer, SystemTime),
        target: &str,
        content_type: &str,
        body: Bytes,
        permit: Option<&Permit>,
    ) -> Result<Response<Bytes>, Failure> {
        let wrong = |error: http::Error| SdkError::construction_failure(error);
        let (head, authorization) = self.signed(signer, target, content_type, &body, now);
        let mut request = Request::post(self.0.uri.clone())
            .body(SdkBody::from(body))
            .map_err(wrong)?;
        *request.headers_mut() = head;
        let value = HeaderValue::try_from(authorization).map_err(|error| wrong(error.into()))?;
        request.headers_mut().insert(AUTHORIZATION, value);
        if let Some(permit) = permit {
            let refused = |error: crate::error::Error| ConnectorError::user(error.into());
            permit
                .ask()
                .map_err(|error| SdkError::dispatch_failure(refused(error)))?;
            request.extensions_mut().insert(permit.clone());
        }
        let answer = self
            .0
            .http
            .send(request)
            .await
            .map_err(SdkError::dispatch_failure)?;
        let (parts, body) = answer.into_parts();
        match body.collect().await {
            Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
            Err(error) => {
                let raw = raw(Response::from_parts(parts, Bytes::new()));
                Err(SdkError::response_error(error, raw))
            }
        }
    }

    /// Headers, and the one that signs them: AWS Signature Version 4.
    fn signed(
        &self,
        signer: &Signer,
        target: &str,
        content_type: &str,
        body: &[u8],
        now: SystemTime,
    ) -> (HeaderMap, String) {
        let inner = &*self.0;
        let (date, time) = date_and_time(now);
        let date = format!("{date}T{time}Z");
        let token = signer.credentials.session_token();
        let host = inner.host.to_str().unwrap_or_default();
        // Signed is what is left of a value without needless spaces.
        let plain = |value: &str| value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        let (kind, name) = (plain(content_type), plain(target));
        let (token_line, token_name) = match token {
            Some(token) => (
                format!("x-amz-security-token:{token}\n"),
                "x-amz-security-token;",
            ),
            None => (String::new(), ""),
        };
        let names = format!("content-type;host;x-amz-date;{token_name}x-amz-target");
        let canonical = format!(
            "POST\n{}\n\ncontent-type:{kind}\nhost:{host}\nx-amz-date:{date}\n{token_line}x-amz-target:{name}\n\n\
             {names}\n{}",
            inner.path,
            hex(&Sha256::digest(body))
        );
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{date}\n{}\n{}",
            signer.scope,
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}, SignedHeaders={names}, Signature={}",
            signer.credentials.access_key_id(),
            signer.scope,
            calculate_signature(&signer.key, to_sign.as_bytes())
        );
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(HOST, inner.host.clone());
        let agent = HeaderValue::from_static(concat!("crossfade/", env!("CARGO_PKG_VERSION")));
        headers.insert(USER_AGENT, agent);
        let texts = [
            (CONTENT_TYPE, content_type),
            (HeaderName::from_static("x-amz-date"), &date),
            (HeaderName::from_static("x-amz-target"), target),
        ];
        let token = token.map(|token| (HeaderName::from_static("x-amz-security-token"), token));
        for (name, value) in texts.into_iter().chain(token) {
            // What can't be a header makes a signature that is refused.
            if let Ok(mut value) = HeaderValue::try_from(value) {
                value.set_sensitive(name.as_str() == "x-amz-security-token");
                headers.insert(name, value);
            }
        }
        (headers, authorization)
    }

    async fn signer(&self, now: SystemTime) -> Result<Arc<Signer>, Failure> {
        if let Some(signer) = self.current(now) {
            return Ok(signer);
        }
        let mut failed = self.0.fetching.lock().await;
        // Another call may have fetched them meanwhile.
        if let Some(signer) = self.current(now) {
            return Ok(signer);
        }
        let known = self.known().filter(|signer| signer.is_valid());
        let (credentials, until) = match known {
            // Another day alone.
            Some(signer) if Instant::now() < signer.until => {
                (signer.credentials.clone(), signer.until)
            }
            known => match (self.fetched(*failed).await, known) {
                (Ok(fetched), _) => fetched,
                // What is there is good for a while yet.
                (Err(_), Some(signer)) => (signer.credentials.clone(), Instant::now() + AGAIN),
                (Err(error), None) => {
                    *failed = Some(Instant::now());
                    return Err(SdkError::dispatch_failure(ConnectorError::other(
                        error.into(),
                        None,
                    )));
                }
            },
        };
        let region = self.0.region.as_str();
        let key = generate_signing_key(credentials.secret_access_key(), now, region, "dynamodb");
        let signer = Arc::new(Signer {
            key: key.as_ref().to_vec(),
            scope: format!("{}/{region}/dynamodb/aws4_request", date_and_time(now).0),
            day: day(now),
            credentials,
            until,
        });
        let mut kept = self
            .0
            .signer
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = Some(signer.clone());
        Ok(signer)
    }

    fn known(&self) -> Option<Arc<Signer>> {
        let signer = self.0.signer.read().unwrap_or_else(PoisonError::into_inner);
        signer.clone()
    }

    fn current(&self, now: SystemTime) -> Option<Arc<Signer>> {
        let is_current = |signer: &Arc<Signer>| {
            signer.day == day(now) && Instant::now() < signer.until && signer.is_valid()
        };
        self.known().filter(is_current)
    }

    /// New credentials, and until when they are used.
    async fn fetched(
        &self,
        failed: Option<Instant>,
    ) -> Result<(Credentials, Instant), CredentialsError> {
        // Those that waited for a fetch that failed don't try one after the other.
        if failed.is_some_and(|failed| failed.elapsed() < Duration::from_secs(1)) {
            return Err(CredentialsError::provider_timed_out(FETCHING));
        }
        let fetching = self.0.provider.provide_credentials();
        let credentials = match tokio::time::timeout(FETCHING, fetching).await {
            Ok(fetched) => fetched?,
            Err(_) => return Err(CredentialsError::provider_timed_out(FETCHING)),
        };
        let left = credentials
            .expiry()
            .map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
        let kept_for = match left {
            None => KEPT,
            Some(left) if left > EARLY * 2 => left - EARLY,
            Some(left) => left / 2,
        };
        Ok((credentials, Instant::now() + kept_for))
    }
}

/// Days since 1970.
fn day(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / 86_400
}

/// `20261128` and `101500`.
fn date_and_time(now: SystemTime) -> (String, String) {
    let now = OffsetDateTime::from(now);
    let (year, month, day) = now.to_calendar_date();
    let (hour, minute, second) = now.to_hms();
    (
        format!("{year:04}{:02}{day:02}", u8::from(month)),
        format!("{hour:02}{minute:02}{second:02}"),
    )
}

fn raw(answer: Response<Bytes>) -> HttpResponse {
    let status = answer.status();
    HttpResponse::try_from(answer.map(SdkBody::from))
        .unwrap_or_else(|_| HttpResponse::new(status.into(), SdkBody::empty()))
}

/// A success whose body isn't what it should be.
fn unreadable(body: Bytes, error: &dyn fmt::Display) -> Failure {
    let metadata = ErrorMetadata::builder().message(error.to_string()).build();
    let refusal = ServiceRefusal {
        metadata,
        item: None,
    };
    SdkError::service_error(refusal, raw(Response::new(body)))
}

/// An answer that isn't a success. Of a body that is unusual, what can be read is.
fn refused(answer: Response<Bytes>) -> Failure {
    let said: Json = serde_json::from_slice(answer.body()).unwrap_or_default();
    let text = |name: &str| said.get(name).and_then(Json::as_str);
    let mut metadata = ErrorMetadata::builder();
    if let Some(code) = code_of(answer.headers(), &said) {
        metadata = metadata.code(code);
    }
    let message = ["message", "Message", "errorMessage"];
    if let Some(message) = message.into_iter().find_map(text) {
        metadata = metadata.message(message);
    }
    let item = said.get("Item").map(|item| {
        Attributes::deserialize(item)
            .map(|Attributes(item)| item)
            .ok()
    });
    let refusal = ServiceRefusal {
        metadata: metadata.build(),
        item,
    };
    SdkError::service_error(refusal, raw(answer))
}

/// The code of an answer that isn't a success.
pub(super) fn code(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    let said: Json = serde_json::from_slice(body).unwrap_or_default();
    code_of(headers, &said)
}

fn code_of(headers: &HeaderMap, said: &Json) -> Option<String> {
    let header = headers.get("x-amzn-errortype");
    let header = header.and_then(|code| code.to_str().ok());
    let text = |name: &str| said.get(name).and_then(Json::as_str);
    let code = header.or(text("code")).or(text("__type"))?;
    Some(plain(code).to_owned())
}

/// The path as the signature has it, which ends with a slash: without dots that lead nowhere, and what isn't plain is
/// encoded, also where it is already.
fn signed_path(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut signed = String::with_capacity(path.len());
    for byte in parts
        .iter()
        .flat_map(|part| ["/", part])
        .flat_map(str::bytes)
    {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                signed.push(char::from(byte));
            }
            _ => {
                signed.push('%');
                signed.push_str(&hex(&[byte]).to_ascii_uppercase());
            }
        }
    }
    signed.push('/');
    signed
}

/// `com.amazonaws.dynamodb.v20120810#Code:http://…` without what is around the code.
fn plain(code: &str) -> &str {
    let code = code.split_once(':').map_or(code, |(code, _)| code);
    code.rsplit_once('#').map_or(code, |(_, code)| code)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    use aws_sigv4::sign::v4;
    use proptest::prelude::*;

    use super::*;

    fn signer(endpoint: &str, token: Option<String>, now: SystemTime) -> (Direct, Signer) {
        let credentials = Credentials::new("AKIDEXAMPLE", "secret/+key", token, None, "test");
        let provider = SharedCredentialsProvider::new(credentials.clone());
        let http = super::super::http::client(None, KEPT, KEPT).unwrap();
        let direct = Direct::new(http, endpoint, "eu-north-1", KEPT, provider).unwrap();
        let key = generate_signing_key("secret/+key", now, "eu-north-1", "dynamodb");
        let signer = Signer {
            credentials,
            until: Instant::now(),
            day: day(now),
            key: key.as_ref().to_vec(),
            scope: format!("{}/eu-north-1/dynamodb/aws4_request", date_and_time(now).0),
        };
        (direct, signer)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_signature_is_the_sdks_own(
            body in any::<Vec<u8>>(),
            token in proptest::option::of("[A-Za-z0-9/+=]{1,300}"),
            seconds in 1_600_000_000_u64..2_000_000_000,
            path in "(/[A-Za-z0-9:@+=,~._-]{1,9}|/a%20b){0,2}",
        ) {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            let endpoint = format!("http://127.0.0.1:8000{path}");
            let (direct, signer) = signer(&endpoint, token, now);
            let (_, ours) = direct.signed(&signer, "DynamoDB_20120810.GetItem", JSON, &body, now);
            let identity = signer.credentials.clone().into();
            let params = v4::SigningParams::builder()
                .identity(&identity)
                .region("eu-north-1")
                .name("dynamodb")
                .time(now)
                .settings(SigningSettings::default())
                .build()
                .unwrap();
            let headers = [("content-type", JSON), ("x-amz-target", "DynamoDB_20120810.GetItem")];
            let request = SignableRequest::new(
                "POST",
                format!("{endpoint}/"),
                headers.into_iter(),
                SignableBody::Bytes(&body),
            );
            let (instructions, _) = sign(request.unwrap(), &params.into()).unwrap().into_parts();
            let theirs = instructions.headers().find(|(name, _)| *name == "authorization").unwrap();
            prop_assert_eq!(ours, theirs.1);
        }
    }

    #[test]
    fn a_code_is_between_its_namespace_and_a_link() {
        for code in [
            "ValidationException",
            "com.amazon.coral.validate#ValidationException",
            "aws.protocoltests#ValidationException:http://internal.amazon.com/coral/",
        ] {
            assert_eq!(plain(code), "ValidationException");
        }
    }
}
