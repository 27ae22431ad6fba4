//! Puts load on an HTTP server. Each of several connections sends requests in sequence. All connections share one
//! thread, so that the server has the other CPUs.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime,
    task::JoinSet,
};

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct Load {
    /// The server.
    pub address: SocketAddr,
    /// How many connections send requests at the same time.
    pub connections: usize,
    /// The request: head and body as they are sent. It must keep the connection open.
    pub request: String,
    /// A text that the body of a correct answer contains.
    pub expected: String,
}

/// The results of a run.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// The number of correct answers.
    pub right: u64,
    /// The number of requests that got a wrong answer, or none.
    pub failed: u64,
    /// A description of one failure.
    pub failure: Option<String>,
    /// The latencies of correct answers, in microseconds, unordered.
    pub latencies_us: Vec<f64>,
    /// The duration of the run.
    pub took: Duration,
}

impl Answers {
    /// Correct answers per second.
    pub fn per_second(&self) -> f64 {
        self.right as f64 / self.took.as_secs_f64()
    }

    /// Adds the results of another run.
    pub fn add(&mut self, other: Self) {
        self.right += other.right;
        self.failed += other.failed;
        self.failure = self.failure.take().or(other.failure);
        self.latencies_us.extend(other.latencies_us);
        self.took += other.took;
    }
}

impl Load {
    /// Sends requests on all connections until `stop` is set, and then waits for the answers of requests in flight.
    /// Blocks the calling thread.
    ///
    /// # Errors
    ///
    /// If a connection cannot be opened.
    pub fn run(&self, stop: &Arc<AtomicBool>) -> io::Result<Answers> {
        let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
        runtime.block_on(async {
            let mut streams = Vec::new();
            for _ in 0..self.connections {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                streams.push(stream);
            }
            let began = Instant::now();
            let mut asking: JoinSet<_> =
                streams.into_iter().map(|stream| self.clone().ask(stream, stop.clone())).collect();
            let mut all = Answers::default();
            while let Some(answers) = asking.join_next().await {
                all.add(answers.map_err(io::Error::other)?);
            }
            all.took = began.elapsed();
            Ok(all)
        })
    }

    async fn ask(self, mut stream: TcpStream, stop: Arc<AtomicBool>) -> Answers {
        let (mut answers, mut buffer) = (Answers::default(), Vec::with_capacity(4096));
        // On a busy machine, `stop` may be set before the first request.
        while !stop.load(Ordering::Relaxed) || answers.right + answers.failed == 0 {
            let began = Instant::now();
            match self.exchange(&mut stream, &mut buffer).await {
                Ok(()) => {
                    answers.right += 1;
                    answers.latencies_us.push(began.elapsed().as_secs_f64() * 1e6);
                }
                Err(error) => {
                    answers.failed += 1;
                    answers.failure.get_or_insert(error.to_string());
                    // On the old connection, the rest of this answer would be mistaken for the next answer.
                    match TcpStream::connect(self.address).await {
                        Ok(again) => stream = again,
                        Err(_) => break,
                    }
                }
            }
        }
        answers
    }

    /// Sends one request and reads its answer. An answer that is not the expected one is an error.
    async fn exchange(&self, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.clear();
        stream.write_all(self.request.as_bytes()).await?;
        let end = loop {
            if stream.read_buf(buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some(end) = answer_end(buffer) {
                break end;
            }
        };
        let text = String::from_utf8_lossy(buffer);
        let right = buffer.len() == end && text.starts_with("HTTP/1.1 200 ") && text.contains(&self.expected);
        if right { Ok(()) } else { Err(io::Error::other(format!("wrong answer: {text}"))) }
    }
}

/// The end of the answer at the beginning of the bytes; `None` if the answer is not complete yet.
fn answer_end(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let length = text.lines().filter_map(|line| line.split_once(": ")).find_map(|(name, value)| {
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().ok()).flatten()
    });
    let end = head + 4 + length.unwrap_or(0);
    (bytes.len() >= end).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        net::TcpListener,
        thread,
    };

    /// A server that sends these answers, one for each request, and stops the load with the last. After an answer that
    /// is not successful, it waits for a new connection.
    fn serve(answers: &'static [&'static str], stop: Arc<AtomicBool>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            for (number, answer) in answers.iter().enumerate() {
                let mut request = [0; 256];
                let read = stream.read(&mut request).unwrap();
                assert!(request[..read].starts_with(b"GET /"), "{request:?}");
                if number + 1 == answers.len() {
                    stop.store(true, Ordering::Relaxed);
                }
                stream.write_all(answer.as_bytes()).unwrap();
                if !answer.contains("200") {
                    stream = listener.accept().unwrap().0;
                }
            }
        });
        address
    }

    #[test]
    fn a_wrong_answer_counts_as_failed_and_the_load_continues() {
        let stop = Arc::new(AtomicBool::new(false));
        const RIGHT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        const WRONG: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nhello";
        let address = serve(&[RIGHT, RIGHT, WRONG, RIGHT], stop.clone());
        let request = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".into();
        let load = Load { address, connections: 1, request, expected: "hello".into() };
        let answers = load.run(&stop).unwrap();
        assert_eq!((answers.right, answers.failed, answers.latencies_us.len()), (3, 1, 3));
        assert!(answers.failure.unwrap().contains("503"));
    }

    #[test]
    fn an_answer_ends_after_its_content_length() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(answer_end(whole), Some(whole.len()));
        assert_eq!(answer_end(&whole[..whole.len() - 1]), None);
        assert_eq!(answer_end(&whole[..20]), None);
    }
}
