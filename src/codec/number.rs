//! Numbers of any size: two's complement bytes, decimal digits, and DynamoDB's N.

/// The most significant digits of an N.
const N_DIGITS: usize = 38;
/// An N is below 10 to this power.
const N_MAGNITUDE: usize = 126;
/// The most digits that an N has after the point.
const N_DECIMALS: usize = 130;
/// No integer of more bytes is below 10^126.
const N_BYTES: usize = 53;

/// Whether two's complement bytes are the shortest that give their number.
pub(crate) fn is_shortest(bytes: &[u8]) -> bool {
    match bytes {
        [] => false,
        [_] => true,
        [first, second, ..] => {
            let sign = if second & 0x80 == 0 { 0x00 } else { 0xff };
            *first != sign
        }
    }
}

/// Sign and absolute value (big-endian, without leading zeros) of two's complement bytes.
pub(crate) fn magnitude(bytes: &[u8]) -> (bool, Vec<u8>) {
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let mut out = bytes.to_vec();
    if negative {
        negate(&mut out);
    }
    let zeros = out.iter().take_while(|byte| **byte == 0).count();
    out.drain(..zeros);
    (negative, out)
}

/// The shortest two's complement bytes of a sign and an absolute value.
pub(crate) fn from_magnitude(negative: bool, magnitude: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(magnitude.len() + 1);
    out.push(0);
    out.extend_from_slice(magnitude);
    if negative {
        negate(&mut out);
    }
    let mut from = 0;
    while from + 1 < out.len() && !is_shortest(&out[from..]) {
        from += 1;
    }
    out.drain(..from);
    out
}

fn negate(bytes: &mut [u8]) {
    let mut carry = true;
    for byte in bytes.iter_mut().rev() {
        let (sum, over) = (!*byte).overflowing_add(u8::from(carry));
        *byte = sum;
        carry = over;
    }
}

/// The decimal digits of an absolute value, without leading zeros: none for 0.
pub(crate) fn digits(magnitude: &[u8]) -> String {
    if magnitude.len() <= 16 {
        let value = magnitude
            .iter()
            .fold(0_u128, |value, byte| value << 8 | u128::from(*byte));
        return if value == 0 {
            String::new()
        } else {
            value.to_string()
        };
    }
    let mut limbs: Vec<u32> = magnitude
        .rchunks(4)
        .rev()
        .map(|chunk| {
            chunk
                .iter()
                .fold(0, |limb, byte| limb << 8 | u32::from(*byte))
        })
        .collect();
    let mut groups = Vec::new();
    while let Some(first) = limbs.iter().position(|limb| *limb != 0) {
        limbs.drain(..first);
        let mut rest = 0_u64;
        for limb in &mut limbs {
            let value = rest << 32 | u64::from(*limb);
            *limb = (value / 1_000_000_000) as u32;
            rest = value % 1_000_000_000;
        }
        groups.push(rest);
    }
    let text: String = groups
        .iter()
        .rev()
        .map(|group| format!("{group:09}"))
        .collect();
    text.trim_start_matches('0').to_owned()
}

/// The absolute value that ASCII digits say, big-endian, without leading zeros.
pub(crate) fn from_digits(digits: &str) -> Option<Vec<u8>> {
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let mut limbs: Vec<u32> = Vec::new();
    let mut rest = digits;
    while !rest.is_empty() {
        let (group, after) = rest.split_at(match rest.len() % 9 {
            0 => 9,
            odd => odd,
        });
        rest = after;
        let mut carry = group.parse::<u64>().ok()?;
        for limb in &mut limbs {
            let value = u64::from(*limb) * 1_000_000_000 + carry;
            *limb = value as u32;
            carry = value >> 32;
        }
        if carry != 0 {
            limbs.push(carry as u32);
        }
    }
    let bytes = limbs.iter().rev().flat_map(|limb| limb.to_be_bytes());
    Some(bytes.skip_while(|byte| *byte == 0).collect())
}

/// An integer's text.
pub(crate) fn integer_text(bytes: &[u8]) -> String {
    let (negative, magnitude) = magnitude(bytes);
    let digits = digits(&magnitude);
    match (digits.is_empty(), negative) {
        (true, _) => "0".into(),
        (false, true) => format!("-{digits}"),
        (false, false) => digits,
    }
}

/// The shortest two's complement bytes of an integer's text.
pub(crate) fn integer_bytes(text: &str) -> Option<Vec<u8>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    from_digits(digits).map(|magnitude| from_magnitude(negative, &magnitude))
}

/// An integer as an N, if an N holds it exactly and these very bytes come back.
pub(crate) fn integer_n(bytes: &[u8]) -> Option<String> {
    if bytes.len() > N_BYTES || !is_shortest(bytes) {
        return None;
    }
    let text = integer_text(bytes);
    let digits = text.trim_start_matches('-');
    let significant = digits.trim_end_matches('0').len();
    (significant <= N_DIGITS && digits.len() <= N_MAGNITUDE).then_some(text)
}

