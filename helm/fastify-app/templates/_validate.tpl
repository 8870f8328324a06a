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
{{- end -}}
