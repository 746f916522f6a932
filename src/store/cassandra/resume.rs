//! Where a scan is, and how it goes on after a row that an earlier process read.
//!
//! After a row `(a, b, c)` of a partition come, in this order: rows with `c1 = a AND c2 = b` and c3
//! after `c`, then those with `c1 = a` and c2 after `b`, then those with c1 after `a`, then
//! greater tokens. "After" is `>` in an ascending column and `<` in a descending one. Two
//! partitions may share a token, and which of them comes first is the server's matter: then all of
//! that token is read again.

use super::Cassandra;
use crate::codec::cql;
use crate::error::{Error, Kind, Result};
use crate::model::Key;
use crate::schema::Table;
use crate::store::Range;

/// What a scan is reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Tokens above this one, up to the end of the range.
    Tokens { after: i64 },
    /// All of one token again; then the tokens above.
    Again { token: i64 },
    /// In the partition of the cursor's key: rows that share the first `depth - 1` of these
    /// clustering values and are after the next; of depth 0, all rows. Then one less.
    Rest {
        depth: usize,
        after: Vec<Vec<u8>>,
        token: i64,
    },
    /// A slice.
    Slice,
}

impl Stage {
    /// What comes after it in the range.
    pub fn next(&self, range: &Range) -> Option<Stage> {
        let above = |token: i64| match range {
            Range::Tokens(tokens) if token < tokens.up_to => Some(Stage::Tokens { after: token }),
            Range::Tokens(_) | Range::Slice(_) | Range::Segment { .. } => None,
        };
        match self {
            Stage::Tokens { .. } | Stage::Slice => None,
            Stage::Again { token } => above(*token),
            Stage::Rest {
                depth: 0 | 1,
                token,
                ..
            } => above(*token),
            Stage::Rest {
                depth,
                after,
                token,
            } => Some(Stage::Rest {
                depth: depth - 1,
                after: after.clone(),
                token: *token,
            }),
        }
    }
}

/// A stage, and how far the server's paging is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StagePosition {
    pub stage: Stage,
    pub paging: Option<Vec<u8>>,
}

const VERSION: u8 = 1;

impl StagePosition {
    pub fn at(stage: Stage) -> Self {
        StagePosition {
            stage,
            paging: None,
        }
    }

    /// The start of a range.
    ///
    /// # Errors
    /// [`Kind::Unsupported`] for a segment.
    pub fn start(range: &Range) -> Result<Self> {
        match range {
            Range::Tokens(tokens) => Ok(StagePosition::at(Stage::Tokens {
                after: tokens.after,
            })),
            Range::Slice(_) => Ok(StagePosition::at(Stage::Slice)),
            Range::Segment { .. } => Err(Error::new(
                Kind::Unsupported,
                "Cassandra is scanned by token ranges, not by segments",
            )),
        }
    }

    /// Whether rows from before the cursor may come again, static ones included.
    pub fn starts_again(&self) -> bool {
        self.paging.is_none()
            && match self.stage {
                Stage::Again { .. } | Stage::Slice => true,
                Stage::Tokens { .. } | Stage::Rest { .. } => false,
            }
    }

