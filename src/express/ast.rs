//! What expressions are made of.

use std::fmt;

use crate::item::Attr;

/// A step below an attribute.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathStep {
    /// An entry of a map.
    Field(String),
    /// An element of a list.
    Index(usize),
}

/// A document path: an attribute, and the steps below it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// The attribute.
    pub attribute: String,
    /// The steps.
    pub steps: Vec<PathStep>,
}

impl Path {
    /// The path of an attribute itself.
    pub fn attribute(name: impl Into<String>) -> Self {
        Path {
            attribute: name.into(),
            steps: Vec::new(),
        }
    }
}

/// As refusals show it: `[m, a, [0]]`.
impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}", self.attribute)?;
        for step in &self.steps {
            match step {
                PathStep::Field(name) => write!(f, ", {name}")?,
                PathStep::Index(index) => write!(f, ", [{index}]")?,
            }
        }
        f.write_str("]")
    }
}

/// What a condition compares.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// What is at a path.
    Path(Path),
    /// A value of the request.
    Value(Attr),
    /// The size of what is at a path.
    Size(Path),
    /// The size of a value of the request.
    SizeOf(Attr),
}

impl Operand {
    /// The path, if it is one and nothing more.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Operand::Path(path) => Some(path),
            Operand::Value(_) | Operand::Size(_) | Operand::SizeOf(_) => None,
        }
    }
}

/// How two operands are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // the signs say it
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// Its sign.
    pub fn sign(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::NotEqual => "<>",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    /// The comparison of a sign.
    pub(super) fn of(sign: &str) -> Option<Self> {
        let all = [
            Comparison::Equal,
            Comparison::NotEqual,
            Comparison::Less,
            Comparison::LessOrEqual,
            Comparison::Greater,
            Comparison::GreaterOrEqual,
        ];
        all.into_iter().find(|comparison| comparison.sign() == sign)
    }
}

/// A condition or a filter.
#[derive(Clone, Debug, PartialEq)]
pub enum ConditionExpression {
    /// All of them hold.
    And(Vec<ConditionExpression>),
    /// One of them holds.
    Or(Vec<ConditionExpression>),
    /// It doesn't hold.
    Not(Box<ConditionExpression>),
    /// One operand compared with another one.
    Compare(Operand, Comparison, Operand),
    /// The first one lies between the others, both included.
    Between(Operand, Operand, Operand),
    /// The first one equals one of the others.
    In(Operand, Vec<Operand>),
    /// There is something at the path.
    Exists(Path),
    /// There is nothing at the path.
    NotExists(Path),
    /// What is at the path has the type of this name.
    HasType(Path, String),
    /// The first one begins with the second one.
    BeginsWith(Operand, Operand),
    /// The first one contains the second one.
    Contains(Operand, Operand),
}
