{{/* On all that belongs to a dev server. */}}
{{- define "evapi-adapter.dev.annotations" -}}
evapi-adapter/not-for-production: "A single server without storage, with a password that everybody knows: for a first try only."
{{- end -}}

{{/* RabbitMQ's configuration. User and password are those of the URL that the adapter is given. */}}
{{- define "evapi-adapter.dev.rabbitmq" -}}
{{- $secret := include (print .Template.BasePath "/secret.yaml") . | fromYaml -}}
{{- $userinfo := (index $secret.data "amqp-url" | b64dec | urlParse).userinfo -}}
default_user = {{ splitList ":" $userinfo | first }}
default_pass = {{ splitList ":" $userinfo | last }}
max_message_size = 2097152
{{ end -}}

{{/* A dev server's pod. Both official images run as 999. No fsGroup: it would open Erlang's cookie to the
group, which Erlang refuses; an emptyDir can be written to by everybody. */}}
{{- define "evapi-adapter.dev.pod" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
serviceAccountName: {{ include "evapi-adapter.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  {{- if not (include "evapi-adapter.givesIds" .) }}
  runAsUser: 999
  runAsGroup: 999
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- end -}}
