//! T8: every public type and method has an example.
//!
//! Looked at is the public face: the crates of [`FACES`], and what `engine` re-exports from the crates below, with its methods. A `pub` type or
//! trait has an example in its own doc comment, is named in an example of its file, or says where to look ("See .. for an example"). A `pub fn`, and a method of a `pub` trait, has an example of its own or else must be called by name in some example of its file (for what engine re-exports, also in one of engine): a getter needs no example of its own, but nobody should have to
//! guess how a call looks. Variants and fields are shown by the example of their type.
//!
//! Not looked at: `pub(crate)`, what is inside a module that is not `pub`, items for tests, `#[doc(hidden)]`.

use std::collections::BTreeSet;
use std::ops::Range;

use super::house::{Complaint, House, crate_of};
use super::seams::expand;
use super::source::{Source, bracketed, words};

/// Crates whose whole public surface users see.
const FACES: &[&str] = &["engine", "suite"];

/// All of T8.
pub(super) fn check(house: &House) -> Vec<Complaint> {
    let taken_over = taken_over(house);
    let engine = house.products().filter(|(path, _)| crate_of(path) == "engine");
    let calls_in_engine: BTreeSet<String> = engine.flat_map(|(_, source)| calls_in_examples(source)).collect();
    let mut complaints = Vec::new();
    for (path, source) in house.products() {
        let folder = crate_of(path);
        let is_face = FACES.contains(&folder);
        let names = words_in_examples(source);
        let mut calls = calls_in_examples(source);
        if !is_face {
            calls.extend(calls_in_engine.iter().cloned());
        }
        for item in items(source) {
            let owner = item.owner.clone().map(|owner| (folder.to_owned(), owner));
            let is_public = is_face || owner.is_some_and(|owner| taken_over.contains(&owner));
            let shown_elsewhere = if item.is_fn { &calls } else { &names }.contains(&item.name);
            if is_public && !item.has_example && !shown_elsewhere {
                let what = if item.is_fn {
                    "is called in no example of its file"
                } else {
                    "has no example in its documentation"
                };
                complaints.push(Complaint::new(path, item.line, format!("T8: `{}` {what}", item.name)));
            }
        }
    }
    complaints
}

/// Folder and name of what engine's lib.rs re-exports from crates below.
fn taken_over(house: &House) -> BTreeSet<(String, String)> {
    let Some((_, source)) = house.sources().find(|(path, _)| *path == "engine/src/lib.rs") else {
        return BTreeSet::new();
    };
    let code = source.product();
    let trees = code.match_indices("pub use duramen_").map(|(at, start)| &code[at + start.len()..]);
    trees
        .filter_map(|rest| rest.split(';').next()?.split_once("::"))
        .flat_map(|(folder, tree)| {
            let tree = tree.split_whitespace().collect::<Vec<_>>().join(" ");
            expand("", &tree)
                .into_iter()
                .filter_map(|name| Some((folder.to_owned(), name.rsplit("::").next()?.to_owned())))
        })
        .collect()
}

/// Something `pub`.
#[derive(Debug)]
struct Item {
    name: String,
    /// The type it is, or the type or trait whose method it is.
    owner: Option<String>,
    line: usize,
    is_fn: bool,
    has_example: bool,
}

fn items(source: &Source) -> Vec<Item> {
    let open = without_closed_modules(source.product());
    let code = open.as_str();
    let bodies = bodies(code);
    let mut found = Vec::new();
    for (at, _) in words(code).filter(|&(_, word)| word == "pub") {
        let Some((kind, name)) = kind_and_name(&code[at + 3..]) else { continue };
        let is_fn = kind == "fn";
        let owner = if is_fn { innermost(&bodies, at).map(|body| body.owner.clone()) } else { Some(name.to_owned()) };
        found.extend(item(source, at, name, owner, is_fn));
    }
    for body in bodies.iter().filter(|body| body.is_public_trait) {
        for (at, _) in words(&code[body.range.clone()]).filter(|&(_, word)| word == "fn") {
            let at = body.range.start + at;
            let name = words(&code[at + 2..]).next().map_or("", |(_, name)| name);
            let start = code[..at].rfind('\n').map_or(0, |line| line + 1);
            found.extend(item(source, start, name, Some(body.owner.clone()), true));
        }
    }
    found
}

