//! Rules of the operator's: an expression of CEL about the facts of an account and the days on which its
//! signals came, which holds, does not hold, or cannot be told.
//!
//! The text is read by a CEL parser; what may be said is its part without loops, calls of the operator's
//! own and maps, so a rule costs as many steps as it has nodes. Numbers are whole thousandths, as facts are:
//! `2.5` is exact, and what is below a thousandth of a product or quotient is left out.
//!
//! A fact that is missing makes unknown what needs it, and nothing else: `false && unknown` is false.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};
use cel::parser::Parser;

use crate::days::SPAN;
use crate::facts::{Facts, PARTS, Value};
use crate::limits::{RULE_BYTES_MAX, RULE_DEPTH_MAX, RULE_NODES_MAX};

/// An expression that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    text: String,
    node: Node,
    facts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Constant(Value),
    Fact(String),
    Has(String),
    Days { signal: String, span: u32 },
    Not(Box<Node>),
    Negative(Box<Node>),
    Binary(Operator, Box<[Node; 2]>),
    In(Box<Node>, Vec<Node>),
    If(Box<[Node; 3]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    And,
    Or,
    Equal,
    Unequal,
    Less,
    AtMost,
    Above,
    AtLeast,
    Plus,
    Minus,
    Times,
    Over,
}

const OPERATORS: [(&str, Operator); 12] = [
    (operators::LOGICAL_AND, Operator::And),
    (operators::LOGICAL_OR, Operator::Or),
    (operators::EQUALS, Operator::Equal),
    (operators::NOT_EQUALS, Operator::Unequal),
    (operators::LESS, Operator::Less),
    (operators::LESS_EQUALS, Operator::AtMost),
    (operators::GREATER, Operator::Above),
    (operators::GREATER_EQUALS, Operator::AtLeast),
    (operators::ADD, Operator::Plus),
    (operators::SUBSTRACT, Operator::Minus),
    (operators::MULTIPLY, Operator::Times),
    (operators::DIVIDE, Operator::Over),
];

/// Names that a rule may use.
#[derive(Debug, Clone, Copy)]
pub struct Names<'a> {
    /// Facts by their bare names. `facts.NAME` may be any other.
    pub facts: &'a [&'a str],
    /// Features, in `used_percent.FEATURE`.
    pub features: &'a [&'a str],
    /// Signals, in `days("SIGNAL", 30)`.
    pub signals: &'a [&'a str],
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct RuleProblem {
    /// What is wrong.
    pub message: String,
    /// The word that is wrong, if it is one.
    pub written: Option<String>,
    /// What there is instead.
    pub known: Vec<String>,
}

/// What a rule looks at.
pub struct Scene<'a> {
    /// The account's facts.
    pub facts: &'a Facts,
    /// On how many of the last so many days a signal came.
    pub days: &'a dyn Fn(&str, u32) -> u32,
}

impl Rule {
    /// Reads a rule, of at most [`RULE_BYTES_MAX`] bytes and [`RULE_NODES_MAX`] nodes.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str, names: Names<'_>) -> Result<Rule, RuleProblem> {
        if text.len() > RULE_BYTES_MAX {
            let bytes = text.len();
            return Err(wrong(format!("a rule has {RULE_BYTES_MAX} bytes at most, not {bytes}")));
        }
        let parser = Parser::new().max_recursion_depth(RULE_DEPTH_MAX);
        let (tree, source) = parser.parse_with_source_info(text).map_err(|errors| {
            let first = errors.errors.first();
            let (at, said) = first.map_or((1, ""), |error| (error.pos.1 + 1, error.msg.as_str()));
            let said = said.lines().next().unwrap_or_default();
            wrong(format!("is no CEL expression, at its column {at}: {said}"))
        })?;
        let mut reader = Reader { names, source: &source, nodes: 0, facts: Vec::new() };
        let node = reader.node(&tree)?;
        let mut facts = reader.facts;
        facts.sort_unstable();
        facts.dedup();
        Ok(Rule { text: text.to_owned(), node, facts })
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The facts it looks at, by name.
    pub fn facts(&self) -> &[String] {
        &self.facts
    }

    /// The texts that it names, which facts are compared with.
    pub fn texts(&self) -> Vec<&str> {
        let mut texts = Vec::new();
        self.node.texts(&mut texts);
        texts
    }

    /// Whether it holds. `None`: something it needs is missing, or of another kind.
    pub fn holds(&self, scene: &Scene<'_>) -> Option<bool> {
        match self.node.value(scene)? {
            Value::Flag(flag) => Some(flag),
            Value::Number(_) | Value::Text(_) => None,
        }
    }
}

fn wrong(message: String) -> RuleProblem {
    RuleProblem { message, written: None, known: Vec::new() }
}

fn unknown(what: &str, written: &str, known: &[&str]) -> RuleProblem {
    RuleProblem {
        message: format!("there is no {what} `{written}`"),
        written: Some(written.to_owned()),
        known: known.iter().map(|name| (*name).to_owned()).collect(),
    }
}

