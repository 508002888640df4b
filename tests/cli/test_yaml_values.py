import pytest
import yaml

from involution.cli.yaml_values import load_yaml


def test_aliases_repeat_a_part():
    assert load_yaml("{a: &a [1, 2], b: *a}") == {"a": [1, 2], "b": [1, 2]}


def laughs(levels, start, more):
    return "\n".join([start, *(more.format(i, ", ".join([f"*a{i - 1}"] * 10)) for i in range(1, levels))])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (laughs(10, "a0: &a0 [x]", "a{0}: &a{0} [{1}]"), "more than 20 aliases"),
        (laughs(10, "a0: &a0 {x: 1}", "a{0}: &a{0} {{<<: [{1}]}}"), "more than 20 aliases"),
        ("a: &a [*a]", "too many or too large values"),
        ("9" * 4000, "too many or too large values"),
        ("9" * 5000, "limit"),
        ("[" * 3000 + "]" * 3000, "nested too deeply"),
        ("2020-99-99", "month must be in 1..12"),
        ("!!python/name:os.system ''", "could not determine a constructor"),
        ("[", "while parsing"),
    ],
)
def test_what_cannot_be_walked_or_is_code(text, message):
    with pytest.raises(yaml.YAMLError, match=message):
        load_yaml(text)
