//! The group flowcontrol.apiserver.k8s.io: priority and fairness of requests.

mod validation;

use serde_json::Value;

use super::defaults::{fill, inside, within};
use super::kind::{Enabled, Kind};
use super::{Builder, Hooks, strategy};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "flowschemas", "FlowSchema")
        .cluster()
        .default(|object| inside(object, "spec", |spec| fill(spec, "matchingPrecedence", 1000)))
        .hooks(Hooks {
            validate: |_, new| validation::flow_schema(new),
            validate_update: |_, new, _| validation::flow_schema(new),
            ..strategy::with_generation()
        })
        .status(Hooks { validate_update: |_, new, _| validation::status(new), ..status() })
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration")
        .cluster()
        .default(priority_level_defaults)
        .hooks(Hooks {
            validate: |_, new| validation::priority_level(new),
            validate_update: |_, new, _| validation::priority_level(new),
            ..strategy::with_generation()
        })
        .status(Hooks { validate_update: |_, new, _| validation::status(new), ..status() })
        .install(builder, enabled);
}

/// The whole of metadata stays, but for what the engine and managedFields track.
fn status() -> Hooks {
    Hooks {
        prepare_update: |_, new, old| {
            strategy::keep(new, old, &["spec"]);
            let managed = proto::view::at(new, &["metadata", "managedFields"]).clone();
            strategy::keep(new, old, &["metadata"]);
            proto::view::set_at(new, &["metadata", "managedFields"], managed);
        },
        ..strategy::status_only()
    }
}

fn priority_level_defaults(object: &mut Value) {
    within(object, "spec", |spec| {
        within(spec, "exempt", |exempt| {
            fill(exempt, "nominalConcurrencyShares", 0);
            fill(exempt, "lendablePercent", 0);
        });
        within(spec, "limited", |limited| {
            fill(limited, "nominalConcurrencyShares", 30);
            fill(limited, "lendablePercent", 0);
            within(limited, "limitResponse", |response| {
                within(response, "queuing", |queuing| {
                    fill(queuing, "handSize", 8);
                    fill(queuing, "queues", 64);
                    fill(queuing, "queueLengthLimit", 50);
                });
            });
        });
    });
}
