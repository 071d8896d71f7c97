{{/* Every variable of the adapter. */}}
{{- define "evapi-adapter.env.adapter" -}}
- name: EVAPI_REPLICA
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: EVAPI_HTTP
  value: {{ printf "%s:%v" .Values.http.host .Values.http.port | quote }}
- name: EVAPI_NODES
  value: {{ .Values.kamailio.nodes | quote }}
{{- include "evapi-adapter.env.servers" . | trim | nindent 0 }}
{{- if or .Values.idKey.key .Values.idKey.existingSecret }}
- name: EVAPI_ID_KEY
  valueFrom:
    secretKeyRef:
      name: {{ .Values.idKey.existingSecret | default (include "evapi-adapter.fullname" .) }}
      key: {{ ternary .Values.idKey.existingSecretKey "id-key" (ne .Values.idKey.existingSecret "") }}
{{- end }}
{{- with .Values.rabbitmq.apiUrl }}
- name: EVAPI_AMQP_API
  value: {{ . | quote }}
{{- end }}
- name: EVAPI_QUEUE_TYPE
  value: {{ .Values.rabbitmq.queueType | quote }}
- name: EVAPI_POLICY
  value: /etc/evapi-adapter/policy/policy.toml
- name: EVAPI_LOG
  value: {{ printf "%s,%s" .Values.log.format .Values.log.level | quote }}
{{- range $name, $value := .Values.settings }}
- name: EVAPI_{{ upper $name }}
  value: {{ include "evapi-adapter.setting" $value | quote }}
{{- end }}
{{- with include "evapi-adapter.env.traces" (dict "root" .) | trim }}
{{- . | nindent 0 }}
- name: OTEL_SERVICE_NAME
  value: {{ include "evapi-adapter.fullname" $ }}
{{- end }}
{{- with .Values.extraEnv }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}

{{/* Every variable of a consumer. Takes (dict "root" $ "consumer" {...}). */}}
{{- define "evapi-adapter.env.consumer" -}}
{{- if .consumer.existingSecret -}}
- name: EVAPI_AMQP_URL
  valueFrom:
    secretKeyRef:
      name: {{ .consumer.existingSecret }}
      key: {{ .consumer.existingSecretKey | default "amqp-url" }}
{{- else -}}
{{- include "evapi-adapter.env.server" (dict "root" .root "server" "rabbitmq" "variable" "EVAPI_AMQP_URL") | trim }}
{{- end }}
- name: EVAPI_LOG
  value: {{ printf "%s,%s" .root.Values.log.format .root.Values.log.level | quote }}
{{- with include "evapi-adapter.env.traces" (dict "root" .root) | trim }}
{{- . | nindent 0 }}
{{- end }}
{{- range $name, $value := .consumer.settings }}
- name: EVAPI_{{ upper $name }}
  value: {{ include "evapi-adapter.setting" $value | quote }}
{{- end }}
{{- with .consumer.env }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end -}}
