"""Model servers: which container of a pod is one, which engine, and the flags it really runs with."""

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from tillerman.cluster.change import ABSENT, Change, Edit, path_of
from tillerman.cluster.commandline import (
    TGI_ENV,
    Flag,
    expand,
    file_flags,
    flags_of,
    script_of,
    script_with_flag,
    script_words,
    with_flag,
    with_new_flag,
)
from tillerman.cluster.model import Container, Pod
from tillerman.cluster.placement import gpus_of
from tillerman.cluster.places import Places

#: How an engine is recognised, by its image or its command. Sources: the projects' published images and entry
#: points.
_ENGINES = (
    ("sglang", r"sglang"),
    ("tgi", r"text-generation-(?:inference|launcher)|(?:^|/)tgi[:-]"),
    ("trtllm", r"trtllm|tensorrt.?llm|nim/"),
    ("vllm", r"vllm|llm-d-(?:cuda|xpu|cpu|rocm)|huggingfaceserver|huggingface.?server"),
)
_NOT_SERVERS = re.compile(
    r"router|routing|sidecar|epp|endpoint-picker|scheduler|exporter|simulator-ui|gateway|proxy|bench"
)
_SERVER_NAMES = ("kserve-container", "main", "vllm", "server", "engine", "worker-container")
#: KServe's LLMInferenceService presets append this variable to the server's command (domain: KServe 0.20
#: presets).
EXTRA_ARGS = "VLLM_ADDITIONAL_ARGS"


@dataclass(frozen=True, kw_only=True)
class Server:
    """The container of a pod that runs an inference engine, and its settings.

    `flags` are in order, the last one wins.
    """

    pod: Pod
    container: Container
    engine: str
    flags: tuple[Flag, ...]
    env: Mapping[str, str]

    def flag(self, name: str) -> Flag | None:
        """The effective setting of that name, or None when the engine's default holds."""
        return next((f for f in reversed(self.flags) if f.name == name), None)

    def number(self, name: str) -> float | None:
        """The effective number of that name (`32k` and `1K` understood), or None."""
        found = self.flag(name)
        match = re.match(r"^(-?[0-9.]+)([kKmM]?)$", found.value) if found else None
        scale = {"": 1.0, "k": 1e3, "K": 1024.0, "m": 1e6, "M": 1024.0**2}
        try:
            return float(match[1]) * scale[match[2]] if match else None
        except ValueError:
            return None

    @property
    def tensor_parallel(self) -> int:
        """GPUs one engine spreads each layer over on one node; 1 by default."""
        return int(self.number("tensor-parallel-size") or 1)

    @property
    def gpus(self) -> int:
        """GPUs this pod asks for; 0 when none."""
        return sum(gpus_of(self.pod.spec).values())


