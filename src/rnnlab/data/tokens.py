"""How text becomes tokens: one policy a kind of text, each stated in its docstring."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from rnnlab.data.progress import bar

EOS = "<eos>"

# Letters and digits with inner apostrophes (don't); numbers with separators (1,000.50) before, so that they stay whole.
_NUMBER = r"\d+(?:[.,]\d+)+"
_WORD = r"[^\W_]+(?:'[^\W_]+)*"
_REVIEW_TOKEN = re.compile(rf"{_NUMBER}|{_WORD}|[.,!?]")
_TEXT_TOKEN = re.compile(rf"<(?:unk|eos)>|{_NUMBER}|{_WORD}|[^\s]")
_SEPARATED_DIGITS = re.compile(r"\d[.,]\d")
_OUTER_APOSTROPHE = re.compile(r"'(?:(?![a-z0-9])|(?<![a-z0-9]'))")
_ASCII_DROPPED = str.maketrans({c: " " for c in map(chr, range(128)) if not (c.isalnum() or c in "'.,!?")})
_LINE_BREAK_TAG = re.compile(r"<br\s*/?>", re.IGNORECASE)
_CLOSING = frozenset({".", ",", "!", "?", ";", ":", ")", "]", "%"})
_OPENING = frozenset({"(", "[", "$"})

# Letters of scripts that are written without spaces between words: Thai, Lao, Myanmar, Khmer; kana; Han.
_UNSPACED = (
    "\u0e00-\u0e3a\u0e40-\u0eff\u1000-\u109f\u1780-\u17d3\u3005-\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_WIDE_MARKS = "\u3000-\u303f\uff00-\uff65"  # no space stands at these either
_GLUED = re.compile(f"[{_UNSPACED}{_WIDE_MARKS}]")
_JOINER = "\u200d"


def whitespace_tokens(text: str) -> list[str]:
    """Split on white space and change nothing else: for text that comes tokenised, such as Penn Treebank."""
    return text.split()


def word_tokens(text: str) -> list[str]:
    """Lower-cased words, numbers and single punctuation marks; nothing but white space is dropped.

    "The State's 1,500 ships!" gives: the state's 1,500 ships !
    Curly apostrophes become straight, so that both spellings of "don't" are one token; a typed `<unk>` or `<eos>`
    stays whole. Where words are not divided by spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese), each letter with
    its marks is a token; an emoji of several characters is one.
    """
    text = _plain(text)
    return (_patterns().text if _needs_marks(text) else _TEXT_TOKEN).findall(text)


def review_tokens(text: str) -> list[str]:
    """Lower-cased words, numbers and . , ! ? marks; `<br />` and all other marks are dropped.

    "It's <br />not bad!" gives: it's not bad !
    Letters of scripts without spaces as in `word_tokens`.
    """
    text = _plain(_LINE_BREAK_TAG.sub(" ", text) if "<" in text else text)
    if _needs_marks(text):
        return _patterns().review.findall(text)
    if not text.isascii() or _SEPARATED_DIGITS.search(text):
        return _REVIEW_TOKEN.findall(text)
    # The same tokens without a regular expression a word: 20,000 reviews in 2.1 s of CPU time instead of 3.8.
    if "'" in text:
        text = _OUTER_APOSTROPHE.sub(" ", text)
    text = text.translate(_ASCII_DROPPED)
    for mark in ".,!?":
        text = text.replace(mark, f" {mark} ")
    return text.split()


def tokenizer(name: str) -> Callable[[str], list[str]]:
    """The tokenizer of running text with this name: whitespace or words.

    Raises:
        ValueError: there is no such tokenizer.
    """
    match name:
        case "whitespace":
            return whitespace_tokens
        case "words":
            return word_tokens
    raise ValueError(f"tokenizer: expected whitespace or words, got {name!r}")


def lines_to_tokens(text: str, name: str, *, keep_blank_lines: bool) -> list[str]:
    r"""Tokenise line by line, with `<eos>` after every line; lines end at "\n" only.

    Args:
        text: the text; a last line without "\n" counts as a line.
        name: the tokenizer, as in `tokenizer`.
        keep_blank_lines: whether a line without tokens gives an `<eos>` of its own, as the published counts of
            WikiText-2 have it; else such lines, the gaps between paragraphs, give nothing.

    Raises:
        ValueError: there is no such tokenizer.
    """
    split = tokenizer(name)
    lines = text.removesuffix("\n").split("\n")
    tokens: list[str] = []
    for line in bar(lines, "reading text", "line"):
        words = split(line)
        if words or keep_blank_lines:
            tokens += words
            tokens.append(EOS)
    return tokens


def join_tokens(tokens: list[str]) -> str:
    r"""Readable text from tokens: `<eos>` becomes a line end, and closing marks stand at the word before them.

    Not an inverse: what tokenising dropped stays dropped.
    """
    parts: list[str] = []
    glue, is_glued = "", False
    for token in tokens:
        if token == EOS:
            parts.append("\n")
            glue = ""
            continue
        was_glued, is_glued = is_glued, _GLUED.match(token) is not None
        parts.append(token if token in _CLOSING or (was_glued and is_glued) else glue + token)
        glue = "" if token in _OPENING else " "
    return "".join(parts)


class _Patterns(NamedTuple):
    """Tokens of text whose letters have marks, or no spaces between words.

    Attributes:
        needed: finds what makes the others needed; they take ten times as long as those without marks.
        text: as `word_tokens`.
        review: as `review_tokens`.
    """

    needed: re.Pattern[str]
    text: re.Pattern[str]
    review: re.Pattern[str]


@cache
def _patterns() -> _Patterns:
    r"""Words with the marks that belong to their letters: vowel signs of Hindi, points of Arabic, tones of Thai.

    To Python's `\w` such marks are no letters, and would tear every word at each of them. They are listed here, in
    20 ms, where a text is not ASCII.
    """
    marks = "".join(
        chr(code) for code in range(0x300, 0x20000) if unicodedata.category(chr(code)) in ("Mn", "Mc", "Me")
    )
    letter = rf"[^\W_{_UNSPACED}]"
    run = rf"{letter}[^\W_{_UNSPACED}]*(?:[{marks}\u200c{_JOINER}]+[^\W_{_UNSPACED}]*)*"
    word = rf"{run}(?:'{run})*|[{_UNSPACED}][{marks}]*"
    flags, tints = "\U0001f1e6-\U0001f1ff", "\U0001f3fb-\U0001f3ff"
    picture = rf"[^\s][{marks}{tints}]*"
    symbol = rf"[{flags}]{{2}}|{picture}(?:{_JOINER}{picture})*"
    return _Patterns(
        needed=re.compile(f"[{marks}{_UNSPACED}{flags}{tints}\u200c{_JOINER}]"),
        text=re.compile(rf"<(?:unk|eos)>|{_NUMBER}|{word}|{symbol}"),
        review=re.compile(rf"{_NUMBER}|{word}|[.,!?]"),
    )


def _needs_marks(text: str) -> bool:
    # Each letter once: to find it among so many ranges takes as long as all else.
    return not text.isascii() and _patterns().needed.search("".join(set(text))) is not None


def _plain(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFC", text).replace("’", "'")
    return text.lower()
