{{/* Name of all objects: the release's name. Helm limits it to 53 characters, which leaves room for a suffix. */}}
{{- define "fastify-app.name" -}}
{{- .Release.Name -}}
{{- end -}}

{{/* Labels that select the pods. A Deployment's selector is immutable, so they must not depend on a version. */}}
{{- define "fastify-app.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of the migration's and the test's pods. They must not match the selector above. */}}
{{- define "fastify-app.migrationLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-migration
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fastify-app.testLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of all objects except pods: on pods, they would cause a rollout with each new version of the chart. */}}
{{- define "fastify-app.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{ include "fastify-app.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ .Chart.Name }}
{{- with .Values.image.tag | trunc 63 | trimAll "-_." }}
app.kubernetes.io/version: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Image reference with tag, digest or both. */}}
{{- define "fastify-app.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}{{ with .digest }}@{{ . }}{{ end }}
{{- end -}}
{{- end -}}

{{/*
The service's environment variables, without secrets. The image fixes the ports. The service trusts X-Forwarded-For only
if the release creates a load balancer or a route in front of it.
*/}}
{{- define "fastify-app.environment" -}}
HOST: 0.0.0.0
PORT: "3000"
METRICS_PORT: "9464"
TRUSTED_PROXY_HOPS: {{ include "fastify-app.proxyHops" . | quote }}
MAX_CONNECTIONS: {{ .Values.config.maxConnections | int | quote }}
LOG_LEVEL: {{ .Values.config.logLevel }}
LOG_REQUESTS_PER_SECOND: {{ .Values.config.logRequestsPerSecond | int | quote }}
LOAD_ENDPOINTS_ENABLED: {{ .Values.config.loadEndpointsEnabled | quote }}
LOAD_MAX_MS: {{ .Values.config.loadMaxMilliseconds | int | quote }}
RATE_LIMIT_PER_MINUTE: {{ .Values.config.rateLimitPerMinute | int | quote }}
DATABASE_POOL_SIZE: {{ .Values.database.poolSize | quote }}
DATABASE_READY_GRACE_MS: {{ mul .Values.database.readyGraceSeconds 1000 | quote }}
{{- with .Values.tracing.endpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ . | quote }}
OTEL_TRACES_SAMPLER: parentbased_traceidratio
OTEL_TRACES_SAMPLER_ARG: {{ $.Values.tracing.sampleRatio | quote }}
{{- end }}
DRAIN_DELAY_MS: {{ mul .Values.shutdown.drainDelaySeconds 1000 | quote }}
SHUTDOWN_TIMEOUT_MS: {{ mul .Values.shutdown.timeoutSeconds 1000 | quote }}
{{- with .Values.config.pressure }}
PRESSURE_MAX_EVENT_LOOP_DELAY_MS: {{ .maxEventLoopDelayMilliseconds | quote }}
PRESSURE_MAX_EVENT_LOOP_UTILIZATION_PERCENT: {{ .maxEventLoopUtilizationPercent | quote }}
PRESSURE_MAX_HEAP_USED_PERCENT: {{ .maxHeapUsedPercent | quote }}
{{- end }}
{{- end -}}

{{/* Name of the Secret with the connection strings. Empty if the service runs without one. */}}
{{- define "fastify-app.secretName" -}}
{{- ternary (include "fastify-app.name" .) .Values.secret.name .Values.externalSecret.enabled -}}
{{- end -}}

{{/* Name of the Secret with the migration's own credentials. Empty if the migration uses the service's, or none runs. */}}
{{- define "fastify-app.migrationSecretName" -}}
{{- with .Values.externalSecret -}}
{{- if and .enabled .migration.key (include "fastify-app.migrates" $) -}}
{{- include "fastify-app.name" $ }}-migration
{{- end -}}
{{- end -}}
{{- end -}}

{{/* "true" if the pods get the variable `key` from the Secret, otherwise empty. Takes a dict of root and key. */}}
{{- define "fastify-app.hasSecretKey" -}}
{{- if and (include "fastify-app.secretName" .root) (has .key .root.Values.secret.keys) -}}true{{- end -}}
{{- end -}}

{{/* The variable `key` from the Secret `name`. It is not optional: a pod waits for it instead of starting without it. */}}
{{- define "fastify-app.secretVariable" -}}
- name: {{ .key }}
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end -}}

{{/* Variables with the paths of the CA certificates; the mount and the volume that provide the files follow below. */}}
{{- define "fastify-app.caVariables" -}}
{{- range $variable, $key := dict "DATABASE_CA_FILE" .Values.ca.databaseKey "REDIS_CA_FILE" .Values.ca.redisKey }}
{{- if $key }}
- name: {{ $variable }}
  value: /etc/fastify-app/ca/{{ $key }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "fastify-app.volumeMounts" -}}
{{- if .Values.ca.configMap }}
- name: fastify-app-ca
  mountPath: /etc/fastify-app/ca
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "fastify-app.volumes" -}}
{{- with .Values.ca.configMap }}
- name: fastify-app-ca
  configMap:
    name: {{ . }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/*
Text that changes with the Secret, so that the pods are replaced: secret.version if it is set, otherwise a hash of the keys
that the pods read. Empty if Helm cannot read the Secret (`helm template`, Argo CD, a client-side dry run) or if the Secret
does not exist yet.
*/}}
{{- define "fastify-app.secretChecksum" -}}
{{- $name := include "fastify-app.secretName" . -}}
{{- if .Values.secret.version -}}
{{- .Values.secret.version | quote -}}
{{- else if $name -}}
{{- with (lookup "v1" "Secret" .Release.Namespace $name).data -}}
{{- pick . "DATABASE_URL" "REDIS_URL" | toJson | sha256sum -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
Maximum number of pods, not counting rollouts. Without a database, each of them keeps its own tasks.
*/}}
{{- define "fastify-app.maxReplicas" -}}
{{- ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled -}}
{{- end -}}

{{/* Scheduling and image pull secrets of all pods: service, migration and test. */}}
{{- define "fastify-app.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* "true" if the release runs a migration, otherwise empty. */}}
{{- define "fastify-app.migrates" -}}
{{- if .Values.migration.enabled -}}
{{- include "fastify-app.hasSecretKey" (dict "root" . "key" "DATABASE_URL") -}}
{{- end -}}
{{- end -}}

{{/* Seconds from SIGTERM until the service has finished. */}}
{{- define "fastify-app.serviceShutdownSeconds" -}}
{{- add .Values.shutdown.drainDelaySeconds .Values.shutdown.timeoutSeconds -}}
{{- end -}}

{{/* Pod and container settings that the restricted Pod Security Standard requires. */}}
{{- define "fastify-app.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "fastify-app.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The proxies that add the address of their client to X-Forwarded-For: a load balancer or gateway, and CloudFront before it. */}}
{{- define "fastify-app.proxyHops" -}}
{{- if and .Values.ingress.enabled .Values.ingress.cloudFrontPrefixList -}}2
{{- else if or .Values.ingress.enabled .Values.httpRoute.enabled -}}1
{{- else -}}0
{{- end -}}
{{- end -}}
