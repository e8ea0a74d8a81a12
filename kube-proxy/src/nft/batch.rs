//! A transaction: messages that take effect together or not at all.

use super::expr::write_verdict;
use super::{Attrs, Family, Rule, Verdict};

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const NEW_TABLE: u16 = 0;
const DEL_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const DEL_CHAIN: u16 = 5;
const NEW_RULE: u16 = 6;
const DEL_RULE: u16 = 8;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const DEL_ELEMENT: u16 = 14;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

/// NFT_DATA_VERDICT.
const VERDICT_TYPE: u32 = 0xffff_ff00;

/// An attribute's length has 16 bits, so long lists of elements are cut.
const MAX_LIST: usize = 60_000;

/// Set flags.
#[allow(missing_docs)]
pub mod flags {
    pub const INTERVAL: u32 = 4;
    pub const MAP: u32 = 8;
    pub const TIMEOUT: u32 = 0x10;
    pub const DYNAMIC: u32 = 0x20;
    pub const CONCAT: u32 = 0x80;
}

/// What a map holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing: it is a set.
    None,
    /// Verdicts.
    Verdicts,
    /// Values of this many bytes.
    Bytes(u32),
}

/// A set or map.
#[derive(Clone, Debug)]
pub struct Set<'a> {
    /// Its name.
    pub name: &'a str,
    /// The fields of the key: nft's number of the type (for listing) and length in bytes.
    pub key: &'a [(u32, u32)],
    /// What it maps to.
    pub data: Data,
    /// Its flags, besides MAP.
    pub flags: u32,
    /// How many elements it may have; 0 is any number.
    pub size: u32,
    /// What it is for.
    pub comment: &'a str,
}

/// An element of a set or map.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Element {
    /// The key, its fields padded to four bytes each.
    pub key: Vec<u8>,
    /// The end of the key, for an interval in a concatenation.
    pub key_end: Vec<u8>,
    /// Does an interval end before it? (Intervals of a single field are two elements.)
    pub interval_end: bool,
    /// What it maps to: bytes.
    pub value: Vec<u8>,
    /// What it maps to: a verdict.
    pub verdict: Option<Verdict>,
}

/// Where a base chain is called from.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// NF_INET_*.
    pub number: u32,
    /// Its place among others there.
    pub priority: i32,
}

/// A transaction in the making.
#[derive(Debug)]
pub struct Batch {
    family: Family,
    table: &'static str,
    bytes: Vec<u8>,
    sequence: u32,
    last: usize,
}

impl Batch {
    /// An empty transaction on one table.
    pub fn new(family: Family, table: &'static str) -> Self {
        let mut batch = Batch { family, table, bytes: Vec::new(), sequence: 0, last: 0 };
        batch.frame(BATCH_BEGIN, REQUEST, 0, SUBSYSTEM, |_| {});
        batch
    }

    /// Is there nothing to do?
    pub fn is_empty(&self) -> bool {
        self.sequence == 1
    }

    fn frame(&mut self, kind: u16, flags: u16, family: u8, resource: u16, fill: impl FnOnce(&mut Attrs)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        fill(&mut Attrs(&mut self.bytes));
        let len = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
        self.last = start;
        self.sequence += 1;
    }

    fn message(&mut self, kind: u16, flags: u16, fill: impl FnOnce(&mut Attrs, &str)) {
        let table = self.table;
        self.frame(SUBSYSTEM << 8 | kind, REQUEST | flags, self.family.number(), 0, |a| fill(a, table));
    }

    /// Adds the table, if it isn't there.
    pub fn add_table(&mut self, comment: &str) {
        self.message(NEW_TABLE, CREATE, |a, table| {
            a.text(1, table);
            a.u32(2, 0);
            if !comment.is_empty() {
                a.bytes(6, &user_data(TABLE_COMMENT, comment));
            }
        });
    }

    /// Deletes the table with all that is in it.
    pub fn delete_table(&mut self) {
        self.message(DEL_TABLE, 0, |a, table| a.text(1, table));
    }

    /// Adds a chain, if it isn't there.
    pub fn add_chain(&mut self, name: &str) {
        self.message(NEW_CHAIN, CREATE, |a, table| {
            a.text(1, table);
            a.text(3, name);
        });
    }

    /// Deletes a chain and its rules; nothing may refer to it any more.
    pub fn delete_chain(&mut self, name: &str) {
        self.message(DEL_CHAIN, 0, |a, table| {
            a.text(1, table);
            a.text(3, name);
        });
    }

    /// Adds a chain that the kernel calls.
    pub fn add_base_chain(&mut self, name: &str, hook: Hook) {
        self.message(NEW_CHAIN, CREATE, |a, table| {
            a.text(1, table);
            a.text(3, name);
            a.nest(4, |h| {
                h.u32(1, hook.number);
                h.u32(2, hook.priority as u32);
            });
            a.text(7, hook.kind);
        });
    }

