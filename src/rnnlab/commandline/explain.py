"""One line from an exception of Hydra or OmegaConf: where, what, and what was likely meant."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rnnlab.wording import did_you_mean, right_choice

_NOISE = re.compile(r"\s*(object_type=\S+|reference_type=\S+|See https?://\S+.*|Search path:.*)")


def explain(error: BaseException, keys: Iterable[str] = ()) -> str:
    """Word an exception that Hydra or OmegaConf raised while composing.

    Args:
        error: The exception; its cause says more.
        keys: Dotted keys for close matches.

    Returns:
        One line, without their names for things.
    """
    texts = [str(error)]
    cause = error.__cause__
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__
    text = "\n".join(text for text in texts if text)
    where = re.search(r"In '([^']+)'", text)
    full_key = re.search(r"full_key: (\S+)", text)
    key = full_key[1] if full_key else ""
    place = f"{where[1]}.yaml: " if where else ""
    keys = list(keys)
    if unknown := re.search(r"Key '([^']+)' (?:not in|is not in struct)", text):
        key = key or unknown[1]
        return f"{place}unknown setting {key}{did_you_mean(key, keys)}"
    if missing := re.search(r"Interpolation key '([^']+)' not found", text):
        return f"{place}{key}: there is no setting {missing[1]} to insert{did_you_mean(missing[1], keys)}"
    if isinstance(error, AttributeError):
        return f"{place}{key}: a group of settings cannot take the place of null here; set it in a file of --config-dir"
    if "RecursionError" in text or isinstance(error, RecursionError) or "recursive" in text.lower():
        return f"{place}{key}: its ${{...}} leads back to itself"
    if lost := re.search(
        r"Could not find '([^']+)'(?s:.*?Available options in '[^']+':\n(?P<options>(?:\t\S+\n?)+))?", text
    ):
        options = (lost["options"] or "").split()
        # Without the place: Hydra names the file that the choice would go to, not the one it is written in.
        return f"there is no config {lost[1]}" + (f"; choose one of {', '.join(options)}" if options else "")
    if "Interpolation to parent node" in text:
        return f"{place}{key}: its ${{...}} names the group it is in; name one setting"
    if wrong := re.search(r"Incompatible value '(.*?)' for field of type '(\w+)'", text):
        got = "null" if wrong[1] == "None" else repr(wrong[1])
        if "interpolation" not in text:
            return f"{place}{key} must be given, got {got}"
        return f"{place}{key}: the value inserted by ${{...}} is {got}, which it cannot be"
    if wrong := re.search(r"Value (.+?) of type '\w+' could not be converted to (\w+)", text):
        wanted = {"Integer": "a whole number", "Float": "a number"}.get(wrong[2], wrong[2])
        return f"{place}{key} must be {wanted}, got {wrong[1]}"
    if wrong := re.search(r"Value '(.*?)' is not a valid bool", text):
        return f"{place}{key} must be true or false, got '{wrong[1]}'"
    if wrong := re.search(r"Invalid value '(.*?)', expected one of \[([^\]]*)\]", text):
        return f"{place}{key} must be one of {wrong[2]}, got '{wrong[1]}'{right_choice(wrong[1], wrong[2].split(', '))}"
    if "is not Optional" in text or "non-optional" in text.lower():
        return f"{place}{key} must be given, got null"
    return place + " ".join(_NOISE.sub(" ", text).split())