struct Reader<'a> {
    names: Names<'a>,
    source: &'a SourceInfo,
    nodes: usize,
    facts: Vec<String>,
}

impl Reader<'_> {
    fn node(&mut self, tree: &IdedExpr) -> Result<Node, RuleProblem> {
        self.nodes += 1;
        if self.nodes > RULE_NODES_MAX {
            return Err(wrong(format!("has more than {RULE_NODES_MAX} parts")));
        }
        match &tree.expr {
            Expr::Literal(literal) => self.literal(tree.id, literal),
            Expr::Ident(_) | Expr::Select(_) => match &tree.expr {
                Expr::Select(select) if select.test => {
                    let fact =
                        self.fact(&format!("{}.{}", path(&select.operand)?, select.field))?;
                    Ok(Node::Has(fact))
                }
                _ => Ok(Node::Fact(self.fact(&path(tree)?)?)),
            },
            Expr::Call(call) => self.call(call),
            Expr::List(_) => Err(wrong("a list stands only after `in`".to_owned())),
            Expr::Comprehension(_) => {
                Err(wrong("loops (all, exists, map, filter) are not possible in a rule".to_owned()))
            }
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err(wrong("maps are not possible in a rule".to_owned()))
            }
        }
    }

    fn literal(&self, id: u64, literal: &LiteralValue) -> Result<Node, RuleProblem> {
        let too_large = || wrong("holds a number that is too large".to_owned());
        Ok(Node::Constant(match literal {
            LiteralValue::Boolean(flag) => Value::Flag(*flag.inner()),
            LiteralValue::String(text) => Value::Text(text.inner().to_owned()),
            LiteralValue::Int(number) => {
                Value::Number(number.inner().checked_mul(PARTS).ok_or_else(too_large)?)
            }
            // As it stands there, so that it is exact.
            LiteralValue::Double(_) => {
                let written = self.source.offset_for(id).and_then(|(start, stop)| {
                    self.source.source.get(start as usize..=stop as usize)
                });
                let number = written.and_then(|text| Value::number(text.trim()));
                number.ok_or_else(|| wrong("numbers are written as `30` or `2.5`".to_owned()))?
            }
            LiteralValue::UInt(_) | LiteralValue::Bytes(_) | LiteralValue::Null => {
                return Err(wrong("a value is a number, a text, `true` or `false`".to_owned()));
            }
        }))
    }

    /// The fact of a path, if it may be used.
    fn fact(&mut self, path: &str) -> Result<String, RuleProblem> {
        let name = match path.split_once('.') {
            Some(("facts", name)) => name,
            Some(("used_percent", feature)) => {
                if !self.names.features.contains(&feature) {
                    return Err(unknown("feature", feature, self.names.features));
                }
                path
            }
            _ if self.names.facts.contains(&path) => path,
            _ => {
                let mut problem = unknown("fact", path, self.names.facts);
                problem.message += &format!(" known here; one that is put is `facts.{path}`");
                return Err(problem);
            }
        };
        self.facts.push(name.to_owned());
        Ok(name.to_owned())
    }

    fn call(&mut self, call: &CallExpr) -> Result<Node, RuleProblem> {
        let name = call.func_name.as_str();
        if call.target.is_some() {
            return Err(unknown("function", name, &["days", "has"]));
        }
        if let Some((_, operator)) = OPERATORS.iter().find(|(word, _)| *word == name)
            && let [left, right] = call.args.as_slice()
        {
            let pair = [self.node(left)?, self.node(right)?];
            return Ok(Node::Binary(*operator, Box::new(pair)));
        }
        match (name, call.args.as_slice()) {
            (operators::LOGICAL_NOT, [one]) => Ok(Node::Not(Box::new(self.node(one)?))),
            (operators::NEGATE, [one]) => Ok(Node::Negative(Box::new(self.node(one)?))),
            (operators::CONDITIONAL, [a, b, c]) => {
                Ok(Node::If(Box::new([self.node(a)?, self.node(b)?, self.node(c)?])))
            }
            (operators::IN, [one, IdedExpr { expr: Expr::List(list), .. }]) => {
                let one = Box::new(self.node(one)?);
                let list: Result<Vec<_>, _> =
                    list.elements.iter().map(|element| self.node(element)).collect();
                Ok(Node::In(one, list?))
            }
            ("days", [signal, span]) => self.days(signal, span),
            (operators::IN, _) => Err(wrong("after `in` stands a list, as `[1, 2]`".to_owned())),
            ("days", _) => Err(wrong("write `days(\"usage_ceiling\", 30)`".to_owned())),
            (operators::MODULO | operators::INDEX, _) => {
                Err(wrong("`%` and `[ ]` are not possible in a rule".to_owned()))
            }
            _ => Err(unknown("function", name, &["days", "has"])),
        }
    }

    fn days(&self, signal: &IdedExpr, span: &IdedExpr) -> Result<Node, RuleProblem> {
        let (Expr::Literal(LiteralValue::String(signal)), Expr::Literal(LiteralValue::Int(span))) =
            (&signal.expr, &span.expr)
        else {
            return Err(wrong("write `days(\"usage_ceiling\", 30)`".to_owned()));
        };
        let signal = signal.inner();
        if !self.names.signals.contains(&signal) {
            return Err(unknown("signal", signal, self.names.signals));
        }
        let days = u32::try_from(*span.inner()).ok().filter(|days| (1..=SPAN).contains(days));
        let days = days.ok_or_else(|| wrong(format!("`days` looks at 1 to {SPAN} days")))?;
        Ok(Node::Days { signal: signal.to_owned(), span: days })
    }
}

