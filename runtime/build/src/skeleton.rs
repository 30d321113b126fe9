//! The beginning of a function, from what its view takes and gives.

use std::fmt::Write as _;

use galley_types::{ScalarType, ValueType};
use serde_json::{Map, Value, json};

use crate::Language;
use crate::scaffold::{NewProject, ViewColumns};
use crate::types::type_tag;

/// A column as a language sees it.
struct Column<'a> {
    /// Its name in the registry.
    name: &'a str,
    /// A name the language takes, the same where it can be.
    identifier: String,
    value_type: ValueType,
}

/// Words that are no names in one of the languages.
const RESERVED: &str = " as async await box break case catch class const continue crate debugger \
    def default del delete do dyn elif else enum except export extends extern false final finally \
    fn for from function gen global if impl import in instanceof is lambda let loop macro match \
    mod move mut new nonlocal not null or and assert None True False override package pass priv \
    private protected pub public raise ref return self Self static struct super switch this throw \
    trait true try type typeof unsafe unsized use var virtual void where while with yield \
    interface implements abstract become final arguments eval request transform \
    float int bool str bytes list set dict datetime ";

/// The file of the function. It compiles as it is, and gives nulls.
pub(crate) fn function(project: &NewProject<'_>, columns: &ViewColumns<'_>) -> String {
    let view = project.view;
    let inputs = named(
        columns
            .inputs
            .iter()
            .map(|(name, value_type)| (name.as_str(), *value_type)),
    );
    let outputs = named(columns.outputs.iter().copied());
    match project.language {
        Language::Rust => rust(view, &inputs, &outputs),
        Language::Python => python(project, &inputs, &outputs),
        Language::JavaScript => javascript(view, &inputs, &outputs, false),
        Language::TypeScript => javascript(view, &inputs, &outputs, true),
    }
}

/// One golden row with a value for every input, and what the function gives before it is written.
pub(crate) fn golden(columns: &ViewColumns<'_>) -> String {
    let input: Map<String, Value> = columns
        .inputs
        .iter()
        .map(|(name, value_type)| (name.clone(), sample(*value_type)))
        .collect();
    let expected: Map<String, Value> = columns
        .outputs
        .iter()
        .map(|(name, _)| ((*name).to_owned(), Value::Null))
        .collect();
    let (input, expected) = (Value::Object(input), Value::Object(expected));
    format!("{{\"input\": {input}, \"expected\": {expected}}}\n")
}

fn named<'a>(columns: impl Iterator<Item = (&'a str, ValueType)>) -> Vec<Column<'a>> {
    let mut named: Vec<Column<'a>> = Vec::new();
    for (name, value_type) in columns {
        let mut identifier: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        if !identifier.starts_with(|c: char| c.is_ascii_alphabetic()) {
            identifier.insert_str(0, "x_");
        }
        if RESERVED.contains(&format!(" {identifier} ")) {
            identifier.push('_');
        }
        // Ends: every name that is taken is one of those before.
        while named.iter().any(|other| other.identifier == identifier) {
            identifier.push('_');
        }
        named.push(Column {
            name,
            identifier,
            value_type,
        });
    }
    named
}

/// The attribute that gives a Rust argument or field the name it has in the registry.
fn rust_name(column: &Column<'_>) -> String {
    match column.identifier == column.name {
        true => String::new(),
        false => format!("#[name({:?})] ", column.name),
    }
}

fn rust(name: &str, inputs: &[Column<'_>], outputs: &[Column<'_>]) -> String {
    let mut text = format!(
        "//! The on-demand feature view `{name}`.\n\n/// What the view serves.\n\
         #[derive(Debug, PartialEq, galley::Outputs)]\npub struct Features {{\n"
    );
    for output in outputs {
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "    /// What the view calls `{}`.\n    {}pub {}: Option<{}>,",
            output.name,
            rust_name(output),
            output.identifier,
            rust_type(output.value_type, false)
        );
    }
    text.push_str(
        "}\n\n/// The arguments are the view's inputs. A row with a null in one that is not an `Option` never\n\
         /// gets here: its outputs are null.\n",
    );
    let _ = writeln!(text, "#[galley::transform(name = {name:?})]");
    text.push_str("pub fn transform(\n");
    for input in inputs {
        let _ = writeln!(
            text,
            "    {}{}: {},",
            rust_name(input),
            input.identifier,
            rust_type(input.value_type, true)
        );
    }
    text.push_str(") -> Features {\n    // Here the function is to be written.\n");
    let used: Vec<&str> = inputs
        .iter()
        .map(|input| input.identifier.as_str())
        .collect();
    let used = match used.as_slice() {
        [one] => (*one).to_owned(),
        many => format!("({})", many.join(", ")),
    };
    let _ = writeln!(text, "    let _ = {used};\n    Features {{");
    for output in outputs {
        let _ = writeln!(text, "        {}: None,", output.identifier);
    }
    text.push_str("    }\n}\n");
    text
}

