//! Opening the file, and making durable what is found in it.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Row, SqliteConnection};

use crate::catalog::{CatalogError, places};

/// The changes of form, oldest first; applied at every start.
static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// The form that this version reads and writes.
const FORMAT: i64 = 2;
/// How long to wait for somebody else's lock, such as an operator's `sqlite3`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections for reads. Few: every one is a thread, and reads are rare.
const READERS_MAX: u32 = 2;

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // A burst must not leave a log file of its size for ever.
        .pragma("journal_size_limit", "67108864")
        .thread_name(|number| format!("catalog-{number}"))
}

/// Opens the file for writing, making it or bringing its form up to date where need be.
pub(super) async fn open_writer(path: &Path) -> Result<SqliteConnection, CatalogError> {
    let mut connection = options(path).connect().await?;
    settle(&mut connection).await?;
    MIGRATIONS.run(&mut connection).await?;
    if format_of(&mut connection).await? == 1 {
        places::leave_format_1(&mut connection, folder_of(path)).await?;
    }
    let format = format_of(&mut connection).await?;
    if format != FORMAT {
        return Err(CatalogError::Unsupported {
            reason: format!("it has format {format}, this version knows format {FORMAT}"),
        });
    }
    settle(&mut connection).await?;
    sync_folder_of(path).await?;
    Ok(connection)
}

async fn format_of(connection: &mut SqliteConnection) -> Result<i64, CatalogError> {
    Ok(sqlx::query("SELECT format FROM meta").fetch_one(connection).await?.try_get(0)?)
}

/// The folder that a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens connections that read, and cannot write.
pub(super) fn open_readers(path: &Path) -> SqlitePool {
    let options = options(path).create_if_missing(false).pragma("query_only", "on");
    SqlitePoolOptions::new().max_connections(READERS_MAX).connect_lazy_with(options)
}

/// Makes all that has been read durable: a killed process can have left a commit that no fsync has reached, and what is
/// served must not vanish with a later loss of power. The checkpoint syncs the log, then the file.
async fn settle(connection: &mut SqliteConnection) -> Result<(), CatalogError> {
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(connection).await?;
    let busy: i64 = row.try_get(0)?;
    if busy != 0 {
        return Err(CatalogError::failed("another process has the catalog open"));
    }
    Ok(())
}

/// SQLite syncs the folder for its log, not for the file itself.
async fn sync_folder_of(path: &Path) -> Result<(), CatalogError> {
    let folder = folder_of(path).to_owned();
    let synced = tokio::task::spawn_blocking(move || File::open(folder)?.sync_all()).await;
    match synced {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(CatalogError::failed(format!("its folder could not be synced: {error}"))),
        Err(error) => Err(CatalogError::failed(error.to_string())),
    }
}
