//! The group flowcontrol.apiserver.k8s.io: priority and fairness of requests.

use serde_json::Value;

use super::defaults::{fill, inside, within};
use super::kind::{Enabled, Kind};
use super::{Builder, strategy};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

pub(crate) fn install(builder: &mut Builder, enabled: Enabled) {
    Kind::new(GROUP, "v1", "flowschemas", "FlowSchema")
        .cluster()
        .default(|object| inside(object, "spec", |spec| fill(spec, "matchingPrecedence", 1000)))
        .hooks(strategy::with_generation())
        .status(strategy::status_only())
        .install(builder, enabled);
    Kind::new(GROUP, "v1", "prioritylevelconfigurations", "PriorityLevelConfiguration")
        .cluster()
        .default(priority_level_defaults)
        .hooks(strategy::with_generation())
        .status(strategy::status_only())
        .install(builder, enabled);
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
