{{/*
Labels of the test's pods; takes a dict: "context" is the root, "name" tells its kinds of pods apart. They are not the
release's, or the controller's own Service, PodDisruptionBudget and NetworkPolicy would count the pods in.
*/}}
{{- define "zen-lead.testLabels" -}}
{{- $own := dict "app.kubernetes.io/name" .name "app.kubernetes.io/instance" (printf "%s-test" .context.Release.Name) }}
{{- toYaml (merge $own (deepCopy (.context.Values.commonLabels | default dict))) }}
{{- end }}

{{/*
What the pods of the test share with the controller's.
*/}}
{{- define "zen-lead.testPod" -}}
{{- with include "zen-lead.imagePullSecrets" . }}
{{- . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/*
The container of the test's pods, without its name and what it runs.
*/}}
{{- define "zen-lead.testContainer" -}}
image: {{ printf "%s:%s" .Values.tests.image.repository .Values.tests.image.tag | quote }}
imagePullPolicy: {{ .Values.tests.image.pullPolicy }}
resources:
  requests:
    cpu: 10m
    memory: 16Mi
  limits:
    memory: 128Mi
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}
