//! Calls of a transformation.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use wasmtime::Store;

use crate::check::{self, Fault};
use crate::column::{Batch, Column, ColumnRef, Columns, GuestError, bitmap_bytes};
use crate::error::{Error, Phase, Result};
use crate::limits::{Limit, LimitValue};
use crate::lower::{Handed, ListBlock};
use crate::nulls::Kept;
use crate::pool::Instance;
use crate::state::{Facts, State};
use crate::stats::Outcome;
use crate::transform::{Apply, CallContext, Isolation, Transform, missing};

impl Transform {
    /// Transforms a batch on the calling thread. The answer is checked whole: it has as many rows
    /// as the batch and the columns of the signature's outputs. A batch without rows is answered
    /// without a call.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the author's code refuses the data; [`Error::Limit`],
    /// [`Error::Trap`], [`Error::BadResult`] and [`Error::Failed`] when the guest is at fault;
    /// [`Error::Busy`] and [`Error::BreakerOpen`] when it is not called at all;
    /// [`Error::BadInput`] when the batch is not as the signature says.
    pub fn call(&self, context: &CallContext, input: Batch<'_>) -> Result<Columns> {
        self.note(self.admit(context, input, true))
    }

    /// Transforms a batch as [`Transform::call`] does, without taking one of the places: for callers
    /// whose own number is bounded and who must not wait. To be asked before:
    /// [`Transform::may_hold_up`].
    ///
    /// # Errors
    /// As [`Transform::call`], but for [`Error::Busy`].
    pub fn call_at_once(&self, context: &CallContext, input: Batch<'_>) -> Result<Columns> {
        self.note(self.admit(context, input, false))
    }

    fn note(&self, answer: Result<Columns>) -> Result<Columns> {
        match &answer {
            // That it was answered is told by its time.
            Ok(columns) => {
                let rows = u64::from(columns.rows);
                self.counters.rows.fetch_add(rows, Relaxed);
            }
            Err(error) => self.counters.note(Outcome::of(error)),
        }
        answer
    }

    fn admit(&self, context: &CallContext, input: Batch<'_>, takes_place: bool) -> Result<Columns> {
        self.check_input(&input)?;
        let transform = || Arc::clone(&self.common.name);
        self.breaker
            .admit(|| self.millis(Instant::now()))
            .map_err(|retry_after| Error::BreakerOpen {
                transform: transform(),
                retry_after,
            })?;
        let place = takes_place.then(|| self.gate.enter());
        if let Some(None) = place {
            self.breaker.note(self.millis(Instant::now()), None);
            return Err(Error::Busy {
                transform: transform(),
                limit: Limit::Concurrency,
                value: LimitValue::Count(u64::from(self.common.limits.concurrency_max)),
            });
        }
        let started = Instant::now();
        let facts = Facts {
            now_micros: context.now.0,
            seed: context.seed,
            started,
        };
        let answer = self.call_rows(facts, input);
        drop(place);
        let ended = Instant::now();
        let took = ended.saturating_duration_since(started);
        self.counters.note_recent(took);
        let failed = match &answer {
            Ok(_) => {
                self.counters.times.note(took);
                Some(false)
            }
            Err(error) if error.is_guest_fault() => Some(true),
            Err(_) => None,
        };
        self.breaker.note(self.millis(ended), failed);
        answer
    }

    fn check_input(&self, input: &Batch<'_>) -> Result<()> {
        let limits = &self.common.limits;
        if input.rows > limits.rows_max {
            return Err(self.limit(Limit::Rows, Phase::Apply));
        }
        let refuse = |what: String| {
            Err(Error::BadInput {
                transform: Arc::clone(&self.common.name),
                what,
            })
        };
        let fields = &self.signature.inputs;
        if input.columns.len() != fields.len() {
            return refuse(format!(
                "it has {} columns, the signature {}",
                input.columns.len(),
                fields.len()
            ));
        }
        let bitmap = bitmap_bytes(input.rows as usize);
        for (column, field) in input.columns.iter().zip(fields) {
            if column
                .validity
                .is_some_and(|validity| validity.len() != bitmap)
            {
                return refuse(format!(
                    "the validity of column '{}' is not of {bitmap} bytes",
                    field.name
                ));
            }
            let (found, rows) = (column.data_type(), column.len());
            if found != field.data_type || rows != input.rows as usize {
                return refuse(format!(
                    "column '{}' is {found} of {rows} rows, {} of {} rows is expected",
                    field.name, field.data_type, input.rows
                ));
            }
        }
        Ok(())
    }

