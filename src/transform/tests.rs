#![allow(clippy::unwrap_used)]

use sha2::{Digest, Sha256};

use super::fingerprint::{FORMAT, Hashing};
use super::*;
use crate::codec::text;
use crate::model::{Key, Value};
use crate::schema::{Order, Type, Udt};
use std::sync::Arc;

fn column(name: &str, ty: Type, role: Role) -> Column {
    Column {
        name: name.into(),
        frozen: matches!(role, Role::Partition | Role::Clustering(_)),
        ty,
        role,
    }
}

fn old() -> Table {
    Table::new(
        "users",
        vec![
            column("id", Type::Text, Role::Partition),
            column("at", Type::Int, Role::Clustering(Order::Asc)),
            column("age", Type::Int, Role::Regular),
            column("email", Type::Text, Role::Regular),
            column("photo", Type::Blob, Role::Regular),
        ],
    )
}

fn row() -> Row {
    Row::new(
        Key::row(vec![Value::text("u1")], vec![Value::Int(5)]),
        vec![
            Some(Value::Int(40)),
            Some(Value::text("a@b.c")),
            Some(Value::Blob(vec![1])),
        ],
    )
}

type Rules = BTreeMap<String, ColumnRule>;

fn rules<const N: usize>(rules: [(&str, ColumnRule); N]) -> Rules {
    rules.map(|(name, rule)| (name.to_owned(), rule)).into()
}

fn rename(name: &str) -> ColumnRule {
    ColumnRule {
        rename: Some(name.into()),
        ..ColumnRule::default()
    }
}

fn mask(mask: Mask) -> ColumnRule {
    ColumnRule {
        mask: Some(mask),
        ..ColumnRule::default()
    }
}

fn dropped() -> ColumnRule {
    ColumnRule {
        drop: true,
        ..ColumnRule::default()
    }
}

fn transform(rules: &Rules, expiry: Option<ExpiryFrom>) -> Result<Transform> {
    let expiry = expiry.map(|from| ExpiryRule {
        attribute: "expires_at".into(),
        from,
    });
    let layout = Layout::default();
    Transform::new(
        &old(),
        rules,
        expiry.as_ref(),
        Some(&Secret::new("secret")),
        "app-users",
        layout,
    )
}

#[test]
fn without_rules_a_row_stays_as_it_is() {
    let transform = transform(&Rules::new(), None).unwrap();
    assert!(transform.moves_nothing);
    assert_eq!(transform.apply(row()).unwrap(), row());
    assert_eq!(transform.target().name, "app-users");
    assert_eq!(transform.target().columns, old().columns);
}

#[test]
fn columns_are_renamed_dropped_and_masked() {
    let rules = rules([
        ("age", rename("years")),
        ("email", mask(Mask::Hmac)),
        ("photo", dropped()),
        ("id", rename("user")),
    ]);
    let transform = transform(&rules, None).unwrap();
    let names: Vec<_> = transform
        .target()
        .columns
        .iter()
        .map(|c| c.name.as_str())
        .collect();
    assert_eq!(names, ["user", "at", "email", "years"]);
    let new = transform.apply(row()).unwrap();
    assert_eq!(new.key, row().key);
    // HMAC-SHA256 of a@b.c under `secret`, as any other program computes it.
    let masked = "0ce3629b4ac1ef1367b15f9d7659135a1c8663659b98cfd72c175d86612f7879";
    assert_eq!(new.cells, [Some(Value::text(masked)), Some(Value::Int(40))]);
}

#[test]
fn a_name_may_move_from_one_column_to_another() {
    let rules = rules([("email", dropped()), ("photo", rename("email"))]);
    let new = transform(&rules, None).unwrap().apply(row()).unwrap();
    assert_eq!(
        new.cells,
        [Some(Value::Int(40)), Some(Value::Blob(vec![1]))]
    );
}

