//! From a [`DynamoDbConfig`] to a client: region, endpoint, credentials, TLS, timeouts.

use std::error::Error as StdError;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::direct::Direct;
use super::errors::root_cause;
use super::http::{self, Http};
use crate::error::{Error, Kind, Result};

/// How long a connection may take to come about, TLS included.
const CONNECT: Duration = Duration::from_secs(3);
/// How long a call may take where the configuration doesn't say, from its first byte to the last of
/// the answer: a batch of 4 MiB gets through a slow line in it.
const CALL: Duration = Duration::from_secs(10);
/// What other servers than AWS's are given for a region.
const ANY_REGION: &str = "us-east-1";
/// How long a first look may take, so that an endpoint that swallows everything is reported soon.
const LOOK: Duration = Duration::from_secs(5);

/// Where DynamoDB is, and how to get in.
#[derive(Clone, Debug, Default)]
pub struct DynamoDbConfig {
    /// The AWS region; `None` is the one of the environment or the profile.
    pub region: Option<String>,
    /// The endpoint's URL (`http://127.0.0.1:8000`); `None` is AWS's own, or what
    /// `AWS_ENDPOINT_URL_DYNAMODB` or the profile says.
    pub endpoint: Option<String>,
    /// Whether the endpoint knows PartiQL; `None` is found out by the first write.
    pub partiql: Option<bool>,
    /// How long a call may take; `None` is 10 s. What isn't answered by then may have happened.
    pub timeout: Option<Duration>,
    /// A certificate authority of one's own.
    pub tls: Option<EndpointTls>,
    /// Credentials in place of the usual AWS chain (environment, profile, SSO, process, web
    /// identity, container, instance).
    pub credentials: Option<Credentials>,
}

/// TLS to an endpoint whose certificate no public authority has signed.
#[derive(Clone, Debug)]
pub struct EndpointTls {
    /// The file with the certificate authority, PEM. No other authority is trusted then.
    pub ca: PathBuf,
}

/// An access key. `Debug` doesn't show it.
#[derive(Clone)]
pub struct Credentials {
    /// Its id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// What comes with temporary ones.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Region and credentials, as the configuration, the environment and profiles say.
async fn shared(config: &DynamoDbConfig) -> Result<SdkConfig> {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
    // The SDK's own client ends the process where the system trusts no authority.
    if !http::system_trusts_any() {
        loader = loader.http_client(http_client(None, None)?);
    }
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(Credentials {
        access_key_id,
        secret_access_key,
        session_token,
    }) = config.credentials.clone()
    {
        loader = loader.credentials_provider(aws_sdk_dynamodb::config::Credentials::new(
            access_key_id,
            secret_access_key,
            session_token,
            None,
            "crossfade",
        ));
    }
    Ok(loader.load().await)
}

/// The ways to an endpoint.
pub(super) struct Ways {
    /// The SDK.
    pub client: Client,
    /// The same connections, credentials and timeout without its machinery.
    pub direct: Direct,
    /// The endpoint that both really talk to.
    pub endpoint: String,
}

/// Sets up the ways to an endpoint.
pub(super) async fn ways(config: &DynamoDbConfig) -> Result<Ways> {
    let shared = shared(config).await?;
    let timeout = config.timeout.unwrap_or(CALL);
    let http = http_client(config.tls.as_ref(), config.timeout)?;
    // Set on DynamoDB's client alone: the calls of the credential chain keep the SDK's retries, and
    // go to AWS.
    let mut builder = aws_sdk_dynamodb::config::Builder::from(&shared)
        .http_client(http.clone())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts(timeout))
        // The timeout bounds bodies too.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(endpoint) = &config.endpoint {
        check_url(endpoint)?;
        builder = builder.endpoint_url(endpoint);
    }
    if shared.region().is_none() {
        if config.endpoint.is_none() {
            return Err(Error::new(Kind::Config, "no AWS region is set")
                .with_help("write `region = \"…\"` under [new], or set AWS_REGION"));
        }
        // Another server than AWS's ignores the region, but a signature needs one.
        builder = builder.region(Region::from_static(ANY_REGION));
    }
    let client = Client::from_conf(builder.build());
    let endpoint = effective_endpoint(&client).await?;
    let provider = shared.credentials_provider().ok_or_else(|| {
        Error::new(Kind::Denied, "no AWS credentials")
            .with_help("set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role is attached")
    })?;
    let region = shared.region().map_or(ANY_REGION, |region| region.as_ref());
    let direct = Direct::new(http, &endpoint, region, timeout, provider).ok_or_else(|| {
        Error::new(Kind::Config, "the endpoint is not a URL").with_context("endpoint", &endpoint)
    })?;
    Ok(Ways {
        client,
        direct,
        endpoint,
    })
}

