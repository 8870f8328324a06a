import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { V1ConfigMap, V1Job } from '@kubernetes/client-node'
import { K6_ARGUMENTS, RELEVANT_LINE } from './k6.ts'
import type { Load } from './profiles.ts'

/** Name of the Job, its ConfigMap and its container. Two loads at a time would disturb each other. */
export const JOB_NAME = 'loadtest'

/** The annotation of a pod that makes it start its load, at this time in seconds since the epoch. */
export const START_ANNOTATION = `${JOB_NAME}/start`

/** How long the pods may take to run, in seconds. A new node and the first pull of the image take up to two minutes. */
export const STARTUP_SECONDS = 300

/** What follows or precedes a load: the start delay, `setup()` and the last answers, with room to spare. */
const marginSeconds = 180

/**
 * The CPU of a pod. k6 needs about 1.2 ms for a request on a new connection (measured at 150 requests/s), and the filter
 * less than 0.02, so one CPU is enough for several hundred requests per second. The request equals the limit, so that no
 * neighbour slows the generator down.
 */
const cpu = '1'

/** Memory of k6 without VUs and of a VU, in MiB. An idle VU takes about 0.2. */
const baseMemory = 256
const memoryPerVu = 0.5

/** Where the pods find the scenario and their annotation. */
const mountPath = '/loadtest'

/**
 * What a pod runs. It waits for the annotation, which the kubelet writes to a file as soon as it changes, and then runs
 * its segment of the load. awk drops what the recorder would drop, because the kubelet rotates the log of a pod after
 * 10 MiB, which are then about 27,000 requests. The lines are numbered, so that the recorder can resume the log without
 * losing or doubling any. Readings of k6's CPU time go to stderr: they also show that the pod is alive.
 *
 * BusyBox and Debian's dash and mawk understand it. Without `-W interactive`, which BusyBox ignores, mawk waits for 4 KiB.
 */
const script = `start=
until [ -n "$start" ]; do
  sleep 0.2
  read -r start <${mountPath}/control/start || :
done
while [ "$(date +%s)" -lt "$start" ]; do sleep 0.1; done
{
  echo "start $(date +%s)"
  k6 ${K6_ARGUMENTS.join(' ')} --execution-segment-sequence "$SEGMENTS" \\
    --execution-segment "$JOB_COMPLETION_INDEX/$GENERATORS:$((JOB_COMPLETION_INDEX + 1))/$GENERATORS" \\
    ${mountPath}/src/scenarios/profile.ts &
  k6=$!
  while sleep 2; do
    read -r uptime idle </proc/uptime
    read -r stat </proc/$k6/stat || break
    set -- \${stat##*) }
    echo "cpu $uptime \${12} \${13}" >&2
  done &
  wait $k6
  echo "exit $?"
} | awk -W interactive '/^(start|exit) / || /${RELEVANT_LINE}/ { print ++lines, $0; fflush() }'
`

/** The load of a Job's pods. */
export interface JobLoad {
  load: Load
  /** Number of pods. */
  pods: number
  image: string
  /** What the scenario reads from its environment. */
  variables: Readonly<Record<string, string>>
  /** The Helm release under load. */
  release: string
}

/** The Job: each pod runs the same share of the load, and none is replaced. */
export function jobManifest({ load, pods, image, variables, release }: JobLoad): V1Job {
  const labels = { 'app.kubernetes.io/name': JOB_NAME }
  const segments = Array.from({ length: pods + 1 }, (_, index) => `${index}/${pods}`).join(',')
  const environment = { ...variables, GENERATORS: String(pods), SEGMENTS: segments }
  const vus = load.scenario.preAllocatedVUs / pods
  const resources = { cpu, memory: `${Math.ceil(baseMemory + memoryPerVu * vus)}Mi` }
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: JOB_NAME, labels },
    spec: {
      completionMode: 'Indexed',
      completions: pods,
      parallelism: pods,
      // The load of a replacement would come too late.
      backoffLimit: 0,
      // Bounds the load, and what is left of it, if the recorder is killed.
      activeDeadlineSeconds: STARTUP_SECONDS + load.seconds + marginSeconds,
      ttlSecondsAfterFinished: 60,
      template: {
        metadata: { labels, annotations: { 'karpenter.sh/do-not-disrupt': 'true' } },
        spec: {
          restartPolicy: 'Never',
          automountServiceAccountToken: false,
          enableServiceLinks: false,
          // The shell does not forward SIGTERM, so a deleted pod would go on for the usual 30 s.
          terminationGracePeriodSeconds: 1,
          affinity: {
            podAntiAffinity: {
              preferredDuringSchedulingIgnoredDuringExecution: [
                preferOtherNodes(100, { 'app.kubernetes.io/instance': release }),
                preferOtherNodes(50, labels),
              ],
            },
          },
          securityContext: {
            runAsNonRoot: true,
            seccompProfile: { type: 'RuntimeDefault' },
          },
          containers: [
            {
              name: JOB_NAME,
              image,
              command: ['/bin/sh', '-c', script],
              env: Object.entries(environment).map(([name, value]) => ({ name, value })),
              resources: { requests: resources, limits: resources },
              securityContext: {
                allowPrivilegeEscalation: false,
                readOnlyRootFilesystem: true,
                capabilities: { drop: ['ALL'] },
              },
              volumeMounts: [
                { name: 'control', mountPath: `${mountPath}/control`, readOnly: true },
                { name: 'program', mountPath: `${mountPath}/src`, readOnly: true },
              ],
            },
          ],
          volumes: [
            {
              name: 'control',
              downwardAPI: {
                items: [
                  {
                    path: 'start',
                    fieldRef: { fieldPath: `metadata.annotations['${START_ANNOTATION}']` },
                  },
                ],
              },
            },
            {
              name: 'program',
              configMap: {
                name: JOB_NAME,
                items: programFiles().map((path) => ({ key: keyOf(path), path })),
              },
            },
          ],
        },
      },
    },
  }
}

/** The ConfigMap with the k6 program, which is deleted with the Job. */
export function programManifest({ metadata }: V1Job): V1ConfigMap {
  const owner = { apiVersion: 'batch/v1', kind: 'Job', name: JOB_NAME, uid: String(metadata?.uid) }
  const read = (path: string) => readFileSync(join(import.meta.dirname, path), 'utf8')
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      name: JOB_NAME,
      labels: { 'app.kubernetes.io/name': JOB_NAME },
      // The Job is gone only after it.
      ownerReferences: [{ ...owner, blockOwnerDeletion: true }],
    },
    data: Object.fromEntries(programFiles().map((path) => [keyOf(path), read(path)])),
  }
}

/** The files of the k6 program. */
function programFiles(): string[] {
  const scenarios = readdirSync(join(import.meta.dirname, 'scenarios')).sort()
  return ['profiles.ts', 'slo.ts', ...scenarios.map((name) => `scenarios/${name}`)]
}

/** The key of a path in the ConfigMap, which must not contain a slash. */
function keyOf(path: string): string {
  return path.replace('/', '_')
}

function preferOtherNodes(weight: number, matchLabels: Record<string, string>) {
  return {
    weight,
    podAffinityTerm: { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels } },
  }
}
