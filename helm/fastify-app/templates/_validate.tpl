{{/* Values that are each valid but cannot go together; the schema refuses the rest. */}}
{{- define "fastify-app.validate" -}}
{{- with .Values.image -}}
{{- if not .repository -}}
{{- fail "image.repository is empty: set it to the repository the image was pushed to, without tag or digest" -}}
{{- end -}}
{{- if not (or .tag .digest) -}}
{{- fail "image.tag and image.digest are both empty: set one of them to say which image to run" -}}
{{- end -}}
{{- end -}}

{{- $replicas := .Values.replicaCount -}}
{{- $replicasFrom := "replicaCount" -}}
{{- with .Values.autoscaling -}}
{{- if .enabled -}}
{{- $replicas = .minReplicas -}}
{{- $replicasFrom = "autoscaling.minReplicas" -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas (%d) is more than autoscaling.maxReplicas (%d): lower the one or raise the other" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- with .Values.podDisruptionBudget -}}
{{- if .enabled -}}
{{- if lt (int .maxUnavailable) 1 -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable (%d) forbids every eviction, so no node with a pod on it could ever be drained: set it to 1 or more, or podDisruptionBudget.enabled to false" (int .maxUnavailable)) -}}
{{- end -}}
{{- if ge (int .maxUnavailable) (int $replicas) -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable (%d) lets all pods of %s (%d) be evicted at once: set it lower, or podDisruptionBudget.enabled to false" (int .maxUnavailable) $replicasFrom (int $replicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- with .Values.service -}}
{{- if and .nodePort (ne .type "NodePort") -}}
{{- fail (printf "service.nodePort (%d) needs service.type NodePort, not %s: set service.type to NodePort, or service.nodePort to 0" (int .nodePort) .type) -}}
{{- end -}}
{{- end -}}

{{- with .Values.autoscaling -}}
{{- if .enabled -}}
{{- if not (or .targetCPUUtilizationPercentage .targetEventLoopUtilizationPercentage .targetRequestsPerSecond) -}}
{{- fail "autoscaling has no target, so nothing would scale: set autoscaling.targetCPUUtilizationPercentage, .targetEventLoopUtilizationPercentage or .targetRequestsPerSecond, or autoscaling.enabled to false" -}}
{{- end -}}
{{- if and (or .targetEventLoopUtilizationPercentage .targetRequestsPerSecond) (not $.Values.serviceMonitor.enabled) -}}
{{- fail "autoscaling.targetEventLoopUtilizationPercentage and .targetRequestsPerSecond need metrics that nobody collects: set serviceMonitor.enabled to true, or both to 0" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if and .Values.prometheusRule.enabled (not .Values.serviceMonitor.enabled) -}}
{{- fail "prometheusRule.enabled needs metrics that nobody collects: set serviceMonitor.enabled to true, or prometheusRule.enabled to false" -}}
{{- end -}}

{{- if .Values.ingress.enabled -}}
{{- if lt (int .Values.shutdown.drainDelaySeconds) 10 -}}
{{- fail (printf "shutdown.drainDelaySeconds (%d) is too short for a load balancer, which sends requests until its controller has deregistered the pod: set it to 10 or more" (int .Values.shutdown.drainDelaySeconds)) -}}
{{- end -}}
{{- with .Values.ingress.accessLogs -}}
{{- if and .prefix (not .bucket) -}}
{{- fail "ingress.accessLogs.prefix needs ingress.accessLogs.bucket: set the bucket, or leave the prefix empty" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if .Values.externalSecret.enabled -}}
{{- if .Values.secret.name -}}
{{- fail (printf "secret.name (%s) is a Secret that exists, externalSecret.enabled makes one: choose one of the two" .Values.secret.name) -}}
{{- end -}}
{{- if not .Values.externalSecret.key -}}
{{- fail "externalSecret.key is empty: set it to the name of the secret in the store" -}}
{{- end -}}
{{- end -}}

{{- if .Values.networkPolicy.enabled -}}
{{- range $variable, $destination := dict "DATABASE_URL" "database" "REDIS_URL" "cache" -}}
{{- if and (include "fastify-app.hasSecretKey" (dict "root" $ "key" $variable)) (not (index $.Values.networkPolicy.egress $destination).cidrs) -}}
{{- fail (printf "networkPolicy.egress.%s.cidrs is empty, so the pods could not reach what %s names: list its networks" $destination $variable) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.tracing.endpoint (not .Values.networkPolicy.egress.tracing.cidrs) -}}
{{- fail "networkPolicy.egress.tracing.cidrs is empty, so the pods could not reach tracing.endpoint: list its networks" -}}
{{- end -}}
{{- end -}}
{{- end -}}
