//! Columns whose attribute has the form that the plan chooses.

use proptest::prelude::*;

use super::*;
use crate::codec::arbitrary;
use crate::schema::Form;

const TEXTS: [Type; 6] = [
    Type::TinyInt,
    Type::SmallInt,
    Type::Int,
    Type::BigInt,
    Type::Varint,
    Type::Decimal,
];

/// A mapping of `id text PRIMARY KEY, v <type>` whose `v` has this form.
fn formed(ty: Type, form: Form) -> Mapping {
    let mut table = Table::new("t", vec![id(), column("v", ty, Role::Regular)]);
    table.layout.forms.insert("v".into(), form);
    Mapping::new(&table).unwrap()
}

fn decimal(unscaled: &str, scale: i32) -> Value {
    Value::Decimal {
        unscaled: number::integer_bytes(unscaled).unwrap(),
        scale,
    }
}

#[test]
fn numbers_are_kept_as_their_text() {
    let digits = "9".repeat(78);
    for (ty, value, attr) in [
        (Type::Varint, varint(&digits), s(&digits)),
        (Type::Varint, varint("-7"), s("-7")),
        (
            Type::Varint,
            Value::Varint(vec![0, 1]),
            envelope("varint", &[0, 1]),
        ),
        (Type::Varint, Value::Empty, envelope("varint", &[])),
        (Type::Int, Value::Int(i32::MIN), s("-2147483648")),
        (Type::Int, Value::Empty, envelope("int", &[])),
        (Type::Int, Value::Raw(vec![1]), envelope("int", &[1])),
        (
            Type::BigInt,
            Value::BigInt(i64::MAX),
            s("9223372036854775807"),
        ),
        // As Java's BigDecimal writes them.
        (Type::Decimal, decimal("110", 2), s("1.10")),
        (Type::Decimal, decimal("-5", 1), s("-0.5")),
        (Type::Decimal, decimal("0", 2), s("0.00")),
        (Type::Decimal, decimal("123", 0), s("123")),
        (Type::Decimal, decimal("123", -1), s("1.23E+3")),
        (Type::Decimal, decimal("1", -400), s("1E+400")),
        (Type::Decimal, decimal("1", 6), s("0.000001")),
        (Type::Decimal, decimal("1", 7), s("1E-7")),
        (Type::Decimal, decimal("-12", 8), s("-1.2E-7")),
        (Type::Decimal, decimal("0", 7), s("0E-7")),
        (Type::Decimal, decimal("0", i32::MIN), s("0E+2147483648")),
    ] {
        let mapping = formed(ty, Form::Text);
        assert_eq!(attr_of(&mapping, value.clone()).unwrap(), attr, "{value:?}");
    }
    // Turning digits around takes time that grows with the square of their number.
    let mut bytes = vec![0x7f; 1025];
    let long = attr_of(
        &formed(Type::Varint, Form::Text),
        Value::Varint(bytes.clone()),
    );
    assert_eq!(long.unwrap(), envelope("varint", &bytes));
    bytes.pop();
    let shorter = attr_of(&formed(Type::Varint, Form::Text), Value::Varint(bytes));
    assert!(matches!(shorter, Some(Attr::S(_))));
}

#[test]
fn decimals_are_numbers_where_their_scale_comes_back() {
    let mapping = formed(Type::Decimal, Form::Number);
    let envelope = |unscaled: &str, scale| {
        let value = decimal(unscaled, scale);
        envelope(
            "decimal",
            &crate::codec::cql::to_bytes(&value, &Type::Decimal),
        )
    };
    let digits = "9".repeat(38);
    for (unscaled, scale, attr) in [
        ("0", 0, n("0")),
        ("100", 0, n("100")),
        ("-125", 1, n("-12.5")),
        ("5", 3, n("0.005")),
        (&digits, 130, n(&format!("0.{}{digits}", "0".repeat(92)))),
        ("110", 2, envelope("110", 2)),
        ("0", 1, envelope("0", 1)),
        ("1", -2, envelope("1", -2)),
        ("1", 131, envelope("1", 131)),
        ("1", i32::MAX, envelope("1", i32::MAX)),
        ("1", i32::MIN, envelope("1", i32::MIN)),
    ] {
        let value = decimal(unscaled, scale);
        assert_eq!(attr_of(&mapping, value).unwrap(), attr);
    }
    let long = "9".repeat(39);
    let attr = attr_of(&mapping, decimal(&long, 1)).unwrap();
    assert_eq!(attr, envelope(&long, 1));
    // However a store spells it.
    for (text, unscaled, scale) in [
        ("1E+2", "100", 0),
        ("1.50", "15", 1),
        ("-15E-1", "-15", 1),
        ("1.0", "1", 0),
        ("-0.0", "0", 0),
    ] {
        let item = vec![("id".into(), s("k")), ("v".into(), n(text))];
        let read = mapping.row(item).unwrap().cells;
        assert_eq!(read, [Some(decimal(unscaled, scale))], "{text}");
    }
}

