{{- define "evapi-adapter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* At most 40 characters, so that a service's name may follow in the 63 of a label. */}}
{{- define "evapi-adapter.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "evapi-adapter.name" . -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- if contains $name $release -}}
{{- $release | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" $release $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Labels of an object. Takes (dict "root" $ "component" "adapter"). */}}
{{- define "evapi-adapter.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 }}
{{ include "evapi-adapter.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/part-of: evapi-adapter
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What a selector selects by; it can never be changed in a Deployment. */}}
{{- define "evapi-adapter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "evapi-adapter.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .service }}
evapi-adapter/service: {{ . }}
{{- end }}
{{- end -}}

{{/* metadata of an object. Takes (dict "root" $ "component" "adapter" "name" "..." "labels" {} "annotations" {}). */}}
{{- define "evapi-adapter.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "evapi-adapter.labels" . | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $annotations := merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* An image's reference. Takes (dict "root" $ "image" {...}); what the image does not say is the adapter's. */}}
{{- define "evapi-adapter.image" -}}
{{- $own := .image | default dict -}}
{{- $all := .root.Values.image -}}
{{- $registry := $own.registry | default $all.registry -}}
{{- $repository := $own.repository | default $all.repository -}}
{{- $other := and (ne ($own.repository | default "") "") (ne ($own.repository | default "") $all.repository) -}}
{{- $tag := $own.tag | default (ternary "" $all.tag (eq $other true)) | default .root.Chart.AppVersion -}}
{{- $digest := $own.digest -}}
{{- if not (or $other $own.tag $digest) -}}{{- $digest = $all.digest -}}{{- end -}}
{{- $name := ternary (printf "%s/%s" $registry $repository) $repository (ne $registry "") -}}
{{- if $digest -}}{{ $name }}@{{ $digest }}{{- else -}}{{ $name }}:{{ $tag }}{{- end -}}
{{- end -}}

{{- define "evapi-adapter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "evapi-adapter.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Whether the platform gives each namespace user ids of its own and refuses others: OpenShift's restricted-v2. */}}
{{- define "evapi-adapter.givesIds" -}}
{{- if or (eq .Values.platform "openshift") (and (eq .Values.platform "auto") (.Capabilities.APIVersions.Has "security.openshift.io/v1")) -}}true{{- end -}}
{{- end -}}

{{/* Pod Security "restricted". */}}
{{- define "evapi-adapter.podSecurityContext" -}}
runAsNonRoot: true
{{- if not (include "evapi-adapter.givesIds" .) }}
{{- range $key, $id := .Values.podSecurityContext }}
{{- if not (kindIs "invalid" $id) }}
{{ $key }}: {{ int64 $id }}
{{- end }}
{{- end }}
{{- end }}
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "evapi-adapter.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* The Secret and key that have a server's URL. Takes (dict "root" $ "server" "rabbitmq"). */}}
{{- define "evapi-adapter.secretName" -}}
{{- $server := index .root.Values .server -}}
{{- if and $server.existingSecret (not .root.Values.dev.enabled) -}}{{ $server.existingSecret }}{{- else -}}{{ include "evapi-adapter.fullname" .root }}{{- end -}}
{{- end -}}

{{- define "evapi-adapter.secretKey" -}}
{{- $server := index .root.Values .server -}}
{{- if and $server.existingSecret (not .root.Values.dev.enabled) -}}{{ $server.existingSecretKey }}{{- else -}}{{ ternary "amqp-url" "redis-url" (eq .server "rabbitmq") }}{{- end -}}
{{- end -}}

{{/* Whether there is such a server at all: without RabbitMQ and Redis the embedded broker and store serve. */}}
{{- define "evapi-adapter.has" -}}
{{- $server := index .root.Values .server -}}
{{- if or .root.Values.dev.enabled $server.url $server.existingSecret -}}true{{- end -}}
{{- end -}}

{{/* One variable from a Secret. Takes (dict "root" $ "server" "rabbitmq" "variable" "EVAPI_AMQP_URL"). */}}
{{- define "evapi-adapter.env.server" -}}
{{- if include "evapi-adapter.has" . }}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef:
      name: {{ include "evapi-adapter.secretName" . }}
      key: {{ include "evapi-adapter.secretKey" . }}
{{- end }}
{{- end -}}

{{/* The adapter's servers. */}}
{{- define "evapi-adapter.env.servers" -}}
{{ include "evapi-adapter.env.server" (dict "root" . "server" "rabbitmq" "variable" "EVAPI_AMQP_URL") | trim }}
{{ include "evapi-adapter.env.server" (dict "root" . "server" "redis" "variable" "EVAPI_REDIS_URL") | trim }}
{{- end -}}

{{/* Traces, of the adapter and of consumers. Takes (dict "root" $ "service" "..."). */}}
{{- define "evapi-adapter.env.traces" -}}
{{- if gt (float64 .root.Values.traces.fraction) 0.0 }}
- name: EVAPI_TRACES
  value: {{ .root.Values.traces.fraction | quote }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ .root.Values.traces.endpoint | quote }}
{{- end }}
{{- end -}}

{{/* Certificate authorities of servers: mounted where the URLs name them by ?cafile= and ?ssl_ca_certs=.
Takes (dict "root" $ "servers" (list "rabbitmq")). */}}
{{- define "evapi-adapter.ca.mounts" -}}
{{- range $server := .servers }}
{{- with (index $.root.Values $server).caSecret }}
- name: {{ $server }}-ca
  mountPath: /etc/evapi-adapter/{{ $server }}
  readOnly: true
{{- end }}
{{- end }}
{{- end -}}

{{- define "evapi-adapter.ca.volumes" -}}
{{- range $server := .servers }}
{{- with (index $.root.Values $server).caSecret }}
- name: {{ $server }}-ca
  secret:
    secretName: {{ . }}
    items:
      - key: ca.crt
        path: ca.crt
{{- end }}
{{- end }}
{{- end -}}

{{/* Variables as they are, each of them once. Takes (dict "who" "extraEnv" "env" YAML). */}}
{{- define "evapi-adapter.env.once" -}}
{{- $names := list -}}
{{- range fromYamlArray .env -}}
{{- if has .name $names -}}
{{- fail (printf "%s: %s is set already by the chart or twice: it would be luck which of them holds. Use its own value, or give it once" $.who .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{ .env }}
{{- end -}}

{{/* The ports of Kamailios: those in kamailio.nodes (of dns+srv://, where nothing names one, 8448) and those
in kamailio.ports. As YAML. */}}
{{- define "evapi-adapter.kamailio.ports" -}}
{{- $ports := .Values.kamailio.ports -}}
{{- range splitList "," .Values.kamailio.nodes -}}
{{- with regexFind "[0-9]+$" (ternary "" (trim .) (contains "dns+srv://" .)) -}}
{{- $ports = append $ports (int .) -}}
{{- end -}}
{{- end -}}
{{- if and (contains "dns+srv://" .Values.kamailio.nodes) (not .Values.kamailio.ports) -}}
{{- $ports = append $ports 8448 -}}
{{- end -}}
{{- range uniq $ports }}
- {{ . }}
{{- end }}
{{- end -}}

{{/* Seconds that a drain may take. */}}
{{- define "evapi-adapter.drainTimeout" -}}
{{- .Values.settings.drain_timeout | default 15 -}}
{{- end -}}

{{/* The policy's ConfigMap. */}}
{{- define "evapi-adapter.policyName" -}}
{{- .Values.existingPolicy | default (include "evapi-adapter.fullname" .) -}}
{{- end -}}

{{/* Different machines and zones where possible. Takes the labels' dict. */}}
{{- define "evapi-adapter.affinity" -}}
podAntiAffinity:
  preferredDuringSchedulingIgnoredDuringExecution:
    - weight: 100
      podAffinityTerm:
        topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "evapi-adapter.selectorLabels" . | nindent 12 }}
{{- end -}}

{{- define "evapi-adapter.topologySpread" -}}
- maxSkew: 1
  topologyKey: topology.kubernetes.io/zone
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "evapi-adapter.selectorLabels" . | nindent 6 }}
{{- end -}}

{{/* A setting as the program reads it: whole numbers without exponent. */}}
{{- define "evapi-adapter.setting" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ int64 . }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}
