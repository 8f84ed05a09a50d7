import torch

from unblur.layers.code import Code


def test_a_code_without_a_variance_is_its_mean() -> None:
    mean = torch.randn(2, 3, 1, 1)
    assert Code(mean).sample() is mean


def test_samples_are_normal_around_the_mean() -> None:
    """The deviation is the root of the variance, each entry's own."""
    deviations = torch.tensor([0.1, 1.0, 3.0])
    code = Code(torch.tensor([5.0, -2.0, 0.0]).expand(40_000, 3), deviations.square().log().expand(40_000, 3))
    drawn = code.sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), code.mean[0], atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.std(0), deviations, rtol=0.02, atol=0)


def test_a_generator_decides() -> None:
    code = Code(torch.zeros(2, 3), torch.zeros(2, 3))
    draw = lambda seed: code.sample(torch.Generator().manual_seed(seed))  # noqa: E731
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    torch.manual_seed(0)
    assert not torch.equal(code.sample(), code.sample())


def test_gradients_reach_mean_and_variance() -> None:
    mean, log_variance = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    Code(mean, log_variance).sample().square().sum().backward()
    assert mean.grad is not None
    assert log_variance.grad is not None
    assert bool((log_variance.grad != 0).all())