    /// Calls with the rows that may be handed over.
    fn call_rows(&self, facts: Facts, input: Batch<'_>) -> Result<Columns> {
        let Some(kept) = Kept::find(&self.signature, &input) else {
            if input.rows == 0 {
                let empty = |field: &crate::Field| Column::empty(field.data_type);
                return Ok(Columns {
                    rows: 0,
                    columns: self.signature.outputs.iter().map(empty).collect(),
                });
            }
            return self.call_guest(facts, input);
        };
        if kept.rows() == 0 {
            return Ok(kept.nothing(&self.signature));
        }
        let gathered = kept.gather(input.columns);
        let columns: Vec<ColumnRef<'_>> = gathered.iter().map(Column::as_ref).collect();
        let batch = Batch {
            rows: kept.rows(),
            columns: &columns,
        };
        match self.call_guest(facts, batch) {
            Ok(given) => Ok(kept.scatter(&given)),
            Err(Error::Rejected {
                transform,
                row,
                message,
            }) => Err(Error::Rejected {
                transform,
                row: row.and_then(|row| kept.position(row)),
                message,
            }),
            Err(error) => Err(error),
        }
    }

    fn call_guest(&self, facts: Facts, input: Batch<'_>) -> Result<Columns> {
        let rows = input.rows;
        let _running = self.engine.running();
        let mut instance = match self.take_idle() {
            Some(mut instance) => {
                State::again(&mut instance.store, facts);
                instance
            }
            None => self.instantiate(facts)?,
        };
        let answer = self.run(&mut instance, input)?;
        if self.may_serve_again(&mut instance) {
            self.keep(instance, facts.started);
        }
        let columns = answer.map_err(|error| self.guest_error(error, rows))?;
        check::check(&columns, rows, &self.signature, &self.common.limits).map_err(|fault| {
            match fault {
                Fault::Limit(limit) => self.limit(limit, Phase::Apply),
                Fault::Shape(what) => Error::BadResult {
                    transform: Arc::clone(&self.common.name),
                    what,
                },
            }
        })?;
        Ok(columns)
    }

    /// Whether another call may meet the instance: where calls share instances any, else one that is
    /// as if new.
    fn may_serve_again(&self, instance: &mut Instance) -> bool {
        match (self.isolation, &self.rewind, &instance.reset) {
            (Isolation::Pooled { .. }, _, _) => true,
            (Isolation::Fresh, Some(rewind), Some(reset)) => {
                instance.block.forget();
                rewind.rewind(reset, &mut instance.store)
            }
            (Isolation::Fresh, _, _) => false,
        }
    }

    fn instantiate(&self, facts: Facts) -> Result<Instance> {
        self.counters.instances.fetch_add(1, Relaxed);
        let mut store = State::store(&self.engine, &self.common, Some(facts));
        let instance = self
            .pre
            .instantiate(&mut store)
            .map_err(|error| self.fault(&error, &store, Phase::Instantiate))?;
        let apply = self.typed_apply(&instance, &mut store)?;
        let rewind = self.rewind.as_ref();
        Ok(Instance {
            reset: rewind.and_then(|rewind| rewind.reset(&instance, &mut store)),
            memory_bytes_first: store.data().used.memory_bytes(),
            apply,
            calls: 0,
            used: facts.started,
            keep: None,
            block: ListBlock::default(),
            store,
        })
    }

    /// The export `apply` of an instance of the component. Its type is not compared with ours again,
    /// which takes as long as a good part of a call.
    #[expect(
        unsafe_code,
        reason = "the type was compared when the component was loaded"
    )]
    fn typed_apply(
        &self,
        instance: &wasmtime::component::Instance,
        store: &mut Store<State>,
    ) -> Result<Apply<'static>> {
        let apply = instance
            .get_func(store, self.apply)
            .ok_or_else(|| missing("transformer.apply"))?;
        // SAFETY: `Transform::load` let nothing pass whose `apply` is not of these types, and the type
        // of an export is that of the component, the same for each of its instances.
        Ok(unsafe { Apply::new_unchecked(apply) })
    }

    fn run(
        &self,
        instance: &mut Instance,
        input: Batch<'_>,
    ) -> Result<std::result::Result<Columns, GuestError>> {
        instance.calls += 1;
        let apply: Apply<'_> = instance.apply;
        let block = self.lends_block.then_some(&instance.block);
        let (answer,) = apply
            .call(&mut instance.store, (Handed::new(input, block),))
            .map_err(|error| self.fault(&error, &instance.store, Phase::Apply))?;
        Ok(answer.map(Columns::from))
    }
}
