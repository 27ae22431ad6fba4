//! A simple HTTP client for the control plane. It shows tests exactly what is sent and received.

use crate::Lab;
use replug::control::{ControlConfig, HttpConfig, Listening};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::PathBuf,
};

/// A configuration for the host of a [`Lab`], which listens on a Unix socket and on a free port.
pub fn control(lab: &Lab) -> ControlConfig {
    let http = HttpConfig::at(([127, 0, 0, 1], 0).into()).token_file(lab.dir().join("token"));
    ControlConfig::new().socket(lab.dir().join("run/host.sock")).http(http)
}

/// A client of a host's control plane: where to connect, and which headers to send.
#[derive(Clone, Debug)]
pub struct Http {
    at: At,
    /// The headers of every request.
    headers: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum At {
    Unix(PathBuf),
    /// Host and port.
    Tcp(String),
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, with their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If the body is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The `data` of a successful answer.
    ///
    /// # Panics
    ///
    /// If the answer is an error.
    #[track_caller]
    pub fn data(&self) -> Value {
        let mut json = self.json();
        assert_eq!((self.status, &json["code"]), (200, &0.into()), "{self:?}");
        assert_eq!(json["request_id"].as_str(), self.headers.get("x-request-id").map(String::as_str));
        json["data"].take()
    }

    /// The status, code and message of an error answer.
    ///
    /// # Panics
    ///
    /// If the answer is not an error.
    #[track_caller]
    pub fn error(&self) -> (u16, u64, String) {
        let json = self.json();
        let keys: Vec<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys, ["code", "details", "message"], "{self:?}");
        let code = json["code"].as_u64().expect("a number");
        assert_eq!(u64::from(self.status), code / 100, "{self:?}");
        (self.status, code, json["message"].as_str().expect("text").to_owned())
    }
}

impl Http {
    /// A client over the Unix socket.
    ///
    /// # Panics
    ///
    /// If the host does not listen.
    pub fn unix(listening: &Listening) -> Self {
        let at = At::Unix(listening.socket().expect("a control plane").to_owned());
        Self { at, headers: vec![("host".into(), "localhost".into())] }
    }

    /// A client over TCP, with the token.
    ///
    /// # Panics
    ///
    /// If the host does not listen, or the token cannot be read.
    pub fn tcp(listening: &Listening) -> Self {
        let url = listening.http().expect("HTTP");
        let token = fs::read_to_string(&listening.token().expect("a token").path).expect("the token");
        Self::at(url, token.trim())
    }

    /// A client over TCP, at the address of a URL.
    ///
    /// # Panics
    ///
    /// If the URL does not begin with `http://`.
    pub fn at(url: &str, token: &str) -> Self {
        let address = url.strip_prefix("http://").expect("a URL").to_owned();
        let headers =
            vec![("host".into(), address.clone()), ("authorization".into(), format!("Bearer {token}"))];
        Self { at: At::Tcp(address), headers }
    }