    /// Removes a chain's rules.
    pub fn flush_chain(&mut self, chain: &str) {
        self.message(DEL_RULE, 0, |a, table| {
            a.text(1, table);
            a.text(2, chain);
        });
    }

    /// Adds a rule at the end of a chain.
    pub fn add_rule(&mut self, chain: &str, rule: &Rule) {
        self.message(NEW_RULE, CREATE | APPEND, |a, table| {
            a.text(1, table);
            a.text(2, chain);
            // NFTA_RULE_EXPRESSIONS: what the rule has collected is the nested content.
            a.bytes(0x8004, &rule.expressions);
        });
    }

    /// Adds a set or map, if it isn't there.
    pub fn add_set(&mut self, set: &Set) {
        let id = self.sequence;
        self.message(NEW_SET, CREATE, |a, table| {
            a.text(1, table);
            a.text(2, set.name);
            let map = if set.data == Data::None { 0 } else { flags::MAP };
            a.u32(3, set.flags | map);
            // A concatenation's type packs those of its fields, six bits each.
            a.u32(4, set.key.iter().fold(0, |all, (kind, _)| all << 6 | kind));
            a.u32(5, set.key.iter().map(|(_, len)| len.next_multiple_of(4)).sum::<u32>().max(only(set.key)));
            match set.data {
                Data::None => {}
                Data::Verdicts => {
                    a.u32(6, VERDICT_TYPE);
                    a.u32(7, 4);
                }
                Data::Bytes(len) => {
                    a.u32(6, 0);
                    a.u32(7, len);
                }
            }
            a.u32(10, id);
            a.nest(9, |desc| {
                if set.size > 0 {
                    desc.u32(1, set.size);
                }
                if set.flags & flags::CONCAT != 0 {
                    desc.nest(2, |fields| {
                        for (_, len) in set.key {
                            fields.nest(1, |f| f.u32(1, *len));
                        }
                    });
                }
            });
            a.bytes(13, &user_data(SET_COMMENT, set.comment));
        });
    }

    /// Adds elements.
    pub fn add_elements<'a>(&mut self, set: &str, elements: impl IntoIterator<Item = &'a Element>) {
        self.elements(NEW_ELEMENT, CREATE, set, elements);
    }

    /// Deletes elements.
    pub fn delete_elements<'a>(&mut self, set: &str, elements: impl IntoIterator<Item = &'a Element>) {
        self.elements(DEL_ELEMENT, 0, set, elements);
    }

    fn elements<'a>(
        &mut self,
        kind: u16,
        flags: u16,
        set: &str,
        elements: impl IntoIterator<Item = &'a Element>,
    ) {
        let mut elements = elements.into_iter().peekable();
        while elements.peek().is_some() {
            self.message(kind, flags, |a, table| {
                a.text(1, table);
                a.text(2, set);
                a.nest(3, |list| {
                    let start = list.0.len();
                    while list.0.len() - start < MAX_LIST {
                        let Some(element) = elements.next() else { break };
                        list.nest(1, |e| write_element(e, element, kind == NEW_ELEMENT));
                    }
                });
            });
        }
    }

    /// The bytes to send, and the number of the message whose answer says that all went well.
    pub(super) fn finish(mut self) -> (Vec<u8>, u32) {
        let flags = self.last + 6;
        let last = self.sequence - 1;
        let asked = u16::from_ne_bytes([self.bytes[flags], self.bytes[flags + 1]]) | ACK;
        self.bytes[flags..flags + 2].copy_from_slice(&asked.to_ne_bytes());
        self.frame(BATCH_END, REQUEST, 0, SUBSYSTEM, |_| {});
        (self.bytes, last)
    }
}

/// The key length of a set of one field that is no multiple of four.
fn only(key: &[(u32, u32)]) -> u32 {
    match key {
        [(_, len)] => *len,
        _ => 0,
    }
}

fn write_element(out: &mut Attrs, element: &Element, with_data: bool) {
    out.nest(1, |k| k.bytes(1, &element.key));
    if !element.key_end.is_empty() {
        out.nest(10, |k| k.bytes(1, &element.key_end));
    }
    if element.interval_end {
        out.u32(3, 1);
    }
    if !with_data {
        return;
    }
    if let Some(verdict) = &element.verdict {
        out.nest(2, |d| write_verdict(d, verdict));
    } else if !element.value.is_empty() {
        out.nest(2, |d| d.bytes(1, &element.value));
    }
}

/// nft's kinds of user data.
const TABLE_COMMENT: u8 = 0;
const SET_COMMENT: u8 = 7;

/// A comment as nft stores it: type, length, text with a NUL.
fn user_data(kind: u8, comment: &str) -> Vec<u8> {
    let mut data = vec![kind, (comment.len() + 1) as u8];
    data.extend_from_slice(comment.as_bytes());
    data.push(0);
    data
}
