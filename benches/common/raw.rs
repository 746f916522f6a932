//! JSON as it lies there: values as slices of the text, found without being built up.

/// Reads along a text.
pub struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Walk { text, at: 0 }
    }

    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let is_there = self.text.get(self.at) == Some(&byte);
        self.at += usize::from(is_there);
        is_there
    }

    /// A string without its quotes; escapes are left as they are.
    fn string(&mut self) -> Option<&'a [u8]> {
        if !self.take(b'"') {
            return None;
        }
        let begins = self.at;
        loop {
            match self.text.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(&self.text[begins..self.at - 1])
    }

    /// Any value, whole.
    fn value(&mut self) -> Option<&'a [u8]> {
        self.space();
        let begins = self.at;
        match self.text.get(self.at)? {
            b'"' => drop(self.string()?),
            b'{' | b'[' => {
                let mut depth = 0;
                loop {
                    match self.text.get(self.at)? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => {
                while self.text.get(self.at).is_some_and(|byte| {
                    !matches!(byte, b',' | b'}' | b']') && !byte.is_ascii_whitespace()
                }) {
                    self.at += 1;
                }
            }
        }
        Some(&self.text[begins..self.at])
    }
}

/// The members of an object: names without quotes, and values.
pub fn members(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut walk = Walk::new(text);
    let mut open = walk.take(b'{');
    std::iter::from_fn(move || {
        if !open || walk.take(b'}') {
            open = false;
            return None;
        }
        let name = walk.string()?;
        walk.take(b':').then_some(())?;
        let value = walk.value()?;
        walk.take(b',');
        Some((name, value))
    })
}

/// The elements of an array.
pub fn elements(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut walk = Walk::new(text);
    let mut open = walk.take(b'[');
    std::iter::from_fn(move || {
        if !open || walk.take(b']') {
            open = false;
            return None;
        }
        let value = walk.value()?;
        walk.take(b',');
        Some(value)
    })
}

/// A member of an object.
pub fn member<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    members(text)
        .find(|(there, _)| *there == name.as_bytes())
        .map(|(_, value)| value)
}

/// A string's text.
pub fn text(value: &[u8]) -> Option<String> {
    match value.contains(&b'\\') {
        true => serde_json::from_slice(value).ok(),
        false => {
            let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
            String::from_utf8(inner.to_vec()).ok()
        }
    }
}
