/** A failure that a component's log gives away, in the words of the operator. */
export interface Diagnosis {
  pattern: RegExp
  cause: string
  nextStep: string
}

/** How to ask a component whether it serves. `insecure` is for a certificate the component made itself. */
export type Probe =
  | { kind: 'http'; url: string; insecure?: boolean }
  /** Says something and is content with an answer that begins with `hear`. */
  | { kind: 'tcp'; host: string; port: number; say: string; hear: string }
  | { kind: 'command'; command: readonly [string, ...string[]] }

/**
 * One supervised process, as pure data: building it starts nothing and touches nothing. The
 * supervisor writes `files`, runs `command`, and asks `probe` until it answers.
 */
export interface Component {
  name: ComponentName
  /** Components that must be ready before this one is started. */
  after: readonly ComponentName[]
  command: readonly [string, ...string[]]
  environment?: Readonly<Record<string, string>>
  /** Configuration files, by absolute path. */
  files: Readonly<Record<string, string>>
  probe: Probe
  /** Commands to run once after each start, when the probe has answered. */
  afterReady?: readonly (readonly [string, ...string[]])[]
  /** The signal that makes it end soon and in order; SIGTERM unless told. */
  stopSignal?: 'SIGINT'
  diagnoses: readonly Diagnosis[]
}

export const COMPONENT_NAMES = [
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-scheduler',
  'registry',
  'moto',
  'aws',
  'postgres',
  'redis',
  'containerd',
  'kubelet',
  'kube-proxy',
  'coredns',
  'metrics-server',
] as const

export type ComponentName = (typeof COMPONENT_NAMES)[number]
