import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn import metrics as sk

from lfvar.metrics.classification import (
    ClassPredictions,
    bootstrap_weights,
    mean_recalls,
    score_classes,
    weighted_auc,
    wilson_interval,
)

NAMES = ("akiec", "bcc", "mel", "nv")


def make_set(num=200, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    label_N = rng.choice(4, num, p=[0.1, 0.2, 0.3, 0.4])
    logits_NC = rng.normal(size=(num, 4)) + 1.2 * np.eye(4)[label_N]
    return (logits_NC.round() if ties else logits_NC), label_N


def softmax(logits_NC):
    p_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    return p_NC / p_NC.sum(axis=1, keepdims=True)


def test_equals_scikit_learn():
    logits_NC, label_N = make_set()
    scores = score_classes(logits_NC, label_N, NAMES, num_resamples=0)
    p_NC, predicted_N = softmax(logits_NC), logits_NC.argmax(axis=1)
    assert scores.accuracy == pytest.approx(sk.accuracy_score(label_N, predicted_N))
    assert scores.balanced_accuracy.value == pytest.approx(sk.balanced_accuracy_score(label_N, predicted_N))
    assert scores.macro_auc.value == pytest.approx(sk.roc_auc_score(label_N, p_NC, multi_class="ovr"))
    assert scores.loss == pytest.approx(sk.log_loss(label_N, p_NC))
    theirs = sk.recall_score(label_N, predicted_N, average=None)
    assert [recall.value for recall in scores.recall_C] == pytest.approx(list(theirs))
    assert scores.count_C == tuple(np.bincount(label_N))


def test_an_offset_of_an_image_changes_nothing():
    logits_NC, label_N = make_set()
    shifted_NC = logits_NC + np.linspace(-50, 50, len(label_N))[:, None]
    ours, theirs = (score_classes(x, label_N, NAMES, num_resamples=0) for x in (logits_NC, shifted_NC))
    assert theirs.macro_auc.value == pytest.approx(ours.macro_auc.value)


def test_wilson_equals_scipy():
    for hits, count in ((0, 5), (3, 8), (20, 20), (47, 316)):
        theirs = binomtest(hits, count).proportion_ci(method="wilson")
        ours = wilson_interval(hits / count, count)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert np.isnan(wilson_interval(0.0, 0).value)


def test_weights_are_repeated_images():
    logits_NC, label_N = make_set(40, ties=True)
    weight_RN = bootstrap_weights(label_N, np.arange(40) // 2, 3, seed=1)
    for weight_N in weight_RN:
        repeated = np.repeat(np.arange(40), weight_N.astype(int))
        correct_N = logits_NC.argmax(axis=1) == label_N
        (recall_C,) = mean_recalls(correct_N, label_N, 4, weight_N[None])
        theirs = sk.recall_score(label_N[repeated], logits_NC[repeated].argmax(axis=1), average=None)
        assert recall_C == pytest.approx(theirs)
        (auc,) = weighted_auc(logits_NC[:, 1], label_N == 1, weight_N[None])
        assert auc == pytest.approx(sk.roc_auc_score(label_N[repeated] == 1, logits_NC[repeated, 1]))


def test_resamples_keep_types_and_lesions_whole():
    label_N = np.array([0, 0, 0, 0, 1, 1, 1])
    lesion_N = np.array([5, 5, 6, 6, 7, 8, 8])
    weight_RN = bootstrap_weights(label_N, lesion_N, 200, seed=0)
    assert (weight_RN[:, 0] == weight_RN[:, 1]).all()
    assert (weight_RN[:, 5] == weight_RN[:, 6]).all()
    assert (weight_RN[:, [0, 2]].sum(axis=1) == 2).all()  # two lesions of type 0 are drawn
    assert (weight_RN[:, [4, 5]].sum(axis=1) == 2).all()
    assert len(np.unique(weight_RN[:, 0])) == 3


def test_intervals_cover_the_truth():
    """95 % of the intervals of many test sets hold the value of the population, give or take."""
    true = score_classes(*make_set(20000, seed=99), NAMES, num_resamples=0)
    hits = {"accuracy": 0, "auc": 0}
    for seed in range(100):
        scores = score_classes(*make_set(150, seed=seed), NAMES, num_resamples=200)
        hits["accuracy"] += scores.balanced_accuracy.low < true.balanced_accuracy.value < scores.balanced_accuracy.high
        hits["auc"] += scores.macro_auc.low < true.macro_auc.value < scores.macro_auc.high
    assert all(85 <= count <= 100 for count in hits.values()), hits


def test_copies_of_lesions_make_no_interval_narrower():
    logits_NC, label_N = make_set(60)
    lesion_N = np.arange(60)
    once = score_classes(logits_NC, label_N, NAMES, lesion_N=lesion_N.tolist())
    copies = (np.repeat(values, 5, axis=0) for values in (logits_NC, label_N))
    five = score_classes(*copies, NAMES, lesion_N=np.repeat(lesion_N, 5).tolist())
    assert five.balanced_accuracy.value == pytest.approx(once.balanced_accuracy.value)
    assert five.balanced_accuracy.low == pytest.approx(once.balanced_accuracy.low, abs=0.03)
    assert five.recall_C == pytest.approx(once.recall_C)


def test_a_missing_type_is_left_out():
    logits_NC, label_N = make_set()
    kept = label_N != 2
    scores = score_classes(logits_NC[kept], label_N[kept], NAMES, num_resamples=50)
    assert scores.missing == ("mel",)
    assert np.isnan(scores.recall_C[2].value)
    rest = [recall.value for recall in scores.recall_C if not np.isnan(recall.value)]
    assert scores.balanced_accuracy.value == pytest.approx(np.mean(rest))
    assert scores.balanced_accuracy.low < scores.balanced_accuracy.value < scores.balanced_accuracy.high
    named = scores.to_dict()
    assert "recall_mel" not in named
    assert all(np.isfinite(value) for value in named.values())
    assert str(scores.recall_C[2]) == "none"


def test_one_image_and_none():
    one = score_classes(np.eye(4)[:1], np.array([0]), NAMES)
    assert one.balanced_accuracy.value == 1
    assert np.isnan(one.macro_auc.value)  # there is nothing to compare with
    none = score_classes(np.zeros((0, 4)), np.zeros(0, int), NAMES)
    assert none.missing == NAMES
    assert none.to_dict() == {}


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.zeros((3, 2)), [0, 1, 0], "do not fit"),
        (np.zeros((2, 4)), [0, 4], "labels reach"),
        (np.full((1, 4), np.nan), [0], "diverged"),
    ],
)
def test_what_does_not_fit_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        score_classes(logits, np.array(labels), NAMES)


def test_predictions_come_back_in_the_order_of_the_split():
    kept = ClassPredictions()
    kept.update(torch.tensor([[3.0], [1.0]]), torch.tensor([3, 1]), torch.tensor([3, 1]))
    kept.update(torch.tensor([[0.0]]), torch.tensor([0]), torch.tensor([0]))
    logits_NC, label_N, place_N = kept.compute()
    assert place_N.tolist() == label_N.tolist() == [0, 1, 3]
    assert logits_NC[:, 0].tolist() == [0, 1, 3]
