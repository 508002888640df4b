"""Configurations, checkpoints and names that somebody else made."""

import os

import pytest
import torch
from test_mistakes import complains


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("trainer: " + "[" * 3000 + "]" * 3000, r"--config: expected a YAML file, got .*\(nested too deeply\)"),
        ("a: &a [x]\nb: [" + "*a," * 30 + "]", r"--config: expected a YAML file, got .*\(more than 20 aliases\)"),
        ("x" * 2**20 + "x", r"--config: expected at most 1024 KiB, got .*evil.yaml of 1024 KiB"),
        ("model: !!python/object/apply:os.mkdir [run]", "--config: expected a YAML file, got .*python/object"),
        (
            "model: {init_args: {optimizer: {class_path: os.mkdir, init_args: {path: run}}}}",
            "class_path: expected the name of a class, got 'os.mkdir'",
        ),
        ("model: {class_path: os.mkdir, init_args: {path: run}}", "os.mkdir does not correspond to a subclass of Task"),
        ("seed_everything: -5", "seed: expected 0 to 4294967295, got -5"),
        ("trainer: null", "trainer: expected arguments by name, got None"),
    ],
    ids=str,
)
def test_configurations_of_an_enemy(run, recipe, tmp_path, content, message):
    (tmp_path / "evil.yaml").write_text(content)
    assert complains(run("fit", *recipe(), "--config", tmp_path / "evil.yaml"), message)
    assert not (tmp_path / "run").exists()


def test_a_rate_that_the_optimizer_refuses(run, recipe):
    assert complains(run("fit", *recipe(model__optimizer__lr=".nan")), "optimizer: .* got Invalid learning rate: nan")


@pytest.mark.parametrize(
    ("name", "value"),
    [("loops", {}), ("callbacks", 5), ("optimizer_states", [5]), ("lr_schedulers", None)],
    ids=str,
)
def test_a_checkpoint_that_no_run_can_resume(run, recipe, checkpoint, tmp_path, name, value):
    path = tmp_path / "broken.ckpt"
    torch.save(torch.load(checkpoint, weights_only=True) | {name: value}, path)
    message = f"checkpoint: expected the state of a run to resume, got .*broken.ckpt without {name}"
    assert complains(run("fit", *recipe(), "--ckpt_path", path), message)


def test_a_message_is_short_and_cannot_command_the_terminal(run, tmp_path):
    outcome = run("predict", "a.png", "--checkpoint", "\x1b[2J\n" + "x" * 9000)
    assert complains(outcome, r"\\x1b.2J.*x … x+: File name too long")
    assert len(outcome.err) < 2100


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        (("fit", "digits", "--model", "pipe"), "--model"),
        (("fit", "digits", "--trainer=pipe"), "--trainer"),
        (("fit", "--config", "pipe"), "--config"),
        (("fit", "pipe.yaml"), "--config"),
        (("fit", "digits", "--checkpoint", "pipe"), "--ckpt_path"),
        (("fit", "--config", "model.yaml"), "model"),
        (("predict", "a.png", "--checkpoint", "pipe"), "checkpoint"),
        (("predict", "pipe"), "image"),
        (("explain", "pipe", "--out", "a.png"), "image"),
        (("convert", "pipe", "a.safetensors"), "source"),
        (("export", "pipe", "--format", "onnx", "--out", "a.onnx"), "checkpoint"),
    ],
    ids=str,
)
def test_a_pipe_is_not_waited_for(run, tmp_path, arguments, argument):
    for name in ("pipe", "pipe.yaml"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "model.yaml").write_text("model: pipe")
    assert complains(run(*arguments), f"{argument}: expected a regular file, got pipe.*, which is a named pipe")


def test_a_typed_value_that_does_not_end(run):
    laughs = ["a0: &a0 [x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10))]
    outcome = run("fit", "digits", "--model.options", "\n".join(laughs))
    assert complains(outcome, "--model.options: expected values that end, got YAML with more than 20 aliases")
