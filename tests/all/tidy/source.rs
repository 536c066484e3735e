//! A Rust file taken apart just far enough for the rules: code without comments and literals, literals, comments.
//!
//! Not a parser. It knows where comments and literals begin and end and can match brackets; that is all the rules need, and
//! all that a rule can be argued from by looking at the file.

use std::ops::Range;

/// A piece of a file that the code mask leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// First byte, of the quote or comment mark.
    pub(super) start: usize,
    /// Line, counted from 1.
    pub(super) line: usize,
    /// Content: without quotes for a literal, with its mark for a comment.
    pub(super) text: String,
}

/// A Rust file.
#[derive(Debug)]
pub(super) struct Source {
    text: String,
    code: String,
    product: String,
    literals: Vec<Piece>,
    comments: Vec<Piece>,
    test_modules: Vec<String>,
}

impl Source {
    /// Takes `text` apart.
    pub(super) fn parse(text: &str) -> Source {
        let mut lexer =
            Lexer { text, at: 0, code: text.as_bytes().to_vec(), literals: Vec::new(), comments: Vec::new() };
        lexer.run();
        let code = String::from_utf8(lexer.code).expect("only whole characters are blanked");
        let (product, test_modules) = without_tests(&code);
        Source {
            text: text.to_owned(),
            code,
            product,
            literals: lexer.literals,
            comments: lexer.comments,
            test_modules,
        }
    }

    /// The file as it is.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The file with comments and the insides of literals blanked; offsets and lines are those of the file.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// [`Source::code`] with items under `#[cfg(test)]` blanked too.
    pub(super) fn product(&self) -> &str {
        &self.product
    }

    /// Every string and byte string.
    pub(super) fn literals(&self) -> &[Piece] {
        &self.literals
    }

    /// Every comment, a line each.
    pub(super) fn comments(&self) -> &[Piece] {
        &self.comments
    }

    /// Names of modules declared as `#[cfg(test)] mod name;`.
    pub(super) fn test_modules(&self) -> &[String] {
        &self.test_modules
    }

    /// Line (from 1) of a byte.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        line_of(&self.text, offset)
    }

    /// Lines of the `//!` header at the top, without the mark.
    pub(super) fn header(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map_while(|(index, line)| Some((index + 1, line.strip_prefix("//!")?)))
    }

    /// The `///` lines (without mark) right above the item at `offset`, attributes between skipped.
    pub(super) fn docs_above(&self, offset: usize) -> String {
        let above: Vec<&str> = self.text[..offset].lines().collect();
        let item_line = self.line_of(offset) - 1;
        let mut docs = Vec::new();
        for line in above[..item_line.min(above.len())].iter().rev() {
            let line = line.trim_start();
            if let Some(doc) = line.strip_prefix("///") {
                docs.push(doc);
            } else if !(line.starts_with("#[") || line.starts_with(")]")) {
                break;
            }
        }
        docs.reverse();
        docs.join("\n")
    }
}

/// Line (from 1) of a byte of `text`.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// Words (runs of letters, digits and `_`) of blanked code, with their offsets.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + code[rest..].find(is_word)?;
        let end = code[start..].find(|c| !is_word(c)).map_or(code.len(), |len| start + len);
        rest = end;
        Some((start, &code[start..end]))
    })
}

/// Where the bracket that opens at `open` ends (its closing bracket included). Brackets in blanked code are real.
pub(super) fn bracketed(code: &str, open: usize) -> Range<usize> {
    let mut depth = 0usize;
    for (index, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return open..index + 1;
        }
    }
    open..code.len()
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    code: Vec<u8>,
    literals: Vec<Piece>,
    comments: Vec<Piece>,
}

