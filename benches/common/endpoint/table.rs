//! Tables and their items.

use super::*;

pub(super) struct Table {
    pub described: Json,
    pub partition: String,
    pub sort: Option<String>,
    /// By the partition key, in the order of its digest, so that segments are stretches.
    pub partitions: BTreeMap<(u64, Vec<u8>), BTreeMap<SortKey, Stored>>,
    pub ttl: Option<String>,
}

/// An item as JSON.
pub(super) type Stored = Box<[u8]>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum SortKey {
    None,
    Text(String),
    Number(String),
    Bytes(Vec<u8>),
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        match (self, other) {
            (SortKey::Text(one), SortKey::Text(two)) => one.cmp(two),
            (SortKey::Number(one), SortKey::Number(two)) => express::compare_numbers(one, two),
            (SortKey::Bytes(one), SortKey::Bytes(two)) => one.cmp(two),
            (_, _) => std::cmp::Ordering::Equal,
        }
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

fn sort_key(value: &[u8]) -> Option<SortKey> {
    let (letter, value) = members(value).next()?;
    let value = text(value)?;
    Some(match letter {
        b"S" => SortKey::Text(value),
        b"N" => SortKey::Number(value),
        _ => SortKey::Bytes(STANDARD.decode(value).ok()?),
    })
}

pub(super) type Place = ((u64, Vec<u8>), SortKey);

impl Table {
    /// The place of an item or a key.
    pub fn place(&self, item: &[u8]) -> Result<Place, Refused> {
        let (mut partition, mut sort) = (None, None);
        for (name, value) in members(item) {
            if name == self.partition.as_bytes() {
                partition = Some(value);
            } else if self
                .sort
                .as_ref()
                .is_some_and(|sort| name == sort.as_bytes())
            {
                sort = Some(value);
            }
        }
        self.placed(partition, sort)
    }

    pub fn placed(&self, partition: Option<&[u8]>, sort: Option<&[u8]>) -> Result<Place, Refused> {
        let missing = || invalid("The provided key element does not match the schema");
        let (letter, value) = partition
            .and_then(|value| members(value).next())
            .ok_or_else(missing)?;
        let mut key = letter.to_vec();
        key.extend_from_slice(text(value).ok_or_else(missing)?.as_bytes());
        let sort = match &self.sort {
            Some(_) => sort.and_then(sort_key).ok_or_else(missing)?,
            None => SortKey::None,
        };
        let mut digest = DefaultHasher::new();
        key.hash(&mut digest);
        Ok(((digest.finish(), key), sort))
    }

    pub fn get(&self, (partition, sort): &Place) -> Option<&Stored> {
        self.partitions.get(partition)?.get(sort)
    }

    pub fn set(&mut self, (partition, sort): Place, item: Option<Stored>) {
        match item {
            Some(item) => drop(
                self.partitions
                    .entry(partition)
                    .or_default()
                    .insert(sort, item),
            ),
            None => {
                if let Some(there) = self.partitions.get_mut(&partition) {
                    there.remove(&sort);
                    if there.is_empty() {
                        self.partitions.remove(&partition);
                    }
                }
            }
        }
    }

    /// The key of an item.
    pub fn key_of(&self, item: &[u8]) -> Vec<u8> {
        let names = [Some(&self.partition), self.sort.as_ref()];
        let pairs = names.into_iter().flatten().filter_map(|name| {
            let value = member(item, name)?;
            Some([b"\"", name.as_bytes(), b"\":", value].concat())
        });
        let pairs: Vec<_> = pairs.collect();
        [&b"{"[..], &pairs.join(&b','), b"}"].concat()
    }
}
