//! What every cluster contains from its first moment: namespaces, default policy, priority classes.

pub mod rbac;