impl Lexer<'_> {
    fn run(&mut self) {
        while self.at < self.text.len() {
            let rest = &self.text[self.at..];
            if rest.starts_with("//") {
                self.comment(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                self.comment(block_comment_len(rest));
            } else if let Some((quote, hashes)) = raw_string_start(rest).filter(|_| !self.after_word()) {
                let close = format!("\"{}", "#".repeat(hashes));
                let len = rest[quote + 1..].find(&close).unwrap_or(rest.len() - quote - 1);
                self.literal(quote, len, close.len());
            } else if let Some(inside) = rest.strip_prefix('"') {
                self.literal(0, string_len(inside), 1);
            } else if let Some(len) = char_literal_len(rest) {
                self.blank(self.at + 1, self.at + len - 1);
                self.at += len;
            } else {
                self.at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
    }

    /// Whether a word ends here, so that an `r` or `b` here does not begin a literal.
    fn after_word(&self) -> bool {
        self.text[..self.at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_')
    }

    fn comment(&mut self, len: usize) {
        let text = self.text[self.at..self.at + len].to_owned();
        self.comments.push(Piece { start: self.at, line: line_of(self.text, self.at), text });
        self.blank(self.at, self.at + len);
        self.at += len;
    }

    /// A literal whose quote is `quote` bytes ahead, with `len` bytes inside and `close` bytes behind.
    fn literal(&mut self, quote: usize, len: usize, close: usize) {
        let inside = self.at + quote + 1;
        let end = (inside + len).min(self.text.len());
        let text = self.text[inside..end].to_owned();
        self.literals.push(Piece { start: self.at, line: line_of(self.text, self.at), text });
        self.blank(inside, end);
        self.at = (end + close).min(self.text.len());
    }

    fn blank(&mut self, from: usize, to: usize) {
        self.code[from..to].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
}

/// Bytes of a block comment, nested ones included.
fn block_comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if text[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// For `r"`, `r#"`, `br"`, ...: where the quote is, and how many hashes.
fn raw_string_start(text: &str) -> Option<(usize, usize)> {
    let after = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = after.bytes().take_while(|&byte| byte == b'#').count();
    after[hashes..].starts_with('"').then_some((text.len() - after.len() + hashes, hashes))
}

/// Bytes up to the quote that ends a plain string.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index,
            _ => {}
        }
    }
    text.len()
}

/// Bytes of a character literal; `None` for a lifetime.
fn char_literal_len(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('\'')?;
    if let Some(escaped) = inside.strip_prefix('\\') {
        let skip = escaped.chars().next()?.len_utf8();
        return escaped[skip..].find('\'').map(|len| len + skip + 3);
    }
    let len = inside.chars().next()?.len_utf8();
    inside[len..].starts_with('\'').then_some(len + 2)
}

/// `code` with items under `#[cfg(test)]` blanked, and the names of modules declared so.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let mut product = code.as_bytes().to_vec();
    let mut modules = Vec::new();
    for (start, _) in code.match_indices("#[cfg(") {
        let attribute = bracketed(code, start + 1);
        if !is_only_for_tests(&code[attribute.clone()]) {
            continue;
        }
        let Some(stop) = code[attribute.end..].find(['{', ';']).map(|len| attribute.end + len) else { continue };
        if code.as_bytes()[stop] == b';' {
            modules.extend(declared_module(&code[attribute.end..stop]));
        } else {
            let item = start..bracketed(code, stop).end;
            product[item].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
    }
    (String::from_utf8(product).expect("only whole items are blanked"), modules)
}

/// Whether a `cfg` holds in tests alone: it asks for `test`, and not as one choice of `any` or under `not`.
fn is_only_for_tests(attribute: &str) -> bool {
    let names: Vec<&str> = words(attribute).map(|(_, word)| word).collect();
    let of_no_tests = names.windows(2).any(|pair| pair == ["not", "test"]);
    names.contains(&"test") && !names.contains(&"any") && !of_no_tests
}

fn declared_module(item: &str) -> Option<String> {
    let names: Vec<&str> = words(item).map(|(_, word)| word).collect();
    let at = names.iter().position(|&word| word == "mod")?;
    names.get(at + 1).map(|&name| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_kept_aside() {
        let source = Source::parse(
            "let a = \"x // y\"; // std::fs\nlet b = r#\"q\"uote\"#; /* a /* b */ c */ let c = b\"\\\"\";",
        );
        assert_eq!(
            source.code().trim(),
            "let a = \"      \";           \nlet b = r#\"      \"#;                   let c = b\"  \";"
        );
        let literals: Vec<&str> = source.literals().iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(literals, ["x // y", "q\"uote", "\\\""]);
        assert_eq!(source.comments().len(), 2);
    }

    #[test]
    fn quotes_as_characters_and_lifetimes_open_no_string() {
        let source = Source::parse("fn f<'a>(x: &'a str) { g('\"', '\\'', 'é'); std::fs::read(x) }");
        assert!(source.literals().is_empty());
        assert!(source.code().contains("std::fs::read(x)"));
    }

    #[test]
    fn items_for_tests_are_no_product() {
        let source = Source::parse(
            "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { if x { } } }\n#[cfg(any(test, feature = \"t\"))]\nfn c() {}",
        );
        assert!(source.product().contains("fn a") && source.product().contains("fn c"));
        assert!(!source.product().contains("fn b"));
        assert_eq!(source.product().len(), source.text().len());
    }

    #[test]
    fn a_cfg_is_only_for_tests_if_it_asks_for_them() {
        assert!(is_only_for_tests("[cfg(test)]") && is_only_for_tests("[cfg(all(test, not(duramen_sim)))]"));
        assert!(!is_only_for_tests("[cfg(any(test, feature))]") && !is_only_for_tests("[cfg(not(test))]"));
        assert!(!is_only_for_tests("[cfg(duramen_sim)]"));
    }

    #[test]
    fn docs_are_found_above_attributes() {
        let text = "/// One.\n///\n/// Two.\n#[must_use]\npub fn f() {}\n";
        let source = Source::parse(text);
        assert_eq!(source.docs_above(text.find("pub").expect("there")), " One.\n\n Two.");
    }
}
