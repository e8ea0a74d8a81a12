//! What requests say beside their bodies: paths, queries, headers, tokens of pages.

use apiserver::endpoints::negotiate::{self, Offer, Output};
use apiserver::endpoints::options::{ListOptions, WriteOptions};
use apiserver::engine::token;
use apiserver::registry::{Endpoint, Storage};
use apiserver::server::query::Query;
use apiserver::server::request_info::RequestInfo;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};

use crate::Target;

pub(super) const REQUESTS: Target = Target {
    name: "requests",
    seeds: &[
        b"/api/v1/namespaces/a/pods/b/status?watch=1&resourceVersion=5&resourceVersionMatch=NotOlderThan&limit=5&timeoutSeconds=3&fieldSelector=metadata.name%3Da&labelSelector=a+in+(b%2Cc)&allowWatchBookmarks=true",
        b"/apis/apps/v1/watch/namespaces/a/deployments?sendInitialEvents=true&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6NSwic3RhcnQiOiJhXHUwMDAwIn0",
        b"/api/v1/proxy/namespaces/a/services/https:b:c/d/e?dryRun=All&fieldManager=m&fieldValidation=Strict&force=true",
        b"application/json;as=Table;v=v1;g=meta.k8s.io,application/vnd.kubernetes.protobuf;q=0.5, */*",
        b"eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiL2FcdTAwMDAifQ",
    ],
    run: |data| {
        let Ok(text) = std::str::from_utf8(data) else { return };
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let query = Query::parse(Some(query));
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let _ = RequestInfo::new(&method, path, &query);
        }
        let (endpoint, storage) =
            (Endpoint::new("", "v1", "configmaps", "ConfigMap"), Storage::new("", "v1", "configmaps", "ConfigMap"));
        for watch in [false, true] {
            let _ = ListOptions::parse(&query, &endpoint, &storage, watch).map(|o| o.at());
        }
        for kind in ["CreateOptions", "UpdateOptions", "PatchOptions"] {
            let _ = WriteOptions::parse(&query, kind, kind == "PatchOptions");
        }
        if let Ok((revision, start)) = token::decode("default/", text) {
            assert!(start.starts_with("default/"), "a page never leaves its list");
            if let Some(after) = start.strip_suffix('\0') {
                let again = token::encode("default/", revision, after);
                assert_eq!(token::decode("default/", &again).expect("a token"), (revision, start));
            }
        }
        if let Ok(value) = HeaderValue::from_str(text) {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, value.clone());
            headers.insert(CONTENT_TYPE, value);
            for custom in [false, true] {
                let offer = Offer { custom, streams: true, tables: true, metadata: true };
                let _ = Output::negotiate(&headers, &query, offer);
                let _ = negotiate::input(&headers, custom);
            }
        }
    },
};
