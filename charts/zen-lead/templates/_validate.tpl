{{/*
Values that contradict each other. What is wrong with one value alone is the schema's part.
*/}}
{{- define "zen-lead.validate" -}}
{{- include "zen-lead.validateScope" . }}
{{- include "zen-lead.validateLeaderElection" . }}
{{- include "zen-lead.validateDisruption" . }}
{{- include "zen-lead.validateMetrics" . }}
{{- include "zen-lead.validateMonitoring" . }}
{{- include "zen-lead.validateAlerts" . }}
{{- include "zen-lead.validatePod" . }}
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

{{- define "zen-lead.validateMonitoring" -}}
{{- if and .Values.metrics.secure.certificateSecret (not .Values.metrics.secure.enabled) }}
{{- fail (printf "metrics.secure.certificateSecret is %s, but metrics.secure.enabled is false: set it to true, or leave certificateSecret empty" .Values.metrics.secure.certificateSecret) }}
{{- end }}
{{- range $name, $on := dict "metrics.secure" .Values.metrics.secure.enabled "serviceMonitor" .Values.serviceMonitor.enabled "prometheusRule" .Values.prometheusRule.enabled "dashboard" .Values.dashboard.enabled }}
{{- if and $on (not $.Values.metrics.enabled) }}
{{- fail (printf "%s.enabled is true, but metrics.enabled is false: set metrics.enabled to true, or %s.enabled to false" $name $name) }}
{{- end }}
{{- end }}
{{- with .Values.serviceMonitor }}
{{- if and .interval .scrapeTimeout (gt (include "zen-lead.milliseconds" .scrapeTimeout | int64) (include "zen-lead.milliseconds" .interval | int64)) }}
{{- fail (printf "serviceMonitor.scrapeTimeout %s must not be more than serviceMonitor.interval %s" .scrapeTimeout .interval) }}
{{- end }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled (not .Values.metrics.service.enabled) }}
{{- fail "serviceMonitor.enabled is true, but metrics.service.enabled is false, and a ServiceMonitor scrapes a Service: set metrics.service.enabled to true" }}
{{- end }}
{{- if not .Values.metrics.secure.enabled }}
{{- range $name := list "tlsConfig" "authorization" }}
{{- if get $.Values.serviceMonitor $name }}
{{- fail (printf "serviceMonitor.%s is set, but metrics.secure.enabled is false: metrics are served as plain HTTP to everybody" $name) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "zen-lead.validatePod" -}}
{{- if and (eq (.Values.dnsPolicy | default "") "None") (not (.Values.dnsConfig | default dict).nameservers) }}
{{- fail "dnsPolicy is None, but dnsConfig.nameservers is empty: name a DNS server, or set another dnsPolicy" }}
{{- end }}
{{- if not .Values.automountServiceAccountToken }}
{{- $path := "/var/run/secrets/kubernetes.io/serviceaccount" }}
{{- $brought := regexMatch "(^|,)--kubeconfig=" (join "," .Values.extraArgs) }}
{{- range .Values.extraVolumeMounts }}
{{- $brought = or $brought (eq (trimSuffix "/" .mountPath) $path) }}
{{- end }}
{{- if not $brought }}
{{- fail (printf "automountServiceAccountToken is false, and the controller has no other way to the API server: set it to true, mount a token at %s with extraVolumes and extraVolumeMounts, or give extraArgs a --kubeconfig" $path) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "zen-lead.validateExtraArgs" -}}
{{- $own := dict "--namespaces" true "--metrics-secure" true "--metrics-cert-dir" true }}
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