#[test]
fn keys_can_be_masked_and_stay_apart() {
    let transform = transform(&rules([("id", mask(Mask::Hmac))]), None).unwrap();
    let key = |id: &str| {
        let mut row = row();
        row.key.partition = vec![Value::text(id)];
        transform.apply(row).unwrap().key
    };
    assert_ne!(key("a"), key("b"));
    assert_eq!(key("a"), key("a"));
    assert_eq!(key("a").clustering, row().key.clustering);
}

#[test]
fn values_are_replaced_and_converted() {
    let constant = ColumnRule {
        constant: Some("nobody".into()),
        ..ColumnRule::default()
    };
    let convert = ColumnRule {
        convert: Some(Convert::Text),
        ..rename("years")
    };
    let transform = transform(&rules([("email", constant), ("age", convert)]), None).unwrap();
    let years = transform
        .target()
        .columns
        .iter()
        .find(|c| c.name == "years");
    assert_eq!(years.unwrap().ty, Type::Text);
    let mut cells = transform.apply(row()).unwrap().cells;
    cells.sort_by_key(|cell| format!("{cell:?}"));
    for wanted in [Value::text("nobody"), Value::text("40")] {
        assert!(cells.contains(&Some(wanted)), "{cells:?}");
    }
    let changes: Vec<_> = transform
        .changes()
        .iter()
        .map(|(_, words)| words.as_str())
        .collect();
    assert_eq!(changes, ["convert = \"text\"", "constant = \"nobody\""]);
}

#[test]
fn values_that_would_lose_keys_or_dont_fit_are_refused() {
    let with = |change: fn(&mut ColumnRule)| {
        let mut rule = ColumnRule::default();
        change(&mut rule);
        rule
    };
    for (column, rule, wanted) in [
        (
            "id",
            with(|rule| rule.constant = Some("x".into())),
            "id can't be a constant",
        ),
        (
            "at",
            with(|rule| rule.convert = Some(Convert::Text)),
            "at can't be converted",
        ),
        (
            "age",
            with(|rule| rule.mask = Some(Mask::Digits)),
            "is for text and ascii",
        ),
        (
            "age",
            with(|rule| rule.constant = Some("x".into())),
            "no constant \"x\"",
        ),
        (
            "email",
            with(|rule| rule.convert = Some(Convert::Seconds)),
            "is for int, bigint",
        ),
        (
            "email",
            with(|rule| {
                rule.mask = Some(Mask::Redact);
                rule.constant = Some("x".into());
            }),
            "keep one of them",
        ),
        (
            "at",
            with(|rule| rule.form = Some(Form::Text)),
            "key column at can't have a form",
        ),
        (
            "email",
            with(|rule| rule.form = Some(Form::Text)),
            "is for varint, decimal",
        ),
        (
            "age",
            with(|rule| rule.form = Some(Form::Number)),
            "is for decimal",
        ),
        (
            "age",
            with(|rule| {
                rule.form = Some(Form::Text);
                rule.convert = Some(Convert::Text);
            }),
            "keep one of them",
        ),
    ] {
        let error = transform(&rules([(column, rule)]), None).unwrap_err();
        assert!(error.message().contains(wanted), "{wanted}: {error}");
    }
}

#[test]
fn a_form_is_of_the_attribute_and_not_of_the_value() {
    let form = ColumnRule {
        form: Some(Form::Text),
        ..rename("years")
    };
    let transform = transform(&rules([("age", form)]), None).unwrap();
    let forms = &transform.target().layout.forms;
    assert_eq!(*forms, [("years".to_owned(), Form::Text)].into());
    let mut cells = transform.apply(row()).unwrap().cells;
    assert!(cells.contains(&Some(Value::Int(40))), "{cells:?}");
    cells.retain(|cell| !row().cells.contains(cell));
    assert_eq!(cells, []);
    assert!(transform.changes().is_empty(), "there is a way back");
}

