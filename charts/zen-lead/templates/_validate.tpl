{{/*
Values that contradict each other. What is wrong with one value alone is the schema's part.
*/}}
{{- define "zen-lead.validate" -}}
{{- include "zen-lead.validateScope" . }}
{{- include "zen-lead.validateLeaderElection" . }}
{{- include "zen-lead.validateDisruption" . }}
{{- include "zen-lead.validateMetrics" . }}
{{- include "zen-lead.validateExtraArgs" . }}
{{- end }}

{{- define "zen-lead.validateScope" -}}
{{- if and (eq .Values.scope "namespaces") (not .Values.namespaces) }}
{{- fail "scope is namespaces, but namespaces is empty: list the namespaces to serve, or set scope to release or cluster" }}
{{- end }}
{{- if and (ne .Values.scope "namespaces") .Values.namespaces }}
{{- fail (printf "namespaces is set, but scope is %s: set scope to namespaces, or leave namespaces empty" .Values.scope) }}
{{- end }}
{{- end }}

{{- define "zen-lead.validateLeaderElection" -}}
{{- $le := .Values.leaderElection }}
{{- $lease := include "zen-lead.milliseconds" $le.leaseDuration | int64 }}
{{- $renew := include "zen-lead.milliseconds" $le.renewDeadline | int64 }}
{{- $retry := include "zen-lead.milliseconds" $le.retryPeriod | int64 }}
{{- if lt $lease 1000 }}
{{- fail (printf "leaderElection.leaseDuration %s is too short: a Lease counts in seconds, set 1s or more" $le.leaseDuration) }}
{{- end }}
{{- if ge $renew $lease }}
{{- fail (printf "leaderElection.renewDeadline %s must be less than leaderElection.leaseDuration %s" $le.renewDeadline $le.leaseDuration) }}
{{- end }}
{{- if or (lt $retry 1) (ge (mul $retry 12) (mul $renew 10)) }}
{{- fail (printf "leaderElection.retryPeriod %s must be more than 0, and times 1.2 less than leaderElection.renewDeadline %s" $le.retryPeriod $le.renewDeadline) }}
{{- end }}
{{- end }}

{{- define "zen-lead.validateDisruption" -}}
{{- $pdb := .Values.podDisruptionBudget }}
{{- $set := not (kindIs "invalid" $pdb.minAvailable) }}
{{- if and $set (not (kindIs "invalid" $pdb.maxUnavailable)) }}
{{- fail "podDisruptionBudget.minAvailable and podDisruptionBudget.maxUnavailable are both set: leave one of them empty" }}
{{- end }}
{{- if and $pdb.enabled $set (not (kindIs "string" $pdb.minAvailable)) }}
{{- if and (gt (int $pdb.minAvailable) 0) (ge (int $pdb.minAvailable) (int .Values.replicaCount)) }}
{{- fail (printf "podDisruptionBudget.minAvailable %d with replicaCount %d would block every node drain: lower minAvailable, set podDisruptionBudget.maxUnavailable instead, or raise replicaCount" (int $pdb.minAvailable) (int .Values.replicaCount)) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "zen-lead.validateMetrics" -}}
{{- if and .Values.metrics.enabled (eq (int .Values.metrics.port) (int .Values.health.port)) }}
{{- fail (printf "metrics.port and health.port are both %d: set them to different ports" (int .Values.health.port)) }}
{{- end }}
{{- end }}

{{- define "zen-lead.validateExtraArgs" -}}
{{- $own := dict "--namespaces" true }}
{{- range include "zen-lead.args" . | fromYamlArray }}
{{- $_ := set $own (splitList "=" . | first) true }}
{{- end }}
{{- range .Values.extraArgs }}
{{- $flag := splitList "=" . | first }}
{{- if hasKey $own $flag }}
{{- fail (printf "extraArgs holds %s, which the chart sets itself: use the value for it" $flag) }}
{{- end }}
{{- end }}
{{- end }}
