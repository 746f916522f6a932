//! `${ENV}` and `file:` in a plan's values.
//!
//! `${NAME}` is the environment variable NAME, anywhere in a string and any number of times; what
//! it holds isn't looked at again. `$${` is `${` itself. Every other `$` is an ordinary character,
//! so that a password with one needs no care.

/// A reference that can't be followed: what is wrong, and what to write instead.
pub(super) struct Broken {
    pub message: String,
    pub hint: &'static str,
}

/// The text with its references followed, and whether there were any.
pub(super) fn expand(
    written: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(String, bool), Broken> {
    let mut text = String::with_capacity(written.len());
    let mut referred = false;
    let mut rest = written;
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            text.push_str(before);
            text.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        text.push_str(&rest[..at]);
        let (name, tail) = rest[at + 2..].split_once('}').ok_or_else(|| Broken {
            message: "a `${` isn't closed".into(),
            hint: "write ${NAME}, or $${ for the characters themselves",
        })?;
        text.push_str(&variable(name, env)?);
        referred = true;
        rest = tail;
    }
    text.push_str(rest);
    Ok((text, referred))
}

fn variable(name: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, Broken> {
    let valid = !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        // What is there may be part of a password: it isn't shown.
        return Err(Broken {
            message: "what is in `${…}` isn't the name of an environment variable".into(),
            hint: "write ${NAME}, without a default, or $${ for the characters themselves",
        });
    }
    env(name).ok_or_else(|| Broken {
        message: format!("the environment variable {name} isn't set"),
        hint: "set it, or write $${ for the characters themselves",
    })
}

/// The path of a `file:` reference, if that is what is written.
pub(super) fn path(written: &str) -> Option<&str> {
    written.strip_prefix("file:")
}

/// What the file holds, without the newline at its end.
pub(super) fn contents(path: &str) -> std::io::Result<String> {
    let mut text = std::fs::read_to_string(path)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}
