/** A known failure that a component's log reveals, with its cause and next step for the operator. */
export interface Diagnosis {
  pattern: RegExp
  cause: string
  nextStep: string
}

/** A readiness probe, which becomes a liveness probe once the component is ready. */
export type Probe =
  /** Succeeds with status 200. `insecure` accepts the component's self-signed certificate. */
  | { kind: 'http'; url: string; insecure?: boolean }
  /** Sends `send` and succeeds when the response starts with `expect`. */
  | { kind: 'tcp'; host: string; port: number; send: string; expect: string }
  /** Succeeds with exit code 0. */
  | { kind: 'command'; command: readonly [string, ...string[]] }

/**
 * One supervised process, as plain data: building it has no side effects. The supervisor writes `files`, runs
 * `command`, and repeats `probe` until it succeeds.
 */
export interface Component {
  name: ComponentName
  /** Components that must be ready before this one starts. */
  dependsOn: readonly ComponentName[]
  command: readonly [string, ...string[]]
  environment?: Readonly<Record<string, string>>
  /** Configuration files, by absolute path. */
  files: Readonly<Record<string, string>>
  probe: Probe
  /** Commands to run after each start, once the probe succeeds. The component is ready when all have succeeded. */
  afterReady?: readonly (readonly [string, ...string[]])[]
  /** Signal for a fast and orderly shutdown; the default is SIGTERM. */
  stopSignal?: 'SIGINT'
  diagnoses: readonly Diagnosis[]
}

/** The components of the box, one process each. */
export const COMPONENT_NAMES = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'registry',
  'moto',
  'aws',
  'haproxy',
  'load-balancers',
  'postgres',
  'redis',
  'resolver',
  'nodes',
] as const

/** The components of each node. */
export const NODE_COMPONENT_NAMES = ['containerd', 'kubelet', 'kube-proxy', 'network-policies'] as const

export type NodeComponentName = (typeof NODE_COMPONENT_NAMES)[number]
export type ComponentName = (typeof COMPONENT_NAMES)[number] | NodeComponentName
