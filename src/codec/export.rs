//! Batches to the bytes of a file or stream, some at a time.

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{ArrowError, SchemaRef};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

/// The most rows of a row group.
const GROUP_ROWS_MAX: usize = 256 * 1024;
/// A row group ends when it takes so much memory.
const GROUP_BYTES: usize = 32 << 20;

/// Why batches could not be written: a fault of this server.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// As a stream.
    #[error("the stream could not be written: {0}")]
    Stream(#[from] ArrowError),
    /// As a file.
    #[error("the file could not be written: {0}")]
    File(#[from] ParquetError),
}

/// What batches are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file, compressed with zstd, in row groups that go to the reader when they are full.
    Parquet,
}

/// Writes batches of one schema. What is written is given out as it comes, so that a group of rows is held at most.
pub struct BatchWriter(Writer);

enum Writer {
    Arrow(StreamWriter<Vec<u8>>),
    Parquet(Box<ArrowWriter<Vec<u8>>>),
}

impl BatchWriter {
    /// A writer of batches with this schema.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn new(format: TableFormat, schema: &SchemaRef) -> Result<Self, ExportError> {
        Ok(Self(match format {
            TableFormat::Arrow => Writer::Arrow(StreamWriter::try_new(Vec::new(), schema)?),
            TableFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
                    .set_created_by(concat!("persisting ", env!("CARGO_PKG_VERSION")).to_owned())
                    .build();
                let writer = ArrowWriter::try_new(Vec::new(), SchemaRef::clone(schema), Some(properties))?;
                Writer::Parquet(Box::new(writer))
            }
        }))
    }

    /// Adds a batch; what can be given out with it, which may be nothing.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn write(&mut self, batch: &RecordBatch) -> Result<Bytes, ExportError> {
        match &mut self.0 {
            Writer::Arrow(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()).into())
            }
            Writer::Parquet(writer) => {
                writer.write(batch)?;
                if writer.memory_size() >= GROUP_BYTES {
                    writer.flush()?;
                }
                Ok(std::mem::take(writer.inner_mut()).into())
            }
        }
    }

    /// The rest.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn finish(self) -> Result<Bytes, ExportError> {
        match self.0 {
            Writer::Arrow(writer) => Ok(writer.into_inner()?.into()),
            Writer::Parquet(writer) => Ok(writer.into_inner()?.into()),
        }
    }
}
