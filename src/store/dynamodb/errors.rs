//! What DynamoDB and its SDK report, as this crate's errors.

use std::error::Error as StdError;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{BatchStatementError, BatchStatementErrorCodeEnum};

use crate::error::{Effect, Error, Kind, ThrottleCause};

/// A call: what every error of it says.
#[derive(Clone, Copy)]
pub(super) struct SdkCall<'a> {
    /// The permission it needs, which is also its name: `dynamodb:PutItem`.
    pub action: &'static str,
    /// The table.
    pub table: &'a str,
    /// The endpoint.
    pub endpoint: &'a str,
    /// Whether it changes anything: if not, a lost answer has no effect.
    pub writes: bool,
}

impl SdkCall<'_> {
    /// The error of a request that failed as a whole.
    pub fn failed<E>(&self, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        if let Some(refused) = permit_refused(&error) {
            return refused;
        }
        match error {
            SdkError::ServiceError(context) => {
                let raw = context.raw();
                let status = raw.status().as_u16();
                let is_answer = raw.status().is_success();
                if is_answer && context.err().code().is_none() {
                    // JSON that ends too early: something in between ended the body without saying so.
                    let body = raw.body().bytes().unwrap_or_default();
                    return match body.trim_ascii_start().starts_with(b"{") {
                        true => self.cut_short(context.into_err()),
                        false => self.unreadable(context.into_err()),
                    };
                }
                let cause = told_cause(raw.body().bytes().unwrap_or_default());
                let refused = self.refused(status, context.into_err());
                match cause {
                    Some(cause) if refused.kind() == Kind::Throttled => {
                        refused.with_throttle_cause(cause)
                    }
                    Some(_) | None => refused,
                }
            }
            SdkError::ConstructionFailure(_) => self
                .error(Kind::Invalid, Effect::None, "the request can't be made")
                .with_source(error),
            SdkError::TimeoutError(_) => self.no_answer().with_source(error),
            SdkError::DispatchFailure(_) => self.not_delivered(error),
            // Its head came, the rest of it didn't.
            SdkError::ResponseError(_) => self.cut_short(error),
            // `SdkError` may grow: what isn't known may have happened.
            _ => self.unreadable(error),
        }
    }

    fn cut_short(&self, error: impl StdError + Send + Sync + 'static) -> Error {
        self.error(
            Kind::Unreachable,
            Effect::Unknown,
            format!(
                "the connection broke inside an answer: {}",
                root_cause(&error)
            ),
        )
        .with_help("check what is in between (VPC endpoint, proxy, firewall)")
        .with_source(error)
    }

    fn unreadable(&self, error: impl StdError + Send + Sync + 'static) -> Error {
        self.error(
            Kind::Unknown,
            Effect::Unknown,
            format!("the answer can't be read: {}", root_cause(&error)),
        )
        .with_help("check that the endpoint is a DynamoDB")
        .with_source(error)
    }

    /// The error of one statement of a batch.
    pub fn statement_failed(&self, error: &BatchStatementError) -> Error {
        use BatchStatementErrorCodeEnum as Code;
        let message = error.message.as_deref().unwrap_or("no reason given");
        let code = error.code.as_ref().map_or("no code", Code::as_str);
        let (kind, effect) = match &error.code {
            Some(
                Code::ThrottlingError
                | Code::ProvisionedThroughputExceeded
                | Code::RequestLimitExceeded,
            ) => (Kind::Throttled, Effect::None),
            Some(Code::TransactionConflict) => (Kind::Transient, Effect::None),
            Some(Code::InternalServerError) => (Kind::Transient, Effect::Unknown),
            Some(Code::ValidationError | Code::ItemCollectionSizeLimitExceeded) => {
                (Kind::Invalid, Effect::None)
            }
            Some(Code::AccessDenied) => (Kind::Denied, Effect::None),
            Some(Code::ResourceNotFound) => (Kind::Missing, Effect::None),
            // An insert has no condition but its own, and that one's code is `DuplicateItem`,
            // which is an answer and not an error.
            Some(Code::ConditionalCheckFailed | Code::DuplicateItem) => {
                (Kind::Unknown, Effect::None)
            }
            // Also every code that AWS may add.
            Some(_) | None => (Kind::Unknown, Effect::Unknown),
        };
        let explained = self.explained(kind, effect, code, message);
        match throttle_cause(message) {
            Some(cause) if kind == Kind::Throttled => explained.with_throttle_cause(cause),
            Some(_) | None => explained,
        }
    }

    /// The error of a transaction that was cancelled for this reason: nothing of it was done.
    pub fn cancelled(&self, code: &str, message: &str) -> Error {
        let kind = match code {
            "TransactionConflict" => Kind::Transient,
            "ThrottlingError" | "ProvisionedThroughputExceeded" => Kind::Throttled,
            "ValidationError" | "ItemCollectionSizeLimitExceeded" => Kind::Invalid,
            "AccessDenied" => Kind::Denied,
            "ResourceNotFound" => Kind::Missing,
            // Also every code that AWS may add.
            _ => Kind::Unknown,
        };
        self.explained(kind, Effect::None, code, message)
    }

    /// The error of a statement that the answer doesn't mention.
    pub fn not_mentioned(&self) -> Error {
        self.error(
            Kind::Unknown,
            Effect::Unknown,
            "the answer to a batch doesn't mention one of its rows",
        )
        .with_help("check that the endpoint is a DynamoDB")
    }

    /// An error of this call, with its place.
    pub fn error(&self, kind: Kind, effect: Effect, message: impl Into<String>) -> Error {
        Error::new(kind, message)
            .with_effect(if self.writes { effect } else { Effect::None })
            .with_context("call", self.action)
            .with_context("table", self.table)
            .with_context("endpoint", self.endpoint)
    }

    fn refused<E>(&self, status: u16, error: E) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let code = error.code().unwrap_or("no code").to_owned();
        if is_about_credentials(&code) {
            // The server's own text may quote the request's headers, a session token among them.
            return self
                .error(
                    Kind::Denied,
                    Effect::None,
                    format!("the credentials were refused: {code}"),
                )
                .with_help(CHECK_CREDENTIALS);
        }
        let (kind, effect) = kind_of(&code, status);
        let message = error.message().unwrap_or("no reason given").to_owned();
        if error.code().is_none() {
            let words = format!(
                "what answered isn't DynamoDB: HTTP status {status} and no code of an error"
            );
            return self
                .error(kind, effect, words)
                .with_help("check the endpoint: something else listens there, or a proxy answers in its place")
                .with_source(error);
        }
        self.explained(kind, effect, &code, &message)
            .with_source(error)
    }

    fn explained(&self, kind: Kind, effect: Effect, code: &str, message: &str) -> Error {
        const LONG: usize = 400;
        let message: String = message.chars().take(LONG).collect();
        let error = self.error(kind, effect, format!("{code}: {message}"));
        match kind {
            Kind::Denied => error.with_help(format!(
                "allow {} on the table {} to this identity",
                self.action, self.table
            )),
            Kind::Missing => error.with_help(
                "run `migrate init`, or check the table's name, the region and the account: each \
                 region has tables of its own",
            ),
            Kind::Throttled => {
                error.with_help("ask for less at once, or raise the capacity of the table")
            }
            Kind::Unsupported => error.with_help("this endpoint doesn't have the call"),
            Kind::Unreachable
            | Kind::Timeout
            | Kind::Transient
            | Kind::RangeTooCostly
            | Kind::Invalid
            | Kind::Mismatch
            | Kind::Config
            | Kind::Corrupt
            | Kind::Stopped
            | Kind::Unknown => error,
        }
    }

    fn no_answer(&self) -> Error {
        self.error(
            Kind::Timeout,
            Effect::Unknown,
            "DynamoDB didn't answer in time",
        )
        .with_help("check the endpoint, and what is in between (VPC endpoint, proxy, firewall)")
    }

    fn not_delivered<E>(&self, error: SdkError<E, HttpResponse>) -> Error
    where
        E: StdError + Send + Sync + 'static,
    {
        let effect = match deepest_fault(&error) {
            Undelivered::CredentialsMissing => {
                return self
                    .error(
                        Kind::Denied,
                        Effect::None,
                        format!("no AWS credentials: {}", root_cause(&error)),
                    )
                    .with_help("log in again, or set AWS_PROFILE or AWS_ACCESS_KEY_ID")
                    .with_source(error);
            }
            Undelivered::CredentialsDelayed => {
                return self
                    .error(
                        Kind::Unreachable,
                        Effect::None,
                        format!("AWS credentials can't be renewed: {}", root_cause(&error)),
                    )
                    .with_help("log in again, or check the source of the credentials")
                    .with_source(error);
            }
            Undelivered::Tls(reason) => {
                return self
                    .error(
                        Kind::Config,
                        Effect::None,
                        format!("TLS to the endpoint failed: {reason}"),
                    )
                    .with_help(
                        "if the certificate is signed by an authority of your own, name it with \
                         `ca` under [new.tls]",
                    )
                    .with_source(error);
            }
            Undelivered::NotConnected => Effect::None,
            Undelivered::Broken => Effect::Unknown,
        };
        let timed_out =
            matches!(&error, SdkError::DispatchFailure(failure) if failure.is_timeout());
        if timed_out && effect == Effect::Unknown {
            return self.no_answer().with_source(error);
        }
        self.error(
            Kind::Unreachable,
            effect,
            format!("DynamoDB can't be reached: {}", root_cause(&error)),
        )
        .with_help(CHECK_REACH)
        .with_source(error)
    }
}