fn rust_type(value_type: ValueType, borrowed: bool) -> String {
    let scalar = |scalar: ScalarType, borrowed: bool| match scalar {
        ScalarType::Bool => "bool",
        ScalarType::Int32 => "i32",
        ScalarType::Int64 => "i64",
        ScalarType::Float => "f32",
        ScalarType::Double => "f64",
        ScalarType::UnixTimestamp => "galley::Timestamp",
        ScalarType::Bytes if borrowed => "&[u8]",
        ScalarType::Bytes => "Vec<u8>",
        _ if borrowed => "&str",
        _ => "String",
    };
    match value_type {
        ValueType::Scalar(of) => scalar(of, borrowed).to_owned(),
        ValueType::List(of) | ValueType::Set(of) => match of {
            ScalarType::Int32 | ScalarType::Int64 | ScalarType::Float | ScalarType::Double
                if borrowed =>
            {
                format!("&[{}]", scalar(of, false))
            }
            _ => format!("Vec<{}>", scalar(of, false)),
        },
        _ => scalar(ScalarType::String, borrowed).to_owned(),
    }
}

fn python(project: &NewProject<'_>, inputs: &[Column<'_>], outputs: &[Column<'_>]) -> String {
    let types: Vec<String> = inputs
        .iter()
        .chain(outputs)
        .map(|column| python_type(column.value_type))
        .collect();
    let uses = |word: &str| {
        types
            .iter()
            .any(|name| name.split(['[', ']']).any(|part| part == word))
    };
    let NewProject { name, view, .. } = project;
    let mut text = format!("\"\"\"The on-demand feature view `{name}`.\"\"\"\n\n");
    for (word, module) in [
        ("datetime", "datetime"),
        ("Decimal", "decimal"),
        ("UUID", "uuid"),
    ] {
        if uses(word) {
            let _ = writeln!(text, "from {module} import {word}");
        }
    }
    let mut ours = vec!["transform"];
    ours.extend(["Float32", "Int32"].into_iter().filter(|word| uses(word)));
    ours.sort_unstable();
    if text.ends_with("\"\"\"\n\n") {
        let _ = writeln!(text, "from galley_transform import {}\n\n", ours.join(", "));
    } else {
        let _ = writeln!(
            text,
            "\nfrom galley_transform import {}\n\n",
            ours.join(", ")
        );
    }
    let _ = writeln!(text, "@transform(\n    name={view:?},\n    outputs={{");
    for output in outputs {
        let _ = writeln!(
            text,
            "        {:?}: {},",
            output.name,
            python_type(output.value_type)
        );
    }
    text.push_str("    },\n");
    let renamed: Vec<String> = inputs
        .iter()
        .filter(|input| input.identifier != input.name)
        .map(|input| format!("{:?}: {:?}", input.identifier, input.name))
        .collect();
    if !renamed.is_empty() {
        let _ = writeln!(text, "    inputs={{{}}},", renamed.join(", "));
    }
    let _ = writeln!(text, ")\ndef {name}(");
    for input in inputs {
        let _ = writeln!(
            text,
            "    {}: {},",
            input.identifier,
            python_type(input.value_type)
        );
    }
    text.push_str(
        "):\n    \"\"\"The arguments are the view's inputs. A row with a null in one whose type is not `.. | None`\n    \
         never gets here: its outputs are null.\"\"\"\n    # Here the function is to be written.\n    return {\n",
    );
    for output in outputs {
        let _ = writeln!(text, "        {:?}: None,", output.name);
    }
    text.push_str("    }\n");
    text
}

fn python_type(value_type: ValueType) -> String {
    let scalar = |scalar: ScalarType| match scalar {
        ScalarType::Bool => "bool",
        ScalarType::Int32 => "Int32",
        ScalarType::Int64 => "int",
        ScalarType::Float => "Float32",
        ScalarType::Double => "float",
        ScalarType::UnixTimestamp => "datetime",
        ScalarType::Bytes => "bytes",
        ScalarType::Json => "dict",
        ScalarType::Uuid | ScalarType::TimeUuid => "UUID",
        ScalarType::Decimal => "Decimal",
        ScalarType::String | ScalarType::ZonedTimestamp => "str",
    };
    match value_type {
        ValueType::Scalar(of) => scalar(of).to_owned(),
        ValueType::List(of) => format!("list[{}]", scalar(of)),
        ValueType::Set(of) => format!("set[{}]", scalar(of)),
        _ => "dict".to_owned(),
    }
}

