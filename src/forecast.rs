//! What a move will take: write units, time and money. Arithmetic on what was counted, and nothing else.

/// What a service takes for its work, in dollars.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// A million write units, on demand.
    pub write_units_million: f64,
    /// A million read units, on demand.
    pub read_units_million: f64,
    /// A gibibyte for a month.
    pub storage_gb_month: f64,
}

/// Dollars for a provisioned write unit in an hour (us-east-1, table class Standard, November 2024). To be warm for one
/// more costs as much, once.
pub const WRITE_UNIT_HOUR: f64 = 0.00065;
/// The same for a read unit.
pub const READ_UNIT_HOUR: f64 = 0.00013;
/// The region whose prices [`PRICES`] are.
pub const PRICES_REGION: &str = "us-east-1";
/// When they held: they change, and a plan can name its own.
pub const PRICES_AS_OF: &str = "2024-11";
/// DynamoDB, on demand, tables of the class Standard, without the free part.
pub const PRICES: Prices = Prices {
    write_units_million: 0.625,
    read_units_million: 0.125,
    storage_gb_month: 0.25,
};

/// What a new table takes on demand before it has grown, write units a second, by the Developer Guide.
pub const NEW_TABLE_WRITE_UNITS: f64 = 4_000.0;
/// The same for read units.
pub const NEW_TABLE_READ_UNITS: f64 = 12_000.0;

/// Bytes that a write unit is for.
const WRITE_UNIT: u64 = 1_024;
/// Bytes that a read unit is for, where the read is consistent.
const READ_UNIT: u64 = 4_096;
const GIB: f64 = (1_u64 << 30) as f64;

/// Write units of an item of so many bytes.
pub fn write_units(bytes: u64) -> u64 {
    bytes.div_ceil(WRITE_UNIT).max(1)
}

/// A table as it will be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// Rows of the old table.
    pub rows: f64,
    /// Bytes of all items together.
    pub bytes: f64,
    /// Write units of all items together.
    pub write_units: f64,
}

impl Size {
    /// A table whose part of this share was counted. Of a share of 0 nothing follows.
    #[must_use]
    pub fn whole(self, share: f64) -> Option<Size> {
        (share > 0.0).then(|| Size {
            rows: self.rows / share,
            bytes: self.bytes / share,
            write_units: self.write_units / share,
        })
    }

    /// A table of so many rows that are on average as these.
    #[must_use]
    pub fn of_rows(self, rows: f64) -> Option<Size> {
        self.whole(self.rows / rows).filter(|_| rows > 0.0)
    }
}

/// Ceilings, for one process of the tools.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ceilings {
    /// Write units a second.
    pub write_units: Option<f64>,
    /// Rows read a second.
    pub read_rows: Option<f64>,
}

/// What a move will take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// The table.
    pub size: Size,
    /// Read units of a verification: every item, consistently.
    pub read_units: f64,
    /// Seconds of a copy by one process: as the ceilings let it, or where there are none as a new table does.
    pub copy_seconds: f64,
    /// Write units a second meanwhile.
    pub write_units_per_second: f64,
    /// Dollars of the copy.
    pub copy: f64,
    /// Dollars of one verification.
    pub verify: f64,
    /// Dollars of a month of storage.
    pub month: f64,
}

/// What moving a table of this size takes.
pub fn forecast(size: Size, ceilings: Ceilings, prices: Prices) -> Forecast {
    let per_second = ceilings.write_units.unwrap_or(NEW_TABLE_WRITE_UNITS);
    let writing = size.write_units / per_second;
    let reading = ceilings.read_rows.map_or(0.0, |rows| size.rows / rows);
    let copy_seconds = writing.max(reading);
    let read_units = (size.bytes / READ_UNIT as f64).ceil();
    Forecast {
        size,
        read_units,
        copy_seconds,
        write_units_per_second: match copy_seconds > 0.0 {
            true => size.write_units / copy_seconds,
            false => 0.0,
        },
        copy: size.write_units / 1e6 * prices.write_units_million,
        verify: read_units / 1e6 * prices.read_units_million,
        month: size.bytes / GIB * prices.storage_gb_month,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn units_are_begun_kilobytes() {
        let units = [0, 1, 1_024, 1_025, 409_600].map(write_units);
        assert_eq!(units, [1, 1, 1, 2, 400]);
    }

    #[test]
    fn a_hundred_million_rows() {
        let part = Size {
            rows: 1_000.0,
            bytes: 1_000.0 * 1_536.0,
            write_units: 2_000.0,
        };
        let size = part.of_rows(1e8).unwrap();
        let whole = part.whole(1e-5).unwrap();
        assert!((whole.bytes / size.bytes - 1.0).abs() < 1e-9, "{whole:?}");
        assert_eq!((part.whole(0.0), part.of_rows(0.0)), (None, None));
        let told = forecast(size, Ceilings::default(), PRICES);
        for (is, wanted) in [
            (told.size.write_units, 2e8),
            (told.copy_seconds, 50_000.0),
            (told.write_units_per_second, 4_000.0),
            (told.copy, 125.0),
            (told.verify, 37.5 * 0.125),
            (told.month, 35.763),
        ] {
            assert!((is / wanted - 1.0).abs() < 1e-4, "{wanted}: {told:?}");
        }
    }

    #[test]
    fn the_slower_ceiling_decides() {
        let size = Size {
            rows: 1_000.0,
            bytes: 1_000.0,
            write_units: 1_000.0,
        };
        let ceilings = |write: f64, read: f64| Ceilings {
            write_units: Some(write),
            read_rows: Some(read),
        };
        let seconds = |ceilings| forecast(size, ceilings, PRICES).copy_seconds;
        assert_eq!(seconds(ceilings(10.0, 100.0)), 100.0);
        assert_eq!(seconds(ceilings(1_000.0, 100.0)), 10.0);
        let slow = forecast(size, ceilings(1_000.0, 100.0), PRICES);
        assert_eq!(slow.write_units_per_second, 100.0);
        let nothing = forecast(Size::default(), Ceilings::default(), PRICES);
        assert_eq!(
            (nothing.copy_seconds, nothing.write_units_per_second),
            (0.0, 0.0)
        );
    }
}