/// A shorter timeout for the calls that tell whether there is a server at all.
pub(super) fn quick(timeout: Option<Duration>) -> aws_sdk_dynamodb::config::Builder {
    let timeout = timeout.map_or(LOOK, |timeout| timeout.min(LOOK));
    aws_sdk_dynamodb::Config::builder().timeout_config(timeouts(timeout))
}

fn timeouts(call: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT)
        .operation_attempt_timeout(call)
        .build()
}

fn check_url(endpoint: &str) -> Result<()> {
    let host = endpoint
        .strip_prefix("http://")
        .or_else(|| endpoint.strip_prefix("https://"));
    match host {
        Some(host) if host.contains('@') => Err(Error::new(
            Kind::Config,
            "the endpoint's URL has a user name in it", // and perhaps a password: not shown
        )
        .with_help("leave it out: DynamoDB takes AWS credentials")),
        Some(host) if !host.is_empty() && !host.contains(char::is_whitespace) => Ok(()),
        Some(_) | None => Err(Error::new(Kind::Config, "the endpoint is not a URL")
            .with_context("endpoint", endpoint)
            .with_help("write it like `http://127.0.0.1:8000` or `https://dynamodb.example.org`")),
    }
}

pub(super) fn http_client(tls: Option<&EndpointTls>, timeout: Option<Duration>) -> Result<Http> {
    let roots = tls.map(roots).transpose()?;
    http::client(roots, CONNECT, timeout.unwrap_or(CALL))
        .map_err(|error| Error::new(Kind::Config, "encryption can't be set up").with_source(error))
}

/// The authorities of a file.
fn roots(tls: &EndpointTls) -> Result<rustls::RootCertStore> {
    let EndpointTls { ca } = tls;
    let refused = |why: String| {
        Error::new(Kind::Config, why)
            .with_context("file", ca.display().to_string())
            .with_help("`ca` under [new.tls] names a file with certificates in PEM form")
    };
    let pem = std::fs::read(ca)
        .map_err(|error| refused(format!("the certificate authority can't be read: {error}")))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate
            .map_err(|error| error.to_string())
            .and_then(|der| roots.add(der).map_err(|error| error.to_string()))
            .map_err(|error| refused(format!("the certificate authority is damaged: {error}")))?;
    }
    if roots.is_empty() {
        return Err(refused("there is no certificate in it".into()));
    }
    Ok(roots)
}

/// Prepares a call as far as its signature, and sends nothing: that loads the credentials, and
/// settles the endpoint with everything that has a say in it (plan, environment, profile, account).
async fn effective_endpoint(client: &Client) -> Result<String> {
    let seen = Endpoint::default();
    let prepared = client
        .describe_endpoints()
        .customize()
        .interceptor(seen.clone())
        .send()
        .await;
    let endpoint = seen.0.lock().ok().and_then(|mut url| url.take());
    match (endpoint, prepared) {
        (Some(url), _) => {
            check_url(&url)?;
            Ok(url.trim_end_matches('/').to_owned())
        }
        (None, Err(error)) => Err(Error::new(
            Kind::Denied,
            format!("no AWS credentials: {}", root_cause(&error)),
        )
        .with_help(
            "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role \
             is attached; `aws sts get-caller-identity` shows what the chain finds",
        )
        .with_source(error)),
        (None, Ok(_)) => Err(Error::new(
            Kind::Unknown,
            "the AWS SDK didn't say which endpoint it uses",
        )),
    }
}

/// Notes where a request would go, and stops it.
#[derive(Clone, Debug, Default)]
struct Endpoint(Arc<Mutex<Option<String>>>);

#[derive(Debug)]
struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped before it was sent")
    }
}

impl StdError for Stopped {}

impl Intercept for Endpoint {
    fn name(&self) -> &'static str {
        "Endpoint"
    }

    fn read_before_signing(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        if let Ok(mut url) = self.0.lock() {
            *url = Some(context.request().uri().to_owned());
        }
        Err(Stopped.into())
    }
}
