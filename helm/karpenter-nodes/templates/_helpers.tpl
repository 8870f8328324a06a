{{/* Name of the NodePool and of its EC2NodeClass: the release's name. */}}
{{- define "karpenter-nodes.name" -}}
{{- .Release.Name | trunc 58 | trimSuffix "-" -}}
{{- end -}}

{{- define "karpenter-nodes.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{/* Tag by which Karpenter selects the security group, and the subnets if subnetIds is empty. */}}
{{- define "karpenter-nodes.discovery" -}}
- tags:
    karpenter.sh/discovery: {{ required "clusterName is empty: set it to the name of the EKS cluster" .Values.clusterName | quote }}
{{- end -}}
