"""Hyper-layers against assembled torch layers, gates against scikit-learn, steps against finite differences."""

import inspect
import math
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge as SklearnRidge
from torch import nn
from torch.nn import functional

from regularity.foundations.hypergradients import conjugate_gradients, implicit_hypergradient
from regularity.tuning.self_tuning_networks import (
    GatedNetwork,
    History,
    HyperCNN,
    HyperConv2d,
    HyperLinear,
    HyperLSTM,
    HyperLSTMCell,
    HyperMLP,
    Hyperparameter,
    Losses,
    Ridge,
    Split,
    affine_best_response,
    augment,
    classification_losses,
    constrain,
    dropout,
    evaluate,
    experiment,
    gated_best_response,
    gaussian_entropy,
    minibatches,
    perturb,
    starting_point,
    successive_halving,
    train_fixed,
    train_self_tuning,
    training_step,
    tree_parzen_search,
    validation_step,
)
from tests.draws import seeded


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=seeded(seed), dtype=dtype)


def large_scalars(network, seed=1):
    """Make the responses as large as the weights: at the initial 0.01 a wrong one would hide."""
    for name, weights in network.named_parameters():
        if name.endswith(("scalars", "scale")):
            weights.data = normal(*weights.shape, seed=seed, dtype=weights.dtype)
    return network.double()


def assembled(layer, run, unconstrained):
    """Weight and bias of one run at one λ, entry by entry from the definition."""
    n_out = layer.scalars.shape[1] // 2
    weight, bias = layer.weight[run], layer.bias[run]
    if not layer.n_hyperparameters:
        return weight, bias
    scales = torch.stack(
        [sum(v * k for v, k in zip(row, unconstrained, strict=True)) for row in layer.scalars[run]]
    )
    scale = 1.0 if layer.scale is None else layer.scale[run, 0]
    whole = [scale * weight[i] + scales[i] * weight[n_out + i] for i in range(n_out)]
    shifts = [scale * bias[i] + scales[n_out + i] * bias[n_out + i] for i in range(n_out)]
    return torch.stack(whole), torch.stack(shifts)


# --- Hyperparameters ---------------------------------------------------------------------------------------------

RATE = Hyperparameter("dropout 0", 0.0, 0.9, 0.05)
DECAY = Hyperparameter("decay", 1e-6, 0.1, 1e-4, logarithmic=True)
SHIFT = Hyperparameter("shift", 0, 3, 1, discrete=True)


@pytest.mark.parametrize(
    ("each", "values"), [(RATE, (0.01, 0.3, 0.89)), (DECAY, (2e-6, 1e-3, 0.09)), (SHIFT, (0, 1, 2, 3))]
)
def test_values_survive_the_way_to_free_numbers_and_back(each, values):
    free = [each.unconstrain(value) for value in values]
    assert free == sorted(free)
    np.testing.assert_allclose(each.constrain(torch.tensor(free, dtype=torch.float64)), values, rtol=1e-12)


def test_bounds_are_reached_and_never_passed():
    for each in (RATE, DECAY, SHIFT):
        ends = each.constrain(torch.tensor([-200.0, 200.0]).double())
        np.testing.assert_allclose(ends, [each.low, each.high], rtol=1e-12, atol=1e-80)


def test_half_of_a_logarithmic_scale_is_the_geometric_mean():
    assert DECAY.constrain(torch.zeros(1).double()).item() == pytest.approx(math.sqrt(1e-6 * 0.1))


def test_an_integer_takes_equal_shares_of_the_sigmoid():
    shares = torch.linspace(1e-3, 1 - 1e-3, 4000).double()
    values, counts = SHIFT.constrain(torch.logit(shares)).unique(return_counts=True)
    assert values.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(counts / 4000, 0.25, atol=0.002)


def test_values_by_name_and_starts():
    start = starting_point((RATE, DECAY, SHIFT), 2)
    values = constrain((RATE, DECAY, SHIFT), start)
    assert list(values) == ["dropout 0", "decay", "shift"]
    np.testing.assert_allclose(torch.stack(list(values.values()), 1), [[0.05, 1e-4, 1]] * 2, rtol=1e-5)


# --- Layers ------------------------------------------------------------------------------------------------------


def test_a_linear_layer_is_the_assembled_one_of_each_example():
    layer = large_scalars(HyperLinear(4, 3, 2, n_runs=2, generator=seeded()))
    inputs, unconstrained = normal(2, 5, 4), normal(2, 5, 2, seed=2)
    outputs = layer(inputs, unconstrained)
    for run in range(2):
        for i in range(5):
            expected = functional.linear(inputs[run, i], *assembled(layer, run, unconstrained[run, i]))
            torch.testing.assert_close(outputs[run, i], expected)
    assert (outputs - layer(inputs, torch.zeros_like(unconstrained))).abs().max() > 0.1


def test_at_zero_a_layer_is_its_elementary_part():
    layer = large_scalars(HyperLinear(4, 3, 2, generator=seeded(), scaled=False))
    plain = nn.Linear(4, 3).double()
    plain.weight.data, plain.bias.data = layer.weight.data[0, :3], layer.bias.data[0, :3]
    inputs = normal(1, 6, 4)
    torch.testing.assert_close(layer(inputs, torch.zeros(1, 6, 2).double())[0], plain(inputs[0]))


def test_a_convolution_is_the_assembled_one_of_each_image():
    layer = large_scalars(HyperConv2d(2, 3, 3, 2, n_runs=2, generator=seeded()))
    images, unconstrained = normal(2, 4, 2, 5, 6), normal(2, 4, 2, seed=2)
    outputs = layer(images, unconstrained)
    for run in range(2):
        for i in range(4):
            weight, bias = assembled(layer, run, unconstrained[run, i])
            expected = functional.conv2d(images[run, i], weight, bias, padding=1)
            torch.testing.assert_close(outputs[run, i], expected)


def test_a_recurrent_cell_is_torchs_with_assembled_weights():
    cell = large_scalars(HyperLSTMCell(3, 4, 2, n_runs=2, generator=seeded()))
    inputs, unconstrained = normal(2, 5, 3), normal(2, 5, 2, seed=2)
    state = normal(2, 5, 4, seed=3), normal(2, 5, 4, seed=4)
    hidden, memory = cell(cell.from_input(inputs, unconstrained), state, unconstrained)
    plain = nn.LSTMCell(3, 4).double()
    for run in range(2):
        for i in range(5):
            here = unconstrained[run, i]
            plain.weight_ih.data, plain.bias_ih.data = assembled(cell.from_input, run, here)
            plain.weight_hh.data, plain.bias_hh.data = assembled(cell.from_hidden, run, here)
            expected = plain(inputs[run, i][None], (state[0][run, i][None], state[1][run, i][None]))
            torch.testing.assert_close(hidden[run, i], expected[0][0])
            torch.testing.assert_close(memory[run, i], expected[1][0])


@pytest.mark.parametrize(
    "layer",
    [
        HyperLinear(4, 3, 2, n_runs=2, generator=seeded()),
        HyperConv2d(2, 3, 3, 2, n_runs=2, generator=seeded()),
        HyperLinear(4, 3, 0, n_runs=2, generator=seeded()),
    ],
    ids=["linear", "convolution", "plain"],
)
def test_squared_norms_are_those_of_the_assembled_weights(layer):
    layer = large_scalars(layer)
    unconstrained = normal(2, 5, layer.n_hyperparameters, seed=2)
    norms = layer.squared_norm(unconstrained)
    for run in range(2):
        for i in range(5):
            weight, _ = assembled(layer, run, unconstrained[run, i])
            torch.testing.assert_close(norms[run, i], weight.square().sum())


