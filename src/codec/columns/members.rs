//! The columns of a record or of a struct.

use arrow_array::ArrayRef;
use arrow_schema::FieldRef;

use super::ColumnsError;
use super::builder::Column;
use super::cursor::Cursor;
use crate::codec::encode::scalar::write_str;
use crate::schema::Field;

#[derive(Debug)]
struct Member {
    /// `"key":` as it is printed.
    prefix: Box<[u8]>,
    column: Column,
    /// For how many rows the column has a value or null.
    filled: usize,
}

/// The columns of a record or of a struct.
#[derive(Debug)]
pub(super) struct Members {
    members: Vec<Member>,
    rows: usize,
}

impl Members {
    pub(super) fn new(fields: &[Field], arrow: &[FieldRef], rows: usize) -> Self {
        Self::wanted(fields, arrow, rows, |_| true)
    }

    /// The same where values of some columns are gone past.
    pub(super) fn wanted(fields: &[Field], arrow: &[FieldRef], rows: usize, is_wanted: impl Fn(usize) -> bool) -> Self {
        let members = fields.iter().zip(arrow).enumerate().map(|(at, (field, arrow))| {
            let mut prefix = Vec::new();
            write_str(&field.name, &mut prefix);
            prefix.push(b':');
            let column = match is_wanted(at) {
                true => Column::new(&field.data_type, arrow.data_type(), rows),
                false => Column::Skipped,
            };
            Member { prefix: prefix.into(), column, filled: 0 }
        });
        Self { members: members.collect(), rows: 0 }
    }

    pub(super) fn null(&mut self) {
        self.rows += 1;
        for member in &mut self.members {
            member.column.null();
            member.filled += 1;
        }
    }

    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), ColumnsError> {
        cursor.take(b'{', "object")?;
        self.rows += 1;
        let mut expected = 0;
        let mut more = !cursor.skip(b'}');
        while more {
            // Members come in the schema's order, so the next one is nearly always right here.
            let at = cursor.at();
            let later = self.members.iter().skip(expected).position(|member| cursor.skip_word(&member.prefix));
            let place = later.map(|skip| expected + skip);
            let place = place.or_else(|| self.members.iter().position(|member| cursor.skip_word(&member.prefix)));
            let found = place.and_then(|place| Some((place, self.members.get_mut(place)?)));
            let Some((place, member)) = found.filter(|(_, member)| member.filled < self.rows) else {
                return Err(cursor.unknown(at));
            };
            member.column.read_member(cursor)?;
            member.filled += 1;
            expected = place + 1;
            more = !cursor.skip(b'}');
            if more {
                cursor.take(b',', "next member")?;
            }
        }
        for member in self.members.iter_mut().filter(|member| member.filled < self.rows) {
            member.column.null();
            member.filled += 1;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Vec<ArrayRef>, ColumnsError> {
        let wanted = self.members.into_iter().filter(|member| !matches!(member.column, Column::Skipped));
        wanted.map(|member| member.column.finish()).collect()
    }
}
