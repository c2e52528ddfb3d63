"""Zero-shot classification against scikit-learn and cases computed by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from supclap.errors import InputError
from supclap.evaluation import TEMPLATES, class_embeddings, zero_shot
from supclap.evaluation.zero_shot import prompts


def test_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    audio, classes = rng.normal(size=(300, 6)), rng.normal(size=(7, 6))
    truth = rng.integers(0, 7, 300)
    result = zero_shot(audio, truth, classes, list("abcdefg"))
    predicted = (audio @ classes.T).argmax(1)
    assert (result.predictions == predicted).all()
    assert (result.confusion == confusion_matrix(truth, predicted)).all()
    assert result.metrics["zero_shot.accuracy"] == pytest.approx(
        100 * accuracy_score(truth, predicted)
    )
    assert result.metrics["zero_shot.class_accuracy"] == pytest.approx(
        100 * balanced_accuracy_score(truth, predicted)
    )
    recall = [np.mean(predicted[truth == c] == c) * 100 for c in range(7)]
    assert result.per_class == pytest.approx(recall)


def test_by_hand() -> None:
    classes = np.eye(3)
    audio = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.6, 0.5, 0.0]])
    result = zero_shot(audio, [0, 1, 1], classes, ["dog", "rain", "bell"])
    assert result.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert result.metrics["zero_shot.accuracy"] == pytest.approx(200 / 3)
    assert result.metrics["zero_shot.class_accuracy"] == 75  # "bell" has no clips and counts not
    assert result.per_class[:2].tolist() == [100, 50]
    assert np.isnan(result.per_class[2])


def test_a_collapsed_model_gets_nothing_right() -> None:
    vector = np.full((1, 96), 96**-0.5)
    result = zero_shot(vector.repeat(9, 0), np.arange(9) % 3, vector.repeat(3, 0), ["a", "b", "c"])
    assert result.metrics["zero_shot.accuracy"] == 0
    assert result.predictions.tolist() == [1, 0, 0] * 3


def test_the_papers_prompt_and_readable_labels() -> None:
    assert prompts("dog_bark") == ["This is a sound of dog bark"]
    assert TEMPLATES == ("This is a sound of {label}",)


def test_templates_are_averaged_on_the_sphere() -> None:
    angles = {"a x": 0.0, "b x": 0.4, "a y": 1.0, "b y": 2.0}

    def encode(texts: Sequence[str]) -> np.ndarray:
        return np.array([[np.cos(angles[t]), np.sin(angles[t])] for t in texts])

    found = class_embeddings(encode, ["x", "y"], ["a {label}", "b {label}"])
    # The mean of two unit vectors points halfway between them.
    halfway = np.array([0.2, 1.5])
    assert found == pytest.approx(np.stack([np.cos(halfway), np.sin(halfway)], axis=1))


@pytest.mark.parametrize(
    ("templates", "message"),
    [(["a sound"], "has no {label}"), ([], "at least one")],
)
def test_unusable_templates(templates: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        prompts("dog", templates)


@pytest.mark.parametrize(
    ("audio", "truth", "classes", "labels", "message"),
    [
        (np.full((2, 2), np.nan), [0, 1], np.eye(2), ["a", "b"], "2 of 2 audio"),
        (np.eye(2), [0, 1], np.diag([1, np.inf]), ["a", "b"], "1 of 2 class"),
        (np.eye(2), [0, 2], np.eye(2), ["a", "b"], r"0 \.\.\. 1"),
        (np.eye(2), [0], np.eye(2), ["a", "b"], "do not fit"),
        (np.eye(2), [0, 1], np.eye(2), ["a", "a"], "different labels"),
        (np.eye(2)[:, :1], [0, 0], np.ones((1, 1)), ["a"], "at least two classes"),
        (np.zeros((0, 2)), [], np.eye(2), ["a", "b"], "M > 0"),
    ],
)
def test_unusable_input_is_one_line(
    audio: np.ndarray, truth: list[int], classes: np.ndarray, labels: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        zero_shot(audio, truth, classes, labels)
    assert "\n" not in str(caught.value)
