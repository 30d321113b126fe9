//! Read and push Feast features from an HTTP component that runs inside a Galley node: no socket,
//! no JSON, some microseconds a call.
//!
//! ```no_run
//! # async fn run() -> Result<(), galley_features::Error> {
//! use galley_features::{Lookup, Push};
//!
//! let drivers = Lookup::features(["driver_activity:acceptance_rate"])
//!     .int64("driver_id", [1001, 1002])
//!     .get()?;
//! let rate: Option<f64> = drivers.float("acceptance_rate", 0);
//!
//! let stored = Push::to("driver_pings")
//!     .int64("driver_id", [1001])
//!     .float64("acceptance_rate", [0.9])
//!     .send()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! The component imports `galley:features/online@0.1.0`; only a Galley node offers it.

#[doc(hidden)]
pub mod bindings;

use bindings::galley::features::online;
pub use bindings::galley::features::online::{Error, Status};
pub use bindings::galley::transform::types::{
    ArrayValues, Column, Packed, ScalarValues, Values,
};

/// A look-up in the making: what is asked for, and for whom.
#[derive(Debug)]
pub struct Lookup {
    what: online::Selection,
    columns: Columns,
    full_names: bool,
}

/// A push in the making.
#[derive(Debug)]
pub struct Push {
    source: String,
    columns: Columns,
}

/// What a look-up found: one value for each feature and entity row.
#[derive(Debug)]
pub struct Answer {
    features: Vec<online::Feature>,
}

#[derive(Debug, Default)]
struct Columns(Vec<online::NamedColumn>);

/// The columns that look-ups and pushes take alike.
macro_rules! columns {
    () => {
        /// A column of 64-bit integers.
        #[must_use]
        pub fn int64(mut self, name: &str, values: impl IntoIterator<Item = i64>) -> Self {
            let values = ScalarValues::Int64(values.into_iter().collect());
            self.columns.add(name, values);
            self
        }

        /// A column of text.
        #[must_use]
        pub fn text<T: AsRef<str>>(
            mut self,
            name: &str,
            values: impl IntoIterator<Item = T>,
        ) -> Self {
            self.columns.add(name, ScalarValues::Utf8(pack(values)));
            self
        }

        /// A column of instants, in microseconds since 1970-01-01T00:00:00Z.
        #[must_use]
        pub fn timestamp_micros(
            mut self,
            name: &str,
            values: impl IntoIterator<Item = i64>,
        ) -> Self {
            let values = ScalarValues::TimestampMicros(values.into_iter().collect());
            self.columns.add(name, values);
            self
        }

        /// A column of any form, for values the other functions do not take.
        #[must_use]
        pub fn column(mut self, name: &str, column: Column) -> Self {
            self.columns.push(name, column);
            self
        }
    };
}

impl Lookup {
    /// Asks for features by reference, `view:feature`.
    pub fn features<T: Into<String>>(references: impl IntoIterator<Item = T>) -> Self {
        let references = references.into_iter().map(Into::into).collect();
        Self::new(online::Selection::Features(references))
    }

    /// Asks for the features of a feature service.
    pub fn service(name: impl Into<String>) -> Self {
        Self::new(online::Selection::Service(name.into()))
    }

    fn new(what: online::Selection) -> Self {
        Self {
            what,
            columns: Columns::default(),
            full_names: false,
        }
    }

    /// Has features named `view__feature`, for views that have features of the same name.
    #[must_use]
    pub fn full_names(mut self) -> Self {
        self.full_names = true;
        self
    }

    columns!();

    /// Looks up. All of the answer is of one moment.
    ///
    /// # Errors
    /// What is wrong with the look-up, for the author's eyes.
    pub fn get(&self) -> Result<Answer, Error> {
        online::get(&self.what, &self.columns.0, self.full_names)
            .map(|features| Answer { features })
    }
}

impl Push {
    /// Rows for the push source `source`.
    pub fn to(source: impl Into<String>) -> Self {
        Self {
            source: source.into(),
            columns: Columns::default(),
        }
    }

    columns!();

    /// A column of doubles.
    #[must_use]
    pub fn float64(mut self, name: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let values = ScalarValues::Float64(values.into_iter().collect());
        self.columns.add(name, values);
        self
    }

    /// A column of booleans.
    #[must_use]
    pub fn boolean(mut self, name: &str, values: impl IntoIterator<Item = bool>) -> Self {
        let values = ScalarValues::Boolean(values.into_iter().map(u8::from).collect());
        self.columns.add(name, values);
        self
    }

