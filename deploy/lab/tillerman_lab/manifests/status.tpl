{{ define "container" }}
{{- $restarts := int (toString (default 0 .old.restartCount)) -}}
{{- $began := default .now (dig "state" "running" "startedAt" "" .old) -}}
- name: {{ .spec.name }}
  image: {{ .spec.image | Quote }}
  imageID: ""
  ready: {{ or (eq .is "ready") (eq .is "done") }}
  started: {{ eq .is "ready" }}
  restartCount: {{ if eq .is "failed" }}{{ add $restarts 1 }}{{ else }}{{ $restarts }}{{ end }}
{{- if eq .is "failed" }}
  lastState:
    terminated: {exitCode: {{ .code }}, reason: {{ .why }}, startedAt: {{ .began | Quote }}, finishedAt: {{ .now | Quote }} }
{{- else }}
  lastState: {{ toJson (default dict .old.lastState) }}
{{- end }}
  state:
{{- if eq .is "waits" }}
    waiting: {reason: {{ .waits }} }
{{- else if eq .is "no-image" }}
    waiting: {reason: ImagePullBackOff, message: 'Back-off pulling image "{{ .spec.image }}"'}
{{- else if eq .is "failed" }}
    waiting:
      reason: CrashLoopBackOff
      message: 'back-off {{ index (list "10s" "20s" "40s" "1m20s" "2m40s" "5m0s") (min $restarts 5 | int) }} restarting failed container={{ .spec.name }} pod={{ .pod.metadata.name }}_{{ .pod.metadata.namespace }}({{ .pod.metadata.uid }})'
{{- else if eq .is "done" }}
    terminated: {exitCode: 0, reason: Completed, startedAt: {{ .began | Quote }}, finishedAt: {{ .now | Quote }} }
{{- else if and (eq .is "ready") .turned }}
    running: {startedAt: {{ .began | Quote }} }
{{- else }}
    running: {startedAt: {{ $began | Quote }} }
{{- end }}
{{ end }}
{{ $now := Now }}
{{ $pod := . }}
{{ $notes := default dict .metadata.annotations }}
{{ $server := index .spec.containers 0 }}
{{ $uri := "" }}
{{ range .spec.initContainers }}{{ if and (eq .name "storage-initializer") .args }}{{ $uri = index .args 0 }}{{ end }}{{ end }}
{{ $listed := dict }}
{{ if ne "0" (toString (dig "resources" "limits" "nvidia.com/gpu" "0" $server)) }}{{ $listed = default dict (index (fromJson `CATALOGUE`) $uri) }}{{ end }}
{{ $load := int (toString (default (default "1" (index $listed "load-seconds")) (index $notes "lab/load-seconds"))) }}
{{ $staging := int (toString (default (default "1" (index $listed "init-seconds")) (index $notes "lab/init-seconds"))) }}
{{ $probe := default (default dict $server.livenessProbe) $server.startupProbe }}
{{ $budget := add (int (default 0 $probe.initialDelaySeconds)) (mul (int (default 3 $probe.failureThreshold)) (int (default 10 $probe.periodSeconds))) }}
{{ $lived := dict "budget" $budget "load" $load "half-load" (div $load 2) "staging" $staging "half-staging" (div $staging 2) "nothing" 0 }}
{{ $began := dateInZone "2006-01-02T15:04:05Z" (now | dateModify (printf "-%ds" (index $lived $life))) "UTC" }}
{{ $old := dict }}
{{ range (concat (default list .status.containerStatuses) (default list .status.initContainerStatuses)) }}{{ $_ := set $old .name . }}{{ end }}
{{ $conditions := dict }}
{{ range (default list .status.conditions) }}{{ $_ := set $conditions .type . }}{{ end }}
{{ $up := and (eq $init "done") (ne $main "waits") }}
{{ $pending := ternary "ContainerCreating" "PodInitializing" (or (eq $init "done") (not .spec.initContainers)) }}
phase: {{ if eq $main "done" }}Succeeded{{ else if or $up (eq .status.phase "Running") }}Running{{ else }}Pending{{ end }}
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ if .status.podIP }}{{ .status.podIP | Quote }}{{ else }}{{ PodIPWith .spec.nodeName ( or .spec.hostNetwork false ) ( or .metadata.uid "" ) ( or .metadata.name "" ) ( or .metadata.namespace "" ) | Quote }}{{ end }}
startTime: {{ default $now .status.startTime | Quote }}
conditions:
{{ range $type, $holds := (dict "Initialized" (or (eq $init "done") (not .spec.initContainers)) "ContainersReady" (eq $main "ready") "Ready" (eq $main "ready") "PodReadyToStartContainers" true) }}
{{ $word := ternary "True" "False" $holds }}
{{ $was := default dict (index $conditions $type) }}
- type: {{ $type }}
  status: "{{ $word }}"
  lastTransitionTime: {{ ternary $was.lastTransitionTime $now (eq $word (default "" $was.status)) | Quote }}
{{ if $holds }}
  reason: null
  message: null
{{ else if eq $type "Initialized" }}
  reason: ContainersNotInitialized
  message: 'containers with incomplete status: [{{ range $pod.spec.initContainers }}{{ .name }}{{ end }}]'
{{ else }}
  reason: ContainersNotReady
  message: 'containers with unready status: [{{ $server.name }}]'
{{ end }}
{{ end }}
{{ if .spec.initContainers }}
initContainerStatuses:
{{ range .spec.initContainers }}
{{ $is := ternary (ternary "ready" "waits" $up) $init (eq (default "" .restartPolicy) "Always") }}
{{ $kept := default dict (index $old .name) }}
{{ $ended := dig "state" "terminated" "startedAt" "" $kept }}
{{ template "container" (dict "spec" . "old" $kept "pod" $pod "now" (ternary $now (dig "state" "terminated" "finishedAt" $now $kept) (eq $ended "")) "code" $code "why" $why "waits" "PodInitializing" "is" $is "began" (default $began $ended) "turned" false) }}
{{ end }}
{{ end }}
containerStatuses:
{{ range $at, $spec := .spec.containers }}
{{ $is := ternary $main (ternary "ready" "waits" $up) (eq $at 0) }}
{{ template "container" (dict "spec" $spec "old" (default dict (index $old $spec.name)) "pod" $pod "now" $now "code" $code "why" $why "waits" $pending "is" $is "began" $began "turned" (and (eq $at 0) (ne $life "nothing"))) }}
{{ end }}
