{{/* What no schema can say. Each message says what to do. */}}
{{- define "evapi-adapter.validate" -}}
{{- $values := .Values -}}
{{- if not $values.enabled -}}
{{- fail "enabled is false, and the chart is rendered: an umbrella chart leaves it out where its Chart.yaml has `condition: evapi-adapter.enabled` at the dependency; to take a release away, helm uninstall" -}}
{{- end -}}
{{- if not $values.kamailio.nodes -}}
{{- fail "kamailio.nodes is empty: say where Kamailio's EVAPI ports are, such as sbc1=10.0.0.5:8448, dns://kamailio:8448 or dns+srv://_evapi._tcp.kamailio.sip.svc.cluster.local" -}}
{{- end -}}
{{- range $server := list "rabbitmq" "redis" -}}
{{- $given := index $values $server -}}
{{- if and $given.url $given.existingSecret -}}
{{- fail (printf "%s.url and %s.existingSecret are both given: give one of them" $server $server) -}}
{{- end -}}
{{- if and $values.dev.enabled (or $given.url $given.existingSecret) -}}
{{- fail (printf "dev.enabled runs a %s of its own: take away %s.url and %s.existingSecret, or dev.enabled" $server $server $server) -}}
{{- end -}}
{{- if not (or $values.dev.enabled $given.url $given.existingSecret) -}}
{{- fail (printf "no %s: give %s.url or %s.existingSecret, or dev.enabled=true for a first try" $server $server $server) -}}
{{- end -}}
{{- end -}}
{{- if and $values.idKey.key $values.idKey.existingSecret -}}
{{- fail "idKey.key and idKey.existingSecret are both given: give one of them" -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]" (include "evapi-adapter.fullname" .)) -}}
{{- fail (printf "a Service cannot be called %s: its name begins with a letter. Give fullnameOverride" (include "evapi-adapter.fullname" .)) -}}
{{- end -}}
{{- $drain := float64 (include "evapi-adapter.drainTimeout" .) -}}
{{- if le (float64 $values.terminationGracePeriodSeconds) (addf $drain 4) -}}
{{- fail (printf "terminationGracePeriodSeconds (%v) must be more than settings.drain_timeout (%v) and 4 s of last words: the pod would be killed with calls in hand" $values.terminationGracePeriodSeconds $drain) -}}
{{- end -}}
{{- include "evapi-adapter.disruption.check" (dict "who" "" "budget" $values.podDisruptionBudget "replicas" $values.replicas) -}}
{{- if and (gt (float64 $values.traces.fraction) 0.0) (not $values.traces.endpoint) -}}
{{- fail "traces.fraction is above 0 and traces.endpoint is empty: say where the collector is, such as http://collector:4318" -}}
{{- end -}}
{{- $names := list -}}
{{- range $values.consumers -}}
{{- if has .name $names -}}
{{- fail (printf "consumers: two are called %s" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}

{{/* One of the two as text. null, by which helm takes a default away, is as "". */}}
{{- define "evapi-adapter.disruption.text" -}}
{{- if not (kindIs "invalid" .) }}{{ . }}{{ end -}}
{{- end -}}

{{/* Whether a PodDisruptionBudget lets machines be drained, and keeps a pod meanwhile. Kubernetes rounds
percentages up. Takes (dict "who" "consumers: a: " "budget" {...} "replicas" 2). */}}
{{- define "evapi-adapter.disruption.check" -}}
{{- $replicas := int .replicas -}}
{{- $most := include "evapi-adapter.disruption.text" .budget.maxUnavailable -}}
{{- $least := include "evapi-adapter.disruption.text" .budget.minAvailable -}}
{{- if .budget.enabled -}}
{{- if and (ne $least "") (ne $most "") -}}
{{- fail (printf "%spodDisruptionBudget: give minAvailable or maxUnavailable, and set the other to \"\"" .who) -}}
{{- end -}}
{{- $given := ternary "maxUnavailable" "minAvailable" (ne $most "") -}}
{{- $text := ternary $most $least (ne $most "") -}}
{{- if eq $text "" -}}
{{- fail (printf "%spodDisruptionBudget is enabled and says nothing: give minAvailable or maxUnavailable, or enabled: false" .who) -}}
{{- end -}}
{{- $number := int (trimSuffix "%" $text) -}}
{{- if hasSuffix "%" $text -}}
{{- $number = int (ceil (divf (mulf $number $replicas) 100)) -}}
{{- end -}}
{{- $away := ternary $number (sub $replicas $number) (eq $given "maxUnavailable") -}}
{{- $told := printf "%spodDisruptionBudget.%s (%s) of %d replicas" .who $given $text $replicas -}}
{{- if le (int $away) 0 -}}
{{- fail (printf "%s: no machine could ever be drained. Let one be away: maxUnavailable: 1" $told) -}}
{{- end -}}
{{- if and (ge (int $away) $replicas) (gt $replicas 1) -}}
{{- fail (printf "%s: all of them may be away at once, and nobody takes calls. Let one be away: maxUnavailable: 1" $told) -}}
{{- end -}}
{{- end -}}
{{- end -}}
