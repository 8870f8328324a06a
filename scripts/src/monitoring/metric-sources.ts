/**
 * The metrics that dashboards and alerts use but that the service does not expose, by the program that exposes them. A
 * test refuses any other name, so that a misspelt metric cannot leave a panel empty or an alert silent.
 *
 * The names come from the programs' sources and documentation: kube-state-metrics `docs/metrics`, Karpenter's metrics
 * reference for 1.14, `pkg/metrics` of the load balancer controller, `pkg/kubelet` of Kubernetes 1.35, cAdvisor and
 * node_exporter.
 */
export const METRIC_SOURCES = {
  prometheus: ['up', 'ALERTS'],
  'kube-state-metrics': [
    'kube_deployment_spec_replicas',
    'kube_deployment_status_condition',
    'kube_deployment_status_replicas_ready',
    'kube_horizontalpodautoscaler_spec_max_replicas',
    'kube_horizontalpodautoscaler_spec_min_replicas',
    'kube_horizontalpodautoscaler_status_condition',
    'kube_horizontalpodautoscaler_status_current_replicas',
    'kube_horizontalpodautoscaler_status_desired_replicas',
    'kube_node_info',
    'kube_node_status_allocatable',
    'kube_node_status_condition',
    'kube_pod_container_resource_requests',
    'kube_pod_container_status_restarts_total',
    'kube_pod_created',
    'kube_pod_info',
    'kube_pod_status_phase',
    'kube_pod_status_ready_time',
  ],
  cAdvisor: [
    'container_cpu_cfs_periods_total',
    'container_cpu_cfs_throttled_periods_total',
    'container_cpu_usage_seconds_total',
  ],
  kubelet: [
    'kubelet_certificate_manager_server_ttl_seconds',
    'kubelet_server_expiration_renew_errors',
    'kubelet_volume_stats_available_bytes',
    'kubelet_volume_stats_capacity_bytes',
  ],
  'API server': ['apiserver_request_duration_seconds_bucket', 'apiserver_request_total'],
  node_exporter: ['node_cpu_seconds_total', 'node_memory_MemAvailable_bytes', 'node_memory_MemTotal_bytes'],
  'Karpenter and the load balancer controller': ['controller_runtime_reconcile_errors_total'],
  Karpenter: [
    'karpenter_cloudprovider_duration_seconds_count',
    'karpenter_cloudprovider_duration_seconds_sum',
    'karpenter_cloudprovider_errors_total',
    'karpenter_interruption_received_messages_total',
    'karpenter_nodeclaims_created_total',
    'karpenter_nodeclaims_disrupted_total',
    'karpenter_nodepools_limit',
    'karpenter_nodepools_usage',
    'karpenter_scheduler_queue_depth',
    'karpenter_scheduler_unschedulable_pods_count',
    'operator_nodeclaim_status_condition_count',
  ],
  'load balancer controller': ['aws_api_calls_total', 'awslbc_readiness_gate_ready_seconds_bucket'],
} as const satisfies Record<string, readonly string[]>
