{{/*
A probe: its timings come from values, where it asks from the chart.
*/}}
{{- define "zen-lead.probe" -}}
{{- toYaml (merge (dict "httpGet" (dict "path" .path "port" "health")) .with) }}
{{- end }}

{{/*
The imagePullSecrets block of a pod; nothing if there are none.
*/}}
{{- define "zen-lead.imagePullSecrets" -}}
{{- $secrets := list }}
{{- range (.Values.global | default dict).imagePullSecrets }}
{{- $secrets = append $secrets (kindIs "string" . | ternary (dict "name" .) .) }}
{{- end }}
{{- with concat $secrets (.Values.imagePullSecrets | default list) | uniq -}}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
Volumes of the pods, a list that may be empty.
*/}}
{{- define "zen-lead.volumes" -}}
{{- $volumes := list }}
{{- with .Values.metrics.secure.certificateSecret }}
{{- $volumes = append $volumes (dict "name" "metrics-certificate" "secret" (dict "secretName" .)) }}
{{- end }}
{{- toYaml (concat $volumes (.Values.extraVolumes | default list)) }}
{{- end }}

{{/*
Where the controller mounts them.
*/}}
{{- define "zen-lead.volumeMounts" -}}
{{- $mounts := list }}
{{- if .Values.metrics.secure.certificateSecret }}
{{- $mounts = append $mounts (dict "name" "metrics-certificate" "mountPath" "/etc/zen-lead/metrics-certificate" "readOnly" true) }}
{{- end }}
{{- toYaml (concat $mounts (.Values.extraVolumeMounts | default list)) }}
{{- end }}

{{/*
Affinity: the user's, and the anti-affinity among the controller's own pods unless the user brings one.
*/}}
{{- define "zen-lead.affinity" -}}
{{- $affinity := deepCopy (.Values.affinity | default dict) }}
{{- if and (ne .Values.podAntiAffinity "none") (not $affinity.podAntiAffinity) }}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (include "zen-lead.selectorLabels" . | fromYaml)) }}
{{- $rule := dict }}
{{- if eq .Values.podAntiAffinity "hard" }}
{{- $rule = dict "requiredDuringSchedulingIgnoredDuringExecution" (list $term) }}
{{- else }}
{{- $rule = dict "preferredDuringSchedulingIgnoredDuringExecution" (list (dict "weight" 100 "podAffinityTerm" $term)) }}
{{- end }}
{{- $_ := set $affinity "podAntiAffinity" $rule }}
{{- end }}
{{- with $affinity -}}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
Topology spread: the user's constraints, each with the pods' own selector unless it has one.
*/}}
{{- define "zen-lead.topologySpreadConstraints" -}}
{{- $constraints := list }}
{{- $selector := dict "labelSelector" (dict "matchLabels" (include "zen-lead.selectorLabels" . | fromYaml)) }}
{{- range .Values.topologySpreadConstraints }}
{{- $constraints = append $constraints (ternary . (merge (deepCopy .) $selector) (hasKey . "labelSelector")) }}
{{- end }}
{{- with $constraints -}}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
