{{- define "echomimic.labels" -}}
app.kubernetes.io/name: echomimic
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "echomimic.pod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
automountServiceAccountToken: false
# A service named echomimic would state ECHOMIMIC_PORT.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "echomimic.confined" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "echomimic.apart" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "echomimic.labels" . | nindent 8 }}
{{- end }}

{{- define "echomimic.setting" -}}
{{- if kindIs "slice" . }}{{ join "," . | quote }}
{{- else if and (kindIs "float64" .) (eq . (floor .)) }}{{ printf "%.0f" . | quote }}
{{- else }}{{ . | quote }}
{{- end }}
{{- end }}

{{- define "echomimic.models" -}}
- name: models
  persistentVolumeClaim:
    claimName: {{ required "models.claim: name the PersistentVolumeClaim with the exported repository" .Values.models.claim }}
    readOnly: true
{{- end }}

{{- define "echomimic.models.mount" -}}
- {name: models, mountPath: /app/models, readOnly: true{{ with .Values.models.path }}, subPath: {{ . | quote }}{{ end }}}
{{- end }}

{{- define "echomimic.tritons" -}}
{{- $urls := list }}
{{- range $number := until (int .Values.triton.replicas) }}
{{- $urls = append $urls (printf "%s-triton-%d.%s-triton.%s.svc:8001" $.Release.Name $number $.Release.Name $.Release.Namespace) }}
{{- end }}
{{- join "," $urls }}
{{- end }}
