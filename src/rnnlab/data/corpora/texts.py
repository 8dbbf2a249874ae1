"""Running text for language models, as tokens of a train, a valid and a test split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rnnlab.data.corpora.locate import LoadedFile, load_files, resolve
from rnnlab.data.corpora.splits import SPLITS, TEST_SHARE, VALID_SHARE, check_counts, split_files
from rnnlab.data.corpora.table import Corpus, Kind
from rnnlab.data.progress import bar
from rnnlab.data.text import decode_text, list_files, read_text
from rnnlab.data.tokens import EOS, lines_to_tokens
from rnnlab.errors import DataError

SUFFIXES = (".txt", ".text", ".tokens", ".md")
_TABLES = (".csv", ".tsv", ".jsonl")
_MIN_TOKENS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCorpus:
    """A text in three splits.

    Attributes:
        name: the corpus's name, or the path it was read from.
        tokenizer: name of the tokenizer that made the tokens (`rnnlab.data.tokens.tokenizer`); prompts need the same.
        train: tokens, with `<eos>` after every line.
        valid: as train.
        test: as train.
    """

    name: str
    tokenizer: str
    train: list[str]
    valid: list[str]
    test: list[str]


def load_text_corpus(corpus: str) -> TextCorpus:
    """Read running text and split it.

    Splits: ptb and wikitext-2 have their own. sotu is split by year (year % 20 == 7 validates, 17 tests). A folder with
    files named train, valid and test uses them; other folders are read in the order of the file names as one text.
    What is missing is cut from the end of the text, a tenth each, at the line end nearest to it.

    Tokens: ptb and wikitext-2 are split on white space, every line (also an empty one) ends in `<eos>`. Other texts
    become lower-case words and punctuation marks, with `<eos>` after each line that is not blank.

    Args:
        corpus: a known name, or the path of a text file or of a folder of text files.

    Raises:
        DataError: there is no such corpus or file, it is of another kind or a table (.csv, .tsv, .jsonl), it cannot be
            read, it is not what the list of corpora says, or it has fewer than 10 tokens.
    """
    found = resolve(corpus, Kind.TEXT)
    if isinstance(found, Corpus):
        return _load_sotu(found) if found.name == "sotu" else _load_tokenised(found)
    return _load_own(corpus, found)


def own_texts(path: Path) -> dict[str, list[Path]]:
    """The files of one's own that hold each split; a split that is not named is cut from the end of train.

    Raises:
        DataError: the folder cannot be read, has no text file, or has two for one split.
    """
    if not path.is_dir():
        return {"train": [path]}
    files = split_files(path, SUFFIXES)
    return {split: [file] for split, file in files.items()} if "train" in files else {"train": _text_files(path)}


def _load_tokenised(corpus: Corpus) -> TextCorpus:
    tokens = {}
    for file in load_files(corpus):
        split = next(split for split in SPLITS if split in file.name)
        tokens[split] = lines_to_tokens(_text_of(file), "whitespace", keep_blank_lines=True)
    check_counts(corpus, {split: len(tokens[split]) for split in SPLITS})
    return TextCorpus(
        name=corpus.name, tokenizer="whitespace", train=tokens["train"], valid=tokens["valid"], test=tokens["test"]
    )


def _load_sotu(corpus: Corpus) -> TextCorpus:
    tokens: dict[str, list[str]] = {split: [] for split in SPLITS}
    for file in bar(load_files(corpus), f"reading {corpus.name}", "text"):
        year = int(file.name[:4])
        split = {7: "valid", 17: "test"}.get(year % 20, "train")
        tokens[split] += lines_to_tokens(_text_of(file), "words", keep_blank_lines=False)
    check_counts(corpus, {split: len(tokens[split]) for split in SPLITS})
    return TextCorpus(
        name=corpus.name, tokenizer="words", train=tokens["train"], valid=tokens["valid"], test=tokens["test"]
    )


def _text_of(file: LoadedFile) -> str:
    return decode_text(file.content, str(file.path), report=False)


def _load_own(name: str, path: Path) -> TextCorpus:
    tokens = {split: [token for file in files for token in _read_own(file)] for split, files in own_texts(path).items()}
    shares = [0.0 if split in tokens else share for split, share in (("valid", VALID_SHARE), ("test", TEST_SHARE))]
    cut = dict(zip(SPLITS, _cut(name, tokens.pop("train"), *shares), strict=True))
    return TextCorpus(name=name, tokenizer="words", **{**cut, **tokens})


def _read_own(file: Path) -> list[str]:
    if file.suffix.lower() in _TABLES:
        raise DataError(
            f"{file} is a table, not running text: its labels and commas would be learned as words; "
            "use task=sentiment, or save its texts as a .txt file"
        )
    return lines_to_tokens(read_text(file), "words", keep_blank_lines=False)


def _text_files(folder: Path) -> list[Path]:
    files = list_files(folder, SUFFIXES)
    if not files:
        raise DataError(f"{folder} has no text file, wanted names that end in {', '.join(SUFFIXES)}")
    return files


def _cut(name: str, tokens: list[str], valid_share: float, test_share: float) -> tuple[list[str], list[str], list[str]]:
    """Cut the last shares off, at the line ends nearest to them; inside a line when lines are too long for that."""
    if len(tokens) < _MIN_TOKENS:
        raise DataError(f"{name} is too short: got {len(tokens)} tokens, wanted at least {_MIN_TOKENS}")
    wanted = [round(len(tokens) * (1 - valid_share - test_share)), round(len(tokens) * (1 - test_share))]
    line_ends = [index + 1 for index, token in enumerate(tokens) if token == EOS]
    first, second = (min(line_ends, key=lambda end: abs(end - place)) for place in wanted)
    sizes = (first, second - first, len(tokens) - second)
    shares = (1.0, valid_share, test_share)
    if any(size == 0 for size, share in zip(sizes, shares, strict=True) if share > 0):
        first, second = wanted
    return tokens[:first], tokens[first:second], tokens[second:]
