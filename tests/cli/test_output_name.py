"""The name of an output is judged before anything is computed for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vla_agent.cli.output_name import require_suffix
from vla_agent.errors import OptionError


@pytest.mark.parametrize("name", ["answer.jpg", "answer", "answer.png.txt"])
def test_another_ending_is_refused_with_a_name_that_fits(name: str) -> None:
    with pytest.raises(OptionError) as error:
        require_suffix(Path(name), ".png", "-o")
    assert error.value.key == "-o" and str(error.value.remedy).endswith(".png")


@pytest.mark.parametrize("file", [None, Path("answer.png"), Path("ANSWER.PNG")])
def test_the_right_ending_or_no_output_passes(file: Path | None) -> None:
    require_suffix(file, ".png", "-o")
