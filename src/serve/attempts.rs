//! The memory of attempts: a client's retry of one call is answered as the call was, and isn't made again.
//!
//! Each SDK sends the same `amz-sdk-invocation-id` with every attempt of a call. Of each write that is remembered for
//! some minutes:
//!
//! | the earlier attempt | the retry |
//! |---|---|
//! | is still under way | waits for its answer |
//! | was answered | gets the same answer |
//! | certainly did nothing | is made |
//! | its effect is unknown; made again it would count twice | gets AmbiguousWriteFailureException |
//! | its effect is unknown; made again it comes to the same | is made |
//! | its effect is unknown; the new store knows it by its token | is made, with the same token |
//! | isn't known here, after a restart say | is made, unless it would count twice |
//!
//! So an answer is about the whole call: "nothing was done" is said only where no earlier attempt may have done something
//! either.
//!
//! The token of an add is made of the call's id and its body ([`token`]), so that every sidecar sends the same.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::fault::{Fault, Twice};
use crate::codec::text::hex;
use crate::shim::AddToken;

/// How long calls are remembered: longer than any SDK goes on with one.
pub(super) const KEPT: Duration = Duration::from_secs(600);
/// How many calls are remembered at most.
const CALLS: usize = 100_000;
/// Bytes of answers that are remembered at most.
const BYTES: usize = 32 << 20;

pub(super) type AttemptOutcome = Result<Bytes, Fault>;

/// What a request says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Attempt {
    /// The same for all attempts of a call: its id, and what tells its body.
    pub call: Option<String>,
    /// The id alone.
    pub id: Option<String>,
    /// Whether it says that it isn't the first one.
    pub is_retry: bool,
    /// The call is known by a token of its own, with which it may be made anew after it has failed.
    pub by_token: bool,
    /// Whichever sidecar an earlier attempt was made at, it was made with the token of [`Twice::ByToken`].
    pub is_told: bool,
}

impl Attempt {
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let call = text("amz-sdk-invocation-id").filter(|id| (1..=128).contains(&id.len()));
        Attempt {
            call: call.map(str::to_owned),
            id: call.map(str::to_owned),
            is_retry: Self::is_retry_of(headers),
            by_token: false,
            is_told: false,
        }
    }

    /// Whether a request says that it isn't the first one.
    pub fn is_retry_of(headers: &HeaderMap) -> bool {
        let request = headers.get("amz-sdk-request");
        let request = request.and_then(|value| value.to_str().ok()).unwrap_or("");
        let mut parts = request.split(';').map(str::trim);
        let number = parts.find_map(|part| part.strip_prefix("attempt=")?.parse::<u32>().ok());
        // The first Java SDK counts retries: `1/0/500`.
        let retries = headers.get("amz-sdk-retry");
        let retries =
            retries.and_then(|value| value.to_str().ok()?.split('/').next()?.parse().ok());
        number.is_some_and(|number| number > 1) || retries.is_some_and(|retries: u32| retries > 0)
    }
}

impl Attempt {
    /// Whether it would count twice if an earlier attempt was made that isn't known here.
    fn counts(&self, twice: Twice) -> bool {
        match twice {
            Twice::Same => false,
            Twice::ByToken => !self.is_told,
            Twice::Counts => true,
        }
    }

    /// What the new store knows an add by: the same for every attempt of the call, at every sidecar.
    pub fn token(&self, body: &[u8]) -> Option<AddToken> {
        let id = self.id.as_ref()?;
        let digest = Sha256::new().chain_update(id).chain_update([0]);
        let digest = digest.chain_update(body).finalize();
        Some(AddToken::new(hex(&digest[..16]), self.is_retry))
    }
}

#[derive(Default)]
pub(super) struct Attempts(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    of: HashMap<String, AttemptedCall>,
    /// The oldest first.
    order: VecDeque<(Instant, String)>,
    bytes: usize,
}

enum AttemptedCall {
    Running(watch::Receiver<Option<AttemptOutcome>>),
    Answered(AttemptOutcome),
    /// It may be made again.
    Open(Before),
    /// It may be made again by its token.
    ByToken,
}

/// What earlier attempts of a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// Certainly nothing.
    Nothing,
    /// That isn't known; made again it comes to the same.
    Unknown,
}

/// What is to be done with an attempt.
enum Next {
    Make(Option<watch::Sender<Option<AttemptOutcome>>>, Before),
    Wait(watch::Receiver<Option<AttemptOutcome>>),
    Answer(AttemptOutcome),
}

