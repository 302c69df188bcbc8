{{- define "processor.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "processor.fullname" -}}
{{- $name := include "processor.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- default $full .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "processor.selectorLabels" -}}
app.kubernetes.io/name: {{ include "processor.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "processor.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "processor.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "processor.serviceAccountName" -}}
{{- .Values.serviceAccount.create | ternary (default (include "processor.fullname" .) .Values.serviceAccount.name) (default "default" .Values.serviceAccount.name) }}
{{- end }}

{{- define "processor.image" -}}
{{- with .Values.image }}
{{- .digest | empty | ternary (printf "%s:%s" .repository (default $.Chart.AppVersion .tag)) (printf "%s@%s" .repository .digest) }}
{{- end }}
{{- end }}

{{/* Whether something else than this chart says how many pods there are. */}}
{{- define "processor.isScaled" -}}
{{- if or .Values.autoscaling.enabled .Values.keda.enabled }}true{{ end }}
{{- end }}

{{/* As many pods as have partitions; nothing where their number is not known. */}}
{{- define "processor.ceiling" -}}
{{- if .Values.partitions }}{{ ceil (divf (float64 .Values.partitions) (float64 (index .Values.config "processes" | default 1))) | int }}{{ end }}
{{- end }}

{{/* Seconds from SIGTERM to the last consumer's end: the drain, and what a consumer gets before it is killed. */}}
{{- define "processor.drainSeconds" -}}
{{- add (index .Values.config "drain-timeout" | default 25 | float64 | ceil | int) 10 .Values.preStopSeconds }}
{{- end }}

{{- define "processor.graceSeconds" -}}
{{- $needed := include "processor.drainSeconds" . | int }}
{{- $given := .Values.terminationGracePeriodSeconds }}
{{- if kindIs "invalid" $given }}
{{- add $needed 5 }}
{{- else if lt (int $given) $needed }}
{{- fail (printf "terminationGracePeriodSeconds: %d is too short, pods would be killed while they drain; it takes %d seconds (preStopSeconds, config.drain-timeout, and 10 for the last commit), or leave it null" (int $given) $needed) }}
{{- else }}
{{- int $given }}
{{- end }}
{{- end }}

{{/* With the consumer protocol it is the broker that says how long a member may be away. */}}
{{- define "processor.setsSessionTimeout" -}}
{{- $isClassic := ne (index .Values.config "group-protocol" | default "classic") "consumer" }}
{{- $isGiven := hasKey (index .Values.config "kafka-config" | default dict) "session.timeout.ms" }}
{{- if and (eq .Values.kind "StatefulSet") $isClassic (not $isGiven) }}true{{ end }}
{{- end }}

{{/* The file of --config. JSON's texts, numbers, booleans and lists are TOML's too. */}}
{{- define "processor.toml" -}}
# Written by the chart: `processor run {{ .Values.app }} --config` reads it.
{{- range $key, $value := omit .Values.config "kafka-config" }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ toJson $value }}
{{- end }}
{{- end }}

[kafka-config]
{{- range $key, $value := index .Values.config "kafka-config" | default dict }}
{{ toJson $key }} = {{ toJson $value }}
{{- end }}
{{- range $key, $_ := .Values.secretKafkaConfig }}
{{ toJson (printf "%s.file" $key) }} = {{ toJson (printf "/etc/processor-secrets/%s" $key) }}
{{- end }}
{{- if include "processor.setsSessionTimeout" . }}
"session.timeout.ms" = {{ mul .Values.staticMembership.sessionTimeoutSeconds 1000 }}
{{- end }}
{{- end }}

{{- define "processor.probe" -}}
exec:
  command: [processor, health, --check, {{ .check }}, --max-age, {{ .maxAge | quote }}]
{{ toYaml (omit .probe "enabled") }}
{{- end }}

{{- define "processor.pod" -}}
metadata:
  annotations:
    kubectl.kubernetes.io/default-container: processor
    checksum/config: {{ include "processor.toml" . | sha256sum }}
    {{- with .Values.handlers.files }}
    checksum/handlers: {{ toJson . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "processor.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "processor.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.serviceAccount.automount }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "processor.graceSeconds" . }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if kindIs "invalid" .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "processor.selectorLabels" $ | nindent 10 }}
    {{- end }}
  {{- else if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.topologySpreadConstraints | nindent 4 }}
  {{- end }}
  {{- with .Values.initContainers }}
  initContainers:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: processor
      image: {{ include "processor.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [run, {{ .Values.app | quote }}, --config, /etc/processor/processor.toml]
      env:
        - name: PROCESSOR_HEARTBEAT_FILE
          value: /run/processor/heartbeat
        {{- if eq .Values.kind "StatefulSet" }}
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        - name: PROCESSOR_KAFKA_CONFIG
          value: group.instance.id=$(POD_NAME)
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with index .Values.config "metrics-port" }}
      ports:
        - {name: metrics, containerPort: {{ . }}, protocol: TCP}
      {{- end }}
      {{- if .Values.preStopSeconds }}
      lifecycle:
        preStop:
          exec:
            command: [sleep, {{ .Values.preStopSeconds | quote }}]
      {{- end }}
      {{- with .Values.probes }}
      {{- if .startup.enabled }}
      startupProbe:
        {{- include "processor.probe" (dict "check" "alive" "maxAge" .maxAge "probe" .startup) | nindent 8 }}
      {{- end }}
      {{- if .liveness.enabled }}
      livenessProbe:
        {{- include "processor.probe" (dict "check" "alive" "maxAge" .maxAge "probe" .liveness) | nindent 8 }}
      {{- end }}
      {{- if .readiness.enabled }}
      readinessProbe:
        {{- include "processor.probe" (dict "check" "ready" "maxAge" .maxAge "probe" .readiness) | nindent 8 }}
      {{- end }}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/processor, readOnly: true}
        {{- if or .Values.secretKafkaConfig .Values.secretFiles }}
        - {name: secrets, mountPath: /etc/processor-secrets, readOnly: true}
        {{- end }}
        - {name: run, mountPath: /run/processor}
        - {name: tmp, mountPath: /tmp}
        {{- if or .Values.handlers.files .Values.handlers.configMap }}
        - {name: handlers, mountPath: /app, readOnly: true}
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    - name: config
      configMap: {name: {{ include "processor.fullname" . }}}
    {{- if or .Values.secretKafkaConfig .Values.secretFiles }}
    - name: secrets
      projected:
        defaultMode: 288
        sources:
          {{- range $key, $from := merge dict .Values.secretKafkaConfig .Values.secretFiles }}
          - secret:
              name: {{ $from.name }}
              items: [{key: {{ $from.key | quote }}, path: {{ $key | quote }}}]
          {{- end }}
    {{- end }}
    - name: run
      emptyDir: {medium: Memory, sizeLimit: 1Mi}
    - name: tmp
      emptyDir: {}
    {{- if or .Values.handlers.files .Values.handlers.configMap }}
    - name: handlers
      configMap: {name: {{ .Values.handlers.configMap | default (printf "%s-handlers" (include "processor.fullname" .)) }}}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