#[test]
fn another_form_is_no_value() {
    for (form, attr) in [(Form::Text, n("1")), (Form::Number, s("10E-1"))] {
        let mapping = formed(Type::Decimal, form);
        assert_eq!(mapping.value(0, &attr).unwrap_err().kind(), Kind::Invalid);
        let item = vec![("id".into(), s("k")), ("v".into(), attr)];
        assert_eq!(mapping.row(item).unwrap_err().kind(), Kind::Corrupt);
    }
    for text in ["", "-", "1e", "1.0", "x", "9223372036854775808"] {
        let mapping = formed(Type::BigInt, Form::Text);
        assert!(mapping.value(0, &s(text)).is_err(), "{text}");
    }
}

#[test]
fn a_form_is_refused_where_it_cant_be() {
    let mut table = Table::new("t", vec![id(), column("v", Type::Int, Role::Regular)]);
    for (name, form) in [
        ("v", Form::Number),
        ("id", Form::Text),
        ("nowhere", Form::Text),
    ] {
        table.layout.forms = [(name.to_owned(), form)].into();
        let error = Mapping::new(&table).unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        assert!(error.message().contains(name), "{error}");
    }
}

#[test]
fn the_report_says_the_form() {
    let line = |ty: Type, form| formed(ty, form).describe().remove(1);
    for ty in TEXTS {
        assert_eq!(line(ty, Form::Text).form, "S");
    }
    let number = line(Type::Decimal, Form::Number);
    assert_eq!(number.form, "N");
    assert!(number.note.contains("1.10"), "{}", number.note);
}

fn formed_value() -> impl Strategy<Value = (Type, Form, Value)> {
    let texts = proptest::sample::select(TEXTS.to_vec()).prop_map(|ty| (ty, Form::Text));
    let of = prop_oneof![3 => texts, 1 => Just((Type::Decimal, Form::Number))];
    of.prop_flat_map(|(ty, form)| {
        arbitrary::value(&ty).prop_map(move |value| (ty.clone(), form, value))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_value_of_a_form_comes_back((ty, form, value) in formed_value()) {
        let mapping = formed(ty, form);
        let attr = mapping.cell(0, Some(&value)).unwrap().unwrap();
        let fits = match (&attr, form) {
            (Attr::S(_), Form::Text) | (Attr::N(_), Form::Number) | (Attr::M(_), _) => true,
            (_, _) => false,
        };
        prop_assert!(fits, "{attr:?}");
        if let Attr::N(text) = &attr {
            let digits = text.chars().filter(char::is_ascii_digit).collect::<String>();
            prop_assert!(digits.trim_matches('0').len() <= 38, "{text}");
        }
        prop_assert_eq!(mapping.value(0, &attr).unwrap(), value.clone());
        // By the way of whole items, too.
        let row = row(vec![Some(value)]);
        let item = mapping.item(&row).unwrap();
        prop_assert_eq!(mapping.row(item).unwrap(), row);
    }

    #[test]
    fn what_is_written_of_a_form_is_what_the_attributes_are((ty, form, value) in formed_value()) {
        let mapping = formed(ty, form);
        let row = row(vec![Some(value)]);
        let (attributes, size) = mapping.attributes(&row).unwrap();
        let written = mapping.write(&row).unwrap();
        prop_assert_eq!(written.size, size);
        let values = texts(&attributes);
        prop_assert_eq!(String::from_utf8_lossy(&written.values), values.join(","));
    }
}
