{{/* What the schema cannot say. */}}
{{- define "processor.check" -}}
{{- if not .Values.app }}{{ fail "app: give MODULE:ATTRIBUTE, what `processor run` runs" }}{{ end }}
{{- range $key := list "bootstrap-servers" "topic" "group" }}
{{- if not (index $.Values.config $key) }}{{ fail (printf "config.%s: it is required" $key) }}{{ end }}
{{- end }}
{{- $refused := list "enable.auto.commit" "auto.commit.interval.ms" "auto.commit.enable" "enable.auto.offset.store"
     "offset.store.method" "enable.partition.eof" "partition.assignment.strategy" "group.protocol" "group.id"
     "bootstrap.servers" "metadata.broker.list" "partitioner" "enable.idempotence" "acks" "request.required.acks"
     "consume.callback.max.messages" "delivery.report.only.error" "transactional.id" "enable.gapless.guarantee" }}
{{- range $key, $_ := merge dict (index .Values.config "kafka-config" | default dict) .Values.secretKafkaConfig }}
{{- if not (regexMatch "^[a-z][a-z0-9]*([._-][a-z0-9]+)*$" $key) }}
{{- fail (printf "%s is no name of a setting of the Kafka client" $key) }}
{{- else if has $key $refused }}
{{- fail (printf "config.kafka-config: %s would break delivery, and `processor run` refuses it; leave it out" $key) }}
{{- end }}
{{- end }}
{{- range $key, $_ := index .Values.config "kafka-config" | default dict }}
{{- if and (regexMatch "password|passphrase|secret|\\.key\\.pem$|oauthbearer\\.config$" $key) (not (hasSuffix ".file" $key)) }}
{{- fail (printf "config.kafka-config: %s is a secret, which has no place in a ConfigMap; name a Secret's key in secretKafkaConfig" $key) }}
{{- end }}
{{- end }}
{{- if contains "@" (index .Values.config "schema-registry" | default "") }}
{{- fail "config.schema-registry: a password in it would stand in a ConfigMap; give config.schema-registry-user, and its password by secretFiles and config.schema-registry-password-file" }}
{{- end }}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled }}
{{- fail "autoscaling.enabled and keda.enabled: only one of them may say how many pods there are" }}
{{- end }}
{{- if and .Values.podMonitor.enabled (not (index .Values.config "metrics-port")) }}
{{- fail "podMonitor.enabled: it needs config.metrics-port, which is what it scrapes" }}
{{- end }}
{{- if and .Values.handlers.files .Values.handlers.configMap }}
{{- fail "handlers.files and handlers.configMap: give only one of them" }}
{{- end }}
{{- range .Values.extraEnv }}
{{- if eq .name "PROCESSOR_DRAIN_TIMEOUT" }}
{{- fail "extraEnv: PROCESSOR_DRAIN_TIMEOUT would not count for the termination grace; give config.drain-timeout" }}
{{- end }}
{{- if and (eq .name "PROCESSOR_KAFKA_CONFIG") (eq $.Values.kind "StatefulSet") }}
{{- fail "extraEnv: PROCESSOR_KAFKA_CONFIG holds the pod's group.instance.id; give config.kafka-config" }}
{{- end }}
{{- end }}
{{- range $key, $_ := .Values.secretKafkaConfig }}
{{- range $given := list $key (printf "%s.file" $key) }}
{{- if hasKey (index $.Values.config "kafka-config" | default dict) $given }}
{{- fail (printf "secretKafkaConfig and config.kafka-config: both give %s" $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- range $key, $_ := .Values.secretFiles }}
{{- if hasKey $.Values.secretKafkaConfig $key }}
{{- fail (printf "secretFiles and secretKafkaConfig: both give %s" $key) }}
{{- end }}
{{- end }}
{{- $ceiling := include "processor.ceiling" . }}
{{- if .Values.keda.enabled }}
{{- if not $ceiling }}{{ fail "partitions: keda.enabled needs their number, as the ceiling" }}{{ end }}
{{- if gt (int .Values.keda.maxReplicas) (int $ceiling) }}
{{- fail (printf "keda.maxReplicas: %d pods of %d processes are more than %d partitions keep busy; at most %s" (int .Values.keda.maxReplicas) (int (index .Values.config "processes" | default 1)) (int .Values.partitions) $ceiling) }}
{{- end }}
{{- if gt (int .Values.keda.minReplicas) (int (default $ceiling .Values.keda.maxReplicas)) }}
{{- fail "keda.minReplicas: it is above keda.maxReplicas, or above what the partitions keep busy" }}
{{- end }}
{{- end }}
{{- if .Values.autoscaling.enabled }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail "autoscaling.minReplicas: it is above autoscaling.maxReplicas" }}
{{- end }}
{{- if and $ceiling (gt (int .Values.autoscaling.maxReplicas) (int $ceiling)) }}
{{- fail (printf "autoscaling.maxReplicas: more than the %s pods that %d partitions keep busy" $ceiling (int .Values.partitions)) }}
{{- end }}
{{- end }}
{{- end }}
