//! One connection, and the exchanges on it.

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;
use url::{Position, Url};

use crate::{Error, Request};

/// Longest head of an answer, in bytes, and most headers in it.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// A connection to an address that has been checked. Dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    opened_at: Instant,
    _task: AbortOnDropHandle<Result<(), hyper::Error>>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The head, and as much of the body as was wanted.
    pub response: Response<Bytes>,
    /// Whether there was more of the body.
    pub truncated: bool,
}

impl Connection {
    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self, Error> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .max_headers(HEADERS_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(exchange)?;
        let task = AbortOnDropHandle::new(tokio::spawn(connection));
        Ok(Self { sender, opened_at: Instant::now(), _task: task })
    }

    /// When the address was checked.
    #[must_use]
    pub fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// Whether another request can be sent: the last answer was read to its end, and the server has not closed.
    #[must_use]
    pub fn reusable(&self) -> bool {
        self.sender.is_ready()
    }

    /// Sends a request and reads at most `body_bytes_max` of the answer's body. The caller bounds the time. With `keep` the connection
    /// stays open for another request, if the server agrees.
    pub async fn exchange(&mut self, request: Request, body_bytes_max: usize, keep: bool) -> Result<Answer, Error> {
        let message = message(request, keep)?;
        let (head, body) = self.sender.send_request(message).await.map_err(exchange)?.into_parts();
        let (body, truncated) = read(body, body_bytes_max).await?;
        if keep && !truncated {
            // The connection is free when its task has seen the end of the answer.
            self.sender.ready().await.ok();
        }
        Ok(Answer { response: Response::from_parts(head, body), truncated })
    }
}

async fn read(mut body: Incoming, bytes_max: usize) -> Result<(Bytes, bool), Error> {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(exchange)?.into_data() else { continue };
        let room = bytes_max - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return Ok((read.freeze(), true));
        }
    }
    Ok((read.freeze(), false))
}

fn exchange(error: hyper::Error) -> Error {
    Error::Exchange(error.to_string())
}

fn message(request: Request, keep: bool) -> Result<http::Request<Full<Bytes>>, Error> {
    let url: &Url = &request.url;
    let authority = &url[Position::BeforeHost..Position::AfterPort];
    let host = HeaderValue::from_str(authority).map_err(|_| Error::Url("has no valid host"))?;
    let mut message = http::Request::builder()
        .method(request.method)
        .uri(&url[Position::BeforePath..Position::AfterQuery])
        .body(Full::new(request.body))
        .map_err(|_| Error::Url("has no valid path"))?;
    *message.headers_mut() = request.headers;
    message.headers_mut().insert(header::HOST, host);
    if !keep {
        message.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(message)
}
