//! Numbers as DynamoDB counts with them: up to 38 digits, exactly.

use std::cmp::Ordering;

use super::refused;
use crate::codec::number::Parts;
use crate::error::{Error, Result};

/// The most significant digits.
const DIGITS: usize = 38;
/// Numbers are below 10 to this power,
const BELOW: i64 = 126;
/// and not nearer to 0 than 10 to this one.
const SMALLEST: i64 = -130;

/// The order of two numbers by value. What isn't a number has the order of its text, so that there is one.
pub fn order(one: &str, two: &str) -> Ordering {
    let (Some(one), Some(two)) = (Parts::of(one), Parts::of(two)) else {
        return one.cmp(two);
    };
    let sign = |parts: &Parts| match (parts.significant.is_empty(), parts.negative) {
        (true, _) => 0,
        (false, true) => -1,
        (false, false) => 1,
    };
    let size = || {
        let power = |parts: &Parts| parts.significant.len() as i64 + parts.lowest;
        // Both begin with a digit that isn't 0, so that texts have the order of fractions.
        power(&one)
            .cmp(&power(&two))
            .then_with(|| one.significant.cmp(&two.significant))
    };
    sign(&one).cmp(&sign(&two)).then_with(|| match sign(&one) {
        0 => Ordering::Equal,
        1 => size(),
        _ => size().reverse(),
    })
}

/// A number as the service keeps it: without an exponent, nor zeros that mean nothing.
///
/// # Errors
/// [`crate::error::Kind::Invalid`], in the words of the service: it isn't a number, or has too many digits, or lies
/// beyond what a number can be.
pub fn number(text: &str) -> Result<String> {
    let parts = Parts::of(text).ok_or_else(|| not_a_number(text))?;
    if parts.significant.is_empty() {
        return Ok("0".into());
    }
    within(&parts)?;
    Ok(plain(&parts))
}

fn not_a_number(text: &str) -> Error {
    refused(format!(
        "The parameter cannot be converted to a numeric value: {text}"
    ))
}

/// The sum of two numbers, or the first one less the second one.
///
/// # Errors
/// The result has too many digits, or lies beyond what a number can be.
pub(super) fn sum(one: &str, two: &str, is_less: bool) -> Result<String> {
    let one = Parts::of(one).ok_or_else(|| not_a_number(one))?;
    let mut two = Parts::of(two).ok_or_else(|| not_a_number(two))?;
    two.negative ^= is_less;
    for parts in [&one, &two] {
        // Keeps what follows short, whatever was typed.
        if !parts.significant.is_empty() {
            within(parts)?;
        }
    }
    let lowest = match (one.significant.is_empty(), two.significant.is_empty()) {
        (true, true) => 0,
        (true, false) => two.lowest,
        (false, true) => one.lowest,
        (false, false) => one.lowest.min(two.lowest),
    };
    let (first, second) = (digits(&one, lowest), digits(&two, lowest));
    let (negative, digits) = match one.negative == two.negative {
        true => (one.negative, add(&first, &second)),
        false => match magnitude(&first, &second) {
            Ordering::Less => (two.negative, subtract(&second, &first)),
            Ordering::Equal | Ordering::Greater => (one.negative, subtract(&first, &second)),
        },
    };
    let text: String = digits
        .iter()
        .rev()
        .map(|digit| char::from(b'0' + digit))
        .collect();
    let kept = text.trim_start_matches('0').trim_end_matches('0');
    let zeros = text.len() - text.trim_end_matches('0').len();
    let total = Parts {
        negative: negative && !kept.is_empty(),
        significant: kept.to_owned(),
        lowest: lowest + zeros as i64,
    };
    if total.significant.is_empty() {
        return Ok("0".into());
    }
    within(&total)?;
    Ok(plain(&total))
}

fn within(parts: &Parts) -> Result<()> {
    let power = parts.significant.len() as i64 + parts.lowest;
    if parts.significant.len() > DIGITS {
        return Err(refused("DynamoDB only supports precision up to 38 digits"));
    }
    if power > BELOW {
        return Err(refused(
            "Number overflow. Attempting to store a number with magnitude larger than supported range",
        ));
    }
    if power <= SMALLEST {
        return Err(refused(
            "Number underflow. Attempting to store a number with magnitude smaller than supported range",
        ));
    }
    Ok(())
}

/// The digits of a number in units of a power of 10, the last one first.
fn digits(parts: &Parts, lowest: i64) -> Vec<u8> {
    if parts.significant.is_empty() {
        return Vec::new();
    }
    let zeros = usize::try_from(parts.lowest - lowest).unwrap_or(0);
    let own = parts.significant.bytes().rev().map(|digit| digit - b'0');
    std::iter::repeat_n(0, zeros).chain(own).collect()
}

