"""Secrets are masked where they enter: nothing behind `parse` has ever held one."""

import re
from typing import Any

MASK = "***"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_SECRET_NAME = re.compile(
    r"(?i)(?:^|[_.-])(?:token|api_?key|apikey|secret|passw(?:or)?d|pwd|credentials?|access_?key|secret_?key|private_?key"
    r"|auth|bearer|dsn)s?(?:$|[_.-](?!file|path|name|url|ref|dir|timeout|endpoint)[^_.-]*$)"
)
_HARMLESS = re.compile(r"(?i)^(?:true|false|none|null|yes|no|[0-9.]{0,9}|/[\w./-]*|\$\(?\w+\)?)$")
_SECRET_TEXT = re.compile(
    r"""(?x)
    \b(?:hf_[A-Za-z0-9]{8,} | sk-[A-Za-z0-9_-]{12,} | gh[pousr]_[A-Za-z0-9]{16,} | github_pat_\w{16,}
        | glpat-[\w-]{16,}
        | xox[abprse]-[\w-]{8,} | xapp-[\w-]{8,} | A[KS]IA[A-Z0-9]{12,} | AIza[\w-]{20,} | nvapi-[\w-]{12,}
        | eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)
    | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----[\s\S]*?(?:-----END\ [A-Z ]*PRIVATE\ KEY-----|$)
    | (?<=://)[^/\s:@]+:[^/\s@]+(?=@)
    | (?i:(?<=bearer\ ))[A-Za-z0-9._~+/-]{8,}=*
    | (?i:(?<=--api-key\ )|(?<=--api-key=)|(?<=--hf-token\ )|(?<=--hf-token=)|(?<=password=)
        |(?<=api_key=)|(?<=token=)
        |(?<=password:\ )|(?<=api_key:\ )|(?<=apikey:\ )|(?<=token:\ )|(?<=secret:\ ))["']?[^\s"',;]{4,}["']?
    """
)
#: One of these, in lower case, stands in every text in which the expression above finds something. Plain
#: words, because logs have megabytes, and few lines in them one of these.
_HINTS = (
    *("hf_", "sk-", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "xapp-", "akia"),
    *("asia", "aiza", "nvapi-", "eyj", "private key", "@", "bearer ", "--api-key", "--hf-token", "password="),
    *("api_key=", "token=", "password: ", "api_key: ", "apikey: ", "token: ", "secret: "),
)
_HINT = re.compile("|".join(map(re.escape, _HINTS)))
#: Below this one expression is quicker than one search for each hint; measured, in characters.
SHORT = 64


def is_secret(name: str, value: str) -> bool:
    """Whether a value under this name is kept from everyone.

    A secret's name, and not a flag, number or path.
    """
    return bool(_SECRET_NAME.search(name)) and not _HARMLESS.match(value)


def masked(name: str, value: str) -> str:
    """The value of a setting, masked when its name or its own text says that it is a secret."""
    return MASK if is_secret(name, value) else masked_text(value)


def masked_text(text: str) -> str:
    """Text with every recognised token, key and password in it replaced."""
    if not _hinted(text):
        return text
    if "\n" not in text or "PRIVATE KEY" in text:  # a key is the one secret of several lines
        return _SECRET_TEXT.sub(MASK, text)
    lines = (_SECRET_TEXT.sub(MASK, line) if _hinted(line) else line for line in text.split("\n"))
    return "\n".join(lines)


def _hinted(text: str) -> bool:
    lower = text.lower()
    if len(text) < SHORT:
        return bool(_HINT.search(lower))
    return any(hint in lower for hint in _HINTS)


def masked_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """Command words with secrets replaced, those that follow a secret option included."""
    found = []
    hide = False
    for word in words:
        found.append(MASK if hide and not word.startswith("-") else masked_text(word))
        hide = word in ("--api-key", "--hf-token", "--token", "--password", "--secret")
    return tuple(found)


def mask_manifest(raw: dict[str, Any]) -> dict[str, Any]:
    """The manifest with masked environment variables, data and annotations.

    The caller gives up the original.
    """
    if raw.get("kind") == "ConfigMap":
        for field in ("data", "binaryData"):
            table = raw.get(field)
            if isinstance(table, dict):
                raw[field] = {k: masked(k, v) if isinstance(v, str) else v for k, v in table.items()}
    metadata = raw.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("annotations"), dict):
        metadata["annotations"] = masked_annotations(metadata["annotations"])
        metadata.pop("managedFields", None)
    for field in ("spec", "status"):
        if field in raw:
            raw[field] = _mask_value(raw[field])
    return raw


def masked_annotations(notes: dict[str, Any]) -> dict[str, Any]:
    """Annotations with secrets replaced, without the copy of the manifest that `kubectl apply` leaves."""
    return {k: masked(k, v) if isinstance(v, str) else v for k, v in notes.items() if k != _LAST_APPLIED}


def _mask_value(raw: Any) -> Any:
    if isinstance(raw, str):
        return masked_text(raw)
    if isinstance(raw, list):
        texts = tuple(item for item in raw if isinstance(item, str))
        return list(masked_words(texts)) if len(texts) == len(raw) else [_mask_value(item) for item in raw]
    if not isinstance(raw, dict):
        return raw
    name = raw.get("name")
    if isinstance(name, str) and isinstance(raw.get("value"), str):
        raw["value"] = masked(name, raw["value"])
    return {key: masked(key, v) if isinstance(v, str) else _mask_value(v) for key, v in raw.items()}
