#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use super::*;

fn n(text: &str) -> Attr {
    Attr::N(text.into())
}

fn s(text: &str) -> Attr {
    Attr::S(text.into())
}

fn item() -> Item {
    let inner = Attr::M(vec![("c".into(), s("d"))]);
    Item::from([
        ("s".into(), s("abé€😀")),
        ("n".into(), n("5")),
        ("b".into(), Attr::B(vec![1, 2])),
        ("t".into(), Attr::Bool(true)),
        (
            "l".into(),
            Attr::L(vec![n("1"), s("x"), Attr::L(vec![n("9")])]),
        ),
        (
            "m".into(),
            Attr::M(vec![("a".into(), n("1")), ("b".into(), inner)]),
        ),
        ("ss".into(), Attr::Ss(vec!["a".into(), "b".into()])),
        ("ns".into(), Attr::Ns(vec!["1".into(), "2.0".into()])),
    ])
}

/// `:v` is 5, `:w` is 9, `:s` a text, `:l` a list, `:z` a set.
fn placeholders() -> Placeholders {
    let values = BTreeMap::from([
        (":v".into(), n("5.0")),
        (":w".into(), n("9")),
        (":s".into(), s("b")),
        (":l".into(), Attr::L(vec![n("3")])),
        (":z".into(), Attr::Ss(vec!["b".into(), "c".into()])),
        (":t".into(), Attr::Bool(true)),
    ]);
    let names = BTreeMap::from([("#n".into(), "n".into()), ("#0".into(), "name".into())]);
    Placeholders::new(names, values).expect("written rightly")
}

fn holds(text: &str) -> Result<bool, String> {
    let given = placeholders();
    let condition =
        ConditionExpression::parse(text, &given).map_err(|error| error.message().to_owned())?;
    // What is printed says the same.
    let mut printer = Printer::default();
    let printed = printer.condition(&condition);
    let again = Placeholders::new(printer.names(), printer.values()).expect("its own");
    let same = ConditionExpression::parse(&printed, &again).expect(&printed);
    assert_eq!(same, condition, "{printed}");
    Ok(condition.holds(Some(&item())))
}

#[test]
fn conditions_hold_as_the_service_says() {
    let true_ones = [
        "n = :v",
        "n <> :s",
        "q <> :v",
        "NOT q < :v",
        "n<=:v",
        "l[0] < :v",
        "size(s) > :v",
        "size (l) < :v",
        "contains(s, :s)",
        "contains(ss, :s)",
        "begins_with(s, m.a) or n = :v",
        "attribute_exists(m.b.c)",
        "attribute_not_exists(l[9])",
        "n between :v AND :w",
        ":v BETWEEN n and n",
        "n IN (:s, :v)",
        "not q in (:v)",
        "(n = :v)",
        "((n = :v) and (n=:v))",
        "n = (:v)",
        "(n) = (:v)",
        "not not n = :v",
        "n = :v or n = :v and q = :v",
        "n=:v\tAND\nn=:v",
        "n BETWEEN :v AND :v AND n = :v",
        "m . a < :v",
        "l [0] < :v",
        "#n = :v",
        "attribute_exists((n))",
        "size(s) <> size(l)",
        "contains(l, m.a)",
    ];
    for text in true_ones {
        assert_eq!(holds(text), Ok(true), "{text}");
    }
    let false_ones = [
        "q = :v",
        "q < :v",
        "n < :s",
        "t < :v",
        "size(n) = :v",
        "contains(n, :v)",
        "begins_with(n, :s)",
        "attribute_exists(s.x)",
        "attribute_exists(m[0])",
        "q in (:v)",
        "not(n = :v)",
        "m.a.b.c = :v",
        "#0 = :v",
        "contains(ss, :z)",
        "n = :v and (q = :v or q = :w)",
    ];
    for text in false_ones {
        assert_eq!(holds(text), Ok(false), "{text}");
    }
}

