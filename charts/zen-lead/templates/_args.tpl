{{/*
Arguments of the controller that come from values, all of them, whatever the binary's defaults are: what runs can be
read off the Deployment. scope: cluster leaves --namespaces out, which means every namespace.
*/}}
{{- define "zen-lead.args" -}}
{{- with include "zen-lead.namespaces" . }}
- --namespaces={{ . }}
{{- end }}
- --leader-election-namespace=$(POD_NAMESPACE)
- --leader-election-id={{ include "zen-lead.leaseName" . }}
- --leader-election-lease-duration={{ .Values.leaderElection.leaseDuration }}
- --leader-election-renew-deadline={{ .Values.leaderElection.renewDeadline }}
- --leader-election-retry-period={{ .Values.leaderElection.retryPeriod }}
- --metrics-bind-address={{ if .Values.metrics.enabled }}:{{ int .Values.metrics.port }}{{ else }}0{{ end }}
{{- if and .Values.metrics.enabled .Values.metrics.secure.enabled }}
- --metrics-secure=true
{{- if .Values.metrics.secure.certificateSecret }}
- --metrics-cert-dir=/etc/zen-lead/metrics-certificate
{{- end }}
{{- end }}
- --health-probe-bind-address=:{{ int .Values.health.port }}
- --kube-api-qps={{ .Values.kubeAPI.qps }}
- --kube-api-burst={{ int .Values.kubeAPI.burst }}
- --concurrent-reconciles={{ int .Values.concurrentReconciles }}
- --default-min-ready-duration={{ .Values.defaultMinReadyDuration }}
- --log-level={{ .Values.log.level }}
- --log-format={{ .Values.log.format }}
{{- end }}
