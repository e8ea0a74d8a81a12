//! The default roles and bindings inside kube-system and kube-public.

use super::data::{NamespacedBinding, NamespacedRole, account, allow, binding, role, user};

/// (namespace, role)
pub(super) const ROLES: &[NamespacedRole] = &[
    (
        "kube-system",
        role(
            "extension-apiserver-authentication-reader",
            &[allow("get list watch", "core", "configmaps").named("extension-apiserver-authentication")],
        ),
    ),
    (
        "kube-system",
        role("system:controller:bootstrap-signer", &[allow("get list watch", "core", "secrets")]),
    ),
    (
        "kube-system",
        role("system:controller:cloud-provider", &[allow("create get list watch", "core", "configmaps")]),
    ),
    (
        "kube-system",
        role(
            "system:controller:token-cleaner",
            &[
                allow("delete get list watch", "core", "secrets"),
                allow("create patch update", "core events.k8s.io", "events"),
            ],
        ),
    ),
    (
        "kube-system",
        role(
            "system::leader-locking-kube-controller-manager",
            &[
                allow("create get list update watch", "coordination.k8s.io", "leases"),
                allow("create get list update watch", "coordination.k8s.io", "leasecandidates"),
            ],
        ),
    ),
    (
        "kube-system",
        role(
            "system::leader-locking-kube-scheduler",
            &[
                allow("create get list update watch", "coordination.k8s.io", "leases"),
                allow("create get list update watch", "coordination.k8s.io", "leasecandidates"),
            ],
        ),
    ),
    (
        "kube-public",
        role(
            "system:controller:bootstrap-signer",
            &[
                allow("get list watch", "core", "configmaps"),
                allow("update", "core", "configmaps").named("cluster-info"),
                allow("create patch update", "core events.k8s.io", "events"),
            ],
        ),
    ),
];

/// (namespace, binding to a Role of that namespace)
pub(super) const ROLE_BINDINGS: &[NamespacedBinding] = &[
    (
        "kube-system",
        binding(
            "system::extension-apiserver-authentication-reader",
            "extension-apiserver-authentication-reader",
            &[user("system:kube-controller-manager"), user("system:kube-scheduler")],
        ),
    ),
    (
        "kube-system",
        binding(
            "system::leader-locking-kube-controller-manager",
            "system::leader-locking-kube-controller-manager",
            &[
                user("system:kube-controller-manager"),
                account("kube-system", "kube-controller-manager"),
                account("kube-system", "leader-election-controller"),
            ],
        ),
    ),
    (
        "kube-system",
        binding(
            "system::leader-locking-kube-scheduler",
            "system::leader-locking-kube-scheduler",
            &[user("system:kube-scheduler"), account("kube-system", "kube-scheduler")],
        ),
    ),
    (
        "kube-system",
        binding(
            "system:controller:bootstrap-signer",
            "system:controller:bootstrap-signer",
            &[account("kube-system", "bootstrap-signer")],
        ),
    ),
    (
        "kube-system",
        binding(
            "system:controller:cloud-provider",
            "system:controller:cloud-provider",
            &[account("kube-system", "cloud-provider")],
        ),
    ),
    (
        "kube-system",
        binding(
            "system:controller:token-cleaner",
            "system:controller:token-cleaner",
            &[account("kube-system", "token-cleaner")],
        ),
    ),
    (
        "kube-public",
        binding(
            "system:controller:bootstrap-signer",
            "system:controller:bootstrap-signer",
            &[account("kube-system", "bootstrap-signer")],
        ),
    ),
];