    /// A column of lists of text.
    #[must_use]
    pub fn text_lists<T: AsRef<str>>(
        mut self,
        name: &str,
        lists: impl IntoIterator<Item = impl IntoIterator<Item = T>>,
    ) -> Self {
        let (mut items, mut offsets) = (Vec::new(), vec![0]);
        for list in lists {
            items.extend(list);
            // A component has less than 4 GiB of memory.
            offsets.push(items.len() as u32);
        }
        let items = ScalarValues::Utf8(pack(items));
        let column = Column {
            values: Values::Array(ArrayValues { offsets, items }),
            validity: None,
        };
        self.columns.push(name, column);
        self
    }

    /// Pushes; gives the number of rows stored, once they are on the disk.
    ///
    /// # Errors
    /// What is wrong with the push, for the author's eyes. Nothing is stored then.
    pub async fn send(self) -> Result<u64, Error> {
        online::push(self.source, self.columns.0).await
    }
}

impl Answer {
    /// The names of the features, in the order they were asked for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.features.iter().map(|feature| feature.name.as_str())
    }

    /// What is known of a value; `NotFound` for names and rows that were not asked for.
    #[must_use]
    pub fn status(&self, name: &str, row: usize) -> Status {
        let status = self.feature(name).and_then(|feature| feature.statuses.get(row));
        status.copied().unwrap_or(Status::NotFound)
    }

    /// When a value was true, in microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn event_time_micros(&self, name: &str, row: usize) -> Option<i64> {
        let feature = self.feature(name)?;
        feature.event_times_micros.get(row).copied()
    }

    /// A number as a double, whatever it is stored as; booleans are 0 and 1.
    #[must_use]
    pub fn float(&self, name: &str, row: usize) -> Option<f64> {
        match self.scalars(name, row)? {
            ScalarValues::Boolean(values) => values.get(row).map(|value| f64::from(*value)),
            ScalarValues::Int32(values) => values.get(row).map(|value| f64::from(*value)),
            ScalarValues::Int64(values) => values.get(row).map(|value| *value as f64),
            ScalarValues::Float32(values) => values.get(row).map(|value| f64::from(*value)),
            ScalarValues::Float64(values) => values.get(row).copied(),
            _ => None,
        }
    }

    /// An integer or the microseconds of an instant.
    #[must_use]
    pub fn int(&self, name: &str, row: usize) -> Option<i64> {
        match self.scalars(name, row)? {
            ScalarValues::Int32(values) => values.get(row).map(|value| i64::from(*value)),
            ScalarValues::Int64(values) | ScalarValues::TimestampMicros(values) => {
                values.get(row).copied()
            }
            _ => None,
        }
    }

    /// A boolean.
    #[must_use]
    pub fn boolean(&self, name: &str, row: usize) -> Option<bool> {
        match self.scalars(name, row)? {
            ScalarValues::Boolean(values) => values.get(row).map(|value| *value != 0),
            _ => None,
        }
    }

    /// A text; JSON text for maps and structs.
    #[must_use]
    pub fn text(&self, name: &str, row: usize) -> Option<&str> {
        match self.scalars(name, row)? {
            ScalarValues::Utf8(packed) => {
                let start = *packed.offsets.get(row)? as usize;
                let end = *packed.offsets.get(row + 1)? as usize;
                std::str::from_utf8(packed.data.get(start..end)?).ok()
            }
            _ => None,
        }
    }

    /// The column of a feature as it crossed, for everything else.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.feature(name).map(|feature| &feature.values)
    }

    fn feature(&self, name: &str) -> Option<&online::Feature> {
        self.features.iter().find(|feature| feature.name == name)
    }

    /// The values of a feature that is present in `row`.
    fn scalars(&self, name: &str, row: usize) -> Option<&ScalarValues> {
        if self.status(name, row) != Status::Present {
            return None;
        }
        match &self.feature(name)?.values.values {
            Values::Scalar(scalars) => Some(scalars),
            Values::Array(_) => None,
        }
    }
}

impl Columns {
    fn add(&mut self, name: &str, values: ScalarValues) {
        let column = Column {
            values: Values::Scalar(values),
            validity: None,
        };
        self.push(name, column);
    }

    fn push(&mut self, name: &str, column: Column) {
        let name = name.to_owned();
        self.0.push(online::NamedColumn { name, column });
    }
}

fn pack<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> Packed {
    let mut packed = Packed {
        offsets: vec![0],
        data: Vec::new(),
    };
    for value in values {
        packed.data.extend_from_slice(value.as_ref().as_bytes());
        // A component has less than 4 GiB of memory.
        packed.offsets.push(packed.data.len() as u32);
    }
    packed
}