#[test]
fn redacted_values_say_nothing_and_null_stays_null() {
    let rules = rules([("email", mask(Mask::Redact)), ("photo", mask(Mask::Redact))]);
    let transform = transform(&rules, None).unwrap();
    let mut old = row();
    old.cells[2] = None;
    let new = transform.apply(old).unwrap();
    assert_eq!(new.cells[1..], [Some(Value::text("[redacted]")), None]);
}

#[test]
fn rules_that_lose_keys_or_make_no_sense_are_refused_together() {
    let rules = rules([
        ("id", dropped()),
        ("at", mask(Mask::Hmac)),
        ("age", rename("email")),
        ("emial", dropped()),
        (
            "photo",
            ColumnRule {
                rename: Some("p".into()),
                ..dropped()
            },
        ),
    ]);
    let error = transform(&rules, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Config);
    for part in [
        "id can't be dropped",
        "at is of type int",
        "both be called email",
        "no column emial, only id, at, age, email, photo",
        "photo is dropped, so",
    ] {
        assert!(error.message().contains(part), "{part}: {error}");
    }
    let error = transform(&self::rules([("id", mask(Mask::Redact))]), None).unwrap_err();
    assert!(error.message().contains("can't be redacted"), "{error}");
    let hmac = self::rules([("email", mask(Mask::Hmac))]);
    for key in [None, Some(&Secret::new(""))] {
        let error = Transform::new(&old(), &hmac, None, key, "t", Layout::default()).unwrap_err();
        assert!(error.message().contains("needs a key"), "{error}");
    }
}

#[test]
fn the_expiry_attribute_is_part_of_the_layout() {
    let transform = transform(&Rules::new(), Some(ExpiryFrom::Max)).unwrap();
    assert_eq!(
        transform.target().layout.expiry_attribute.as_deref(),
        Some("expires_at")
    );
}

#[test]
fn the_fingerprint_tells_mappings_apart() {
    let with_udt = |fields: &[&str]| {
        let fields = fields
            .iter()
            .map(|name| ((*name).to_owned(), Type::Int))
            .collect();
        let udt = Arc::new(Udt {
            name: "u".into(),
            fields,
        });
        let mut table = old();
        table.columns.push(column(
            "v",
            Type::List(Box::new(Type::Udt(udt))),
            Role::Regular,
        ));
        table
    };
    let made = Layout {
        sort_attribute: Some("sk".into()),
        ..Layout::default()
    };
    let max = ExpiryRule {
        attribute: "ttl".into(),
        from: ExpiryFrom::Max,
    };
    let min = ExpiryRule {
        from: ExpiryFrom::Min,
        ..max.clone()
    };
    let none = Rules::new();
    let hmac = rules([("email", mask(Mask::Hmac))]);
    let redact = rules([("email", mask(Mask::Redact))]);
    let constant = |text: &str| {
        let rule = ColumnRule {
            constant: Some(text.into()),
            ..ColumnRule::default()
        };
        rules([("email", rule)])
    };
    let priced = |form| {
        let mut table = old();
        let price = column("price", Type::Decimal, Role::Regular);
        table.columns.push(price);
        let rule = ColumnRule {
            form,
            ..ColumnRule::default()
        };
        (table, rules([("price", rule)]))
    };
    let forms = [None, Some(Form::Text), Some(Form::Number)].map(priced);
    let plain = Layout::default;
    let print = |old: &Table, rules: &Rules, expiry, key: &str, layout| {
        let transform = Transform::new(old, rules, expiry, Some(&Secret::new(key)), "t", layout);
        transform.unwrap().fingerprint()
    };
    let mut prints = vec![
        print(&old(), &none, None, "a", plain()),
        print(&old(), &none, None, "a", made),
        print(&old(), &none, Some(&max), "a", plain()),
        print(&old(), &none, Some(&min), "a", plain()),
        print(&old(), &hmac, None, "a", plain()),
        print(&old(), &hmac, None, "b", plain()),
        print(&old(), &redact, None, "a", plain()),
        print(
            &old(),
            &rules([("email", mask(Mask::Email))]),
            None,
            "a",
            plain(),
        ),
        print(
            &old(),
            &rules([("email", mask(Mask::Email))]),
            None,
            "b",
            plain(),
        ),
        print(&old(), &constant("x"), None, "a", plain()),
        print(&old(), &constant("y"), None, "a", plain()),
        print(&with_udt(&["a"]), &none, None, "a", plain()),
        print(&with_udt(&["a", "b"]), &none, None, "a", plain()),
    ];
    let priced = forms.iter();
    prints.extend(priced.map(|(table, rules)| print(table, rules, None, "a", plain())));
    let first = prints[0];
    assert_eq!(print(&old(), &none, None, "unused key", plain()), first);
    let silent = rules([("email", ColumnRule::default())]);
    assert_eq!(print(&old(), &silent, None, "a", plain()), first);
    // It is kept in control records, so it must never change by itself.
    assert_eq!(
        text::hex(&first),
        "9a42cf1f6fd18e40afae69a6d68e42d28c34b51b3e715edcc123124a4909b1d0"
    );
    prints.sort_unstable();
    let all = prints.len();
    prints.dedup();
    assert_eq!(prints.len(), all);
}

