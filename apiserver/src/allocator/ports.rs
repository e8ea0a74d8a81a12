//! Ports on nodes, as one bitmap.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use proto::status::Status;
use proto::view::{set_at, text_at};
use rand::RngExt;
use serde_json::{Value, json};

use crate::registry::{Local, Settings};

const RESOURCE: &str = "rangeallocations";
const NAME: &str = "servicenodeports";

/// Why there is no port.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum PortError {
    /// All ports are taken.
    #[error("range is full")]
    Full,
    /// The wanted port is taken.
    #[error("provided port is already allocated")]
    Allocated,
    /// The wanted port isn't one to give out.
    #[error("provided port is not in the valid range. The range of valid ports is {0}-{1}")]
    NotInRange(u16, u16),
}

/// Which ports are taken.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bitmap {
    first: u16,
    last: u16,
    taken: Vec<bool>,
}

impl Bitmap {
    pub(super) fn empty((first, last): (u16, u16)) -> Self {
        let size = usize::from(last.saturating_sub(first)) + 1;
        Bitmap { first, last, taken: vec![false; size] }
    }

    /// Reads the stored object; ports outside the configured range are forgotten.
    fn read(object: &Value, range: (u16, u16)) -> Self {
        let mut bitmap = Bitmap::empty(range);
        let stored = text_at(object, &["range"]);
        let first = stored.split_once('-').and_then(|(first, _)| first.parse::<u16>().ok());
        let bytes = BASE64.decode(text_at(object, &["data"])).unwrap_or_default();
        let Some(first) = first else { return bitmap };
        // The bits are those of one big number, its highest byte first.
        for (index, byte) in bytes.iter().rev().enumerate() {
            for bit in (0..8).filter(|bit| byte & (1 << bit) != 0) {
                let port = i64::from(first) + i64::try_from(index * 8 + bit).unwrap_or(i64::MAX);
                if let Some(slot) = bitmap.index(port) {
                    bitmap.taken[slot] = true;
                }
            }
        }
        bitmap
    }

    fn write(&self, object: &mut Value) {
        let mut bytes = vec![0u8; self.taken.len().div_ceil(8)];
        let size = bytes.len();
        for index in (0..self.taken.len()).filter(|index| self.taken[*index]) {
            bytes[size - 1 - index / 8] |= 1 << (index % 8);
        }
        let significant = bytes.iter().position(|byte| *byte != 0).unwrap_or(size);
        let data = BASE64.encode(&bytes[significant..]);
        set_at(object, &["range"], Value::from(format!("{}-{}", self.first, self.last)));
        set_at(object, &["data"], if data.is_empty() { Value::Null } else { Value::from(data) });
    }

    fn index(&self, port: i64) -> Option<usize> {
        let index = usize::try_from(port - i64::from(self.first)).ok()?;
        (index < self.taken.len()).then_some(index)
    }

    /// Takes this port.
    pub(super) fn take(&mut self, port: i64) -> Result<(), PortError> {
        let index = self.index(port).ok_or(PortError::NotInRange(self.first, self.last))?;
        if self.taken[index] {
            return Err(PortError::Allocated);
        }
        self.taken[index] = true;
        Ok(())
    }

    /// Takes some free port, if possible not of the part at the start that is left for ports asked for by number.
    pub(super) fn take_next(&mut self) -> Result<i64, PortError> {
        let size = self.taken.len();
        let offset = if size <= 16 { 0 } else { (size / 32).clamp(16, 128) };
        for (start, end) in [(offset, size), (0, offset)] {
            let free: Vec<usize> = (start..end).filter(|index| !self.taken[*index]).collect();
            if !free.is_empty() {
                let index = free[rand::rng().random_range(0..free.len())];
                self.taken[index] = true;
                return Ok(i64::from(self.first) + i64::try_from(index).unwrap_or_default());
            }
        }
        Err(PortError::Full)
    }

    /// Gives a port back.
    pub(super) fn release(&mut self, port: i64) {
        if let Some(index) = self.index(port) {
            self.taken[index] = false;
        }
    }

    /// The ports that are taken.
    pub(super) fn ports(&self) -> impl Iterator<Item = i64> + '_ {
        let first = i64::from(self.first);
        self.taken.iter().zip(first..).filter(|(taken, _)| **taken).map(|(_, port)| port)
    }
}

/// The bitmap as it is.
pub(super) async fn current(local: &dyn Local, settings: &Settings) -> Result<Bitmap, Status> {
    match local.get("", RESOURCE, "", NAME).await {
        Ok(object) => Ok(Bitmap::read(&object, settings.node_ports)),
        Err(status) if status.is_not_found() => Ok(Bitmap::empty(settings.node_ports)),
        Err(status) => Err(status),
    }
}

/// Changes the bitmap. The function runs again if another server changed it meanwhile; what it changes apart from
/// the bitmap it must set anew each time.
pub(super) async fn change(
    local: &dyn Local,
    settings: &Settings,
    change: &mut (dyn FnMut(&mut Bitmap) -> Result<(), Status> + Send),
) -> Result<(), Status> {
    loop {
        let mut update = |object: &Value| {
            let mut bitmap = Bitmap::read(object, settings.node_ports);
            change(&mut bitmap)?;
            let mut object = object.clone();
            bitmap.write(&mut object);
            Ok(object)
        };
        match local.update("", RESOURCE, "allocation", "", NAME, &mut update).await {
            Err(status) if status.is_not_found() => {}
            done => return done.map(|_| ()),
        }
        let mut object = json!({"apiVersion": "v1", "kind": "RangeAllocation", "metadata": {"name": NAME}});
        Bitmap::empty(settings.node_ports).write(&mut object);
        match local.create("", RESOURCE, object).await {
            Err(status) if !status.is_already_exists() => return Err(status),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_as_one_big_number() {
        let mut bitmap = Bitmap::empty((30000, 32767));
        for port in [30000, 30009] {
            bitmap.take(port).expect("free");
        }
        let mut object = json!({});
        bitmap.write(&mut object);
        assert_eq!(object["range"], "30000-32767");
        assert_eq!(BASE64.decode(object["data"].as_str().expect("text")).expect("bytes"), [0b10, 0b1]);
        assert_eq!(Bitmap::read(&object, (30000, 32767)), bitmap);
        assert_eq!(Bitmap::read(&object, (30001, 30020)).ports().collect::<Vec<_>>(), [30009]);
    }

    #[test]
    fn ports_are_taken_once() {
        let mut bitmap = Bitmap::empty((30000, 30001));
        assert_eq!(bitmap.take(30000), Ok(()));
        assert_eq!(bitmap.take(30000), Err(PortError::Allocated));
        assert_eq!(bitmap.take(80), Err(PortError::NotInRange(30000, 30001)));
        assert_eq!(bitmap.take_next(), Ok(30001));
        assert_eq!(bitmap.take_next(), Err(PortError::Full));
        bitmap.release(30000);
        assert_eq!(bitmap.take_next(), Ok(30000));
    }

    #[test]
    fn the_start_is_left_for_named_ports() {
        let mut bitmap = Bitmap::empty((30000, 32767));
        for _ in 0..100 {
            assert!(bitmap.take_next().expect("free") >= 30086);
        }
    }
}
