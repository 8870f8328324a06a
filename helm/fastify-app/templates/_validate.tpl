{{/* Refuses values that are valid individually but contradict each other. The schema checks individual values. */}}
{{- define "fastify-app.validate" -}}
{{- with .Values.image -}}
{{- if not .repository -}}
{{- fail "image.repository is empty: set it to the repository that contains the image, without tag or digest" -}}
{{- end -}}
{{- if not (or .tag .digest) -}}
{{- fail "image.tag and image.digest are both empty: set at least one of them to select the image" -}}
{{- end -}}
{{- end -}}

{{- $replicas := .Values.replicaCount -}}
{{- $replicasFrom := "replicaCount" -}}
{{- with .Values.autoscaling -}}
{{- if .enabled -}}
{{- $replicas = .minReplicas -}}
{{- $replicasFrom = "autoscaling.minReplicas" -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas (%d) is more than autoscaling.maxReplicas (%d): decrease minReplicas or increase maxReplicas" (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- with .Values.podDisruptionBudget -}}
{{- if .enabled -}}
{{- if lt (int .maxUnavailable) 1 -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable (%d) forbids every eviction, so a node that runs a pod could never be drained: set it to 1 or more, or podDisruptionBudget.enabled to false" (int .maxUnavailable)) -}}
{{- end -}}
{{- if ge (int .maxUnavailable) (int $replicas) -}}
{{- fail (printf "podDisruptionBudget.maxUnavailable (%d) lets all pods of %s (%d) be evicted at once: decrease it, or set podDisruptionBudget.enabled to false" (int .maxUnavailable) $replicasFrom (int $replicas)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if not (include "fastify-app.hasSecretKey" (dict "root" . "key" "DATABASE_URL")) -}}
{{- if and (gt (int (include "fastify-app.maxReplicas" .)) 1) (not .Values.database.acceptTaskLoss) -}}
{{- fail (printf "there is no database, so each of up to %d pods would keep its own tasks in memory: other pods would not see them, and they would be lost when the pod ends. Set secret.name or externalSecret to provide DATABASE_URL, run a single replica, or set database.acceptTaskLoss to true to accept this" (int (include "fastify-app.maxReplicas" .))) -}}
{{- end -}}
{{- end -}}

{{- if .Values.config.loadEndpointsEnabled -}}
{{- if and .Values.ingress.enabled .Values.ingress.cloudFrontPrefixList -}}
{{- fail "config.loadEndpointsEnabled lets every client burn the pods' CPU, and everyone can reach the Ingress through CloudFront: set config.loadEndpointsEnabled to false" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (eq .Values.ingress.scheme "internet-facing") (not .Values.ingress.inboundCidrs) -}}
{{- fail "config.loadEndpointsEnabled lets every client burn the pods' CPU, and the Ingress is open to the internet: set ingress.inboundCidrs to the networks that send the load, ingress.scheme to internal, or config.loadEndpointsEnabled to false" -}}
{{- end -}}
{{- range .Values.ingress.inboundCidrs -}}
{{- /* No organisation has a larger network than a /8. Two halves of the internet are the internet. */ -}}
{{- if lt (splitList "/" . | last | int) 8 -}}
{{- fail (printf "config.loadEndpointsEnabled lets every client burn the pods' CPU, and ingress.inboundCidrs contains %s, which is a large part of the internet: list the networks that send the load, or set config.loadEndpointsEnabled to false" .) -}}
{{- end -}}
{{- end -}}
{{- if gt (int .Values.config.loadMaxMilliseconds) (int (mul .Values.shutdown.timeoutSeconds 1000)) -}}
{{- fail (printf "config.loadMaxMilliseconds (%d) is longer than shutdown.timeoutSeconds (%d), so a pod that shuts down could cut off a request: decrease loadMaxMilliseconds or increase timeoutSeconds" (int .Values.config.loadMaxMilliseconds) (int .Values.shutdown.timeoutSeconds)) -}}
{{- end -}}
{{- end -}}

{{- range $label := list "app.kubernetes.io/name" "app.kubernetes.io/instance" -}}
{{- if hasKey $.Values.podLabels $label -}}
{{- fail (printf "podLabels must not set %s: the Deployment and the Service select the pods by this label" $label) -}}
{{- end -}}
{{- end -}}

{{- $own := include "fastify-app.environment" . | fromYaml -}}
{{- range .Values.extraEnv -}}
{{- if or (hasKey $own .name) (has .name (list "DATABASE_URL" "REDIS_URL" "MIGRATION_TIMEOUT_MS" "DATABASE_ADMIN_USERNAME" "DATABASE_ADMIN_PASSWORD" "SERVICE_DATABASE_URL")) -}}
{{- fail (printf "extraEnv must not set %s: the chart sets this variable itself" .name) -}}
{{- end -}}
{{- end -}}

{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.parentRefs is empty: list the Gateways to attach the route to" -}}
{{- end -}}

{{- with .Values.service -}}
{{- if and .nodePort (ne .type "NodePort") -}}
{{- fail (printf "service.nodePort (%d) needs service.type NodePort, not %s: set service.type to NodePort, or service.nodePort to 0" (int .nodePort) .type) -}}
{{- end -}}
{{- end -}}

{{- with .Values.autoscaling -}}
{{- if .enabled -}}
{{- if not (or .targetCPUUtilizationPercentage .targetEventLoopUtilizationPercentage .targetRequestsPerSecond) -}}
{{- fail "autoscaling has no target, so the HPA would have no metric: set autoscaling.targetCPUUtilizationPercentage, .targetEventLoopUtilizationPercentage or .targetRequestsPerSecond, or autoscaling.enabled to false" -}}
{{- end -}}
{{- if and (or .targetEventLoopUtilizationPercentage .targetRequestsPerSecond) (not $.Values.serviceMonitor.enabled) -}}
{{- fail "autoscaling.targetEventLoopUtilizationPercentage and .targetRequestsPerSecond need metrics, but serviceMonitor.enabled is false: set it to true, or set both targets to 0" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if and .Values.prometheusRule.enabled (not .Values.serviceMonitor.enabled) -}}
{{- fail "prometheusRule.enabled needs metrics, but serviceMonitor.enabled is false: set it to true, or set prometheusRule.enabled to false" -}}
{{- end -}}

{{- if or .Values.ingress.enabled .Values.httpRoute.enabled -}}
{{- if lt (int .Values.shutdown.drainDelaySeconds) 10 -}}
{{- fail (printf "shutdown.drainDelaySeconds (%d) is too short for a load balancer, because it sends requests until the controller has deregistered the pod or two health checks, 5 s apart, have failed: set it to 10 or more" (int .Values.shutdown.drainDelaySeconds)) -}}
{{- end -}}
{{- end -}}

{{- if .Values.ingress.enabled -}}
{{- with .Values.ingress -}}
{{- if and (not .certificateArn) (not .acceptPlainHttp) -}}
{{- fail "ingress.certificateArn is empty, so the Ingress would serve plain HTTP, which anyone on the way can read and change: apply the stack edge, which provides a certificate (docs/domain.md), set ingress.certificateArn, or set ingress.acceptPlainHttp to true to accept this" -}}
{{- end -}}
{{- if .cloudFrontPrefixList -}}
{{- if not (and .certificateArn .host) -}}
{{- fail "ingress.cloudFrontPrefixList needs ingress.certificateArn and ingress.host, because CloudFront connects with HTTPS and this host name: set both" -}}
{{- end -}}
{{- if .inboundCidrs -}}
{{- fail "ingress.cloudFrontPrefixList lets only CloudFront connect, but ingress.inboundCidrs lists other networks: set only one of the two" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $annotation, $value := dict "scheme" "scheme" "inbound-cidrs" "inboundCidrs" "security-group-prefix-lists" "cloudFrontPrefixList" -}}
{{- if hasKey $.Values.ingress.annotations (printf "alb.ingress.kubernetes.io/%s" $annotation) -}}
{{- fail (printf "ingress.annotations must not set alb.ingress.kubernetes.io/%s, because it controls who can connect: set ingress.%s instead" $annotation $value) -}}
{{- end -}}
{{- end -}}
{{- with .Values.ingress.accessLogs -}}
{{- if and .prefix (not .bucket) -}}
{{- fail "ingress.accessLogs.prefix needs ingress.accessLogs.bucket: set the bucket, or leave the prefix empty" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- if .Values.externalSecret.enabled -}}
{{- if .Values.secret.name -}}
{{- fail (printf "secret.name (%s) names an existing Secret, but externalSecret.enabled creates another one: set only one of the two" .Values.secret.name) -}}
{{- end -}}
{{- if not .Values.externalSecret.key -}}
{{- fail "externalSecret.key is empty: set it to the name of the secret in the store" -}}
{{- end -}}
{{- end -}}
{{- with .Values.externalSecret.migration -}}
{{- if and (or .key .adminKey) (not $.Values.externalSecret.enabled) -}}
{{- fail "externalSecret.migration has no effect, because externalSecret.enabled is false: set it to true, or clear externalSecret.migration" -}}
{{- end -}}
{{- if and .adminKey (not .key) -}}
{{- fail "externalSecret.migration.adminKey needs externalSecret.migration.key, because the service's user must not own the tables: set both" -}}
{{- end -}}
{{- end -}}

{{- with .Values.ca -}}
{{- if and .configMap (not (or .databaseKey .redisKey)) -}}
{{- fail (printf "ca.configMap (%s) has no effect: set ca.databaseKey, ca.redisKey or both to keys of this ConfigMap" .configMap) -}}
{{- end -}}
{{- if and (or .databaseKey .redisKey) (not .configMap) -}}
{{- fail "ca.databaseKey and ca.redisKey are keys of ca.configMap, but ca.configMap is empty: set it, or clear both keys" -}}
{{- end -}}
{{- end -}}

{{- if .Values.networkPolicy.enabled -}}
{{- range $variable, $destination := dict "DATABASE_URL" "database" "REDIS_URL" "cache" -}}
{{- if and (include "fastify-app.hasSecretKey" (dict "root" $ "key" $variable)) (not (index $.Values.networkPolicy.egress $destination).cidrs) -}}
{{- fail (printf "networkPolicy.egress.%s.cidrs is empty, so the pods could not reach the server in %s: list its networks" $destination $variable) -}}
{{- end -}}
{{- end -}}
{{- $collector := .Values.networkPolicy.egress.tracing -}}
{{- if and .Values.tracing.endpoint (not (or $collector.cidrs $collector.namespace)) -}}
{{- fail "networkPolicy.egress.tracing.cidrs is empty, so the pods could not reach tracing.endpoint: list its networks, or set networkPolicy.egress.tracing.namespace" -}}
{{- end -}}
{{- end -}}
{{- end -}}