def test_initial_weights_fill_their_range_and_scalars_are_small():
    layer = HyperLinear(25, 200, 4, generator=seeded())
    assert layer.weight.shape == (1, 400, 25)
    assert 0.198 < layer.weight.abs().max() <= 0.2
    assert layer.scalars.std().item() == pytest.approx(0.01, rel=0.1)


# --- Networks and their regularisers ------------------------------------------------------------------------------


def test_a_plain_perceptron_is_torchs():
    network = HyperMLP((6, 5, 4, 3), 0, n_runs=2, generator=seeded()).double()
    inputs = normal(2, 7, 2, 3)
    outputs = network(inputs, torch.zeros(2, 7, 0).double())
    for run in range(2):
        features = inputs[run].flatten(1)
        for i, layer in enumerate(network.layers):
            features = functional.linear(
                features.relu() if i else features, layer.weight[run], layer.bias[run]
            )
        torch.testing.assert_close(outputs[run], features)


def test_a_plain_convolutional_network_is_torchs():
    network = HyperCNN(8, (2, 3), 4, 0, n_runs=2, generator=seeded()).double()
    images = normal(2, 5, 8, 8)
    outputs = network(images, torch.zeros(2, 5, 0).double())
    for run in range(2):
        features = images[run][:, None]
        for layer in network.convolutions:
            features = functional.conv2d(features, layer.weight[run], layer.bias[run], padding=1)
            features = functional.max_pool2d(features.relu(), 2)
        expected = functional.linear(features.flatten(1), network.head.weight[run], network.head.bias[run])
        torch.testing.assert_close(outputs[run], expected)


def test_a_plain_recurrent_network_is_torchs():
    network = HyperLSTM(7, 4, 0, n_runs=1, generator=seeded()).double()
    symbols = torch.randint(7, (1, 3, 6), generator=seeded())
    outputs = network(symbols, torch.zeros(1, 3, 0).double())
    plain = nn.LSTM(7, 4, batch_first=True).double()
    cell = network.cell
    plain.weight_ih_l0.data, plain.bias_ih_l0.data = (
        cell.from_input.weight.data[0],
        cell.from_input.bias.data[0],
    )
    plain.weight_hh_l0.data, plain.bias_hh_l0.data = (
        cell.from_hidden.weight.data[0],
        cell.from_hidden.bias.data[0],
    )
    hidden, _ = plain(functional.one_hot(symbols[0], 7).double())
    expected = functional.linear(hidden, network.head.weight[0], network.head.bias[0])
    torch.testing.assert_close(outputs[0], expected)


def test_a_scale_of_the_elementary_part_starts_at_one_and_is_trained():
    """In the authors' code the layers for images have one, those of the recurrent cell have none."""
    layer = HyperLinear(4, 3, 2, n_runs=2, generator=seeded())
    assert layer.scale.tolist() == [[1.0], [1.0]]
    layer(torch.ones(2, 5, 4), torch.zeros(2, 5, 2)).sum().backward()
    assert (layer.scale.grad != 0).all()
    assert HyperConv2d(1, 2, 3, 2).scale is not None
    assert HyperLinear(4, 3, 0).scale is None
    assert all(not name.endswith("scale") for name, _ in HyperLSTM(5, 4, 2).named_parameters())


def test_symbols_are_looked_up_as_one_hot_inputs_are_multiplied():
    layer = large_scalars(HyperLinear(7, 3, 2, n_runs=2, generator=seeded()))
    symbols, unconstrained = torch.randint(7, (2, 5, 4), generator=seeded()), normal(2, 5, 2)
    one_hot = functional.one_hot(symbols, 7).double()
    torch.testing.assert_close(layer.embed(symbols, unconstrained), layer(one_hot, unconstrained))


def test_networks_add_up_all_their_norms():
    network = large_scalars(HyperLSTM(7, 4, 2, generator=seeded()))
    unconstrained = normal(1, 3, 2)
    layers = (network.cell.from_input, network.cell.from_hidden, network.head)
    expected = sum(assembled(layer, 0, unconstrained[0, 1])[0].square().sum() for layer in layers)
    torch.testing.assert_close(network.squared_norm(unconstrained)[0, 1], expected)


def test_dropout_has_each_examples_rate_and_keeps_the_mean():
    rates = torch.tensor([[0.0, 0.25, 0.8]])
    dropped = dropout(torch.ones(1, 3, 40_000), rates, seeded())
    np.testing.assert_allclose((dropped == 0).float().mean(dim=-1), rates, atol=0.01)
    np.testing.assert_allclose(dropped.mean(dim=-1), 1, atol=0.04)
    assert dropped[0, 1].unique().tolist() == pytest.approx([0.0, 1 / 0.75])


def test_shared_axes_are_dropped_together():
    dropped = dropout(torch.ones(1, 2, 50, 6, 6), torch.full((1, 2), 0.5), seeded(), shared=(3, 4))
    assert set(dropped.flatten(3).sum(dim=-1).unique().tolist()) == {0.0, 72.0}


def test_all_places_of_a_sequence_share_their_mask():
    """An output that adds the units up tells where all of them were dropped: at all places or at none."""
    network = HyperLSTM(5, 3, 1, generator=seeded())
    network.head.weight.data[:, :5] = 1.0
    symbols, values = torch.ones(1, 40, 4, dtype=torch.long), {"dropout 1": torch.full((1, 40), 0.5)}
    outputs = network(symbols, torch.zeros(1, 40, 1), values, seeded())[..., 0]
    silent = (outputs - network.head.bias.data[0, 0]).abs() < 1e-6
    assert silent.any()
    assert not silent.all()
    assert torch.equal(silent.any(dim=-1), silent.all(dim=-1))


