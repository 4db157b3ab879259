//! What a master says of itself when it is asked on a replica's connection, ahead of PSYNC.
//!
//! Used by `replication`. The answers are for Redan: none of their bytes may reach the replica, and none behind them be lost.

use crate::resp::encode;

/// Each is answered by one bulk, or one error. Three, because servers before 7.0 take one section at a time.
const QUESTIONS: [&str; 3] = ["replication", "keyspace", "persistence"];

/// A line for each of 16,000 databases is less.
const LONGEST: usize = 1024 * 1024;

/// The answers as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Inquiry {
    answers: Vec<Result<String, String>>,
    bytes: Vec<u8>,
}

/// What the master is, or its refusal to say so; `Err` of both: these were no answers.
pub(super) type Answers = Result<Result<Master, String>, ()>;

/// What the answers mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Master {
    pub(super) history: String,
    /// The history that it went on from, and up to where.
    pub(super) former: String,
    pub(super) former_end: u64,
    /// The first byte that its backlog has, and how many; none without a backlog.
    pub(super) backlog: Option<(u64, u64)>,
    pub(super) backlog_size: u64,
    pub(super) keys: u64,
    pub(super) loading: bool,
}

impl Inquiry {
    pub(super) fn ask(out: &mut Vec<u8>) {
        for section in QUESTIONS {
            encode::command(out, &[b"INFO", section.as_bytes()]);
        }
    }

    /// Takes of `bytes` what belongs to the answers; `Some` when all have come.
    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> Option<Answers> {
        loop {
            if self.answers.len() == QUESTIONS.len() {
                return Some(Ok(self.read()));
            }
            if bytes.is_empty() {
                return None;
            }
            // Up to the end of the line that says how long the answer is, and then that much.
            let length = match self.bytes.iter().position(|byte| *byte == b'\n') {
                None => {
                    let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
                    self.move_over(bytes, end);
                    if self.bytes.len() > LONGEST {
                        return Some(Err(()));
                    }
                    match self.bytes.last() {
                        Some(b'\n') => self.head()?,
                        _ => return None,
                    }
                }
                Some(_) => self.head()?,
            };
            let Ok(whole) = length else { return Some(Err(())) };
            let missing = whole.saturating_sub(self.bytes.len());
            self.move_over(bytes, missing);
            if self.bytes.len() == whole {
                self.finish();
            }
        }
    }

    fn move_over(&mut self, bytes: &mut &[u8], most: usize) {
        let (part, rest) = bytes.split_at(most.min(bytes.len()));
        self.bytes.extend_from_slice(part);
        *bytes = rest;
    }

    /// How long the answer is that begins with this line, the line included.
    fn head(&self) -> Option<Result<usize, ()>> {
        let end = self.bytes.iter().position(|byte| *byte == b'\n')? + 1;
        let line = std::str::from_utf8(&self.bytes[..end]).map_or("", str::trim_end);
        if line.starts_with('-') {
            return Some(Ok(end));
        }
        let length = line.strip_prefix('$').and_then(|length| length.parse::<usize>().ok());
        Some(length.filter(|length| *length <= LONGEST).map(|length| end + length + 2).ok_or(()))
    }

    fn finish(&mut self) {
        let text = String::from_utf8_lossy(&std::mem::take(&mut self.bytes)).into_owned();
        let answer = match text.strip_prefix('-') {
            Some(error) => Err(error.trim_end().to_owned()),
            None => Ok(text),
        };
        self.answers.push(answer);
    }

    fn read(&mut self) -> Result<Master, String> {
        let answers: Vec<String> = std::mem::take(&mut self.answers).into_iter().collect::<Result<_, _>>()?;
        let text = answers.concat();
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        let number = |name: &str| field(name).and_then(|value| value.parse().ok()).unwrap_or(0);
        let history = field("master_replid").ok_or("INFO replication has no master_replid")?;
        let backlog = (number("repl_backlog_active") == 1)
            .then(|| (number("repl_backlog_first_byte_offset"), number("repl_backlog_histlen")));
        let keys = text.lines().filter_map(|line| {
            let (_, fields) = line.strip_prefix("db")?.split_once(':')?;
            fields
                .split(',')
                .find_map(|field| field.strip_prefix("keys="))
                .and_then(|keys| keys.trim().parse::<u64>().ok())
        });
        Ok(Master {
            history: history.to_owned(),
            former: field("master_replid2").unwrap_or_default().to_owned(),
            former_end: number("second_repl_offset"),
            backlog,
            backlog_size: number("repl_backlog_size"),
            keys: keys.sum(),
            loading: number("loading") == 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> String {
        format!("${}\r\n{text}\r\n", text.len())
    }

    fn taken(said: &str, piece: usize) -> (Option<Answers>, String) {
        let mut inquiry = Inquiry::default();
        let mut left = said.as_bytes();
        while !left.is_empty() {
            let (mut part, behind) = left.split_at(piece.min(left.len()));
            let found = inquiry.take(&mut part);
            let rest = String::from_utf8([part, behind].concat()).expect("text");
            if found.is_some() {
                return (found, rest);
            }
            assert!(part.is_empty());
            left = behind;
        }
        (None, String::new())
    }

    #[test]
    fn answers_in_any_pieces_and_not_a_byte_more() {
        let replication = "# Replication\r\nrole:master\r\nmaster_replid:aa\r\nmaster_replid2:bb\r\nsecond_repl_offset:9\r\n\
                           repl_backlog_active:1\r\nrepl_backlog_size:1048576\r\nrepl_backlog_first_byte_offset:1\r\n\
                           repl_backlog_histlen:70\r\n";
        let keyspace = "# Keyspace\r\ndb0:keys=5,expires=0,avg_ttl=0\r\ndb3:keys=7,expires=1,avg_ttl=0\r\n";
        let said =
            [bulk(replication), bulk(keyspace), bulk("# Persistence\r\nloading:0\r\nasync_loading:0\r\n")].concat();
        let expected = Master {
            history: "aa".to_owned(),
            former: "bb".to_owned(),
            former_end: 9,
            backlog: Some((1, 70)),
            backlog_size: 1_048_576,
            keys: 12,
            loading: false,
        };
        for piece in [1, 2, 3, 50, 5000] {
            let (found, rest) = taken(&(said.clone() + "+CONTINUE"), piece);
            assert_eq!(found, Some(Ok(Ok(expected.clone()))), "pieces of {piece}");
            assert_eq!(rest, "+CONTINUE", "pieces of {piece}");
        }
    }

    #[test]
    fn errors_are_answers_and_other_things_are_none() {
        let refused = "-NOPERM no right to 'info'\r\n".repeat(3);
        for piece in [1, 10, 500] {
            assert_eq!(taken(&refused, piece).0, Some(Ok(Err("NOPERM no right to 'info'".to_owned()))));
        }
        assert_eq!(taken("+OK\r\n", 5).0, Some(Err(())));
        assert_eq!(taken("$99999999\r\n", 5).0, Some(Err(())));
        assert_eq!(taken(&bulk("# Replication\r\nrole:master\r\n").repeat(2), 7).0, None);
        let short = bulk("# Replication\r\nrole:master\r\n").repeat(3);
        assert!(matches!(taken(&short, 7).0, Some(Ok(Err(why))) if why.contains("master_replid")));
    }
}
