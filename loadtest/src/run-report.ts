import Type, { type Static } from 'typebox'

/** A measurement that is null where it was not taken, for example because no cluster was watched. */
const Measurement = Type.Union([Type.Number(), Type.Null()])
const Column = Type.Array(Measurement)
const Count = Type.Integer({ minimum: 0 })

const Verdict = Type.Object({
  name: Type.String(),
  value: Measurement,
  comparison: Type.Union([Type.Literal('<='), Type.Literal('>=')]),
  bound: Type.Number(),
  /** Unit of `value` and `bound`; empty for a plain number. */
  unit: Type.String(),
  met: Type.Boolean(),
})

const Summary = Type.Object({
  requests: Count,
  failed: Count,
  /** Failed requests by cause. */
  failures: Type.Record(Type.String(), Count),
  /** Failed requests as a share of all, 0 to 1. */
  errorRate: Measurement,
  /** Iterations that k6 could not start on time because all VUs were busy. */
  droppedIterations: Count,
  p50Ms: Measurement,
  p95Ms: Measurement,
  p99Ms: Measurement,
  maxMs: Measurement,
  /** Failed checks by name. */
  checksFailed: Type.Record(Type.String(), Count),
})

const Autoscaler = Type.Object({
  deployment: Type.String(),
  minReplicas: Count,
  maxReplicas: Count,
  targets: Type.Array(Type.Object({ metric: Type.String(), target: Type.Number(), unit: Type.String() })),
})

const Scaling = Type.Object({
  autoscaler: Autoscaler,
  /** Ready replicas when the load started, their maximum, and at the end of the recording. */
  replicas: Type.Object({ from: Count, max: Count, end: Count }),
  /** When the autoscaler first wanted more replicas than `from`. */
  firstDecisionSecond: Measurement,
  firstNewPodReadySecond: Measurement,
  /** Start of the first window of 5 s over the bound on p95, or with a failed request. */
  sloViolatedSecond: Measurement,
  /** End of the last such window; null if there was none, or if it was the last one of the load. */
  sloHoldsAgainSecond: Measurement,
  /** Maximum of wanted replicas minus those wanted at the end of the steady peak. */
  overshootReplicas: Measurement,
  /** When the release was back at `from` replicas after the load. */
  backSecond: Measurement,
  /** Time that all pods of the release existed, added up. */
  podSeconds: Type.Number(),
  /** Time that all nodes existed, added up. */
  nodeSeconds: Type.Number(),
  /** Price of the nodes during the recording; null when a node has a type without a known price. */
  price: Type.Union([Type.Object({ usd: Type.Number(), perHourAtPeak: Type.Number() }), Type.Null()]),
})

/** Columns of equal length, with one row each `stepSeconds`. A row covers the step that ends at its second. */
const Series = Type.Object({
  /** 5 at first, doubled when a run is long, so that there are at most 720 rows. */
  stepSeconds: Type.Integer({ minimum: 1 }),
  second: Type.Array(Type.Number()),
  /** Requests per second. */
  rate: Column,
  /** Failed requests and dropped iterations in the step. */
  failed: Column,
  dropped: Column,
  p50Ms: Column,
  p95Ms: Column,
  p99Ms: Column,
  replicasWanted: Column,
  replicasReady: Column,
  podsPending: Column,
  nodes: Column,
  karpenterNodes: Column,
  /** Average CPU of the pods in percent of their request, as the autoscaler sees it. */
  cpuPercent: Column,
  /**
   * 0 to 1, average of the pods in the minute before the row's second, as Prometheus scraped them. Null without
   * Prometheus, and in a last row that ends after the recording.
   */
  eventLoopUtilization: Column,
})

/** A moment to mark on the time axis. */
const Event = Type.Object({
  second: Type.Number(),
  kind: Type.Union([
    Type.Literal('scale'),
    Type.Literal('pod'),
    Type.Literal('node'),
    Type.Literal('problem'),
    Type.Literal('load'),
  ]),
  text: Type.String(),
})

/**
 * The result of a run: the format of its JSON file, and the source of all reports. Times are seconds since the first
 * request was sent, unless the name says Ms.
 */
export const RunReportSchema = Type.Object({
  version: Type.Literal(1),
  /** Name of the load profile. */
  profile: Type.String(),
  /** The load in one sentence. */
  description: Type.String(),
  environment: Type.String(),
  baseUrl: Type.String(),
  /** When the first request was sent, in ISO 8601. */
  startedAt: Type.String(),
  /** Planned length of the load. */
  loadSeconds: Type.Number(),
  /** Length of the recording, including the time until the release was scaled down. */
  seconds: Type.Number(),
  /** Whether a signal stopped the run. Then the rest covers only the part that ran, without verdicts. */
  interrupted: Type.Boolean(),
  verdicts: Type.Array(Verdict),
  summary: Summary,
  /**
   * CPU time of k6 as a share of the time of all cores, 0 to 1. If k6 ran in pods: their number, and the largest share of a
   * pod's CPU limit.
   */
  generator: Type.Object({ cpuShare: Measurement, pods: Type.Optional(Type.Integer()) }),
  /** Null when no cluster was watched. */
  scaling: Type.Union([Scaling, Type.Null()]),
  series: Series,
  /** In order of time. */
  events: Type.Array(Event),
})

export type RunReport = Static<typeof RunReportSchema>
export type Verdict = Static<typeof Verdict>
export type Summary = Static<typeof Summary>
export type Autoscaler = Static<typeof Autoscaler>
export type Scaling = Static<typeof Scaling>
export type Series = Static<typeof Series>
export type RunEvent = Static<typeof Event>
