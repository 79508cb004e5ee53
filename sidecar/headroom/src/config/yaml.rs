//! YAML as a tree that knows where everything stands.
//!
//! Built from the parser's events rather than by a loader, so that a key that is written twice, a
//! tag or a bomb of aliases is a problem with a place instead of a surprise.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span};

use super::problems::{Place, Problem};

/// Largest file. A catalog at its own limits of items is below a tenth of it in practice.
pub const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most nodes of one file, counted after aliases are put in place. More are refused.
const NODES_MAX: usize = 1_000_000;

/// Deepest nesting. What is deeper is refused, so that walking the tree needs no bound of its own.
const DEPTH_MAX: usize = 32;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Where it begins.
    pub place: Place,
    /// The line it ends on.
    pub last_line: usize,
    /// What it is.
    pub value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Nothing was written, or `null`, or `~`.
    Nothing,
    /// A word or a number; what it means is up to the reader.
    Plain(String),
    /// A text in quotes or a block.
    Quoted(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order written; keys are distinct.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

impl Node {
    /// The value of a key, if this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<(&Key, &Node)> {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().find(|(known, _)| known.text == key).map(|(key, node)| (key, node))
            }
            Value::Nothing | Value::Plain(_) | Value::Quoted(_) | Value::List(_) => None,
        }
    }

    /// What was found, for a message that says what was expected.
    pub fn describe(&self) -> String {
        const SHOWN_CHARS: usize = 40;
        match &self.value {
            Value::Nothing => "nothing".into(),
            Value::Plain(text) | Value::Quoted(text) if text.chars().count() > SHOWN_CHARS => {
                "a text".into()
            }
            Value::Plain(text) => format!("`{text}`"),
            Value::Quoted(text) => format!("the text {text:?}"),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
        }
    }

    /// Nodes in it, itself included.
    fn count(&self) -> usize {
        match &self.value {
            Value::Nothing | Value::Plain(_) | Value::Quoted(_) => 1,
            Value::List(items) => 1 + items.iter().map(Node::count).sum::<usize>(),
            Value::Map(entries) => 1 + entries.iter().map(|(_, node)| node.count()).sum::<usize>(),
        }
    }
}

/// The text of a file, or why it is none.
pub fn decode(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.len() > FILE_BYTES_MAX {
        let bytes = bytes.len();
        return Err(Problem::of_file(format!(
            "the file has {bytes} bytes, at most {FILE_BYTES_MAX} are read"
        )));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let good = std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or("");
        let line = 1 + good.matches('\n').count();
        let column = 1 + good.rsplit('\n').next().unwrap_or("").chars().count();
        let byte = bytes[error.valid_up_to()];
        let place = Place { line, column, width: 1 };
        Problem::at(place, format!("the file is not UTF-8: byte 0x{byte:02x}"))
    })
}

/// The one document of a file. What is wrong but readable is added to `problems`; `None` when
/// nothing can be read at all.
pub fn parse(text: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    let mut builder =
        Builder { problems, open: Vec::new(), anchors: HashMap::new(), nodes: 0, root: None };
    for event in Parser::new_from_str(text) {
        let more = match event {
            Ok((event, span)) => builder.event(event, span),
            Err(error) => Err(explain(&error, text)),
        };
        if let Err(problem) = more {
            builder.problems.push(problem);
            return None;
        }
    }
    let root = builder.root;
    if root.is_none() {
        problems.push(Problem::of_file("the file is empty"));
    }
    root
}

/// A collection whose end has not come yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next. `Err`: it was written before, so its value is dropped.
    key: Option<Result<Key, ()>>,
    /// Keys so far, and their lines.
    seen: HashMap<String, usize>,
}

