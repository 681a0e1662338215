"""Accuracy and confusion: counted as a loop counts them."""

import numpy as np
import pytest
import torch

from edgefilter.profiles import Confusion
from edgefilter.profiles.confusion import distinct, predictions

NAMES = ("cat", "dog", "owl")


@pytest.fixture
def pairs(generator):
    """Labels and predictions of photos; no photo is an owl, some are taken for one."""
    labels = torch.randint(2, (50,), generator=generator)
    return labels.tolist(), torch.randint(3, (50,), generator=generator).tolist()


@pytest.fixture
def confusion(pairs):
    counts = torch.zeros(3, 3, dtype=torch.long)
    for label, predicted in zip(*pairs, strict=True):
        counts[label, predicted] += 1
    return Confusion(counts, NAMES)


def test_accuracy_is_the_share_of_photos_that_are_right(confusion, pairs):
    labels, predicted = map(np.array, pairs)
    assert confusion.photos == 50
    assert confusion.accuracy == (labels == predicted).mean()
    for place, name in enumerate(NAMES[:2]):
        mine = labels == place
        assert confusion.by_class()[name] == (mine.sum(), (predicted[mine] == place).mean())
    assert set(confusion.by_class()) == {"cat", "dog"}


def test_largest_confusions_are_those_of_a_sorted_list(confusion, pairs):
    wrong = [(NAMES[a], NAMES[b]) for a, b in zip(*pairs, strict=True) if a != b]
    wanted = sorted(((*pair, wrong.count(pair)) for pair in set(wrong)), key=lambda item: -item[2])
    found = confusion.largest(100)
    assert [item.photos for item in found] == [item[2] for item in wanted]
    assert set(found) == set(wanted)
    assert confusion.largest(1) == found[:1]


def test_table_has_rows_of_classes_with_photos_and_columns_of_predicted_ones(confusion):
    table = confusion.to_dataframe()
    assert table["label"].tolist() == ["cat", "dog"]
    assert list(table.columns[3:]) == ["predicted cat", "predicted dog", "predicted owl"]
    assert table.iloc[:, 3:].to_numpy().tolist() == confusion.counts[:2].tolist()
    assert table["photos"].tolist() == confusion.counts[:2].sum(1).tolist()


def test_json_has_the_same_by_name(confusion):
    found = confusion.to_dict()
    assert found["accuracy"] == confusion.accuracy
    assert found["confusion"]["dog"]["owl"] == int(confusion.counts[1, 2])
    assert Confusion(torch.zeros(2, 2, dtype=torch.long), ("a", "b")).to_dict()["accuracy"] is None


def test_names_that_come_twice_stay_apart():
    """ImageNet has two cranes."""
    assert distinct(("crane", "owl", "crane")) == ("crane (0)", "owl", "crane (2)")


def test_one_output_predicts_by_its_sign():
    output = torch.tensor([[-3.0], [0.5], [0.0]])
    assert predictions(output).tolist() == [0, 1, 0]
    assert predictions(torch.cat([torch.zeros(3, 1), output], 1)).tolist() == [0, 1, 0]
