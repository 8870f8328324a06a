import t from 'tap'
import { endpointTargets, nodeTargets } from './discovery.ts'

t.test('an endpoint has the labels of its Service and of its pod', async (t) => {
  const slice = {
    metadata: { namespace: 'apps', name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
    ports: [{ name: 'metrics', port: 9464 }],
    endpoints: [{ addresses: ['10.0.48.2'], targetRef: { kind: 'Pod', name: 'web-a' } }],
  }
  const service = {
    metadata: { namespace: 'apps', name: 'web', labels: { 'app.kubernetes.io/name': 'web' } },
  }
  const pod = {
    metadata: { namespace: 'apps', name: 'web-a' },
    spec: {
      nodeName: 'node-1',
      containers: [{ name: 'sidecar' }, { name: 'main', ports: [{ containerPort: 9464 }] }],
    },
    status: { phase: 'Running' },
  }
  t.strictSame(endpointTargets([slice], [service], [pod]), [
    {
      targets: ['10.0.48.2:9464'],
      labels: {
        __meta_kubernetes_namespace: 'apps',
        __meta_kubernetes_service_name: 'web',
        __meta_kubernetes_service_label_app_kubernetes_io_name: 'web',
        __meta_kubernetes_endpointslice_port_name: 'metrics',
        __meta_kubernetes_pod_name: 'web-a',
        __meta_kubernetes_pod_node_name: 'node-1',
        __meta_kubernetes_pod_phase: 'Running',
        __meta_kubernetes_pod_container_name: 'main',
      },
    },
  ])
})

t.test('a Service can have no endpoints, or endpoints that are not pods', async (t) => {
  const metadata = {
    namespace: 'default',
    name: 'kubernetes',
    labels: { 'kubernetes.io/service-name': 'kubernetes' },
  }
  const ports = [{ name: 'https', port: 6443 }]
  t.strictSame(endpointTargets([{ metadata, ports, endpoints: null }], [], []), [])
  const endpoints = [{ addresses: ['10.0.255.10'] }]
  t.match(endpointTargets([{ metadata, ports, endpoints }], [], []), [
    { targets: ['10.0.255.10:6443'], labels: { __meta_kubernetes_service_name: 'kubernetes' } },
  ])
})

t.test('a node is the port of its kubelet', async (t) => {
  const node = {
    metadata: { name: 'node-1', labels: { 'kwok.x-k8s.io/node': 'fake' } },
    status: {
      addresses: [
        { type: 'Hostname', address: 'node-1' },
        { type: 'InternalIP', address: '10.0.32.4' },
      ],
      daemonEndpoints: { kubeletEndpoint: { Port: 10250 } },
    },
  }
  t.strictSame(nodeTargets([node]), [
    {
      targets: ['10.0.32.4:10250'],
      labels: {
        __meta_kubernetes_node_name: 'node-1',
        __meta_kubernetes_node_label_kwok_x_k8s_io_node: 'fake',
      },
    },
  ])
  t.strictSame(nodeTargets([{ ...node, status: { addresses: [] } }]), [], 'a node that has not joined yet')
})
