//! Words and operators of label selectors.

use std::fmt;

/// A token of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A key, a value, `in` or `notin`.
    Identifier(String),
    Comma,
    Open,
    Close,
    Equals,
    NotEquals,
    Not,
    Greater,
    Less,
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identifier(text) => text,
            Self::Comma => ",",
            Self::Open => "(",
            Self::Close => ")",
            Self::Equals => "=",
            Self::NotEquals => "!=",
            Self::Not => "!",
            Self::Greater => ">",
            Self::Less => "<",
            Self::End => "",
        })
    }
}

/// Reads tokens off a text.
pub(super) struct Lexer<'a> {
    rest: &'a str,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }

    /// The next token without taking it.
    pub(super) fn peek(&self) -> Token {
        self.next_token().0
    }

    /// Takes the next token.
    pub(super) fn take(&mut self) -> Token {
        let (token, rest) = self.next_token();
        self.rest = rest;
        token
    }

    fn next_token(&self) -> (Token, &'a str) {
        let text = self.rest.trim_start();
        for (symbol, token) in [
            ("!=", Token::NotEquals),
            ("==", Token::Equals),
            ("=", Token::Equals),
            ("!", Token::Not),
            (",", Token::Comma),
            ("(", Token::Open),
            (")", Token::Close),
            (">", Token::Greater),
            ("<", Token::Less),
        ] {
            if let Some(rest) = text.strip_prefix(symbol) {
                return (token, rest);
            }
        }
        let end = text
            .find(|character: char| character.is_whitespace() || "=!(),<>".contains(character))
            .unwrap_or(text.len());
        if end == 0 {
            (Token::End, "")
        } else {
            (Token::Identifier(text[..end].into()), &text[end..])
        }
    }
}
