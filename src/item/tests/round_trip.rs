use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::codec::{arbitrary, canonical, ordered};

/// What a value is when it is read back: tuples and user-defined types have no nulls at their end, sets and
/// maps of cells their order.
fn settled(value: Value, ty: &Type, multicell: bool) -> Value {
    match (value, ty) {
        (Value::Tuple(fields), Type::Tuple(types)) => {
            canonical::trimmed(ty, Value::Tuple(settle_fields(fields, types.iter())))
        }
        (Value::Udt(fields), Type::Udt(udt)) => {
            let fields = settle_fields(fields, udt.fields.iter().map(|(_, ty)| ty));
            canonical::trimmed(ty, Value::Udt(fields))
        }
        (Value::List(values), Type::List(ty)) => Value::List(settle_all(values, ty)),
        (Value::Vector(values), Type::Vector(ty, _)) => Value::Vector(settle_all(values, ty)),
        (Value::Set(values), Type::Set(ty)) => {
            let mut values = settle_all(values, ty);
            let odd = |value: &Value| matches!(value, Value::Raw(_) | Value::Empty);
            if multicell
                && types::native_set(ty) != types::NativeSet::None
                && !values.iter().any(odd)
            {
                values.sort_by(|a, b| ordered::compare(ty, a, b));
                values.dedup();
            }
            Value::Set(values)
        }
        (Value::Map(pairs), Type::Map(key, ty)) => {
            let pairs = pairs.into_iter();
            let mut pairs: Vec<_> = pairs
                .map(|(k, v)| (settled(k, key, false), settled(v, ty, false)))
                .collect();
            if multicell && types::has_named_keys(key, true) {
                pairs.sort_by(|a, b| ordered::compare(key, &a.0, &b.0));
            }
            Value::Map(pairs)
        }
        (value, _) => value,
    }
}

fn settle_all(values: Vec<Value>, ty: &Type) -> Vec<Value> {
    let values = values.into_iter();
    values.map(|value| settled(value, ty, false)).collect()
}

fn settle_fields<'a>(
    fields: Vec<Option<Value>>,
    types: impl Iterator<Item = &'a Type>,
) -> Vec<Option<Value>> {
    let fields = fields.into_iter().zip(types);
    fields
        .map(|(field, ty)| field.map(|value| settled(value, ty, false)))
        .collect()
}