class Servers(Places):
    """Questions about model servers."""

    @property
    def servers(self) -> tuple[Server, ...]:
        """The model servers among the unfinished pods."""
        return tuple(self._servers.values())

    def server_of(self, pod: Pod) -> Server | None:
        """The model server in a pod."""
        return self._servers.get((pod.namespace, pod.name)) or (self._server(pod) if pod.finished else None)

    @cached_property
    def _servers(self) -> Mapping[tuple[str, str], Server]:
        found = ((pod, self._server(pod)) for pod in self.pods if not pod.finished)
        return {(pod.namespace, pod.name): server for pod, server in found if server}

    def _server(self, pod: Pod) -> Server | None:
        picker = "router-scheduler" in pod.labels.get("app.kubernetes.io/component", "")
        for container in () if picker else pod.spec.containers:
            engine = _engine_of(container.image, container.name, (*container.command, *container.args))
            if engine:
                env = self.env_of(pod, container)
                flags = tuple(self._flags(pod, container, env, engine))
                return Server(pod=pod, container=container, engine=engine, flags=flags, env=env)
        return None

    def env_of(self, pod: Pod, container: Container) -> dict[str, str]:
        """The environment of a container, as far as it can be read.

        Values, config maps, and nothing of secrets.
        """
        env: dict[str, str] = {}
        for entry in container.env_from:
            prefix, ref = str(entry.get("prefix", "")), entry.get("configMapRef") or {}
            data = self._config_data(pod.namespace, str(ref.get("name", "")))
            env |= {f"{prefix}{key}": str(value) for key, value in data.items()}
        for variable in container.env:
            ref = (variable.value_from or {}).get("configMapKeyRef") or {}
            if ref:
                data = self._config_data(pod.namespace, str(ref.get("name", "")))
                if str(ref.get("key", "")) in data:
                    env[variable.name] = str(data[str(ref["key"])])
            elif variable.value_from is None:
                env[variable.name] = expand(variable.value, env, scripted=False)
        return env

    def _config_data(self, namespace: str, name: str) -> dict[str, Any]:
        found = self.get("ConfigMap", namespace, name)
        return found.table("data") if found else {}

    def _flags(self, pod: Pod, container: Container, env: Mapping[str, str], engine: str) -> list[Flag]:
        script = script_of(container.command, container.args) or self._mounted_script(pod, container)
        if script is not None:
            found = flags_of(script_words(script, env), "script")
        else:
            found = flags_of((expand(w, env, scripted=False) for w in container.command), "command")
            found += flags_of((expand(w, env, scripted=False) for w in container.args), "args")
        extra = env.get(EXTRA_ARGS, "")
        if extra and EXTRA_ARGS not in (script or ""):
            found += flags_of(extra.split(), f"env {EXTRA_ARGS}")
        if engine == "tgi":
            found = [
                Flag(name=f, value=env[e], source=f"env {e}") for e, f in TGI_ENV.items() if e in env
            ] + found
        for flag in [f for f in found if f.name == "config"]:
            text = self.mounted_text(pod, container, flag.value)
            found = [*file_flags(text, flag.value), *found] if text else found
        return found

    def _mounted_script(self, pod: Pod, container: Container) -> str | None:
        words = [*container.command, *container.args]
        path = next((w for w in words[:3] if w.startswith("/") and w.endswith(".sh")), None)
        return self.mounted_text(pod, container, path) if path else None

    def mounted_text(self, pod: Pod, container: Container, path: str) -> str | None:
        """The text of a file that a config map gives to a container, or None."""
        found = self.mounted_from(pod, container, path)
        return self._config_data(pod.namespace, found[0]).get(found[1]) if found else None

    def mounted_from(self, pod: Pod, container: Container, path: str) -> tuple[str, str] | None:
        """The config map and the key behind a file of a container, or None."""
        for mount in container.volume_mounts:
            inside = posixpath.relpath(path, mount.mount_path) if path.startswith(mount.mount_path) else ""
            volume = next((v for v in pod.spec.volumes if v.get("name") == mount.name), {})
            source = volume.get("configMap") or {}
            if inside and source.get("name"):
                key = mount.sub_path or inside
                renamed = {str(i.get("path")): str(i.get("key")) for i in source.get("items") or ()}
                return str(source["name"]), renamed.get(key, key)
        return None

    def edit_flag(self, server: Server, name: str, value: str, why: str) -> Change | None:
        """The change that gives a server's flag a value, made where the flag is set now.

        Else where a person would add it.
        """
        elsewhere = self._edit_mentioned(server, name, value, why)
        if elsewhere:
            return elsewhere
        place = self.place_of(server.pod, server.container.name)
        if place is None:
            return None
        for field in ("args", "command"):
            path = f"{place.container}.{field}"
            words = [str(word) for word in place.target.items(path)]
            changed = with_flag(words, name, value)
            if changed:
                edit = Edit(path=path, before=place.target.value(path), after=changed)
                return Change(target=place.target.ref, edits=(edit,), why=why)
        if place.target.kind == "LLMInferenceService":
            return self._edit_extra(server, name, value, why)
        scripted = script_of(server.container.command, server.container.args) is not None
        field = "args" if place.target.items(f"{place.container}.args") or not scripted else "command"
        path = f"{place.container}.{field}"
        words = [str(word) for word in place.target.items(path)]
        edit = Edit(path=path, before=place.target.value(path), after=with_new_flag(words, name, value))
        return Change(target=place.target.ref, edits=(edit,), why=why)

    def _edit_mentioned(self, server: Server, name: str, value: str, why: str) -> Change | None:
        """The change where an environment variable or a config map holds the flag."""
        place = self.place_of(server.pod, server.container.name)
        for at, variable in enumerate(server.container.env):
            ref = (variable.value_from or {}).get("configMapKeyRef") or {}
            old = server.env.get(variable.name, "")
            new = value if self._is_whole(server, variable.name, name) else script_with_flag(old, name, value)
            if new is None or not old:
                continue
            if ref:
                return self._edit_config(server.pod.namespace, str(ref["name"]), str(ref["key"]), new, why)
            listed = place.target.items(f"{place.container}.env") if place else []
            index = next(
                (i for i, e in enumerate(listed) if isinstance(e, dict) and e.get("name") == variable.name),
                at,
            )
            if place and index < len(listed):
                path = f"{place.container}.env[{index}].value"
                edit = Edit(path=path, before=place.target.value(path), after=new)
                return Change(target=place.target.ref, edits=(edit,), why=why)
        return self._edit_given(server, name, value, why) or self._edit_file(server, name, value, why)

    def _edit_given(self, server: Server, name: str, value: str, why: str) -> Change | None:
        """The change where a config map that gives all its keys as variables (`envFrom`) holds the flag."""
        for entry in server.container.env_from:
            config, prefix = (
                str((entry.get("configMapRef") or {}).get("name", "")),
                str(entry.get("prefix", "")),
            )
            for key, old in self._config_data(server.pod.namespace, config).items():
                whole = self._is_whole(server, f"{prefix}{key}", name)
                new = value if whole else script_with_flag(str(old), name, value)
                if new is not None:
                    return self._edit_config(server.pod.namespace, config, key, new, why)
        return None

    def _is_whole(self, server: Server, variable: str, flag: str) -> bool:
        """Whether a variable is the whole value of a flag (`--max-model-len=$(MAX_LEN)`)."""
        text = " ".join([*server.container.command, *server.container.args])
        spelled = rf"--(?:{re.escape(flag)}|{re.escape(flag.replace('-', '_'))})"
        if re.search(rf"{spelled}[= ]+[\"']?\$[({{]?{re.escape(variable)}\b", text):
            return True
        return server.engine == "tgi" and TGI_ENV.get(variable) == flag

    def _edit_file(self, server: Server, name: str, value: str, why: str) -> Change | None:
        found = server.flag(name)
        path = found.source.removeprefix("file ") if found and found.source.startswith("file ") else ""
        script = next(
            (w for w in (*server.container.command, *server.container.args)[:3] if w.endswith(".sh")), ""
        )
        held = self.mounted_from(server.pod, server.container, path or script) if path or script else None
        if not held:
            return None
        text = str(self._config_data(server.pod.namespace, held[0]).get(held[1], ""))
        new = script_with_flag(text, name, value)
        if path:
            new = re.sub(
                rf"(?m)^({re.escape(name)}|{re.escape(name.replace('-', '_'))}):.*$", rf"\1: {value}", text
            )
        return self._edit_config(server.pod.namespace, held[0], held[1], new, why) if new else None

    def _edit_config(self, namespace: str, name: str, key: str, value: str, why: str) -> Change | None:
        found = self.get("ConfigMap", namespace, name)
        path = path_of(("data", key))
        before = found.value(path) if found else ABSENT
        if found is None or before is ABSENT:
            return None
        return Change(target=found.ref, edits=(Edit(path=path, before=before, after=value),), why=why)

    def _edit_extra(self, server: Server, name: str, value: str, why: str) -> Change | None:
        """LLMInferenceService: extra flags go through the variable that its presets append to the command."""
        listed = [{"name": v.name, "value": v.value} for v in server.container.env if v.name == EXTRA_ARGS]
        text = f"{listed[0]['value']} --{name}={value}" if listed else f"--{name}={value}"
        return self.edit(server.pod, server.container.name, "env", [{"name": EXTRA_ARGS, "value": text}], why)


@lru_cache(maxsize=4096)
def _engine_of(image: str, name: str, command: tuple[str, ...]) -> str | None:
    """The engine that a container runs; cached, for thousands of pods come from a few templates."""
    image, words = image.lower(), " ".join(command).lower()
    if _NOT_SERVERS.search(image.rsplit("/", 1)[-1]) and "vllm serve" not in words:
        return None
    for engine, pattern in _ENGINES:
        if re.search(pattern, image) or re.search(
            rf"(?:{pattern})[\s.]+(?:serve|entrypoints|launch|--)", words
        ):
            return engine
    return "vllm" if name in _SERVER_NAMES and "--served-model-name" in words else None