def test_between_convolutions_whole_channels_are_dropped():
    network = HyperCNN(8, (3, 2), 4, 1, generator=seeded())
    network.convolutions[0].bias.data.fill_(2.0)  # so that no pixel of a channel is zero by itself
    seen = []
    network.convolutions[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    values = {"dropout 1": torch.full((1, 40), 0.5)}
    network(torch.rand(1, 40, 8, 8, generator=seeded()), torch.zeros(1, 40, 1), values, seeded())
    dropped = (seen[0] == 0).flatten(3)
    assert dropped.any()
    assert torch.equal(dropped.any(dim=-1), dropped.all(dim=-1))


def test_networks_drop_what_the_values_name():
    network = HyperMLP((50, 40, 2), 1, generator=seeded())
    inputs, unconstrained = torch.ones(1, 1, 50), torch.zeros(1, 1, 1)
    whole = network(inputs, unconstrained)
    assert torch.equal(network(inputs, unconstrained, {"decay": torch.ones(1, 1)}, seeded()), whole)
    for name in ("dropout 0", "dropout 1"):
        values = {name: torch.full((1, 1), 0.5)}
        assert not torch.allclose(network(inputs, unconstrained, values, seeded()), whole)
    for network, inputs in (
        (HyperCNN(8, (2, 3), 4, 1, generator=seeded()), torch.ones(1, 1, 8, 8)),
        (HyperLSTM(5, 4, 1, generator=seeded()), torch.ones(1, 1, 6, dtype=torch.long)),
    ):
        values = {"dropout 1": torch.full((1, 1), 0.5)}
        changed = network(inputs, unconstrained, values, seeded())
        assert not torch.allclose(changed, network(inputs, unconstrained))


def test_shifts_move_images_by_all_integers_up_to_the_largest():
    images = torch.zeros(1, 2000, 7, 7)
    images[..., 3, 3] = 1
    largest = torch.tensor([0.0, 2.0]).repeat(1000)[None]
    moved = augment(images, {"shift": largest}, seeded())
    places = moved.flatten(2).argmax(dim=-1)[0]
    torch.testing.assert_close(moved.sum(dim=(2, 3)), torch.ones(1, 2000))
    assert set(places[::2].tolist()) == {24}
    found = {(place // 7 - 3, place % 7 - 3) for place in places[1::2].tolist()}
    assert found == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}


def test_what_is_shifted_out_is_gone():
    images = torch.ones(1, 500, 4, 4)
    moved = augment(images, {"shift": torch.full((1, 500), 2.0)}, seeded())
    left = {round(total) for total in moved.sum(dim=(2, 3))[0].tolist()}
    assert left == {(4 - i) * (4 - j) for i in range(3) for j in range(3)}


def test_noise_has_each_examples_width():
    widths = torch.tensor([[0.1, 0.7]])
    noisy = augment(torch.zeros(1, 2, 150, 150), {"noise": widths}, seeded())
    np.testing.assert_allclose(noisy.std(dim=(2, 3)), widths, rtol=0.03)


@pytest.mark.parametrize(
    "change",
    [
        lambda images, generator: dropout(images, torch.full((1, 3), 0.5), generator),
        lambda images, generator: augment(images, {"noise": torch.ones(1, 3)}, generator),
        lambda images, generator: augment(images, {"shift": torch.full((1, 3), 3.0)}, generator),
    ],
    ids=["dropout", "noise", "shift"],
)
def test_each_call_draws_anew_and_for_each_example(change):
    images, generator = torch.rand(1, 1, 8, 8, generator=seeded(1)).expand(1, 3, 8, 8), seeded()
    first, second = change(images, generator), change(images, generator)
    assert (first != second).any()
    assert (first[0, 0] != first[0, 1]).any()
    assert torch.equal(change(images, seeded()), first)


# --- Losses and steps ---------------------------------------------------------------------------------------------


def test_an_epoch_of_batches_is_a_permutation():
    batches = minibatches(12, 5, 2, seeded())
    for _ in range(3):
        seen = torch.cat([next(batches), next(batches)], dim=1)
        assert seen.shape == (2, 10)
        assert all(len(set(run.tolist())) == 10 for run in seen)


def test_each_epoch_has_an_order_of_its_own():
    batches = minibatches(12, 12, 2, seeded())
    first, second = next(batches), next(batches)
    assert (first != second).any(dim=1).all()
    assert not torch.equal(first[0], first[1])


def examples(seed):
    """Inputs and labels of two runs; another seed gives other ones."""
    inputs = torch.randn(2, 20, 6, generator=seeded(seed))
    return inputs, torch.randint(3, (2, 20), generator=seeded(seed + 1))


DATA, VALIDATION, TEST = examples(0), examples(10), examples(20)
SPLIT = Split(DATA, VALIDATION, TEST)


def test_losses_are_those_of_torch_and_the_decay():
    hyperparameters = (DECAY,)
    network = HyperMLP((6, 5, 3), 1, n_runs=2, generator=seeded())
    losses = classification_losses(network, hyperparameters, SPLIT, batch_size=20, generator=seeded())
    unconstrained = torch.full((2, 20, 1), 3.0)

    def plain(inputs, labels):
        """A batch of all examples is the set in another order, and λ is the same for all."""
        logits = network(inputs, unconstrained)
        return torch.stack([functional.cross_entropy(logits[run], labels[run]) for run in range(2)])

    torch.testing.assert_close(losses.validation(unconstrained), plain(*VALIDATION))
    torch.testing.assert_close(losses.evaluation(unconstrained[:, 0]), plain(*VALIDATION))
    assert not torch.allclose(plain(*VALIDATION), plain(*DATA), rtol=1e-2)
    decay = DECAY.constrain(torch.tensor(3.0))
    expected = plain(*DATA) + decay / 2 * network.squared_norm(unconstrained)[:, 0]
    torch.testing.assert_close(losses.training(unconstrained), expected)


def test_the_test_set_is_not_looked_at():
    spoilt = Split(DATA, VALIDATION, (torch.full_like(TEST[0], math.nan), TEST[1]))
    network = HyperMLP((6, 5, 3), 1, n_runs=2, generator=seeded())
    losses = classification_losses(network, (DECAY,), spoilt, batch_size=20, generator=seeded())
    here = torch.zeros(2, 20, 1)
    for loss in (losses.training(here), losses.validation(here), losses.evaluation(here[:, 0])):
        assert loss.isfinite().all()


def test_only_training_is_regularised():
    """Dropout, noise and decay change the training loss; the validation loss is the network's own."""
    choice = (RATE, Hyperparameter("noise", 0.0, 1.0, 0.5), DECAY)
    same = torch.rand(2, 20, 2, 3, generator=seeded()), DATA[1]
    network = HyperMLP((6, 5, 3), 3, n_runs=2, generator=seeded())
    losses = classification_losses(
        network, choice, Split(same, same, same), batch_size=20, augmentation=augment, generator=seeded()
    )
    strong = torch.full((2, 20, 3), 2.0)
    torch.testing.assert_close(losses.validation(strong), losses.evaluation(strong[:, 0]))
    assert (losses.training(strong) - losses.evaluation(strong[:, 0])).abs().min() > 0.01


def test_training_inputs_are_augmented_by_each_examples_own_values():
    """An augmentation that moves each example by its own value, and marks what it has seen."""
    network = HyperMLP((6, 5, 3), 1, n_runs=2, generator=seeded())
    told = []

    def move(inputs, values, generator):
        told.append(values["dropout 0"])
        return inputs + values["dropout 0"][..., None]

    losses = classification_losses(
        network, (RATE,), SPLIT, batch_size=20, augmentation=move, generator=seeded(4)
    )
    network._drop = lambda inputs, *_, **__: inputs
    unconstrained = normal(2, 20, 1, dtype=torch.float32)
    index = next(minibatches(20, 20, 2, seeded(4)))
    expected = []
    for run in range(2):
        inputs, labels = DATA[0][run, index[run]], DATA[1][run, index[run]]
        moved = inputs + 0.9 * torch.sigmoid(unconstrained[run])
        logits = network(moved.expand(2, -1, -1), unconstrained[run].expand(2, -1, -1))[run]
        expected.append(functional.cross_entropy(logits, labels))
    torch.testing.assert_close(losses.training(unconstrained), torch.stack(expected))
    losses.validation(unconstrained)
    losses.evaluation(unconstrained[:, 0])
    assert len(told) == 1


def test_each_example_is_regularised_as_its_own_weights_are_told():
    """Weights and decay of an example see one λ: the same perturbed one."""
    network = large_scalars(HyperMLP((6, 5, 3), 1, n_runs=2, generator=seeded())).float()
    losses = classification_losses(network, (DECAY,), SPLIT, batch_size=20, generator=seeded(4))
    unconstrained = normal(2, 20, 1, dtype=torch.float32)
    index = next(minibatches(20, 20, 2, seeded(4)))
    expected = []
    for run in range(2):
        inputs, labels = DATA[0][run, index[run]], DATA[1][run, index[run]]
        terms = []
        for i in range(20):
            features, norm = inputs[i], 0.0
            for k, layer in enumerate(network.layers):
                weight, bias = assembled(layer, run, unconstrained[run, i])
                features = functional.linear(features.relu() if k else features, weight, bias)
                norm = norm + weight.square().sum()
            decay = DECAY.constrain(unconstrained[run, i, 0])
            terms.append(functional.cross_entropy(features, labels[i]) + decay / 2 * norm)
        expected.append(torch.stack(terms).mean())
    torch.testing.assert_close(losses.training(unconstrained), torch.stack(expected))


def test_the_entropy_is_that_of_torchs_distribution():
    std = torch.tensor([[0.3, 1.0, 2.5]])
    expected = torch.distributions.Normal(0.0, std).entropy().sum(dim=-1)
    torch.testing.assert_close(gaussian_entropy(std), expected)


def test_perturbations_have_the_centre_and_the_width():
    drawn = perturb(torch.tensor([[1.0, -2.0]]), torch.tensor([[0.5, 3.0]]), 40_000, seeded())
    np.testing.assert_allclose(drawn.mean(dim=1), [[1.0, -2.0]], atol=0.06)
    np.testing.assert_allclose(drawn.std(dim=1), [[0.5, 3.0]], rtol=0.02)


def copies_of(network):
    return [weights.detach().clone() for weights in network.parameters()]


def test_each_step_moves_its_own_level_and_nothing_else():
    network = HyperMLP((6, 5, 3), 1, n_runs=2, generator=seeded())
    losses = classification_losses(network, (RATE,), SPLIT, batch_size=10, generator=seeded())
    centre, raw_std = torch.full((2, 1), -1.0, requires_grad=True), torch.zeros(2, 1, requires_grad=True)
    before = copies_of(network)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    training_step(losses.training, optimiser, perturb(centre, raw_std.exp(), 10, seeded()))
    assert torch.equal(centre.detach(), torch.full((2, 1), -1.0))
    assert centre.grad is None
    assert all(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    before = copies_of(network)
    tuner = torch.optim.SGD([centre, raw_std], lr=0.1)
    validation_step(losses.validation, tuner, centre, raw_std, batch_size=10, entropy_weight=0.1)
    assert all(torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))
    assert (centre != -1).all()
    assert (raw_std != 0).all()


def test_the_validation_step_follows_finite_differences_of_its_objective():
    network = large_scalars(HyperMLP((6, 5, 3), 2, generator=seeded()))
    inputs, labels = DATA[0][:1].double(), DATA[1][:1]

    def validation_loss(values):
        return functional.cross_entropy(network(inputs, values)[0], labels[0])[None]

    def objective(centre, raw_std):
        std = functional.softplus(raw_std)
        drawn = torch.randn(1, 20, 2, generator=seeded(5), dtype=torch.float64)
        loss = validation_loss(centre[:, None] + std[:, None] * drawn)
        return (loss - 0.3 * torch.distributions.Normal(0.0, std).entropy().sum()).item()

    start = normal(1, 2), normal(1, 2, seed=1)
    moved = [each.clone().requires_grad_() for each in start]
    optimiser = torch.optim.SGD(moved, lr=1.0)
    validation_step(
        validation_loss, optimiser, *moved, batch_size=20, entropy_weight=0.3, generator=seeded(5)
    )
    for which in range(2):
        for k in range(2):
            ends = []
            for sign in (1, -1):
                shifted = [each.clone() for each in start]
                shifted[which][0, k] += sign * 1e-5
                ends.append(objective(*shifted))
            slope = (ends[0] - ends[1]) / 2e-5
            step = (start[which] - moved[which].detach())[0, k].item()
            assert step == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_each_run_is_cut_to_its_own_gradient_norm():
    weights = torch.zeros(2, 3, requires_grad=True)
    slopes = torch.tensor([[3.0, 0.0, 4.0], [0.3, 0.4, 0.0]])
    optimiser = torch.optim.SGD([weights], lr=1.0)
    training_step(
        lambda _: (weights * slopes).sum(dim=1), optimiser, torch.zeros(2, 1, 1), largest_gradient=1.0
    )
    torch.testing.assert_close(weights.detach(), -slopes / torch.tensor([[5.0], [1.0]]))


def test_a_network_without_hyperparameters_trains_as_torchs():
    n_steps, n = 12, 20
    network = HyperMLP((6, 5, 3), 0, n_runs=2, generator=seeded())
    twins = []
    for run in range(2):
        twin = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
        for ours, theirs in zip(network.layers, (twin[0], twin[2]), strict=True):
            theirs.weight.data, theirs.bias.data = ours.weight.data[run].clone(), ours.bias.data[run].clone()
        optimiser = torch.optim.SGD(twin.parameters(), lr=0.5, momentum=0.9)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, n_steps)
        for _ in range(n_steps):
            optimiser.zero_grad()
            functional.cross_entropy(twin(DATA[0][run]), DATA[1][run]).backward()
            optimiser.step()
            schedule.step()
        twins.append(twin)
    same = Split(DATA, DATA, DATA)  # so that the last network is the best one, which is kept
    losses = classification_losses(network, (), same, batch_size=n, generator=seeded())
    optimiser = torch.optim.SGD(network.parameters(), lr=0.5, momentum=0.9)
    options = {"n_steps": n_steps, "batch_size": n, "schedule": "cosine", "evaluate_every": n_steps}
    train_fixed(losses, optimiser, torch.zeros(1, 2, 0), **options)
    for run, twin in enumerate(twins):
        torch.testing.assert_close(network.layers[1].weight[run], twin[2].weight, rtol=1e-4, atol=1e-6)


# --- Whole trainings ----------------------------------------------------------------------------------------------

FEATURES, TARGETS = (torch.as_tensor(each[:80]) for each in load_diabetes(return_X_y=True))
DESIGN = (FEATURES - FEATURES.mean(dim=0)) / FEATURES.std(dim=0)
SCALED = (TARGETS - TARGETS.mean()) / TARGETS.std()
X, Y, OTHER_X, OTHER_Y = DESIGN[:40], SCALED[:40], DESIGN[40:], SCALED[40:]


def sklearn_ridge(log_penalty):
    return (
        SklearnRidge(alpha=math.exp(log_penalty), fit_intercept=False, tol=1e-12)
        .fit(X.numpy(), Y.numpy())
        .coef_
    )


def exact_jacobian(log_penalty):
    """Central differences of scikit-learn's solution."""
    return torch.as_tensor((sklearn_ridge(log_penalty + 1e-4) - sklearn_ridge(log_penalty - 1e-4)) / 2e-4)


def test_gates_give_scikit_learns_ridge():
    network = gated_best_response(X, Y)
    values = torch.linspace(-4, 9, 14).double()
    expected = np.stack([sklearn_ridge(value) for value in values.tolist()])
    np.testing.assert_allclose(network.weights(values), expected, rtol=1e-8, atol=1e-11)
    assert (network.slopes == -1).all()


def test_copied_columns_change_no_prediction():
    twice = torch.cat([X, X[:, :1]], dim=1)
    network = gated_best_response(twice, Y)
    assert len(network.slopes) == X.shape[1]
    expected = (
        SklearnRidge(alpha=math.exp(1.5), fit_intercept=False)
        .fit(twice.numpy(), Y.numpy())
        .predict(twice.numpy())
    )
    np.testing.assert_allclose(twice @ network.weights(torch.tensor(1.5).double()), expected, rtol=1e-8)


@pytest.mark.parametrize("std", [0.1, 1.0, 5.0])
def test_quadratic_losses_have_their_exact_jacobian(std):
    root, coupling = normal(4, 7), normal(4, 2, seed=1)
    stiffness = root @ root.T

    def loss(values, weights):
        return (
            0.5 * weights @ stiffness @ weights
            + weights @ (coupling @ values + root[:, 0])
            + values.sum() ** 2
        )

    centre = torch.tensor([0.7, -2.0]).double()
    base, slope = affine_best_response(loss, centre, std, 4, n_nodes=4)
    expected = -torch.linalg.solve(stiffness, coupling)
    np.testing.assert_allclose(slope, expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        base, -torch.linalg.solve(stiffness, coupling @ centre + root[:, 0]), rtol=1e-10, atol=1e-12
    )


def ridge_loss(value, weights):
    return 0.5 * (X @ weights - Y).square().sum() + 0.5 * value.exp().sum() * weights.square().sum()


def test_ridge_has_a_bias_of_second_order():
    expected, errors = exact_jacobian(2.0), []
    for std in (0.4, 0.2, 0.1):
        _, slope = affine_best_response(ridge_loss, torch.tensor([2.0]).double(), std, 10)
        errors.append((slope[:, 0] - expected).norm() / expected.norm())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


def validation_error(weights, *_):
    return (OTHER_X @ weights - OTHER_Y).square().mean()


def test_the_exact_jacobian_gives_the_implicit_hypergradient():
    """And, with no perturbation, the validation step is gradient descent on the exact validation loss."""
    value = torch.tensor([1.3], dtype=torch.float64)
    solution = torch.as_tensor(sklearn_ridge(1.3))
    implicit = implicit_hypergradient(
        lambda weights, value: ridge_loss(value, weights),
        validation_error,
        solution,
        value,
        solve=partial(conjugate_gradients, tolerance=1e-12),
    )
    jacobian = exact_jacobian(1.3)

    def response_loss(values):
        weights = solution + (values - 1.3) * jacobian
        return (weights @ OTHER_X.T - OTHER_Y).square().mean(dim=(1, 2))

    centre = value[None].clone().requires_grad_()
    raw_std = torch.full((1, 1), -40.0, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([{"params": [centre]}, {"params": [raw_std], "lr": 0.0}], lr=0.5)
    validation_step(response_loss, optimiser, centre, raw_std, batch_size=3, entropy_weight=0.0)
    step = (value - centre.detach()[0]) / 0.5
    np.testing.assert_allclose(step, implicit, rtol=1e-6)
    ends = [validation_error(torch.as_tensor(sklearn_ridge(1.3 + h))) for h in (1e-4, -1e-4)]
    np.testing.assert_allclose(step, (ends[0] - ends[1]) / 2e-4, rtol=1e-5)


def ridge_losses(base, slope):
    def predict(design, values):
        weights = base[:, None] + values / 5 * slope[:, None]
        return weights @ design.T, weights

    def training(values):
        predicted, weights = predict(X, values)
        penalty = values[..., 0].exp() / 40 * weights.square().sum(dim=-1)
        return 0.5 * ((predicted - Y).square().mean(dim=-1) + penalty).mean(dim=1)

    def validation(values):
        return (predict(OTHER_X, values)[0] - OTHER_Y).square().mean(dim=(1, 2))

    return Losses(training, validation, lambda values: validation(values[:, None]))


def test_ridge_finds_its_best_penalty_from_both_sides():
    """Against scikit-learn on a grid, in exact validation loss."""
    grid = np.linspace(-3, 9, 121)
    exact = [validation_error(torch.as_tensor(sklearn_ridge(value))).item() for value in grid]
    base, slope = (torch.zeros(2, 10, dtype=torch.float64, requires_grad=True) for _ in range(2))
    history = train_self_tuning(
        ridge_losses(base, slope),
        torch.optim.Adam([base, slope], lr=0.02),
        torch.tensor([[-1.0], [7.0]]).double(),
        n_steps=1400,
        batch_size=8,
        warm_up=200,
        tuning_rate=0.02,
        std_rate=0.02,
        evaluate_every=200,
        generator=seeded(),
    )
    assert validation_error(torch.as_tensor(sklearn_ridge(-1.0))) > 1.03 * min(exact)
    assert validation_error(torch.as_tensor(sklearn_ridge(7.0))) > 1.03 * min(exact)
    for end in history.unconstrained[-1, :, 0].tolist():
        assert validation_error(torch.as_tensor(sklearn_ridge(end))) < 1.02 * min(exact)
    assert history.std.shape == (7, 2, 1)
    assert history.steps.tolist() == list(range(200, 1401, 200))


def test_the_warm_up_and_the_ratio_of_steps_are_kept():
    base, slope = (torch.zeros(1, 10, dtype=torch.float64, requires_grad=True) for _ in range(2))
    history = train_self_tuning(
        ridge_losses(base, slope),
        torch.optim.SGD([base, slope], lr=0.01),
        torch.zeros(1, 1).double(),
        n_steps=12,
        batch_size=4,
        warm_up=4,
        n_train=3,
        evaluate_every=1,
        generator=seeded(),
    )
    moved = history.unconstrained[:, 0, 0].diff().abs() > 0
    # The third step after the warm-up of four, and the sixth.
    assert (moved.nonzero()[:, 0] + 2).tolist() == [7, 10]


def test_training_and_validation_see_a_perturbation_of_its_own_for_each_example():
    seen = {"training": [], "validation": []}
    weights = torch.zeros(1, 1, requires_grad=True)

    def watch(level):
        def loss(values):
            seen[level].append(values.detach())
            return (weights - values.mean(dim=1)).square().sum(dim=1)

        return loss

    losses = Losses(watch("training"), watch("validation"), lambda values: values[:, 0])
    optimiser = torch.optim.SGD([weights], lr=0.1)
    options = {"n_steps": 6, "batch_size": 4000, "warm_up": 0, "tuning_rate": 0.0, "std_rate": 0.0}
    train_self_tuning(
        losses, optimiser, torch.tensor([[1.5]]), perturbation_std=0.7, generator=seeded(), **options
    )
    assert {level: len(draws) for level, draws in seen.items()} == {"training": 6, "validation": 3}
    everything = torch.stack(seen["training"] + seen["validation"])[:, 0, :, 0]
    np.testing.assert_allclose(everything.mean(dim=1), 1.5, atol=0.06)
    np.testing.assert_allclose(everything.std(dim=1), 0.7, rtol=0.05)
    assert len(everything.unique()) > 35_000


@pytest.mark.parametrize("std", [0.0, 0.7])
def test_given_hyperparameters_are_perturbed_as_asked(std):
    weights, seen = torch.zeros(1, 1, requires_grad=True), []

    def loss(values):
        seen.append(values)
        return weights[:, 0].square()

    losses = Losses(loss, loss, lambda values: values[:, 0])
    train_fixed(
        losses,
        torch.optim.SGD([weights], lr=0.1),
        torch.full((1, 1, 1), 1.5),
        n_steps=2,
        batch_size=4000,
        perturbation_std=std,
        generator=seeded(),
    )
    drawn = torch.stack(seen)[..., 0]
    np.testing.assert_allclose(drawn.mean(dim=2), 1.5, atol=0.06)
    np.testing.assert_allclose(drawn.std(dim=2), std, rtol=0.05, atol=1e-6)


@pytest.mark.parametrize(("entropy_weight", "wider"), [(0.0, False), (5.0, True)])
def test_only_the_entropy_holds_the_perturbation_up(entropy_weight, wider):
    """Where the validation loss grows with σ."""
    weights = torch.zeros(1, 1, requires_grad=True)
    losses = Losses(
        lambda values: weights[:, 0].square(),
        lambda values: values.square().mean(dim=(1, 2)),
        lambda values: values[:, 0],
    )
    optimiser = torch.optim.SGD([weights], lr=0.1)
    options = {"n_steps": 40, "batch_size": 50, "warm_up": 0, "evaluate_every": 40, "std_rate": 0.05}
    history = train_self_tuning(
        losses, optimiser, torch.zeros(1, 1), entropy_weight=entropy_weight, generator=seeded(), **options
    )
    assert (history.std[-1].item() > 0.5) == wider


def test_the_defaults_are_those_of_the_authors_code():
    parameters = inspect.signature(train_self_tuning).parameters
    names = ("n_train", "perturbation_std", "tuning_rate", "std_rate", "entropy_weight")
    given = {name: parameters[name].default for name in names}
    assert list(given.values()) == [2, 0.5, 0.003, 0.003, 1e-5]


def test_of_equal_evaluations_the_later_is_the_best():
    path = torch.arange(3.0)[:, None, None]
    history = History(torch.arange(3), path, torch.zeros_like(path), torch.tensor([[1.0], [0.5], [0.5]]))
    assert history.best()[1].item() == 2.0


def test_weights_end_at_each_runs_best_evaluation():
    """Steps of one along a line: losses (w − 2)² and (w − 4)², which each run passes by."""
    weights = torch.zeros(2, 1, requires_grad=True)
    targets = torch.tensor([2.0, 4.0])
    losses = Losses(
        lambda _: -weights[:, 0], lambda _: weights[:, 0], lambda _: (weights[:, 0] - targets).square()
    )
    optimiser = torch.optim.SGD([weights], lr=1.0)
    schedule = torch.arange(3.0)[:, None, None].expand(3, 2, 1)
    history = train_fixed(losses, optimiser, schedule, n_steps=6, batch_size=1, evaluate_every=1)
    assert weights[:, 0].tolist() == [2.0, 4.0]
    lowest, where = history.best()
    assert lowest.tolist() == [0.0, 0.0]
    assert where[:, 0].tolist() == [0.0, 1.0]
    assert history.unconstrained[:, 0, 0].tolist() == [0, 0, 1, 1, 2, 2]


def test_runs_do_not_touch_each_other():
    """A hopeless run beside a good one changes nothing but the random numbers; without any, not a bit."""

    def train(starts):
        network = HyperMLP((6, 5, 3), 0, n_runs=2, generator=seeded())
        losses = classification_losses(network, (DECAY,), SPLIT, batch_size=20, generator=seeded())
        optimiser = torch.optim.SGD(network.parameters(), lr=0.5)
        schedule = torch.tensor(starts)[None, :, None]
        train_fixed(losses, optimiser, schedule, n_steps=10, batch_size=20, evaluate_every=5)
        return network.layers[0].weight.detach()

    first, second = train([-3.0, -3.0]), train([-3.0, 9.0])
    assert torch.equal(first[0], second[0])
    assert not torch.allclose(first[1], second[1])


def test_evaluation_uses_the_runs_own_hyperparameters_and_no_noise():
    network = large_scalars(HyperMLP((6, 5, 3), 2, n_runs=2, generator=seeded()))
    values = normal(2, 2)
    inputs = DATA[0].double()
    losses = evaluate(network, (inputs, DATA[1]), values)
    logits = network(inputs, values[:, None].expand(-1, 20, -1))
    expected = [functional.cross_entropy(logits[run], DATA[1][run]) for run in range(2)]
    torch.testing.assert_close(losses, torch.stack(expected).detach())


# --- Rivals ------------------------------------------------------------------------------------------------------


@dataclass
class Judged:
    validation: torch.Tensor


class Bowl:
    """A training whose loss is the squared distance to a place of each split's own; notes what was asked of it."""

    def __init__(self, places):
        self.places, self.asked = torch.tensor(places), []

    def __call__(self, settings, n_steps):
        self.asked.append((len(settings), n_steps))
        return Judged((torch.sigmoid(settings) - self.places[:, None]).square().sum(dim=-1))


SEARCH = {"n_splits": 2, "n_rounds": 6, "n_at_once": 5, "seed": 3}


def test_the_model_proposes_after_the_first_round():
    """Other losses, other proposals; and they come nearer to the best place than chance does."""
    first = torch.logit(torch.tensor([0.05, 0.05]))
    settings, outcomes = tree_parzen_search(Bowl([0.2, 0.8]), first, 7, **SEARCH)
    others, _ = tree_parzen_search(Bowl([0.8, 0.2]), first, 7, **SEARCH)
    assert settings.shape == (30, 2, 2)
    assert [len(each.validation) for each in outcomes] == [5] * 6
    torch.testing.assert_close(settings[0], first.expand(2, -1))
    assert torch.equal(settings[:5], others[:5])
    assert (settings[5:] != others[5:]).float().mean() > 0.9
    distances = (torch.sigmoid(settings) - torch.tensor([0.2, 0.8])[:, None]).norm(dim=-1)
    assert distances[15:].mean() < 0.75 * distances[1:5].mean()


def test_halving_trains_the_best_third_three_times_as_long():
    train = Bowl([0.3, 0.6])
    candidates = normal(9, 2, 2, dtype=torch.float32)
    outcomes = successive_halving(train, candidates, 90)
    assert train.asked == [(9, 10), (3, 30), (1, 90)]  # each rung costs a training in full
    losses = (torch.sigmoid(candidates) - torch.tensor([0.3, 0.6])[:, None]).square().sum(dim=-1)
    torch.testing.assert_close(outcomes[1].validation.sort(dim=0).values, losses.sort(dim=0).values[:3])
    torch.testing.assert_close(outcomes[2].validation[0], losses.amin(dim=0))


# --- The chapter's runs ------------------------------------------------------------------------------------------

PLACE = torch.device("cpu")


PERCEPTRON = partial(HyperMLP, [16, 5, 5, 3])


def small_task(name="digits", make=PERCEPTRON):
    inputs, labels = torch.rand(90, 4, 4, generator=seeded()), torch.randint(3, (90,), generator=seeded())
    data = experiment.draw_splits(inputs, labels, [30, 20, 40], 2, 0, PLACE)
    return experiment.Task(name, 0, make, data, experiment.sgd(0.1, 0.05), 12, 10, augment)


def test_splits_are_permutations_without_overlap():
    inputs = torch.arange(50.0)
    data = experiment.draw_splits(inputs, inputs.long(), [20, 10, 20], 3, 0, PLACE)
    for split in range(3):
        parts = [part[0][split] for part in (data.training, data.validation, data.test)]
        assert sorted(torch.cat(parts).tolist()) == inputs.tolist()
    assert not torch.equal(data.training[0][0], data.training[0][1])


def test_every_purpose_has_a_stream_of_its_own(monkeypatch):
    """First weights and the first epoch's order, say, must not come from one seed."""
    asked = []

    def watched(seed, *names, **options):
        asked.append((seed, *names))
        return seeded(len(asked))

    monkeypatch.setattr(experiment, "stream", watched)
    experiment.tune(small_task(), [experiment.tuned_digits(0.05)])
    assert len(asked) == 2 + 3  # two splits; weights, batches with their noise, perturbations
    assert len(set(asked)) == len(asked)


def test_each_kind_of_weights_has_its_learning_rate():
    weights = [torch.zeros(1, requires_grad=True)]
    for make in (experiment.sgd, experiment.adam):
        rates = [make(0.1, 0.05)(weights, responds).param_groups[0]["lr"] for responds in (False, True)]
        assert rates == [0.1, 0.05]


def test_a_run_is_trained_as_its_task_says(monkeypatch):
    """Rate, augmentation, and what the tuning is told; a plain network is one without responses."""
    seen, calls, told = [], [], {}

    def optimiser(weights, responds):
        weights = list(weights)
        seen.append((responds, sum(each.numel() for each in weights)))
        return torch.optim.SGD(weights, lr=0.1)

    def watched(images, values, generator):
        calls.append(values["noise"])
        return augment(images, values, generator)

    def train(*arguments, **options):
        told.update(options)
        return train_self_tuning(*arguments, **options)

    monkeypatch.setattr(experiment, "train_self_tuning", train)
    task = replace(
        small_task(), optimiser=optimiser, augmentation=watched, tuning_rate=0.03, entropy_weight=0.7
    )
    experiment.tune(task, [experiment.tuned_digits(0.05)])
    assert len(calls) == 12
    assert (told["tuning_rate"], told["entropy_weight"], told["batch_size"]) == (0.03, 0.7, 10)
    experiment.grid_search(task, [0.3])
    n_weights = 2 * sum((m + 1) * n for m, n in ((16, 5), (5, 5), (5, 3)))  # of two splits
    assert len(calls) == 24
    assert [responds for responds, _ in seen] == [True, False]
    assert seen[1][1] == n_weights
    assert seen[0][1] > 2 * n_weights


def test_losses_are_those_of_the_best_evaluation_and_the_test_set_s_own():
    """Of the weights and the λ where the validation loss was lowest, by cross-entropies of torch."""
    made = []

    def make(*arguments, **options):
        made.append(PERCEPTRON(*arguments, **options))
        return made[-1]

    task = small_task(make=make)
    found = experiment.tune(task, [experiment.tuned_digits(0.05)])
    history = found.history
    when = history.validation.argmin(dim=0)
    assert (when < len(history.steps) - 1).any()
    for run in range(2):
        here = history.unconstrained[when[run], run].expand(2, 1, -1)
        for (inputs, labels), losses in (
            (task.data.validation, found.validation),
            (task.data.test, found.test),
        ):
            logits = made[0](inputs, here.expand(-1, labels.shape[1], -1))[run]
            assert losses[0, run].item() == pytest.approx(
                functional.cross_entropy(logits, labels[run]).item(), rel=1e-5
            )


def test_bayesian_optimisation_trains_the_best_of_its_trials_in_full(monkeypatch):
    bowl = Bowl([0.2, 0.8])

    def train(settings, n_steps):
        found = bowl(settings, n_steps).validation
        given.append((settings, found, n_steps))
        path = History(
            torch.ones(1).long(),
            settings.flatten(0, 1)[None],
            settings.flatten(0, 1)[None],
            found.view(1, -1),
        )
        return experiment.Outcome(path, found, found, 0.0, n_steps)

    given = []
    monkeypatch.setattr(experiment, "_trainer", lambda _: train)
    experiment.bayesian(replace(small_task(), n_steps=30), 3, 4)
    assert [n_steps for *_, n_steps in given] == [10, 10, 10, 30]
    tried, losses = torch.cat([each[0] for each in given[:3]]), torch.cat([each[1] for each in given[:3]])
    for split in range(2):
        assert torch.equal(given[3][0][0, split], tried[losses[:, split].argmin(), split])


def rates_of(history, hyperparameters, name="dropout 1"):
    """Values of one hyperparameter at the first evaluation, one a run."""
    return constrain(hyperparameters, history.unconstrained[0])[name].tolist()


def test_tuned_and_given_runs_have_losses_for_each_setting_and_split():
    runs = experiment.self_tuning_runs(small_task(), [0.05, 0.3, 0.6])
    assert {name: tuple(run.test.shape) for name, run in runs.items()} == {
        "self-tuning": (3, 2),
        "replayed schedule": (2, 2),
        "final values": (2, 2),
        "responding, not tuned": (2, 2),
    }
    path = runs["self-tuning"].history.unconstrained
    assert runs["self-tuning"].cost == 2 * (12 + 6)  # twelve steps, none of them a warm-up
    choice = experiment.tuned_digits(0.05)
    assert rates_of(runs["self-tuning"].history, choice) == pytest.approx([0.05, 0.05, 0.3, 0.3, 0.6, 0.6])
    assert (path[-1] != path[0]).any()
    assert torch.equal(runs["replayed schedule"].history.unconstrained, path[:, :4])
    assert torch.equal(runs["final values"].history.unconstrained[0], path[-1, :4])
    held = runs["responding, not tuned"].history
    assert torch.equal(held.unconstrained[0], held.unconstrained[-1])
    assert rates_of(held, choice) == pytest.approx([0.05, 0.05, 0.3, 0.3])
    assert (held.std == 0.5).all()


def test_the_searches_spend_what_they_say():
    task = small_task()
    halved = experiment.halving(task, 3)
    assert experiment.total_cost(halved) == 3 * 4 + 12
    found = experiment.bayesian(task, 2, 2)
    assert [len(each.validation) for each in found] == [2, 2, 1]
    assert experiment.total_cost(found) == 4 * 4 + 12
    fixed = experiment.grid_search(task, [0.0, 0.3])
    validation, test = fixed.pick()
    for split in range(2):
        best = fixed.validation[:, split].argmin()
        assert validation[split] == fixed.validation[best, split]
        assert test[split] == fixed.test[best, split]
    spent, lowest = experiment.best_so_far([fixed])
    assert spent[-1] == 24
    torch.testing.assert_close(lowest[-1], validation.mean())
    assert (lowest.diff() <= 0).all()


def test_fixed_dropout_is_half_on_the_input_and_nothing_else():
    values = constrain(experiment.tuned_digits(0.05), experiment.fixed_dropout(0.4, 2))
    found = [values[name][0].item() for name in ("dropout 0", "dropout 1", "dropout 2", "noise")]
    assert found == pytest.approx([0.2, 0.4, 0.4, 0.0], abs=1e-6)
    assert constrain(experiment.tuned_digits(0.05), experiment.fixed_dropout(0.0, 1))["dropout 1"] < 1e-12


def test_images_and_text_have_their_controls():
    images = small_task("images", partial(HyperCNN, 4, [2], 3))
    pictures, choice = experiment.image_runs(images, 0.05, 2, 1), experiment.tuned_images(0.05, 2, 1)
    held, without = pictures["responding, not tuned"].history, pictures["no regularisation"].history
    assert rates_of(held, choice, "shift") == [2, 2]
    assert (held.std == 0.5).all()
    assert rates_of(without, choice, "shift") == [0, 0]
    assert rates_of(without, choice) == pytest.approx([0, 0], abs=1e-12)
    shapes = {name: run.validation.shape for name, run in pictures.items()}
    assert shapes == dict.fromkeys(("self-tuning", "responding, not tuned", "no regularisation"), (1, 2))
    pieces, n_symbols = experiment.cut_into_sequences("abcabbacab" * 12, 4)
    assert n_symbols == 3
    assert pieces[:2].tolist() == [[0, 1, 2, 0, 1], [1, 1, 0, 2, 0]]
    data = experiment.draw_splits(pieces[:, :-1], pieces[:, 1:], [12, 8, 8], 2, 0, PLACE)
    make, optimiser = partial(HyperLSTM, n_symbols, 3), experiment.adam(0.02, 0.01)
    task = experiment.Task("text", 0, make, data, optimiser, 6, 4, None)
    runs = experiment.text_runs(task, 0.05)
    assert list(runs) == ["self-tuning", "replayed schedule", "final values", "no regularisation"]
    assert all(run.test.shape == (1, 2) for run in runs.values())
    path = runs["self-tuning"].history.unconstrained
    assert torch.equal(runs["replayed schedule"].history.unconstrained, path)
    assert torch.equal(runs["final values"].history.unconstrained, path[-1:].expand_as(path))
    without = runs["no regularisation"].history
    assert rates_of(without, experiment.tuned_text(0.05)) == pytest.approx([0, 0], abs=1e-12)
    values = experiment.values_along(runs["self-tuning"], experiment.tuned_text(0.05), "dropout 1")
    assert ((values > 0) & (values < 0.9)).all()


RIDGE = Ridge(X[None], Y[None], OTHER_X[None], OTHER_Y[None])


def test_ridge_problems_know_their_validation_loss():
    expected = [validation_error(torch.as_tensor(sklearn_ridge(value))) for value in (-1.0, 4.0)]
    found = RIDGE.validation(0, torch.tensor([-1.0, 4.0]).double())
    torch.testing.assert_close(found, torch.stack(expected))


def test_ridge_losses_are_those_of_the_affine_weights():
    base, slope, values = normal(2, 10), normal(2, 10, seed=1), normal(2, 40, 1, seed=2)
    losses = RIDGE.losses(base, slope)
    for run in range(2):
        weights = base[run] + values[run] / 5 * slope[run]
        errors = ((X * weights).sum(dim=1) - Y).square()
        norms = values[run, :, 0].exp() / 40 * weights.square().sum(dim=1)
        torch.testing.assert_close(losses.training(values)[run], 0.5 * (errors + norms).mean())
        expected = ((OTHER_X * weights).sum(dim=1) - OTHER_Y).square().mean()
        torch.testing.assert_close(losses.validation(values)[run], expected)


def test_tuned_on_its_training_set_ridge_regression_forgets_the_penalty():
    """What the validation set is for: with the training set in its place, λ falls."""
    leaking = Ridge(X[None], Y[None], X[None], Y[None])
    ends = [
        experiment.tune_ridge(problem, [4.0], 600, seed=0).unconstrained[-1].item()
        for problem in (RIDGE, leaking)
    ]
    best = RIDGE.validation(0, torch.linspace(-5, 12, 100).double()).min()
    reached = RIDGE.validation(0, torch.tensor(ends).double()) / best
    assert reached[0] < 1.02
    assert ends[1] < ends[0] - 1
    assert reached[1] > reached[0]


def test_errors_of_best_responses():
    assert experiment.largest_gate_error(X, Y, [-3.0, 2.0, 8.0]) < 1e-10
    errors = experiment.ridge_jacobian_errors(X, Y, 2.0, [0.4, 0.2])
    _, slope = affine_best_response(ridge_loss, torch.tensor([2.0]).double(), 0.4, 10)
    expected = exact_jacobian(2.0)
    assert errors[0] == pytest.approx(((slope[:, 0] - expected).norm() / expected.norm()).item(), rel=1e-4)
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert max(experiment.quadratic_jacobian_errors([0.1, 5.0], 0)) < 1e-10


def test_affine_gates_touch_the_exact_ones_as_sigma_shrinks():
    network, here = gated_best_response(X, Y), torch.tensor(3.0).double()
    base, slope = experiment.affine_gates(network, 3.0, 0.01)
    torch.testing.assert_close(base, network.gates(here), atol=1e-4, rtol=0)
    ends = network.gates(here + 1e-4) - network.gates(here - 1e-4)
    torch.testing.assert_close(slope, ends / 2e-4, atol=1e-4, rtol=0)


def test_training_under_sampled_penalties_finds_the_gates_where_they_close():
    """From the data and the unregularised solution alone: the exact gates are not given."""
    exact = gated_best_response(X, Y)
    blank = torch.full_like(exact.slopes, math.nan)
    given = GatedNetwork(exact.basis, exact.coefficients, blank, blank)
    laws = [(3.0, 2.0), (-6.0, 0.3)]
    learned = experiment.learn_gates(X, Y, given, laws, n_steps=600, n_repeats=1, seed=0)
    of_gates, of_response = experiment.learned_gate_errors(exact, learned, laws)
    assert of_response.max() < 0.03
    assert of_gates[0, 0] < 0.5
    assert of_gates[1, 0] > 2  # far from where gates close, training cannot tell where they do


# --- Bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.bad_input
@pytest.mark.parametrize("start", [0.0, 0.9, -0.1, 1.2])
def test_a_start_outside_its_range_is_refused(start):
    with pytest.raises(ValueError, match=rf"dropout must lie strictly in \(0, 0.9\); got {start:g}"):
        Hyperparameter("dropout", 0.0, 0.9, start)


@pytest.mark.bad_input
def test_other_scales_have_their_own_bounds():
    with pytest.raises(ValueError, match=r"shift must lie in \[0, 3\]; got 4"):
        Hyperparameter("shift", 0, 3, 4, discrete=True)
    with pytest.raises(ValueError, match="low of decay must be positive; got 0"):
        Hyperparameter("decay", 0.0, 0.1, 0.01, logarithmic=True)
    with pytest.raises(ValueError, match=r"decay must lie strictly in \(1e-06, 0.1\); got -1"):
        Hyperparameter("decay", 1e-6, 0.1, -1.0, logarithmic=True)
    with pytest.raises(ValueError, match="high of dropout must be above its low, 0; got 0"):
        Hyperparameter("dropout", 0.0, 0.0, 0.0)


@pytest.mark.bad_input
def test_the_length_of_lambda_is_checked():
    with pytest.raises(ValueError, match="unconstrained must have 2 entries, one a hyperparameter; got 3"):
        constrain((RATE, DECAY), torch.zeros(4, 3))
    layer = HyperLinear(4, 3, 2)
    with pytest.raises(ValueError, match="unconstrained must have 2 entries; got 1"):
        layer(torch.zeros(1, 5, 4), torch.zeros(1, 5, 1))
    with pytest.raises(ValueError, match="unconstrained must have 2 entries; got 3"):
        layer.squared_norm(torch.zeros(1, 5, 3))


@pytest.mark.bad_input
def test_sizes_are_checked():
    with pytest.raises(ValueError, match="every size must be at least 1; got 0"):
        HyperLinear(0, 3, 2)
    with pytest.raises(ValueError, match="n_runs must be at least 1; got 0"):
        HyperLinear(2, 3, 2, n_runs=0)
    with pytest.raises(ValueError, match="n_hyperparameters must be at least 0; got -1"):
        HyperLinear(2, 3, -1)
    with pytest.raises(ValueError, match="kernel_size must be odd; got 2"):
        HyperConv2d(1, 2, 2, 1)
    for size in (0, 21):
        with pytest.raises(ValueError, match=f"between 1 and the number of examples, 20; got {size}"):
            minibatches(20, size, 1)
    with pytest.raises(ValueError, match="design must not be zero"):
        gated_best_response(torch.zeros(3, 2), torch.zeros(3))
    with pytest.raises(ValueError, match="perturbation_std must be positive and finite; got 0"):
        affine_best_response(ridge_loss, torch.zeros(1), 0.0, 10)


def train_with(**changes):
    weights = torch.zeros(2, 1, requires_grad=True)

    def loss(values):
        return (weights - values.mean(dim=1)).square().sum(dim=1)

    options = {"n_steps": 4, "batch_size": 2, "warm_up": 1} | changes
    optimiser = torch.optim.SGD([weights], lr=options.pop("lr", 0.1))
    return train_self_tuning(
        Losses(loss, loss, loss), optimiser, options.pop("start", torch.zeros(2, 1)), **options
    )


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"perturbation_std": 0.0}, "perturbation_std must be positive and finite; got 0"),
        ({"n_train": 0}, "n_train must be at least 1; got 0"),
        ({"warm_up": -1}, "warm_up must be at least 0; got -1"),
        ({"n_steps": 0, "warm_up": 0}, "n_steps must be at least 1; got 0"),
        ({"evaluate_every": 0}, "evaluate_every must be at least 1; got 0"),
        ({"start": torch.zeros(3, 1)}, "every weight must have a leading axis of 3 runs"),
    ],
)
@pytest.mark.filterwarnings("ignore:warm_up")
def test_numbers_of_a_training_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        train_with(**changes)


@pytest.mark.bad_input
def test_a_warm_up_without_end_is_warned_of():
    with pytest.warns(UserWarning, match=r"warm_up \(4\) is as long as the training"):
        train_with(warm_up=4)


@pytest.mark.bad_input
def test_a_loss_that_explodes_is_told():
    with pytest.raises(FloatingPointError, match=r"the loss of run \d is inf at step"):
        train_with(n_steps=2000, lr=1e3, evaluate_every=2000)


@pytest.mark.bad_input
def test_a_negative_width_is_refused():
    weights = torch.zeros(2, 1, requires_grad=True)
    losses = Losses(*[lambda _: weights.sum(dim=1)] * 3)
    optimiser = torch.optim.SGD([weights], lr=0.1)
    with pytest.raises(ValueError, match=r"perturbation_std must not be negative; got -0\.1"):
        train_fixed(losses, optimiser, torch.zeros(1, 2, 1), n_steps=2, batch_size=1, perturbation_std=-0.1)
