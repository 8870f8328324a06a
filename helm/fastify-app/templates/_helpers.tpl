{{/* Name of every object: the release's, which Helm keeps to 53 characters, so that a suffix fits. */}}
{{- define "fastify-app.name" -}}
{{- .Release.Name -}}
{{- end -}}

{{/* Labels that select the pods. They are immutable on a Deployment, so nothing here may change with a version. */}}
{{- define "fastify-app.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of the pods that migrate and that test: none of them may match the selector above. */}}
{{- define "fastify-app.migrationLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-migration
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "fastify-app.testLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Labels of every object except pods, which would be replaced by each new chart version. */}}
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
Environment of the service without secrets. The ports are constants of the service's image. The service trusts
X-Forwarded-For only from the load balancer or gateway that the release itself puts in front.
*/}}
{{- define "fastify-app.environment" -}}
HOST: 0.0.0.0
PORT: "3000"
METRICS_PORT: "9464"
TRUSTED_PROXY_HOPS: {{ ternary "1" "0" (or .Values.ingress.enabled .Values.httpRoute.enabled) | quote }}
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
{{- end }}
DRAIN_DELAY_MS: {{ mul .Values.shutdown.drainDelaySeconds 1000 | quote }}
SHUTDOWN_TIMEOUT_MS: {{ mul .Values.shutdown.timeoutSeconds 1000 | quote }}
{{- with .Values.config.pressure }}
PRESSURE_MAX_EVENT_LOOP_DELAY_MS: {{ .maxEventLoopDelayMilliseconds | quote }}
PRESSURE_MAX_EVENT_LOOP_UTILIZATION_PERCENT: {{ .maxEventLoopUtilizationPercent | quote }}
PRESSURE_MAX_HEAP_USED_PERCENT: {{ .maxHeapUsedPercent | quote }}
{{- end }}
{{- end -}}

{{/* Name of the Secret with the connection strings; empty when the service runs without one. */}}
{{- define "fastify-app.secretName" -}}
{{- ternary (include "fastify-app.name" .) .Values.secret.name .Values.externalSecret.enabled -}}
{{- end -}}

{{/* Whether pods get the variable `key` from the Secret: "true" or empty. Takes a dict of root and key. */}}
{{- define "fastify-app.hasSecretKey" -}}
{{- if and (include "fastify-app.secretName" .root) (has .key .root.Values.secret.keys) -}}true{{- end -}}
{{- end -}}

{{/* One environment variable from the Secret. Not optional: a pod waits for it rather than run without. */}}
{{- define "fastify-app.secretVariable" -}}
- name: {{ .key }}
  valueFrom:
    secretKeyRef:
      name: {{ include "fastify-app.secretName" .root }}
      key: {{ .key }}
{{- end -}}

{{/* Variables that name the files of the authorities' certificates; the mount and the volume that bring them. */}}
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
Text that changes with the Secret, so that the pods are replaced. secret.version when it is set; otherwise the hash of
what pods take from the Secret in the cluster. Empty when Helm cannot see the Secret (`helm template`, Argo CD, a dry
run on the client) or when it does not exist yet.
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
The most pods that can run at a time, rollouts aside. Without a database each of them keeps tasks of its own.
*/}}
{{- define "fastify-app.maxReplicas" -}}
{{- ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled -}}
{{- end -}}

{{/* Where pods run, and how they get their image: the same for service, migration and test. */}}
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

{{/* Whether there is a migration to run: "true" or empty. */}}
{{- define "fastify-app.migrates" -}}
{{- if .Values.migration.enabled -}}
{{- include "fastify-app.hasSecretKey" (dict "root" . "key" "DATABASE_URL") -}}
{{- end -}}
{{- end -}}

{{/* Seconds from SIGTERM until the service has nothing left to do. */}}
{{- define "fastify-app.serviceShutdownSeconds" -}}
{{- add .Values.shutdown.drainDelaySeconds .Values.shutdown.timeoutSeconds -}}
{{- end -}}

{{/* Pod and container settings that the restricted Pod Security Standard asks for. */}}
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