/// A double as an N, if an N holds it exactly.
pub(crate) fn double_n(value: f64) -> Option<String> {
    let size = value.abs();
    let fits = if size == 0.0 {
        value.is_sign_positive()
    } else {
        (1e-130..1e126).contains(&size)
    };
    // `Debug` gives the shortest digits that read back as the same bits, with an exponent if long.
    fits.then(|| format!("{value:?}"))
}

/// A float as an N, if an N holds it exactly.
pub(crate) fn float_n(value: f32) -> Option<String> {
    let fits = value.is_finite() && (value != 0.0 || value.is_sign_positive());
    fits.then(|| format!("{value:?}"))
}

/// The integer that an N says, if it says one; stores spell it in several ways (`10`, `1E+1`, `10.0`).
pub(crate) fn integer_of_n(text: &str) -> Option<Vec<u8>> {
    let parts = Parts::of(text)?;
    if parts.significant.is_empty() {
        return Some(vec![0]);
    }
    let zeros = usize::try_from(parts.lowest).ok()?;
    if zeros > N_MAGNITUDE {
        return None;
    }
    let digits = parts.significant + &"0".repeat(zeros);
    from_digits(&digits).map(|magnitude| from_magnitude(parts.negative, &magnitude))
}

/// A small integer that an N says.
pub(crate) fn small_integer_of_n(text: &str) -> Option<i64> {
    if let Ok(value) = text.parse() {
        return Some(value);
    }
    let bytes = integer_of_n(text)?;
    if bytes.len() > 8 {
        return None;
    }
    let negative = bytes.first().is_some_and(|first| first & 0x80 != 0);
    let start = if negative { -1 } else { 0 };
    let fold = |value: i64, byte: &u8| value << 8 | i64::from(*byte);
    Some(bytes.iter().fold(start, fold))
}

/// A decimal as an N, if an N holds it and tells these very bytes and this scale: those of [`decimal_of_n`].
pub(crate) fn decimal_n(unscaled: &[u8], scale: i32) -> Option<String> {
    if scale == 0 {
        return integer_n(unscaled);
    }
    // Digits after the point: an N keeps each of them, and adds none.
    let decimals = usize::try_from(scale)
        .ok()
        .filter(|decimals| *decimals <= N_DECIMALS)?;
    if unscaled.len() > N_BYTES || !is_shortest(unscaled) {
        return None;
    }
    let text = integer_text(unscaled);
    let digits = text.trim_start_matches('-');
    (digits.len() <= N_DIGITS && !digits.ends_with('0')).then(|| pointed(&text, decimals))
}

/// An integer's text with a point before its last `decimals` digits, with zeros before them where it has fewer.
pub(crate) fn pointed(integer: &str, decimals: usize) -> String {
    if decimals == 0 {
        return integer.to_owned();
    }
    let (sign, digits) = match integer.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", integer),
    };
    // One digit is before the point.
    let digits = format!("{digits:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    format!("{sign}{whole}.{fraction}")
}

/// The decimal that an N says, unscaled value and scale: a whole number has none, any other the least that it takes.
pub(crate) fn decimal_of_n(text: &str) -> Option<(Vec<u8>, i32)> {
    let parts = Parts::of(text)?;
    if parts.significant.is_empty() || parts.lowest >= 0 {
        return Some((integer_of_n(text)?, 0));
    }
    let scale = i32::try_from(-parts.lowest).ok()?;
    let magnitude = from_digits(&parts.significant)?;
    Some((from_magnitude(parts.negative, &magnitude), scale))
}

/// How many bytes an N takes: a byte for each pair of digits, counted from the decimal point, one
/// more, and one more if negative. Never less than what DynamoDB counts.
pub(crate) fn n_size(text: &str) -> usize {
    const SAFE: usize = 21;
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => match exponent.parse::<i64>() {
            Ok(exponent) => (mantissa, exponent),
            Err(_) => return SAFE,
        },
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let negative = whole.starts_with('-');
    let whole = whole.trim_start_matches(['-', '+']);
    let mut power = whole.len() as i64 + exponent;
    let (mut highest, mut lowest) = (None, 0);
    for digit in whole.bytes().chain(fraction.bytes()) {
        power -= 1;
        if digit != b'0' {
            highest = highest.or(Some(power));
            lowest = power;
        }
    }
    match highest {
        None => 1,
        Some(highest) => {
            let pairs = highest.div_euclid(2) - lowest.div_euclid(2) + 1;
            pairs.unsigned_abs() as usize + 1 + usize::from(negative)
        }
    }
}

/// A number's text taken apart: `significant * 10^lowest`.
pub(crate) struct Parts {
    pub(crate) negative: bool,
    /// Without leading and trailing zeros; empty for 0.
    pub(crate) significant: String,
    pub(crate) lowest: i64,
}

impl Parts {
    pub(crate) fn of(text: &str) -> Option<Parts> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        if all.is_empty() || !all.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let kept = all.trim_end_matches('0');
        let dropped = all.len() as i64 - kept.len() as i64;
        Some(Parts {
            negative,
            significant: kept.trim_start_matches('0').to_owned(),
            lowest: i64::from(exponent) - fraction.len() as i64 + dropped,
        })
    }
}
