//! The `df` of a push: what `pandas.DataFrame` makes of a dict, as columns of one length.

use std::borrow::Cow;
use std::collections::HashMap;

use galley_node::{Frame, Input};
use galley_types::ErrorKind;

use crate::failure::Failure;
use crate::json::VALUES_MAX;

type Entries<'a> = Vec<(Cow<'a, str>, Input<'a>)>;

/// Columns from lists, from objects that are aligned by their keys, or from lists and single values
/// that are repeated for each row. Lists of several lengths are for the node to refuse.
///
/// # Errors
/// 400 with pandas' words when there is no telling how many rows there are; 413 when filling up
/// would make more values than a body may hold.
pub(super) fn frame(df: Entries<'_>) -> Result<Frame<'_>, Failure> {
    let (mut lists, mut objects) = (0, 0);
    for (_, column) in &df {
        match column {
            Input::List(_) => lists += 1,
            Input::Object(_) => objects += 1,
            _ => {}
        }
    }
    if df.is_empty() {
        return Ok(Vec::new());
    }
    match (lists, objects) {
        (0, 0) => Err(refused(
            "If using all scalar values, you must pass an index",
        )),
        (_, 0) => from_lists(df),
        (0, _) => from_objects(df),
        (_, _) => Err(refused(
            "df mixes lists and objects; give all columns as lists of one length",
        )),
    }
}

fn refused(message: &str) -> Failure {
    Failure::refused(ErrorKind::Invalid, message)
}

/// A short body can stand for very many values: each of its columns for each of its rows.
fn check_size(rows: usize, columns: usize) -> Result<(), Failure> {
    let values = rows.saturating_mul(columns);
    if values <= VALUES_MAX {
        return Ok(());
    }
    let message = format!(
        "df stands for {values} values ({rows} rows, {columns} columns), over the limit of \
         {VALUES_MAX}; send it in smaller requests"
    );
    Err(Failure::refused(ErrorKind::TooLarge, &message))
}

fn from_lists(df: Entries<'_>) -> Result<Frame<'_>, Failure> {
    let rows = df.iter().find_map(|(_, column)| match column {
        Input::List(items) => Some(items.len()),
        _ => None,
    });
    let rows = rows.unwrap_or(0);
    if df
        .iter()
        .any(|(_, column)| !matches!(column, Input::List(_)))
    {
        check_size(rows, df.len())?;
    }
    let columns = df
        .into_iter()
        .map(|(name, column)| match column {
            Input::List(items) => (name, items),
            single => (name, vec![single; rows]),
        })
        .collect();
    Ok(columns)
}

/// Rows are the keys in the order of their first appearance; a column without a row's key is null
/// there.
fn from_objects(df: Entries<'_>) -> Result<Frame<'_>, Failure> {
    let mut rows: HashMap<Cow<'_, str>, usize> = HashMap::new();
    for (_, column) in &df {
        if let Input::Object(entries) = column {
            for (key, _) in entries {
                let next = rows.len();
                rows.entry(key.clone()).or_insert(next);
            }
        }
    }
    check_size(rows.len(), df.len())?;
    let columns = df
        .into_iter()
        .map(|(name, column)| match column {
            Input::Object(entries) => {
                let mut items = vec![Input::Null; rows.len()];
                for (key, value) in entries {
                    if let Some(item) = rows.get(&key).and_then(|row| items.get_mut(*row)) {
                        *item = value;
                    }
                }
                (name, items)
            }
            single => (name, vec![single; rows.len()]),
        })
        .collect();
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{Spare, parse_tree};

    fn check(df: &str, expected: &str) {
        let spare = Spare::default();
        let Input::Object(entries) = parse_tree(df.as_bytes(), &spare).unwrap() else {
            panic!("not an object")
        };
        let shown = match frame(entries) {
            Ok(columns) => {
                let columns = columns
                    .into_iter()
                    .map(|(name, items)| (name, Input::List(items)));
                let mut out = Vec::new();
                crate::json::write_input(&Input::Object(columns.collect()), &mut out);
                String::from_utf8(out).unwrap()
            }
            Err(failure) => failure.status().as_u16().to_string(),
        };
        assert_eq!(shown, expected, "{df}");
    }

    #[test]
    fn frames_are_read_as_pandas_reads_them() {
        check("{}", "{}");
        check(
            r#"{"a":[1,2],"b":["x","y"]}"#,
            r#"{"a":[1,2],"b":["x","y"]}"#,
        );
        check(r#"{"a":[],"b":[]}"#, r#"{"a":[],"b":[]}"#);
        check(
            r#"{"a":{"0":1,"1":2},"b":{"1":4,"0":3}}"#,
            r#"{"a":[1,2],"b":[3,4]}"#,
        );
        check(
            r#"{"a":{"0":1},"b":{"1":4}}"#,
            r#"{"a":[1,null],"b":[null,4]}"#,
        );
        check(r#"{"a":[1,2],"b":5}"#, r#"{"a":[1,2],"b":[5,5]}"#);
        check(r#"{"a":1,"b":2}"#, "400");
        check(r#"{"a":[1],"b":{"0":2}}"#, "400");
        let wide: String = (0..2001).map(|n| format!(",\"c{n}\":1")).collect();
        let keys: String = (0..1000).map(|n| format!("\"{n}\":1,")).collect();
        check(&format!("{{\"a\":[{}1]{wide}}}", "1,".repeat(999)), "413");
        check(&format!("{{\"a\":{{{keys}\"x\":1}}{wide}}}"), "413");
        check(r#"{"a":[[1,2],[3]]}"#, r#"{"a":[[1,2],[3]]}"#);
    }
}
