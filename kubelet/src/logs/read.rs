//! Reads the end of a log file without reading all of it.

use super::line::parse;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

const BLOCK: u64 = 4096;

/// The offset at which the last `lines` lines of a file begin.
pub fn tail_start(file: &mut File, lines: usize) -> io::Result<u64> {
    if lines == 0 {
        return file.seek(SeekFrom::End(0));
    }
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut found = 0;
    let mut block = vec![0u8; BLOCK as usize];
    // The newline that ends the last line doesn't begin another.
    let mut skip_last = true;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let piece = &mut block[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(piece)?;
        for (i, byte) in piece.iter().enumerate().rev() {
            if *byte == b'\n' && !std::mem::take(&mut skip_last) {
                found += 1;
                if found == lines {
                    return Ok(start + i as u64 + 1);
                }
            }
            skip_last = false;
        }
        end = start;
    }
    Ok(0)
}

/// The text of the last lines of a log, and of that the last `max` bytes.
pub fn last_lines(path: &str, lines: usize, max: usize) -> io::Result<String> {
    let mut file = File::open(path)?;
    let start = tail_start(&mut file, lines)?;
    file.seek(SeekFrom::Start(start))?;
    let mut raw = Vec::new();
    file.read_to_end(&mut raw)?;
    let mut text = Vec::new();
    for line in raw.split_inclusive(|b| *b == b'\n') {
        if let Ok(line) = parse(line) {
            text.extend_from_slice(line.text);
        }
    }
    let cut = text.len().saturating_sub(max);
    Ok(String::from_utf8_lossy(&text[cut..]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_tail_begins_at_a_line() {
        let path = std::env::temp_dir().join(format!("tail-{}", uuid::Uuid::new_v4()));
        let mut file = File::create(&path).unwrap();
        for i in 0..2000 {
            writeln!(file, "2024-01-01T00:00:00Z stdout F line {i}").unwrap();
        }
        assert_eq!(last_lines(path.to_str().unwrap(), 2, 100).unwrap(), "line 1998\nline 1999\n");
        assert_eq!(last_lines(path.to_str().unwrap(), 80, 9).unwrap(), "ine 1999\n");
        let mut file = File::open(&path).unwrap();
        assert_eq!(tail_start(&mut file, 5000).unwrap(), 0);
        std::fs::remove_file(path).unwrap();
    }
}
