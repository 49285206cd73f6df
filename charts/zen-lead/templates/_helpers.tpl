{{/*
Name of the chart in names and labels.
*/}}
{{- define "zen-lead.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{/*
Name of the release's objects. Short enough for what is appended to it to stay within 63 characters.
*/}}
{{- define "zen-lead.fullname" -}}
{{- $name := include "zen-lead.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/*
Namespace of the controller.
*/}}
{{- define "zen-lead.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{/*
Name of an object. Takes a dict: "context" is the root; "suffix" follows the release's name (optional), "namespace" is
the object's ("-" for none, the controller's if it is empty). Outside of the controller's namespace the name says which
that is: two releases of one name in two namespaces share no object. A namespace has no dot in its name.
*/}}
{{- define "zen-lead.objectName" -}}
{{- $home := include "zen-lead.namespace" .context }}
{{- $elsewhere := ne (.namespace | default $home) $home }}
{{- printf "%s%s%s" (include "zen-lead.fullname" .context) (.suffix | default "") (ternary (printf ".%s" $home) "" $elsewhere) }}
{{- end }}

{{/*
Chart name and version, as a label value.
*/}}
{{- define "zen-lead.chart" -}}
{{- printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/*
Labels that select the pods. Never change them: a Deployment's selector is immutable.
*/}}
{{- define "zen-lead.selectorLabels" -}}
app.kubernetes.io/name: {{ include "zen-lead.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{/*
Labels of an object. Takes a dict: "context" is the root, "with" a list of further maps, the first wins (optional). The
chart's own labels win over all, so that nobody moves an object out of its release.
*/}}
{{- define "zen-lead.labels" -}}
{{- $root := .context }}
{{- $own := include "zen-lead.selectorLabels" $root | fromYaml }}
{{- $_ := set $own "helm.sh/chart" (include "zen-lead.chart" $root) }}
{{- $_ := set $own "app.kubernetes.io/version" (trunc 63 $root.Chart.AppVersion) }}
{{- $_ := set $own "app.kubernetes.io/part-of" $root.Chart.Name }}
{{- $_ := set $own "app.kubernetes.io/managed-by" $root.Release.Service }}
{{- range .with }}
{{- $own = merge $own (deepCopy (. | default dict)) }}
{{- end }}
{{- toYaml (merge $own (deepCopy ($root.Values.commonLabels | default dict))) }}
{{- end }}

{{/*
Labels of the pods: without the chart's version, or each new chart would replace pods that did not change.
*/}}
{{- define "zen-lead.podLabels" -}}
{{- $own := include "zen-lead.selectorLabels" . | fromYaml }}
{{- toYaml (merge $own (deepCopy (.Values.podLabels | default dict)) (deepCopy (.Values.commonLabels | default dict))) }}
{{- end }}

{{/*
The annotations block of an object's metadata; nothing if there are none. Takes a dict as zen-lead.labels does.
*/}}
{{- define "zen-lead.annotations" -}}
{{- $all := dict }}
{{- range .with }}
{{- $all = merge $all (deepCopy (. | default dict)) }}
{{- end }}
{{- with merge $all (deepCopy (.context.Values.commonAnnotations | default dict)) -}}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/*
Metadata of an object. Takes a dict: "context" is the root; optional are "suffix" of the name, or the whole "name",
"namespace" ("-" for none), and the lists of maps "labels" and "annotations".
*/}}
{{- define "zen-lead.metadata" -}}
{{- $namespace := .namespace | default (include "zen-lead.namespace" .context) -}}
name: {{ .name | default (include "zen-lead.objectName" .) | quote }}
{{- if ne $namespace "-" }}
namespace: {{ $namespace | quote }}
{{- end }}
labels:
  {{- include "zen-lead.labels" (dict "context" .context "with" .labels) | nindent 2 }}
{{- with include "zen-lead.annotations" (dict "context" .context "with" .annotations) }}
{{ . }}
{{- end }}
{{- end }}

{{/*
Name of the ServiceAccount, made here or by somebody else.
*/}}
{{- define "zen-lead.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "zen-lead.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.create is false: set serviceAccount.name to the ServiceAccount that the pods shall use, or serviceAccount.create to true" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{/*
Image reference: repository, tag and digest, as far as they are given.
*/}}
{{- define "zen-lead.image" -}}
{{- .Values.image.repository }}
{{- if or .Values.image.tag (not .Values.image.digest) }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/*
Name of the Lease by which the pods agree on the active one.
*/}}
{{- define "zen-lead.leaseName" -}}
{{- default (include "zen-lead.fullname" .) .Values.leaderElection.leaseName }}
{{- end }}

{{/*
Namespaces whose Services are served, comma-separated; empty for all.
*/}}
{{- define "zen-lead.namespaces" -}}
{{- if eq .Values.scope "release" }}
{{- include "zen-lead.namespace" . }}
{{- else if eq .Values.scope "namespaces" }}
{{- join "," .Values.namespaces }}
{{- end }}
{{- end }}

{{/*
Milliseconds of a duration of one unit, such as 15s or 500ms; the schema admits no other.
*/}}
{{- define "zen-lead.milliseconds" -}}
{{- $unit := regexFind "[a-z]+$" . }}
{{- mul (trimSuffix $unit . | int64) (get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000) $unit) }}
{{- end }}
