//! Whether a client has the key that the plan names: AWS Signature Version 4, verified.
//!
//! The signature covers method, path, query, the headers that it names and the body's digest. It must name `host`,
//! and everything that begins with `x-amz-`, so that nothing which matters can be put in afterwards; and its time may be
//! away from this machine's by [`WINDOW`] at most.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

use super::fault::Fault;
use crate::codec::text::{hex, of_hex};
use crate::secret::Secret;

/// How far a signature's time may be from now, in seconds: as AWS has it.
const WINDOW: u64 = 5 * 60;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The key that clients have to sign with.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its id.
    pub access_key: String,
    /// The secret.
    pub secret_key: Secret,
}

impl Access {
    /// Refuses a request that isn't signed with this key.
    pub(super) fn verify(&self, parts: &Parts, body: &[u8]) -> Result<(), Fault> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        self.verify_at(parts, body, since.map_or(0, |since| since.as_secs()))
    }

    fn verify_at(&self, parts: &Parts, body: &[u8], now: u64) -> Result<(), Fault> {
        let header = |name: &str| parts.headers.get(name)?.to_str().ok();
        let signed = header("authorization").ok_or_else(|| {
            Fault::new(
                400,
                "MissingAuthenticationTokenException",
                "this sidecar listens beyond the machine, so requests have to be signed with its [serve] access_key",
            )
        })?;
        let signed = Signed::of(signed).ok_or_else(|| {
            Fault::new(
                400,
                "IncompleteSignatureException",
                "the Authorization header isn't one of AWS Signature Version 4",
            )
        })?;
        let time = header("x-amz-date").and_then(|text| Some((text, seconds(text)?)));
        let (time, at) = time.ok_or_else(|| {
            Fault::new(
                400,
                "IncompleteSignatureException",
                "there is no X-Amz-Date",
            )
        })?;
        let wrong = |message: String| Fault::new(400, "InvalidSignatureException", message);
        if at.abs_diff(now) > WINDOW {
            return Err(wrong(format!(
                "the signature is of {time}, more than {WINDOW} s away from this machine's clock"
            )));
        }
        if !time.starts_with(signed.date) {
            return Err(wrong("the signature's scope is of another day".into()));
        }
        if !signed.covers(parts) {
            return Err(wrong(
                "the signature leaves out host or an x-amz- header".into(),
            ));
        }
        let scope = format!(
            "{}/{}/{}/aws4_request",
            signed.date, signed.region, signed.service
        );
        let canonical = hex(&Sha256::digest(signed.canonical(parts, body).as_bytes()));
        let text = format!("{ALGORITHM}\n{time}\n{scope}\n{canonical}");
        let secret = format!("AWS4{}", self.secret_key.expose());
        let key = [signed.date, signed.region, signed.service, "aws4_request"]
            .iter()
            .fold(secret.into_bytes(), |key, part| sign(&key, part.as_bytes()));
        // In a time that tells nothing, and also where the id is another one.
        let is_right = of_hex(signed.signature)
            .is_some_and(|theirs| keyed(&key, text.as_bytes()).verify_slice(&theirs).is_ok());
        match is_right & (signed.access_key == self.access_key) {
            true => Ok(()),
            false => Err(Fault::new(
                400,
                "UnrecognizedClientException",
                "the request isn't signed with this sidecar's [serve] access_key and secret_key",
            )),
        }
    }
}

/// What an `Authorization` header says.
struct Signed<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Signed<'a> {
    fn of(header: &'a str) -> Option<Self> {
        let rest = header.strip_prefix(ALGORITHM)?;
        let part = |name: &str| {
            let mut parts = rest.split(',').map(str::trim);
            parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let mut credential = part("Credential")?.rsplitn(5, '/');
        let (end, service) = (credential.next()?, credential.next()?);
        let (region, date) = (credential.next()?, credential.next()?);
        (end == "aws4_request").then_some(())?;
        Some(Signed {
            access_key: credential.next()?,
            date,
            region,
            service,
            headers: part("SignedHeaders")?.split(';').collect(),
            signature: part("Signature")?,
        })
    }

    fn covers(&self, parts: &Parts) -> bool {
        let must = parts.headers.keys().map(http::HeaderName::as_str);
        let mut must = must.filter(|name| *name == "host" || name.starts_with("x-amz-"));
        self.headers.contains(&"host") && must.all(|name| self.headers.contains(&name))
    }

    fn canonical(&self, parts: &Parts, body: &[u8]) -> String {
        let mut query: Vec<&str> = parts.uri.query().unwrap_or("").split('&').collect();
        query.sort_unstable();
        let mut text = format!(
            "{}\n{}\n{}\n",
            parts.method,
            parts.uri.path(),
            query.join("&")
        );
        for name in &self.headers {
            let values = parts.headers.get_all(*name).iter();
            let values = values.map(|value| String::from_utf8_lossy(value.as_bytes()));
            let values: Vec<String> = values
                .map(|value| value.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            // Writing to a text can't fail.
            let _ = writeln!(text, "{name}:{}", values.join(","));
        }
        let _ = write!(
            text,
            "\n{}\n{}",
            self.headers.join(";"),
            hex(&Sha256::digest(body))
        );
        text
    }
}

fn keyed(key: &[u8], text: &[u8]) -> Hmac<Sha256> {
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        // A key of any length is taken.
        Err(_) => Hmac::<Sha256>::new(&Default::default()),
    };
    mac.update(text);
    mac
}