#[test]
fn refusals_have_the_words_of_the_service() {
    let cases = [
        ("", "The expression can not be empty;"),
        (
            "n = :v AND",
            "Syntax error; token: \"<EOF>\", near: \"AND\"",
        ),
        ("n == :v", "Syntax error; token: \"=\", near: \"== :v\""),
        ("n != :v", "Syntax error; token: \"!\", near: \"n !=\""),
        ("n = 5", "Syntax error; token: \"5\", near: \"= 5\""),
        ("n-x = :v", "Syntax error; token: \"-\", near: \"n-x\""),
        ("_n = :v", "Syntax error; token: \"_\", near: \"_n\""),
        ("l[00] = :v", "Syntax error; token: \"0\", near: \"00]\""),
        ("l[-1] = :v", "Syntax error; token: \"-\", near: \"[-1\""),
        ("n in ()", "Syntax error; token: \")\", near: \"()\""),
        ("n", "Syntax error; token: \"<EOF>\", near: \"n\""),
        ("((n = :v))", "The expression has redundant parentheses;"),
        (
            "(((n = :v) and n=:v))",
            "The expression has redundant parentheses;",
        ),
        (
            "name = :v",
            "Attribute name is a reserved keyword; reserved keyword: name",
        ),
        ("foo(n)", "Invalid function name; function: foo"),
        (
            "ATTRIBUTE_EXISTS(n)",
            "Invalid function name; function: ATTRIBUTE_EXISTS",
        ),
        (
            "#x = :v",
            "An expression attribute name used in the document path is not defined; attribute name: #x",
        ),
        (
            "n = :x",
            "An expression attribute value used in expression is not defined; attribute value: :x",
        ),
        (
            "n = n",
            "The first operand must be distinct from the remaining operands for this operator or function; operator: \
             =, first operand: [n]",
        ),
        (
            "n < :t",
            "Incorrect operand type for operator or function; operator or function: <, operand type: BOOL",
        ),
        (
            "n between :w and :v",
            "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound \
             operand: AttributeValue: {N:9}, upper bound operand: AttributeValue: {N:5.0}",
        ),
        (
            "begins_with(s, size(l))",
            "Incorrect operand type for operator or function; operator or function: begins_with, operand type: N",
        ),
        (
            "attribute_exists(:v)",
            "Operator or function requires a document path; operator or function: attribute_exists",
        ),
        (
            "attribute_exists(n, n)",
            "Incorrect number of operands for operator or function; operator or function: attribute_exists, number \
             of operands: 2",
        ),
        (
            "attribute_type(n, :s)",
            "Invalid attribute type name found; type: b, valid types: {S,N,B,SS,NS,BS,BOOL,NULL,L,M}",
        ),
        (
            "size(s)",
            "The function is not allowed to be used this way in an expression; function: size",
        ),
        (
            "l[99999999999] = :v",
            "List index is not within the allowable range; index: [99999999999]",
        ),
    ];
    for (text, words) in cases {
        assert_eq!(holds(text), Err(words.to_owned()), "{text}");
    }
}

#[test]
fn placeholders_that_are_not_used_are_refused() {
    let given = placeholders();
    ConditionExpression::parse("#n = :v and n <> :s", &given).expect("right");
    let error = given.refuse_unused().expect_err("some are left");
    assert_eq!(
        error.message(),
        "Value provided in ExpressionAttributeNames unused in expressions: keys: {#0}"
    );
    assert!(
        Placeholders::new(
            BTreeMap::from([("#a-b".into(), "n".into())]),
            BTreeMap::new()
        )
        .is_err()
    );
    assert!(Placeholders::new(BTreeMap::new(), BTreeMap::from([("v".into(), n("1"))])).is_err());
}

/// What an update changes: attributes with their new values, or without one where they are gone.
fn updated(text: &str) -> Result<Vec<(String, Option<Attr>)>, String> {
    let given = placeholders();
    let words = |error: crate::error::Error| error.message().to_owned();
    let update = UpdateExpression::parse(text, &given).map_err(words)?;
    let before = item();
    let after = update.apply(Some(&before)).map_err(words)?;
    let mut printer = Printer::default();
    let printed = printer.update(&update);
    let again = Placeholders::new(printer.names(), printer.values()).expect("its own");
    let same = UpdateExpression::parse(&printed, &again).expect(&printed);
    assert_eq!(
        same.apply(Some(&before)).map_err(words)?,
        after,
        "{printed}"
    );
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let mut changes: Vec<(String, Option<Attr>)> = gone.map(|name| (name.clone(), None)).collect();
    let changed = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(value));
    changes.extend(changed.map(|(name, value)| (name.clone(), Some(value.clone()))));
    Ok(changes)
}

