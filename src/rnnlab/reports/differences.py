"""Settings of several runs side by side: those that are not the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# What a run was called and how it was started is no setting of what is learned.
_LEFT_OUT = {"name", "resume", "dry_run"}
ABSENT = "-"


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted key."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        elif prefix or key not in _LEFT_OUT:
            found[f"{prefix}{key}"] = value
    return found


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the settings in which configurations differ, by dotted key: the value of each as it is typed.

    A setting that one of them does not have, such as the momentum of an optimizer without any, is `ABSENT`.
    """
    flats = [flat(config) for config in configs]
    keys = dict.fromkeys(key for config in flats for key in config)
    rows = {key: [typed(config[key]) if key in config else ABSENT for config in flats] for key in keys}
    return {key: values for key, values in rows.items() if len(set(values)) > 1}


def typed(value: Any) -> str:
    """Return a value as the command line writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return f"[{','.join(map(typed, value))}]"
    return str(value)
