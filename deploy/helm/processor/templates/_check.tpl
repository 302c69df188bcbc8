{{/* Checks that the values schema cannot express. */}}
{{- define "processor.check" -}}
{{- if not .Values.app }}{{ fail "app: it is required, as MODULE:ATTRIBUTE" }}{{ end }}
{{- range $key := list "bootstrap-servers" "topic" "group" }}
{{- if not (index $.Values.config $key) }}{{ fail (printf "config.%s: it is required" $key) }}{{ end }}
{{- end }}
{{- $refused := list "enable.auto.commit" "auto.commit.interval.ms" "auto.commit.enable" "enable.auto.offset.store"
     "offset.store.method" "enable.partition.eof" "partition.assignment.strategy" "group.protocol" "group.id"
     "bootstrap.servers" "metadata.broker.list" "partitioner" "enable.idempotence" "acks" "request.required.acks"
     "consume.callback.max.messages" "delivery.report.only.error" "transactional.id" "enable.gapless.guarantee" }}
{{- range $key, $_ := merge dict (index .Values.config "kafka-config" | default dict) .Values.secretKafkaConfig }}
{{- if not (regexMatch "^[a-z][a-z0-9]*([._-][a-z0-9]+)*$" $key) }}
{{- fail (printf "%s is not a valid name of a Kafka client setting" $key) }}
{{- else if has $key $refused }}
{{- fail (printf "config.kafka-config: %s would break delivery, and `processor run` refuses it; remove it" $key) }}
{{- end }}
{{- end }}
{{- range $key, $_ := index .Values.config "kafka-config" | default dict }}
{{- if and (regexMatch "password|passphrase|secret|\\.key\\.pem$|oauthbearer\\.config$" $key) (not (hasSuffix ".file" $key)) }}
{{- fail (printf "config.kafka-config: %s is a secret and must not be in a ConfigMap; reference a Secret in secretKafkaConfig" $key) }}
{{- end }}
{{- end }}
{{- if contains "@" (index .Values.config "schema-registry" | default "") }}
{{- fail "config.schema-registry: a password in the URL would be in a ConfigMap; set config.schema-registry-user, config.schema-registry-password-file and secretFiles" }}
{{- end }}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled }}
{{- fail "autoscaling.enabled and keda.enabled: only one of them may control the number of pods" }}
{{- end }}
{{- if and .Values.podMonitor.enabled (not (index .Values.config "metrics-port")) }}
{{- fail "podMonitor.enabled: it requires config.metrics-port, which it scrapes" }}
{{- end }}
{{- if and .Values.handlers.files .Values.handlers.configMap }}
{{- fail "handlers.files and handlers.configMap: set only one of them" }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if eq .name "PROCESSOR_DRAIN_TIMEOUT" }}
{{- fail "extraEnv: PROCESSOR_DRAIN_TIMEOUT would not extend the termination grace period; set config.drain-timeout" }}
{{- end }}
{{- if and (eq .name "PROCESSOR_KAFKA_CONFIG") (eq $.Values.kind "StatefulSet") }}
{{- fail "extraEnv: PROCESSOR_KAFKA_CONFIG would replace the pod's group.instance.id; set config.kafka-config" }}
{{- end }}
{{- end }}
{{- range $key, $_ := .Values.secretKafkaConfig }}
{{- range $given := list $key (printf "%s.file" $key) }}
{{- if hasKey (index $.Values.config "kafka-config" | default dict) $given }}
{{- fail (printf "secretKafkaConfig and config.kafka-config: both set %s" $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key, $_ := .Values.secretFiles }}
{{- if hasKey $.Values.secretKafkaConfig $key }}
{{- fail (printf "secretFiles and secretKafkaConfig: both set %s" $key) }}
{{- end }}
{{- end }}
{{- $readable := list "sasl.password" "sasl.oauthbearer.client.secret" "sasl.oauthbearer.config" "ssl.key.password"
     "ssl.key.pem" "ssl.keystore.password" }}
{{- range $key, $_ := .Values.secretKafkaConfig }}
{{- if not (has $key $readable) }}
{{- fail (printf "secretKafkaConfig: `processor run` reads no %s from a file, only %s; set it in config.kafka-config" $key (join ", " $readable)) }}
{{- end }}
{{- end }}
{{- range $key := list "processes" "workers" }}
{{- $count := index $.Values.config $key }}
{{- if kindIs "string" $count }}
{{- $bounds := splitList ".." $count }}
{{- if gt (int (first $bounds)) (int (last $bounds)) }}
{{- fail (printf "config.%s: %s must have its minimum first" $key $count) }}
{{- end }}
{{- end }}
{{- end }}
{{- $ceiling := include "processor.ceiling" . }}
{{- if .Values.keda.enabled }}
{{- if not $ceiling }}{{ fail "partitions: keda.enabled requires their number, as the upper limit" }}{{ end }}
{{- if gt (int .Values.keda.maxReplicas) (int $ceiling) }}
{{- fail (printf "keda.maxReplicas: %d pods with %d processes each exceed %d partitions; set at most %s" (int .Values.keda.maxReplicas) (include "processor.processes" . | int) (int .Values.partitions) $ceiling) }}
{{- end }}
{{- if gt (int .Values.keda.minReplicas) (int (default $ceiling .Values.keda.maxReplicas)) }}
{{- fail "keda.minReplicas: it exceeds keda.maxReplicas, or the number of pods that the partitions occupy" }}
{{- end }}
{{- end }}
{{- if .Values.autoscaling.enabled }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail "autoscaling.minReplicas: it exceeds autoscaling.maxReplicas" }}
{{- end }}
{{- if and $ceiling (gt (int .Values.autoscaling.maxReplicas) (int $ceiling)) }}
{{- fail (printf "autoscaling.maxReplicas: it exceeds the %s pods that %d partitions occupy" $ceiling (int .Values.partitions)) }}
{{- end }}
{{- end }}
{{- end }}