#[test]
fn updates_do_what_the_service_does() {
    let set = |name: &str, value: Attr| Ok(vec![(name.to_owned(), Some(value))]);
    assert_eq!(updated("SET n = n + :w"), set("n", n("14")));
    assert_eq!(updated("set n = (:w - n)"), set("n", n("4")));
    assert_eq!(updated("SET n = (n) + (:w)"), set("n", n("14")));
    assert_eq!(
        updated("SET n = if_not_exists(q, :w) + :w"),
        set("n", n("18"))
    );
    assert_eq!(updated("SET n = if_not_exists(n, :w)"), Ok(vec![]));
    assert_eq!(
        updated("SET q=if_not_exists(q, if_not_exists(r, :w))"),
        set("q", n("9"))
    );
    assert_eq!(
        updated("SET q = list_append(if_not_exists(q,:l), :l)"),
        set("q", Attr::L(vec![n("3"), n("3")]))
    );
    let list = |more: &[Attr]| {
        let mut all = vec![n("1"), s("x"), Attr::L(vec![n("9")])];
        all.extend(more.iter().cloned());
        Attr::L(all)
    };
    assert_eq!(
        updated("SET l[9]=:w, l[7] = :s"),
        set("l", list(&[s("b"), n("9")]))
    );
    assert_eq!(
        updated("SET l[2][5] = :s"),
        set(
            "l",
            Attr::L(vec![n("1"), s("x"), Attr::L(vec![n("9"), s("b")])])
        )
    );
    assert_eq!(
        updated("REMOVE l[0], l[1]"),
        set("l", Attr::L(vec![Attr::L(vec![n("9")])]))
    );
    assert_eq!(
        updated("REMOVE l[0] SET l[1] = :w"),
        set("l", Attr::L(vec![n("9"), Attr::L(vec![n("9")])]))
    );
    assert_eq!(updated("REMOVE s"), Ok(vec![("s".into(), None)]));
    assert_eq!(updated("REMOVE q, m.z, l[9]"), Ok(vec![]));
    assert_eq!(updated("ADD n :w"), set("n", n("14")));
    assert_eq!(updated("ADD q :w"), set("q", n("9")));
    assert_eq!(
        updated("ADD ss :z"),
        set("ss", Attr::Ss(vec!["a".into(), "b".into(), "c".into()]))
    );
    assert_eq!(
        updated("DELETE ss :z"),
        set("ss", Attr::Ss(vec!["a".into()]))
    );
    assert_eq!(updated("DELETE q :z"), Ok(vec![]));
    assert_eq!(
        updated("REMOVE n ADD x :w SET s=:w"),
        Ok(vec![
            ("n".into(), None),
            ("s".into(), Some(n("9"))),
            ("x".into(), Some(n("9")))
        ])
    );
}

