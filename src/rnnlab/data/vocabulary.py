"""Tokens and their ids: counted once on the training split, then fixed and saved with the run."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice, repeat

from rnnlab.errors import DataError

PAD = "<pad>"
UNK = "<unk>"
NUM_UNSEEN_SHOWN = 5


class Vocabulary:
    """An ordered set of tokens; a token's id is its place.

    Two tokens have a meaning here, where they are present: `<pad>` fills rows (`pad_id`), and `<unk>` stands for every
    token that is not in the vocabulary (`unk_id`). Without `<unk>` an unseen token is an error. Both may also come
    from the corpus itself, as `<unk>` does in Penn Treebank and WikiText-2.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        """Take the tokens in the order of their ids.

        Raises:
            ValueError: there is no token, one comes twice, or one is not a non-empty str of encodable characters.
        """
        self.tokens: tuple[str, ...] = tuple(tokens)
        if not self.tokens:
            raise ValueError("a vocabulary needs at least one token, got none")
        for token in self.tokens:
            if not isinstance(token, str) or not token or not _is_encodable(token):
                raise ValueError(f"a token must be a non-empty str without lone surrogates, got {token!r}")
        self._ids = {token: index for index, token in enumerate(self.tokens)}
        if len(self._ids) < len(self.tokens):
            token, count = Counter(self.tokens).most_common(1)[0]
            raise ValueError(f"tokens must be distinct, got {token!r} {count} times")
        self.pad_id: int | None = self._ids.get(PAD)
        self.unk_id: int | None = self._ids.get(UNK)

    @classmethod
    def build(
        cls,
        tokens: Iterable[str],
        *,
        max_size: int | None = None,
        min_count: int = 1,
        specials: Sequence[str] = (),
    ) -> Vocabulary:
        """Count tokens and keep the frequent ones: specials first, then by count, equal counts alphabetically.

        Args:
            tokens: the training split, one token after the other; characters of a str work too.
            max_size: largest size, specials included; None: no limit.
            min_count: tokens seen less often are left out.
            specials: tokens that get the first ids, seen or not, such as `("<pad>", "<unk>")`.

        Raises:
            DataError: fewer than two tokens are left: there would be nothing to predict.
            ValueError: max_size leaves no room for a counted token, or min_count is below 1.
        """
        if min_count < 1:
            raise ValueError(f"min_count must be at least 1, got {min_count}")
        if max_size is not None and max_size <= len(specials):
            raise ValueError(f"max_size must be above the {len(specials)} special tokens, got {max_size}")
        counts = Counter(tokens)
        for special in specials:
            counts.pop(special, None)
        frequent = [(token, count) for token, count in counts.items() if count >= min_count]
        if len(frequent) < 2:
            advice = "give more text, or a lower task.min_count" if min_count > 1 else "give more text"
            raise DataError(
                f"nothing to learn: got {len(frequent)} different tokens seen at least {min_count} times "
                f"(of {len(counts):,} in all), wanted at least 2; {advice}"
            )
        frequent.sort(key=lambda pair: (-pair[1], pair[0]))
        room = None if max_size is None else max_size - len(specials)
        return cls([*specials, *(token for token, _ in frequent[:room])])

    def __len__(self) -> int:
        """Number of tokens, specials included."""
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        """The tokens in the order of their ids."""
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        """Whether the token has an id of its own."""
        return token in self._ids

    def __eq__(self, other: object) -> bool:
        """Equal tokens with equal ids."""
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        """Of the tokens."""
        return hash(self.tokens)

    def __repr__(self) -> str:
        """Size and content hash."""
        return f"Vocabulary({len(self)} tokens, sha256 {self.sha256[:12]})"

    def id_of(self, token: str) -> int:
        """The token's own id.

        Raises:
            KeyError: the token is not in the vocabulary; `<unk>` does not stand in for it here.
        """
        return self._ids[token]

    def encode(self, tokens: Iterable[str]) -> list[int]:
        """Ids of tokens; an unseen one becomes `<unk>`.

        Raises:
            DataError: a token is not in the vocabulary and there is no `<unk>`; names the first five such tokens.
        """
        if self.unk_id is not None:
            # No Python a token: a quarter less time.
            return list(map(self._ids.get, tokens, repeat(self.unk_id)))
        tokens = list(tokens)
        try:
            return [self._ids[token] for token in tokens]
        except KeyError:
            raise DataError(self._unseen_message(tokens)) from None

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Tokens of ids.

        Raises:
            ValueError: an id is not in 0..len - 1.
        """
        decoded = []
        for index in ids:
            if not 0 <= index < len(self.tokens):
                raise ValueError(f"ids must be in 0..{len(self) - 1}, got {index}")
            decoded.append(self.tokens[index])
        return decoded

    def unknown_share(self, ids: Sequence[int]) -> float:
        """Share of ids that are `<unk>`, 0..1; counts those that the corpus itself writes as `<unk>`."""
        if self.unk_id is None or len(ids) == 0:
            return 0.0
        return sum(index == self.unk_id for index in ids) / len(ids)

    @cached_property
    def sha256(self) -> str:
        """Hash of the tokens and their order, hexadecimal: equal for equal vocabularies on every machine."""
        return hashlib.sha256(json.dumps(self.tokens).encode()).hexdigest()

    def _unseen_message(self, tokens: Sequence[str]) -> str:
        unseen = dict.fromkeys(token for token in tokens if token not in self._ids)
        shown = ", ".join(repr(token) for token in islice(unseen, NUM_UNSEEN_SHOWN))
        more = f" and {len(unseen) - NUM_UNSEEN_SHOWN} more" if len(unseen) > NUM_UNSEEN_SHOWN else ""
        return (
            f"the vocabulary of {len(self)} tokens has no {shown}{more}, and no {UNK} to stand for them; "
            "leave them out of the text"
        )


def _is_encodable(token: str) -> bool:
    try:
        token.encode()
    except UnicodeEncodeError:
        return False
    return True
