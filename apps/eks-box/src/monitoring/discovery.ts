/**
 * Kubernetes' targets for Prometheus. Debian's Prometheus has no client of Kubernetes, so it gets its targets from this
 * module, by HTTP, with the labels that Prometheus' own discovery gives them.
 */

interface Metadata {
  namespace?: string
  name: string
  labels?: Readonly<Record<string, string>>
}

export interface Pod {
  metadata: Metadata
  spec: {
    nodeName?: string
    containers: readonly { name: string; ports?: readonly { containerPort: number }[] }[]
  }
  status: { phase: string }
}

export interface Service {
  metadata: Metadata
}

export interface Node {
  metadata: Metadata
  status: {
    addresses: readonly { type: string; address: string }[]
    daemonEndpoints?: { kubeletEndpoint?: { Port: number } }
  }
}

export interface EndpointSlice {
  metadata: Metadata
  ports: readonly { name: string; port: number }[]
  endpoints: readonly { addresses: readonly string[]; targetRef?: { kind: string; name: string } }[] | null
}

/** A target, in the format of Prometheus' HTTP discovery. */
export interface TargetGroup {
  targets: [string]
  labels: Record<string, string>
}

/** The targets of the role `endpointslice`. */
export function endpointTargets(
  slices: readonly EndpointSlice[],
  services: readonly Service[],
  pods: readonly Pod[],
): TargetGroup[] {
  const key = ({ namespace = '', name }: Metadata) => `${namespace}/${name}`
  const servicesByName = new Map(services.map((service) => [key(service.metadata), service]))
  const podsByName = new Map(pods.map((pod) => [key(pod.metadata), pod]))
  return slices.flatMap(({ metadata, ports, endpoints }) => {
    const { namespace = '' } = metadata
    const service = metadata.labels?.['kubernetes.io/service-name'] ?? ''
    const ofService = {
      __meta_kubernetes_namespace: namespace,
      __meta_kubernetes_service_name: service,
      ...metaLabels('service_label', servicesByName.get(`${namespace}/${service}`)?.metadata.labels),
    }
    return (endpoints ?? []).flatMap(({ addresses, targetRef }) =>
      ports.flatMap(({ name, port }) => {
        const pod = targetRef?.kind === 'Pod' ? podsByName.get(`${namespace}/${targetRef.name}`) : undefined
        return addresses.map((address) => ({
          targets: [`${address}:${port}`] satisfies [string],
          labels: {
            ...ofService,
            __meta_kubernetes_endpointslice_port_name: name,
            ...(pod === undefined ? {} : podLabels(pod, port)),
          },
        }))
      }),
    )
  })
}

/** The targets of the role `node`: the kubelets. */
export function nodeTargets(nodes: readonly Node[]): TargetGroup[] {
  return nodes.flatMap(({ metadata, status }) => {
    const address = status.addresses.find(({ type }) => type === 'InternalIP')?.address
    if (address === undefined) return []
    return [
      {
        targets: [`${address}:${status.daemonEndpoints?.kubeletEndpoint?.Port ?? 10250}`],
        labels: {
          __meta_kubernetes_node_name: metadata.name,
          ...metaLabels('node_label', metadata.labels),
        },
      },
    ]
  })
}

function podLabels({ metadata, spec, status }: Pod, port: number): Record<string, string> {
  const container = spec.containers.find(({ ports }) =>
    ports?.some(({ containerPort }) => containerPort === port),
  )
  return {
    __meta_kubernetes_pod_name: metadata.name,
    __meta_kubernetes_pod_node_name: spec.nodeName ?? '',
    __meta_kubernetes_pod_phase: status.phase,
    __meta_kubernetes_pod_container_name: container?.name ?? '',
  }
}

function metaLabels(kind: string, labels: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(
    Object.entries(labels).map(([name, value]) => [
      `__meta_kubernetes_${kind}_${name.replaceAll(/[^a-zA-Z0-9_]/g, '_')}`,
      value,
    ]),
  )
}