#[test]
fn updates_are_refused_with_the_words_of_the_service() {
    let invalid = "The document path provided in the update expression is invalid for update";
    let mistyped = "An operand in the update expression has an incorrect data type";
    let missing = "The provided expression refers to an attribute that does not exist in the item";
    let cases = [
        ("SET m.z.y = :v", invalid),
        ("SET q.y = :v", invalid),
        ("SET s.x = :v", invalid),
        ("SET m[0] = :v", invalid),
        ("SET l.x = :v", invalid),
        ("REMOVE q.x", invalid),
        ("REMOVE l[9].x", invalid),
        ("REMOVE m[0]", invalid),
        ("SET n = s + :v", mistyped),
        ("SET l = list_append(l, s)", mistyped),
        ("ADD s :v", mistyped),
        ("ADD ss :v", mistyped),
        ("DELETE s :z", mistyped),
        ("SET n = q + :v", missing),
        ("SET q = x", missing),
        ("SET n = if_not_exists(n, x)", missing),
        (
            "SET n = n + :v + :v",
            "Syntax error; token: \"+\", near: \":v + :v\"",
        ),
        (
            "SET n = ((n + :v))",
            "The expression has redundant parentheses;",
        ),
        (
            "SET q = ((:v))",
            "The expression has redundant parentheses;",
        ),
        (
            "SET n=:v SET q=:v",
            "The \"SET\" section can only be used once in an update expression;",
        ),
        (
            "SET m.a=:v, m=:v",
            "Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [m, a], \
             path two: [m]",
        ),
        (
            "SET m.a=:v, m[0]=:v",
            "Two document paths conflict with each other; must remove or rewrite one of these paths; path one: [m, \
             a], path two: [m, [0]]",
        ),
        (
            "SET q = if_not_exists(n, n)",
            "The first operand must be distinct from the remaining operands for this operator or function; operator: \
             if_not_exists, first operand: [n]",
        ),
        (
            "SET q = size(s)",
            "The function is not allowed in an update expression; function: size",
        ),
        (
            "SET n = n + :s",
            "Incorrect operand type for operator or function; operator or function: +, operand type: S",
        ),
        (
            "ADD n :s",
            "Incorrect operand type for operator or function; operator: ADD, operand type: STRING, typeSet: \
             ALLOWED_FOR_ADD_OPERAND",
        ),
        (
            "SET l=list_append(l,list_append(l,l))",
            "The function is not allowed to be used this way in an expression; function: list_append",
        ),
        ("SET", "Syntax error; token: \"<EOF>\", near: \"SET\""),
        ("ADD n n", "Syntax error; token: \"n\", near: \"n n\""),
    ];
    for (text, words) in cases {
        assert_eq!(updated(text), Err(words.to_owned()), "{text}");
    }
}

