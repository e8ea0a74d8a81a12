//! Feature gates: upstream's names, stages and defaults at the version served, and `--feature-gates`.
//!
//! The table says what upstream would decide. A daemon asks [`Gates::enabled`] for the gates that it knows to act on;
//! setting others is checked and then changes nothing here.

use std::collections::BTreeMap;

use crate::flags::{Parsed, parse_bool};

/// How far a feature has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Off unless asked for.
    Alpha,
    /// Mostly on.
    Beta,
    /// On for good.
    Ga,
    /// On its way out.
    Deprecated,
}
use Stage::{Alpha, Beta, Deprecated, Ga};

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// The name.
    pub name: &'static str,
    /// Whether it is on.
    pub default: bool,
    /// How far it has come.
    pub stage: Stage,
    /// Whether it can't be changed.
    pub locked: bool,
}

const fn gate(name: &'static str, default: bool, stage: Stage, locked: bool) -> Gate {
    Gate { name, default, stage, locked }
}

/// A setting that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No such gate.
    #[error("unrecognized feature gate: {0}")]
    Unknown(String),
    /// Not a boolean.
    #[error("invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax")]
    Value {
        /// The gate.
        name: String,
        /// As typed.
        value: String,
    },
    /// The gate can't be changed.
    #[error("cannot set feature gate {name} to {value}, feature is locked to {locked}")]
    Locked {
        /// The gate.
        name: &'static str,
        /// What was asked for.
        value: bool,
        /// What it is.
        locked: bool,
    },
}

/// The gates as set.
#[derive(Debug, Clone, Default)]
pub struct Gates(BTreeMap<&'static str, bool>);

impl Gates {
    /// Reads `--feature-gates`, which wins over `from_file`, a configuration file's `featureGates`.
    pub fn from_flags(flags: &Parsed, from_file: &BTreeMap<String, bool>) -> Result<Self, Error> {
        let file = from_file.iter().map(|(name, on)| (name.clone(), on.to_string()));
        let mut all: BTreeMap<String, String> = file.collect();
        all.extend(flags.map("feature-gates").iter().map(|(name, value)| (name.clone(), value.clone())));
        Self::new(&all)
    }

    /// Sets gates by name.
    pub fn new(settings: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut set = BTreeMap::new();
        let mut stages = Vec::new();
        for (name, value) in settings {
            // All of ours are gates of the component "kube".
            let name = name.strip_prefix("kube:").unwrap_or(name);
            let on = parse_bool(value)
                .ok_or_else(|| Error::Value { name: name.to_owned(), value: value.clone() })?;
            match name {
                "AllAlpha" => stages.push((Alpha, on)),
                "AllBeta" => stages.push((Beta, on)),
                name => {
                    let gate = find(name).ok_or_else(|| Error::Unknown(name.to_owned()))?;
                    if gate.locked && on != gate.default {
                        return Err(Error::Locked { name: gate.name, value: on, locked: gate.default });
                    }
                    set.insert(gate.name, on);
                }
            }
        }
        for (stage, on) in stages {
            for gate in TABLE.iter().filter(|gate| gate.stage == stage && !gate.locked) {
                set.entry(gate.name).or_insert(on);
            }
        }
        Ok(Self(set))
    }

    /// Whether a feature is on. One that isn't in the table is off.
    pub fn enabled(&self, name: &str) -> bool {
        self.0.get(name).copied().or_else(|| find(name).map(|gate| gate.default)).unwrap_or(false)
    }
}

/// The row of a name.
pub fn find(name: &str) -> Option<&'static Gate> {
    TABLE.binary_search_by_key(&name, |gate| gate.name).ok().map(|at| &TABLE[at])
}

