use super::*;
use crate::objects::{Kind as ObjectKind, Object};
use crate::sys::Recorder;
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;

struct Bench {
    root: PathBuf,
    recorder: Arc<Recorder>,
    sources: Sources,
}

impl Bench {
    fn new() -> Bench {
        let root = std::env::temp_dir().join(format!("volumes-{}", uuid::Uuid::new_v4()));
        fs::create_dir_all(&root).unwrap();
        Bench { root, recorder: Arc::default(), sources: Sources::default() }
    }

    fn config_map(&mut self, data: &[(&str, &str)]) {
        let data = data.iter().map(|(k, v)| (k.to_string(), v.as_bytes().to_vec())).collect();
        self.sources.insert(
            ObjectKind::ConfigMap,
            "cm",
            Ok(Some(Arc::new(Object { data, ..Default::default() }))),
        );
    }

    fn setup(&self, volume: Value) -> Vec<SetupError> {
        let sys: SharedSys = self.recorder.clone();
        let inputs = Inputs {
            pods_root: &self.root,
            sources: &self.sources,
            tokens: &BTreeMap::new(),
            claims: &BTreeMap::new(),
            around: &Surroundings::default(),
            sys: &sys,
        };
        let pod = serde_json::from_value(json!({
            "metadata": { "name": "p", "uid": "u" },
            "spec": {
                "containers": [{ "name": "c", "volumeMounts": [{ "name": "v", "mountPath": "/v" }] }],
                "volumes": [volume],
            },
        }))
        .unwrap();
        setup_all(&pod, &inputs)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).ok();
    }
}

#[test]
fn a_config_map_is_replaced_at_once() {
    let mut bench = Bench::new();
    let volume = json!({ "name": "v", "configMap": { "name": "cm" } });
    bench.config_map(&[("a", "1"), ("b", "2")]);
    assert_eq!(bench.setup(volume.clone()), []);
    let dir = bench.root.join("u/volumes/kubernetes.io~configmap/v");
    assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");
    let first = fs::read_link(dir.join("..data")).unwrap();
    // Nothing changed, so nothing is written.
    bench.setup(volume.clone());
    assert_eq!(fs::read_link(dir.join("..data")).unwrap(), first);
    bench.config_map(&[("a", "3"), ("c", "4")]);
    bench.setup(volume);
    assert_ne!(fs::read_link(dir.join("..data")).unwrap(), first);
    assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
    assert!(!dir.join("b").exists() && dir.join("c").exists() && !dir.join(first).exists());
}

#[test]
fn what_is_missing_is_told() {
    let mut bench = Bench::new();
    let errors = bench.setup(json!({ "name": "v", "configMap": { "name": "cm" } }));
    assert_eq!(
        errors[0].to_string(),
        "MountVolume.SetUp failed for volume \"v\" : configmap \"cm\" not found"
    );
    bench.config_map(&[("a", "1")]);
    let items = json!([{ "key": "x", "path": "x" }]);
    let errors = bench.setup(json!({ "name": "v", "configMap": { "name": "cm", "items": items } }));
    assert!(errors[0].message.contains("configmap references non-existent config key: x"));
    assert_eq!(bench.setup(json!({ "name": "v", "secret": { "secretName": "s", "optional": true } })), []);
}

#[test]
fn paths_stay_in_their_volume() {
    let mut bench = Bench::new();
    bench.config_map(&[("a", "1")]);
    let items = json!([{ "key": "a", "path": "../../x" }]);
    let errors = bench.setup(json!({ "name": "v", "configMap": { "name": "cm", "items": items } }));
    assert_eq!(errors.len(), 1);
}

#[test]
fn memory_is_mounted_and_unmounted() {
    let bench = Bench::new();
    let volume = json!({ "name": "v", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } });
    assert_eq!(bench.setup(volume), []);
    let dir = bench.root.join("u/volumes/kubernetes.io~empty-dir/v");
    let mount = format!("mount tmpfs tmpfs {} [size=1048576]", dir.display());
    assert_eq!(bench.recorder.calls(), [mount]);
    let sys: SharedSys = bench.recorder.clone();
    clear(&bench.root.join("u"), &sys).unwrap();
    assert_eq!(bench.recorder.calls()[1], format!("unmount {}", dir.display()));
    assert!(is_clear(&bench.root.join("u")));
}