#[test]
fn a_projection_keeps_parts() {
    let of = |text: &str| {
        Projection::parse(text, &placeholders())
            .expect(text)
            .of(&item())
    };
    let m = |entries: Vec<(&str, Attr)>| {
        Attr::M(
            entries
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        )
    };
    assert_eq!(of("n, q"), Item::from([("n".into(), n("5"))]));
    assert_eq!(
        of("m.b"),
        Item::from([("m".into(), m(vec![("b", m(vec![("c", s("d"))]))]))])
    );
    assert_eq!(
        of("l[2], l[0]"),
        Item::from([("l".into(), Attr::L(vec![n("1"), Attr::L(vec![n("9")])]))])
    );
    assert_eq!(of("m.z, s.x, l[9]"), Item::new());
    for wrong in ["n,", "n,n", "m,m.a", "m.a,m[0]", "n s", "add"] {
        assert!(
            Projection::parse(wrong, &placeholders()).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn a_key_condition_names_a_partition_and_a_part_of_it() {
    let of = |text: &str| KeyCondition::parse(text, &placeholders(), "n", Some("s"));
    assert_eq!(of("n = :v").expect("right").sort, None);
    let sort = |text: &str| of(text).expect(text).sort;
    assert_eq!(
        sort("n = :v and s > :s"),
        Some(SortCondition::Is(Comparison::Greater, s("b")))
    );
    assert_eq!(
        sort("(begins_with(s, :s)) and (#n = :v)"),
        Some(SortCondition::BeginsWith(s("b")))
    );
    assert_eq!(
        sort("s between :s and :s AND n = :v"),
        Some(SortCondition::Between(s("b"), s("b")))
    );
    let wrong = [
        "s = :s",
        "n > :v",
        "n = :v or s = :s",
        "n = :v and q = :v",
        "n = :v and s <> :s",
        "n = :v and s = :s and s > :s",
        "n = :v and not s = :s",
        "n.a = :v",
        "n = s",
        "begins_with(n, :s)",
        "n = :v and s in (:s)",
        ":v = n",
    ];
    for text in wrong {
        assert!(of(text).is_err(), "{text}");
    }
}

#[test]
fn legacy_parameters_become_expressions() {
    let test = |attribute: &str, operator: &str, values: Vec<Attr>| legacy::Test {
        attribute: attribute.into(),
        operator: operator.into(),
        values,
    };
    let holds = |tests: Vec<legacy::Test>, any: bool| {
        let condition = legacy::filter(tests, any).expect("right").expect("one");
        condition.holds(Some(&item()))
    };
    assert!(holds(vec![test("n", "EQ", vec![n("5")])], false));
    assert!(holds(vec![test("q", "NE", vec![n("5")])], false));
    assert!(!holds(vec![test("q", "NOT_CONTAINS", vec![n("5")])], false));
    assert!(holds(vec![test("n", "NOT_CONTAINS", vec![n("5")])], false));
    assert!(holds(
        vec![test("q", "NULL", vec![]), test("n", "NULL", vec![])],
        true
    ));
    assert!(!holds(
        vec![test("q", "NULL", vec![]), test("n", "NULL", vec![])],
        false
    ));
    for wrong in [
        test("n", "EQ", vec![]),
        test("n", "NULL", vec![n("1")]),
        test("n", "FOO", vec![n("1")]),
        test("n", "LT", vec![Attr::Bool(true)]),
        test("n", "BETWEEN", vec![n("9"), n("1")]),
    ] {
        assert!(
            legacy::filter(vec![wrong.clone()], false).is_err(),
            "{wrong:?}"
        );
    }
    let expected =
        |expectation: legacy::Expectation| legacy::expected([("n".to_owned(), expectation)], false);
    let absent = legacy::Expectation {
        exists: Some(false),
        ..legacy::Expectation::default()
    };
    let absent = expected(absent).expect("right").expect("one");
    assert!(absent.holds(None) && !absent.holds(Some(&item())));
    assert!(expected(legacy::Expectation::default()).is_err());

    let change = |action: &str, value: Option<Attr>| {
        let change = legacy::AttributeUpdate {
            action: Some(action.into()),
            value,
        };
        legacy::attribute_updates([("l".to_owned(), change)])
    };
    let longer = change("ADD", Some(Attr::L(vec![n("7")])))
        .expect("right")
        .apply(Some(&item()))
        .expect("fits");
    assert!(matches!(longer.get("l"), Some(Attr::L(all)) if all.len() == 4));
    assert!(change("ADD", Some(s("x"))).is_err());
    assert!(change("PUT", None).is_err());
    assert!(change("DELETE", Some(n("1"))).is_err());
    let key =
        legacy::key_conditions(vec![test("n", "EQ", vec![n("1")])], "n", None).expect("right");
    assert_eq!(key.partition, n("1"));
}

#[test]
fn an_expression_is_bounded() {
    let parse = |text: &str| ConditionExpression::parse(text, &placeholders());
    assert!(
        parse(&format!("{}n = :v", " ".repeat(4_091))).is_err(),
        "over 4 KB"
    );
    assert!(parse(&format!("{}n = :v{}", "(".repeat(1_500), ")".repeat(1_500))).is_err());
    assert!(parse(&format!("{}n = :v", "not ".repeat(900))).is_err());
    let many = |count: usize| vec!["n=:v"; count].join(" or ");
    assert!(parse(&many(150)).is_ok(), "299 operators");
    assert!(parse(&many(152)).is_err(), "303 operators");
    let deep = vec!["a"; 33].join(".");
    assert!(parse(&format!("{deep} = :v")).is_err());
}

mod random {
    use proptest::prelude::*;

    use super::*;

    fn words() -> impl Strategy<Value = String> {
        let pieces = prop::sample::select(vec![
            "n",
            "s",
            "#n",
            ":v",
            ":s",
            ":z",
            "(",
            ")",
            "[",
            "]",
            ".",
            ",",
            "=",
            "<",
            ">=",
            "<>",
            "+",
            "-",
            "0",
            "7",
            "and",
            "OR",
            "not",
            "between",
            "in",
            "SET",
            "remove",
            "ADD",
            "delete",
            "size(",
            "contains(",
            "if_not_exists(",
            "list_append(",
            "attribute_exists(",
            "begins_with(",
            " ",
            "é",
            "'",
            "name",
            "#",
            ":",
        ]);
        prop::collection::vec(pieces, 0..40).prop_map(|pieces| pieces.join(" "))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Nothing that is typed makes it panic or hang, and what it takes it prints and takes again.
        #[test]
        fn anything_is_taken_or_refused(text in prop_oneof![words(), ".{0,60}"]) {
            let _ = holds(&text);
            let _ = updated(&text);
            let _ = Projection::parse(&text, &placeholders());
            let _ = KeyCondition::parse(&text, &placeholders(), "n", Some("s"));
        }
    }
}