/// A name with dots.
fn path(tree: &IdedExpr) -> Result<String, RuleProblem> {
    match &tree.expr {
        Expr::Ident(name) => Ok(name.clone()),
        Expr::Select(select) => Ok(format!("{}.{}", path(&select.operand)?, select.field)),
        _ => Err(wrong("a name is written as `seats` or `facts.nps`".to_owned())),
    }
}

impl Node {
    fn texts<'a>(&'a self, texts: &mut Vec<&'a str>) {
        match self {
            Node::Constant(Value::Text(text)) => texts.push(text),
            Node::Constant(_) | Node::Fact(_) | Node::Has(_) | Node::Days { .. } => {}
            Node::Not(one) | Node::Negative(one) => one.texts(texts),
            Node::Binary(_, pair) => pair.iter().for_each(|one| one.texts(texts)),
            Node::In(one, list) => {
                one.texts(texts);
                list.iter().for_each(|one| one.texts(texts));
            }
            Node::If(parts) => parts.iter().for_each(|one| one.texts(texts)),
        }
    }

    fn value(&self, scene: &Scene<'_>) -> Option<Value> {
        match self {
            Node::Constant(value) => Some(value.clone()),
            Node::Fact(name) => scene.facts.get(name).cloned(),
            Node::Has(name) => Some(Value::Flag(scene.facts.get(name).is_some())),
            Node::Days { signal, span } => {
                Some(Value::whole(i64::from((scene.days)(signal, *span))))
            }
            Node::Not(one) => Some(Value::Flag(!one.flag(scene)?)),
            Node::Negative(one) => Some(Value::Number(one.number(scene)?.checked_neg()?)),
            Node::If(parts) => {
                let [condition, then, otherwise] = &**parts;
                if condition.flag(scene)? { then.value(scene) } else { otherwise.value(scene) }
            }
            Node::In(one, list) => {
                let one = one.value(scene)?;
                let mut is_known = true;
                for element in list {
                    match element.value(scene) {
                        Some(value) if value == one => return Some(Value::Flag(true)),
                        Some(_) => {}
                        None => is_known = false,
                    }
                }
                is_known.then_some(Value::Flag(false))
            }
            Node::Binary(operator, pair) => binary(*operator, pair, scene),
        }
    }

    fn flag(&self, scene: &Scene<'_>) -> Option<bool> {
        match self.value(scene)? {
            Value::Flag(flag) => Some(flag),
            Value::Number(_) | Value::Text(_) => None,
        }
    }

    fn number(&self, scene: &Scene<'_>) -> Option<i64> {
        match self.value(scene)? {
            Value::Number(parts) => Some(parts),
            Value::Flag(_) | Value::Text(_) => None,
        }
    }
}

fn binary(operator: Operator, pair: &[Node; 2], scene: &Scene<'_>) -> Option<Value> {
    let [left, right] = pair;
    let flag = |flag| Some(Value::Flag(flag));
    match operator {
        // One side may decide alone, whichever it is.
        Operator::And | Operator::Or => {
            let decides = operator == Operator::Or;
            match (left.flag(scene), right.flag(scene)) {
                (Some(one), _) | (_, Some(one)) if one == decides => flag(decides),
                (Some(_), Some(_)) => flag(!decides),
                _ => None,
            }
        }
        Operator::Equal | Operator::Unequal => {
            let is_equal = match (left.value(scene)?, right.value(scene)?) {
                (Value::Number(a), Value::Number(b)) => a == b,
                (Value::Text(a), Value::Text(b)) => a == b,
                (Value::Flag(a), Value::Flag(b)) => a == b,
                _ => return None,
            };
            flag(is_equal == (operator == Operator::Equal))
        }
        _ => {
            let (a, b) = (left.number(scene)?, right.number(scene)?);
            let (wide_a, wide_b, parts) = (i128::from(a), i128::from(b), i128::from(PARTS));
            let number = |wide: i128| Some(Value::Number(i64::try_from(wide).ok()?));
            match operator {
                Operator::Less => flag(a < b),
                Operator::AtMost => flag(a <= b),
                Operator::Above => flag(a > b),
                Operator::AtLeast => flag(a >= b),
                Operator::Plus => number(wide_a + wide_b),
                Operator::Minus => number(wide_a - wide_b),
                Operator::Times => number(wide_a * wide_b / parts),
                Operator::Over if b == 0 => None,
                Operator::Over => number(wide_a * parts / wide_b),
                Operator::And | Operator::Or | Operator::Equal | Operator::Unequal => None,
            }
        }
    }
}