/// Whether DynamoDB takes an attribute outside a key.
fn is_legal(attr: &Attr, depth: usize) -> bool {
    let distinct = |count: usize, texts: &mut Vec<Vec<u8>>| {
        texts.sort();
        texts.dedup();
        count > 0 && texts.len() == count
    };
    match attr {
        Attr::S(_) | Attr::B(_) | Attr::Bool(_) | Attr::Null => true,
        Attr::N(text) => !text.contains(['N', 'i']) && text.parse::<f64>().is_ok(),
        Attr::L(attrs) => depth < 31 && attrs.iter().all(|attr| is_legal(attr, depth + 1)),
        Attr::M(pairs) => {
            let mut names: Vec<_> = pairs.iter().map(|(name, _)| name.clone().into()).collect();
            let named = pairs.is_empty() || distinct(pairs.len(), &mut names);
            let inside = |(name, attr): &(String, Attr)| {
                (1..65_536).contains(&name.len()) && is_legal(attr, depth + 1)
            };
            named && depth < 31 && pairs.iter().all(inside)
        }
        Attr::Ss(texts) | Attr::Ns(texts) => {
            let mut members = texts.iter().map(|text| text.clone().into()).collect();
            distinct(texts.len(), &mut members)
        }
        Attr::Bs(binaries) => distinct(binaries.len(), &mut binaries.clone()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_value_comes_back((ty, value) in arbitrary::typed(), is_frozen in any::<bool>()) {
        let mut v = column("v", ty.clone(), Role::Regular);
        v.frozen = is_frozen;
        let multicell = v.is_multicell();
        let mapping = mapping(vec![id(), v]);
        let item = mapping.item(&row(vec![Some(value.clone())])).unwrap();
        for (name, attr) in &item {
            prop_assert!(is_legal(attr, 0), "{name}: {attr:?}");
        }
        let kept = item.iter().any(|(name, _)| name == "v");
        let read = mapping.row(item).unwrap();
        if kept {
            prop_assert_eq!(&read.cells, &[Some(settled(value, &ty, multicell))]);
        } else {
            prop_assert!(multicell);
        }
    }

    #[test]
    fn every_key_comes_back(
        parts in vec((arbitrary::key_ty(), 0..4_u8), 1..5).prop_flat_map(|types| {
            let part = |(ty, role): (Type, u8)| {
                let text = matches!(ty, Type::Text | Type::Ascii);
                let value = if text { arbitrary::plain(&ty) } else { arbitrary::value(&ty) };
                (Just(ty), Just(role), value)
            };
            types.into_iter().map(part).collect::<Vec<_>>()
        }),
        has_statics in any::<bool>(),
    ) {
        let mut columns = Vec::new();
        let mut key = Key::row(Vec::new(), Vec::new());
        for (at, (ty, role, value)) in parts.into_iter().enumerate() {
            let clustering = key.clustering.as_mut().unwrap();
            let role = match role {
                2 if at > 0 => Role::Clustering(Order::Asc),
                3 if at > 0 => Role::Clustering(Order::Desc),
                _ => Role::Partition,
            };
            match role {
                Role::Partition => key.partition.push(value),
                Role::Clustering(_) | Role::Static | Role::Regular => clustering.push(value),
            }
            columns.push(column(&format!("c{at}"), ty, role));
        }
        let has_statics = has_statics && !key.clustering.as_ref().unwrap().is_empty();
        if has_statics {
            columns.push(column("s", Type::Int, Role::Static));
        }
        let mapping = mapping(columns);
        let cells = vec![None; usize::from(has_statics)];
        match mapping.item(&Row::new(key.clone(), cells)) {
            Ok(item) => {
                let row = Row::new(key.clone(), vec![None; usize::from(has_statics)]);
                let key = canonical::stored(mapping.table(), row).key;
                prop_assert_eq!(&mapping.row(item).unwrap().key, &key);
                if has_statics {
                    let key = Key::statics(key.partition);
                    let item = mapping.item(&Row::new(key.clone(), vec![Some(Value::Int(1))]));
                    prop_assert_eq!(&mapping.row(item.unwrap()).unwrap().key, &key);
                }
            }
            // Empty values where a key attribute of its own can't be, and bytes against the type.
            Err(error) => {
                prop_assert_eq!(error.kind(), Kind::Invalid);
                let odd = |value: &Value| {
                    matches!(value, Value::Empty | Value::Raw(_))
                        || matches!(value, Value::Text(text) if text.is_empty())
                        || matches!(value, Value::Blob(bytes) if bytes.is_empty())
                };
                let mut values = key.partition.iter().chain(key.clustering.iter().flatten());
                prop_assert!(values.any(odd), "{error}");
            }
        }
    }
}

/// The types whose values are written straight.
fn straight() -> impl Strategy<Value = (Type, Value)> {
    let scalars = [
        Type::Text,
        Type::Ascii,
        Type::Blob,
        Type::Boolean,
        Type::Int,
        Type::BigInt,
        Type::Timestamp,
        Type::Uuid,
    ];
    let scalar = || proptest::sample::select(scalars.to_vec());
    let ty = prop_oneof![
        scalar(),
        scalar().prop_map(list),
        scalar().prop_map(set),
        (scalar(), scalar()).prop_map(|(key, ty)| map(key, ty)),
        scalar().prop_map(|ty| map(Type::Text, ty)),
    ];
    ty.prop_flat_map(|ty| arbitrary::value(&ty).prop_map(move |value| (ty.clone(), value)))
}

proptest! {
    #[test]
    fn what_is_written_straight_is_what_the_attributes_are(
        (ty, value) in prop_oneof![straight(), arbitrary::typed()],
        is_frozen in any::<bool>(),
        is_sorted in any::<bool>(),
    ) {
        let v = column("v", ty.clone(), Role::Regular);
        let mapping = mapping(vec![id(), if is_frozen { frozen(v) } else { v }]);
        let value = match is_sorted {
            true => settled(value, &ty, !is_frozen),
            false => value,
        };
        let mut row = row(vec![Some(value)]);
        row.mark = Some(Mark::Copied);
        let (attributes, size) = mapping.attributes(&row).unwrap();
        let written = mapping.write(&row).unwrap();
        prop_assert_eq!(written.size, size);
        let names: Vec<&str> = attributes.iter().map(|(name, _)| *name).collect();
        prop_assert_eq!(&written.names, &names);
        let values = texts(&attributes);
        prop_assert_eq!(String::from_utf8_lossy(&written.values), values.join(","));
        prop_assert_eq!(String::from_utf8_lossy(written.key()), values[0].as_str());
    }
}
