def amount:
  if . == null then 1e30
  elif type == "number" then .
  else capture("^(?<n>[0-9.]+)(?<u>[A-Za-z]*)$")
    | (.n | tonumber) * ({"": 1, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
        "Ki": 1024, "Mi": 1048576, "Gi": 1073741824, "Ti": 1099511627776}[.u])
  end;
def server: .spec.containers[0];
def gpus: (server.resources.limits["nvidia.com/gpu"] // "0") | tonumber;
def uri: [.spec.initContainers[]? | select(.name == "storage-initializer") | .args[0]] | first // "";
def need(name; otherwise):
  .metadata.annotations["lab/" + name] // (if gpus > 0 then CATALOGUE[uri][name] else null end) // otherwise;
def number(name; otherwise): need(name; otherwise) | tostring | tonumber;
def ordinary: [.spec.initContainers[]? | select(.restartPolicy != "Always")];
def line:
  [server | ((.command // []) + (.args // []))[], (.env[]? | select(.name == "VLLM_ADDITIONAL_ARGS") | .value // "")]
  | join(" ");
def flag(name; otherwise): ([line | scan("--" + name + "[= ] *\"?([0-9]+)") | .[0] | tonumber] | last) // otherwise;
def probe: server | .startupProbe // .livenessProbe;
def budget:
  probe
  | if . == null then 1e9
    else (.initialDelaySeconds // 0) + (.failureThreshold // 3) * (.periodSeconds // 10) end;
def verdict:
  . as $pod
  | if (server.image | test($pod | need("missing-image"; "^$"))) then "no-image"
    elif (ordinary | length) > 0
      and (ordinary[0].resources.limits.memory | amount) < (need("init-memory"; "0") | amount) then "init-oom"
    elif (server.resources.limits.memory | amount) < (need("memory"; "0") | amount) then "oom"
    elif gpus > 0 and gpus < flag("tensor-parallel-size"; 0) then "exit"
    elif flag("max-model-len"; number("model-len"; 0)) > number("kv-tokens"; 1e12) then "exit"
    elif ([.metadata.ownerReferences[]? | select(.kind == "Job")] | length) > 0 then "job"
    elif budget < number("load-seconds"; 1) then "slow"
    else "ok" end;
def initialized: ([.status.conditions[]? | select(.type == "Initialized" and .status == "True")] | length) > 0;
def state:
  if .metadata.deletionTimestamp then "deleting"
  elif .status.phase == "Failed" or .status.phase == "Succeeded" then "over"
  elif .status.podIP == null then "new"
  elif initialized | not then
    if [.status.initContainerStatuses[]?.state.waiting.reason // empty] == [] then "staging" else "staging-waits" end
  else .status.containerStatuses[0]
    | if .ready then "ready"
      elif .state.running then "loading"
      elif (.state.waiting.reason // "") | test("Image") then "no-image"
      else "waits" end
  end;
def restarts:
  [(if state == "staging-waits" then .status.initContainerStatuses else .status.containerStatuses end)[]?.restartCount]
  | max // 0;
def backoff: restarts | if . == 0 then 0 elif . > 5 then 300 else 10 * pow(2; . - 1) end;
def wall(seconds): "\((seconds * 1000 / number("speed"; SPEED)) | floor)ms";
