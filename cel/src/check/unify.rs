//! Which types may stand for which, and what that says about types still to be found.

use crate::types::Type;

/// What is known of the checker's type variables.
#[derive(Default)]
pub(super) struct Mapping {
    known: Vec<Option<Type>>,
    /// What changed since the attempt that runs began, so that it can be taken back.
    journal: Vec<(u32, Option<Type>)>,
}

impl Mapping {
    /// A new type variable.
    pub(super) fn fresh(&mut self) -> Type {
        self.known.push(None);
        Type::Var(self.known.len() as u32 - 1)
    }

    fn find(&self, var: u32) -> Option<&Type> {
        self.known.get(var as usize)?.as_ref()
    }

    fn add(&mut self, var: u32, ty: Type) {
        if let Some(known) = self.known.get_mut(var as usize) {
            let old = known.replace(ty);
            self.journal.push((var, old));
        }
    }

    /// Whether a value of type `from` may be used where one of type `to` is wanted; what that says is kept.
    pub(super) fn assignable(&mut self, to: &Type, from: &Type) -> bool {
        self.attempt(|mapping| mapping.try_assign(to, from))
    }

    /// The same for several values; all must fit.
    pub(super) fn all_assignable(&mut self, from: &[Type], to: &[Type]) -> bool {
        self.attempt(|mapping| mapping.try_assign_all(from, to))
    }

    fn attempt(&mut self, f: impl FnOnce(&mut Self) -> bool) -> bool {
        self.journal.clear();
        let fits = f(self);
        if !fits {
            while let Some((var, old)) = self.journal.pop() {
                self.known[var as usize] = old;
            }
        }
        fits
    }

    fn try_assign_all(&mut self, l1: &[Type], l2: &[Type]) -> bool {
        l1.len() == l2.len() && l1.iter().zip(l2).all(|(t1, t2)| self.try_assign(t1, t2))
    }

    fn try_assign(&mut self, t1: &Type, t2: &Type) -> bool {
        if let Type::Var(var) = t2 {
            let (valid, known) = self.substitutable(t1, t2, *var);
            if valid || known {
                return valid;
            }
        }
        if let Type::Var(var) = t1 {
            return self.substitutable(t2, t1, *var).0;
        }
        if t1.is_dyn_or_error() || t2.is_dyn_or_error() {
            return true;
        }
        match (t1, t2) {
            (Type::Null, other) | (other, Type::Null) => nullable(other),
            (Type::Type(_), Type::Type(_)) => true,
            (Type::List(a), Type::List(b)) => self.try_assign(a, b),
            (Type::Map(a), Type::Map(b)) => self.try_assign(&a.0, &b.0) && self.try_assign(&a.1, &b.1),
            (Type::Opaque(a, of), Type::Opaque(b, by)) => a == b && self.try_assign_all(of, by),
            _ => t1 == t2,
        }
    }

    /// Whether `t1` may stand for the variable `t2`, and whether that had a type already.
    fn substitutable(&mut self, t1: &Type, t2: &Type, var: u32) -> (bool, bool) {
        if t1 == t2 {
            return (true, true);
        }
        if let Some(known) = self.find(var).cloned() {
            if *t1 == known {
                return (true, true);
            }
            if self.try_assign(t1, &known) {
                let general = most_general(t1, &known).clone();
                if self.absent(t2, &general) {
                    self.add(var, general);
                }
                return (true, true);
            }
            return (false, true);
        }
        if self.absent(t2, t1) {
            self.add(var, t1.clone());
            return (true, false);
        }
        (false, false)
    }

    /// Whether a type does not occur within another.
    fn absent(&self, ty: &Type, within: &Type) -> bool {
        if ty == within {
            return false;
        }
        match within {
            Type::Var(var) => self.find(*var).is_none_or(|known| self.absent(ty, known)),
            Type::Map(of) => self.absent(ty, &of.0) && self.absent(ty, &of.1),
            _ => within.parameters().iter().all(|of| self.absent(ty, of)),
        }
    }

    /// The type with what is known put in place of variables; `to_dyn` makes the rest dynamic.
    pub(super) fn substitute(&self, ty: &Type, to_dyn: bool) -> Type {
        ty.replace(&mut |part| match part {
            Type::Var(var) => match self.find(*var) {
                Some(known) => Some(self.substitute(known, to_dyn)),
                None => to_dyn.then_some(Type::Dyn),
            },
            _ => None,
        })
    }
}

/// Whether null may be used as a value of the type.
fn nullable(ty: &Type) -> bool {
    matches!(ty, Type::Null | Type::Opaque(..) | Type::Struct(_) | Type::Duration | Type::Timestamp)
}

/// The more general of two types that fit each other.
pub(super) fn most_general<'a>(t1: &'a Type, t2: &'a Type) -> &'a Type {
    if equal_or_less_specific(t1, t2) { t1 } else { t2 }
}

fn equal_or_less_specific(t1: &Type, t2: &Type) -> bool {
    let open = |ty: &Type| matches!(ty, Type::Dyn | Type::Var(_) | Type::Param(_));
    if open(t1) || open(t2) {
        return open(t1);
    }
    match (t1, t2) {
        (Type::Opaque(a, of), Type::Opaque(b, by)) => {
            a == b
                && of.len() == by.len()
                && of.iter().zip(by.iter()).all(|(a, b)| equal_or_less_specific(a, b))
        }
        (Type::List(a), Type::List(b)) => equal_or_less_specific(a, b),
        (Type::Map(a), Type::Map(b)) => {
            equal_or_less_specific(&a.0, &b.0) && equal_or_less_specific(&a.1, &b.1)
        }
        (Type::Type(_), Type::Type(_)) => true,
        _ => t1 == t2,
    }
}
