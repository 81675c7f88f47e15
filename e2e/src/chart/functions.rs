//! The template functions of Helm and Sprig that the chart uses, with Go's argument order (the piped value comes last).
//!
//! A function that is missing here is an error when the template is parsed, never a silent blank.

use std::sync::{Arc, OnceLock};

use gotmpl::{Result, Template, TemplateError, Value, ValueFunc};

/// The functions by name. `include` executes templates of `helpers`, which is filled in after it is parsed.
pub(super) fn library(
    helpers: &Arc<OnceLock<Template>>,
) -> std::collections::BTreeMap<String, ValueFunc> {
    let helpers = Arc::downgrade(helpers);
    let include = move |args: &[Value]| {
        let [name, data] = exactly("include", args)?;
        let set = helpers
            .upgrade()
            .ok_or_else(|| failed("include: the templates are gone"))?;
        let set = set
            .get()
            .ok_or_else(|| failed("include: the templates are not parsed yet"))?;
        set.execute_template_to_string(text("include", name)?, data)
            .map(string)
    };
    let functions: [(&str, ValueFunc); 12] = [
        ("include", Arc::new(include)),
        ("default", Arc::new(default)),
        ("required", Arc::new(required)),
        ("quote", Arc::new(quote)),
        ("trunc", Arc::new(trunc)),
        ("trimSuffix", Arc::new(trim_suffix)),
        ("contains", Arc::new(contains)),
        ("replace", Arc::new(replace)),
        ("indent", Arc::new(indent)),
        ("nindent", Arc::new(nindent)),
        ("toYaml", Arc::new(to_yaml)),
        ("int", Arc::new(int)),
    ];
    functions
        .into_iter()
        .map(|(name, function)| (name.to_owned(), function))
        .collect()
}

fn string(text: impl AsRef<str>) -> Value {
    Value::String(text.as_ref().into())
}

fn failed(message: impl Into<String>) -> TemplateError {
    TemplateError::Exec(message.into())
}

fn exactly<'a, const N: usize>(function: &str, args: &'a [Value]) -> Result<&'a [Value; N]> {
    args.try_into().map_err(|_| {
        failed(format!(
            "{function} takes {N} arguments, not {}",
            args.len()
        ))
    })
}

fn text<'a>(function: &str, value: &'a Value) -> Result<&'a str> {
    value
        .as_str()
        .ok_or_else(|| failed(format!("{function} wants text, not {}", value.type_name())))
}

fn count(function: &str, value: &Value) -> Result<usize> {
    let number = value
        .as_int()
        .and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| failed(format!("{function} wants a number, not {value}")))
}

fn default(args: &[Value]) -> Result<Value> {
    let [fallback, value] = exactly("default", args)?;
    Ok(if value.is_truthy() {
        value.clone()
    } else {
        fallback.clone()
    })
}

fn required(args: &[Value]) -> Result<Value> {
    let [message, value] = exactly("required", args)?;
    if matches!(value, Value::Nil) || value.as_str() == Some("") {
        return Err(failed(text("required", message)?));
    }
    Ok(value.clone())
}

fn quote(args: &[Value]) -> Result<Value> {
    let [value] = exactly("quote", args)?;
    Ok(string(format!("{:?}", value.to_string())))
}

fn trunc(args: &[Value]) -> Result<Value> {
    let [length, value] = exactly("trunc", args)?;
    let length = count("trunc", length)?;
    Ok(string(
        text("trunc", value)?
            .chars()
            .take(length)
            .collect::<String>(),
    ))
}

fn trim_suffix(args: &[Value]) -> Result<Value> {
    let [suffix, value] = exactly("trimSuffix", args)?;
    let value = text("trimSuffix", value)?;
    Ok(string(
        value
            .strip_suffix(text("trimSuffix", suffix)?)
            .unwrap_or(value),
    ))
}

