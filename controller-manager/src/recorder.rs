//! Events of controllers.

use component_base::client::Client;
use component_base::events::{self, EventType, ObjectRef};
use component_base::tasks::Tasks;

use crate::common::events::Event;
use crate::context::Subject;

/// Records events under the name of one controller.
#[derive(Clone)]
pub(crate) struct Recorder(events::Recorder);

impl Recorder {
    pub(crate) fn new(client: &Client, component: &str, host: &str, tasks: &Tasks) -> Self {
        Recorder(events::Recorder::new(client, component, host, tasks))
    }

    pub(crate) fn record(&self, subject: &Subject, event: &Event) {
        let about = ObjectRef {
            kind: subject.kind.into(),
            namespace: subject.metadata.namespace.clone(),
            name: subject.metadata.name.clone(),
            uid: subject.metadata.uid.clone(),
            api_version: subject.api_version.into(),
            resource_version: subject.metadata.resource_version.clone(),
            field_path: String::new(),
        };
        let kind = if event.warning { EventType::Warning } else { EventType::Normal };
        self.0.event(&about, kind, event.reason, event.message.as_str());
    }
}