fn magnitude(one: &[u8], two: &[u8]) -> Ordering {
    one.len()
        .cmp(&two.len())
        .then_with(|| one.iter().rev().cmp(two.iter().rev()))
}

fn add(one: &[u8], two: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut total = Vec::with_capacity(one.len().max(two.len()) + 1);
    for place in 0..one.len().max(two.len()) {
        let digit = |digits: &[u8]| digits.get(place).copied().unwrap_or(0);
        let here = digit(one) + digit(two) + carry;
        total.push(here % 10);
        carry = here / 10;
    }
    total.push(carry);
    total
}

/// The larger one less the smaller one.
fn subtract(one: &[u8], two: &[u8]) -> Vec<u8> {
    let mut borrowed = 0;
    let mut rest = Vec::with_capacity(one.len());
    for (place, digit) in one.iter().enumerate() {
        let taken = two.get(place).copied().unwrap_or(0) + borrowed;
        borrowed = u8::from(*digit < taken);
        rest.push(digit + 10 * borrowed - taken);
    }
    rest
}

/// Without an exponent, as the service gives numbers back.
fn plain(parts: &Parts) -> String {
    let sign = if parts.negative { "-" } else { "" };
    let digits = &parts.significant;
    let power = digits.len() as i64 + parts.lowest;
    if parts.lowest >= 0 {
        let zeros = "0".repeat(usize::try_from(parts.lowest).unwrap_or(0));
        return format!("{sign}{digits}{zeros}");
    }
    match usize::try_from(power) {
        Ok(whole) if whole > 0 => {
            let (whole, fraction) = digits.split_at(whole);
            format!("{sign}{whole}.{fraction}")
        }
        Ok(_) | Err(_) => {
            let zeros = "0".repeat(power.unsigned_abs() as usize);
            format!("{sign}0.{zeros}{digits}")
        }
    }
}

#[cfg(test)]
#[allow(clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_their_order() {
        let sorted = [
            "-1e125", "-10", "-9.5", "-0.001", "0", "1e-130", "0.1", "0.11", "2", "10", "1E2",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (place, two) in sorted.iter().enumerate() {
                assert_eq!(order(one, two), at.cmp(&place), "{one} and {two}");
            }
        }
        for same in [("1", "1.0"), ("0", "-0.0"), ("100", "1E2"), ("007", "7")] {
            assert_eq!(order(same.0, same.1), Ordering::Equal, "{same:?}");
        }
    }

    #[test]
    fn sums_are_exact_or_refused() {
        let added = |one, two| sum(one, two, false).ok();
        let less = |one, two| sum(one, two, true).ok();
        assert_eq!(added("5", "3").as_deref(), Some("8"));
        assert_eq!(added("0.1", "0.2").as_deref(), Some("0.3"));
        assert_eq!(less("5", "7.25").as_deref(), Some("-2.25"));
        assert_eq!(less("1e3", "1e3").as_deref(), Some("0"));
        assert_eq!(added("-5", "3").as_deref(), Some("-2"));
        assert_eq!(added("999", "1").as_deref(), Some("1000"));
        assert_eq!(less("0", "1e-3").as_deref(), Some("-0.001"));
        assert_eq!(
            added("0", "1e40").as_deref(),
            Some("1".to_owned() + &"0".repeat(40)).as_deref()
        );
        assert_eq!(added("1e125", "1"), None, "126 digits");
        assert_eq!(added("9e125", "9e125"), None, "too large");
        assert_eq!(added("1e9999", "1"), None);
        assert_eq!(added("x", "1"), None);
        let nines = "9".repeat(38);
        assert_eq!(added(&nines, "1"), Some("1".to_owned() + &"0".repeat(38)));
        assert_eq!(added(&nines, "2"), None, "39 digits");
    }

    proptest::proptest! {
        #[test]
        fn sums_are_those_of_integers(one in -1_000_000_000_i128..1_000_000_000, two in -1_000_000_i128..1_000_000) {
            let text = |number: i128| number.to_string();
            proptest::prop_assert_eq!(sum(&text(one), &text(two), false).expect("fits"), text(one + two));
            proptest::prop_assert_eq!(sum(&text(one), &text(two), true).expect("fits"), text(one - two));
            proptest::prop_assert_eq!(order(&text(one), &text(two)), one.cmp(&two));
        }
    }
}
