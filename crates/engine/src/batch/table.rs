//! Rows of one kind, and what happens to each within a batch.

use std::collections::BTreeMap;
use std::mem;

/// Rows by key, in the order of keys, each with what happened to it since it was loaded.
pub(super) struct Table<K, V> {
    rows: BTreeMap<K, Row<V>>,
}

enum Row<V> {
    Loaded(V),
    Changed(V),
    Added(V),
    Removed(V),
    /// Added and removed within the batch: the store never hears of it.
    Passed,
}

pub(super) struct Delta<V> {
    pub(super) added: Vec<V>,
    pub(super) changed: Vec<V>,
    pub(super) removed: Vec<V>,
}

impl<K: Ord, V> Table<K, V> {
    pub(super) fn of(rows: impl Iterator<Item = (K, V)>) -> Self {
        Self { rows: rows.map(|(key, value)| (key, Row::Loaded(value))).collect() }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        match self.rows.get(key)? {
            Row::Loaded(value) | Row::Changed(value) | Row::Added(value) => Some(value),
            Row::Removed(_) | Row::Passed => None,
        }
    }

    /// A row that isn't there. One that was removed within the batch may come again: to the store,
    /// which has heard of neither, it has changed.
    pub(super) fn add(&mut self, key: K, value: V) {
        let row = match self.rows.get(&key) {
            None | Some(Row::Passed) => Row::Added(value),
            Some(Row::Removed(_)) => Row::Changed(value),
            Some(Row::Loaded(_) | Row::Changed(_) | Row::Added(_)) => {
                panic!("a row is added once")
            }
        };
        self.rows.insert(key, row);
    }

    /// A row that is about to change.
    pub(super) fn change(&mut self, key: &K) -> Option<&mut V> {
        let row = self.rows.get_mut(key)?;
        *row = match mem::replace(row, Row::Passed) {
            Row::Loaded(value) => Row::Changed(value),
            row @ (Row::Changed(_) | Row::Added(_) | Row::Removed(_) | Row::Passed) => row,
        };
        match row {
            Row::Changed(value) | Row::Added(value) => Some(value),
            Row::Loaded(_) | Row::Removed(_) | Row::Passed => None,
        }
    }

    pub(super) fn set(&mut self, key: &K, value: V) {
        *self.change(key).expect("a row that is set was found before") = value;
    }

    pub(super) fn remove(&mut self, key: &K) {
        let row = self.rows.get_mut(key).expect("a row that is removed was found before");
        *row = match mem::replace(row, Row::Passed) {
            Row::Loaded(value) | Row::Changed(value) | Row::Removed(value) => Row::Removed(value),
            Row::Added(_) | Row::Passed => Row::Passed,
        };
    }

    pub(super) fn into_delta(self) -> Delta<V> {
        let mut delta = Delta { added: Vec::new(), changed: Vec::new(), removed: Vec::new() };
        for row in self.rows.into_values() {
            match row {
                Row::Added(value) => delta.added.push(value),
                Row::Changed(value) => delta.changed.push(value),
                Row::Removed(value) => delta.removed.push(value),
                Row::Loaded(_) | Row::Passed => {}
            }
        }
        delta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table<u8, &'static str> {
        Table::of([(1, "one"), (2, "two"), (3, "three")].into_iter())
    }

    #[test]
    fn a_table_remembers_what_became_of_each_row() {
        let mut table = table();
        table.add(4, "four");
        table.set(&1, "uno");
        table.remove(&2);
        table.set(&4, "quattro");
        let delta = table.into_delta();
        assert_eq!(delta.added, ["quattro"]);
        assert_eq!(delta.changed, ["uno"]);
        assert_eq!(delta.removed, ["two"]);
    }

    #[test]
    fn a_row_that_came_and_went_leaves_no_trace() {
        let mut table = table();
        table.add(4, "four");
        table.remove(&4);
        assert_eq!(table.get(&4), None);
        assert_eq!(table.change(&4), None);
        let delta = table.into_delta();
        assert!(delta.added.is_empty() && delta.removed.is_empty() && delta.changed.is_empty());
    }

    #[test]
    fn a_changed_row_that_is_removed_is_removed_once() {
        let mut table = table();
        table.set(&2, "dos");
        table.remove(&2);
        table.remove(&2);
        let delta = table.into_delta();
        assert_eq!(delta.removed, ["dos"]);
        assert!(delta.changed.is_empty());
    }

    #[test]
    fn a_row_that_goes_and_comes_again_has_changed() {
        let mut table = table();
        table.remove(&2);
        table.add(2, "dos");
        assert_eq!(table.get(&2), Some(&"dos"));
        table.set(&2, "due");
        let delta = table.into_delta();
        assert_eq!(delta.changed, ["due"]);
        assert!(delta.added.is_empty() && delta.removed.is_empty());
    }

    #[test]
    fn a_new_row_that_goes_and_comes_again_is_new() {
        let mut table = table();
        table.add(4, "four");
        table.remove(&4);
        table.add(4, "quattro");
        let delta = table.into_delta();
        assert_eq!(delta.added, ["quattro"]);
        assert!(delta.changed.is_empty() && delta.removed.is_empty());
    }

    #[test]
    #[should_panic(expected = "a row is added once")]
    fn a_row_that_is_there_is_not_added() {
        table().add(1, "uno");
    }
}
