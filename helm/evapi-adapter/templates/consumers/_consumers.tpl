{{/* One consumer's values with its defaults. Takes (dict "root" $ "consumer" {...}); gives YAML. */}}
{{- define "evapi-adapter.consumer" -}}
{{- $autoscaling := dict "kind" "none" "minReplicas" 2 "maxReplicas" 10 "cpu" 70 "queueLength" 20 -}}
{{- $disruption := dict "enabled" true "maxUnavailable" 1 -}}
{{- $http := dict "enabled" true "port" 9465 -}}
{{- $resources := dict "requests" (dict "cpu" "100m" "memory" "96Mi") "limits" (dict "memory" "256Mi") -}}
{{- $given := deepCopy .consumer -}}
{{- $made := dict "queue" (printf "evapi.decide.%s" .consumer.name) "replicas" 2 "terminationGracePeriodSeconds" 30 "resources" $resources -}}
{{- range $key, $value := $given -}}
{{- if not (or (kindIs "invalid" $value) (eq (toString $value) "")) -}}
{{- $_ := set $made $key $value -}}
{{- end -}}
{{- end -}}
{{- $_ := set $made "autoscaling" (merge (dict) (.consumer.autoscaling | default dict) $autoscaling) -}}
{{- /* Not by merge, to which false and 0 are nothing: they would become the default. */}}
{{- range $key, $value := .consumer.podDisruptionBudget | default dict -}}
{{- $_ := set $disruption $key $value -}}
{{- end -}}
{{- $_ := set $made "podDisruptionBudget" $disruption -}}
{{- range $key, $value := .consumer.http | default dict -}}
{{- $_ := set $http $key $value -}}
{{- end -}}
{{- $_ := set $made "http" $http -}}
{{- $_ := set $made "fullname" (printf "%s-%s" (include "evapi-adapter.fullname" .root) .consumer.name) -}}
{{- include "evapi-adapter.consumer.check" (dict "root" .root "consumer" $made "given" .consumer) -}}
{{- toYaml $made -}}
{{- end -}}

{{/* What no schema can say of a consumer. */}}
{{- define "evapi-adapter.consumer.check" -}}
{{- $consumer := .consumer -}}
{{- $scaling := $consumer.autoscaling -}}
{{- $who := printf "consumers: %s" $consumer.name -}}
{{- if gt (len $consumer.fullname) 63 -}}
{{- fail (printf "%s: %s has more than 63 characters: take a shorter name, or fullnameOverride" $who $consumer.fullname) -}}
{{- end -}}
{{- if has $consumer.name (list "rabbitmq" "redis" "dashboards" "test" "keda") -}}
{{- fail (printf "%s: an object of the chart is called %s: take another name" $who $consumer.fullname) -}}
{{- end -}}
{{- $module := $consumer.module | default "" -}}
{{- if and (hasSuffix ".toml" $module) (not (contains "/" $module)) (not (hasKey ($consumer.files | default dict) $module)) -}}
{{- fail (printf "%s: module is %s, which is not in files: give its text there, or the path of a file that extraVolumeMounts brings" $who $module) -}}
{{- end -}}
{{- if not (has $scaling.kind (list "none" "hpa" "keda")) -}}
{{- fail (printf "%s: autoscaling.kind is %v: there are none, hpa and keda" $who $scaling.kind) -}}
{{- end -}}
{{- if and (eq $scaling.kind "none") (lt (int $consumer.replicas) 2) -}}
{{- fail (printf "%s: replicas is %v: 2 at least, or calls get the fallback whenever one is replaced" $who $consumer.replicas) -}}
{{- end -}}
{{- if ne $scaling.kind "none" -}}
{{- if hasKey .given "replicas" -}}
{{- fail (printf "%s: replicas and autoscaling.kind=%s: the autoscaler says how many, between minReplicas and maxReplicas; take replicas away" $who $scaling.kind) -}}
{{- end -}}
{{- if lt (int $scaling.minReplicas) 2 -}}
{{- fail (printf "%s: autoscaling.minReplicas is %v: 2 at least, or calls get the fallback whenever one is replaced" $who $scaling.minReplicas) -}}
{{- end -}}
{{- if lt (int $scaling.maxReplicas) (int $scaling.minReplicas) -}}
{{- fail (printf "%s: autoscaling.maxReplicas (%v) is below minReplicas (%v)" $who $scaling.maxReplicas $scaling.minReplicas) -}}
{{- end -}}
{{- end -}}
{{- $fewest := ternary $consumer.replicas $scaling.minReplicas (eq $scaling.kind "none") -}}
{{- include "evapi-adapter.disruption.check" (dict "who" (printf "%s: " $who) "budget" $consumer.podDisruptionBudget "replicas" $fewest) -}}
{{- if and (eq $scaling.kind "hpa") (not (dig "requests" "cpu" "" $consumer.resources)) -}}
{{- fail (printf "%s: autoscaling.kind=hpa goes by percent of resources.requests.cpu, which is not given" $who) -}}
{{- end -}}
{{- if and (eq $scaling.kind "keda") (contains "-" $consumer.name) (not (hasKey .given "queue")) -}}
{{- fail (printf "%s: autoscaling.kind=keda goes by a queue's length: give queue, evapi.decide.NAME, NAME as in the module's Service(\"NAME\")" $who) -}}
{{- end -}}
{{- if le (int $consumer.terminationGracePeriodSeconds) 22 -}}
{{- fail (printf "%s: terminationGracePeriodSeconds (%v) must be above 22: 10 s for the work in hand, and RabbitMQ's answers" $who $consumer.terminationGracePeriodSeconds) -}}
{{- end -}}
{{- end -}}

{{/* Whether any consumer serves health and metrics: "true" or nothing. Takes the root. */}}
{{- define "evapi-adapter.consumers.http" -}}
{{- $any := false -}}
{{- range .Values.consumers -}}
{{- $any = or $any (include "evapi-adapter.consumer" (dict "root" $ "consumer" .) | fromYaml).http.enabled -}}
{{- end -}}
{{- if $any -}}true{{- end -}}
{{- end -}}

{{/* How an autoscaler acts: out at once, since callers wait; in slowly, since the next wave may be near.
Takes (dict "down" SECONDS): how long the load must have been lower. */}}
{{- define "evapi-adapter.consumer.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  selectPolicy: Max
  policies:
    - { type: Percent, value: 100, periodSeconds: 15 }
    - { type: Pods, value: 4, periodSeconds: 15 }
scaleDown:
  stabilizationWindowSeconds: {{ .down }}
  selectPolicy: Max
  policies:
    - { type: Percent, value: 25, periodSeconds: 60 }
    - { type: Pods, value: 1, periodSeconds: 60 }
{{- end -}}
