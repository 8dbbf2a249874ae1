"""Tunes as text in ABC notation: split a file into tunes, read their headers, clean them for training.

An ABC tune is a header of `letter:value` lines, of which `K:` (the key) is the last, and then lines of music:

    X:1
    T:The Enchanted Valley
    M:2/4
    L:1/16
    K:Gm
    G3-A (Bcd=e) | f4 (g2dB) |

Only text is handled here. Whether the music makes sense is the business of `rnnlab.generation.abc`.

Source: the ABC notation standard 2.1 (abcnotation.com), sections 2 (file structure) and 3 (information fields).
"""

from __future__ import annotations

import re
import unicodedata

# A line of music can start with a note before a bar line. In the body only these letters introduce a field; none of
# them is a note, so "d:|" and "B::" stay music.
_HEADER_FIELD = re.compile(r"([A-Za-z+]):(?!\|)(.*)")
_BODY_FIELD = re.compile(r"([IKLMNPQRTUVWmrsw+]):(?![|:])(.*)")
_INLINE_FIELD = re.compile(r"\[([A-Za-z]):([^\]\n]*)\]")
_QUOTED = re.compile(r'"([^"\n]*)"')
_CHORD_SYMBOL = re.compile(r"[A-G][#b♯♭]?(m|min|maj|dim|aug|sus|\+)?\d{0,2}(/[A-G][#b♯♭]?)?")
_COMMENT = re.compile(r"(?<!\\)%.*")

# What a model needs to write a tune that can be played. V keeps the voices of a multi-voice tune apart.
KEPT_HEADER_FIELDS = "XTRMLVK"
KEPT_BODY_FIELDS = "KLMV"


def split_tunes(text: str) -> list[str]:
    """Cut the text of an ABC file into its tunes.

    A tune starts at a line `X:...` and ends before a blank line, the next `X:` or the end of the text. What stands
    between tunes is free text and is dropped, and so are comment lines (`%`, and `%%` directives) inside a tune. Line
    ends may be LF, CRLF or CR; a byte order mark is ignored.

    Args:
        text: a whole file.

    Returns:
        The tunes in order, each ending in one newline; empty when no line starts with `X:`.
    """
    tunes: list[list[str]] = []
    inside = False
    for line in text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line.startswith("X:"):
            tunes.append([])
            inside = True
        elif not line.strip():
            inside = False
        if inside and not line.lstrip().startswith("%"):
            tunes[-1].append(line.rstrip())
    return ["\n".join(lines) + "\n" for lines in tunes]


def split_tune(tune: str) -> tuple[list[tuple[str, str]], list[str]]:
    """Take one tune apart into header and body.

    Args:
        tune: one tune, as `split_tunes` gives it.

    Returns:
        The header's `(letter, value)` pairs up to and including the first `K:`, values stripped and without trailing
        comments; and the lines after it, unchanged. Lines before the `K:` that are no fields are skipped. Without a
        `K:` the body starts at the first line that is no field.
    """
    lines = [line for line in tune.splitlines() if line.strip() and not line.lstrip().startswith("%")]
    fields = [_HEADER_FIELD.fullmatch(line) for line in lines]
    key_line = next((index for index, field in enumerate(fields) if field and field[1] == "K"), None)
    first_other = next((index for index, field in enumerate(fields) if field is None), len(lines))
    body_start = first_other if key_line is None else key_line + 1
    header = [(field[1], _without_comment(field[2])) for field in fields[:body_start] if field]
    return header, lines[body_start:]


def header_field(tune: str, letter: str) -> str | None:
    """Return the first value of a header field, stripped, or None if the header has no such field.

    Args:
        tune: one tune.
        letter: the field's letter, for example "T" for the title or "M" for the metre.
    """
    return next((value for name, value in split_tune(tune)[0] if name == letter), None)


def tune_body(tune: str) -> str:
    """Return the music alone: the lines after the header that are not fields, joined by newlines."""
    return "\n".join(line for line in split_tune(tune)[1] if not _BODY_FIELD.match(line))


