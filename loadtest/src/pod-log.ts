import { request as requestHttp } from 'node:http'
import { type RequestOptions, request as requestHttps } from 'node:https'
import type { KubeConfig } from '@kubernetes/client-node'

/**
 * A running load prints a line every 2 s. After this time without one, the connection is lost, although it may not have
 * been closed. In milliseconds.
 */
const silenceMs = 15_000

/**
 * Reads the log of a pod from its beginning, and follows it until the pod has ended, the connection is lost or `signal` is
 * aborted. The client's own function for logs crashes the process when it loses the connection.
 *
 * @throws Error when the API refuses (with `statusCode`), the connection is lost, or `onLine` throws.
 */
export async function followPodLog(
  kubeConfig: KubeConfig,
  namespace: string,
  pod: string,
  signal: AbortSignal,
  onLine: (line: string) => void,
  silence = silenceMs,
): Promise<void> {
  const url = new URL(
    `${kubeConfig.getCurrentCluster()?.server}/api/v1/namespaces/${namespace}/pods/${pod}/log?follow=true`,
  )
  const options: RequestOptions = {}
  await kubeConfig.applyToHTTPSOptions(options)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const request = (url.protocol === 'http:' ? requestHttp : requestHttps)(url, options, (response) => {
    if (response.statusCode !== 200) {
      reject(Object.assign(new Error(String(response.statusMessage)), { statusCode: response.statusCode }))
      return
    }
    // Unlike readline, this never reports the first half of a line when the connection is lost.
    let rest = ''
    response.setEncoding('utf8')
    response.on('data', (chunk: string) => {
      const lines = `${rest}${chunk}`.split('\n')
      rest = lines.pop() as string
      try {
        for (const line of lines) onLine(line)
      } catch (error) {
        reject(error)
        request.destroy()
      }
    })
    response.on('error', reject)
    response.on('end', resolve)
  })
  const stop = () => resolve()
  request.setTimeout(silence, () => reject(new Error(`the log was silent for ${silence / 1_000} s`)))
  request.on('error', reject)
  signal.addEventListener('abort', stop)
  if (signal.aborted) stop()
  request.end()
  try {
    await promise
  } finally {
    signal.removeEventListener('abort', stop)
    request.destroy()
  }
}