/// Sort keys of what holds others were bytes in no order once: a migration that has begun with such keys must
/// not go on with others.
#[test]
fn other_sort_keys_than_once_have_another_fingerprint() {
    let before = |table: &Table| -> [u8; 32] {
        let mut print = Hashing(Sha256::new());
        print.0.update([FORMAT]);
        print.number(table.columns.len());
        for (column, role) in table.columns.iter().zip(["partition", "ascending"]) {
            print.text(&column.name);
            print.text(&column.cql_type());
            print.text(role);
            print.fields_of(&column.ty);
        }
        let layout = &table.layout;
        for named in [&layout.partition_attribute, &layout.sort_attribute] {
            print.maybe(named.as_deref());
        }
        print.text(&layout.reserved_prefix);
        print.maybe(None);
        print.maybe(None);
        print.0.finalize().into()
    };
    let text = || Box::new(Type::Text);
    for (clustering, is_as_before) in [
        (Type::Int, true),
        (Type::Decimal, true),
        (Type::Tuple(vec![Type::Int]), false),
        (Type::List(text()), false),
        (Type::Set(text()), false),
        (Type::Map(text(), text()), false),
        (Type::Vector(Box::new(Type::Float), 3), false),
    ] {
        let columns = vec![
            column("p", Type::Set(text()), Role::Partition),
            column("c", clustering, Role::Clustering(Order::Asc)),
        ];
        let table = Table::new("t", columns);
        let now = Transform::new(&table, &Rules::new(), None, None, "t", Layout::default());
        let now = now.unwrap().fingerprint();
        assert_eq!(now == before(&table), is_as_before, "{table:?}");
    }
}

#[test]
fn values_come_without_nulls_at_the_end() {
    let pair = || Type::Tuple(vec![Type::Int, Type::Int]);
    let columns = vec![
        column("p", pair(), Role::Partition),
        column("c", pair(), Role::Clustering(Order::Asc)),
        column("v", pair(), Role::Regular),
    ];
    let table = Table::new("t", columns);
    let long = Value::Tuple(vec![Some(Value::Int(1)), None]);
    let short = Value::Tuple(vec![Some(Value::Int(1))]);
    let transform = Transform::new(&table, &Rules::new(), None, None, "t", Layout::default());
    let row = Row::new(
        Key::row(vec![long.clone()], vec![long.clone()]),
        vec![Some(long.clone())],
    );
    let wanted = Row::new(Key::row(vec![long], vec![short.clone()]), vec![Some(short)]);
    assert_eq!(transform.unwrap().apply(row).unwrap(), wanted);
}

#[test]
fn the_mask_key_is_not_shown() {
    let transform = transform(&rules([("email", mask(Mask::Hmac))]), None).unwrap();
    let shown = format!("{transform:?}");
    assert!(
        !shown.contains("secret") && !shown.contains("Hmac"),
        "{shown}"
    );
}
