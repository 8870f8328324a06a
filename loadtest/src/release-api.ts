import {
  ApiException,
  AppsV1Api,
  AutoscalingV2Api,
  type Configuration,
  CoreV1Api,
  CustomObjectsApi,
  createConfiguration,
  type KubeConfig,
  type KubernetesListObject,
  type KubernetesObject,
  NetworkingV1Api,
  ServerConfiguration,
  type V1Deployment,
  type V1Ingress,
  type V1Node,
  type V1Pod,
  type V2HorizontalPodAutoscaler,
} from '@kubernetes/client-node'
import { ActionableError, rootCause } from 'shared/errors'
import type { ObjectSource } from './object-watch.ts'

const requestTimeoutMs = 5_000

/** A release's objects in the Kubernetes API, and the nodes of its cluster. */
export class ReleaseApi {
  readonly kubeConfig: KubeConfig
  readonly namespace: string
  readonly release: string
  readonly autoscalers: ObjectSource<V2HorizontalPodAutoscaler>
  readonly deployments: ObjectSource<V1Deployment>
  readonly pods: ObjectSource<V1Pod>
  readonly nodes: ObjectSource<V1Node>
  readonly nodeClaims: ObjectSource<KubernetesObject>
  /** How to reach the API: its server and the credentials. */
  readonly configuration: Configuration
  readonly #server: string
  readonly #networking: NetworkingV1Api

  /** @throws ActionableError when the kubeconfig's context has no cluster. */
  constructor(kubeConfig: KubeConfig, namespace: string, release: string) {
    const server = kubeConfig.getCurrentCluster()?.server
    if (server === undefined) {
      throw new ActionableError(
        `the context ${kubeConfig.getCurrentContext()} has no cluster`,
        'set KUBE_CONTEXT to another context, or add the cluster to your kubeconfig',
      )
    }
    this.kubeConfig = kubeConfig
    this.namespace = namespace
    this.release = release
    this.#server = server
    const configuration = createConfiguration({
      baseServer: new ServerConfiguration(server, {}),
      authMethods: { default: kubeConfig },
      promiseMiddleware: [
        {
          pre: async (request) => {
            // An unreachable API server must not block the recording.
            request.setSignal(AbortSignal.timeout(requestTimeoutMs))
            return request
          },
          post: async (response) => response,
        },
      ],
    })
    this.configuration = configuration
    const labelSelector = this.#labelSelector
    const ofRelease = { namespace, labelSelector }
    const autoscaling = new AutoscalingV2Api(configuration)
    const apps = new AppsV1Api(configuration)
    const core = new CoreV1Api(configuration)
    const custom = new CustomObjectsApi(configuration)
    this.#networking = new NetworkingV1Api(configuration)
    const inNamespace = (group: string, plural: string) => `${group}/namespaces/${namespace}/${plural}`
    this.autoscalers = {
      kubeConfig,
      path: inNamespace('/apis/autoscaling/v2', 'horizontalpodautoscalers'),
      labelSelector,
      list: () => autoscaling.listNamespacedHorizontalPodAutoscaler(ofRelease),
    }
    this.deployments = {
      kubeConfig,
      path: inNamespace('/apis/apps/v1', 'deployments'),
      labelSelector,
      list: () => apps.listNamespacedDeployment(ofRelease),
    }
    this.pods = {
      kubeConfig,
      path: inNamespace('/api/v1', 'pods'),
      labelSelector,
      list: () => core.listNamespacedPod(ofRelease),
    }
    this.nodes = { kubeConfig, path: '/api/v1/nodes', list: () => core.listNode() }
    const claims = { group: 'karpenter.sh', version: 'v1', plural: 'nodeclaims' }
    this.nodeClaims = {
      kubeConfig,
      path: `/apis/${claims.group}/${claims.version}/${claims.plural}`,
      list: () => custom.listClusterCustomObject(claims) as Promise<KubernetesListObject<KubernetesObject>>,
    }
  }

  get #labelSelector(): string {
    return `app.kubernetes.io/instance=${this.release}`
  }

  /** The release's Ingresses. */
  async ingresses(): Promise<V1Ingress[]> {
    const { namespace } = this
    const listing = this.#networking.listNamespacedIngress({ namespace, labelSelector: this.#labelSelector })
    return (await this.answer(listing)).items
  }

  /** Turns a failed request into an ActionableError. */
  async answer<T>(request: Promise<T>): Promise<T> {
    try {
      return await request
    } catch (error) {
      throw this.explain(error)
    }
  }

  /**
   * The cause and next step of a failed request or watch.
   *
   * @param request - what was asked
   * @param permissions - what it needs
   */
  explain(
    error: unknown,
    request = `for release ${this.release}`,
    permissions = 'list and watch horizontalpodautoscalers, deployments, pods and ingresses',
  ): ActionableError {
    const code = statusCode(error)
    if (code === undefined) {
      return new ActionableError(
        `the Kubernetes API at ${this.#server} does not answer: ${rootCause(error)}`,
        'start the box with `make up`, check KUBE_CONTEXT, or run with --no-cluster',
        { cause: error },
      )
    }
    return new ActionableError(
      `the Kubernetes API at ${this.#server} answers ${code} when asked ${request}`,
      code === 401 || code === 403
        ? `use a context that may ${permissions} in namespace ${this.namespace}`
        : 'try again; if the error persists, see the log of the API server',
      { cause: error },
    )
  }
}

/** The HTTP status of a failed request; undefined when there was no answer. */
export function statusCode(error: unknown): number | undefined {
  if (error instanceof ApiException) return error.code
  return error instanceof Error && 'statusCode' in error ? Number(error.statusCode) : undefined
}
