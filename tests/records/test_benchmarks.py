"""The command line of the benchmarks: the list, dry runs of all benchmarks, and errors."""

import json
import re
import subprocess
import sys

import pytest
from benchmarks.command import main
from benchmarks.measuring.allocator import current
from benchmarks.measuring.record import MEASURED, ROOT
from benchmarks.registry import BENCHMARKS, GROUPS


def test_list_names_every_benchmark(capsys):
    assert main(["list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == [*GROUPS, *BENCHMARKS]


def test_list_does_not_wait_for_torch():
    program = "import sys; from benchmarks.command import main; main(['list']); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_code_that_a_benchmark_measures_exists(benchmark):
    for path in (*benchmark.measures, benchmark.source):
        assert (ROOT / path).exists(), path


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, b in BENCHMARKS.items() if n != "gpu-code" and "cpu" in b.devices])
def test_a_dry_run_goes_through_and_writes_nothing(name, tmp_path, capsys):
    if name == "int8":
        pytest.importorskip("torchao")
    before = {path: path.stat().st_mtime_ns for path in MEASURED.rglob("*")}
    assert main(["run", name, "--dry-run", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("dry run, nothing written\n")
    assert not list(tmp_path.iterdir())
    assert before == {path: path.stat().st_mtime_ns for path in MEASURED.rglob("*")}


@pytest.mark.slow
@pytest.mark.interpreter
def test_a_dry_run_for_a_gpu_goes_without_one(tmp_path):
    """All of `gpu-day` but networks and training, whose dry runs differ in nothing from those above."""
    pieces = [name for name in GROUPS["gpu-day"] if name not in ("networks", "training")]
    command = [sys.executable, "-m", "benchmarks", "run", *pieces, "--device", "cuda", "--dry-run"]
    done = subprocess.run([*command, "--out", tmp_path], cwd=ROOT, check=True, capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == pieces
    assert all(line.endswith("dry run, nothing written") for line in lines)
    assert not list(tmp_path.iterdir())


def test_a_run_resumes_after_the_last_record(tmp_path, capsys):
    words = ["run", "layer", "--budget", "0", "--out", str(tmp_path), "--resume"]
    assert main([*words, "--within", "-1"]) == 0
    assert capsys.readouterr().out == "layer: not started, 0 s do not fit\n"
    assert main(words) == 0
    assert "written: " in capsys.readouterr().out
    assert main(words) == 0
    assert capsys.readouterr().out == "layer: recorded before\n"


def test_a_run_writes_a_record(tmp_path):
    assert main(["run", "layer", "--budget", "0", "--out", str(tmp_path)]) == 0
    (path,) = tmp_path.rglob("*.json")
    record = json.loads(path.read_text())
    assert path.relative_to(tmp_path).as_posix() == f"speed/{current().folder}/layer.json"
    assert record["command"] == "python -m benchmarks run layer --budget 0 --out PATH"
    assert record["machine"]["allocator"].startswith("glibc")
    assert len(record["skipped"]) == 4 and not record["rows"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "weather"], "name: expected one of speed, gpu-day, operator, .*, got 'weather'"),
        (["run", "scaling", "--device", "cuda"], "--device: expected one of cpu for scaling, got 'cuda'"),
        (["run", "accuracy", "--dry-run", "--", "weather"], "recipe: expected the name of a file in configs"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(arguments, message, capsys):
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.match(message, error)


@pytest.mark.parametrize("arguments", [["walk"], [], ["run"], ["list", "--", "x"], ["run", "layer", "--device", "tpu"]])
def test_a_wrong_command_has_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_text_after_a_block_of_python_is_no_command_of_readme():
    from benchmarks.deployment.readme import commands

    page = "```\npip install a\n```\n\n```python\n>>> 1\n```\n\ntext\n\n```\nmake demo\ninvolution info\n```\n"
    assert commands(page) == ["pip install a", "involution info"]