fn contains(args: &[Value]) -> Result<Value> {
    let [needle, value] = exactly("contains", args)?;
    Ok(Value::Bool(
        text("contains", value)?.contains(text("contains", needle)?),
    ))
}

fn replace(args: &[Value]) -> Result<Value> {
    let [old, new, value] = exactly("replace", args)?;
    Ok(string(
        text("replace", value)?.replace(text("replace", old)?, text("replace", new)?),
    ))
}

fn indent(args: &[Value]) -> Result<Value> {
    let [spaces, value] = exactly("indent", args)?;
    let margin = " ".repeat(count("indent", spaces)?);
    Ok(string(format!(
        "{margin}{}",
        text("indent", value)?.replace('\n', &format!("\n{margin}"))
    )))
}

fn nindent(args: &[Value]) -> Result<Value> {
    Ok(string(format!("\n{}", indent(args)?)))
}

fn to_yaml(args: &[Value]) -> Result<Value> {
    let [value] = exactly("toYaml", args)?;
    let yaml = serde_yaml::to_string(&to_json(value)?)
        .map_err(|error| failed(format!("toYaml: {error}")))?;
    Ok(string(yaml.trim_end_matches('\n')))
}

fn int(args: &[Value]) -> Result<Value> {
    let [value] = exactly("int", args)?;
    Ok(match value {
        Value::Float(number) => Value::Int(*number as i64),
        Value::Uint(number) => Value::Int(i64::try_from(*number).unwrap_or(i64::MAX)),
        other => Value::Int(other.as_int().unwrap_or(0)),
    })
}

fn to_json(value: &Value) -> Result<serde_json::Value> {
    use serde_json::Value as Json;
    Ok(match value {
        Value::Nil => Json::Null,
        Value::Bool(flag) => Json::from(*flag),
        Value::Int(number) => Json::from(*number),
        Value::Uint(number) => Json::from(*number),
        Value::Float(number) => Json::from(*number),
        Value::String(text) => Json::from(&**text),
        Value::List(items) => items.iter().map(to_json).collect::<Result<_>>()?,
        Value::Map(entries) => {
            let entries = entries
                .iter()
                .map(|(key, value)| Ok((key.to_string(), to_json(value)?)));
            Json::Object(entries.collect::<Result<_>>()?)
        }
        Value::Function(_) => return Err(failed("toYaml: a function has no YAML")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(source: &str) -> String {
        let helpers: Arc<OnceLock<Template>> = Arc::default();
        let data =
            gotmpl::to_value(&serde_json::json!({"a": {"b": [1, "x"], "c": true}, "n": 3.0}))
                .unwrap();
        Template::new("t")
            .funcs(library(&helpers))
            .parse(source)
            .unwrap()
            .execute_to_string(&data)
            .unwrap()
    }

    #[test]
    fn functions_answer_as_sprig_does() {
        assert_eq!(call(r#"{{ default "x" "" }}{{ default "x" "y" }}"#), "xy");
        assert_eq!(
            call(r#"{{ "abc-" | trunc 4 | trimSuffix "-" | quote }}"#),
            r#""abc""#
        );
        assert_eq!(
            call(r#"{{ contains "b" "abc" }} {{ replace "+" "_" "1+2" }}"#),
            "true 1_2"
        );
        assert_eq!(call("{{ int .n }}{{ gt (int .n) 1 }}"), "3true");
        assert_eq!(
            call("x:{{ toYaml .a | nindent 2 }}"),
            "x:\n  b:\n  - 1\n  - x\n  c: true"
        );
    }

    #[test]
    fn an_unknown_function_is_an_error() {
        let helpers: Arc<OnceLock<Template>> = Arc::default();
        let parsed = Template::new("t")
            .funcs(library(&helpers))
            .parse("{{ lookup 1 }}");
        assert!(
            parsed
                .and_then(|set| set.execute_to_string(&Value::Nil))
                .is_err()
        );
    }
}