def normalised_title(tune: str) -> str:
    """Return a form of the title under which settings of one tune meet.

    Lower case, no accents, no punctuation, no bracketed remark, no article at either end, nothing after ` -- `
    (where collections put the kind of dance): "The Miller's Maid (2) -- Reel" and "Millers Maid, The" both give
    "millers maid".

    Args:
        tune: one tune; its first `T:` counts.

    Returns:
        The normalised title; empty when the tune has none, or one without letters and digits.
    """
    title = (header_field(tune, "T") or "").split(" -- ")[0]
    title = "".join(c for c in unicodedata.normalize("NFKD", title.casefold()) if not unicodedata.combining(c))
    title = re.sub(r"\([^)]*\)|\[[^\]]*\]", " ", title)
    title = re.sub(r"['’`]", "", title)
    words = re.findall(r"\w+", title)
    articles = {"the", "a", "an"}
    if len(words) > 1 and words[0] in articles:
        words = words[1:]
    if len(words) > 1 and words[-1] in articles:
        words = words[:-1]
    return " ".join(words)


def voice_count(tune: str) -> int:
    """Return how many voices the tune names in `V:` fields (header, body, inline `[V:...]`); at least 1."""
    header, body = split_tune(tune)
    names = [value for letter, value in header if letter == "V"]
    for line in body:
        field = _BODY_FIELD.match(line)
        if field is not None and field[1] == "V":
            names.append(field[2])
        names += [value for letter, value in _INLINE_FIELD.findall(line) if letter == "V"]
    return max(1, len({name.split()[0] for name in names if name.split()}))


def clean_tune(tune: str) -> str:
    """Return the tune as a model should learn it: what is played, without what an editor wrote around it.

    - Header: `X:1` (numbers within a book mean nothing), the first title, then R, M, L, V and K where present.
    - Body: music, and the fields K, L, M and V, which change what the music means. Lyrics, remarks, part labels and
      tempo go.
    - In the music: comments, beam-spacing backquotes and quoted text other than chord symbols go ("4" is a fingering,
      "^Fine" a remark, "Am7" a chord); a line that ends in a backslash is joined with the next; runs of blanks become
      one blank. What e-mail made of line ends and signs (`=`, `=20`, `=3D`: never music) is mended.

    Cleaning a cleaned tune changes nothing, unless a quotation mark or bracket in it is left open.

    Args:
        tune: one tune.

    Returns:
        The cleaned tune, ending in one newline.
    """
    header, body = split_tune(tune)
    values: dict[str, list[str]] = {letter: [] for letter in KEPT_HEADER_FIELDS}
    for letter, value in header:
        if letter in values:
            values[letter].append(value)
    values["X"] = ["1"]
    values["T"] = values["T"][:1]
    lines = [f"{letter}:{value}" for letter in KEPT_HEADER_FIELDS for value in values[letter]]
    music = ""
    for line in body:
        field = _BODY_FIELD.match(line)
        if field is not None:
            if field[1] in KEPT_BODY_FIELDS:
                lines.append(f"{field[1]}:{_without_comment(field[2])}")
            continue
        music += _clean_music(line)
        if music.endswith("\\"):
            music = music[:-1].rstrip() + " "
        elif music.strip():
            lines.append(music.strip())
            music = ""
    if music.strip():
        lines.append(music.strip())
    return "\n".join(lines) + "\n"


def _without_comment(text: str) -> str:
    return _COMMENT.sub("", text).strip()


def _clean_music(line: str) -> str:
    """Clean one line of music; a trailing backslash stays, so that the caller can join the next line."""
    line = _QUOTED.sub(lambda quoted: quoted[0] if _CHORD_SYMBOL.fullmatch(quoted[1]) else "", line)
    line = _without_comment(line).replace("`", "")
    line = _INLINE_FIELD.sub(lambda field: field[0] if field[1] in KEPT_BODY_FIELDS else "", line)
    line = re.sub(r"[ \t]+", " ", line).strip()
    line = line.removesuffix("=20").rstrip().replace("=3D", "=")
    return line.removesuffix("=") + "\\" if line.endswith("=") else line
