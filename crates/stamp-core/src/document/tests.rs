//! Environment variables over a file; words of mistakes that no file of ours shows elsewhere.

use super::*;
use crate::as_written;
use crate::diagnostic::SourceText;

as_written! {
    /// A file.
    struct RawFile {
        /// The version.
        pub version: Version,
        /// A table.
        pub admin: RawAdmin = {},
        /// A list.
        pub list: Vec<Count<1, 9>> = [],
    }

    /// A table.
    struct RawAdmin {
        /// An address.
        pub bind: Written<String> = "127.0.0.1:9900",
        /// A wait.
        pub wait: Lasting<0> = "5s",
        /// A size.
        pub size: Bytes<0, 99_999> = "64KiB",
        /// A truth.
        pub is_on: bool = true,
    }
}

fn read(text: &str, variables: &[(&str, &str)]) -> Result<RawFile, String> {
    let mut report = Report::new(SourceText { path: "file.toml".into(), text: text.into() });
    let pairs = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let environment = Environment::new(pairs);
    let tree = open(text, &mut report);
    let file = tree.and_then(|mut tree| {
        environment.lay_over(&mut tree, &mut report);
        super::read::<RawFile>(tree, &mut report)
    });
    if !report.has_errors() {
        return Ok(file.unwrap());
    }
    let findings = report.finish();
    let told = findings.errors.iter().map(|error| {
        let source = &findings.sources[error.source];
        let marked = source.text.get(error.span.clone()).unwrap();
        format!("{}: <{marked}> {}", source.path.display(), error.message)
    });
    Err(told.collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_variable_wins_over_the_file() {
    let text = "version = 1\n[admin]\nbind = \"a\"\nwait = \"1s\"\n";
    let file = read(text, &[("STAMPGATE__ADMIN__BIND", "127.0.0.1:9901")]).unwrap();
    assert_eq!((file.version, &*file.admin.bind.value), (Version, "127.0.0.1:9901"));
    assert_eq!(file.admin.wait.0, std::time::Duration::from_secs(1));
}

#[test]
fn a_variable_is_toml_where_it_can_be_and_text_where_text_belongs() {
    let file = read(
        "version = 1\n",
        &[
            ("STAMPGATE__ADMIN__BIND", "9901"),
            ("STAMPGATE__ADMIN__SIZE", "0"),
            ("STAMPGATE__ADMIN__IS_ON", "false"),
            ("STAMPGATE__ADMIN__WAIT", "\"9s\""),
            ("STAMPGATE__LIST", "[1, 2]"),
        ],
    )
    .unwrap();
    assert_eq!(file.admin.bind.value, "9901");
    assert_eq!(file.admin.size.0, 0);
    assert!(!file.admin.is_on);
    assert_eq!(file.admin.wait.0, std::time::Duration::from_secs(9));
    assert_eq!(file.list, [Count(1), Count(2)]);
}

#[test]
fn mistakes_in_variables_point_into_the_environment() {
    let told = read(
        "version = 1\nlist = [0]\n",
        &[
            ("STAMPGATE__ADMIN__WAIT", "soon"),
            ("STAMPGATE__ADMIN__BNID", "x"),
            ("STAMPGATE__VERSION__X", "1"),
            ("STAMPGATE__ADMIN__", "1"),
            ("OTHER", "1"),
            ("STAMPGATE_CONFIG", "1"),
        ],
    )
    .unwrap_err();
    assert_eq!(
        told,
        "file.toml: <0> 0 is out of range\n\
         environment: <STAMPGATE__ADMIN__> this variable names no key\n\
         environment: <STAMPGATE__ADMIN__BNID> unknown key `bnid`\n\
         environment: <soon> `soon`: no number at the front\n\
         environment: <STAMPGATE__VERSION__X> `version` is no table that has keys of its own"
    );
}

#[test]
fn a_variable_cannot_make_the_file_another_version() {
    let told = read("version = 1\n", &[("STAMPGATE__VERSION", "2")]).unwrap_err();
    assert_eq!(told, "environment: <2> unknown version");
}

#[test]
fn the_schema_is_made_of_the_declaration() {
    let schema = file_schema::<RawFile>("a file");
    assert_eq!(schema["required"], json!(["version"]));
    assert_eq!(schema["additionalProperties"], json!(false));
    let wait = &schema["properties"]["admin"]["properties"]["wait"];
    assert_eq!(wait["default"], json!("5s"));
    assert_eq!(wait["description"], json!("A wait."));
    let items = &schema["properties"]["list"]["items"];
    assert_eq!((&items["minimum"], &items["maximum"]), (&json!(1), &json!(9)));
}

#[test]
fn so_many_mistakes_are_counted_in_the_end() {
    let list = vec!["0"; 1500].join(", ");
    let mut report = Report::new(SourceText { path: "f".into(), text: "".into() });
    let text = format!("version = 1\nlist = [{list}]\n");
    let tree = open(&text, &mut report).unwrap();
    let _file = super::read::<RawFile>(tree, &mut report);
    let findings = report.finish();
    let last = &findings.errors.last().unwrap().message;
    assert_eq!(last, "and 500 more mistakes, of which this is the last");
}