struct Builder<'p> {
    problems: &'p mut Vec<Problem>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let place = place(span);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => match self.root {
                Some(_) => {
                    Err(Problem::at(place, "a second document begins here, one is expected"))
                }
                None => Ok(()),
            },
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                // Its end is where the alias stands, so that a problem inside still points there.
                Some(node) => {
                    let node = node.clone();
                    self.nodes += node.count();
                    self.add(node, 0)
                }
                None => Err(Problem::at(place, "this alias stands inside of what it names")),
            },
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(place, tag.is_some());
                let is_plain = style == ScalarStyle::Plain;
                let value = match &*text {
                    "" | "~" | "null" | "Null" | "NULL" if is_plain => Value::Nothing,
                    _ if is_plain => Value::Plain(text.into_owned()),
                    _ => Value::Quoted(text.into_owned()),
                };
                let last_line = span.end.line();
                self.nodes += 1;
                self.add(Node { place, last_line, value }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_tag(place, tag.is_some());
                self.begin(place, Value::List(Vec::new()), anchor)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_tag(place, tag.is_some());
                self.begin(place, Value::Map(Vec::new()), anchor)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let mut open = self.open.pop().expect("the parser ends what it began");
                open.node.last_line = span.end.line();
                self.add(open.node, open.anchor)
            }
        }
    }

    fn refuse_tag(&mut self, place: Place, is_tagged: bool) {
        if is_tagged {
            self.problems.push(Problem::at(place, "tags (`!…`) have no meaning here"));
        }
    }

    fn begin(&mut self, place: Place, value: Value, anchor: usize) -> Result<(), Problem> {
        if let Some(Open { node: Node { value: Value::Map(_), .. }, key: None, .. }) =
            self.open.last()
        {
            return Err(Problem::at(
                place,
                "a key must be a word; if this is a template, put it in quotes: \"{{ … }}\"",
            ));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(Problem::at(place, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.nodes += 1;
        // The beginning stands for the whole.
        let place = Place { width: 1, ..place };
        let node = Node { place, last_line: place.line, value };
        self.open.push(Open { node, anchor, key: None, seen: HashMap::new() });
        Ok(())
    }

    fn add(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if self.nodes > NODES_MAX {
            return Err(Problem::at(node.place, format!("more than {NODES_MAX} values")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            // A file of comments is a document of nothing to some parsers.
            self.root = (node.value != Value::Nothing).then_some(node);
            return Ok(());
        };
        match (&mut open.node.value, open.key.take()) {
            (Value::List(items), _) => items.push(node),
            (Value::Map(entries), Some(Ok(key))) => entries.push((key, node)),
            (Value::Map(_), Some(Err(()))) => {}
            (Value::Map(_), None) => {
                let place = node.place;
                let text = match node.value {
                    Value::Plain(text) | Value::Quoted(text) => text,
                    Value::Nothing | Value::List(_) | Value::Map(_) => {
                        return Err(Problem::at(place, "a key must be a word"));
                    }
                };
                open.key = Some(match open.seen.get(&text) {
                    None => {
                        open.seen.insert(text.clone(), place.line);
                        Ok(Key { text, place })
                    }
                    Some(line) => {
                        self.problems.push(Problem::at(
                            place,
                            format!("the key `{text}` is in line {line} already"),
                        ));
                        Err(())
                    }
                });
            }
            (Value::Nothing | Value::Plain(_) | Value::Quoted(_), _) => {
                unreachable!("only collections are opened")
            }
        }
        Ok(())
    }
}

fn place(span: Span) -> Place {
    let (start, end) = (span.start, span.end);
    let width = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 1 };
    Place { line: start.line().max(1), column: start.col() + 1, width: width.max(1) }
}

/// The parser's words for a fault, with what people usually did.
fn explain(error: &ScanError, text: &str) -> Problem {
    let marker = error.marker();
    let place = Place { line: marker.line().max(1), column: marker.col() + 1, width: 1 };
    let info = error.info();
    if let Some(tab) = info.contains("tab").then(|| indenting_tab(text, place.line)).flatten() {
        return Problem::at(tab, "YAML is indented with spaces, this is a tab");
    }
    let hint = match info {
        "mapping values are not allowed in this context" => {
            ": a text that contains `: ` needs quotes, or the indentation is off"
        }
        "invalid indentation" | "illegal placement of ':' indicator" => {
            ": is a bracket or a quote above not closed?"
        }
        _ if info.contains("unexpected end of stream") => ": what begins here is not closed",
        _ if info.contains("unexpected character") => ": such a text needs quotes",
        _ => "",
    };
    Problem::at(place, format!("not valid YAML: {info}{hint}"))
}

/// The first tab in the indentation of a line at or just below where the parser stopped.
fn indenting_tab(text: &str, line: usize) -> Option<Place> {
    text.lines().enumerate().skip(line - 1).take(2).find_map(|(ix, content)| {
        let indent = &content[..content.len() - content.trim_start().len()];
        let column = indent.find('\t')? + 1;
        Some(Place { line: ix + 1, column, width: 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree in short, or the problems, one per line.
    fn show(text: &str) -> String {
        fn shown(node: &Node) -> String {
            match &node.value {
                Value::Nothing => "-".into(),
                Value::Plain(text) => text.clone(),
                Value::Quoted(text) => format!("{text:?}"),
                Value::List(items) => {
                    format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))
                }
                Value::Map(entries) => {
                    let entries: Vec<_> = entries
                        .iter()
                        .map(|(key, value)| format!("{}: {}", key.text, shown(value)))
                        .collect();
                    format!("{{{}}}", entries.join(", "))
                }
            }
        }
        let mut problems = Vec::new();
        let root = parse(text, &mut problems);
        if problems.is_empty() {
            return root.as_ref().map_or("none".into(), shown);
        }
        let line = |p: &Problem| match p.place {
            Some(place) => format!("{}:{}: {p}", place.line, place.column),
            None => p.to_string(),
        };
        problems.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(show(text), expected, "{text}");
    }

    #[test]
    fn good_files_become_trees() {
        check("a: {b: 'x', c: [80%, ~]}\nd:\n", "{a: {b: \"x\", c: [80%, -]}, d: -}");
        check("- |\n  x\n   y\n- >-\n  a\n  b\n", "[\"x\\n y\\n\", \"a b\"]");
        check("\u{feff}a: 1\r\nb: 2\r\n", "{a: 1, b: 2}");
        check("a: &x {b: 1}\nc: *x\n", "{a: {b: 1}, c: {b: 1}}");
        check("null: 1", "1:1: a key must be a word");
    }

    #[test]
    fn what_is_wrong_has_a_place() {
        check("", "the file is empty");
        check("# only a comment\n", "the file is empty");
        check("a: 1\nb: 2\na: 3\n", "3:1: the key `a` is in line 1 already");
        check("a: !x 1\n", "1:4: tags (`!…`) have no meaning here");
        check("a: 1\n---\nb: 2\n", "2:1: a second document begins here, one is expected");
        check("a: &x [*x]\n", "1:8: this alias stands inside of what it names");
        check("a:\n\tb: 1\n", "2:1: YAML is indented with spaces, this is a tab");
        check("a:\n  - x: 1\n\t y: 2\n", "3:1: YAML is indented with spaces, this is a tab");
        check(
            "a: {{ x }}\n",
            "1:5: a key must be a word; if this is a template, put it in quotes: \"{{ … }}\"",
        );
        check(
            "a: b: c\n",
            "1:5: not valid YAML: mapping values are not allowed in this context: a text that \
             contains `: ` needs quotes, or the indentation is off",
        );
        check(
            "a: \"b\n",
            "1:4: not valid YAML: while scanning a quoted scalar, found unexpected end of stream: \
             what begins here is not closed",
        );
        check(
            "a: [1, 2\nb: 3\n",
            "2:2: not valid YAML: illegal placement of ':' indicator: is a bracket or a quote above not closed?",
        );
        check(
            "a: @b\n",
            "1:4: not valid YAML: unexpected character: `@': such a text needs quotes",
        );
    }

    #[test]
    fn bombs_are_refused() {
        let deep = "[".repeat(40) + &"]".repeat(40);
        check(&deep, "1:33: nested deeper than 32 levels");
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..10 {
            let last = format!("*a{}", n - 1);
            bomb += &format!("a{n}: &a{n} [{}]\n", vec![last; 10].join(", "));
        }
        assert!(show(&bomb).contains("more than 1000000 values"));
    }

    #[test]
    fn bytes_that_are_no_text_are_told_by_place() {
        assert_eq!(decode("é".as_bytes()), Ok("é"));
        let problem = decode(b"a: 1\nb\xc3\xa9: \xff\n").unwrap_err();
        assert_eq!(problem.place, Some(Place { line: 2, column: 5, width: 1 }));
        assert_eq!(problem.message, "the file is not UTF-8: byte 0xff");
        assert!(decode(&vec![b' '; FILE_BYTES_MAX + 1]).is_err());
    }
}