    /// For [`crate::store::Cursor::state`]: a version, the stage's letter and numbers, then the
    /// paging state with a byte before it that says whether there is one.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        match &self.stage {
            Stage::Tokens { after } => {
                out.push(b't');
                out.extend_from_slice(&after.to_be_bytes());
            }
            Stage::Again { token } => {
                out.push(b'a');
                out.extend_from_slice(&token.to_be_bytes());
            }
            Stage::Rest {
                depth,
                after,
                token,
            } => {
                out.push(b'r');
                out.extend_from_slice(&token.to_be_bytes());
                out.extend_from_slice(&(*depth as u32).to_be_bytes());
                out.extend_from_slice(&(after.len() as u32).to_be_bytes());
                for value in after {
                    out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                    out.extend_from_slice(value);
                }
            }
            Stage::Slice => out.push(b's'),
        }
        out.push(u8::from(self.paging.is_some()));
        out.extend_from_slice(self.paging.as_deref().unwrap_or_default());
        out
    }

    /// From [`StagePosition::to_bytes`].
    ///
    /// # Errors
    /// [`Kind::Corrupt`] if they aren't such bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        StagePosition::read(bytes).ok_or_else(|| {
            Error::new(
                Kind::Corrupt,
                "the cursor's state isn't one of this version",
            )
            .with_help("a state is only good in the process that got it: go on without it")
        })
    }

    fn read(mut rest: &[u8]) -> Option<Self> {
        let rest = &mut rest;
        if take::<1>(rest)? != [VERSION] {
            return None;
        }
        let stage = match take::<1>(rest)? {
            [b't'] => Stage::Tokens {
                after: i64::from_be_bytes(take(rest)?),
            },
            [b'a'] => Stage::Again {
                token: i64::from_be_bytes(take(rest)?),
            },
            [b'r'] => {
                let token = i64::from_be_bytes(take(rest)?);
                let depth = u32::from_be_bytes(take(rest)?) as usize;
                let mut after = Vec::new();
                for _ in 0..u32::from_be_bytes(take(rest)?) {
                    let size = u32::from_be_bytes(take(rest)?) as usize;
                    let (value, tail) = rest.split_at_checked(size)?;
                    *rest = tail;
                    after.push(value.to_vec());
                }
                Stage::Rest {
                    depth,
                    after,
                    token,
                }
            }
            [b's'] => Stage::Slice,
            _ => return None,
        };
        let paging = match take::<1>(rest)? {
            [0] if rest.is_empty() => None,
            [1] => Some(rest.to_vec()),
            _ => return None,
        };
        Some(StagePosition { stage, paging })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

impl Cassandra {
    /// Where a range goes on after a key; `None` if nothing of it is left. A slice starts again.
    pub(super) async fn after(
        &self,
        table: &Table,
        range: &Range,
        key: &Key,
    ) -> Result<Option<StagePosition>> {
        let token = cql::token(table.partition(), &key.partition);
        let rest = if table.clustering().is_empty() {
            Stage::Again { token }.next(range)
        } else {
            let values = key.clustering.as_deref().unwrap_or_default();
            let after: Vec<Vec<u8>> = values
                .iter()
                .zip(table.clustering())
                .map(|(value, column)| cql::to_bytes(value, &column.ty))
                .collect();
            Some(Stage::Rest {
                depth: after.len(),
                after,
                token,
            })
        };
        let Range::Tokens(tokens) = range else {
            return StagePosition::start(range).map(Some);
        };
        if token <= tokens.after {
            return StagePosition::start(range).map(Some);
        }
        if token > tokens.up_to {
            return Ok(None);
        }
        let there = self.partitions_at(table, token).await?;
        let is_alone = there.iter().all(|other| other.partition == key.partition);
        let stage = if is_alone {
            rest
        } else {
            Some(Stage::Again { token })
        };
        Ok(stage.map(StagePosition::at))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Tokens;

    #[test]
    fn positions_read_back_as_they_are_written() {
        let stages = [
            Stage::Tokens { after: i64::MIN },
            Stage::Again { token: -7 },
            Stage::Rest {
                depth: 2,
                after: vec![vec![], vec![0, 255]],
                token: 9,
            },
            Stage::Slice,
        ];
        for stage in stages {
            for paging in [None, Some(vec![]), Some(vec![1, 2, 3])] {
                let position = StagePosition {
                    stage: stage.clone(),
                    paging,
                };
                let bytes = position.to_bytes();
                assert_eq!(StagePosition::from_bytes(&bytes).unwrap(), position);
                assert!(StagePosition::from_bytes(&bytes[..1]).is_err());
            }
        }
        assert_eq!(
            StagePosition::from_bytes(&[9, b's', 0]).unwrap_err().kind(),
            Kind::Corrupt
        );
    }

    #[test]
    fn a_partition_is_left_from_the_deepest_column_outwards() {
        let range = Range::Tokens(Tokens {
            after: 0,
            up_to: 10,
        });
        let mut stage = Stage::Rest {
            depth: 3,
            after: vec![vec![1], vec![2], vec![3]],
            token: 4,
        };
        let mut depths = Vec::new();
        while let Stage::Rest { depth, .. } = stage {
            depths.push(depth);
            stage = stage.next(&range).unwrap();
        }
        assert_eq!(depths, [3, 2, 1]);
        assert_eq!(stage, Stage::Tokens { after: 4 });
        assert_eq!(Stage::Again { token: 10 }.next(&range), None);
    }
}
