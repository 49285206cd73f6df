{{/*
Job label of the controller's metrics: what a ServiceMonitor gives is the name of the Service that it scrapes.
*/}}
{{- define "zen-lead.job" -}}
{{- default (printf "%s-metrics" (include "zen-lead.fullname" .)) .Values.prometheusRule.job }}
{{- end }}

{{/*
Names in prometheusRule.alerts are those of alerts.
*/}}
{{- define "zen-lead.validateAlerts" -}}
{{- $known := list }}
{{- range .Files.Get "files/alerts.yaml" | fromYamlArray }}
{{- $known = append $known .alert }}
{{- end }}
{{- range $name, $_ := .Values.prometheusRule.alerts }}
{{- if not (has $name $known) }}
{{- fail (printf "prometheusRule.alerts holds %s, which is none of the alerts: name one of %s" $name (join ", " $known)) }}
{{- end }}
{{- end }}
{{- end }}

{{/*
The alerts of files/alerts.yaml, as the values change them, and the rules of the values; a list that may be empty. In the
file, JOB stands for the job label, NAMESPACE for the controller's namespace and REPLICAS for the number of its pods.
*/}}
{{- define "zen-lead.alerts" -}}
{{- $rules := list }}
{{- $job := include "zen-lead.job" . }}
{{- $replicas := int .Values.replicaCount | toString }}
{{- $runbooks := trimSuffix "/" .Values.prometheusRule.runbookURL }}
{{- range .Files.Get "files/alerts.yaml" | fromYamlArray }}
{{- $change := get ($.Values.prometheusRule.alerts | default dict) .alert | default dict }}
{{- $fits := or (not .redundancy) (gt (int $.Values.replicaCount) 1) }}
{{- if and $fits (ne (toString (get $change "enabled")) "false") }}
{{- $expr := .expr | replace "JOB" $job | replace "NAMESPACE" (include "zen-lead.namespace" $) | replace "REPLICAS" $replicas | trim }}
{{- $labels := merge (dict "severity" ($change.severity | default .severity)) (deepCopy ($.Values.prometheusRule.alertLabels | default dict)) }}
{{- $annotations := dict "summary" .summary "description" (.description | replace "REPLICAS" $replicas) "runbook_url" (printf "%s/%s.md" $runbooks .alert) }}
{{- $rules = append $rules (dict "alert" .alert "expr" $expr "for" ($change.for | default .for) "labels" $labels "annotations" $annotations) }}
{{- end }}
{{- end }}
{{- with concat $rules (.Values.prometheusRule.extraRules | default list) }}
{{- toYaml . }}
{{- else -}}
[]
{{- end }}
{{- end }}