impl Attempts {
    /// Answers an attempt of a write: as the call was answered, or by making it. It is made in a task of its own, so
    /// that a client that goes away doesn't cut it off.
    pub async fn make(
        self: &Arc<Self>,
        attempt: Attempt,
        twice: Twice,
        write: impl Future<Output = AttemptOutcome> + Send + 'static,
    ) -> AttemptOutcome {
        let (made, mut receiver) = match self.next(&attempt, twice) {
            Next::Answer(outcome) => return outcome,
            Next::Wait(receiver) => (None, receiver),
            Next::Make(Some(sender), before) => {
                let receiver = sender.subscribe();
                (Some((sender, before)), receiver)
            }
            Next::Make(None, before) => {
                let (sender, receiver) = watch::channel(None);
                (Some((sender, before)), receiver)
            }
        };
        if let Some((sender, before)) = made {
            let attempts = self.clone();
            tokio::spawn(async move {
                let outcome = write.await.map_err(|fault| match before {
                    Before::Nothing => fault,
                    Before::Unknown => fault.after_another(Twice::Same),
                });
                if let Some(call) = attempt.call {
                    attempts.over(call, &outcome, attempt.by_token, twice);
                }
                sender.send_replace(Some(outcome));
            });
        }
        let answered = receiver.wait_for(Option::is_some).await;
        let outcome = answered.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| match twice {
            Twice::Same | Twice::ByToken => Err(Fault::new(
                500,
                "InternalServerError",
                "the write broke off",
            )),
            Twice::Counts => Err(Fault::ambiguous(
                "the write broke off: it may have been made",
            )),
        })
    }

    /// Notes that the first attempt of a call was turned away before anything was done, and its body read.
    pub fn turned_away(&self, attempt: &Attempt) {
        if let (Some(id), false) = (&attempt.id, attempt.is_retry) {
            let mut calls = self.calls();
            if !calls.of.contains_key(id) {
                calls.keep(id.clone(), AttemptedCall::Open(Before::Nothing));
            }
        }
    }

    /// Whether it is a retry of a call that isn't known here: what was done before a restart, or at another sidecar,
    /// can't be said.
    pub fn is_strange(&self, attempt: &Attempt) -> bool {
        if !attempt.is_retry {
            return false;
        }
        let calls = self.calls();
        !calls.knows(&attempt.call) && !calls.knows(&attempt.id)
    }

    fn next(&self, attempt: &Attempt, twice: Twice) -> Next {
        let Some(id) = &attempt.call else {
            return Next::Make(None, Before::Nothing);
        };
        let mut calls = self.calls();
        let before = match calls.of.get(id) {
            Some(AttemptedCall::Running(receiver)) => return Next::Wait(receiver.clone()),
            Some(AttemptedCall::Answered(outcome)) => return Next::Answer(outcome.clone()),
            Some(AttemptedCall::Open(before)) => *before,
            Some(AttemptedCall::ByToken) if twice == Twice::ByToken && attempt.is_retry => {
                Before::Unknown
            }
            Some(AttemptedCall::ByToken) => {
                return Next::Answer(Err(Fault::ambiguous(
                    "an earlier attempt may have been made, and this one would count twice",
                )));
            }
            None if attempt.is_retry && attempt.counts(twice) && !calls.knows(&attempt.id) => {
                return Next::Answer(Err(Fault::ambiguous(
                    "this is a retry of a request that this sidecar doesn't know, after a restart or at another \
                     sidecar: it may have been made, and would count twice",
                )));
            }
            None if attempt.is_retry && !calls.knows(&attempt.id) => Before::Unknown,
            None => Before::Nothing,
        };
        let (sender, receiver) = watch::channel(None);
        calls.keep(id.clone(), AttemptedCall::Running(receiver));
        Next::Make(Some(sender), before)
    }

    fn over(&self, call: String, outcome: &AttemptOutcome, by_token: bool, twice: Twice) {
        let open = match outcome {
            Ok(_) => None,
            // Of a write of constants, which may be made again.
            Err(fault) if fault.status == 500 => Some(Before::Unknown),
            // Unavailable and throttled: certainly not made.
            Err(fault) if fault.status > 500 => Some(Before::Nothing),
            Err(fault) => match fault.code {
                "ProvisionedThroughputExceededException" => Some(Before::Nothing),
                "AmbiguousWriteFailureException" => None,
                _ => by_token.then_some(Before::Nothing),
            },
        };
        let call_is = match (open, twice) {
            (Some(_), Twice::ByToken) => AttemptedCall::ByToken,
            (Some(before), Twice::Same | Twice::Counts) => AttemptedCall::Open(before),
            (None, _) => AttemptedCall::Answered(outcome.clone()),
        };
        self.calls().replace(call, call_is);
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AttemptedCall {
    fn weight(&self) -> usize {
        match self {
            AttemptedCall::Answered(Ok(body)) => body.len(),
            AttemptedCall::Answered(Err(fault)) => fault.message.len(),
            AttemptedCall::Running(_) | AttemptedCall::Open(_) | AttemptedCall::ByToken => 0,
        }
    }
}

impl Calls {
    fn knows(&self, id: &Option<String>) -> bool {
        id.as_ref().is_some_and(|id| self.of.contains_key(id))
    }

    fn keep(&mut self, id: String, call: AttemptedCall) {
        self.order.push_back((Instant::now(), id.clone()));
        self.replace(id, call);
        self.forget();
    }

    fn replace(&mut self, id: String, call: AttemptedCall) {
        self.bytes += call.weight();
        if let Some(before) = self.of.insert(id, call) {
            self.bytes -= before.weight();
        }
    }

    fn forget(&mut self) {
        while let Some((at, _)) = self.order.front() {
            let is_over = at.elapsed() > KEPT || self.order.len() > CALLS || self.bytes > BYTES;
            if !is_over {
                return;
            }
            if let Some((_, id)) = self.order.pop_front()
                && let Some(call) = self.of.remove(&id)
            {
                self.bytes -= call.weight();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn attempt(call: &str, number: u32) -> Attempt {
        Attempt {
            call: Some(format!("{call} and its body")),
            id: Some(call.to_owned()),
            is_retry: number > 1,
            by_token: false,
            is_told: false,
        }
    }

    /// Makes attempts, and counts how often the write was made.
    struct Writer {
        attempts: Arc<Attempts>,
        made: Arc<AtomicUsize>,
    }

    impl Writer {
        fn new() -> Self {
            Writer {
                attempts: Arc::default(),
                made: Arc::default(),
            }
        }

        async fn make(
            &self,
            attempt: Attempt,
            twice: Twice,
            outcome: AttemptOutcome,
        ) -> AttemptOutcome {
            let made = self.made.clone();
            let write = async move {
                tokio::time::sleep(Duration::from_millis(100)).await;
                made.fetch_add(1, Ordering::Relaxed);
                outcome
            };
            self.attempts.make(attempt, twice, write).await
        }

        fn made(&self) -> usize {
            self.made.load(Ordering::Relaxed)
        }
    }

    fn done(text: &'static str) -> AttemptOutcome {
        Ok(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_retry_gets_the_answer_of_its_call() {
        let writer = Writer::new();
        let first = writer
            .make(attempt("a", 1), Twice::Counts, done("one"))
            .await;
        let second = writer
            .make(attempt("a", 2), Twice::Counts, done("two"))
            .await;
        assert_eq!(
            (first, second, writer.made()),
            (done("one"), done("one"), 1)
        );
        let together = tokio::join!(
            writer.make(attempt("b", 1), Twice::Counts, done("three")),
            writer.make(attempt("b", 2), Twice::Counts, done("four")),
        );
        assert_eq!(
            (together, writer.made()),
            ((done("three"), done("three")), 2)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_goes_on_after_its_client_is_gone_is_still_joined() {
        let writer = Writer::new();
        let gone = writer.make(attempt("a", 1), Twice::Counts, done("one"));
        assert!(
            tokio::time::timeout(Duration::from_millis(10), gone)
                .await
                .is_err()
        );
        let second = writer
            .make(attempt("a", 2), Twice::Counts, done("two"))
            .await;
        assert_eq!((second, writer.made()), (done("one"), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_did_nothing_is_made_again() {
        let writer = Writer::new();
        let later = Err(Fault::unavailable("later"));
        assert!(
            writer
                .make(attempt("a", 1), Twice::Counts, later)
                .await
                .is_err()
        );
        let second = writer
            .make(attempt("a", 2), Twice::Counts, done("two"))
            .await;
        assert_eq!((second, writer.made()), (done("two"), 2));
        writer.attempts.turned_away(&attempt("b", 1));
        let third = writer
            .make(attempt("b", 2), Twice::Counts, done("three"))
            .await;
        assert_eq!((third, writer.made()), (done("three"), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unknown_never_counts_twice() {
        let writer = Writer::new();
        let unknown = Err(Fault::ambiguous("lost"));
        assert_eq!(
            writer
                .make(attempt("a", 1), Twice::Counts, unknown.clone())
                .await,
            unknown
        );
        assert_eq!(
            writer
                .make(attempt("a", 2), Twice::Counts, done("two"))
                .await,
            unknown
        );
        let strange = writer
            .make(attempt("b", 2), Twice::Counts, done("three"))
            .await;
        assert!(strange.is_err_and(|fault| fault.code == "AmbiguousWriteFailureException"));
        assert_eq!(writer.made(), 1);
        let same = writer
            .make(attempt("c", 2), Twice::Same, done("four"))
            .await;
        assert_eq!((same, writer.made()), (done("four"), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_was_done_is_said_of_the_whole_call() {
        let writer = Writer::new();
        let unknown = || Err(Fault::new(500, "InternalServerError", "lost"));
        let later = || Err(Fault::unavailable("later"));
        let status =
            |outcome: AttemptOutcome| outcome.map(|_| 200).unwrap_or_else(|fault| fault.status);
        let first = writer.make(attempt("a", 1), Twice::Same, unknown()).await;
        let second = writer.make(attempt("a", 2), Twice::Same, later()).await;
        let third = writer.make(attempt("a", 3), Twice::Same, later()).await;
        assert_eq!([first, second, third].map(status), [500, 500, 500]);
        // Something may have been done before a restart.
        assert!(writer.attempts.is_strange(&attempt("b", 2)));
        let strange = writer.make(attempt("b", 2), Twice::Same, later()).await;
        assert_eq!(status(strange), 500);
        let known = writer.make(attempt("c", 1), Twice::Same, later()).await;
        assert!(!writer.attempts.is_strange(&attempt("c", 2)));
        let again = writer.make(attempt("c", 2), Twice::Same, later()).await;
        assert_eq!([known, again].map(status), [503, 503]);
        let done_at_last = writer.make(attempt("a", 4), Twice::Same, done("one")).await;
        assert_eq!(status(done_at_last), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_store_knows_by_a_token_is_made_again_with_it_alone() {
        let writer = Writer::new();
        let unknown = Err(Fault::new(500, "InternalServerError", "lost"));
        let first = writer.make(attempt("a", 1), Twice::ByToken, unknown).await;
        assert!(first.is_err_and(|fault| fault.status == 500));
        let ambiguous = |outcome: AttemptOutcome| {
            outcome.is_err_and(|fault| fault.code == "AmbiguousWriteFailureException")
        };
        // The table went back to where no token goes.
        let back = writer.make(attempt("a", 2), Twice::Counts, done("two"));
        assert!(ambiguous(back.await));
        let again = writer.make(attempt("a", 3), Twice::ByToken, done("three"));
        assert_eq!(again.await, done("three"));
        assert_eq!(writer.made(), 2);
        // An earlier attempt at another sidecar.
        let strange = writer.make(attempt("b", 2), Twice::ByToken, done("four"));
        assert!(ambiguous(strange.await));
        let told = Attempt {
            is_told: true,
            ..attempt("b", 3)
        };
        let told = writer.make(told, Twice::ByToken, done("five"));
        assert_eq!((told.await, writer.made()), (done("five"), 3));
    }

    #[test]
    fn a_token_is_the_same_at_every_sidecar_and_another_for_another_body() {
        let token = |attempt: Attempt, body: &[u8]| {
            let token = attempt.token(body);
            token.map(|token| format!("{token:?}").replace("again: true", "again: false"))
        };
        let first = token(attempt("a", 1), b"body");
        assert!(first.is_some());
        assert_eq!(first, token(attempt("a", 2), b"body"));
        assert_ne!(first, token(attempt("a", 1), b"other"));
        assert_ne!(first, token(attempt("b", 1), b"body"));
        assert!(Attempt::default().token(b"body").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_that_of_a_success() {
        let writer = Writer::new();
        let with_token = || Attempt {
            by_token: true,
            ..attempt("a", 1)
        };
        let cancelled = Err(Fault::invalid("cancelled"));
        assert!(
            writer
                .make(with_token(), Twice::Counts, cancelled)
                .await
                .is_err()
        );
        let made = writer.make(with_token(), Twice::Counts, done("one")).await;
        let again = writer.make(with_token(), Twice::Counts, done("two")).await;
        assert_eq!((made, again, writer.made()), (done("one"), done("one"), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let writer = Writer::new();
        for at in 0..40 {
            let large = Ok(Bytes::from(vec![0; 1 << 20]));
            let call = attempt(&format!("call {at}"), 1);
            assert!(writer.make(call, Twice::Same, large).await.is_ok());
        }
        let calls = writer.attempts.calls();
        assert!(calls.bytes <= BYTES + (1 << 20), "{}", calls.bytes);
        assert!(calls.of.len() < 40);
        assert_eq!(calls.of.len(), calls.order.len());
    }
}
