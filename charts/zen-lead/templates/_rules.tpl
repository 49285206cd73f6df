{{/*
All that the controller may do in a namespace that it serves. It never writes a pod, and never updates a Service that
it does not own; RBAC cannot say the latter, the controller does.
*/}}
{{- define "zen-lead.rules" -}}
- apiGroups: [""]
  resources: [services]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch, create, update, delete]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- with .Values.rbac.extraRules }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/*
What leader election needs, in the controller's own namespace. The name of an object to be created cannot be restricted.
Leader election still writes its events with the older API.
*/}}
{{- define "zen-lead.leaderElectionRules" -}}
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ include "zen-lead.leaseName" . | quote }}]
  verbs: [get, update]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
{{- end }}

{{/*
The subject of every binding.
*/}}
{{- define "zen-lead.subjects" -}}
- kind: ServiceAccount
  name: {{ include "zen-lead.serviceAccountName" . | quote }}
  namespace: {{ include "zen-lead.namespace" . | quote }}
{{- end }}

{{/*
What it takes to have the API server judge who scrapes.
*/}}
{{- define "zen-lead.metricsAuthRules" -}}
- apiGroups: [authentication.k8s.io]
  resources: [tokenreviews]
  verbs: [create]
- apiGroups: [authorization.k8s.io]
  resources: [subjectaccessreviews]
  verbs: [create]
{{- end }}