fn javascript(name: &str, inputs: &[Column<'_>], outputs: &[Column<'_>], is_typed: bool) -> String {
    let mut text = format!("// The on-demand feature view `{name}`.\n\n");
    let row = if is_typed {
        text.push_str("import type { Transform } from \"./galley.d.ts\";\n\n");
        let describe = |text: &mut String, what: &str, columns: &[Column<'_>]| {
            let _ = writeln!(text, "type {what} = {{");
            for column in columns {
                let null = if what == "Outputs" { " | null" } else { "" };
                let _ = writeln!(
                    text,
                    "  {:?}: {}{null};",
                    column.name,
                    typescript_type(column.value_type)
                );
            }
            text.push_str("};\n\n");
        };
        describe(&mut text, "Inputs", inputs);
        describe(&mut text, "Outputs", outputs);
        "  row(input: Inputs): Outputs {\n"
    } else {
        "  row(input) {\n"
    };
    let _ = writeln!(
        text,
        "export default {{\n  name: {name:?},\n  version: \"0.1.0\","
    );
    for (what, columns) in [("inputs", inputs), ("outputs", outputs)] {
        let _ = writeln!(text, "  {what}: {{");
        for column in columns {
            let _ = writeln!(
                text,
                "    {:?}: {:?},",
                column.name,
                javascript_tag(column.value_type)
            );
        }
        text.push_str("  },\n");
    }
    text.push_str(
        "\n  // Rows with a null in an input whose type does not end in ? never get here.\n",
    );
    text.push_str(row);
    text.push_str("    // Here the function is to be written.\n    void input;\n    return {\n");
    for output in outputs {
        let _ = writeln!(text, "      {:?}: null,", output.name);
    }
    text.push_str("    };\n  },\n}");
    text.push_str(if is_typed {
        " satisfies Transform<Inputs, Outputs>;\n"
    } else {
        ";\n"
    });
    text
}

fn javascript_tag(value_type: ValueType) -> String {
    let tag = type_tag(value_type).replace("set:", "list:");
    ["uuid", "decimal", "zoned"]
        .iter()
        .fold(tag, |tag, text| tag.replace(text, "string"))
}

fn typescript_type(value_type: ValueType) -> String {
    let scalar = |scalar: ScalarType| match scalar {
        ScalarType::Bool => "boolean",
        ScalarType::Int32
        | ScalarType::Int64
        | ScalarType::Float
        | ScalarType::Double
        | ScalarType::UnixTimestamp => "number",
        ScalarType::Bytes => "Uint8Array",
        ScalarType::Json => "unknown",
        _ => "string",
    };
    match value_type {
        ValueType::Scalar(of) => scalar(of).to_owned(),
        ValueType::List(of) | ValueType::Set(of) => format!("{}[]", scalar(of)),
        _ => "unknown".to_owned(),
    }
}

/// A value as golden rows write it.
fn sample(value_type: ValueType) -> Value {
    let scalar = |scalar: ScalarType| match scalar {
        ScalarType::Bool => json!(true),
        ScalarType::Int32 | ScalarType::Int64 => json!(1),
        ScalarType::Float | ScalarType::Double => json!(0.5),
        ScalarType::UnixTimestamp => json!("2026-03-01T12:00:00Z"),
        ScalarType::Bytes => json!("AAE="),
        ScalarType::String => json!("text"),
        ScalarType::Json => json!({}),
        ScalarType::Uuid | ScalarType::TimeUuid => json!("00000000-0000-1000-8000-000000000000"),
        ScalarType::Decimal => json!("1.5"),
        ScalarType::ZonedTimestamp => json!("2026-03-01T12:00:00+01:00[Europe/Berlin]"),
    };
    match value_type {
        ValueType::Scalar(of) => scalar(of),
        ValueType::List(of) | ValueType::Set(of) => json!([scalar(of)]),
        ValueType::MapList | ValueType::StructList | ValueType::ValueList | ValueType::ValueSet => {
            json!([])
        }
        ValueType::Map | ValueType::Struct | ValueType::ScalarMap => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_language_does_not_take_are_renamed_and_kept_in_the_signature() {
        let double = ValueType::Scalar(ScalarType::Double);
        let columns = ViewColumns {
            inputs: vec![
                ("type".to_owned(), double),
                ("2nd rate".to_owned(), double),
                ("x_2nd_rate".to_owned(), double),
            ],
            outputs: vec![("a-b", ValueType::List(ScalarType::String))],
        };
        let written = |language| {
            let project = NewProject {
                name: "view",
                view: "the \"view\"",
                language,
                columns: None,
            };
            function(&project, &columns)
        };
        let rust = written(Language::Rust);
        for part in [
            "#[galley::transform(name = \"the \\\"view\\\"\")]",
            "#[name(\"type\")] type_: f64",
            "#[name(\"2nd rate\")] x_2nd_rate: f64",
            "#[name(\"x_2nd_rate\")] x_2nd_rate_: f64",
            "#[name(\"a-b\")] pub a_b: Option<Vec<String>>",
        ] {
            assert!(rust.contains(part), "{part} is not in\n{rust}");
        }
        let python = written(Language::Python);
        assert!(python.contains("inputs={\"type_\": \"type\""), "{python}");
        assert!(python.contains("\"a-b\": list[str],"), "{python}");
        assert!(python.contains("def view("), "{python}");
        assert!(python.contains("name=\"the \\\"view\\\"\""), "{python}");
        let script = written(Language::TypeScript);
        assert!(script.contains("\"a-b\": \"list:string\","), "{script}");
        assert!(script.contains("\"2nd rate\": number;"), "{script}");
        assert_eq!(
            golden(&columns),
            "{\"input\": {\"2nd rate\":0.5,\"type\":0.5,\"x_2nd_rate\":0.5}, \"expected\": {\"a-b\":null}}\n"
        );
    }
}