    /// The same client, with another value of a header, or without it.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<&str>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        self
    }

    /// The bytes of a request's head.
    pub fn head(&self, method: &str, path: &str) -> String {
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{method} {path} HTTP/1.1\r\n{headers}")
    }

    /// Sends a GET request.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.raw(format!("{}connection: close\r\n\r\n", self.head("GET", path)).as_bytes())
    }

    /// Sends a POST request.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, ("application/json", &body.to_string()))
    }

    /// Sends a body of any type.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, (media, body): (&str, &str)) -> Answer {
        let head = self.head(method, path);
        let length = body.len();
        self.raw(
            format!(
                "{head}content-type: {media}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .as_bytes(),
        )
    }

    /// Sends bytes unchanged, and reads one answer.
    ///
    /// # Panics
    ///
    /// If there is no answer.
    #[track_caller]
    pub fn raw(&self, bytes: &[u8]) -> Answer {
        let mut conversation = self.connect();
        // An error is not a failure: a host may answer and close the connection before it has read everything.
        let _ = conversation.write(bytes);
        conversation.answer().expect("an answer")
    }

    /// A new connection.
    ///
    /// # Panics
    ///
    /// If the host does not listen.
    #[track_caller]
    pub fn connect(&self) -> Conversation {
        let pair: (Box<dyn Read + Send>, Box<dyn Write + Send>) = match &self.at {
            At::Unix(path) => {
                let stream = UnixStream::connect(path).expect("the host listens on its socket");
                (Box::new(stream.try_clone().expect("a descriptor")), Box::new(stream))
            }
            At::Tcp(address) => {
                let stream = TcpStream::connect(address).expect("the host listens on its port");
                (Box::new(stream.try_clone().expect("a descriptor")), Box::new(stream))
            }
        };
        Conversation { read: BufReader::new(pair.0), write: pair.1 }
    }

    /// Opens a stream of events.
    ///
    /// # Panics
    ///
    /// If the answer is not a stream.
    #[track_caller]
    pub fn stream(&self, path: &str) -> Stream {
        let mut conversation = self.connect();
        conversation.write(format!("{}\r\n", self.head("GET", path)).as_bytes()).expect("the host listens");
        let mut stream = Stream { read: conversation.read, _write: conversation.write };
        let status = stream.line().expect("an answer");
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        // The host sends this comment when the stream is subscribed, so no later event is missed.
        while stream.line().expect("a stream") != ": connected" {}
        stream
    }
}

/// A connection.
pub struct Conversation {
    read: BufReader<Box<dyn Read + Send>>,
    write: Box<dyn Write + Send>,
}

impl Conversation {
    /// Sends bytes.
    ///
    /// # Errors
    ///
    /// If the host has closed the connection.
    pub fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.write.write_all(bytes).and_then(|()| self.write.flush())
    }

    /// Reads one answer; `None` if the host closes the connection instead.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut line = || {
            let mut line = String::new();
            self.read.read_line(&mut line).ok().filter(|read| *read > 0)?;
            Some(line.trim_end().to_owned())
        };
        let status = line()?.split(' ').nth(1)?.parse().ok()?;
        let mut headers = BTreeMap::new();
        loop {
            let line = line()?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.read.read_exact(&mut body).ok()?;
        Some(Answer { status, headers, body: String::from_utf8(body).ok()? })
    }

    /// Waits until the host closes the connection.
    pub fn closed(&mut self) {
        // The remaining content and errors do not matter.
        let _ = self.read.read_to_end(&mut Vec::new());
    }
}

/// A stream of events.
pub struct Stream {
    read: BufReader<Box<dyn Read + Send>>,
    /// Another descriptor of the same socket.
    _write: Box<dyn Write + Send>,
}

impl Stream {
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.read.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    }

    /// Waits for the comment that a host sends when there is no event, to show that the stream is open.
    ///
    /// # Panics
    ///
    /// If the stream ends before it.
    #[track_caller]
    pub fn wait_for_sign_of_life(&mut self) {
        while self.line().expect("a stream") != ": still here" {}
    }

    /// Reads to the end of the stream. Returns whether its last chunk is empty, as HTTP requires.
    pub fn ends_whole(&mut self) -> bool {
        let mut last = None;
        while let Some(line) = self.line() {
            last = Some(line).filter(|line| !line.is_empty()).or(last);
        }
        last.as_deref() == Some("0")
    }

    /// The next event with its id; `None` at the end. The sizes of chunks between the lines are skipped.
    pub fn next_event(&mut self) -> Option<(String, Value)> {
        let mut id = String::new();
        loop {
            let line = self.line()?;
            if let Some(text) = line.strip_prefix("id: ") {
                id = text.to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return Some((id, serde_json::from_str(data).expect("an event is JSON")));
            }
        }
    }

    /// The next event of this kind; earlier events are skipped.
    ///
    /// # Panics
    ///
    /// If the stream ends before it.
    #[track_caller]
    pub fn wait_for(&mut self, kind: &str) -> (String, Value) {
        loop {
            let (id, event) =
                self.next_event().unwrap_or_else(|| panic!("the stream ends before an event `{kind}`"));
            if event["event"] == kind {
                return (id, event);
            }
        }
    }
}