/// What to do where credentials were refused.
pub(super) const CHECK_CREDENTIALS: &str = "check that they have not expired, that they belong to this region and account, and that \
     this computer's clock is right";

/// What to do where it can't be reached.
pub(super) const CHECK_REACH: &str = "check that region and endpoint are right, that it is running, and that nothing is between (VPC \
     endpoint, proxy, firewall)";

/// Whether a request as a whole was refused for what is in it, so that its other rows may be fine.
pub(super) fn is_refused_request<E: ProvideErrorMetadata>(
    error: &SdkError<E, HttpResponse>,
) -> bool {
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    status == Some(413)
        || matches!(
            error.as_service_error().and_then(E::code),
            Some("ValidationException" | "SerializationException")
        )
}

/// Whether the server doesn't have the call.
pub(super) fn is_unknown_call<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    let status = error.raw_response().map(|raw| raw.status().as_u16());
    status == Some(501)
        || matches!(
            error.as_service_error().and_then(E::code),
            Some("UnknownOperationException" | "UnknownOperation" | "NotImplemented")
        )
}

/// Whether a request that failed certainly wasn't sent.
pub(super) fn is_unsent(error: &(dyn StdError + 'static)) -> bool {
    match deepest_fault(error) {
        Undelivered::CredentialsMissing
        | Undelivered::CredentialsDelayed
        | Undelivered::Tls(_)
        | Undelivered::NotConnected => true,
        Undelivered::Broken => false,
    }
}

/// Whether that is because there are no credentials.
pub(super) fn is_about_missing_credentials(error: &(dyn StdError + 'static)) -> bool {
    match deepest_fault(error) {
        Undelivered::CredentialsMissing | Undelivered::CredentialsDelayed => true,
        Undelivered::Tls(_) | Undelivered::NotConnected | Undelivered::Broken => false,
    }
}

/// Whether permission is missing.
pub(super) fn is_denied<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    matches!(
        error.as_service_error().and_then(E::code),
        Some("AccessDeniedException" | "AccessDenied")
    )
}

/// What a table is short of, by the `ThrottlingReasons` of an answer's JSON.
fn told_cause(body: &[u8]) -> Option<ThrottleCause> {
    // Few answers are errors, and few errors are throttles.
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    // The service spells it in two ways, each in exceptions of its own.
    let reasons = body.get("ThrottlingReasons");
    let reasons = reasons.or_else(|| body.get("throttlingReasons"));
    let reasons = reasons?.as_array()?;
    let reasons = reasons
        .iter()
        .filter_map(|reason| reason.get("reason")?.as_str());
    // Where several hold, it isn't one partition alone.
    reasons
        .filter_map(throttle_cause)
        .min_by_key(|cause| match cause {
            ThrottleCause::Table => 0,
            ThrottleCause::Account => 1,
            ThrottleCause::Partition => 2,
        })
}

/// What a reason says, `TableWriteKeyRangeThroughputExceeded` say. One that AWS may add is none.
fn throttle_cause(reason: &str) -> Option<ThrottleCause> {
    const REASONS: [(&str, ThrottleCause); 4] = [
        ("KeyRangeThroughputExceeded", ThrottleCause::Partition),
        ("AccountLimitExceeded", ThrottleCause::Account),
        ("ProvisionedThroughputExceeded", ThrottleCause::Table),
        ("MaxOnDemandThroughputExceeded", ThrottleCause::Table),
    ];
    let told = REASONS.iter().find(|(word, _)| reason.contains(word));
    told.map(|(_, cause)| *cause)
}

fn kind_of(code: &str, status: u16) -> (Kind, Effect) {
    match code {
        "ProvisionedThroughputExceededException"
        | "ThrottlingException"
        | "ThrottlingError"
        | "Throttling"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "TooManyRequestsException"
        | "SlowDown" => (Kind::Throttled, Effect::None),
        "TransactionConflictException"
        | "ReplicatedWriteConflictException"
        | "ResourceInUseException" => (Kind::Transient, Effect::None),
        // The first of these: an earlier request with the same token may yet succeed.
        "TransactionInProgressException"
        | "InternalServerError"
        | "InternalServerErrorException"
        | "InternalFailure"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => (Kind::Transient, Effect::Unknown),
        "ValidationException"
        | "SerializationException"
        | "IdempotentParameterMismatchException"
        | "ItemCollectionSizeLimitExceededException" => (Kind::Invalid, Effect::None),
        "AccessDeniedException" | "AccessDenied" => (Kind::Denied, Effect::None),
        "ResourceNotFoundException" | "TableNotFoundException" => (Kind::Missing, Effect::None),
        "UnknownOperationException" | "UnknownOperation" | "NotImplemented" => {
            (Kind::Unsupported, Effect::None)
        }
        // Not one of DynamoDB's own: a proxy's or a load balancer's, or one that is yet to come.
        _ => match status {
            429 => (Kind::Throttled, Effect::None),
            403 => (Kind::Denied, Effect::None),
            413 => (Kind::Invalid, Effect::None),
            500.. => (Kind::Transient, Effect::Unknown),
            _ => (Kind::Unknown, Effect::Unknown),
        },
    }
}

pub(super) fn is_about_credentials(code: &str) -> bool {
    matches!(
        code,
        "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "IncompleteSignatureException"
            | "IncompleteSignature"
            | "SignatureDoesNotMatch"
            | "MissingAuthenticationTokenException"
            | "MissingAuthenticationToken"
            | "InvalidClientTokenId"
            | "ExpiredTokenException"
            | "ExpiredToken"
            | "RequestExpired"
            | "RequestTimeTooSkewed"
            | "NotAuthorized"
            | "OptInRequired"
    )
}

/// Why a request wasn't delivered.
enum Undelivered {
    /// There are no credentials; an operator has to act.
    CredentialsMissing,
    /// They couldn't be renewed just now.
    CredentialsDelayed,
    /// No connection that can be trusted could be opened.
    Tls(String),
    /// No connection could be opened, so nothing was sent.
    NotConnected,
    /// A connection broke, or it can't be told.
    Broken,
}

fn deepest_fault(error: &(dyn StdError + 'static)) -> Undelivered {
    let mut next = Some(error);
    let mut fault = Undelivered::Broken;
    while let Some(error) = next {
        if let Some(credentials) = error.downcast_ref::<CredentialsError>() {
            return match credentials {
                CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_) => {
                    Undelivered::CredentialsDelayed
                }
                _ => Undelivered::CredentialsMissing,
            };
        }
        let tls = error.downcast_ref::<rustls::Error>();
        match (tls, &fault) {
            // Before the handshake is over nothing of a request is sent.
            (Some(tls), Undelivered::NotConnected) => return Undelivered::Tls(tls.to_string()),
            (Some(_), _) => return Undelivered::Broken,
            // hyper has no public type for it; a connector's errors all come in this one.
            (None, _) if error.to_string() == "client error (Connect)" => {
                fault = Undelivered::NotConnected;
            }
            (None, _) => {}
        }
        // An `io::Error` around another error names that one's source as its own.
        let inside = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    fault
}

/// Why the permit was refused, if that is why a request wasn't sent: this crate's own errors come from
/// nowhere else.
fn permit_refused(error: &(dyn StdError + 'static)) -> Option<Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refused) = error.downcast_ref::<Error>() {
            return Some(refused.clone());
        }
        next = error.source();
    }
    None
}

/// What an error came from in the end, in its own words.
pub(super) fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    // The chain of credentials tells of each of its parts on a line of its own.
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ").replace(":; ", ": ")
}
