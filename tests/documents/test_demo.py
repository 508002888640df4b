import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / "demo/digits.py"


@pytest.fixture
def demo():
    spec = importlib.util.spec_from_file_location("demo_digits", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.demo


@pytest.mark.slow
def test_everything_is_made(demo, tmp_path, monkeypatch, capsys, one_thread):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")
    assert demo("--trainer.max_epochs=1", "--trainer.limit_train_batches=1", "--data.size=8") == 0
    folder = tmp_path / "runs/demo/version_0"
    made = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    assert made >= {"kernels.png", "sample.png", "checkpoints/best.ckpt", "metrics.csv"}
    out = capsys.readouterr().out
    assert "\nepoch 1/1  train/loss " in f"\n{out}"
    assert len(out.splitlines()) < 30
    assert "held-out accuracy" in out
    assert "runs/demo/version_0/sample.png" in out[: out.index("try next:")].splitlines()[-2]
