//! Label and field selectors in their text form and, for labels, in the form of `LabelSelector`.

mod fields;
mod lexer;

use std::collections::BTreeMap;

use serde_json::Value;

pub use self::fields::{FieldRequirement, FieldSelector};
use self::lexer::{Lexer, Token};

/// A conjunction of requirements on labels; the empty one selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    operator: Operator,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl LabelSelector {
    /// Parses the text form: `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`.
    ///
    /// # Errors
    /// Kubernetes's text of what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut lexer = Lexer::new(text);
        let mut requirements = vec![];
        if lexer.peek() == Token::End {
            return Ok(Self(requirements));
        }
        loop {
            requirements.push(
                requirement(&mut lexer)
                    .map_err(|why| format!("unable to parse requirement: {why}"))?,
            );
            match lexer.take() {
                Token::Comma if matches!(lexer.peek(), Token::Identifier(_) | Token::Not) => {}
                Token::Comma => {
                    return Err(format!(
                        "found '{}', expected: identifier after ','",
                        lexer.peek()
                    ));
                }
                Token::End => return Ok(Self(requirements)),
                other => return Err(format!("found '{other}', expected: ',' or 'end of string'")),
            }
        }
    }

    /// Reads a `LabelSelector` object; `None` selects nothing, an empty object everything.
    #[must_use]
    pub fn from_object(selector: &Value) -> Option<Self> {
        let mut requirements = vec![];
        for (key, value) in selector
            .as_object()?
            .get("matchLabels")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let values = vec![value.as_str().unwrap_or_default().to_owned()];
            requirements.push(Requirement {
                key: key.clone(),
                operator: Operator::In(values),
            });
        }
        for expression in selector["matchExpressions"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let texts = expression["values"].as_array().into_iter().flatten();
            let values = texts.filter_map(Value::as_str).map(String::from).collect();
            let operator = match expression["operator"].as_str()? {
                "In" => Operator::In(values),
                "NotIn" => Operator::NotIn(values),
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::Absent,
                _ => return None,
            };
            requirements.push(Requirement {
                key: expression["key"].as_str()?.to_owned(),
                operator,
            });
        }
        Some(Self(requirements))
    }

    /// Whether it selects everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<&str, &str>) -> bool {
        self.0
            .iter()
            .all(|requirement| requirement.matches(labels.get(requirement.key.as_str()).copied()))
    }
}

impl std::fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by(|left, right| left.key.cmp(&right.key));
        let texts: Vec<String> = sorted.into_iter().map(Requirement::text).collect();
        f.write_str(&texts.join(","))
    }
}

impl Requirement {
    fn matches(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.operator {
            Operator::In(values) => {
                value.is_some_and(|value| values.iter().any(|allowed| allowed == value))
            }
            Operator::NotIn(values) => {
                value.is_none_or(|value| values.iter().all(|refused| refused != value))
            }
            Operator::Exists => value.is_some(),
            Operator::Absent => value.is_none(),
            Operator::Greater(bound) => number().is_some_and(|number| number > *bound),
            Operator::Less(bound) => number().is_some_and(|number| number < *bound),
        }
    }

    fn text(&self) -> String {
        let key = &self.key;
        match &self.operator {
            Operator::In(values) if values.len() == 1 => format!("{key}={}", values[0]),
            Operator::In(values) => format!("{key} in ({})", values.join(",")),
            Operator::NotIn(values) if values.len() == 1 => format!("{key}!={}", values[0]),
            Operator::NotIn(values) => format!("{key} notin ({})", values.join(",")),
            Operator::Exists => key.clone(),
            Operator::Absent => format!("!{key}"),
            Operator::Greater(bound) => format!("{key}>{bound}"),
            Operator::Less(bound) => format!("{key}<{bound}"),
        }
    }
}

fn requirement(lexer: &mut Lexer<'_>) -> Result<Requirement, String> {
    let negated = lexer.peek() == Token::Not;
    if negated {
        lexer.take();
    }
    let key = identifier(lexer.take())?;
    if negated {
        return Ok(Requirement {
            key,
            operator: Operator::Absent,
        });
    }
    let operator = match lexer.peek() {
        Token::End | Token::Comma => Operator::Exists,
        Token::Equals => {
            lexer.take();
            Operator::In(vec![value(lexer)?])
        }
        Token::NotEquals => {
            lexer.take();
            Operator::NotIn(vec![value(lexer)?])
        }
        Token::Greater => {
            lexer.take();
            Operator::Greater(number(&value(lexer)?)?)
        }
        Token::Less => {
            lexer.take();
            Operator::Less(number(&value(lexer)?)?)
        }
        Token::Identifier(word) if word == "in" => {
            lexer.take();
            Operator::In(values(lexer)?)
        }
        Token::Identifier(word) if word == "notin" => {
            lexer.take();
            Operator::NotIn(values(lexer)?)
        }
        other => {
            return Err(format!(
                "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
            ));
        }
    };
    Ok(Requirement { key, operator })
}

fn identifier(token: Token) -> Result<String, String> {
    match token {
        Token::Identifier(text) => Ok(text),
        other => Err(format!("found '{other}', expected: identifier")),
    }
}

/// A value may be empty: `a=` and `a=,b=c` are allowed.
fn value(lexer: &mut Lexer<'_>) -> Result<String, String> {
    match lexer.peek() {
        Token::End | Token::Comma => Ok(String::new()),
        _ => identifier(lexer.take()),
    }
}

fn number(text: &str) -> Result<i64, String> {
    text.parse()
        .map_err(|_| format!("for 'Gt', 'Lt' operators, the value must be an integer: \"{text}\""))
}

fn values(lexer: &mut Lexer<'_>) -> Result<Vec<String>, String> {
    match lexer.take() {
        Token::Open => {}
        other => return Err(format!("found '{other}' expected: '('")),
    }
    let mut values = vec![];
    loop {
        match lexer.take() {
            Token::Identifier(text) => values.push(text),
            Token::Close => return Ok(values),
            Token::Comma => {}
            other => return Err(format!("found '{other}', expected: ',', ')' or identifier")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(selector: &str, labels: &[(&'static str, &'static str)]) -> bool {
        LabelSelector::parse(selector)
            .unwrap()
            .matches(&labels.iter().copied().collect())
    }

    #[test]
    fn every_operator_selects() {
        let labels = [("app", "b"), ("n", "2")];
        for selector in [
            "",
            "app=b",
            "app==b",
            "app!=a",
            "n in (1,2)",
            "n notin (3)",
            "app",
            "!x",
            "x!=1",
            "n>1",
            "n<3",
            "app=b,n",
        ] {
            assert!(selects(selector, &labels), "{selector}");
        }
        for selector in [
            "app=a",
            "app!=b",
            "n in (1)",
            "n notin (2)",
            "x",
            "!app",
            "n>2",
            "app=b,x",
            "app=",
        ] {
            assert!(!selects(selector, &labels), "{selector}");
        }
    }

    #[test]
    fn a_third_equals_sign_is_refused_in_kubernetes_words() {
        let error = LabelSelector::parse("a===b").unwrap_err();
        assert_eq!(
            error,
            "unable to parse requirement: found '=', expected: identifier"
        );
    }

    #[test]
    fn an_object_form_selects_and_prints_like_the_text_form() {
        let selector = json!({"matchLabels": {"b": "1"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]});
        let selector = LabelSelector::from_object(&selector).unwrap();
        assert_eq!(selector.to_string(), "a,b=1");
    }
}
