{{ $container := index .spec.%(containers)s 0 }}
{{ $server := index .spec.containers 0 }}
{{ $probe := default (default dict $server.livenessProbe) $server.startupProbe }}
{{ $sort := ternary "startup" "liveness" (not (empty $server.startupProbe)) }}
{{ $http := default dict $probe.httpGet }}
{{ $target := printf "%%s:%%s" (toString .status.podIP) (toString (default 8080 $http.port)) }}
{{ $url := printf "http://%%s%%s" $target (default "/" $http.path) }}
{{ $statuses := default list .status.%(statuses)s }}
{{ $count := 1 }}
{{ if $statuses }}{{ $count = add 1 (int (toString (default 0 (index $statuses 0).restartCount))) }}{{ end }}
{{ $now := dateInZone "2006-01-02T15:04:05Z" now "UTC" }}
apiVersion: v1
kind: Event
metadata:
  name: {{ .metadata.name }}.{{ printf "%%s%(reason)s%(containers)s" .metadata.uid | sha256sum | trunc 16 }}
  namespace: {{ .metadata.namespace }}
involvedObject:
  apiVersion: v1
  kind: Pod
  name: {{ .metadata.name }}
  namespace: {{ .metadata.namespace }}
  uid: {{ .metadata.uid }}
  fieldPath: "spec.%(containers)s{ {{- $container.name -}} }"
type: %(type)s
reason: %(reason)s
message: {{ printf %(message)s | Quote }}
count: {{ $count }}
firstTimestamp: {{ default .metadata.creationTimestamp .status.startTime | Quote }}
lastTimestamp: {{ $now | Quote }}
source: {component: kubelet, host: {{ .spec.nodeName }} }
reportingComponent: kubelet
reportingInstance: {{ .spec.nodeName }}
