//! HTTP/1.1, as little of it as it takes: the benches' own side is to cost next to nothing.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A request's or an answer's head.
pub struct Head {
    /// Bytes of the head, and then of the body.
    pub bytes: usize,
    pub body: usize,
}

/// A header's value.
pub fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (there, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        there
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| value.trim_ascii())
    })
}

/// The head at the beginning of what was read, once it is whole.
pub fn head(read: &[u8]) -> Option<Head> {
    let bytes = read.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let length = header(&read[..bytes], "content-length");
    let length = length.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    Some(Head {
        bytes,
        body: length.unwrap_or(0),
    })
}

/// A connection that sends what was prepared and reads one whole answer.
pub struct Asker {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Asker {
    pub async fn connect(address: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Asker {
            socket,
            read: Vec::with_capacity(4_096),
        })
    }

    /// The answer's status; its body is the end of [`Asker::answer`].
    pub async fn ask(&mut self, request: &[u8]) -> io::Result<u16> {
        self.socket.write_all(request).await?;
        self.read.clear();
        loop {
            if self.socket.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(head) = head(&self.read)
                && self.read.len() >= head.bytes + head.body
            {
                break;
            }
        }
        let status = self
            .read
            .get(9..12)
            .and_then(|text| std::str::from_utf8(text).ok());
        Ok(status.and_then(|text| text.parse().ok()).unwrap_or(0))
    }

    pub fn answer(&self) -> &[u8] {
        &self.read
    }

    /// The answer's body.
    pub fn json(&self) -> serde_json::Value {
        let head = head(&self.read).unwrap();
        serde_json::from_slice(&self.read[head.bytes..]).unwrap()
    }
}

/// A request of DynamoDB's protocol, signed with nothing that anybody checks. `invocation` is what SDKs send with writes.
pub fn request(operation: &str, body: &str, invocation: Option<u64>) -> Vec<u8> {
    let invocation = invocation.map_or(String::new(), |id| {
        format!("amz-sdk-invocation-id: {id:08x}-9f7c-4a51-b7b1-0d3c5ee9a111\r\namz-sdk-request: attempt=1; max=3\r\n")
    });
    format!(
        "POST / HTTP/1.1\r\nhost: 127.0.0.1:8000\r\nx-amz-target: DynamoDB_20120810.{operation}\r\n\
         content-type: application/x-amz-json-1.0\r\nuser-agent: bench\r\nx-amz-date: 20261128T120000Z\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=crossfade/20261128/us-east-1/dynamodb/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date;x-amz-target, \
         Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31\r\n\
         {invocation}content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