/// Code with the bodies of inline modules that are not plainly `pub` blanked.
fn without_closed_modules(code: &str) -> String {
    let mut open = code.as_bytes().to_vec();
    for (at, _) in words(code).filter(|&(_, word)| word == "mod") {
        let stop = code[at..].find(['{', ';']).map(|len| at + len);
        let Some(body) = stop.filter(|&stop| code.as_bytes()[stop] == b'{') else { continue };
        if !code[..at].trim_end().ends_with("pub") {
            open[bracketed(code, body)].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
        }
    }
    String::from_utf8(open).expect("only whole modules are blanked")
}

fn item(source: &Source, at: usize, name: &str, owner: Option<String>, is_fn: bool) -> Option<Item> {
    let docs = source.docs_above(at);
    let line = source.line_of(at);
    let is_hidden =
        source.text().lines().take(line).skip(line.saturating_sub(4)).any(|text| text.trim() == "#[doc(hidden)]");
    (!is_hidden).then(|| Item {
        name: name.to_owned(),
        owner,
        line,
        is_fn,
        has_example: docs.contains("```") || docs.contains("for an example"),
    })
}

/// What follows a `pub`, if it is a type, a trait or a function.
fn kind_and_name(rest: &str) -> Option<(&str, &str)> {
    if rest.trim_start().starts_with('(') {
        return None;
    }
    let mut names =
        words(rest).map(|(_, word)| word).skip_while(|word| matches!(*word, "const" | "unsafe" | "async" | "extern"));
    let kind = names.next()?;
    matches!(kind, "fn" | "struct" | "enum" | "union" | "trait" | "type").then_some((kind, names.next()?))
}

/// Braces of an `impl` or a `trait`.
struct Body {
    owner: String,
    range: Range<usize>,
    is_public_trait: bool,
}

fn bodies(code: &str) -> Vec<Body> {
    let mut found = Vec::new();
    for (at, word) in words(code).filter(|(_, word)| matches!(*word, "impl" | "trait")) {
        let Some(open) = code[at..].find(['{', ';']).map(|len| at + len).filter(|&open| code.as_bytes()[open] == b'{')
        else {
            continue;
        };
        let head = without_generics(&code[at + word.len()..open]);
        let head = head.split(" where ").next().unwrap_or(&head).to_owned();
        // `impl Trait for Type`: its methods are the trait's.
        if word == "impl" && head.contains(" for ") || before_is_open(code, at) {
            continue;
        }
        let Some((_, owner)) = words(&head).next() else { continue };
        let is_public_trait = word == "trait" && code[..at].trim_end().ends_with("pub");
        found.push(Body { owner: owner.to_owned(), range: bracketed(code, open), is_public_trait });
    }
    found
}

/// Whether `impl` stands inside a signature (`-> impl Trait`) and opens no body of its own.
fn before_is_open(code: &str, at: usize) -> bool {
    let before = code[..at].trim_end();
    !(before.is_empty()
        || before.ends_with(['}', ';', ']', '{'])
        || before.ends_with("pub")
        || before.ends_with("unsafe"))
}