fn sign(key: &[u8], text: &[u8]) -> Vec<u8> {
    keyed(key, text).finalize().into_bytes().to_vec()
}

/// Seconds since 1970 of `20261128T101500Z`.
fn seconds(text: &str) -> Option<u64> {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    let time = time::PrimitiveDateTime::parse(text, &form).ok()?;
    let time: OffsetDateTime = time.assume_utc();
    u64::try_from(time.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::{HeaderValue, Request};

    use super::*;

    const NOW: u64 = 1_440_938_160;

    fn access(secret: &str) -> Access {
        Access {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: Secret::new(secret),
        }
    }

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

    /// `get-vanilla` and `post-vanilla` of AWS's own test suite.
    fn vanilla(method: &str, signature: &str) -> Parts {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={signature}"
        );
        let request = Request::builder()
            .method(method)
            .uri("/")
            .header("host", "example.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z")
            .header("authorization", authorization);
        request.body(()).unwrap().into_parts().0
    }

    const GET: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    const POST: &str = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";

    #[test]
    fn aws_test_vectors_are_right() {
        assert_eq!(
            access(SECRET).verify_at(&vanilla("GET", GET), b"", NOW),
            Ok(())
        );
        assert_eq!(
            access(SECRET).verify_at(&vanilla("POST", POST), b"", NOW),
            Ok(())
        );
    }

    #[test]
    fn everything_else_is_refused() {
        let code = |parts: &Parts, body: &[u8], now: u64, secret: &str| {
            access(secret).verify_at(parts, body, now).unwrap_err().code
        };
        let parts = vanilla("POST", POST);
        assert_eq!(
            code(&parts, b"x", NOW, SECRET),
            "UnrecognizedClientException"
        );
        assert_eq!(
            code(&parts, b"", NOW, "other"),
            "UnrecognizedClientException"
        );
        assert_eq!(
            code(&parts, b"", NOW + 301, SECRET),
            "InvalidSignatureException"
        );
        assert_eq!(
            code(&parts, b"", NOW - 301, SECRET),
            "InvalidSignatureException"
        );
        let mut other = access(SECRET);
        other.access_key = "AKIDOTHER".into();
        assert!(other.verify_at(&parts, b"", NOW).is_err());
        let mut more = vanilla("POST", POST);
        let target = HeaderValue::from_static("DynamoDB_20120810.DeleteTable");
        more.headers.insert("x-amz-target", target);
        assert_eq!(code(&more, b"", NOW, SECRET), "InvalidSignatureException");
        let mut none = vanilla("POST", POST);
        none.headers.remove("authorization");
        assert_eq!(
            code(&none, b"", NOW, SECRET),
            "MissingAuthenticationTokenException"
        );
        for text in [
            "",
            "AWS4-HMAC-SHA256",
            "AWS4-HMAC-SHA256 Credential=a/b, Signature=c",
            "Basic x",
        ] {
            let mut broken = vanilla("POST", POST);
            broken
                .headers
                .insert("authorization", HeaderValue::from_str(text).unwrap());
            assert_eq!(
                code(&broken, b"", NOW, SECRET),
                "IncompleteSignatureException",
                "{text}"
            );
        }
        for signature in ["", "zz", "é", &POST[1..], &POST[..63]] {
            assert!(
                access(SECRET)
                    .verify_at(
                        &vanilla("POST", signature.to_string().replace('é', "e").as_str()),
                        b"",
                        NOW
                    )
                    .is_err()
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(text in "\\PC{0,80}", date in "[0-9TZ]{0,20}") {
            let mut parts = vanilla("POST", POST);
            if let Ok(value) = HeaderValue::from_bytes(text.as_bytes()) {
                parts.headers.insert("authorization", value);
            }
            parts.headers.insert("x-amz-date", HeaderValue::from_str(&date).unwrap());
            let _ = access(SECRET).verify_at(&parts, b"", NOW);
        }
    }
}
