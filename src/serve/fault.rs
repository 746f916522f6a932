//! Replies that aren't the answer: in the protocol's own form, so that each SDK makes its own exception of it and
//! decides by it whether it asks again.
//!
//! | what happened | reply |
//! |---|---|
//! | invalid, unsupported, refused in this phase | 400 ValidationException |
//! | unreachable, too late, to be tried again; certainly not done | 503, which every SDK tries again |
//! | throttled | 400 ProvisionedThroughputExceededException |
//! | a write that may have happened, and may be made again | 500 InternalServerError |
//! | one that may not be made again | 400 AmbiguousWriteFailureException, which no SDK tries again |
//! | an item that can't be read | 400 InternalServerError |
//! | offline, or another table than the record says | 400 ResourceInUseException |

use serde_json::{Map, Value as Json};

use crate::error::{Effect, Error, Kind};

/// An error reply.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub status: u16,
    pub code: &'static str,
    pub message: String,
    /// What else the reply has: `Item`, `CancellationReasons`.
    pub more: Map<String, Json>,
}

/// Whether a request may be made twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twice {
    /// It comes to the same.
    Same,
    /// It counts twice.
    Counts,
    /// It counts once if it is sent again with its token, by which the new store knows it.
    ByToken,
}

impl Fault {
    pub fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Fault {
            status,
            code,
            message: message.into(),
            more: Map::new(),
        }
    }

    /// A request that is wrong in itself, or refused.
    pub fn invalid(message: impl Into<String>) -> Self {
        Fault::new(400, "ValidationException", message)
    }

    pub fn denied(message: impl Into<String>) -> Self {
        Fault::new(400, "AccessDeniedException", message)
    }

    /// Not now: every SDK asks again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Fault::new(503, "ServiceUnavailable", message)
    }

    pub fn ambiguous(message: impl Into<String>) -> Self {
        Fault::new(400, "AmbiguousWriteFailureException", message)
    }

    /// The same as an answer to a retry, of whose earlier attempt it isn't known what it did. What says that nothing was
    /// done is true of this attempt alone.
    pub fn after_another(self, twice: Twice) -> Self {
        let is_of_the_moment = match self.code {
            "ProvisionedThroughputExceededException" | "ResourceInUseException" => true,
            _ => self.status > 500,
        };
        if !is_of_the_moment {
            return self;
        }
        let text = format!(
            "an earlier attempt of this call may have been made; this one wasn't: {}",
            self.message
        );
        match twice {
            Twice::Same | Twice::ByToken => Fault::new(500, "InternalServerError", text),
            Twice::Counts => Fault::ambiguous(text),
        }
    }

    pub fn with(mut self, name: &str, value: Json) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }

    /// What an error of the library means to a client.
    pub fn of(error: &Error, twice: Twice) -> Self {
        let text = error.to_string();
        if error.known_effect() == Effect::Unknown {
            return match twice {
                Twice::Same | Twice::ByToken => Fault::new(500, "InternalServerError", text),
                Twice::Counts => Fault::ambiguous(text),
            };
        }
        match error.kind() {
            Kind::Invalid | Kind::Unsupported => Fault::invalid(text),
            Kind::Unreachable | Kind::Timeout | Kind::Transient | Kind::Stopped => {
                Fault::unavailable(text)
            }
            Kind::Throttled => Fault::new(400, "ProvisionedThroughputExceededException", text),
            Kind::Denied => Fault::denied(text),
            Kind::Missing => Fault::new(400, "ResourceNotFoundException", text),
            Kind::Mismatch => Fault::new(400, "ResourceInUseException", text),
            Kind::Corrupt => Fault::new(400, "InternalServerError", text),
            Kind::RangeTooCostly | Kind::Config | Kind::Unknown => {
                Fault::new(500, "InternalServerError", text)
            }
        }
    }

    /// The code with what the service writes before it.
    pub fn full_code(&self) -> String {
        let space = match self.code {
            "ValidationException" => "com.amazon.coral.validate",
            "AccessDeniedException"
            | "IncompleteSignatureException"
            | "InvalidSignatureException"
            | "MissingAuthenticationTokenException"
            | "SerializationException"
            | "ServiceUnavailable"
            | "UnknownOperationException"
            | "UnrecognizedClientException" => "com.amazon.coral.service",
            _ => "com.amazonaws.dynamodb.v20120810",
        };
        format!("{space}#{}", self.code)
    }

    /// The reply's body.
    pub fn body(&self) -> Vec<u8> {
        let mut body = self.more.clone();
        body.insert("__type".into(), self.full_code().into());
        body.insert("message".into(), self.message.as_str().into());
        // Its keys are text, the one thing that JSON asks for.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

/// A read, which changes nothing.
impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::of(&error, Twice::Same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_happened_is_never_said_to_be_tried_again() {
        let unknown = |kind| Error::new(kind, "lost").with_effect(Effect::Unknown);
        for kind in [
            Kind::Timeout,
            Kind::Unreachable,
            Kind::Throttled,
            Kind::Unknown,
        ] {
            let add = Fault::of(&unknown(kind), Twice::Counts);
            assert_eq!(
                (add.status, add.code),
                (400, "AmbiguousWriteFailureException")
            );
            let put = Fault::of(&unknown(kind), Twice::Same);
            assert_eq!((put.status, put.code), (500, "InternalServerError"));
        }
    }

    #[test]
    fn what_passes_is_a_503_and_never_a_throttle() {
        for kind in [Kind::Timeout, Kind::Unreachable, Kind::Transient] {
            assert_eq!(
                Fault::of(&Error::new(kind, "later"), Twice::Counts).status,
                503
            );
        }
    }
}
