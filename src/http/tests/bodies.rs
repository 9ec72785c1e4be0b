use std::io::Write;

use axum::extract::State;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::http::body::{Declared, read_whole};

/// Reads the body as all operations do, and tells its bytes back.
pub(super) async fn echo_length(State(state): State<ApiState>, request: Request<Body>) -> Result<Vec<u8>, Problem> {
    let (parts, body) = request.into_parts();
    let declared = Declared::read(&parts.headers, Some(state.limits.max_body_bytes))?;
    let (bytes, permit) = read_whole(&state, body, declared, state.limits.max_body_bytes).await?;
    assert!(permit.held() >= bytes.len() as u64);
    assert!(permit.held() <= state.limits.max_body_bytes);
    Ok(bytes.to_vec())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 3).unwrap()
}

async fn post(encoding: &str, body: impl Into<Body>) -> Response {
    send(limits(), with_body("POST", "/test/body", &[("content-encoding", encoding)], body.into())).await
}

/// The body in pieces of a few bytes, as a network can bring it.
fn pieces(body: &[u8]) -> Body {
    let pieces: Vec<Result<Vec<u8>, std::io::Error>> = body.chunks(3).map(|piece| Ok(piece.to_vec())).collect();
    Body::from_stream(futures::stream::iter(pieces))
}

#[tokio::test]
async fn bodies_are_decoded_whole_in_whatever_pieces_they_come() {
    let text: Vec<u8> = (0..900_u32).map(|number| (number * 7 % 251) as u8).collect();
    let two_members = [gzip(&text[..300]), gzip(&text[300..])].concat();
    let two_frames = [zstd(&text[..300]), zstd(&text[300..])].concat();
    for (encoding, body) in [
        ("identity", text.clone()),
        ("gzip", gzip(&text)),
        ("GZIP", gzip(&text)),
        ("gzip", two_members),
        ("zstd", zstd(&text)),
        ("zstd", two_frames),
    ] {
        assert_eq!(bytes_of(post(encoding, body.clone()).await).await, text, "{encoding}");
        assert_eq!(bytes_of(post(encoding, pieces(&body)).await).await, text, "{encoding} in pieces");
    }
}

#[tokio::test]
async fn a_body_without_a_byte_is_empty_in_any_encoding() {
    for encoding in ["identity", "gzip", "zstd"] {
        assert_eq!(bytes_of(post(encoding, "").await).await, b"", "{encoding}");
        let frames: [Result<Vec<u8>, std::io::Error>; 2] = [Ok(Vec::new()), Ok(Vec::new())];
        let frames = Body::from_stream(futures::stream::iter(frames));
        assert_eq!(bytes_of(post(encoding, frames).await).await, b"", "{encoding} in empty frames");
    }
}

#[tokio::test]
async fn broken_and_cut_bodies_are_400() {
    let text = [b'x'; 500];
    let cut = |bytes: &[u8]| bytes[..bytes.len() - 5].to_vec();
    let trailing = [gzip(&text), b"garbage".to_vec()].concat();
    for (encoding, body) in [
        ("gzip", cut(&gzip(&text))),
        ("gzip", text.to_vec()),
        ("gzip", trailing),
        ("zstd", cut(&zstd(&text))),
        ("zstd", text.to_vec()),
    ] {
        let (status, code, _) = problem(post(encoding, body).await).await;
        assert_eq!((status, code.as_str()), (400, "invalid_body"), "{encoding}");
    }
    let broken: [Result<Vec<u8>, _>; 2] = [Ok(b"{".to_vec()), Err(std::io::Error::other("gone"))];
    let (status, code, _) = problem(post("identity", Body::from_stream(futures::stream::iter(broken))).await).await;
    assert_eq!((status, code.as_str()), (400, "invalid_body"));
}

#[tokio::test]
async fn a_small_body_that_decodes_huge_is_413() {
    let huge = vec![0_u8; 50_000_000];
    for (encoding, body) in [("gzip", gzip(&huge)), ("zstd", zstd(&huge))] {
        assert!(body.len() < 100_000);
        let (status, code, body) = problem(post(encoding, body).await).await;
        assert_eq!((status, code.as_str(), &body["limit"]), (413, "body_too_large", &1_000.into()), "{encoding}");
    }
}

#[tokio::test]
async fn a_body_declared_too_large_is_refused_before_it_is_read() {
    let never = Body::from_stream(futures::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let declared = with_body("POST", "/test/body", &[("content-length", "1001")], never);
    let (status, code, _) = problem(send(limits(), declared).await).await;
    assert_eq!((status, code.as_str()), (413, "body_too_large"));
    assert_eq!(problem(post("identity", pieces(&[b'x'; 1_001])).await).await.0, 413);
    assert_eq!(post("identity", pieces(&[b'x'; 1_000])).await.status().as_u16(), 200);
}

#[tokio::test]
async fn other_encodings_are_415() {
    for encoding in ["br", "deflate", "gzip, gzip", "gzip, br"] {
        let (status, code, body) = problem(post(encoding, "x").await).await;
        assert_eq!((status, code.as_str()), (415, "unsupported_media_type"), "{encoding}");
        assert!(body["allowed"].as_array().unwrap().contains(&"zstd".into()));
    }
}
