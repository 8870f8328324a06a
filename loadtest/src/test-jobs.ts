import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { dirname, join } from 'node:path'
import { text } from 'node:stream/consumers'
import type {
  V1ConfigMap,
  V1Container,
  V1Job,
  V1JobSpec,
  V1KeyToPath,
  V1Pod,
  V1PodSpec,
} from '@kubernetes/client-node'

/** A pod of a fake Job: a process of this machine. */
interface FakePod {
  name: string
  directory: string
  process: ChildProcess
  log: string
  /** The responses that follow the log. */
  followers: Set<ServerResponse>
  status: NonNullable<V1Pod['status']>
  isDeleting: boolean
}

/** The part of a fake Kubernetes API with Jobs. It runs their pods as processes. Tests may change it at any time. */
export class FakeJobs {
  /** What the pods run instead of the Job's script. */
  script: string | undefined
  /** The directory with the program `k6` for the Job's script. */
  path = ''
  /** The state of a pod, where it is not that of its process. */
  status: (index: number) => V1Pod['status'] = () => undefined
  /** The pods that the cluster creates; fewer than the Job wants if there is a quota. */
  podLimit = Number.POSITIVE_INFINITY
  /** The HTTP statuses of refused requests, by method and the last part of the path, such as `POST jobs`. */
  refusals: Record<string, number> = {}
  /** The last Job that was created, the Job that exists, and its pods. */
  created: V1Job | undefined
  job: V1Job | undefined
  pods: FakePod[] = []
  events: object[] = []
  /** The media type of the last patch of a pod. */
  patchType: string | undefined
  readonly #directory: string

  /** @param directory - for the files of the pods */
  constructor(directory: string) {
    this.#directory = directory
  }

  /** Answers a request if it concerns a Job. */
  answer(request: IncomingMessage, response: ServerResponse): boolean {
    const { pathname, searchParams } = new URL(String(request.url), 'http://fake')
    const [, kind, name, isLog] = /(jobs|configmaps|pods|events)(?:\/([^/]+))?(\/log)?$/.exec(pathname) ?? []
    const selector = String(searchParams.get('labelSelector'))
    const isOfRelease = kind === 'pods' && name === undefined && !selector.includes('job-name=')
    if (kind === undefined || isOfRelease) return false
    const refusal = this.refusals[`${request.method} ${isLog === undefined ? kind : 'log'}`]
    if (refusal !== undefined) this.#send(response, { message: 'refused' }, refusal)
    else if (isLog !== undefined) this.#follow(this.#pod(name), response)
    else void this.#change(request, kind, name, response)
    return true
  }

  /** Kills the processes of all pods. */
  close(): void {
    for (const { process: child } of this.pods) {
      if (child.exitCode === null && child.signalCode === null) process.kill(-Number(child.pid), 'SIGKILL')
    }
  }

  /** Cuts the connections to the pods' logs. */
  cut(): void {
    for (const { followers } of this.pods) for (const response of followers) response.destroy()
  }

  async #change(
    request: IncomingMessage,
    kind: string,
    name: string | undefined,
    response: ServerResponse,
  ): Promise<void> {
    const body = (await text(request)) || '{}'
    const { method } = request
    if (method === 'POST' && kind === 'jobs') {
      this.created = { ...(JSON.parse(body) as V1Job) }
      this.created.metadata = { ...this.created.metadata, uid: 'uid-1' }
      this.job = this.created
      return this.#send(response, this.job, 201)
    }
    if (method === 'POST') {
      this.#startPods(JSON.parse(body) as V1ConfigMap)
      return this.#send(response, {}, 201)
    }
    if (method === 'DELETE') {
      this.job = undefined
      this.close()
      return this.#send(response, {})
    }
    if (method === 'PATCH') {
      this.patchType = request.headers['content-type']
      const annotations = (JSON.parse(body) as V1Pod).metadata?.annotations
      writeFileSync(join(this.#pod(name).directory, 'control/start'), String(annotations?.['loadtest/start']))
      return this.#send(response, {})
    }
    // Jobs are only read to see whether they are gone, which a deleted one is at once.
    if (kind === 'jobs') return this.#send(response, {}, 404)
    const items = kind === 'events' ? this.events : this.pods.map((pod, index) => this.#describe(pod, index))
    return this.#send(response, { items })
  }

  #describe({ name, status, isDeleting }: FakePod, index: number): object {
    const deletion = isDeleting ? { deletionTimestamp: new Date().toISOString() } : {}
    return { metadata: { name, ...deletion }, status: this.status(index) ?? status }
  }

  #pod(name: string | undefined): FakePod {
    return this.pods.find((pod) => pod.name === name) as FakePod
  }

  #startPods({ data }: V1ConfigMap): void {
    const { parallelism, template } = (this.job as V1Job).spec as V1JobSpec
    const { containers, volumes } = template.spec as V1PodSpec
    const { command, env } = containers[0] as Required<V1Container>
    const files = volumes?.[1]?.configMap?.items as V1KeyToPath[]
    const variables = Object.fromEntries(env.map(({ name, value }) => [name, value]))
    const count = Math.min(Number(parallelism), this.podLimit)
    this.pods = Array.from({ length: count }, (_, index) => {
      const directory = join(this.#directory, `pod-${index}`)
      const write = (path: string, content: string) => {
        mkdirSync(dirname(join(directory, path)), { recursive: true })
        writeFileSync(join(directory, path), content)
      }
      write('control/start', '')
      for (const { key, path } of files) write(`src/${path}`, String(data?.[key]))
      const script = this.script ?? String(command.at(-1))
      const child = spawn('/bin/sh', ['-c', script.replaceAll('/loadtest/', `${directory}/`)], {
        env: { ...variables, JOB_COMPLETION_INDEX: String(index), PATH: `${this.path}:/usr/bin:/bin` },
        stdio: ['ignore', 'pipe', 'pipe'],
        // A process group, to kill k6 with its shell.
        detached: true,
      })
      const name = `loadtest-${index}`
      const status = { phase: 'Running' }
      const pod: FakePod = {
        name,
        directory,
        process: child,
        log: '',
        followers: new Set(),
        status,
        isDeleting: false,
      }
      for (const stream of [child.stdout, child.stderr]) {
        stream.on('data', (chunk: Buffer) => {
          pod.log += chunk
          for (const response of pod.followers) response.write(chunk)
        })
      }
      child.on('close', (code) => {
        pod.status = {
          phase: code === 0 ? 'Succeeded' : 'Failed',
          containerStatuses: [{ state: { terminated: { exitCode: Number(code), reason: 'Error' } } }],
        } as NonNullable<V1Pod['status']>
        for (const response of pod.followers) response.end()
      })
      return pod
    })
  }

  #follow(pod: FakePod, response: ServerResponse): void {
    response.writeHead(200).write(pod.log)
    if (pod.status.phase !== 'Running') {
      response.end()
      return
    }
    pod.followers.add(response)
    response.on('close', () => pod.followers.delete(response))
  }

  #send(response: ServerResponse, body: object, status = 200): void {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
}
