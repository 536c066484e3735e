//! Text inside markup, and whether markup is well-formed: enough of XML for a page of our own.

/// Text with what has a meaning in markup replaced.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Checks that every tag is closed in order, every attribute is quoted, and every `&` begins a known name. Answers how many elements
/// there are of each name.
///
/// # Errors
/// What is wrong first, and where.
pub fn check(text: &str) -> Result<std::collections::BTreeMap<String, usize>, String> {
    let (mut open, mut counts): (Vec<String>, std::collections::BTreeMap<String, usize>) = Default::default();
    let mut rest = text.strip_prefix("<!DOCTYPE html>").unwrap_or(text);
    while let Some(start) = rest.find('<') {
        check_text(&rest[..start])?;
        let end = tag_end(&rest[start..]).ok_or_else(|| format!("a tag is not ended: {}", excerpt(&rest[start..])))?;
        let tag = &rest[start + 1..start + end];
        rest = &rest[start + end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop().as_deref() != Some(name.trim()) {
                return Err(format!("</{name}> ends what is not open"));
            }
            continue;
        }
        let is_empty = tag.ends_with('/');
        let name = check_tag(tag.trim_end_matches('/'))?;
        *counts.entry(name.clone()).or_default() += 1;
        if !is_empty {
            open.push(name);
        }
    }
    check_text(rest)?;
    if open.is_empty() { Ok(counts) } else { Err(format!("still open at the end: {}", open.join(", "))) }
}

fn excerpt(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Place of the `>` that ends the tag at the start: not one in quotes.
fn tag_end(text: &str) -> Option<usize> {
    let mut quoted = false;
    text.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        (c == '>' && !quoted).then_some(at)
    })
}

fn check_text(text: &str) -> Result<(), String> {
    if let Some(at) = text.find('>') {
        return Err(format!("a bare > in: {}", excerpt(&text[at..])));
    }
    for (at, _) in text.match_indices('&') {
        let known = ["&amp;", "&lt;", "&gt;", "&quot;"].iter().any(|name| text[at..].starts_with(name));
        if !known {
            return Err(format!("a bare & in: {}", excerpt(&text[at..])));
        }
    }
    Ok(())
}

/// Name of a tag whose attributes are all `name="value"`.
fn check_tag(tag: &str) -> Result<String, String> {
    let (name, mut rest) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
    while !rest.trim().is_empty() {
        let bad = || format!("an attribute is not name=\"value\" in <{tag}>");
        let (_, value) = rest.split_once("=\"").ok_or_else(bad)?;
        let (value, after) = value.split_once('"').ok_or_else(bad)?;
        if value.contains('<') {
            return Err(bad());
        }
        check_text(&value.replace('>', ""))?;
        rest = after;
    }
    if name.is_empty() { Err("a tag without a name".to_owned()) } else { Ok(name.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_markup_is_counted() {
        let counts = check("<!DOCTYPE html><p class=\"a>b\">1 &lt; 2<br/><b>x</b></p>").expect("good");
        assert_eq!((counts["p"], counts["br"], counts["b"]), (1, 1, 1));
    }

    #[test]
    fn bad_markup_is_noticed() {
        for bad in ["<p>", "<p></b>", "<p class=a></p>", "a & b", "1 > 0", "<p", "<p a=\"<\"></p>"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
