//! Catalogs as no server writes them, for tests of what stands above.

use std::path::Path;

use sqlx::{Connection, SqliteConnection};

use crate::catalog::Catalog;
use crate::model::{IndexName, TopicId};

/// Gives a topic an index whose row nobody can read, while no server has the catalog.
pub(crate) async fn put_damaged_index(data_dir: &Path, topic: TopicId, name: &IndexName) {
    let path = data_dir.join(Catalog::FILE_NAME);
    let mut catalog = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let row = "INSERT INTO indexes (topic, name, id, kind, columns, schema, params, from_offset, created_at)
               VALUES (?, ?, ?, 'x', '[]', NULL, '{}', 0, 0)";
    let topic = topic.to_string();
    sqlx::query(row).bind(&topic).bind(name.as_str()).bind(&topic).execute(&mut catalog).await.unwrap();
    catalog.close().await.unwrap();
}

/// Makes a catalog what servers before format 2 wrote while its folder was `was`: all paths are absolute.
pub(crate) async fn put_into_format_1(data_dir: &Path, was: &Path) {
    let path = data_dir.join(Catalog::FILE_NAME);
    let mut catalog = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    let paths = "UPDATE topics SET dataset = CAST(?1 || '/' || CAST(dataset AS TEXT) AS BLOB),
                     link = CAST(?1 || '/' || CAST(link AS TEXT) AS BLOB)
                 WHERE CAST(dataset AS TEXT) NOT LIKE '/%'";
    sqlx::query(paths).bind(was.to_str().unwrap()).execute(&mut catalog).await.unwrap();
    sqlx::query("UPDATE meta SET format = 1").execute(&mut catalog).await.unwrap();
    catalog.close().await.unwrap();
}

/// Makes a catalog that of a server which did not note how far the log had come, while no server has it.
pub(crate) async fn forget_log(data_dir: &Path) {
    let path = data_dir.join(Catalog::FILE_NAME);
    let mut catalog = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query("UPDATE meta SET log_released = NULL, log_end = NULL").execute(&mut catalog).await.unwrap();
    catalog.close().await.unwrap();
}
