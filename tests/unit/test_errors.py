from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from retune.errors import ConflictError, DataError, Problem, RetuneError, SpecError, StateError

PROBLEMS = st.builds(Problem, st.text(min_size=1), st.text(), st.text(), st.none() | st.integers(min_value=1))


def test_an_error_says_what_where_and_what_to_do() -> None:
    error = SpecError([Problem("a is bad", "mend a", "f.yaml", 3), Problem("b is bad", file="f.yaml")])
    assert str(error) == "f.yaml:3: a is bad -> mend a\nf.yaml: b is bad"
    assert str(DataError("no rows", "add some")) == "no rows -> add some"


@given(st.lists(PROBLEMS, min_size=1, max_size=4))
def test_errors_cross_processes_whole(problems: list[Problem]) -> None:
    error = pickle.loads(pickle.dumps(ConflictError(problems)))
    assert type(error) is ConflictError
    assert isinstance(error, StateError) and isinstance(error, RetuneError)
    assert error.problems == problems
