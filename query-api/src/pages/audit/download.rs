//! `/audit/export/{file}`: a file of the last export.

use std::{fs::File, io::Read, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use infra::http::{Code, Problem, path::Id};
use tokio::task::spawn_blocking;

use super::desk::{Answer, Desk};
use crate::{QueryApi, pages::Refused};

/// Bytes in memory for one download.
const CHUNK_BYTES: u64 = 256 << 10;

/// `GET /audit/export/{file}`
pub(in crate::pages) async fn download(
    State(api): State<Arc<QueryApi>>,
    Id(name): Id<String>,
) -> Result<Response, Refused> {
    let missing = || Problem::no_such("file");
    let ended = api.pages.desk.as_ref().map(Desk::runs).and_then(|runs| runs.exported);
    let ended = ended.ok_or_else(missing)?;
    let Ok(Answer::Exported(exported)) = &ended.result else { return Err(missing().into()) };
    let file = exported.files.iter().find(|file| file.name == name).ok_or_else(missing)?;
    let (path, bytes) = (exported.directory.path().join(&file.name), file.bytes);
    let opening = spawn_blocking(move || File::open(path)).await;
    let opened = opening.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(|error| {
        tracing::error!(%error, file = name, "Cannot open a file of an export");
        Problem::new(Code::Internal)
    })?;
    let content_type = match name.rsplit_once('.') {
        Some((_, "csv")) => "text/csv; charset=utf-8",
        Some((_, "json")) => "application/json",
        _ => "application/x-ndjson",
    };
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_LENGTH, bytes.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (header::CACHE_CONTROL, "private, no-store".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, Body::from_stream(chunks(opened))).into_response())
}

/// The file, a chunk at a time as the client reads them.
fn chunks(file: File) -> impl futures::Stream<Item = std::io::Result<Bytes>> {
    futures::stream::try_unfold(file, |file| async move {
        let reading = spawn_blocking(move || {
            let mut chunk = Vec::new();
            (&file).take(CHUNK_BYTES).read_to_end(&mut chunk)?;
            Ok::<_, std::io::Error>((chunk, file))
        });
        let (chunk, file) = reading.await.map_err(std::io::Error::other)??;
        Ok((!chunk.is_empty()).then(|| (Bytes::from(chunk), file)))
    })
}
