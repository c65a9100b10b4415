"""A user's mistake is one sentence that holds the words it must."""

from collections.abc import Callable

import pytest


def sentence(error: pytest.ExceptionInfo) -> str:
    """The text of a refusal, which is one line and can be read at a glance."""
    text = str(error.value)
    assert "\n" not in text and len(text) < 500, text
    return text


def refused(call: Callable[[], object], *words: str, kind=(ValueError, FileNotFoundError)) -> None:
    """`call` is refused, and the sentence holds all of `words`."""
    with pytest.raises(kind) as error:
        call()
    text = sentence(error)
    assert all(word in text for word in words), text