/// All gates, in order of name.
#[rustfmt::skip]
pub static TABLE: &[Gate] = &[
    gate("APIResponseCompression", true, Beta, false),
    gate("APIServerIdentity", true, Beta, false),
    gate("APIServerTracing", true, Ga, true),
    gate("APIServingWithRoutine", false, Alpha, false),
    gate("AggregatedDiscoveryRemoveBetaType", true, Deprecated, true),
    gate("AllowDNSOnlyNodeCSR", false, Deprecated, false),
    gate("AllowInsecureKubeletCertificateSigningRequests", false, Deprecated, false),
    gate("AllowOverwriteTerminationGracePeriodSeconds", false, Deprecated, true),
    gate("AllowParsingUserUIDFromCertAuth", true, Beta, false),
    gate("AllowServiceExternalIPs", true, Ga, false),
    gate("AllowUnsafeMalformedObjectDeletion", false, Alpha, false),
    gate("AnonymousAuthConfigurableEndpoints", true, Ga, true),
    gate("AnyVolumeDataSource", true, Ga, true),
    gate("AtomicFIFO", true, Beta, false),
    gate("AuthorizeNodeWithSelectors", true, Ga, true),
    gate("AuthorizePodWebsocketUpgradeCreatePermission", true, Beta, false),
    gate("AuthorizeWithSelectors", true, Ga, true),
    gate("BtreeWatchCache", true, Ga, true),
    gate("CBORServingAndStorage", false, Alpha, false),
    gate("CPUManagerPolicyAlphaOptions", false, Alpha, false),
    gate("CPUManagerPolicyBetaOptions", true, Beta, false),
    gate("CPUManagerPolicyOptions", true, Ga, true),
    gate("CRDObservedGenerationTracking", true, Beta, false),
    gate("CRDValidationRatcheting", true, Ga, true),
    gate("CRIListStreaming", false, Alpha, false),
    gate("CSIServiceAccountTokenSecrets", true, Ga, true),
    gate("CSIVolumeHealth", false, Alpha, false),
    gate("ChangeContainerStatusOnKubeletRestart", false, Deprecated, false),
    gate("ClearingNominatedNodeNameAfterBinding", true, Beta, false),
    gate("ClientsAllowCARotation", true, Beta, false),
    gate("ClientsAllowCBOR", false, Alpha, false),
    gate("ClientsAllowTLSCacheGC", true, Beta, false),
    gate("ClientsPreferCBOR", false, Alpha, false),
    gate("CloudControllerManagerWatchBasedRoutesReconciliation", false, Alpha, false),
    gate("CloudControllerManagerWebhook", false, Alpha, false),
    gate("ClusterTrustBundle", false, Beta, false),
    gate("ClusterTrustBundleProjection", false, Beta, false),
    gate("ComponentFlagz", true, Beta, false),
    gate("ComponentStatusz", true, Beta, false),
    gate("ConcurrentWatchObjectDecode", false, Beta, false),
    gate("ConsistentListFromCache", true, Ga, true),
    gate("ConstrainedImpersonation", true, Beta, false),
    gate("ContainerCheckpoint", true, Beta, false),
    gate("ContainerRestartRules", true, Beta, false),
    gate("ContainerStopSignals", false, Alpha, false),
    gate("ContextualLogging", true, Beta, false),
    gate("ControllerManagerReleaseLeaderElectionLockOnExit", false, Alpha, false),
    gate("CoordinatedLeaderElection", false, Beta, false),
    gate("CrossNamespaceVolumeDataSource", false, Alpha, false),
    gate("CustomResourceFieldSelectors", true, Ga, true),
    gate("DRAAdminAccess", true, Ga, true),
    gate("DRAConsumableCapacity", true, Beta, false),
    gate("DRADeviceBindingConditions", true, Beta, false),
    gate("DRADeviceTaintRules", false, Beta, false),
    gate("DRADeviceTaints", true, Beta, false),
    gate("DRAExtendedResource", true, Beta, false),
    gate("DRAListTypeAttributes", false, Alpha, false),
    gate("DRANodeAllocatableResources", false, Alpha, false),
    gate("DRAPartitionableDevices", true, Beta, false),
    gate("DRAPrioritizedList", true, Ga, false),
    gate("DRAResourceClaimDeviceStatus", true, Beta, false),
    gate("DRAResourceClaimGranularStatusAuthorization", true, Beta, false),
    gate("DRAResourcePoolStatus", false, Alpha, false),
    gate("DRASchedulerFilterTimeout", true, Beta, false),
    gate("DRAWorkloadResourceClaims", false, Alpha, false),
    gate("DeclarativeValidation", true, Ga, true),
    gate("DeclarativeValidationBeta", true, Beta, false),
    gate("DeclarativeValidationTakeover", false, Deprecated, false),
    gate("DeploymentReplicaSetTerminatingReplicas", true, Beta, false),
    gate("DetectCacheInconsistency", true, Beta, false),
    gate("DisableAllocatorDualWrite", true, Ga, true),
    gate("DisableCPUQuotaWithExclusiveCPUs", true, Deprecated, false),
    gate("DisableNodeKubeProxyVersion", true, Deprecated, true),
    gate("EnvFiles", true, Beta, false),
    gate("EventedPLEG", false, Alpha, false),
    gate("ExecProbeTimeout", true, Ga, true),
    gate("ExtendWebSocketsToKubelet", true, Beta, false),
    gate("ExternalServiceAccountTokenSigner", true, Ga, true),
    gate("GangScheduling", false, Alpha, false),
    gate("GenericWorkload", false, Alpha, false),
    gate("GitRepoVolumeDriver", false, Deprecated, true),
    gate("GracefulNodeShutdown", true, Beta, false),
    gate("GracefulNodeShutdownBasedOnPodPriority", true, Beta, false),
    gate("HPAConfigurableTolerance", true, Beta, false),
    gate("HPAScaleToZero", false, Alpha, false),
    gate("HostnameOverride", true, Beta, false),
    gate("ImageMaximumGCAge", true, Ga, true),
    gate("ImageVolume", true, Ga, true),
    gate("ImageVolumeWithDigest", false, Alpha, false),
    gate("InOrderInformers", true, Ga, true),
    gate("InOrderInformersBatchProcess", true, Beta, false),
    gate("InPlacePodLevelResourcesVerticalScaling", true, Beta, false),
    gate("InPlacePodVerticalScaling", true, Ga, true),
    gate("InPlacePodVerticalScalingExclusiveCPUs", false, Alpha, false),
    gate("InPlacePodVerticalScalingExclusiveMemory", false, Alpha, false),
    gate("InPlacePodVerticalScalingInitContainers", true, Beta, false),
    gate("InformerResourceVersion", true, Ga, false),
    gate("JobBackoffLimitPerIndex", true, Ga, true),
    gate("JobManagedBy", true, Ga, true),
    gate("JobPodReplacementPolicy", true, Ga, true),
    gate("JobSuccessPolicy", true, Ga, true),
    gate("KMSv1", false, Deprecated, false),
    gate("KubeletCgroupDriverFromCRI", true, Ga, true),
    gate("KubeletCrashLoopBackOffMax", true, Beta, false),
    gate("KubeletEnsureSecretPulledImages", true, Beta, false),
    gate("KubeletFineGrainedAuthz", true, Ga, true),
    gate("KubeletInUserNamespace", false, Alpha, false),
    gate("KubeletPSI", true, Ga, true),
    gate("KubeletPodResourcesDynamicResources", true, Ga, true),
    gate("KubeletPodResourcesGet", true, Ga, true),
    gate("KubeletPodResourcesListUseActivePods", true, Deprecated, false),
    gate("KubeletRegistrationGetOnExistsOnly", false, Deprecated, false),
    gate("KubeletSeparateDiskGC", true, Beta, false),
    gate("KubeletServiceAccountTokenForCredentialProviders", true, Beta, false),
    gate("KubeletTracing", true, Ga, true),
    gate("ListFromCacheSnapshot", true, Beta, false),
    gate("LocalStorageCapacityIsolationFSQuotaMonitoring", false, Beta, false),
    gate("LogarithmicScaleDown", true, Ga, true),
    gate("LoggingAlphaOptions", false, Alpha, false),
    gate("LoggingBetaOptions", true, Beta, false),
    gate("ManifestBasedAdmissionControlConfig", false, Alpha, false),
    gate("MatchLabelKeysInPodAffinity", true, Ga, true),
    gate("MatchLabelKeysInPodTopologySpread", true, Beta, false),
    gate("MatchLabelKeysInPodTopologySpreadSelectorMerge", true, Beta, false),
    gate("MaxUnavailableStatefulSet", false, Beta, false),
    gate("MemoryQoS", false, Alpha, false),
    gate("MultiCIDRServiceAllocator", true, Ga, true),
    gate("MutableCSINodeAllocatableCount", true, Ga, true),
    gate("MutablePVNodeAffinity", false, Alpha, false),
    gate("MutablePodResourcesForSuspendedJobs", true, Beta, false),
    gate("MutableSchedulingDirectivesForSuspendedJobs", true, Beta, false),
    gate("MutatingAdmissionPolicy", true, Ga, false),
    gate("NFTablesProxyMode", true, Ga, true),
    gate("NativeHistograms", false, Alpha, false),
    gate("NodeDeclaredFeatures", true, Beta, false),
    gate("NodeInclusionPolicyInPodTopologySpread", true, Ga, true),
    gate("NodeLogQuery", true, Ga, true),
    gate("NodeSwap", true, Ga, true),
    gate("NominatedNodeNameForExpectation", true, Beta, false),
    gate("OpenAPIEnums", true, Beta, false),
    gate("OpportunisticBatching", true, Beta, false),
    gate("OrderedNamespaceDeletion", true, Ga, true),
    gate("PLEGOnDemandRelist", true, Beta, false),
    gate("PersistentVolumeClaimUnusedSinceTime", false, Alpha, false),
    gate("PodAndContainerStatsFromCRI", false, Alpha, false),
    gate("PodCertificateRequest", false, Beta, false),
    gate("PodDeletionCost", true, Beta, false),
    gate("PodLevelResourceManagers", false, Alpha, false),
    gate("PodLevelResources", true, Beta, false),
    gate("PodLifecycleSleepAction", true, Ga, true),
    gate("PodLifecycleSleepActionAllowZero", true, Ga, true),
    gate("PodLogsQuerySplitStreams", false, Alpha, false),
    gate("PodObservedGenerationTracking", true, Ga, true),
    gate("PodReadyToStartContainersCondition", true, Beta, false),
    gate("PodSchedulingReadiness", true, Ga, true),
    gate("PodTopologyLabelsAdmission", true, Beta, false),
    gate("PodsAPI", false, Alpha, false),
    gate("PortForwardWebsockets", true, Beta, false),
    gate("PreferSameTrafficDistribution", true, Ga, true),
    gate("PreventStaticPodAPIReferences", true, Beta, false),
    gate("ProcMountType", true, Ga, true),
    gate("QOSReserved", false, Alpha, false),
    gate("RecoverVolumeExpansionFailure", true, Ga, true),
    gate("RecursiveReadOnlyMounts", true, Ga, true),
    gate("ReduceDefaultCrashLoopBackOffDecay", false, Alpha, false),
    gate("RelaxedDNSSearchValidation", true, Ga, true),
    gate("RelaxedEnvironmentVariableValidation", true, Ga, true),
    gate("RelaxedServiceNameValidation", true, Beta, false),
    gate("ReloadKubeletClientCAFile", true, Beta, false),
    gate("ReloadKubeletServerCertificateFile", true, Beta, false),
    gate("RemoteRequestHeaderUID", true, Beta, false),
    gate("ResilientWatchCacheInitialization", true, Ga, true),
    gate("ResourceHealthStatus", true, Beta, false),
    gate("ResourceHealthStatusMessage", true, Beta, false),
    gate("RestartAllContainersOnContainerExits", true, Beta, false),
    gate("RetryGenerateName", true, Ga, true),
    gate("RotateKubeletServerCertificate", true, Beta, false),
    gate("RuntimeClassInImageCriApi", false, Alpha, false),
    gate("SELinuxChangePolicy", true, Ga, true),
    gate("SELinuxMount", false, Beta, false),
    gate("SELinuxMountReadWriteOncePod", true, Ga, true),
    gate("SchedulerAsyncAPICalls", false, Beta, false),
    gate("SchedulerAsyncPreemption", true, Beta, false),
    gate("SchedulerPopFromBackoffQ", true, Beta, false),
    gate("SchedulerQueueingHints", true, Ga, true),
    gate("SeparateCacheWatchRPC", false, Deprecated, true),
    gate("SeparateTaintEvictionController", true, Ga, true),
    gate("ServiceAccountNodeAudienceRestriction", true, Beta, false),
    gate("ServiceAccountTokenJTI", true, Ga, true),
    gate("ServiceAccountTokenNodeBinding", true, Ga, true),
    gate("ServiceAccountTokenNodeBindingValidation", true, Ga, true),
    gate("ServiceAccountTokenPodNodeInfo", true, Ga, true),
    gate("ServiceCIDRStatusFieldWiping", true, Deprecated, false),
    gate("ShardedListAndWatch", false, Alpha, false),
    gate("SidecarContainers", true, Ga, true),
    gate("SizeBasedListCostEstimate", true, Beta, false),
    gate("StaleControllerConsistencyDaemonSet", true, Beta, false),
    gate("StaleControllerConsistencyJob", true, Beta, false),
    gate("StaleControllerConsistencyReplicaSet", true, Beta, false),
    gate("StaleControllerConsistencyStatefulSet", true, Beta, false),
    gate("StatefulSetSemanticRevisionComparison", true, Beta, false),
    gate("StorageCapacityScoring", false, Alpha, false),
    gate("StorageNamespaceIndex", true, Deprecated, false),
    gate("StorageVersionAPI", false, Alpha, false),
    gate("StorageVersionHash", true, Beta, false),
    gate("StorageVersionMigrator", false, Beta, false),
    gate("StreamingCollectionEncodingToJSON", true, Ga, true),
    gate("StreamingCollectionEncodingToProtobuf", true, Ga, true),
    gate("StrictIPCIDRValidation", true, Beta, false),
    gate("StructuredAuthenticationConfiguration", true, Ga, true),
    gate("StructuredAuthenticationConfigurationEgressSelector", true, Beta, false),
    gate("StructuredAuthenticationConfigurationJWKSMetrics", true, Beta, false),
    gate("SupplementalGroupsPolicy", true, Ga, true),
    gate("SystemdWatchdog", true, Ga, true),
    gate("TaintTolerationComparisonOperators", false, Alpha, false),
    gate("TokenRequestServiceAccountUIDValidation", true, Beta, false),
    gate("TopologyAwareWorkloadScheduling", false, Alpha, false),
    gate("TopologyManagerPolicyAlphaOptions", false, Alpha, false),
    gate("TopologyManagerPolicyBetaOptions", true, Beta, false),
    gate("TopologyManagerPolicyOptions", true, Ga, true),
    gate("TranslateStreamCloseWebsocketRequests", true, Beta, false),
    gate("UnauthenticatedHTTP2DOSMitigation", true, Beta, false),
    gate("UnknownVersionInteroperabilityProxy", true, Beta, false),
    gate("UnlockWhileProcessingFIFO", true, Beta, false),
    gate("UserNamespacesHostNetworkSupport", false, Alpha, false),
    gate("UserNamespacesSupport", true, Ga, true),
    gate("VolumeAttributesClass", true, Ga, true),
    gate("VolumeLimitScaling", false, Alpha, false),
    gate("WatchCacheInitializationPostStartHook", true, Beta, false),
    gate("WatchList", true, Beta, false),
    gate("WatchListClient", true, Beta, false),
    gate("WinDSR", true, Ga, true),
    gate("WinOverlay", true, Ga, true),
    gate("WindowsCPUAndMemoryAffinity", false, Alpha, false),
    gate("WindowsGracefulNodeShutdown", true, Beta, false),
    gate("WindowsHostNetwork", false, Deprecated, false),
    gate("WorkloadAwarePreemption", false, Alpha, false),
    gate("WorkloadWithJob", false, Alpha, false),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn gates(text: &str) -> Result<Gates, String> {
        let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
        Gates::new(&pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_table_is_sorted() {
        assert!(TABLE.is_sorted_by_key(|gate| gate.name));
    }

    #[test]
    fn gates_are_set_as_upstream_sets_them() {
        let set = gates("AllAlpha=true,kube:GangScheduling=false,OpenAPIEnums=false").unwrap();
        assert!(set.enabled("MemoryQoS") && !set.enabled("GangScheduling") && !set.enabled("OpenAPIEnums"));
        assert!(Gates::default().enabled("OpenAPIEnums") && !Gates::default().enabled("MemoryQoS"));
        assert_eq!(gates("Foo=true").unwrap_err(), "unrecognized feature gate: Foo");
        assert_eq!(
            gates("MemoryQoS=x").unwrap_err(),
            "invalid value of MemoryQoS=x, err: strconv.ParseBool: parsing \"x\": invalid syntax"
        );
        assert_eq!(
            gates("SidecarContainers=false").unwrap_err(),
            "cannot set feature gate SidecarContainers to false, feature is locked to true"
        );
    }
}
