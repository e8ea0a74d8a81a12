//! Work that upstream's costs don't see: going through what lists hold many times over, and making long texts of short
//! ones. An evaluation costs at least what its work does, so that neither its time nor its memory is without bounds.

use std::cell::Cell;

use crate::eval::Error;

/// How much work there is to a unit of cost: elements that are looked at, bytes that are written. Few expressions come
/// near it that don't mean harm.
const PER_UNIT: u64 = 20;
/// The work that each evaluation has for nothing, so that costs are upstream's but where much is done.
const FREE: u64 = 20_000;
/// The work of an element that is kept.
pub(crate) const KEPT: usize = 16;

thread_local! {
    /// What is left of the work that the evaluation on this thread may do.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// Counts work, before it is done.
///
/// # Errors
///
/// It is more than the evaluation may do.
pub(crate) fn spend(work: usize) -> Result<(), Error> {
    LEFT.with(|left| match left.get().checked_sub(work as u64) {
        Some(rest) => {
            left.set(rest);
            Ok(())
        }
        None => {
            left.set(0);
            Err(Error::COST_LIMIT)
        }
    })
}

/// Does what may work as much as `limit` units pay for. Answers with what its work costs.
pub(crate) fn metered<T>(limit: u64, act: impl FnOnce() -> T) -> (T, u64) {
    // Some is left when the last unit is used up, so that none left means too much.
    let most = limit.saturating_add(1).saturating_mul(PER_UNIT).saturating_add(FREE);
    let before = LEFT.replace(most);
    let result = act();
    let left = LEFT.replace(before);
    (result, (most - left).saturating_sub(FREE) / PER_UNIT)
}

#[cfg(test)]
mod tests {
    use crate::{Program, Value, library};

    const LIMIT: u64 = 20_000;

    /// What an expression costs, where `list` holds 2^`doublings` elements and `text` as many bytes.
    fn cost(text: &str, doublings: usize) -> u64 {
        let mut nested = Value::list(vec![Value::Int(0)]);
        for _ in 0..doublings {
            nested = Value::list(vec![nested.clone(), nested]);
        }
        let mut list = Value::list(vec![Value::str("x")]);
        for _ in 0..doublings {
            list = crate::library::standard::add(list.clone(), list).unwrap();
        }
        let long = "x".repeat(1 << doublings.min(20));
        let variables = vec![("nested", nested), ("list", list), ("text", Value::str(&long))];
        let env = library::base()
            .variable("nested", crate::Type::Dyn)
            .variable("list", crate::Type::list(crate::Type::String))
            .variable("text", crate::Type::String);
        let program = Program::new(&env.compile(text).unwrap(), &env).unwrap();
        let outcome = program.evaluate(&variables, LIMIT);
        assert_eq!(outcome.cost > LIMIT, matches!(&outcome.value, Err(e) if e.is_cost_limit()), "{text}");
        outcome.cost
    }

    #[test]
    fn costs_follow_work() {
        for text in [
            "nested == nested",
            "nested in [nested]",
            "[nested].indexOf(nested) == 0",
            "[nested, nested].distinct().size() == 1",
            "sets.contains([nested], [nested])",
            "'%s'.format([nested])",
            "nested.flatten(60)",
            "list.reverse()",
            "list.slice(0, list.size())",
            "list.join('-')",
            "list.sort()",
        ] {
            // What upstream makes of a small one is what it costs.
            let (small, large) = (cost(text, 3), cost(text, 40));
            assert!(small < 200, "{text}: {small}");
            assert!(large > LIMIT, "{text}: {large}");
        }
        let many = "[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, EACH)))";
        for each in [
            "text.replace('', text) != ''",
            "nested == nested",
            "text.charAt(0) == 'x'",
            "'x'.matches('(' + 'x{99}{9}' + ')?')",
        ] {
            assert!(cost(&many.replace("EACH", each), 18) > LIMIT, "{each}");
        }
        assert!(cost("'x'.matches('(' + 'x{2}' + ')')", 0) < 200);
        assert!(cost("'x'.matches('(' + '[^a]{999}{9}' + ')')", 0) > LIMIT);
    }
}
