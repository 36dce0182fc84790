"""A small network learns handwritten digits and logs everything a training script logs.

It knows nothing of agents or receivers: it writes to a directory, and would do the same on a machine without a network.

    python demo/train.py --log-directory /tmp/logs/digits
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from ml_logger import Color, ML_Logger, percent, yellow

Array = NDArray[np.float64]

FOUR_DIGITS = "{:.4f}".format
SHOW_EVERY = 100
EVALUATE_EVERY = 25
SAVE_EVERY = 150


@dataclass(frozen=True)
class Hyper:
    """What is set before training; `step_s` is how long one step takes, as a real model's step takes its time."""

    steps: int = 600
    hidden: int = 64
    batch_size: int = 64
    learning_rate: float = 0.12
    seed: int = 7
    step_s: float = 0.02


@dataclass(frozen=True)
class Data:
    """Images of 8×8 pixels in 0..1 as rows of 64, and what digits they show."""

    train_x: Array
    train_y: NDArray[np.int64]
    test_x: Array
    test_y: NDArray[np.int64]


@dataclass
class Network:
    """One hidden layer of rectified units, softmax over the ten digits."""

    w1: Array
    b1: Array
    w2: Array
    b2: Array

    @classmethod
    def fresh(cls, hidden: int, rng: np.random.Generator) -> Network:
        """Return a network with He-initialised weights (https://arxiv.org/abs/1502.01852)."""
        w1 = rng.normal(0, np.sqrt(2 / 64), (64, hidden))
        w2 = rng.normal(0, np.sqrt(2 / hidden), (hidden, 10))
        return cls(w1, np.zeros(hidden), w2, np.zeros(10))

    def forward(self, x: Array) -> tuple[Array, Array]:
        """Return the hidden activations and the probabilities of each digit."""
        hidden = np.maximum(x @ self.w1 + self.b1, 0)
        logits = hidden @ self.w2 + self.b2
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return hidden, odds / odds.sum(axis=1, keepdims=True)

    def descend(self, x: Array, y: NDArray[np.int64], learning_rate: float) -> tuple[float, float]:
        """Do one step of gradient descent on a batch; return its loss and the norm of the gradient."""
        hidden, odds = self.forward(x)
        loss = -np.log(odds[np.arange(len(y)), y] + 1e-12).mean()
        error = (odds - np.eye(10)[y]) / len(y)
        through = (error @ self.w2.T) * (hidden > 0)
        gradients = (x.T @ through, through.sum(axis=0), hidden.T @ error, error.sum(axis=0))
        for weights, gradient in zip((self.w1, self.b1, self.w2, self.b2), gradients, strict=True):
            weights -= learning_rate * gradient
        return float(loss), float(np.sqrt(sum((g**2).sum() for g in gradients)))


def load_data(rng: np.random.Generator) -> Data:
    """Return the 1,797 digits that come with scikit-learn, four fifths of them to train on."""
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    x, y = digits.data[order] / 16.0, digits.target[order]
    cut = len(y) * 4 // 5
    return Data(x[:cut], y[:cut], x[cut:], y[cut:])


def enlarge(digit: Array) -> NDArray[np.uint8]:
    """Return a row of 64 pixels as a picture of 64×64 that a person can look at."""
    return np.kron(digit.reshape(8, 8) * 255, np.ones((8, 8))).astype(np.uint8)


def log_evaluation(logger: ML_Logger, step: int, network: Network, data: Data, *, silent: bool) -> None:
    """Log accuracy on the test digits, a picture of the most confident mistake, and the weights' histogram."""
    odds = network.forward(data.test_x)[1]
    guesses = odds.argmax(axis=1)
    wrong = np.flatnonzero(guesses != data.test_y)
    accuracy = yellow(1 - len(wrong) / len(guesses), percent)
    logger.log(step, {"test/accuracy": accuracy, "test/mistakes": len(wrong)}, silent=silent)
    logger.log_histogram(step, w1=network.w1, w2=network.w2)
    if len(wrong):
        worst = wrong[odds[wrong].max(axis=1).argmax()]
        key = f"{data.test_y[worst]}_taken_for_{guesses[worst]}"
        logger.log_image(step, **{key: enlarge(data.test_x[worst])})


def train(logger: ML_Logger, hyper: Hyper) -> None:
    """Train and log: each step's loss silently, a table now and then, pictures, histograms and weights."""
    rng = np.random.default_rng(hyper.seed)
    data = load_data(rng)
    network = Network.fresh(hyper.hidden, rng)
    logger.log_params(Hyper=asdict(hyper), Data={"train": len(data.train_y), "test": len(data.test_y)})
    for step in range(hyper.steps + 1):
        begin_s = time.perf_counter()
        batch = rng.integers(0, len(data.train_y), hyper.batch_size)
        loss, norm = network.descend(data.train_x[batch], data.train_y[batch], hyper.learning_rate)
        silent = step % SHOW_EVERY != 0
        shown = {"train/loss": Color(loss, "green", FOUR_DIGITS), "gradient_norm": Color(norm, None, FOUR_DIGITS)}
        logger.log(step, shown, silent=silent)
        if step % EVALUATE_EVERY == 0:
            log_evaluation(logger, step, network, data, silent=silent)
        if step % SAVE_EVERY == 0:
            logger.log_tensor(step, w1=network.w1.astype(np.float32))
        time.sleep(max(0.0, hyper.step_s - (time.perf_counter() - begin_s)))
    logger.flush()
    logger.print(f"trained {hyper.steps} steps")


def main() -> None:
    """Train with the settings of the command line."""
    parser = argparse.ArgumentParser(description="Learn handwritten digits, and log.")
    parser.add_argument("--log-directory", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=Hyper.steps)
    parser.add_argument("--step-s", type=float, default=Hyper.step_s, help="seconds one step takes at least")
    arguments = parser.parse_args()
    with ML_Logger(arguments.log_directory) as logger:
        train(logger, Hyper(steps=arguments.steps, step_s=arguments.step_s))


if __name__ == "__main__":
    main()
