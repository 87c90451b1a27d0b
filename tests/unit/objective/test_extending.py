"""The loss of docs/extending.md, as it stands there, on numbers worked by hand."""

import re
import sys
import types
from pathlib import Path

import pytest
from tests.unit.objective.test_worked_arithmetic import two_rollouts

DOC = Path(__file__).parents[3] / "docs" / "extending.md"


@pytest.fixture
def rloo(monkeypatch: pytest.MonkeyPatch) -> type:
    text = DOC.read_text(encoding="utf-8").partition("# A loss of your own\n")[2].partition("\n# ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    module = types.ModuleType("example_loss_of_the_docs")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code, module.__dict__)
    return module.Rloo  # type: ignore[no-any-return]


def test_the_loss_of_the_docs_by_hand(rloo: type) -> None:
    scored = two_rollouts()
    scored.policy_logps.requires_grad_()
    # A = 1 - 0 and 0 - 1; log pi = -1 - 1 and -2: -1/2 (1 * -2 + -1 * -2) = 0
    loss = rloo()(scored).loss
    assert loss.tolist() == [0.0]
    loss.sum().backward()
    # -A / 2 at the tokens that count, nothing at padding
    assert scored.policy_logps.grad is not None
    assert scored.policy_logps.grad.tolist() == [[[-0.5, -0.5], [0.5, 0.0]]]