/// Text with everything in `<...>` left out.
fn without_generics(text: &str) -> String {
    let mut depth = 0i32;
    let mut last = ' ';
    let kept: String = text
        .chars()
        .map(|c| {
            depth += i32::from(c == '<') - i32::from(c == '>' && last != '-');
            last = c;
            if depth == 0 && c != '>' { c } else { ' ' }
        })
        .collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn innermost(bodies: &[Body], at: usize) -> Option<&Body> {
    bodies.iter().filter(|body| body.range.contains(&at)).min_by_key(|body| body.range.len())
}

/// Lines inside the examples of a file.
fn example_lines(source: &Source) -> Vec<&str> {
    let mut fenced = false;
    let docs = source
        .comments()
        .iter()
        .filter_map(|comment| comment.text.strip_prefix("///").or_else(|| comment.text.strip_prefix("//!")));
    docs.filter(|doc| {
        let is_fence = doc.trim_start().starts_with("```");
        fenced ^= is_fence;
        fenced && !is_fence
    })
    .collect()
}

/// Words of the examples of a file.
fn words_in_examples(source: &Source) -> BTreeSet<String> {
    example_lines(source).into_iter().flat_map(|line| words(line).map(|(_, word)| word.to_owned())).collect()
}

/// Names that are called in the examples of a file.
fn calls_in_examples(source: &Source) -> BTreeSet<String> {
    let is_called = |line: &str, at: usize, word: &str| {
        let rest = &line[at + word.len()..];
        rest.starts_with('(') || rest.starts_with("::<")
    };
    let lines = example_lines(source).into_iter();
    lines
        .flat_map(|line| {
            words(line).filter(move |&(at, word)| is_called(line, at, word)).map(|(_, word)| word.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(files: &[(&str, &str)]) -> Vec<String> {
        check(&House::of(files)).iter().map(Complaint::to_string).collect()
    }

    const SHOWN: &str = "//! X.\n/// A thing.\n///\n/// ```\n/// let t = Thing::new();\n/// t.grow(1);\n/// ```\n#[derive(Debug)]\npub struct Thing { pub size: u32 }\n\
        impl Thing {\n    /// New.\n    pub fn new() -> Thing { f() }\n    /// Grows.\n    pub fn grow(&self, by: u32) {}\n    pub(crate) fn inner(&self) {}\n}\n\
        pub(crate) mod sealed {\n    /// Not for users.\n    pub trait View {}\n}\n";

    #[test]
    fn shown_items_are_accepted() {
        assert!(complaints(&[("engine/src/a.rs", SHOWN)]).is_empty());
    }

    #[test]
    fn a_type_without_example_is_noticed() {
        let found = complaints(&[(
            "engine/src/a.rs",
            "//! X.\n/// A.\npub enum Kind { A }\n/// B.\npub trait Can {\n    /// C.\n    fn do_it(&self);\n}\n",
        )]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("a.rs:3: T8: `Kind` has no example"), "{found:?}");
        assert!(found[2].contains("`do_it` is called in no example"), "{found:?}");
    }

    #[test]
    fn a_method_that_no_example_calls_is_noticed() {
        let more = format!("{SHOWN}impl Thing {{\n    /// Shrinks.\n    pub fn shrink(&self) {{}}\n}}\n");
        let found = complaints(&[("engine/src/a.rs", &more)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("`shrink`"), "{found:?}");
    }

    #[test]
    fn only_what_engine_takes_over_counts_below() {
        let base = "//! B.\n/// A.\npub struct Batch;\nimpl Batch {\n    /// N.\n    pub fn new() -> Batch { Batch }\n}\n/// V.\npub struct Value;\nimpl<'a> Value {\n    /// D.\n    pub fn detach(self) -> impl Fn() { g }\n}\n\
            impl Clone for Value { fn clone(&self) -> Value { Value } }\n";
        let lib = "//! E.\npub use duramen_base::{\n    Value,\n    ids::Timestamp,\n};\n";
        let found = complaints(&[("base/src/v.rs", base), ("engine/src/lib.rs", lib)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("`Value`") && found[1].contains("`detach`"), "{found:?}");
    }

    #[test]
    fn items_for_tests_are_not_looked_at() {
        let code = "//! X.\n#[cfg(test)]\nmod tests {\n    pub fn helper() {}\n}\n#[doc(hidden)]\npub fn hidden() {}\n";
        assert!(complaints(&[("engine/src/a.rs", code)]).is_empty());
    }
}
