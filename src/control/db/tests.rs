use super::*;

/// What the schema is after all migrations, without sqlx's own table. A migration that is added changes this text; an
/// upgraded database and a fresh one run the same files in the same order, so that both are equal to it.
const SCHEMA: &str = "\
index sessions_open_by_stream
index stream_keys_by_stream
table sessions(id TEXT!, stream_id TEXT!, epoch INTEGER!, state TEXT!, started_at INTEGER!, changed_at INTEGER!, ended_at INTEGER)
table stream_keys(id TEXT!, stream_id TEXT!, label TEXT!, secret_hash BLOB!, created_at INTEGER!, expires_at INTEGER, revoked_at INTEGER, last_used_at INTEGER)
table streams(id TEXT!, name TEXT!, title TEXT!, enabled INTEGER!, preset TEXT, grace_ms INTEGER, on_unpublish TEXT, conflict TEXT, created_at INTEGER!, srt_passphrase BLOB)
";

async fn opened(dir: &Path) -> Database {
    Database::open(&dir.join(FILE_NAME)).await.expect("it opens")
}

async fn schema(db: &Database) -> String {
    let objects: Vec<(String, String)> = sqlx::query_as(
        "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' AND name NOT LIKE '_sqlx_%' ORDER BY type, name",
    )
    .fetch_all(&db.relaxed)
    .await
    .expect("the schema is readable");
    let mut text = String::new();
    for (kind, name) in objects {
        text.push_str(&format!("{kind} {name}"));
        if kind == "table" {
            let columns: Vec<(String, String, bool)> =
                sqlx::query_as("SELECT name, type, \"notnull\" FROM pragma_table_info(?) ORDER BY cid")
                    .bind(&name)
                    .fetch_all(&db.relaxed)
                    .await
                    .expect("the columns are readable");
            let columns: Vec<String> = columns
                .into_iter()
                .map(|(name, kind, required)| format!("{name} {kind}{}", if required { "!" } else { "" }))
                .collect();
            text.push_str(&format!("({})", columns.join(", ")));
        }
        text.push('\n');
    }
    text
}

#[tokio::test]
async fn the_schema_is_what_it_is_said_to_be() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let fresh = opened(dir.path()).await;
    assert_eq!(schema(&fresh).await, SCHEMA);
    fresh.close().await;
    assert_eq!(schema(&opened(dir.path()).await).await, SCHEMA, "opening again changes nothing");
}

#[tokio::test]
async fn every_step_of_the_migrations_leads_to_the_same_schema() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let options = SqliteConnectOptions::new().filename(dir.path().join(FILE_NAME)).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.expect("it opens");
    for migration in MIGRATIONS.iter() {
        MIGRATIONS.run_to(migration.version, &pool).await.expect("one step");
    }
    pool.close().await;
    assert_eq!(schema(&opened(dir.path()).await).await, SCHEMA);
}

#[tokio::test]
async fn the_two_pools_differ_in_what_a_power_cut_may_take() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let db = opened(dir.path()).await;
    for (pool, synchronous) in [(&db.durable, 2), (&db.relaxed, 1)] {
        let level: (i64,) = sqlx::query_as("PRAGMA synchronous").fetch_one(pool).await.expect("an answer");
        let journal: (String,) = sqlx::query_as("PRAGMA journal_mode").fetch_one(pool).await.expect("an answer");
        let keys: (i64,) = sqlx::query_as("PRAGMA foreign_keys").fetch_one(pool).await.expect("an answer");
        assert_eq!((level.0, journal.0.as_str(), keys.0), (synchronous, "wal", 1));
    }
}

#[tokio::test]
async fn a_newer_database_is_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let db = opened(dir.path()).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (99, 'x', 1, x'', 0)",
    )
    .execute(&db.durable)
    .await
    .expect("a row");
    db.close().await;
    let path = dir.path().join(FILE_NAME);
    let error = Database::open(&path).await.expect_err("it is newer");
    assert_eq!(
        error.to_string(),
        format!(
            "the database {} was written by a newer version of millstream (schema 99); use that version",
            path.display()
        )
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join(FILE_NAME);
    std::fs::write(&path, "this is not a database, but it is long enough to look like one at first").expect("a file");
    let error = Database::open(&path).await.expect_err("no database");
    assert_eq!((error.code(), error.to_string()), ("database", format!("cannot open the database {}", path.display())));
}

#[tokio::test]
async fn the_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let _db = opened(dir.path()).await;
    for file in [FILE_NAME.to_owned(), format!("{FILE_NAME}-wal")] {
        let mode = std::fs::metadata(dir.path().join(&file)).expect("it exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}
