{{/* Name of every object: the release's, so that release fastify-app is Deployment fastify-app. */}}
{{- define "fastify-app.name" -}}
{{- .Release.Name | trunc 58 | trimSuffix "-" -}}
{{- end -}}

{{/* Labels that select the pods. They are immutable on a Deployment, so nothing here may change with a version. */}}
{{- define "fastify-app.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
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

{{/* Environment of the service. The HTTP port is a constant of the service's image. */}}
{{- define "fastify-app.environment" -}}
HOST: 0.0.0.0
PORT: "3000"
LOG_LEVEL: {{ .Values.config.logLevel }}
LOAD_ENDPOINTS_ENABLED: {{ .Values.config.loadEndpointsEnabled | quote }}
DRAIN_DELAY_MS: {{ mul .Values.shutdown.drainDelaySeconds 1000 | quote }}
SHUTDOWN_TIMEOUT_MS: {{ mul .Values.shutdown.timeoutSeconds 1000 | quote }}
PRESSURE_MAX_EVENT_LOOP_DELAY_MS: {{ .Values.config.pressure.maxEventLoopDelayMilliseconds | quote }}
PRESSURE_MAX_HEAP_USED_PERCENT: {{ .Values.config.pressure.maxHeapUsedPercent | quote }}
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
