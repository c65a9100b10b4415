"""A hundred wrong inputs over every command; `make fuzz` tries a thousand, of any seed."""

import pytest
from fuzz import failures, make_samples


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return make_samples(tmp_path_factory.mktemp("samples"))


def test_a_hundred_wrong_inputs_are_refused_in_one_sentence_each(samples):
    assert not failures(seed=0, numbers=range(100), samples=samples)
